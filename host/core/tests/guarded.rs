//! Guards on the road: what is tried again, what is left alone, what comes too often.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing, reason = "tests")]

use std::sync::atomic::{AtomicU32, Ordering::SeqCst};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use serde_json::{Value, json};
use tokio::time::{Instant, sleep};
use toolpost_core::guard::GuardSettings;
use toolpost_core::{
    Attempt, Call, CallError, Caller, Catalog, Effect, EffectClass, ErrorKind, Event, Host, HostLimits, Native,
    Outcome, Sink, Stage, Told,
};

fn seconds(seconds: u64) -> Duration {
    Duration::from_secs(seconds)
}

fn guard(settings: Value) -> GuardSettings {
    serde_json::from_value(settings).unwrap()
}

fn unavailable() -> CallError {
    CallError::new(ErrorKind::ToolFailed { retryable: true }, Stage::Run, "the service is away")
}

/// A tool that does what `act` says, by the number of times that it was run.
fn host<R>(
    class: EffectClass,
    settings: Value,
    act: impl Fn(u32, Attempt) -> R + Send + Sync + 'static,
) -> (Host, Arc<AtomicU32>)
where
    R: Future<Output = Result<Value, CallError>> + Send + 'static,
{
    let runs = Arc::new(AtomicU32::new(0));
    let counted = runs.clone();
    let tool = Native::new("work", "").effect(class).guard(guard(settings)).run(move |attempt| {
        let run = counted.fetch_add(1, SeqCst) + 1;
        act(run, attempt)
    });
    let mut catalog = Catalog::default();
    catalog.add(tool).unwrap();
    (Host::new(catalog), runs)
}

async fn call(host: &Host) -> Outcome {
    host.call(Call::new("work", json!({}))).await
}

#[derive(Default)]
struct Lines(Mutex<Vec<String>>);

impl Sink for Lines {
    fn tell(&self, told: &Told<'_>) {
        self.0.lock().unwrap().push(match told.event {
            Event::CallStarted { .. } => "call".into(),
            Event::AttemptStarted { number } => format!("attempt {number}"),
            Event::AttemptEnded { report } => report.error.as_ref().map_or("good", |_| "bad").into(),
            Event::Retry { .. } => "retry".into(),
            Event::CallEnded { outcome } => outcome.failed().map_or("ok".into(), |kind| kind.name().into()),
            _ => "more".into(),
        });
    }
}

#[tokio::test(start_paused = true)]
async fn what_failed_for_a_while_is_tried_again() {
    let settings = json!({"retry": {"backoff": {"fixed": {"delay": "2s"}}}});
    let (host, runs) = host(EffectClass::Writes, settings, |run, _| async move {
        if run < 3 { Err(unavailable()) } else { Ok(json!(run)) }
    });
    let told = Arc::new(Lines::default());
    let host = host.with_sink(told.clone());
    let started = Instant::now();
    let outcome = call(&host).await;
    assert_eq!(outcome.result.unwrap().value, json!(3));
    assert_eq!((runs.load(SeqCst), outcome.report.attempts.len()), (3, 3));
    let errors: Vec<bool> = outcome.report.attempts.iter().map(|attempt| attempt.error.is_some()).collect();
    assert_eq!(errors, [true, true, false]);
    assert_eq!(started.elapsed(), seconds(4));
    let expected =
        ["call", "more", "attempt 1", "bad", "retry", "attempt 2", "bad", "retry", "attempt 3", "good", "ok"];
    assert_eq!(*told.0.lock().unwrap(), expected);
}

#[tokio::test(start_paused = true)]
async fn no_more_attempts_are_made_than_there_may_be_and_the_last_error_is_told() {
    for (settings, attempts, why) in [
        (json!({}), 3, "no_attempt_left"),
        (json!({"retry": {"max_attempts": 5}}), 5, "no_attempt_left"),
        (json!({"retry": {"backoff": "none"}}), 1, "not_wanted"),
    ] {
        let (host, runs) = host(EffectClass::Reads, settings, |_, _| async { Err(unavailable()) });
        let outcome = call(&host).await;
        assert_eq!(outcome.result.unwrap_err().message, "the service is away");
        assert_eq!((runs.load(SeqCst), outcome.report.not_retried), (attempts, Some(why)));
    }
}

/// How an attempt ends behind its effect.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Behind {
    Happened,
    /// It was sent, and nobody knows what became of it.
    Cut,
    /// It was not sent.
    Unsent,
    /// There was none.
    Nothing,
}

#[tokio::test(start_paused = true)]
async fn outcome_unknown_and_a_retry_only_if_nothing_was_sent_or_the_effect_is_idempotent_by_key() {
    let attempt_of = |behind: Behind| {
        move |run: u32, attempt: Attempt| async move {
            let effect =
                Effect { class: EffectClass::Writes, action: "orders.create".into(), target: "1".into(), detail: None };
            match behind {
                Behind::Happened => attempt.pass(effect).await?.done(),
                Behind::Cut => {
                    let passage = attempt.pass(effect).await?;
                    if run == 1 {
                        sleep(seconds(60)).await;
                    }
                    passage.done();
                }
                Behind::Unsent => attempt.pass(effect).await?.failed(),
                Behind::Nothing => {}
            }
            if run == 1 { Err(unavailable()) } else { Ok(json!(run)) }
        }
    };
    for behind in [Behind::Happened, Behind::Cut, Behind::Unsent, Behind::Nothing] {
        for idempotent in [false, true] {
            let settings = json!({"idempotency": {"idempotent": idempotent}});
            let (host, runs) = host(EffectClass::Writes, settings, attempt_of(behind));
            let key = Some("order 1".to_owned());
            let outcome = host.call(Call { idempotency_key: key, ..Call::new("work", json!({})) }).await;
            let what = format!("{behind:?}, {idempotent}: {:?}", outcome.result);
            if idempotent || [Behind::Unsent, Behind::Nothing].contains(&behind) {
                assert_eq!((outcome.failed(), runs.load(SeqCst)), (None, 2), "{what}");
                continue;
            }
            assert_eq!((runs.load(SeqCst), outcome.report.not_retried), (1, Some("may_have_happened")), "{what}");
            let error = outcome.result.unwrap_err();
            assert_eq!(error.kind, ErrorKind::OutcomeUnknown, "{what}");
            assert!(error.message.contains("; its effect may have happened"), "{what}");
        }
    }
}

#[tokio::test(start_paused = true)]
async fn a_tool_that_only_computes_is_not_run_again_when_its_time_is_over() {
    for (class, attempts) in [(EffectClass::Pure, 1), (EffectClass::Reads, 3)] {
        let (host, runs) = host(class, json!({}), |_, _| std::future::pending());
        assert_eq!(call(&host).await.result.unwrap_err().kind, ErrorKind::TimedOut);
        assert_eq!(runs.load(SeqCst), attempts, "{class:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_call_that_waits_for_its_next_attempt_holds_no_place() {
    let settings = json!({"retry": {"backoff": {"fixed": {"delay": "10s"}}}});
    let (host, _) = host(EffectClass::Reads, settings, |run, _| async move {
        if run == 1 { Err(unavailable()) } else { Ok(json!(run)) }
    });
    let host = Arc::new(host.with_limits(HostLimits { max_parallel: 1, max_waiting: 0, ..HostLimits::default() }));
    let waiting = tokio::spawn({
        let host = host.clone();
        async move { call(&host).await }
    });
    sleep(seconds(1)).await;
    assert_eq!(host.in_use(), (0, 0));
    assert_eq!(call(&host).await.result.unwrap().value, json!(2));
    assert_eq!(waiting.await.unwrap().result.unwrap().value, json!(3));
}

#[tokio::test(start_paused = true)]
async fn a_caller_who_goes_away_gets_no_further_attempt() {
    for class in [EffectClass::Reads, EffectClass::Writes] {
        let (host, runs) = host(class, json!({}), |_, _| async {
            sleep(seconds(1)).await;
            Err(unavailable())
        });
        assert!(tokio::time::timeout(Duration::from_millis(500), call(&host)).await.is_err());
        sleep(seconds(100)).await;
        assert_eq!((runs.load(SeqCst), host.in_use()), (1, (0, 0)), "{class:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_caller_who_goes_away_between_two_attempts_gets_no_second_one() {
    for class in [EffectClass::Reads, EffectClass::Writes] {
        let settings = json!({"retry": {"backoff": {"fixed": {"delay": "10s"}}}, "breaker": {"kind": "none"}});
        let (host, runs) =
            host(class, settings, |run, _| async move { if run == 2 { Ok(json!(run)) } else { Err(unavailable()) } });
        let told = Arc::new(Lines::default());
        let host = host.with_sink(told.clone());
        assert!(tokio::time::timeout(seconds(5), call(&host)).await.is_err(), "{class:?}");
        // It does not wait for what it does not do any more.
        sleep(Duration::from_millis(1)).await;
        assert_eq!(*told.0.lock().unwrap(), ["call", "more", "attempt 1", "bad", "retry", "cancelled"], "{class:?}");
        sleep(seconds(100)).await;
        assert_eq!((runs.load(SeqCst), host.in_use()), (1, (0, 0)), "{class:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_tool_that_keeps_failing_is_left_alone_until_it_is_tried_out() {
    let well = Arc::new(AtomicU32::new(0));
    let now = well.clone();
    let (host, runs) = host(EffectClass::Reads, json!({"retry": {"backoff": "none"}}), move |_, _| {
        let well = now.load(SeqCst) > 0;
        async move { if well { Ok(json!("well")) } else { Err(unavailable()) } }
    });
    for _ in 0..5 {
        assert_eq!(call(&host).await.result.unwrap_err().message, "the service is away");
    }
    let error = call(&host).await.result.unwrap_err();
    assert_eq!((error.kind, runs.load(SeqCst)), (ErrorKind::CircuitOpen, 5), "{error}");
    let after = error.retry_after.unwrap();
    assert!(after > seconds(20) && after < seconds(40), "{after:?}");
    assert_eq!(host.breakers().list().len(), 1);

    well.store(1, SeqCst);
    sleep(after).await;
    for _ in 0..5 {
        assert_eq!(call(&host).await.result.unwrap().value, json!("well"));
    }
}

#[tokio::test(start_paused = true)]
async fn a_call_that_comes_too_often_is_told_when_to_come_back_and_retries_are_not_charged() {
    let settings = json!({"rate": {"tool_and_caller": "2/min"}});
    let (host, runs) = host(EffectClass::Reads, settings, |run, _| async move {
        if run == 1 { Err(unavailable()) } else { Ok(json!(run)) }
    });
    let by = |name: &str| host.call(Call::new("work", json!({})).by(Caller::named(name)));
    assert!(by("ann").await.result.is_ok());
    assert!(by("ann").await.result.is_ok());
    let error = by("ann").await.result.unwrap_err();
    assert_eq!((error.kind, error.stage), (ErrorKind::RateLimited, Stage::Guard), "{error}");
    assert!(by("bob").await.result.is_ok(), "another caller is not concerned");
    sleep(error.retry_after.unwrap()).await;
    assert!(by("ann").await.result.is_ok());
    assert_eq!(runs.load(SeqCst), 5);
}

#[tokio::test(start_paused = true)]
async fn an_operator_can_isolate_a_tool_also_where_no_breaker_watches_it() {
    use toolpost_core::guard::breaker::{Key, Settings};
    let settings = json!({"retry": {"backoff": "none"}, "breaker": {"kind": "none"}});
    let (host, runs) = host(EffectClass::Reads, settings, |_, _| async { Err(unavailable()) });
    for _ in 0..20 {
        assert_eq!(call(&host).await.result.unwrap_err().message, "the service is away");
    }
    let breaker = host.breakers().get(&Key::tool("work"), &Settings::None, seconds(30));
    breaker.isolate("ops", "it misbehaves", None);
    assert_eq!(call(&host).await.result.unwrap_err().kind, ErrorKind::CircuitOpen);
    breaker.release("ops", "it behaves");
    assert_eq!(call(&host).await.result.unwrap_err().message, "the service is away");
    assert_eq!(runs.load(SeqCst), 21);
}
