//! The end of a call is the end of everything inside of it: nothing is done behind it, whoever waits for that.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing, reason = "tests")]

use std::sync::{Arc, Mutex};
use std::time::Duration;

use serde_json::{Value, json};
use tokio::sync::Notify;
use tokio::time::{sleep, timeout};
use toolpost_core::effect::Fate;
use toolpost_core::guard::GuardSettings;
use toolpost_core::{
    Attempt, Call, CallError, Catalog, Effect, EffectClass, ErrorKind, Event, Host, Native, Outcome, Sink, Stage, Told,
    Tool,
};

fn ms(span: u64) -> Duration {
    Duration::from_millis(span)
}

/// A tool that may change something, without a breaker.
fn tool<R>(name: &str, run: impl Fn(Attempt) -> R + Send + Sync + 'static) -> Tool
where
    R: Future<Output = Result<Value, CallError>> + Send + 'static,
{
    let settings: GuardSettings = serde_json::from_value(json!({"breaker": {"kind": "none"}})).unwrap();
    Native::new(name, "").effect(EffectClass::Writes).guard(settings).run(run)
}

/// Writes every 100 ms, for ever.
fn writer() -> Tool {
    tool("writer", |attempt| async move {
        for number in 0.. {
            let passage = attempt.pass(write(number)).await?;
            sleep(ms(100)).await;
            passage.done();
        }
        Ok(json!(null))
    })
}

/// Calls a tool, waits no longer than 950 ms for it, and ends.
fn leaves(name: &str, inner: &'static str) -> Tool {
    tool(name, move |attempt| async move {
        let _ = timeout(ms(950), attempt.call(inner, json!({}))).await;
        Ok(json!("it did not wait"))
    })
}

fn write(number: u32) -> Effect {
    let (class, action) = (EffectClass::Writes, "orders.create".into());
    Effect { class, action, target: number.to_string(), detail: None }
}

fn host(tools: impl IntoIterator<Item = Tool>) -> Host {
    let mut catalog = Catalog::default();
    tools.into_iter().for_each(|tool| catalog.add(tool).unwrap());
    Host::new(catalog)
}

/// What was told, in order: effects, and how each call ended.
#[derive(Default)]
struct Heard(Mutex<Vec<String>>, Mutex<Vec<Outcome>>);

impl Sink for Heard {
    fn tell(&self, told: &Told<'_>) {
        match told.event {
            Event::Effect { .. } => self.0.lock().unwrap().push("effect".into()),
            Event::CallEnded { outcome } => {
                self.0.lock().unwrap().push(format!("{} {}", outcome.tool, outcome.name()));
                self.1.lock().unwrap().push((*outcome).clone());
            }
            _ => {}
        }
    }
}

impl Heard {
    fn outcome_of(&self, tool: &str) -> Outcome {
        self.1.lock().unwrap().iter().find(|outcome| outcome.tool == tool).unwrap().clone()
    }
}

#[tokio::test(start_paused = true)]
async fn a_call_inside_that_may_change_something_ends_with_the_call_around_it() {
    let heard = Arc::new(Heard::default());
    let host = host([leaves("outer", "writer"), writer()]).with_sink(heard.clone());
    let outcome = host.call(Call::new("outer", json!({}))).await;
    assert_eq!((outcome.result.unwrap().value, outcome.report.time), (json!("it did not wait"), ms(950)));
    let before = heard.0.lock().unwrap().iter().filter(|told| *told == "effect").count();
    assert_eq!(before, 10);
    sleep(ms(60_000)).await;
    let told = heard.0.lock().unwrap().clone();
    assert_eq!(told.iter().filter(|told| *told == "effect").count(), before, "nothing is done behind the end");
    let inner = heard.outcome_of("writer");
    let error = inner.result.unwrap_err();
    assert_eq!((error.kind, error.stage), (ErrorKind::Cancelled, Stage::Run));
    assert_eq!(error.message, "the call around it is over; nothing more is done for it");
    let fates: Vec<_> = inner.report.effects.iter().map(|record| record.fate).collect();
    assert_eq!(fates, [[Fate::Done; 9].as_slice(), &[Fate::Indeterminate]].concat());
    assert_eq!((inner.report.attempts.len(), host.in_use()), (1, (0, 0)));
}

#[tokio::test(start_paused = true)]
async fn the_end_of_a_call_ends_what_it_has_inside_in_all_layers() {
    let heard = Arc::new(Heard::default());
    // The middle would wait for as long as the writer writes.
    let middle = tool("middle", |attempt| async move { Ok(attempt.call("writer", json!({})).await.result?.value) });
    let host = host([leaves("outer", "middle"), middle, writer()]).with_sink(heard.clone());
    host.call(Call::new("outer", json!({}))).await.result.unwrap();
    let told = heard.0.lock().unwrap().len();
    sleep(ms(60_000)).await;
    let rest = heard.0.lock().unwrap().split_off(told);
    assert!(!rest.iter().any(|told| told == "effect"), "{rest:?}");
    for tool in ["middle", "writer"] {
        assert_eq!(heard.outcome_of(tool).failed(), Some(ErrorKind::Cancelled), "{tool}");
    }
}

#[tokio::test(start_paused = true)]
async fn the_end_of_a_call_waits_until_what_runs_inside_of_it_has_stopped() {
    struct Stops(Arc<Mutex<Vec<&'static str>>>);
    impl Drop for Stops {
        fn drop(&mut self) {
            self.0.lock().unwrap().push("the inner one has stopped");
        }
    }
    let order = Arc::<Mutex<Vec<&str>>>::default();
    let stops = order.clone();
    let inner = tool("inner", move |_| {
        let stops = Stops(stops.clone());
        async move {
            let _stops = stops;
            std::future::pending().await
        }
    });
    let host = host([leaves("outer", "inner"), inner]);
    host.call(Call::new("outer", json!({}))).await.result.unwrap();
    order.lock().unwrap().push("the outer one has ended");
    sleep(ms(1)).await;
    assert_eq!(*order.lock().unwrap(), ["the inner one has stopped", "the outer one has ended"]);
}

#[tokio::test(start_paused = true)]
async fn what_a_call_inside_has_not_done_by_the_end_of_the_one_around_it_keeps_that_from_no_other_try() {
    for (waits, attempts) in [(ms(2_000), 3), (ms(0), 1)] {
        let inner = tool("inner", move |attempt| async move {
            sleep(waits).await;
            attempt.pass(write(1)).await?.done();
            std::future::pending().await
        });
        let outer = tool("outer", |attempt| async move {
            let _ = timeout(ms(1_000), attempt.call("inner", json!({}))).await;
            Err(CallError::new(ErrorKind::ToolFailed { retryable: true }, Stage::Run, "it did not wait"))
        });
        let outcome = host([outer, inner]).call(Call::new("outer", json!({}))).await;
        assert_eq!(outcome.report.attempts.len(), attempts);
        assert_eq!(outcome.failed() == Some(ErrorKind::OutcomeUnknown), attempts == 1, "{:?}", outcome.result);
    }
}

#[tokio::test(start_paused = true)]
async fn what_its_caller_does_not_wait_for_goes_on_as_long_as_its_caller_does_and_is_not_tried_again() {
    let heard = Arc::new(Heard::default());
    let inner = tool("inner", |attempt| async move {
        sleep(ms(3_000)).await;
        attempt.pass(write(1)).await?.done();
        Err(CallError::new(ErrorKind::ToolFailed { retryable: true }, Stage::Run, "away"))
    });
    let mut outer = tool("outer", |attempt| async move {
        let _ = timeout(ms(1_000), attempt.call("inner", json!({}))).await;
        sleep(ms(3_000)).await;
        Ok(json!("it did something else"))
    });
    outer.limits.attempt_time_max = ms(10_000);
    let host = host([outer, inner]).with_sink(heard.clone());
    host.call(Call::new("outer", json!({}))).await.result.unwrap();
    // It failed behind its effect, and nobody tries again to find out.
    assert_eq!(*heard.0.lock().unwrap(), ["effect", "inner outcome_unknown", "outer ok"]);
    assert_eq!(heard.outcome_of("inner").report.not_retried, Some("may_have_happened"));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_fails_inside_because_the_call_around_it_has_ended_was_cancelled() {
    let heard = Arc::new(Heard::default());
    let begun = Arc::new(Notify::new());
    let begins = begun.clone();
    // It notices the end while it computes, and takes it for a failure.
    let inner = tool("inner", move |attempt| {
        let begins = begins.clone();
        async move {
            // From elsewhere: whom a task wakes has its turn on the same thread.
            std::thread::spawn(move || begins.notify_one());
            let began = tokio::time::Instant::now();
            while !attempt.is_over() && began.elapsed() < ms(10_000) {
                std::thread::yield_now();
            }
            Err(CallError::new(ErrorKind::ToolFailed { retryable: false }, Stage::Run, "it cannot go on"))
        }
    });
    let outer = tool("outer", move |attempt| {
        let begun = begun.clone();
        async move {
            tokio::select! {
                outcome = attempt.call("inner", json!({})) => Ok(json!(outcome.name())),
                () = begun.notified() => Ok(json!("it did not wait")),
            }
        }
    });
    let outcome = host([outer, inner]).with_sink(heard.clone()).call(Call::new("outer", json!({}))).await;
    assert_eq!(outcome.result.unwrap().value, json!("it did not wait"));
    while heard.0.lock().unwrap().len() < 2 {
        sleep(ms(1)).await;
    }
    assert_eq!(heard.outcome_of("inner").failed(), Some(ErrorKind::Cancelled));
}

#[tokio::test(start_paused = true)]
async fn a_report_lists_the_calls_inside_and_how_far_each_went() {
    let inner = tool("inner", |attempt| async move {
        attempt.pass(write(1)).await?.done();
        attempt.pass(write(2)).await?.failed();
        // This one is cut off.
        let _passage = attempt.pass(write(3)).await?;
        std::future::pending().await
    });
    let idle = tool("idle", |_| async { Ok(json!(1)) });
    let middle = tool("middle", |attempt| async move { Ok(attempt.call("inner", json!({})).await.result?.value) });
    let outer = tool("outer", |attempt| async move {
        attempt.call("idle", json!({})).await.result?;
        let nobody = attempt.call("nobody", json!({})).await;
        assert_eq!(nobody.failed(), Some(ErrorKind::UnknownTool));
        let _ = timeout(ms(950), attempt.call("middle", json!({}))).await;
        Ok(json!(null))
    });
    let heard = Arc::new(Heard::default());
    let host = host([outer, middle, inner, idle]).with_sink(heard.clone());
    let outcome = host.call(Call::new("outer", json!({}))).await;
    sleep(ms(1)).await;
    let told = |outcome: &Outcome| {
        let told = outcome.report.inside.iter().map(|call| {
            assert_eq!(heard.outcome_of(&call.tool).call, call.call);
            (call.tool.clone(), call.effects, call.reach)
        });
        told.collect::<Vec<_>>()
    };
    // What is not there did nothing. What is inside of one inside stands in that one's report; how far it went counts there too.
    let wanted = [("idle".to_owned(), 0, EffectClass::Pure), ("middle".to_owned(), 0, EffectClass::Writes)];
    assert_eq!(told(&outcome), wanted);
    assert_eq!(told(&heard.outcome_of("middle")), [("inner".to_owned(), 2, EffectClass::Writes)]);
    let plain = serde_json::to_value(&outcome.report).unwrap();
    let (id, tool) = (heard.outcome_of("middle").call, "middle");
    assert_eq!(plain["inside"][1], json!({"call": id, "tool": tool, "effects": 0, "reach": "writes"}));
}

#[tokio::test(start_paused = true)]
async fn a_call_inside_that_is_tried_again_is_listed_once_and_so_many_are_listed() {
    let fails = tool("fails", |attempt| async move {
        attempt.pass(Effect { class: EffectClass::Reads, ..write(1) }).await?.done();
        Err(CallError::new(ErrorKind::ToolFailed { retryable: true }, Stage::Run, "away"))
    });
    let idle = tool("idle", |_| async { Ok(json!(1)) });
    let outer = tool("outer", |attempt| async move {
        attempt.call("fails", json!({})).await;
        for _ in 0..1_100 {
            attempt.call("idle", json!({})).await;
        }
        Ok(json!(null))
    });
    let report = host([outer, fails, idle]).call(Call::new("outer", json!({}))).await.report;
    assert_eq!((report.inside[0].tool.as_str(), report.inside[0].effects), ("fails", 3));
    assert_eq!((report.inside.len(), report.inside_unlisted), (1_000, 101));
}

#[tokio::test(start_paused = true)]
async fn what_a_call_inside_may_do_is_judged_by_what_it_did() {
    let effect = || Effect { action: "tools.call".into(), target: "inner".into(), ..write(1) };
    for did in [false, true] {
        let inner = tool("inner", move |attempt| async move {
            if did {
                attempt.pass(write(1)).await?.done();
            }
            Ok(json!(1))
        });
        let outer = tool("outer", move |attempt| async move {
            attempt.pass(effect()).await?.done();
            attempt.call("inner", json!({})).await.result?;
            Err(CallError::new(ErrorKind::ToolFailed { retryable: true }, Stage::Run, "it failed afterwards"))
        });
        let outcome = host([outer, inner]).call(Call::new("outer", json!({}))).await;
        assert_eq!(outcome.report.attempts.len(), if did { 1 } else { 3 });
    }
}
