//! The rows of the table: a breaker that is tried out, and how long it stays open.

use std::time::Duration;

use toolpost_core::catalog::settings::Span;
use toolpost_core::guard::breaker::{Cause, Judge, News, Outcome, Rate, Refusal, StandardSettings, Status, TicketKind};

use super::{Bench, FAILURE, pass, plain, throttled};

const SECOND: Duration = Duration::from_secs(1);

async fn half_open(settings: StandardSettings) -> Bench {
    let bench = Bench::standard(settings);
    bench.half_open().await;
    bench
}

#[tokio::test(start_paused = true)]
async fn the_first_call_after_the_wait_tries_it_out_and_others_are_refused_meanwhile() {
    let bench = half_open(plain()).await;
    bench.check(Status::Open);
    let probe = bench.acquire();
    assert_eq!(probe.kind(), TicketKind::Probe);
    bench.check(Status::HalfOpen);
    assert_eq!(bench.heard.last().cause, Cause::Waited);
    bench.check_refused(Refusal::HalfOpen, 1_000);
    probe.finish(Outcome::Success);
    assert_eq!(bench.acquire().kind(), TicketKind::Probe);
}

#[tokio::test(start_paused = true)]
async fn so_many_probes_run_at_once_as_settings_say() {
    let settings = StandardSettings { probes: 5, probes_at_once: 2, successes_to_close: 5, ..plain() };
    let bench = half_open(settings).await;
    let _probes = [bench.acquire(), bench.acquire()];
    bench.check_refused(Refusal::HalfOpen, 1_000);
}

#[tokio::test(start_paused = true)]
async fn no_more_probes_are_sent_than_decide() {
    let settings = StandardSettings { probes: 3, probes_at_once: 3, successes_to_close: 3, ..plain() };
    let bench = half_open(settings).await;
    let mut probes = vec![bench.acquire(), bench.acquire(), bench.acquire()];
    probes.pop().unwrap().finish(Outcome::Success);
    bench.check_refused(Refusal::HalfOpen, 1_000);
}

#[tokio::test(start_paused = true)]
async fn enough_probes_that_succeed_close_it_with_an_empty_window() {
    let bench = half_open(plain()).await;
    bench.call(Outcome::Success);
    bench.check(Status::HalfOpen);
    bench.call(Outcome::Success);
    bench.check(Status::Closed);
    assert_eq!(bench.heard.last().cause, Cause::ProbesSucceeded);
    let show = bench.show();
    assert_eq!((show.counts.total, show.consecutive), (0, 0));
}

#[tokio::test(start_paused = true)]
async fn the_first_probe_that_fails_opens_it_for_twice_as_long() {
    let bench = half_open(plain()).await;
    bench.call(Outcome::Success);
    bench.call(FAILURE);
    bench.check_refused(Refusal::Open, 60_000);
    let last = bench.heard.last();
    assert_eq!((last.cause, last.reopened), (Cause::ProbeFailed, 1));
}

#[tokio::test(start_paused = true)]
async fn a_probe_that_succeeds_slowly_opens_it_again() {
    let bench = half_open(StandardSettings { slow_call: Some(Span(SECOND)), ..plain() }).await;
    bench.slow_call(SECOND, Outcome::Success).await;
    bench.check(Status::Open);
}

#[tokio::test(start_paused = true)]
async fn a_probe_that_says_nothing_gives_its_place_to_another() {
    let bench = half_open(plain()).await;
    for _ in 0..10 {
        bench.call(Outcome::Ignored);
        drop(bench.acquire());
    }
    bench.check(Status::HalfOpen);
    bench.calls(2, Outcome::Success);
    bench.check(Status::Closed);
}

#[tokio::test(start_paused = true)]
async fn a_probe_that_is_asked_to_wait_decides_nothing_and_holds_back_the_next() {
    let bench = half_open(plain()).await;
    bench.call(throttled(20));
    bench.check(Status::HalfOpen);
    bench.check_refused(Refusal::Held, 20_000);
    pass(20_000).await;
    bench.calls(2, Outcome::Success);
    bench.check(Status::Closed);
}

#[tokio::test(start_paused = true)]
async fn a_probe_that_never_comes_back_opens_it_again_instead_of_blocking_it_for_ever() {
    let bench = half_open(plain()).await;
    let lost = bench.acquire();
    pass(59_999).await;
    bench.check_refused(Refusal::HalfOpen, 1_000);
    pass(1).await;
    bench.check_refused(Refusal::Open, 60_000);
    let last = bench.heard.last();
    assert_eq!((last.cause, last.reopened), (Cause::ProbeLost, 1));
    lost.finish(Outcome::Success);
    bench.check(Status::Open);
    assert_eq!(bench.show().stale, 1);
}

#[tokio::test(start_paused = true)]
async fn a_success_from_before_does_not_close_it_while_a_probe_runs() {
    let settings = StandardSettings { probes: 1, successes_to_close: 1, ..plain() };
    let bench = Bench::standard(settings);
    let old = bench.acquire();
    bench.half_open().await;
    let probe = bench.acquire();
    old.finish(Outcome::Success);
    bench.check(Status::HalfOpen);
    probe.finish(FAILURE);
    bench.check(Status::Open);
}

#[tokio::test(start_paused = true)]
async fn a_dropped_probe_neither_closes_nor_opens_it() {
    let bench = half_open(StandardSettings { probes: 1, successes_to_close: 1, ..plain() }).await;
    drop(bench.acquire());
    let show = bench.show();
    assert_eq!((show.status, show.running), (Status::HalfOpen, 0));
}

#[tokio::test(start_paused = true)]
async fn judged_by_rate_it_waits_for_all_probes() {
    let settings = StandardSettings { judge: Judge::Rate, failure_rate: Rate(0.5), ..plain() };
    for (failures, expected) in [(0, Status::Closed), (1, Status::Closed), (2, Status::Open), (3, Status::Open)] {
        let bench = half_open(settings.clone()).await;
        for at in 0..3 {
            bench.call(if at < failures { FAILURE } else { Outcome::Success });
            bench.check(if at < 2 { Status::HalfOpen } else { expected });
        }
    }
}

#[tokio::test(start_paused = true)]
async fn each_time_it_opens_again_the_wait_doubles_up_to_its_bound() {
    let bench = half_open(plain()).await;
    for expected in [60, 120, 240, 300, 300] {
        bench.call(FAILURE);
        bench.check_refused(Refusal::Open, expected * 1_000);
        pass(expected * 1_000).await;
    }
}

#[tokio::test(start_paused = true)]
async fn a_breaker_that_closed_and_fails_soon_again_remembers_how_often_it_opened() {
    let bench = half_open(plain()).await;
    bench.call(FAILURE);
    pass(60_000).await;
    bench.calls(2, Outcome::Success);
    bench.calls(5, FAILURE);
    bench.check_refused(Refusal::Open, 60_000);
}

#[tokio::test(start_paused = true)]
async fn a_breaker_that_stayed_closed_for_as_long_as_it_was_open_forgets_that() {
    let bench = half_open(plain()).await;
    bench.call(FAILURE);
    pass(60_000).await;
    bench.calls(2, Outcome::Success);
    pass(60_000).await;
    bench.calls(5, FAILURE);
    bench.check_refused(Refusal::Open, 30_000);
}

#[tokio::test(start_paused = true)]
async fn the_wait_is_spread_by_no_more_than_the_jitter() {
    let mut waits = Vec::new();
    let bench = Bench::standard(StandardSettings { jitter: 0.1, ..plain() });
    for _ in 0..100 {
        bench.calls(5, FAILURE);
        waits.push(bench.refused().retry_after.unwrap());
        bench.breaker.reset("ann", "");
    }
    assert!(waits.iter().all(|wait| (27 * SECOND..=33 * SECOND).contains(wait)), "{waits:?}");
    assert!(waits.iter().max().unwrap().saturating_sub(*waits.iter().min().unwrap()) > 3 * SECOND);
}

#[tokio::test(start_paused = true)]
async fn settings_that_a_program_makes_up_do_not_leave_it_half_open_for_ever() {
    let bench = half_open(StandardSettings { probes: 0, probes_at_once: 0, successes_to_close: 9, ..plain() }).await;
    bench.call(Outcome::Success);
    bench.check(Status::Closed);
    let span = Span(Duration::MAX);
    let bench = Bench::standard(StandardSettings { open: span, open_max: span, jitter: 1.0, ..plain() });
    bench.calls(5, FAILURE);
    assert_eq!(bench.refused().refusal, Refusal::Open);
}

#[tokio::test(start_paused = true)]
async fn what_led_to_a_refusal_is_told_before_it() {
    let bench = half_open(plain()).await;
    let _lost = bench.acquire();
    pass(60_000).await;
    bench.check_refused(Refusal::Open, 60_000);
    let heard = bench.heard.0.lock().unwrap();
    assert!(matches!(heard.last(), Some(News::Refused { refusal: Refusal::Open, .. })), "{heard:?}");
}
