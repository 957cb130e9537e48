//! A second attempt beside a slow one: when it is made, what it costs, and what becomes of the one that loses.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing, reason = "tests")]

use std::sync::atomic::{AtomicU32, Ordering::SeqCst};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use serde_json::{Value, json};
use tokio::time::{Instant, sleep, timeout};
use toolpost_core::check::approve::Approval;
use toolpost_core::guard::GuardSettings;
use toolpost_core::{
    Attempt, Call, CallError, Catalog, Effect, EffectClass, ErrorKind, Host, HostLimits, Native, Outcome, Stage,
};

fn ms(span: u64) -> Duration {
    Duration::from_millis(span)
}

/// What the attempts do, by number: how long they take, and whether they fail.
type Script = &'static [(u64, bool)];

/// Attempts that were begun, and those that were dropped before their end.
#[derive(Default)]
struct Count {
    begun: AtomicU32,
    dropped: AtomicU32,
    /// The latest attempts, in order.
    attempts: Mutex<Vec<Attempt>>,
}

struct Alive(Arc<Count>);

impl Drop for Alive {
    fn drop(&mut self) {
        self.0.dropped.fetch_add(1, SeqCst);
    }
}

fn host(class: EffectClass, hedge: &str, script: Script) -> (Host, Arc<Count>) {
    let guard = json!({"retry": {"hedge": {"after": hedge}, "backoff": {"fixed": {"delay": "1s"}}}});
    with_guard(class, guard, script)
}

fn with_guard(class: EffectClass, guard: Value, script: Script) -> (Host, Arc<Count>) {
    let count: Arc<Count> = Arc::default();
    let counted = count.clone();
    let guard: GuardSettings = serde_json::from_value(guard).unwrap();
    let tool = Native::new("look", "").effect(class).guard(guard).run(move |attempt| {
        let alive = Alive(counted.clone());
        let run = counted.begun.fetch_add(1, SeqCst) as usize;
        counted.attempts.lock().unwrap().push(attempt.clone());
        async move {
            let (takes, fails) = script[run % script.len()];
            attempt.meter.fuel_used(run as u64 + 1);
            sleep(ms(takes)).await;
            std::mem::forget(alive);
            let failed = CallError::new(ErrorKind::ToolFailed { retryable: true }, Stage::Run, "away");
            if fails { Err(failed) } else { Ok(json!(run + 1)) }
        }
    });
    let mut catalog = Catalog::default();
    catalog.add(tool).unwrap();
    (Host::new(catalog), count)
}

async fn call(host: &Host) -> Outcome {
    host.call(Call::new("look", json!({}))).await
}

/// The attempts of an outcome: the number, whether it was one beside another, and how it failed.
fn attempts(outcome: &Outcome) -> Vec<(u32, bool, Option<ErrorKind>)> {
    let attempts = outcome.report.attempts.iter();
    attempts.map(|attempt| (attempt.number, attempt.hedge, attempt.error.as_ref().map(|error| error.kind))).collect()
}

const CUT: Option<ErrorKind> = Some(ErrorKind::Cancelled);
const FAILED: Option<ErrorKind> = Some(ErrorKind::ToolFailed { retryable: true });

#[tokio::test(start_paused = true)]
async fn a_slow_attempt_gets_a_second_one_beside_it_and_the_first_success_is_the_answer() {
    let (host, count) = host(EffectClass::Reads, "200ms", &[(5_000, false), (100, false)]);
    let outcome = call(&host).await;
    assert_eq!(outcome.result.as_ref().unwrap().value, json!(2));
    assert_eq!(outcome.report.time, ms(300));
    assert_eq!(attempts(&outcome), [(1, false, CUT), (2, true, None)]);
    let error = outcome.report.attempts[0].error.as_ref().unwrap();
    assert_eq!(error.message, "the attempt beside it succeeded first");
    let fuel: Vec<u64> = outcome.report.attempts.iter().map(|attempt| attempt.fuel).collect();
    assert_eq!(fuel, [1, 2], "what the loser used is told too");
    assert_eq!((count.dropped.load(SeqCst), host.in_use()), (1, (0, 0)));
}

#[tokio::test(start_paused = true)]
async fn a_first_attempt_may_still_win_and_nothing_of_the_second_is_left() {
    let (host, count) = host(EffectClass::Pure, "200ms", &[(250, false), (10_000, false)]);
    let outcome = call(&host).await;
    assert_eq!((outcome.result.as_ref().unwrap().value.clone(), outcome.report.time), (json!(1), ms(250)));
    assert_eq!(attempts(&outcome), [(1, false, None), (2, true, CUT)]);
    assert_eq!((count.dropped.load(SeqCst), host.in_use()), (1, (0, 0)));
    let effect = Effect { class: EffectClass::Reads, action: "files.read".into(), target: "a".into(), detail: None };
    let loser = count.attempts.lock().unwrap()[1].clone();
    assert_eq!(loser.pass(effect).await.unwrap_err().kind, ErrorKind::Cancelled, "its gate is closed");
}

#[tokio::test(start_paused = true)]
async fn one_failure_is_no_answer_while_the_other_attempt_still_runs() {
    const SCRIPTS: [Script; 2] = [&[(300, true), (400, false)], &[(700, false), (100, true)]];
    let wanted = [[(1, false, FAILED), (2, true, None)], [(1, false, None), (2, true, FAILED)]];
    for (script, wanted) in SCRIPTS.into_iter().zip(wanted) {
        let (host, _) = host(EffectClass::Reads, "200ms", script);
        let outcome = call(&host).await;
        assert!(outcome.result.is_ok());
        assert_eq!(attempts(&outcome), wanted);
    }
}

#[tokio::test(start_paused = true)]
async fn attempts_beside_one_another_count_as_attempts_and_are_paid_from_the_same_purse() {
    // Three attempts in all: one, one beside it, and a retry that gets none.
    let (three, count) = host(EffectClass::Reads, "200ms", &[(1_000, true)]);
    let outcome = call(&three).await;
    assert_eq!(attempts(&outcome), [(1, false, FAILED), (2, true, FAILED), (3, false, FAILED)]);
    assert_eq!((outcome.report.not_retried, count.begun.load(SeqCst)), (Some("no_attempt_left"), 3));

    // Each second attempt that loses costs 14 of 500 and one comes back with each success: 38 of them, not more.
    let (purse, count) = host(EffectClass::Reads, "200ms", &[(250, false), (10_000, false)]);
    for _ in 0..100 {
        let before = count.begun.load(SeqCst);
        // An even number of attempts, so that the script begins anew.
        count.begun.store(before + before % 2, SeqCst);
        assert!(call(&purse).await.result.is_ok());
    }
    let hedges = count.dropped.load(SeqCst);
    assert!((38..=44).contains(&hedges), "{hedges}");
}

#[tokio::test(start_paused = true)]
async fn there_is_no_second_attempt_without_a_place_that_nobody_waits_for() {
    let (host, count) = host(EffectClass::Reads, "200ms", &[(1_000, false)]);
    let host = host.with_limits(HostLimits { max_parallel: 2, ..HostLimits::default() });
    let (first, second, third) = tokio::join!(call(&host), call(&host), call(&host));
    assert!([&first, &second, &third].iter().all(|outcome| outcome.result.is_ok()));
    assert_eq!(count.begun.load(SeqCst), 4, "only the last one found a free place");
    assert_eq!((attempts(&first).len(), attempts(&second).len(), attempts(&third).len()), (1, 1, 2));
    assert_eq!(host.in_use(), (0, 0));
}

#[tokio::test(start_paused = true)]
async fn what_may_change_the_world_gets_no_second_attempt() {
    for class in [EffectClass::Writes, EffectClass::Open, EffectClass::Open] {
        let (host, count) = host(class, "200ms", &[(5_000, false)]);
        let allow_all = serde_json::from_value(json!({"allow": [{}]})).unwrap();
        let host = host.with_approval(Approval::new(allow_all));
        assert!(call(&host).await.result.is_ok());
        assert_eq!(count.begun.load(SeqCst), 1, "{class:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn nothing_is_slow_by_default_nor_before_twenty_successes_are_known() {
    let (never, count) = with_guard(EffectClass::Reads, json!({}), &[(10, false)]);
    for _ in 0..20 {
        call(&never).await;
    }
    assert_eq!(count.begun.load(SeqCst), 20);

    static SCRIPT: [(u64, bool); 21] = {
        let mut script = [(100, false); 21];
        script[20] = (9_000, false);
        script
    };
    let (host, count) = host(EffectClass::Reads, "p95", &SCRIPT);
    for _ in 0..20 {
        assert_eq!(attempts(&call(&host).await).len(), 1);
    }
    let outcome = call(&host).await;
    assert_eq!((attempts(&outcome), outcome.report.time), (vec![(1, false, CUT), (2, true, None)], ms(200)));
    assert_eq!(count.begun.load(SeqCst), 22);
}

#[tokio::test(start_paused = true)]
async fn an_attempt_that_loses_says_nothing_about_the_tool() {
    let (host, _) = host(EffectClass::Reads, "200ms", &[(5_000, false), (100, false)]);
    for _ in 0..20 {
        assert!(call(&host).await.result.is_ok());
    }
    let breaker = host.breakers().list().pop().unwrap();
    assert_eq!((breaker.counts.failed, breaker.counts.total), (0, 20));
}

#[tokio::test(start_paused = true)]
async fn a_caller_who_goes_away_stops_both() {
    let (host, count) = host(EffectClass::Reads, "200ms", &[(5_000, false)]);
    let started = Instant::now();
    assert!(timeout(ms(1_000), call(&host)).await.is_err());
    assert_eq!((started.elapsed(), count.begun.load(SeqCst), count.dropped.load(SeqCst)), (ms(1_000), 2, 2));
    assert_eq!(host.in_use(), (0, 0));
}
