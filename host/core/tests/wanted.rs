//! Calls that somebody cancels, or wants no longer than so, and whose outcome is waited for all the same.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing, reason = "tests")]

use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering::SeqCst};
use std::time::Duration;

use futures_util::FutureExt as _;
use futures_util::future::{BoxFuture, pending};
use serde_json::{Value, json};
use tokio::time::{Instant, sleep};
use tokio_util::sync::CancellationToken;
use toolpost_core::catalog::settings::LimitSettings;
use toolpost_core::check::approve::{Answer, Approval, Approver, Pass, Question};
use toolpost_core::guard::GuardSettings;
use toolpost_core::{
    Call, CallError, Catalog, Effect, EffectClass, ErrorKind, Host, HostLimits, Native, Outcome, Stage, Wanted,
};

fn ms(span: u64) -> Duration {
    Duration::from_millis(span)
}

/// A host with a tool that takes 100 ms and then ends like this; and how often it ended.
fn host(
    class: EffectClass,
    end: impl Fn() -> Result<Value, CallError> + Send + Sync + 'static,
) -> (Host, Arc<AtomicU32>) {
    let ended = Arc::new(AtomicU32::new(0));
    let (count, end) = (ended.clone(), Arc::new(end));
    let guard = json!({"breaker": {"kind": "none"}, "retry": {"backoff": {"fixed": {"delay": "100ms"}}}});
    let guard: GuardSettings = serde_json::from_value(guard).unwrap();
    let slow = Native::new("slow", "").effect(class).guard(guard).run(move |_| {
        let (count, end) = (count.clone(), end.clone());
        async move {
            sleep(ms(100)).await;
            count.fetch_add(1, SeqCst);
            end()
        }
    });
    let mut catalog = Catalog::default();
    catalog.add(slow).unwrap();
    (Host::new(catalog), ended)
}

fn busy() -> Result<Value, CallError> {
    Err(CallError::new(ErrorKind::ToolFailed { retryable: true }, Stage::Run, "busy"))
}

/// Calls it, and cancels it so much later.
async fn cancelled_after(host: &Host, span: Duration) -> (Outcome, Duration) {
    let unless = CancellationToken::new();
    let call = Call { wanted: Wanted { unless: Some(unless.clone()), until: None }, ..Call::new("slow", json!({})) };
    let start = Instant::now();
    let (outcome, ()) = tokio::join!(host.call(call), async {
        sleep(span).await;
        unless.cancel();
    });
    (outcome, start.elapsed())
}

async fn wanted_for(host: &Host, span: Duration) -> (Outcome, Duration) {
    let start = Instant::now();
    let wanted = Wanted { until: Some(start + span), unless: None };
    let outcome = host.call(Call { wanted, ..Call::new("slow", json!({})) }).await;
    (outcome, start.elapsed())
}

#[tokio::test(start_paused = true)]
async fn a_reading_tool_that_is_cancelled_stops_at_once_and_its_attempt_is_in_the_report() {
    let (host, ended) = host(EffectClass::Reads, || Ok(json!(1)));
    let (outcome, took) = cancelled_after(&host, ms(30)).await;
    assert_eq!((outcome.failed(), took), (Some(ErrorKind::Cancelled), ms(30)));
    assert_eq!(outcome.result.unwrap_err().to_string(), "the call was cancelled");
    assert_eq!((outcome.report.attempts.len(), ended.load(SeqCst)), (1, 0));
}

#[tokio::test(start_paused = true)]
async fn a_writing_attempt_that_is_cancelled_ends_by_itself_and_says_what_came_of_it() {
    let (host, ended) = host(EffectClass::Writes, || Ok(json!("written")));
    let (outcome, took) = cancelled_after(&host, ms(30)).await;
    assert_eq!((outcome.result.unwrap().value, took, ended.load(SeqCst)), (json!("written"), ms(100), 1));
}

#[tokio::test(start_paused = true)]
async fn behind_a_writing_attempt_that_is_cancelled_there_is_no_other_one() {
    for span in [30, 150] {
        let (host, ended) = host(EffectClass::Writes, busy);
        let (outcome, took) = cancelled_after(&host, ms(span)).await;
        assert_eq!((took, ended.load(SeqCst)), (ms(span.max(100)), 1), "after {span} ms");
        assert_eq!(outcome.report.not_retried, Some("not_wanted"), "after {span} ms: {outcome:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_call_that_is_cancelled_before_it_begins_does_not_begin() {
    let (host, ended) = host(EffectClass::Writes, || Ok(json!(1)));
    let host = host.with_limits(HostLimits { max_parallel: 1, ..HostLimits::default() });
    let first = tokio::spawn({
        let host = host.clone();
        async move { host.call(Call::new("slow", json!({}))).await }
    });
    tokio::task::yield_now().await;
    let (outcome, took) = cancelled_after(&host, ms(30)).await;
    assert_eq!((outcome.failed(), took), (Some(ErrorKind::Cancelled), ms(30)));
    assert!(outcome.report.attempts.is_empty());
    assert!(first.await.unwrap().result.is_ok());
    assert_eq!((ended.load(SeqCst), host.in_use()), (1, (0, 0)));
}

#[tokio::test(start_paused = true)]
async fn a_call_takes_no_longer_than_its_caller_wants_it() {
    for class in [EffectClass::Reads, EffectClass::Writes] {
        let (host, ended) = host(class, || Ok(json!(1)));
        let (outcome, took) = wanted_for(&host, ms(40)).await;
        assert_eq!((outcome.failed(), took, ended.load(SeqCst)), (Some(ErrorKind::TimedOut), ms(40), 0));
        let words =
            "the call did not end in the time that its caller gave it; ask for less at once, or raise that time";
        assert_eq!(outcome.result.unwrap_err().to_string(), words);
    }
}

/// Never answers.
struct Nobody;

impl Approver for Nobody {
    fn ask<'a>(&'a self, _question: &'a Question) -> BoxFuture<'a, Result<Answer, Pass>> {
        pending().boxed()
    }
}

/// A host with a tool that has an effect, about which somebody is asked; and one that calls it.
fn asking(limit: &str) -> Host {
    let limits: LimitSettings = serde_json::from_value(json!({"time": limit, "call_time": limit})).unwrap();
    let retry: GuardSettings = serde_json::from_value(json!({"retry": {"max_attempts": 3}})).unwrap();
    let act = Native::new("act", "").effect(EffectClass::Writes).limits(limits.clone()).guard(retry.clone());
    let act = act.run(|attempt| async move {
        sleep(ms(10)).await;
        let (class, action) = (EffectClass::Writes, "files.delete".into());
        attempt.pass(Effect { class, action, target: "/a".into(), detail: None }).await?.done();
        Ok(json!(1))
    });
    let boss = Native::new("boss", "").effect(EffectClass::Writes).limits(limits).guard(retry);
    let boss = boss.run(|attempt| async move { Ok(attempt.call("act", json!({})).await.result?.value) });
    let mut catalog = Catalog::default();
    catalog.add(act).unwrap();
    catalog.add(boss).unwrap();
    let rules = serde_json::from_value(json!({"ask": [{"does": {}}]})).unwrap();
    let approval = Approval::new(rules).then(Arc::new(Nobody)).waiting(Duration::from_secs(300), 10);
    Host::new(catalog).with_approval(approval)
}

#[tokio::test(start_paused = true)]
async fn a_caller_waits_no_longer_than_it_wants_to_while_somebody_is_asked_about_an_effect() {
    // Whether the call's own limit is later than that, or would be earlier if nobody were asked.
    for (tool, limit) in [("act", "30s"), ("boss", "30s"), ("act", "1s"), ("boss", "1s")] {
        let (host, start) = (asking(limit), Instant::now());
        let wanted = Wanted { until: Some(start + ms(5_000)), unless: None };
        let outcome = host.call(Call { wanted, ..Call::new(tool, json!({})) }).await;
        assert_eq!((outcome.failed(), start.elapsed()), (Some(ErrorKind::TimedOut), ms(5_000)), "{tool} {limit}");
        // A tool may hand on what became of the call that it has made.
        let words = outcome.result.unwrap_err().to_string();
        let whose = if tool == "act" { "in the time that its caller gave it" } else { "the call did not end" };
        assert!(words.contains(whose), "{words}");
        assert!(host.approval().pending().is_empty() && host.in_use() == (0, 0), "the question is taken back");
    }
    // Without such a word the clock stands still.
    let (host, start) = (asking("1s"), Instant::now());
    assert_eq!(host.call(Call::new("act", json!({}))).await.failed(), Some(ErrorKind::ApprovalTimedOut));
    assert_eq!(start.elapsed(), ms(300_010));
}

#[tokio::test(start_paused = true)]
async fn a_call_that_finds_no_place_in_the_time_of_its_caller_says_so() {
    let (host, _) = host(EffectClass::Reads, || Ok(json!(1)));
    let host = host.with_limits(HostLimits { max_parallel: 1, ..HostLimits::default() });
    let ((first, _), (second, took)) = tokio::join!(wanted_for(&host, ms(500)), wanted_for(&host, ms(40)));
    assert!(first.result.is_ok());
    assert_eq!((second.failed(), took), (Some(ErrorKind::TimedOut), ms(40)));
}
