//! Places: how many calls run at once, in which order they wait, and that every place is given back.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing, reason = "tests")]

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use futures_util::future::join_all;
use proptest::prelude::*;
use serde_json::json;
use tokio::time::{sleep, timeout};
use toolpost_core::catalog::shape::{Integer, Shape};
use toolpost_core::guard::retry::RetrySettings;
use toolpost_core::guard::{GuardSettings, breaker};
use toolpost_core::{Call, CallError, Catalog, EffectClass, ErrorKind, Host, HostLimits, Native, Outcome, Stage, Tool};

const CLASSES: [EffectClass; 2] = [EffectClass::Reads, EffectClass::Writes];

/// One attempt, and no breaker: the tests are about something else.
fn once() -> GuardSettings {
    let retry = RetrySettings { max_attempts: Some(1), ..RetrySettings::default() };
    GuardSettings { retry, breaker: Some(breaker::Settings::None), ..GuardSettings::default() }
}
const FAIL: u8 = 100;
const PANIC: u8 = 101;
const NEVER_END: u8 = 102;

/// How many run now, the most that ever ran at once, and the numbers of those that began, in order.
#[derive(Default)]
struct Watch {
    running: AtomicUsize,
    peak: AtomicUsize,
    began: Mutex<Vec<u64>>,
}

/// One that runs, as the tool itself sees it.
struct Running(Arc<Watch>);

impl Running {
    fn begin(watch: Arc<Watch>, number: u64) -> Self {
        watch.began.lock().unwrap().push(number);
        watch.peak.fetch_max(watch.running.fetch_add(1, Ordering::SeqCst) + 1, Ordering::SeqCst);
        Running(watch)
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        self.0.running.fetch_sub(1, Ordering::SeqCst);
    }
}

/// A tool that sleeps for `number` milliseconds, or fails, panics, or never ends.
fn work(class: EffectClass, watch: Arc<Watch>) -> Tool {
    let tool = Native::new("work", "").parameter("number", Shape::Integer(Integer::U8)).effect(class).guard(once());
    tool.run(move |attempt| {
        let number = attempt.call.arguments["number"].as_u64().unwrap();
        let watch = watch.clone();
        async move {
            let _running = Running::begin(watch, number);
            match u8::try_from(number).unwrap() {
                FAIL => return Err(CallError::new(ErrorKind::ToolFailed { retryable: false }, Stage::Run, "no")),
                PANIC => panic!("as asked"),
                NEVER_END => std::future::pending().await,
                _ => sleep(Duration::from_millis(number)).await,
            }
            Ok(json!(number))
        }
    })
}

fn host(class: EffectClass, max_parallel: usize, max_waiting: usize) -> (Host, Arc<Watch>) {
    let watch = Arc::new(Watch::default());
    let mut catalog = Catalog::default();
    catalog.add(work(class, watch.clone())).unwrap();
    (Host::new(catalog).with_limits(HostLimits { max_parallel, max_waiting, ..HostLimits::default() }), watch)
}

async fn call(host: &Host, number: u8) -> Outcome {
    host.call(Call::new("work", json!({"number": number}))).await
}

#[tokio::test(start_paused = true)]
async fn no_more_calls_run_at_once_than_there_are_places() {
    for class in CLASSES {
        let (host, watch) = host(class, 7, 200);
        let outcomes = join_all((0..200_u8).map(|n| call(&host, n % 50))).await;
        assert!(outcomes.iter().all(|outcome| outcome.result.is_ok()), "{class:?}");
        assert_eq!(watch.peak.load(Ordering::SeqCst), 7, "{class:?}: all places are used, and none twice");
        assert_eq!(host.in_use(), (0, 0), "{class:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn places_are_given_in_the_order_of_asking() {
    for class in CLASSES {
        let (host, watch) = host(class, 1, 20);
        // Whoever comes first takes longest, so that nobody gets ahead by being quick.
        let outcomes = join_all((0..20_u8).rev().map(|n| call(&host, n))).await;
        assert_eq!(*watch.began.lock().unwrap(), (0..20).rev().collect::<Vec<u64>>(), "{class:?}");
        let waited: Vec<u128> = outcomes.iter().map(|outcome| outcome.report.waited.as_millis()).collect();
        let wanted: Vec<u128> = (0..20).map(|at| (0..at).map(|ahead| 19 - ahead).sum()).collect();
        assert_eq!(waited, wanted, "{class:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn one_call_more_than_may_wait_is_told_to_come_back() {
    for class in CLASSES {
        let (host, _) = host(class, 2, 3);
        let outcomes = join_all((0..7_u8).map(|_| call(&host, 10))).await;
        let (served, refused) = outcomes.split_at(5);
        assert!(served.iter().all(|outcome| outcome.result.is_ok()), "{class:?}");
        for outcome in refused {
            let error = outcome.result.as_ref().unwrap_err();
            assert_eq!((error.kind, error.stage), (ErrorKind::Busy, Stage::Guard), "{class:?}");
            assert_eq!(
                error.message,
                "2 calls run and 3 wait already; call again later, or raise `host.max_parallel` or `host.max_waiting`"
            );
            assert!(error.retry_after.is_some_and(|after| (1_000..=1_250).contains(&after.as_millis())), "{error:?}");
            assert!(outcome.report.attempts.is_empty());
        }
        assert_eq!(host.in_use(), (0, 0), "{class:?}");
        assert!(call(&host, 1).await.result.is_ok(), "{class:?}: busy is not for ever");
    }
}

#[tokio::test(start_paused = true)]
async fn a_host_without_a_queue_refuses_at_once_and_has_at_least_one_place() {
    for class in CLASSES {
        let (host, _) = host(class, 0, 0);
        let outcomes = join_all([10, 10].map(|number| call(&host, number))).await;
        assert!(outcomes[0].result.is_ok(), "{class:?}");
        assert_eq!(outcomes[1].result.as_ref().unwrap_err().kind, ErrorKind::Busy, "{class:?}");
        assert_eq!(outcomes[1].report.time, Duration::ZERO, "{class:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_place_is_given_back_however_a_call_ends() {
    for class in CLASSES {
        let (host, _) = host(class, 1, 0);
        for (number, ended) in [
            (5, None),
            (FAIL, Some(ErrorKind::ToolFailed { retryable: false })),
            (PANIC, Some(ErrorKind::Internal)),
            (NEVER_END, Some(ErrorKind::TimedOut)),
        ] {
            let outcome = call(&host, number).await;
            assert_eq!(outcome.result.err().map(|error| error.kind), ended, "{class:?}");
            assert_eq!(host.in_use(), (0, 0), "{class:?}: {ended:?}");
        }
        assert!(timeout(Duration::from_millis(5), call(&host, 50)).await.is_err());
        sleep(Duration::from_millis(50)).await;
        assert_eq!(host.in_use(), (0, 0), "{class:?}: dropped");
        assert!(call(&host, 1).await.result.is_ok(), "{class:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_call_that_is_refused_before_it_runs_takes_no_place() {
    let (host, _) = host(EffectClass::Reads, 1, 0);
    let refused = async {
        let unknown = host.call(Call::new("wrok", json!({}))).await.result.unwrap_err();
        let invalid = host.call(Call::new("work", json!({}))).await.result.unwrap_err();
        (unknown.kind, invalid.kind)
    };
    let (running, refused) = tokio::join!(call(&host, 10), refused);
    assert!(running.result.is_ok());
    assert_eq!(refused, (ErrorKind::UnknownTool, ErrorKind::InvalidArguments));
}

/// One caller of many: when it comes, what it asks for, and when it goes away.
fn caller() -> impl Strategy<Value = (u64, u8, Option<u64>)> {
    let number = prop_oneof![8 => 0_u8..40, 1 => Just(FAIL), 1 => Just(PANIC), 1 => Just(NEVER_END)];
    (0_u64..60, number, prop::option::of(0_u64..60))
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 300, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn whoever_comes_and_goes_the_places_are_kept_and_all_given_back(
        callers in prop::collection::vec(caller(), 1..30),
        max_parallel in 1_usize..5,
        max_waiting in 0_usize..6,
        writes in any::<bool>(),
    ) {
        let class = if writes { EffectClass::Writes } else { EffectClass::Reads };
        let (host, watch) = host(class, max_parallel, max_waiting);
        let one = async |(comes, number, goes): (u64, u8, Option<u64>)| {
            sleep(Duration::from_millis(comes)).await;
            let (running, waiting) = host.in_use();
            assert!(running <= max_parallel && waiting <= max_waiting, "{running} run, {waiting} wait");
            let goes = goes.map_or(Duration::MAX, Duration::from_millis);
            let outcome = timeout(goes, call(&host, number)).await;
            outcome.ok().and_then(|outcome| outcome.result.err()).map(|error| error.kind)
        };
        let runtime = tokio::runtime::Builder::new_current_thread().enable_time().start_paused(true).build().unwrap();
        runtime.block_on(async {
            let ended = join_all(callers.iter().copied().map(one)).await;
            for ((_, number, _), ended) in callers.iter().zip(ended) {
                let fits = match ended {
                    None | Some(ErrorKind::Busy) => true,
                    Some(ErrorKind::ToolFailed { .. }) => *number == FAIL,
                    Some(ErrorKind::Internal) => *number == PANIC,
                    Some(ErrorKind::TimedOut) => callers.iter().any(|(_, number, _)| *number == NEVER_END),
                    Some(_) => false,
                };
                assert!(fits, "{number} ended with {ended:?}");
            }
            // What writes goes on to its own end, at the latest at its limit.
            sleep(Duration::from_secs(31)).await;
            assert_eq!(host.in_use(), (0, 0));
        });
        prop_assert!(watch.peak.load(Ordering::SeqCst) <= max_parallel);
        prop_assert_eq!(watch.running.load(Ordering::SeqCst), 0);
    }
}
