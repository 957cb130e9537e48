//! The rows of the table: a closed breaker, an open one, and what the operator does.

use std::time::Duration;

use toolpost_core::catalog::settings::Span;
use toolpost_core::guard::breaker::{
    Cause, Counts, News, Order, Outcome, Rate, Refusal, Settings, StandardSettings, Status, TicketKind, WindowSettings,
};

use super::{Bench, FAILURE, pass, plain, throttled};

const SECOND: Duration = Duration::from_secs(1);

fn rates() -> StandardSettings {
    StandardSettings { consecutive: 0, ..plain() }
}

#[tokio::test(start_paused = true)]
async fn a_closed_breaker_lets_calls_through() {
    let bench = Bench::standard(plain());
    assert_eq!(bench.acquire().kind(), TicketKind::Normal);
    bench.check(Status::Closed);
}

#[tokio::test(start_paused = true)]
async fn a_closed_breaker_that_was_asked_to_wait_refuses_until_then() {
    let bench = Bench::standard(plain());
    bench.call(throttled(10));
    bench.check_refused(Refusal::Held, 10_000);
    pass(9_999).await;
    bench.check_refused(Refusal::Held, 1);
    pass(1).await;
    bench.call(Outcome::Success);
}

#[tokio::test(start_paused = true)]
async fn of_a_request_to_wait_no_more_than_a_minute_is_believed() {
    let bench = Bench::standard(plain());
    bench.call(Outcome::Throttled { retry_after: Duration::MAX });
    bench.check_refused(Refusal::Held, 60_000);
}

#[tokio::test(start_paused = true)]
async fn the_later_of_two_requests_to_wait_counts() {
    let bench = Bench::standard(plain());
    let permits = [bench.acquire(), bench.acquire()];
    for (permit, seconds) in permits.into_iter().zip([20, 10]) {
        permit.finish(throttled(seconds));
    }
    bench.check_refused(Refusal::Held, 20_000);
}

#[tokio::test(start_paused = true)]
async fn a_request_to_wait_is_neither_a_success_nor_a_failure() {
    let bench = Bench::standard(plain());
    bench.calls(4, FAILURE);
    bench.call(throttled(1));
    let show = bench.show();
    assert_eq!((show.counts.total, show.consecutive), (4, 4));
}

#[tokio::test(start_paused = true)]
async fn so_many_failures_in_a_row_open_it_and_one_less_does_not() {
    let bench = Bench::standard(plain());
    bench.calls(4, FAILURE);
    bench.check(Status::Closed);
    bench.call(FAILURE);
    bench.check(Status::Open);
    let last = bench.heard.last();
    assert_eq!((last.seq, last.from, last.to), (1, Status::Closed, Status::Open));
    assert_eq!((last.cause, last.open_for), (Cause::Consecutive, Some(30 * SECOND)));
    assert_eq!(last.counts, Counts { total: 5, failed: 5, slow: 0 });
}

#[tokio::test(start_paused = true)]
async fn a_success_between_failures_begins_the_row_anew() {
    let bench = Bench::standard(StandardSettings { min_throughput: 100, ..plain() });
    for _ in 0..2 {
        bench.calls(4, FAILURE);
        bench.call(Outcome::Success);
        bench.check(Status::Closed);
    }
}

#[tokio::test(start_paused = true)]
async fn what_says_nothing_about_the_tool_is_not_recorded_and_does_not_break_the_row() {
    let bench = Bench::standard(plain());
    bench.calls(4, FAILURE);
    bench.call(Outcome::Ignored);
    drop(bench.acquire());
    assert_eq!(bench.show().counts.total, 4);
    bench.call(FAILURE);
    bench.check(Status::Open);
}

#[tokio::test(start_paused = true)]
async fn a_rate_of_failures_opens_it_once_there_are_enough_calls() {
    let bench = Bench::standard(rates());
    bench.calls(4, Outcome::Success);
    bench.calls(5, FAILURE);
    bench.check(Status::Closed);
    bench.call(FAILURE);
    bench.check(Status::Open);
    assert_eq!(bench.heard.last().cause, Cause::FailureRate);
}

#[tokio::test(start_paused = true)]
async fn a_rate_just_below_the_threshold_does_not_open_it() {
    let bench = Bench::standard(rates());
    bench.calls(6, Outcome::Success);
    bench.calls(5, FAILURE);
    bench.check(Status::Closed);
}

#[tokio::test(start_paused = true)]
async fn failures_that_left_the_window_do_not_count() {
    let bench = Bench::standard(rates());
    bench.calls(9, FAILURE);
    pass(60_000).await;
    bench.call(FAILURE);
    bench.check(Status::Closed);
    assert_eq!(bench.show().counts.total, 1);
}

#[tokio::test(start_paused = true)]
async fn a_window_of_calls_forgets_the_oldest_however_many_succeeded_before() {
    let bench = Bench::standard(StandardSettings { window: WindowSettings::Calls(10), ..rates() });
    bench.calls(200, Outcome::Success);
    bench.calls(4, FAILURE);
    bench.check(Status::Closed);
    bench.call(FAILURE);
    bench.check(Status::Open);
    assert_eq!(bench.heard.last().counts, Counts { total: 10, failed: 5, slow: 0 });
}

#[tokio::test(start_paused = true)]
async fn slow_calls_open_it_though_they_succeed() {
    let bench =
        Bench::standard(StandardSettings { slow_call: Some(Span(SECOND)), slow_rate: Some(Rate(0.5)), ..plain() });
    bench.calls(5, Outcome::Success);
    for _ in 0..4 {
        bench.slow_call(SECOND, Outcome::Success).await;
    }
    bench.check(Status::Closed);
    bench.slow_call(SECOND, Outcome::Success).await;
    assert_eq!(bench.heard.last().cause, Cause::SlowRate);
    assert_eq!(bench.heard.last().counts, Counts { total: 10, failed: 0, slow: 5 });
}

#[tokio::test(start_paused = true)]
async fn slow_calls_are_nothing_special_by_default() {
    let bench = Bench::standard(plain());
    for _ in 0..10 {
        bench.slow_call(30 * SECOND, Outcome::Success).await;
    }
    bench.check(Status::Closed);
}

#[tokio::test(start_paused = true)]
async fn a_slow_rate_alone_takes_four_fifths_of_an_attempt_for_slow() {
    let bench = Bench::standard(StandardSettings { slow_rate: Some(Rate(1.0)), ..plain() });
    bench.slow_call(Duration::from_millis(23_999), Outcome::Success).await;
    assert_eq!(bench.show().counts.slow, 0);
    bench.slow_call(Duration::from_secs(24), Outcome::Success).await;
    assert_eq!(bench.show().counts.slow, 1);
}

#[tokio::test(start_paused = true)]
async fn an_open_breaker_refuses_until_its_time_is_over() {
    let bench = Bench::standard(plain());
    bench.calls(5, FAILURE);
    bench.check_refused(Refusal::Open, 30_000);
    assert_eq!(bench.refused().last_failure, Some("timed_out"));
    pass(29_999).await;
    bench.check_refused(Refusal::Open, 1);
    pass(1).await;
    assert_eq!(bench.acquire().kind(), TicketKind::Probe);
}

#[tokio::test(start_paused = true)]
async fn an_open_breaker_that_was_also_asked_to_wait_names_the_later_time() {
    let bench = Bench::standard(plain());
    let held = bench.acquire();
    bench.calls(4, FAILURE);
    held.finish(throttled(50));
    bench.check_refused(Refusal::Held, 50_000);
    bench.breaker.reset("ann", "");
    let permits: Vec<_> = (0..6).map(|_| bench.acquire()).collect();
    for (at, permit) in permits.into_iter().enumerate() {
        permit.finish(if at == 0 { throttled(50) } else { FAILURE });
    }
    bench.check_refused(Refusal::Open, 50_000);
    pass(30_000).await;
    bench.check_refused(Refusal::Held, 20_000);
}

#[tokio::test(start_paused = true)]
async fn a_result_that_comes_late_changes_nothing_but_a_counter() {
    let bench = Bench::standard(plain());
    let late: Vec<_> = (0..4).map(|_| bench.acquire()).collect();
    bench.calls(5, FAILURE);
    let before = bench.show();
    for (permit, outcome) in late.into_iter().zip([Outcome::Success, FAILURE, throttled(60), Outcome::Ignored]) {
        permit.finish(outcome);
    }
    let mut after = bench.show();
    assert_eq!((after.stale, after.running), (4, 0));
    (after.stale, after.running) = (before.stale, before.running);
    assert_eq!(after, before);
}

#[tokio::test(start_paused = true)]
async fn the_operator_isolates_and_no_time_and_no_result_ends_it() {
    let bench = Bench::standard(plain());
    let running = bench.acquire();
    bench.breaker.isolate("ann", "it deletes too much", None);
    running.finish(Outcome::Success);
    pass(86_400_000).await;
    let rejection = bench.refused();
    assert_eq!((rejection.refusal, rejection.retry_after), (Refusal::Isolated, None));
    assert_eq!(rejection.why.as_deref(), Some("it deletes too much"));
    let order = Order { by: "ann".into(), why: "it deletes too much".into() };
    assert_eq!(bench.heard.last().cause, Cause::Operator(order.clone()));
    assert_eq!(bench.show().forced, Some(order));
}

#[tokio::test(start_paused = true)]
async fn an_isolation_for_a_while_ends_by_itself_with_an_empty_window() {
    let bench = Bench::standard(plain());
    bench.calls(4, FAILURE);
    bench.breaker.isolate("ann", "", Some(10 * SECOND));
    bench.check_refused(Refusal::Isolated, 10_000);
    pass(10_000).await;
    bench.call(FAILURE);
    bench.check(Status::Closed);
    assert_eq!(bench.show().counts.total, 1);
    assert_eq!(bench.heard.last().cause, Cause::IsolationOver);
}

#[tokio::test(start_paused = true)]
async fn the_operator_disables_and_nothing_opens_it() {
    let bench = Bench::standard(plain());
    bench.call(throttled(60));
    bench.breaker.disable("ann", "");
    bench.calls(100, FAILURE);
    bench.call(throttled(60));
    bench.check(Status::Disabled);
    let show = bench.show();
    assert_eq!((show.counts.total, show.consecutive, show.held_for, show.stale), (0, 0, None, 0));
}

#[tokio::test(start_paused = true)]
async fn what_ran_while_it_was_disabled_does_not_count_afterwards() {
    let bench = Bench::standard(plain());
    bench.breaker.disable("ann", "");
    let running = bench.acquire();
    assert!(bench.breaker.release("ann", ""));
    running.finish(FAILURE);
    let show = bench.show();
    assert_eq!((show.status, show.counts.total, show.stale), (Status::Closed, 0, 1));
}

#[tokio::test(start_paused = true)]
async fn a_reset_forgets_all_and_a_release_only_what_was_forced() {
    let bench = Bench::standard(plain());
    bench.calls(5, FAILURE);
    assert!(!bench.breaker.release("ann", ""), "nothing is forced");
    bench.check(Status::Open);
    bench.breaker.reset("ann", "");
    let show = bench.show();
    assert_eq!((show.status, show.counts.total, show.consecutive, show.reopened), (Status::Closed, 0, 0, 0));
    bench.calls(4, FAILURE);
    bench.check(Status::Closed);
}

#[tokio::test(start_paused = true)]
async fn each_change_begins_a_generation_and_is_told_in_order() {
    let bench = Bench::standard(plain());
    bench.breaker.isolate("ann", "", None);
    bench.breaker.isolate("ann", "", None);
    bench.breaker.release("ann", "");
    bench.breaker.disable("ann", "");
    bench.breaker.reset("ann", "");
    bench.half_open().await;
    bench.calls(2, Outcome::Success);
    let told: Vec<_> = bench.heard.transitions().iter().map(|told| (told.seq, told.from, told.to)).collect();
    use Status::{Closed, Disabled, HalfOpen, Isolated, Open};
    let states = [Closed, Isolated, Isolated, Closed, Disabled, Closed, Open, HalfOpen, Closed];
    let expected: Vec<_> = (1..).zip(states.windows(2)).map(|(seq, pair)| (seq, pair[0], pair[1])).collect();
    assert_eq!(told, expected);
    assert_eq!(bench.show().generation, 8);
}

#[tokio::test(start_paused = true)]
async fn refused_calls_are_told_once_a_second_with_their_number() {
    let bench = Bench::standard(plain());
    bench.calls(5, FAILURE);
    for _ in 0..3 {
        bench.refused();
    }
    pass(1_000).await;
    bench.refused();
    let heard = bench.heard.0.lock().unwrap();
    let refused = |retry_after, calls| News::Refused { refusal: Refusal::Open, retry_after: Some(retry_after), calls };
    assert_eq!(heard[1..], [refused(30 * SECOND, 1), refused(29 * SECOND, 3)]);
}

#[tokio::test(start_paused = true)]
async fn a_breaker_that_is_none_only_counts_and_obeys_the_operator() {
    let bench = Bench::new(Settings::None);
    bench.calls(100, FAILURE);
    bench.call(throttled(60));
    let show = bench.show();
    assert_eq!((show.status, show.admitted, show.counts.total), (Status::Closed, 101, 0));
    bench.breaker.isolate("ann", "", None);
    assert_eq!(bench.refused().refusal, Refusal::Isolated);
}
