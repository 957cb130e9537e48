//! Rates: how many calls are let in, and what a refusal promises.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing, reason = "tests")]

use std::sync::Arc;
use std::time::Duration;

use proptest::prelude::*;
use serde_json::{Value, json};
use tokio::time::{Instant, advance};
use toolpost_core::guard::rate::{COUNT_MAX, Rate, RateScope, RateSettings, Rates};
use toolpost_core::{CallError, ErrorKind, Stage};

const NANO: Duration = Duration::from_nanos(1);

fn rate(text: &str) -> Rate {
    text.parse().unwrap()
}

fn per_tool(text: &str, burst: u32) -> RateSettings {
    RateSettings { tool: Some(rate(text).with_burst(burst).unwrap()), ..RateSettings::default() }
}

/// How many of so many calls at once are let in.
fn let_in(rates: &Rates, now: Instant, tool: &str, caller: &str, settings: &RateSettings, calls: u32) -> u32 {
    (0..calls).map(|_| u32::from(rates.admit(now, tool, caller, settings).is_ok())).sum()
}

fn check(settings: Value, wanted: Result<RateSettings, &str>) {
    let read = serde_json::from_value::<RateSettings>(settings.clone()).map_err(|error| error.to_string());
    assert_eq!(read, wanted.map_err(str::to_owned), "{settings}");
}

#[tokio::test(start_paused = true)]
async fn a_burst_is_let_in_at_once_and_then_one_call_per_interval() {
    let (rates, settings) = (Rates::new(Instant::now()), per_tool("60/min", 10));
    assert_eq!(let_in(&rates, Instant::now(), "t", "c", &settings, 100), 10);
    for _ in 0..5 {
        advance(Duration::from_secs(1)).await;
        assert_eq!(let_in(&rates, Instant::now(), "t", "c", &settings, 100), 1);
    }
    advance(Duration::from_secs(3_600)).await;
    assert_eq!(let_in(&rates, Instant::now(), "t", "c", &settings, 100), 10);
}

#[tokio::test(start_paused = true)]
async fn who_waits_as_long_as_the_refusal_says_is_let_in_and_a_nanosecond_sooner_is_not() {
    let (rates, settings) = (Rates::new(Instant::now()), per_tool("7/s", 3));
    assert_eq!(let_in(&rates, Instant::now(), "t", "c", &settings, 3), 3);
    advance(Duration::from_millis(30)).await;
    let refusal = rates.admit(Instant::now(), "t", "c", &settings).unwrap_err();
    advance(refusal.retry_after - NANO).await;
    assert_eq!(rates.admit(Instant::now(), "t", "c", &settings).unwrap_err().retry_after, NANO);
    advance(NANO).await;
    assert!(rates.admit(Instant::now(), "t", "c", &settings).is_ok());
}

#[test]
fn a_refused_call_is_charged_nowhere() {
    let now = Instant::now();
    let rates = Rates::new(now);
    let one = Some(rate("1/h"));
    let many = Some(rate("5/h"));
    let settings = RateSettings { tool: many, caller: many, tool_and_caller: one };
    assert!(rates.admit(now, "a", "c", &settings).is_ok());
    for _ in 0..50 {
        assert_eq!(rates.admit(now, "a", "c", &settings).unwrap_err().scope, RateScope::ToolAndCaller);
    }
    // Four are left to the caller, and four to the tool.
    let caller = RateSettings { caller: many, ..RateSettings::default() };
    assert_eq!(let_in(&rates, now, "b", "c", &caller, 9), 4);
    let tool = RateSettings { tool: many, ..RateSettings::default() };
    assert_eq!(let_in(&rates, now, "a", "d", &tool, 9), 4);
}

#[test]
fn of_several_refusals_the_longest_is_told() {
    let now = Instant::now();
    let rates = Rates::new(now);
    let settings =
        RateSettings { tool: Some(rate("1/s")), caller: Some(rate("1/h")), tool_and_caller: Some(rate("1/min")) };
    assert!(rates.admit(now, "t", "c", &settings).is_ok());
    let refusal = rates.admit(now, "t", "c", &settings).unwrap_err();
    assert_eq!((refusal.scope, refusal.retry_after), (RateScope::Caller, Duration::from_secs(3_600)));
}

#[test]
fn tools_and_callers_have_buckets_of_their_own() {
    let now = Instant::now();
    let rates = Rates::new(now);
    let pair = RateSettings { tool_and_caller: Some(rate("1/h")), ..RateSettings::default() };
    for (tool, caller) in [("a", "b"), ("b", "a"), ("a", ""), ("", "a"), ("ab", ""), ("", "ab")] {
        assert_eq!(let_in(&rates, now, tool, caller, &pair, 5), 1, "{tool} {caller}");
    }
}

#[test]
fn without_rates_everything_is_let_in_and_nothing_is_remembered() {
    let now = Instant::now();
    let rates = Rates::new(now);
    assert_eq!(let_in(&rates, now, "t", "c", &RateSettings::default(), 1_000), 1_000);
    assert_eq!(rates.remembered(), 0);
}

#[test]
fn where_a_map_has_no_room_its_full_buckets_are_forgotten() {
    let start = Instant::now();
    let (rates, settings) = (Rates::with_buckets_max(start, 500), per_tool("1/s", 1));
    for caller in 0..500 {
        assert!(rates.admit(start, &format!("tool {caller}"), "", &settings).is_ok());
    }
    assert_eq!(rates.remembered(), 500);
    let later = start + Duration::from_secs(1);
    assert!(rates.admit(later - NANO, "one", "", &settings).is_err());
    assert_eq!(rates.remembered(), 500);
    assert!(rates.admit(later, "one", "", &settings).is_ok());
    assert_eq!(rates.remembered(), 1);
}

#[test]
fn a_map_without_room_forgives_no_debt_and_says_when_there_is_room() {
    let start = Instant::now();
    let (rates, settings) = (Rates::with_buckets_max(start, 3), per_tool("1/s", 1));
    for (tool, after) in [("a", 0), ("b", 100), ("c", 200)] {
        assert!(rates.admit(start + Duration::from_millis(after), tool, "", &settings).is_ok());
    }
    let now = start + Duration::from_millis(300);
    let refusal = rates.admit(now, "d", "", &settings).unwrap_err();
    assert_eq!((refusal.rate, refusal.retry_after), (None, Duration::from_millis(700)));
    assert!(rates.admit(now, "a", "", &settings).is_err());
    assert!(rates.admit(now + refusal.retry_after - NANO, "d", "", &settings).is_err());
    assert!(rates.admit(now + refusal.retry_after, "d", "", &settings).is_ok());
    assert_eq!(rates.remembered(), 3);
}

#[test]
fn a_new_rate_takes_over_no_more_debt_than_it_can_have() {
    let now = Instant::now();
    let rates = Rates::new(now);
    assert_eq!(let_in(&rates, now, "t", "", &per_tool("10/day", 10), 20), 10);
    let settings = per_tool("60/min", 60);
    let refusal = rates.admit(now, "t", "", &settings).unwrap_err();
    assert_eq!(refusal.retry_after, Duration::from_secs(1));
    assert_eq!(let_in(&rates, now + refusal.retry_after, "t", "", &settings, 9), 1);
    assert_eq!(let_in(&rates, now + Duration::from_secs(3_600), "t", "", &settings, 99), 60);
}

#[test]
fn a_bucket_whose_rate_has_changed_is_forgotten_when_it_is_full() {
    let start = Instant::now();
    let rates = Rates::with_buckets_max(start, 1);
    assert_eq!(let_in(&rates, start, "t", "", &per_tool("10/day", 10), 20), 10);
    assert!(rates.admit(start, "t", "", &per_tool("60/min", 60)).is_err());
    assert!(rates.admit(start + Duration::from_secs(60), "other", "", &per_tool("1/s", 1)).is_ok());
    assert_eq!(rates.remembered(), 1);
}

#[test]
fn a_rate_that_divides_no_second_evenly_is_not_passed_either() {
    let start = Instant::now();
    let (rates, settings, mut now) = (Rates::new(start), per_tool("3/s", 1), start);
    for _ in 0..3 {
        assert!(rates.admit(now, "t", "", &settings).is_ok());
        now += rates.admit(now, "t", "", &settings).unwrap_err().retry_after;
    }
    assert!(now - start >= Duration::from_secs(1), "{:?}", now - start);
}

#[test]
fn a_bucket_that_is_long_full_holds_no_more_than_its_burst() {
    let start = Instant::now();
    let (rates, settings) = (Rates::new(start), per_tool("1/s", 2));
    for (tool, after) in [("a", 0), ("b", 1), ("c", 2)] {
        assert!(rates.admit(start + Duration::from_millis(after), tool, "", &settings).is_ok());
    }
    // The first charge forgets two others, and not this one.
    let later = start + Duration::from_secs(3_600);
    assert_eq!(let_in(&rates, later, "c", "", &settings, 9), 2);
}

#[test]
fn a_clock_that_is_read_late_gives_nothing_away() {
    let start = Instant::now();
    let (rates, settings) = (Rates::new(start), per_tool("1/s", 2));
    let later = start + Duration::from_millis(500);
    assert_eq!(let_in(&rates, later, "t", "", &settings, 9), 2);
    let refusal = rates.admit(start, "t", "", &settings).unwrap_err();
    assert_eq!(refusal.retry_after, Duration::from_millis(1_500));
}

#[test]
fn threads_together_are_let_in_no_more_often_than_one() {
    let now = Instant::now();
    let rates = Arc::new(Rates::new(now));
    let settings =
        RateSettings { tool: Some(rate("100/h")), caller: Some(rate("40/h")), tool_and_caller: Some(rate("1000/h")) };
    let counts: Vec<[u32; 2]> = std::thread::scope(|scope| {
        let threads: Vec<_> = (0..4)
            .map(|_| {
                let rates = rates.clone();
                scope.spawn(move || {
                    let mut counts = [0; 2];
                    for round in 0..400 {
                        let caller = round % 2;
                        let is_in = rates.admit(now, "t", &caller.to_string(), &settings).is_ok();
                        counts[caller] += u32::from(is_in);
                    }
                    counts
                })
            })
            .collect();
        threads.into_iter().map(|thread| thread.join().unwrap()).collect()
    });
    let by_caller = [0, 1].map(|caller: usize| counts.iter().map(|count| count[caller]).sum::<u32>());
    assert_eq!(by_caller, [40, 40]);
    // Those that were refused for their caller's sake have left the tool's tokens alone.
    assert_eq!(let_in(&rates, now, "t", "third", &settings, 100), 20);
}

#[test]
fn a_refusal_says_whose_rate_it_was_and_what_would_help() {
    let now = Instant::now();
    let check = |settings: RateSettings, wanted: &str| {
        let rates = Rates::new(now);
        assert!(rates.admit(now, "t", "c", &settings).is_ok());
        let refusal = rates.admit(now + NANO, "t", "c", &settings).unwrap_err();
        let error = CallError::from(refusal);
        assert_eq!((error.kind, error.stage, error.message.as_str()), (ErrorKind::RateLimited, Stage::Guard, wanted));
        assert_eq!(error.retry_after, Some(refusal.retry_after));
    };
    let one = Some(rate("1/min"));
    let none = RateSettings::default();
    check(
        RateSettings { tool: one, ..none },
        "the rate of this tool is 1 call in 1m; call again in 1m, or raise `rate.tool`",
    );
    check(
        RateSettings { caller: one, ..none },
        "the rate of this caller is 1 call in 1m; call again in 1m, or raise `rate.caller`",
    );
    check(
        RateSettings { tool_and_caller: Some(rate("2/s").with_burst(1).unwrap()), ..none },
        "the rate of this caller with this tool is 2 calls in 1s; call again in 500ms, or raise `rate.tool_and_caller`",
    );
}

#[test]
fn a_host_that_counts_too_many_says_so() {
    let now = Instant::now();
    let (rates, settings) = (Rates::with_buckets_max(now, 1), per_tool("1/min", 1));
    assert!(rates.admit(now, "a", "", &settings).is_ok());
    let error = CallError::from(rates.admit(now, "b", "", &settings).unwrap_err());
    assert_eq!(error.message, "too many tools are counted at once; call again in 1m");
}

#[test]
fn settings_are_text_or_a_table_with_a_burst() {
    let rate = |count, per, burst: u32| Some(Rate::new(count, per).unwrap().with_burst(burst).unwrap());
    let (second, minute) = (Duration::from_secs(1), Duration::from_secs(60));
    let none = RateSettings::default();
    check(json!({}), Ok(none));
    check(json!({"tool": "60/min"}), Ok(RateSettings { tool: rate(60, minute, 60), ..none }));
    check(json!({"caller": " 5 / s "}), Ok(RateSettings { caller: rate(5, second, 5), ..none }));
    check(json!({"caller": "5/10s"}), Ok(RateSettings { caller: rate(5, 10 * second, 5), ..none }));
    check(
        json!({"tool_and_caller": {"rate": "100/hour", "burst": 3}}),
        Ok(RateSettings { tool_and_caller: rate(100, 60 * minute, 3), ..none }),
    );
}

#[test]
fn wrong_settings_are_refused_with_what_is_allowed() {
    for text in ["60", "60/", "/min", "60/fortnight", "-1/s", "1.5/s", "60 per min"] {
        let wanted = format!("`{text}` is no rate; write for example \"60/min\", \"5/s\" or \"100/10s\"");
        check(json!({"tool": text}), Err(&wanted));
    }
    check(json!({"tool": "0/s"}), Err("expected a rate of 1 to 1000000 calls, got 0"));
    check(json!({"tool": "1000001/s"}), Err("expected a rate of 1 to 1000000 calls, got 1000001"));
    check(json!({"tool": "1/1us"}), Err("expected a rate per 1ms to 365 days"));
    check(json!({"tool": "1/2years"}), Err("expected a rate per 1ms to 365 days"));
    let burst = json!({"tool": {"rate": "1/s", "burst": 0}});
    check(burst, Err("expected a burst of 1 to 1000000 calls, got 0"));
    check(json!({"tool": {"rate": "1/s", "brust": 1}}), Err("unknown field `brust`, expected `rate` or `burst`"));
    let what = "a rate, for example \"60/min\" or { rate = \"60/min\", burst = 10 }";
    check(json!({"tool": 60}), Err(&format!("invalid type: integer `60`, expected {what}")));
    check(json!({"tools": "1/s"}), Err("unknown field `tools`, expected one of `tool`, `caller`, `tool_and_caller`"));
}

#[test]
fn the_largest_rates_do_not_overflow() {
    let now = Instant::now();
    for text in ["1/365days", "1000000/1ms", "1000000/365days"] {
        let rates = Rates::new(now);
        let settings = per_tool(text, COUNT_MAX);
        assert_eq!(let_in(&rates, now, "t", "", &settings, 1_000), 1_000);
    }
}

/// Steps of a caller's life: so long later, so many calls.
fn steps() -> impl Strategy<Value = Vec<(u64, u32)>> {
    prop::collection::vec((0..3_000_000_000_u64, 0..20_u32), 1..60)
}

proptest! {
    #[test]
    fn in_no_window_are_more_let_in_than_the_rate_and_the_burst(
        count in 1..200_u32, per_ms in 1..20_000_u64, burst in 1..50_u32, steps in steps(),
    ) {
        let per = Duration::from_millis(per_ms);
        let tool = Rate::new(count, per).unwrap().with_burst(burst).unwrap();
        let settings = RateSettings { tool: Some(tool), ..RateSettings::default() };
        let start = Instant::now();
        let (rates, mut now) = (Rates::new(start), start);
        let mut entries: Vec<Duration> = Vec::new();
        for (nanos, calls) in steps {
            now += Duration::from_nanos(nanos);
            let many = let_in(&rates, now, "t", "", &settings, calls);
            entries.extend(std::iter::repeat_n(now - start, many as usize));
        }
        for (first, from) in entries.iter().enumerate() {
            for (last, to) in entries.iter().enumerate().skip(first) {
                let earned = (*to - *from).as_nanos() * u128::from(count) / per.as_nanos();
                prop_assert!((last - first + 1) as u128 <= earned + u128::from(burst));
            }
        }
    }

    #[test]
    fn a_refusal_is_right_to_the_nanosecond_whatever_refuses(
        tool in (1..20_u32, 1..5_000_u64, 1..10_u32),
        caller in (1..20_u32, 1..5_000_u64, 1..10_u32),
        pair in (1..20_u32, 1..5_000_u64, 1..10_u32),
        steps in prop::collection::vec((0..800_000_000_u64, 0..3_usize, 0..3_usize), 1..80),
    ) {
        let of = |(count, per, burst)| Rate::new(count, Duration::from_millis(per)).unwrap().with_burst(burst).ok();
        let settings = RateSettings { tool: of(tool), caller: of(caller), tool_and_caller: of(pair) };
        let start = Instant::now();
        // With little room, the map refuses too.
        let build = || Rates::with_buckets_max(start, 2);
        let replay = |calls: &[(Instant, &str, &str)]| {
            let rates = build();
            calls.iter().map(|(now, tool, caller)| rates.admit(*now, tool, caller, &settings)).last().unwrap()
        };
        let mut now = start;
        let mut calls = Vec::new();
        for (nanos, tool, caller) in steps {
            now += Duration::from_nanos(nanos);
            let (tool, caller) = (["a", "b", "c"][tool], ["d", "e", "f"][caller]);
            calls.push((now, tool, caller));
            let Err(refusal) = replay(&calls) else { continue };
            prop_assert!(refusal.retry_after > Duration::ZERO);
            let mut then = |when: Instant| {
                calls.push((when, tool, caller));
                let result = replay(&calls);
                calls.pop();
                result
            };
            prop_assert!(then(now + refusal.retry_after).is_ok());
            prop_assert_eq!(then(now + refusal.retry_after - NANO).unwrap_err().retry_after, NANO);
        }
    }
}
