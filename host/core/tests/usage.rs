//! What callers and sessions use, and what happens when a budget is used up.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing, reason = "tests")]

use std::time::Duration;

use futures_util::future::join_all;
use proptest::prelude::*;
use serde_json::{Value, json};
use tokio::time::{sleep, timeout};
use toolpost_core::catalog::shape::{Integer, Shape};
use toolpost_core::check::repeat::RepeatSettings;
use toolpost_core::guard::usage::{BudgetSettings, PriceSettings, Usage};
use toolpost_core::{
    Attempt, Call, CallError, Caller, Catalog, EffectClass, ErrorKind, Host, HostLimits, Native, Outcome, Stage, Tool,
};

fn seconds(seconds: u64) -> Duration {
    Duration::from_secs(seconds)
}

const FAIL: u64 = 1;
const NEVER_END: u64 = 2;

/// A tool that uses 100 of fuel, works for a second, costs 0.5 to call, 0.001 for each operation, and 0.25 as it reports.
fn work(class: EffectClass) -> Tool {
    let guard = json!({
        "cost": {"per_call": 0.5, "per_fuel": 0.001},
        "breaker": {"kind": "none"},
        "retry": {"backoff": {"fixed": {"delay": "1s"}}},
    });
    let native = Native::new("work", "").effect(class).guard(serde_json::from_value(guard).unwrap());
    let number = Shape::Option(Box::new(Shape::Integer(Integer::U64)));
    native.parameter("how", number).run(|attempt: Attempt| async move {
        attempt.meter.fuel_used(100);
        attempt.report_cost(0.25);
        for none in [f64::NAN, f64::INFINITY, -1.0] {
            attempt.report_cost(none);
        }
        sleep(seconds(1)).await;
        match attempt.call.arguments["how"].as_u64() {
            Some(FAIL) => Err(CallError::new(ErrorKind::ToolFailed { retryable: true }, Stage::Run, "away")),
            Some(NEVER_END) => std::future::pending().await,
            _ => Ok(json!("ok")),
        }
    })
}

fn host(budgets: Value) -> Host {
    let mut catalog = Catalog::default();
    catalog.add(work(EffectClass::Reads)).unwrap();
    Host::new(catalog).with_budgets(serde_json::from_value(budgets).unwrap())
}

fn ann(session: &str) -> Caller {
    Caller { session: Some(session.into()), ..Caller::named("ann") }
}

async fn call(host: &Host, caller: &Caller, how: u64) -> Outcome {
    host.call(Call::new("work", json!({"how": how})).by(caller.clone())).await
}

/// What so many calls have used that each took one attempt.
fn of(calls: u64) -> Usage {
    let time = seconds(calls);
    Usage { calls, attempts: calls, fuel: calls * 100, time, output_bytes: calls * 4, cost: calls as f64 * 0.85 }
}

fn check(usage: Usage, wanted: Usage) {
    let no_cost = |usage: Usage| Usage { cost: 0.0, ..usage };
    assert_eq!(no_cost(usage), no_cost(wanted));
    assert!((usage.cost - wanted.cost).abs() < 1e-9, "{usage:?}, not {wanted:?}");
}

#[tokio::test(start_paused = true)]
async fn what_a_call_used_is_in_its_report_and_on_the_accounts_of_its_caller_and_session() {
    let host = host(json!({}));
    check(call(&host, &ann("one"), 0).await.report.usage, of(1));
    call(&host, &ann("two"), 0).await.result.unwrap();
    call(&host, &Caller::named("bob"), 0).await.result.unwrap();
    check(host.usage_of_caller(&ann("one")), of(2));
    check(host.usage_of_session(&ann("one")), of(1));
    check(host.usage_of_session(&ann("two")), of(1));
    check(host.usage_of_caller(&Caller::named("bob")), of(1));
    check(host.usage_of_session(&Caller::named("bob")), Usage::default());
    let same_session = Caller { session: Some("one".into()), ..Caller::named("bob") };
    check(host.usage_of_session(&same_session), Usage::default());
}

#[tokio::test(start_paused = true)]
async fn attempts_that_failed_were_used_too_and_a_call_that_was_refused_was_not() {
    let host = host(json!({}));
    let three = Usage { calls: 1, output_bytes: 0, cost: 0.5 + 3.0 * 0.35, ..of(3) };
    check(call(&host, &ann("s"), FAIL).await.report.usage, three);
    let host = host.with_limits(HostLimits { max_parallel: 1, max_waiting: 0, ..HostLimits::default() });
    let caller = ann("s");
    let (one, refused) = tokio::join!(call(&host, &caller, 0), call(&host, &caller, 0));
    assert_eq!((one.failed(), refused.failed()), (None, Some(ErrorKind::Busy)));
    assert!(refused.report.usage.is_nothing());
    let both = Usage { calls: 2, output_bytes: 4, cost: three.cost + 0.85, ..of(4) };
    check(host.usage_of_caller(&caller), both);
}

#[tokio::test(start_paused = true)]
async fn an_attempt_that_was_dropped_has_used_what_it_had_used_by_then() {
    let host = host(json!({"caller": {"calls": 2}}));
    assert!(timeout(seconds(3), call(&host, &ann("s"), NEVER_END)).await.is_err());
    let cut = Usage { output_bytes: 0, time: seconds(3), ..of(1) };
    check(host.usage_of_caller(&ann("s")), cut);
    assert!(call(&host, &ann("s"), 0).await.result.is_ok());
    assert_eq!(call(&host, &ann("s"), 0).await.failed(), Some(ErrorKind::QuotaExceeded));
}

#[tokio::test(start_paused = true)]
async fn what_a_tool_calls_is_paid_by_the_same_caller_and_its_time_counts_once() {
    let mut catalog = Catalog::default();
    catalog.add(work(EffectClass::Reads)).unwrap();
    let outer = Native::new("outer", "")
        .effect(EffectClass::Reads)
        .run(|attempt| async move { attempt.call("work", json!({})).await.result.map(|output| output.value) });
    catalog.add(outer).unwrap();
    let host = Host::new(catalog);
    let outcome = host.call(Call::new("outer", json!({})).by(ann("s"))).await;
    let outer = Usage { fuel: 0, cost: 0.0, ..of(1) };
    check(outcome.report.usage, outer);
    let both = Usage { calls: 2, attempts: 2, output_bytes: 8, ..of(1) };
    check(host.usage_of_caller(&ann("s")), both);
    check(host.usage_of_session(&ann("s")), both);
}

/// The calls that a budget lets through, one after the other, and the words behind the last one.
async fn until_used_up(whose: &str, budget: Value) -> (usize, CallError) {
    let host = host(json!({whose: budget}));
    for calls in 0..100 {
        if let Err(error) = call(&host, &ann("s"), 0).await.result {
            assert_eq!((error.kind, error.stage), (ErrorKind::QuotaExceeded, Stage::Guard), "{error}");
            return (calls, error);
        }
    }
    panic!("{budget} is never used up");
}

#[tokio::test(start_paused = true)]
async fn a_budget_lets_calls_in_until_it_is_used_up_and_the_error_says_what_is() {
    for (key, amount, calls, words) in [
        ("calls", json!(3), 3, "3 calls"),
        ("attempts", json!(2), 2, "2 attempts"),
        ("fuel", json!(250), 3, "250 of fuel"),
        ("time", json!("2500ms"), 3, "2s 500ms of running"),
        ("output", json!(9), 3, "9 B of results"),
        // The third call is sure to cost 0.5 more than the 1.7 of the others.
        ("cost", json!(2.1), 2, "a cost of 2.1"),
        ("cost", json!(0.0), 0, "a cost of 0"),
        ("calls", json!(0), 0, "0 calls"),
    ] {
        for whose in ["caller", "session"] {
            let (let_in, error) = until_used_up(whose, json!({key: amount})).await;
            assert_eq!(let_in, calls, "{key}");
            let help = format!("raise `budget.{whose}.{key}`, or give it a `per`");
            assert_eq!(error.message, format!("this {whose} has used up its budget of {words}; {help}"));
            assert_eq!(error.retry_after, None);
        }
    }
}

#[tokio::test(start_paused = true)]
async fn a_budget_of_a_span_begins_anew_when_the_error_says_so() {
    let host = host(json!({"caller": {"calls": 2, "per": "1h"}, "session": {"calls": 10}}));
    for _ in 0..2 {
        call(&host, &ann("s"), 0).await.result.unwrap();
    }
    sleep(seconds(598)).await;
    let error = call(&host, &ann("s"), 0).await.result.unwrap_err();
    assert_eq!(error.retry_after, Some(seconds(3_000)));
    assert_eq!(
        error.message,
        "this caller has used up its budget of 2 calls in 1h; call again in 50m, or raise `budget.caller.calls`"
    );
    assert!(call(&host, &Caller::named("bob"), 0).await.result.is_ok(), "another caller is not concerned");
    // Bob took a second.
    sleep(seconds(2_998)).await;
    assert!(call(&host, &ann("s"), 0).await.result.is_err());
    sleep(seconds(1)).await;
    check(host.usage_of_caller(&ann("s")), Usage::default());
    call(&host, &ann("s"), 0).await.result.unwrap();
    check(host.usage_of_caller(&ann("s")), of(1));
    check(host.usage_of_session(&ann("s")), of(3));
}

#[tokio::test(start_paused = true)]
async fn calls_at_the_same_time_pass_no_budget_of_what_they_are_sure_to_use() {
    for budget in [json!({"calls": 5}), json!({"attempts": 5}), json!({"cost": 2.5})] {
        let host = host(json!({"session": budget}));
        let caller = ann("s");
        let outcomes = join_all((0..20).map(|_| call(&host, &caller, 0))).await;
        assert_eq!(outcomes.iter().filter(|outcome| outcome.result.is_ok()).count(), 5, "{budget}");
    }
    // What is not known before is passed by those that run at once, and by no more.
    let host = host(json!({"session": {"fuel": 50}}));
    let host = host.with_limits(HostLimits { max_parallel: 4, ..HostLimits::default() });
    let host = host.with_repetition(RepeatSettings { ask: 10, refuse: 10, ..RepeatSettings::default() });
    let caller = ann("s");
    assert!(join_all((0..4).map(|_| call(&host, &caller, 0))).await.iter().all(|outcome| outcome.result.is_ok()));
    assert_eq!(call(&host, &caller, 0).await.failed(), Some(ErrorKind::QuotaExceeded));
}

#[tokio::test(start_paused = true)]
async fn a_call_that_a_budget_refuses_takes_nothing_from_the_rates() {
    let mut catalog = Catalog::default();
    let mut tool = work(EffectClass::Reads);
    tool.guards.rate.tool = Some("1/day".parse().unwrap());
    catalog.add(tool).unwrap();
    let budgets: BudgetSettings = serde_json::from_value(json!({"session": {"calls": 0}})).unwrap();
    let host = Host::new(catalog).with_budgets(budgets);
    assert_eq!(call(&host, &ann("s"), 0).await.failed(), Some(ErrorKind::QuotaExceeded));
    assert!(call(&host, &Caller::named("ann"), 0).await.result.is_ok(), "without a session");
    let refused = call(&host, &Caller::named("ann"), 0).await;
    assert_eq!(refused.failed(), Some(ErrorKind::RateLimited));
    assert_eq!(host.usage_of_caller(&ann("s")).calls, 1);
}

#[tokio::test(start_paused = true)]
async fn no_more_accounts_are_kept_than_fit_and_the_quietest_are_forgotten_first() {
    let host = host(json!({}));
    call(&host, &Caller::named("first"), 0).await.result.unwrap();
    for number in 0..10_000 {
        if number % 1_000 == 0 {
            call(&host, &Caller::named("often"), 0).await.result.unwrap();
        }
        call(&host, &Caller::named(format!("caller {number}")), 0).await.result.unwrap();
    }
    check(host.usage_of_caller(&Caller::named("first")), Usage::default());
    check(host.usage_of_caller(&Caller::named("often")), of(10));
}

#[test]
fn prices_and_budgets_that_are_none_are_refused() {
    let budget = |value: Value| serde_json::from_value::<BudgetSettings>(value).map_err(|error| error.to_string());
    let full = json!({"calls": 1, "attempts": 2, "fuel": 3, "time": "1h", "output": "1 MiB", "cost": 0.5, "per": "1d"});
    assert!(budget(json!({"caller": full, "session": {}})).is_ok());
    assert_eq!(budget(json!({"caller": {"cost": -1}})).unwrap_err(), "expected a number of at least 0");
    assert!(budget(json!({"caller": {"call": 1}})).unwrap_err().starts_with("unknown field `call`"));
    assert!(budget(json!({"tool": {}})).unwrap_err().starts_with("unknown field `tool`"));
    let price = |value: Value| serde_json::from_value::<PriceSettings>(value).map_err(|error| error.to_string());
    assert_eq!(price(json!({"per_call": "free"})).unwrap_err(), "expected a number of at least 0");
    assert!(price(json!({"per_fuel": 1e-9})).is_ok());
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 200, failure_persistence: None, ..ProptestConfig::default() })]

    /// Calls come, work, fail, hang and go away; what is on the account is what was done, and nothing stays reserved.
    #[test]
    fn whoever_comes_and_goes_what_was_done_is_on_the_account(
        callers in prop::collection::vec((0_u64..8, 0_u64..3, prop::option::of(0_u64..8)), 1..20),
        max_parallel in 1_usize..5,
        most in 1_u64..12,
    ) {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_time().start_paused(true).build().unwrap();
        runtime.block_on(async {
            let host = host(json!({"caller": {"calls": most}}));
            let host = host.with_limits(HostLimits { max_parallel, max_waiting: 3, ..HostLimits::default() });
            let ann = Caller::named("ann");
            let one = async |(comes, how, goes): &(u64, u64, Option<u64>)| {
                sleep(seconds(*comes)).await;
                let goes = goes.map_or(Duration::MAX, seconds);
                let _ = timeout(goes, call(&host, &ann, *how)).await;
            };
            join_all(callers.iter().map(one)).await;
            let usage = host.usage_of_caller(&ann);
            assert!(usage.calls <= most && usage.attempts >= usage.calls && usage.fuel == usage.attempts * 100);
            // Nothing stays reserved: what is left can be used to the last call.
            for left in (0..most - usage.calls).rev() {
                assert!(call(&host, &ann, 0).await.result.is_ok(), "{left}");
            }
            assert_eq!(call(&host, &ann, 0).await.failed(), Some(ErrorKind::QuotaExceeded));
        });
    }
}
