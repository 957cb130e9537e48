//! Time limits: when a call is ended, and that nothing of it happens afterwards.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing, reason = "tests")]

use std::sync::atomic::{AtomicBool, Ordering::SeqCst};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use futures_util::FutureExt;
use serde_json::{Value, json};
use tokio::sync::mpsc;
use tokio::time::{Instant, sleep};
use toolpost_core::catalog::Base;
use toolpost_core::effect::Fate;
use toolpost_core::guard::retry::RetrySettings;
use toolpost_core::guard::{GuardSettings, breaker};
use toolpost_core::{
    Attempt, Call, CallError, Catalog, Effect, EffectClass, ErrorKind, Event, Host, HostLimits, Level, Limits, Native,
    Outcome, Sink, Stage, Told, Tool,
};

const CLASSES: [EffectClass; 2] = [EffectClass::Reads, EffectClass::Writes];

/// One attempt, and no breaker: the tests are about something else.
fn once() -> GuardSettings {
    let retry = RetrySettings { max_attempts: Some(1), ..RetrySettings::default() };
    GuardSettings { retry, breaker: Some(breaker::Settings::None), ..GuardSettings::default() }
}

fn seconds(seconds: u64) -> Duration {
    Duration::from_secs(seconds)
}

fn limits(attempt: Duration, call: Duration) -> Limits {
    Limits { attempt_time_max: attempt, call_time_max: call, ..Limits::default() }
}

fn tool<F, R>(class: EffectClass, limits: Limits, run: F) -> Tool
where
    F: Fn(Attempt) -> R + Send + Sync + 'static,
    R: Future<Output = Result<Value, CallError>> + Send + 'static,
{
    Native::new("work", "").effect(class).above(Base { limits, ..Base::default() }).guard(once()).run(run)
}

/// A tool that works for so long.
fn takes(time: Duration, class: EffectClass, limits: Limits) -> Tool {
    tool(class, limits, move |_| async move {
        sleep(time).await;
        Ok(json!("done"))
    })
}

fn host(tool: Tool) -> Host {
    let mut catalog = Catalog::default();
    catalog.add(tool).unwrap();
    Host::new(catalog)
}

async fn call(host: &Host) -> Outcome {
    host.call(Call::new("work", json!({}))).await
}

/// The call ends as timed out after exactly that time, with that message.
async fn check(tool: Tool, after: Duration, message: &str) {
    let host = host(tool);
    let started = Instant::now();
    let outcome = call(&host).await;
    assert_eq!(started.elapsed(), after);
    let error = outcome.result.unwrap_err();
    assert_eq!((error.kind, error.stage, error.message.as_str()), (ErrorKind::TimedOut, Stage::Run, message));
    assert_eq!(outcome.report.attempts[0].time, after);
    assert_eq!(outcome.report.attempts[0].error.as_ref().unwrap().kind, ErrorKind::TimedOut);
    assert_eq!(host.in_use(), (0, 0));
}

fn effect() -> Effect {
    Effect { class: EffectClass::Writes, action: "files.write".into(), target: "a.txt".into(), detail: None }
}

/// Counts the events of each call.
#[derive(Default)]
struct Counter(Mutex<usize>);

impl Sink for Counter {
    fn tell(&self, _: &Told<'_>) {
        *self.0.lock().unwrap() += 1;
    }
}

#[tokio::test(start_paused = true)]
async fn an_attempt_is_ended_exactly_at_its_limit() {
    for class in CLASSES {
        let message = "the tool did not answer within 30s; ask for less at once, or raise `limits.time`";
        check(takes(Duration::MAX, class, Limits::default()), seconds(30), message).await;
        let message = "the tool did not answer within 250ms; ask for less at once, or raise `limits.time`";
        let short = limits(Duration::from_millis(250), seconds(5));
        check(takes(seconds(1), class, short), Duration::from_millis(250), message).await;
    }
}

#[tokio::test(start_paused = true)]
async fn an_answer_just_before_the_limit_counts() {
    for class in CLASSES {
        let outcome = call(&host(takes(Duration::from_millis(29_999), class, Limits::default()))).await;
        assert_eq!(outcome.result.unwrap().value, json!("done"));
        assert_eq!(outcome.report.time, Duration::from_millis(29_999));
    }
}

#[tokio::test(start_paused = true)]
async fn a_call_is_ended_at_its_own_limit_where_that_is_nearer_than_the_attempts() {
    for class in CLASSES {
        let message = "the call did not end within 5s; ask for less at once, or raise `limits.call_time`";
        check(takes(Duration::MAX, class, limits(seconds(30), seconds(5))), seconds(5), message).await;
    }
}

#[tokio::test]
async fn the_limit_is_told_as_it_was_set_also_when_the_clock_runs() {
    let limit = Duration::from_millis(20);
    let outcome = call(&host(takes(Duration::MAX, EffectClass::Writes, limits(limit, seconds(5))))).await;
    let message = outcome.result.unwrap_err().message;
    assert!(message.starts_with("the tool did not answer within 20ms;"), "{message}");
}

#[tokio::test(start_paused = true)]
async fn a_limit_may_be_as_long_as_a_span_of_time_can_be() {
    for class in CLASSES {
        let outcome = call(&host(takes(seconds(86_400), class, limits(Duration::MAX, Duration::MAX)))).await;
        assert_eq!(outcome.result.unwrap().value, json!("done"), "{class:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_call_waits_for_a_place_no_longer_than_it_may_take() {
    let one_place = HostLimits { max_parallel: 1, max_waiting: 8, ..HostLimits::default() };
    for class in CLASSES {
        let ran = Arc::new(Mutex::new(0));
        let count = ran.clone();
        let tool = tool(class, limits(seconds(60), seconds(10)), move |_| {
            *count.lock().unwrap() += 1;
            async { Ok(json!(1)) }
        });
        let mut catalog = Catalog::default();
        catalog.add(tool).unwrap();
        catalog.add(Tool { name: "long".into(), ..takes(seconds(25), class, Limits::default()) }).unwrap();
        let host = Host::new(catalog).with_limits(one_place);
        let waiting = async {
            assert_eq!(host.in_use(), (1, 0));
            let outcome = call(&host).await;
            assert_eq!(host.in_use(), (1, 0), "it does not wait any more");
            outcome
        };
        let (long, outcome) = tokio::join!(host.call(Call::new("long", json!({}))), waiting);
        assert!(long.result.is_ok());
        let error = outcome.result.unwrap_err();
        assert_eq!((error.kind, error.stage), (ErrorKind::TimedOut, Stage::Guard), "{class:?}");
        assert_eq!(error.message, "no place came free within 10s; call again later, or raise `limits.call_time`");
        assert!(error.retry_after.is_some());
        assert_eq!((outcome.report.time, outcome.report.waited), (seconds(10), seconds(10)));
        assert_eq!((*ran.lock().unwrap(), host.in_use()), (0, (0, 0)));
    }
}

#[tokio::test(start_paused = true)]
async fn the_time_of_a_call_includes_its_wait_for_a_place() {
    for class in CLASSES {
        let mut catalog = Catalog::default();
        catalog.add(takes(seconds(60), class, limits(seconds(30), seconds(10)))).unwrap();
        catalog.add(Tool { name: "long".into(), ..takes(seconds(6), class, Limits::default()) }).unwrap();
        let host =
            Host::new(catalog).with_limits(HostLimits { max_parallel: 1, max_waiting: 8, ..HostLimits::default() });
        let (_, outcome) = tokio::join!(host.call(Call::new("long", json!({}))), call(&host));
        assert_eq!(outcome.result.unwrap_err().kind, ErrorKind::TimedOut);
        assert_eq!((outcome.report.waited, outcome.report.time), (seconds(6), seconds(10)), "{class:?}");
        assert_eq!(outcome.report.attempts[0].time, seconds(4));
    }
}

#[tokio::test(start_paused = true)]
async fn a_timeout_drops_the_tool_and_closes_the_effect_gate_before_the_result_is_returned() {
    /// What a running tool holds.
    struct Holding(Arc<AtomicBool>);
    impl Drop for Holding {
        fn drop(&mut self) {
            self.0.store(true, SeqCst);
        }
    }
    for class in CLASSES {
        let (passes, mut passed) = mpsc::unbounded_channel();
        let dropped = Arc::new(AtomicBool::new(false));
        let drops = dropped.clone();
        let tool = tool(class, Limits::default(), move |attempt| {
            let (passes, holding) = (passes.clone(), Holding(drops.clone()));
            async move {
                let _holding = holding;
                // A task of the tool's own, which nobody stops.
                let detached = attempt.clone();
                tokio::spawn(async move {
                    for _ in 0..7 {
                        sleep(seconds(10)).await;
                        detached.progress(1, None, None);
                        detached.log(Level::Info, "still here");
                        detached.emit("more").await;
                        passes.send(detached.pass(effect()).await.map(|passage| passage.done())).unwrap();
                    }
                });
                std::future::pending().await
            }
        });
        let counter = Arc::new(Counter::default());
        let host = host(tool).with_sink(counter.clone());
        let started = Instant::now();
        let outcome = host.call(Call::new("work", json!({}))).await;
        assert_eq!(outcome.result.unwrap_err().kind, ErrorKind::OutcomeUnknown);
        assert_eq!(started.elapsed(), seconds(30));
        assert!(dropped.load(SeqCst), "{class:?}: the tool is gone");
        let told = *counter.0.lock().unwrap();

        let mut answers = Vec::new();
        for _ in 0..7 {
            let answer = passed.recv().await.unwrap();
            answers.push(answer.map_err(|error| (error.kind, error.message)));
        }
        let over = (ErrorKind::Cancelled, "the call is over; nothing more is done for it".to_owned());
        // At 30 s, the task and the limit may come in either order.
        let (before, after) = (&answers[..2], &answers[3..]);
        assert!(before.iter().all(Result::is_ok), "{class:?}: {before:?}");
        assert!(after.iter().all(|answer| *answer == Err(over.clone())), "{class:?}: {after:?}");
        assert!(outcome.report.effects.len() <= 3);
        assert_eq!(*counter.0.lock().unwrap(), told, "{class:?}: told behind the last word");
    }
}

#[tokio::test(start_paused = true)]
async fn not_even_what_a_stopped_tool_does_while_it_is_dropped_has_an_effect() {
    /// What a tool's author may have put into a destructor.
    struct Tidy(Attempt);
    impl Drop for Tidy {
        fn drop(&mut self) {
            assert!(self.0.emit("bye").now_or_never().is_some());
            self.0.log(Level::Info, "bye");
            let pass = self.0.pass(effect()).now_or_never();
            assert_eq!(pass.map(|passed| passed.map(drop).map_err(|e| e.kind)), Some(Err(ErrorKind::Cancelled)));
        }
    }
    #[derive(Default)]
    struct Parts(Mutex<Vec<String>>);
    impl Sink for Parts {
        fn tell(&self, told: &Told<'_>) {
            if let Event::Partial { text } | Event::Log { message: text, .. } = told.event {
                self.0.lock().unwrap().push((*text).to_owned());
            }
        }
    }
    for class in CLASSES {
        let tool = tool(class, Limits::default(), |attempt| async move {
            let _tidy = Tidy(attempt);
            std::future::pending().await
        });
        let parts = Arc::new(Parts::default());
        let outcome = call(&host(tool).with_sink(parts.clone())).await;
        assert_eq!(outcome.result.unwrap_err().kind, ErrorKind::TimedOut, "{class:?}");
        assert_eq!(*parts.0.lock().unwrap(), Vec::<String>::new(), "{class:?}");
        let fates: Vec<_> = outcome.report.effects.iter().map(|record| record.fate).collect();
        assert_eq!(fates, [Fate::Refused], "{class:?}");
    }
}
