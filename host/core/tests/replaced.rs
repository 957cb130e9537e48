//! A host that goes on with other settings: what runs is left alone, and what was learned is kept.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing, reason = "tests")]

use std::sync::{Arc, Mutex};
use std::time::Duration;

use futures_util::future::join_all;
use proptest::prelude::*;
use serde_json::json;
use tokio::time::{Instant, sleep};
use toolpost_core::catalog::settings::LimitSettings;
use toolpost_core::catalog::shape::{Integer, Shape};
use toolpost_core::check::authorize::{Access, AccessRule, Pattern};
use toolpost_core::check::repeat::RepeatSettings;
use toolpost_core::guard::retry::{Backoff, Fixed, RetrySettings};
use toolpost_core::guard::{GuardSettings, breaker};
use toolpost_core::{
    Call, CallError, Caller, Catalog, EffectClass, ErrorKind, Host, HostLimits, Native, Outcome, Sink, Stage, Told,
    Tool,
};

/// A tool that sleeps for so many milliseconds; 100 of them fail.
fn work(guard: GuardSettings, time: Option<&str>) -> Tool {
    let limits = LimitSettings { time: time.map(|time| time.parse().unwrap()), ..LimitSettings::default() };
    let tool = Native::new("work", "").parameter("number", Shape::Integer(Integer::U16)).effect(EffectClass::Reads);
    tool.guard(guard).limits(limits).run(|attempt| async move {
        let number = attempt.call.arguments["number"].as_u64().unwrap();
        sleep(Duration::from_millis(number)).await;
        if number == 100 {
            return Err(CallError::new(ErrorKind::ToolFailed { retryable: true }, Stage::Run, "no"));
        }
        Ok(json!(number))
    })
}

fn once() -> GuardSettings {
    let retry = RetrySettings { max_attempts: Some(1), ..RetrySettings::default() };
    GuardSettings { retry, ..GuardSettings::default() }
}

fn standard(consecutive: u32) -> GuardSettings {
    let settings = breaker::StandardSettings { consecutive, ..breaker::StandardSettings::default() };
    GuardSettings { breaker: Some(breaker::Settings::Standard(settings)), ..once() }
}

fn host_of(tool: Tool) -> Host {
    let mut catalog = Catalog::default();
    catalog.add(tool).unwrap();
    Host::new(catalog)
}

fn host(max_parallel: usize) -> Host {
    host_of(work(once(), None)).with_limits(HostLimits { max_parallel, max_waiting: 100, ..HostLimits::default() })
}

async fn call(host: &Host, number: u64) -> Outcome {
    host.call(Call::new("work", json!({"number": number})).by(Caller::named("ann"))).await
}

async fn fails(host: &Host) -> ErrorKind {
    call(host, 100).await.result.unwrap_err().kind
}

const FAILED: ErrorKind = ErrorKind::ToolFailed { retryable: true };

/// A call that has begun.
async fn begun(host: &Host, number: u64) -> tokio::task::JoinHandle<Outcome> {
    let host = host.clone();
    let running = tokio::spawn(async move { call(&host, number).await });
    sleep(Duration::from_millis(1)).await;
    running
}

#[tokio::test(start_paused = true)]
async fn a_call_that_runs_keeps_its_limits_and_a_new_one_gets_the_new_ones() {
    let host = host_of(work(once(), Some("1s")));
    let (ends, late) = (begun(&host, 900).await, begun(&host, 2_000).await);
    host.replace(&host_of(work(once(), Some("500ms"))));
    assert_eq!(call(&host, 900).await.result.unwrap_err().kind, ErrorKind::TimedOut);
    assert!(ends.await.unwrap().result.is_ok());
    let error = late.await.unwrap().result.unwrap_err();
    assert!(error.message.starts_with("the tool did not answer within 1s;"), "{error}");
}

#[tokio::test(start_paused = true)]
async fn a_tool_that_is_gone_runs_to_its_end_and_is_not_found_any_more() {
    let host = host(4);
    let running = begun(&host, 50).await;
    host.replace(&Host::new(Catalog::default()));
    assert_eq!(call(&host, 1).await.result.unwrap_err().kind, ErrorKind::UnknownTool);
    assert!(running.await.unwrap().result.is_ok());
}

#[tokio::test(start_paused = true)]
async fn calls_that_run_count_against_the_new_number_of_places() {
    let four = host(4);
    let running = join_all((0..4).map(|_| begun(&four, 50))).await;
    four.replace(&host(2));
    assert_eq!(four.in_use(), (4, 0), "none is stopped");
    let more = begun(&four, 10).await;
    assert_eq!(four.in_use(), (4, 1), "and no other begins");
    for call in running {
        assert!(call.await.unwrap().result.is_ok());
    }
    more.await.unwrap().result.unwrap();
    assert_eq!(four.in_use(), (0, 0));

    let began = Instant::now();
    join_all((0..4).map(|_| call(&four, 10))).await;
    assert_eq!(began.elapsed(), Duration::from_millis(20), "two at once from now on");
}

#[tokio::test(start_paused = true)]
async fn a_call_that_waits_goes_on_as_soon_as_there_are_more_places() {
    let host_ = host(1);
    let _first = begun(&host_, 1_000).await;
    let second = begun(&host_, 10).await;
    assert_eq!(host_.in_use(), (1, 1));
    host_.replace(&host(2));
    assert_eq!(second.await.unwrap().report.waited, Duration::from_millis(1));
    assert_eq!(host_.in_use(), (1, 0));
}

#[tokio::test(start_paused = true)]
async fn rates_are_not_forgotten() {
    let limited = || {
        let rate = serde_json::from_value(json!({"tool": "2/min"})).unwrap();
        host_of(work(GuardSettings { rate: Some(rate), ..once() }, None))
    };
    let host = limited();
    assert!(call(&host, 1).await.result.is_ok());
    host.replace(&limited());
    assert!(call(&host, 1).await.result.is_ok());
    assert_eq!(call(&host, 1).await.result.unwrap_err().kind, ErrorKind::RateLimited);
}

#[tokio::test(start_paused = true)]
async fn what_was_used_is_not_forgotten_and_the_new_budgets_hold() {
    let by = |calls: u64| {
        let budgets = serde_json::from_value(json!({"caller": {"calls": calls}})).unwrap();
        host_of(work(once(), None)).with_budgets(budgets)
    };
    let host = by(2);
    for _ in 0..2 {
        assert!(call(&host, 1).await.result.is_ok());
    }
    host.replace(&by(2));
    assert_eq!(call(&host, 1).await.result.unwrap_err().kind, ErrorKind::QuotaExceeded);
    host.replace(&by(3));
    assert!(call(&host, 1).await.result.is_ok());
    assert_eq!(host.usage_of_caller(&Caller::named("ann")).calls, 3);
}

#[tokio::test(start_paused = true)]
async fn calls_go_as_deep_as_the_new_limits_say() {
    let by = |max_depth| {
        let tool = Native::new("outer", "").effect(EffectClass::Reads).run(|attempt| async move {
            attempt.call("work", json!({"number": 1})).await.result.map(|output| output.value)
        });
        let mut catalog = Catalog::default();
        catalog.add(tool).unwrap();
        catalog.add(work(once(), None)).unwrap();
        Host::new(catalog).with_limits(HostLimits { max_depth, ..HostLimits::default() })
    };
    let host = by(0);
    let outer = async || host.call(Call::new("outer", json!({}))).await.failed();
    assert_eq!(outer().await, Some(ErrorKind::QuotaExceeded));
    host.replace(&by(1));
    assert_eq!(outer().await, None);
}

#[tokio::test(start_paused = true)]
async fn an_open_breaker_stays_open() {
    let host = host_of(work(standard(2), None));
    for _ in 0..2 {
        assert_eq!(fails(&host).await, FAILED);
    }
    host.replace(&host_of(work(standard(2), None)));
    assert_eq!(fails(&host).await, ErrorKind::CircuitOpen);
    host.replace(&host_of(work(standard(9), None)));
    assert_eq!(fails(&host).await, ErrorKind::CircuitOpen, "a wait that has begun is waited for");
}

#[tokio::test(start_paused = true)]
async fn a_call_of_before_does_not_bring_back_the_breaker_of_before() {
    let twice = |consecutive| {
        let backoff = Some(Backoff::Fixed(Fixed { delay: Duration::from_millis(500) }));
        let retry = RetrySettings { max_attempts: Some(2), backoff, ..RetrySettings::default() };
        GuardSettings { retry, ..standard(consecutive) }
    };
    let host = host_of(work(twice(9), None));
    let running = begun(&host, 100).await;
    host.replace(&host_of(work(standard(2), None)));
    sleep(Duration::from_millis(200)).await;
    assert_eq!(fails(&host).await, FAILED);
    // The second attempt of the call of before counts as the second failure in a row of two.
    assert_eq!(running.await.unwrap().report.attempts.len(), 2);
    assert_eq!(fails(&host).await, ErrorKind::CircuitOpen);
}

#[tokio::test(start_paused = true)]
async fn a_session_that_goes_round_in_circles_is_still_known() {
    let by = |refuse| host(4).with_repetition(RepeatSettings { refuse, ..RepeatSettings::default() });
    let host = by(9);
    let caller = || Caller { session: Some("s".into()), ..Caller::named("ann") };
    let again = async || host.call(Call::new("work", json!({"number": 1})).by(caller())).await;
    for _ in 0..3 {
        assert!(again().await.result.is_ok());
    }
    host.replace(&by(4));
    assert_eq!(again().await.result.unwrap_err().kind, ErrorKind::RepeatedCall);
}

#[tokio::test(start_paused = true)]
async fn access_is_what_the_new_settings_say() {
    let only = |caller: &str| {
        let rule = AccessRule {
            tools: vec![Pattern::new("*").unwrap()],
            callers: vec![Pattern::new(caller).unwrap()],
            deny: false,
        };
        host(4).with_access(Access::new(vec![rule]))
    };
    let host = only("ann");
    assert!(call(&host, 1).await.result.is_ok());
    host.replace(&only("bob"));
    assert_eq!(call(&host, 1).await.result.unwrap_err().kind, ErrorKind::UnknownTool);
    assert!(host.tools_of(&Caller::named("ann")).is_empty());
}

#[tokio::test(start_paused = true)]
async fn what_a_tool_takes_when_it_works_is_still_known() {
    let retried = || host_of(work(GuardSettings::default(), None));
    let host = retried();
    for _ in 0..3 {
        call(&host, 400).await.result.unwrap();
    }
    let floor = |host: &Host| host.catalog().find("work").unwrap().guards.latencies.floor();
    assert_eq!(floor(&host), Duration::from_millis(400));
    host.replace(&retried());
    assert_eq!(floor(&host), Duration::from_millis(400));
}

/// The numbers of all events.
#[derive(Default)]
struct Numbers(Mutex<Vec<u64>>);

impl Sink for Numbers {
    fn tell(&self, told: &Told<'_>) {
        self.0.lock().unwrap().push(told.seq);
    }
}

#[tokio::test(start_paused = true)]
async fn events_are_numbered_on_also_those_of_calls_that_ran_before() {
    let numbers = Arc::new(Numbers::default());
    let told = || host(4).with_sink(numbers.clone());
    let host = told();
    let running = begun(&host, 50).await;
    host.replace(&told());
    call(&host, 10).await.result.unwrap();
    running.await.unwrap().result.unwrap();
    let numbers = numbers.0.lock().unwrap();
    assert_eq!(*numbers, (1..=numbers.len() as u64).collect::<Vec<_>>());
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 200, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn however_places_come_and_go_none_is_lost_and_none_is_made_up(
        sizes in prop::collection::vec((0_u64..60, 1_usize..8), 1..8),
        callers in prop::collection::vec((0_u64..60, 0_u64..40, prop::option::of(0_u64..60)), 1..40),
    ) {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_time().start_paused(true).build().unwrap();
        runtime.block_on(async {
            let served = host(3);
            let calls = join_all(callers.iter().map(async |(comes, number, goes)| {
                sleep(Duration::from_millis(*comes)).await;
                let goes = goes.map_or(Duration::MAX, Duration::from_millis);
                if let Ok(outcome) = tokio::time::timeout(goes, call(&served, *number)).await {
                    assert!(outcome.result.is_ok());
                }
            }));
            let mut sizes = sizes.clone();
            sizes.sort_unstable();
            let resized = async {
                for (at, size) in &sizes {
                    tokio::time::sleep_until(Instant::now() + Duration::from_millis(*at / 8)).await;
                    let running = served.in_use().0;
                    served.replace(&host(*size));
                    assert!(served.in_use().0 >= running, "none is stopped");
                }
            };
            tokio::join!(calls, resized);
            assert_eq!(served.in_use(), (0, 0));
            let last = sizes.last().unwrap().1;
            let began = Instant::now();
            join_all((0..last * 3).map(|_| call(&served, 10))).await;
            assert_eq!(began.elapsed(), Duration::from_millis(30), "{last} at once, no more and no fewer");
        });
    }
}
