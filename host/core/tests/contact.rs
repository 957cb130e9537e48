//! Servers that tools talk to: each has a breaker of its own, and what is counted there is not counted against the tool.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing, reason = "tests")]

use std::sync::atomic::{AtomicU32, Ordering::SeqCst};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use serde_json::{Value, json};
use tokio::time::{sleep, timeout};
use toolpost_core::catalog::settings::LimitSettings;
use toolpost_core::effect::Fate;
use toolpost_core::guard::breaker::{Key, Outcome as Said, Settings, Snapshot, Status};
use toolpost_core::run::Contact;
use toolpost_core::{Attempt, Call, CallError, Catalog, Effect, EffectClass, ErrorKind, Host, Native, Outcome, Stage};

const BAD: &str = "bad.test:443";
const GOOD: &str = "good.test:443";

fn failed(kind: ErrorKind) -> CallError {
    CallError::new(kind, Stage::Run, "in its own words")
}

fn unavailable() -> CallError {
    failed(ErrorKind::ToolFailed { retryable: true })
}

/// A host of the tool `work`, which does what `act` says, by the number of times that it was run.
fn host<R>(guard: Value, act: impl Fn(u32, Attempt) -> R + Send + Sync + 'static) -> Host
where
    R: Future<Output = Result<Value, CallError>> + Send + 'static,
{
    let runs = AtomicU32::new(0);
    let limits = LimitSettings { time: Some("10s".parse().unwrap()), ..LimitSettings::default() };
    let tool = Native::new("work", "").effect(EffectClass::Reads).limits(limits);
    let tool = tool.guard(serde_json::from_value(guard).unwrap());
    let mut catalog = Catalog::default();
    catalog.add(tool.run(move |attempt| act(runs.fetch_add(1, SeqCst) + 1, attempt))).unwrap();
    Host::new(catalog)
}

fn once() -> Value {
    json!({"retry": {"max_attempts": 1}, "breaker": {"kind": "standard", "consecutive": 3, "jitter": 0}})
}

async fn call(host: &Host) -> Outcome {
    host.call(Call::new("work", json!({}))).await
}

fn kind(outcome: &Outcome) -> Option<ErrorKind> {
    outcome.result.as_ref().err().map(|error| error.kind)
}

/// What there is to see of a server's breaker.
fn server(host: &Host, authority: &str) -> Snapshot {
    host.breakers().find(&Key::egress("work", authority)).unwrap().snapshot()
}

/// Failures that were counted against the tool, and ends that were counted at all.
fn tool(host: &Host) -> (u64, u64) {
    let counts = host.breakers().find(&Key::tool("work")).unwrap().snapshot().counts;
    (counts.failed, counts.total)
}

fn get(authority: &str) -> Effect {
    let target = format!("https://{authority}/");
    Effect { class: EffectClass::Reads, action: "net.get".into(), target, detail: None }
}

/// Asks a server, as a driver does.
async fn ask(attempt: &Attempt, authority: &str, said: Said) -> Result<(), CallError> {
    let contact = attempt.contact(authority).inspect_err(|why| attempt.refuse(get(authority), why.clone()));
    let contact = contact.map_err(|_| unavailable())?;
    attempt.pass(get(authority)).await?.done();
    contact.finish(said);
    if said == Said::Success { Ok(()) } else { Err(unavailable()) }
}

#[tokio::test(start_paused = true)]
async fn a_dead_server_is_left_alone_and_its_tool_goes_on_with_the_others() {
    let host = host(once(), |run, attempt| async move {
        let authority = if run.is_multiple_of(2) { GOOD } else { BAD };
        let said = if authority == GOOD { Said::Success } else { Said::Failure("http_500") };
        ask(&attempt, authority, said).await.map(|()| json!("well"))
    });
    for run in 1..=6 {
        assert_eq!(call(&host).await.result.is_ok(), run % 2 == 0, "{run}");
    }
    assert_eq!((server(&host, BAD).status, server(&host, GOOD).status), (Status::Open, Status::Closed));
    let refused = call(&host).await;
    let error = refused.result.unwrap_err();
    assert_eq!((error.kind, error.stage), (ErrorKind::CircuitOpen, Stage::Run));
    assert_eq!(
        error.message,
        "`bad.test:443` failed too often and is left alone (the last failure: `http_500`); call again in 30s, or go on \
         without it; the tool ended with: in its own words"
    );
    assert_eq!(error.retry_after, Some(Duration::from_secs(30)));
    assert_eq!(refused.report.effects.last().unwrap().fate, Fate::Refused);
    assert!(call(&host).await.result.is_ok(), "the good one is asked as ever");
    assert_eq!(tool(&host), (0, 4), "only what succeeded says something about the tool");

    sleep(Duration::from_secs(30)).await;
    call(&host).await;
    assert_eq!(server(&host, BAD).reopened, 1, "it was tried out, and is still dead");
}

#[tokio::test(start_paused = true)]
async fn what_a_tool_makes_of_a_servers_failure_is_not_counted_twice_and_all_else_is() {
    // How the attempt ends, whether a server has failed it, and how often that counts against the tool.
    let rows = [
        (ErrorKind::ToolFailed { retryable: true }, true, 0),
        (ErrorKind::Trapped, true, 0),
        (ErrorKind::TimedOut, true, 0),
        (ErrorKind::OutOfFuel, true, 1),
        (ErrorKind::OutOfMemory, true, 1),
        (ErrorKind::OutputTooLarge, true, 1),
        (ErrorKind::ToolFailed { retryable: true }, false, 1),
        (ErrorKind::Trapped, false, 1),
        (ErrorKind::TimedOut, false, 1),
    ];
    for (end, fails, counted) in rows {
        let host = host(once(), move |_, attempt| async move {
            let said = if fails { Said::Failure("http_500") } else { Said::Success };
            let _ = ask(&attempt, BAD, said).await;
            Err::<Value, _>(failed(end))
        });
        assert_eq!(kind(&call(&host).await), Some(end));
        assert_eq!(tool(&host), (counted, counted), "{end:?}, {fails}");
        assert_eq!(server(&host, BAD).counts.failed, u64::from(fails));
    }
}

#[tokio::test(start_paused = true)]
async fn a_server_that_asks_for_a_pause_gets_it_and_the_tool_is_not_held_for_it() {
    let host = host(once(), |run, attempt| async move {
        let said = Said::Throttled { retry_after: Duration::from_secs(7) };
        match run {
            1 => {
                let _ = ask(&attempt, BAD, said).await;
                Err(unavailable().retry_after(Duration::from_secs(7)))
            }
            2 => ask(&attempt, GOOD, Said::Success).await.map(|()| json!("well")),
            _ => ask(&attempt, BAD, Said::Success).await.map(|()| json!("well")),
        }
    });
    assert!(call(&host).await.result.is_err());
    assert!(call(&host).await.result.is_ok());
    let error = call(&host).await.result.unwrap_err();
    assert!(error.message.starts_with("`bad.test:443` has asked not to be called for a while; call again in 7s"));
    sleep(Duration::from_secs(7)).await;
    assert!(call(&host).await.result.is_ok());
}

#[tokio::test(start_paused = true)]
async fn a_refused_request_is_tried_again_only_where_settings_say_so_also_after_another_was_read() {
    let retry = |on: Value| json!({"retry": {"retry_on": on}, "breaker": {"kind": "standard", "consecutive": 1}});
    for (on, attempts) in [(json!(["transient"]), 1), (json!(["circuit_open"]), 2)] {
        let host = host(retry(on), |run, attempt| async move {
            ask(&attempt, GOOD, Said::Success).await?;
            let said = if run == 1 { Said::Failure("http_500") } else { Said::Success };
            ask(&attempt, BAD, said).await.map(|()| json!("well"))
        });
        host.breakers().get(&Key::egress("work", BAD), &Settings::default(), Duration::from_secs(10)).isolate(
            "ops",
            "",
            Some(Duration::from_secs(5)),
        );
        let outcome = call(&host).await;
        assert_eq!(outcome.report.attempts.len(), attempts);
        assert_eq!(outcome.result.is_ok(), attempts == 2, "{:?}", outcome.result);
    }
}

/// A contact that outlives its attempt.
type Kept = Arc<Mutex<Option<Contact>>>;

#[tokio::test(start_paused = true)]
async fn a_contact_that_is_cut_off_or_dropped_counts_for_nothing_and_blocks_no_probe() {
    let kept = Kept::default();
    let keep = kept.clone();
    let host = host(once(), move |run, attempt| {
        let keep = keep.clone();
        async move {
            match run {
                1..=3 => return ask(&attempt, BAD, Said::Failure("http_500")).await.map(|()| Value::Null),
                // The tool does not wait for the end, its time is over, or its caller goes away.
                4 => drop(attempt.contact(BAD)?),
                5 | 6 => {
                    let _contact = attempt.contact(BAD)?;
                    sleep(Duration::from_secs(100)).await;
                }
                // The end comes after that of the attempt.
                7 => *keep.lock().unwrap() = Some(attempt.contact(BAD)?),
                8 => attempt.contact(BAD)?.left(),
                _ => attempt.contact(BAD)?.finish(Said::Success),
            }
            Ok(Value::Null)
        }
    });
    for _ in 0..3 {
        call(&host).await;
    }
    sleep(Duration::from_secs(30)).await;
    let probing = |host: &Host| {
        let shown = server(host, BAD);
        (shown.status, shown.running, shown.counts.total)
    };
    let none = (Status::HalfOpen, 0, 3);
    assert!(call(&host).await.result.is_ok());
    assert_eq!(probing(&host), none);
    assert_eq!(kind(&call(&host).await), Some(ErrorKind::TimedOut));
    assert_eq!(probing(&host), none);
    assert!(timeout(Duration::from_secs(1), call(&host)).await.is_err());
    assert_eq!(probing(&host), none);
    assert!(call(&host).await.result.is_ok());
    kept.lock().unwrap().take().unwrap().left();
    assert_eq!(probing(&host), none);
    assert!(call(&host).await.result.is_ok());
    assert_eq!(probing(&host).0, Status::HalfOpen, "one of two");
    assert!(call(&host).await.result.is_ok());
    assert_eq!(probing(&host).0, Status::Closed);
}

#[tokio::test(start_paused = true)]
async fn without_a_breaker_no_server_is_watched_unless_an_operator_has_something_against_it() {
    let host = host(json!({"retry": {"max_attempts": 1}, "breaker": {"kind": "none"}}), |_, attempt| async move {
        ask(&attempt, BAD, Said::Failure("http_500")).await.map(|()| Value::Null)
    });
    for _ in 0..20 {
        assert_eq!(call(&host).await.result.unwrap_err().message, "in its own words");
    }
    assert_eq!(host.breakers().list(), []);
    let key = Key::egress("work", BAD);
    host.breakers().get(&key, &Settings::None, Duration::from_secs(30)).isolate("ops", "it is being moved", None);
    let error = call(&host).await.result.unwrap_err();
    assert_eq!((error.kind, error.retry_after), (ErrorKind::CircuitOpen, None));
    let wanted = "`bad.test:443` is switched off by the operator: it is being moved; go on without it";
    assert!(error.message.starts_with(wanted), "{error}");
    assert_eq!(kind(&call(&host).await), Some(ErrorKind::CircuitOpen));
    host.breakers().find(&key).unwrap().release("ops", "");
    assert_eq!(call(&host).await.result.unwrap_err().message, "in its own words");
}
