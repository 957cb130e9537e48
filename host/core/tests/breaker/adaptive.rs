//! The adaptive breaker: the throttle, the limit on calls at once, and the backstop.

use std::time::Duration;

use tokio::time::advance;
use toolpost_core::catalog::settings::Span;
use toolpost_core::guard::breaker::{
    AdaptiveSettings, Breaker, Key, Outcome, Permit, Refusal, Settings, Status, classify,
};

use super::{ATTEMPT, Bench, FAILURE, Heard, pass, throttled};

/// The defaults, without the backstop and without a limit that would come first.
fn throttle() -> AdaptiveSettings {
    AdaptiveSettings { consecutive: 0, ..AdaptiveSettings::default() }
}

fn bench(settings: AdaptiveSettings) -> Bench {
    Bench::new(Settings::Adaptive(settings))
}

/// Asks, and says whether the call went through.
fn try_call(bench: &Bench, outcome: Outcome) -> bool {
    bench.breaker.acquire().map(|permit| permit.finish(outcome)).is_ok()
}

#[tokio::test(start_paused = true)]
async fn a_tool_that_is_well_is_never_throttled() {
    let bench = bench(AdaptiveSettings::default());
    bench.calls(10_000, Outcome::Success);
    assert_eq!(bench.show().refused_share, Some(0.0));
}

#[tokio::test(start_paused = true)]
async fn half_of_the_calls_may_fail_before_the_throttle_refuses_any() {
    let bench = bench(throttle());
    for _ in 0..1_000 {
        bench.call(Outcome::Success);
        bench.call(FAILURE);
    }
    assert_eq!(bench.show().refused, 0);
}

#[tokio::test(start_paused = true)]
async fn the_first_failures_of_a_tool_that_is_seldom_used_are_forgiven() {
    let bench = bench(throttle());
    bench.calls(5, FAILURE);
    assert_eq!(bench.show().refused_share, Some(0.0));
    bench.call(FAILURE);
    assert_eq!(bench.show().refused_share, Some(1.0 / 7.0));
}

#[tokio::test(start_paused = true)]
async fn a_tool_that_is_dead_still_gets_a_twentieth_of_the_calls() {
    let bench = bench(throttle());
    let through = (0..20_000).filter(|_| try_call(&bench, FAILURE)).count();
    assert_eq!(bench.show().refused_share, Some(0.95));
    assert!((900..1_400).contains(&through), "{through}");
    let rejection = (0..100).find_map(|_| bench.breaker.acquire().err()).unwrap();
    assert_eq!((rejection.refusal, rejection.retry_after), (Refusal::Throttled, Some(Duration::from_secs(1))));
}

#[tokio::test(start_paused = true)]
async fn refused_calls_are_counted_as_asked() {
    let bench = bench(throttle());
    (0..1_000).for_each(|_| _ = try_call(&bench, FAILURE));
    let show = bench.show();
    assert!(show.refused > 500);
    assert_eq!(show.refused_share, Some(0.95), "of 1,000 calls that were asked for");
}

#[tokio::test(start_paused = true)]
async fn an_outage_is_seen_while_its_calls_still_run() {
    let bench = bench(AdaptiveSettings { at_once: 64, ..throttle() });
    let _running: Vec<Permit> = (0..50).filter_map(|_| bench.breaker.acquire().ok()).collect();
    assert!(bench.show().refused_share > Some(0.8));
}

#[tokio::test(start_paused = true)]
async fn a_tool_that_is_well_again_is_found_by_the_calls_that_go_through() {
    let bench = bench(throttle());
    (0..200).for_each(|_| _ = try_call(&bench, FAILURE));
    for _ in 0..300 {
        (0..10).for_each(|_| _ = try_call(&bench, Outcome::Success));
        pass(1_000).await;
    }
    assert_eq!(bench.show().refused_share, Some(0.0));
}

#[tokio::test(start_paused = true)]
async fn the_window_is_at_least_four_times_the_time_of_an_attempt() {
    let settings = Settings::Adaptive(AdaptiveSettings { window: Span(Duration::from_secs(10)), ..throttle() });
    let heard = std::sync::Arc::new(Heard::default());
    let breaker = Breaker::new(Key::tool("tool"), settings, ATTEMPT, heard, classify, 7);
    for _ in 0..6 {
        breaker.acquire().unwrap().finish(FAILURE);
    }
    advance(Duration::from_millis(119_999)).await;
    assert!(breaker.snapshot().refused_share > Some(0.0));
    advance(Duration::from_millis(1)).await;
    assert_eq!(breaker.snapshot().refused_share, Some(0.0));
}

#[tokio::test(start_paused = true)]
async fn one_call_more_than_the_limit_is_refused_until_one_ends() {
    let bench = bench(AdaptiveSettings::default());
    let mut running: Vec<Permit> = (0..5).map(|_| bench.acquire()).collect();
    running.pop().unwrap().finish(Outcome::Success);
    let limit = bench.show().at_once.unwrap();
    assert_eq!(limit, 9, "it was used by more than a half");
    bench.calls(20, Outcome::Success);
    while (running.len() as u32) < bench.show().at_once.unwrap() {
        running.push(bench.acquire());
    }
    bench.check_refused(Refusal::Full, 1_000);
    running.pop();
    running.push(bench.acquire());
}

#[tokio::test(start_paused = true)]
async fn a_limit_that_nobody_reaches_does_not_rise() {
    let bench = bench(AdaptiveSettings::default());
    bench.calls(1_000, Outcome::Success);
    assert_eq!(bench.show().at_once, Some(8));
}

#[tokio::test(start_paused = true)]
async fn a_limit_of_which_a_half_is_used_rises_and_with_less_it_does_not() {
    for (running, limit) in [(3, 8), (4, 9)] {
        let bench = bench(AdaptiveSettings::default());
        let mut running: Vec<Permit> = (0..running).map(|_| bench.acquire()).collect();
        running.pop().unwrap().finish(Outcome::Success);
        assert_eq!(bench.show().at_once, Some(limit));
    }
}

#[tokio::test(start_paused = true)]
async fn the_limit_does_not_rise_above_the_most() {
    let bench = bench(AdaptiveSettings { at_once: 2, at_once_max: 3, ..throttle() });
    for _ in 0..5 {
        let _other = bench.acquire();
        bench.call(Outcome::Success);
    }
    assert_eq!(bench.show().at_once, Some(3));
}

#[tokio::test(start_paused = true)]
async fn what_ends_late_or_while_it_is_disabled_teaches_nothing() {
    let bench = bench(AdaptiveSettings { at_once: 2, ..throttle() });
    let late = [bench.acquire(), bench.acquire()];
    bench.breaker.disable("ann", "");
    let before = bench.show();
    bench.calls(10, FAILURE);
    bench.calls(10, Outcome::Success);
    for (permit, outcome) in late.into_iter().zip([Outcome::Success, FAILURE]) {
        permit.finish(outcome);
    }
    let after = bench.show();
    assert_eq!((after.at_once, after.refused_share), (before.at_once, before.refused_share));

    bench.breaker.release("ann", "");
    let late = [bench.acquire(), bench.acquire()];
    bench.breaker.reset("ann", "");
    for (permit, outcome) in late.into_iter().zip([Outcome::Success, FAILURE]) {
        permit.finish(outcome);
        assert_eq!(bench.show().at_once, Some(2));
    }
}

#[tokio::test(start_paused = true)]
async fn a_failure_lowers_the_limit_by_a_tenth_and_never_below_the_least() {
    let settings = AdaptiveSettings { at_once: 64, at_once_min: 3, pad: 1_000, ..throttle() };
    let bench = bench(settings);
    let mut limits = vec![64];
    for _ in 0..40 {
        bench.call(FAILURE);
        limits.push(bench.show().at_once.unwrap());
        pass(1).await;
    }
    assert_eq!(limits[..4], [64, 57, 51, 45]);
    assert_eq!(limits[40], 3);
}

#[tokio::test(start_paused = true)]
async fn calls_that_failed_together_lower_the_limit_once() {
    let bench = bench(AdaptiveSettings { at_once: 20, pad: 1_000, ..throttle() });
    let together: Vec<Permit> = (0..10).map(|_| bench.acquire()).collect();
    pass(500).await;
    for permit in together {
        permit.finish(FAILURE);
    }
    assert_eq!(bench.show().at_once, Some(18));
    pass(500).await;
    bench.call(throttled(0));
    assert_eq!(bench.show().at_once, Some(16));
}

#[tokio::test(start_paused = true)]
async fn the_limit_falls_once_in_the_time_that_half_of_the_calls_take() {
    let bench = bench(AdaptiveSettings { at_once: 20, pad: 1_000, ..throttle() });
    for took in [1, 1, 400, 400, 400] {
        bench.slow_call(Duration::from_millis(took), Outcome::Success).await;
    }
    let mut limits = Vec::new();
    for wait in [0, 399, 1] {
        pass(wait).await;
        bench.call(throttled(0));
        limits.push(bench.show().at_once.unwrap());
    }
    assert_eq!(limits, [18, 18, 16]);
}

#[tokio::test(start_paused = true)]
async fn a_request_to_wait_comes_before_everything_else() {
    let bench = bench(throttle());
    bench.call(throttled(10));
    bench.check_refused(Refusal::Held, 10_000);
}

#[tokio::test(start_paused = true)]
async fn ten_failures_in_a_row_open_the_backstop_and_the_wait_is_firm() {
    let bench = bench(AdaptiveSettings { pad: 1_000, ..AdaptiveSettings::default() });
    bench.calls(9, FAILURE);
    bench.check(Status::Closed);
    bench.call(FAILURE);
    let rejection = bench.refused();
    assert_eq!(rejection.refusal, Refusal::Open);
    let wait = rejection.retry_after.unwrap();
    assert!((Duration::from_secs(27)..=Duration::from_secs(33)).contains(&wait), "{wait:?}");
    for _ in 0..1_000 {
        assert_eq!(bench.refused().refusal, Refusal::Open, "a dead server costs no call");
    }
}

#[tokio::test(start_paused = true)]
async fn the_backstop_knows_no_rates() {
    let bench = bench(throttle());
    for _ in 0..100 {
        try_call(&bench, FAILURE);
    }
    bench.check(Status::Closed);
}

#[tokio::test(start_paused = true)]
async fn what_the_operator_wants_goes_before_throttle_and_limit() {
    let bench = bench(AdaptiveSettings { at_once: 1, ..throttle() });
    (0..1_000).for_each(|_| _ = try_call(&bench, FAILURE));
    bench.breaker.disable("ann", "");
    let running: Vec<Permit> = (0..100).map(|_| bench.acquire()).collect();
    drop(running);
    bench.breaker.isolate("ann", "", None);
    assert_eq!(bench.refused().refusal, Refusal::Isolated);
    bench.breaker.release("ann", "");
    let show = bench.show();
    assert_eq!((show.refused_share, show.at_once, show.running), (Some(0.0), Some(1), 0));
}

#[tokio::test(start_paused = true)]
async fn a_place_is_given_back_also_when_the_end_does_not_count() {
    let bench = bench(AdaptiveSettings { at_once: 1, ..throttle() });
    let late = bench.acquire();
    bench.breaker.reset("ann", "");
    bench.check_refused(Refusal::Full, 1_000);
    late.finish(Outcome::Success);
    assert_eq!(bench.show().stale, 1);
    drop(bench.acquire());
}

#[tokio::test(start_paused = true)]
async fn one_seed_makes_one_sequence_of_refusals() {
    let sequence = || {
        let bench = bench(throttle());
        (0..200).map(|_| try_call(&bench, FAILURE)).collect::<Vec<bool>>()
    };
    assert_eq!(sequence(), sequence());
}
