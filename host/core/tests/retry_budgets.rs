//! The budget of retries, the purses of many tenants, and the latencies that hedging goes by.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing, reason = "tests")]

use std::time::Duration;

use proptest::prelude::*;
use toolpost_core::EffectClass;
use toolpost_core::guard::retry::budget::TOKENS_MAX;
use toolpost_core::guard::retry::latency::SUCCESSES_MAX;
use toolpost_core::guard::retry::{Budget, Budgets, CallRetries, Cost, Hedge, Latencies};

const COSTS: [Cost; 3] = [Cost::Retry, Cost::Throttled, Cost::Hedge];

fn ms(span: u64) -> Duration {
    Duration::from_millis(span)
}

/// A purse with so much in it.
fn with_tokens(tokens: u32) -> Budget {
    let budget = Budget::full();
    while budget.spend(Cost::Retry).is_some() {}
    while budget.tokens() < tokens {
        budget.first_try_worked();
    }
    assert_eq!(budget.tokens(), tokens);
    budget
}

#[test]
fn a_retry_costs_14_after_throttling_5_and_a_hedge_14() {
    for (cost, tokens) in [(Cost::Retry, 14), (Cost::Throttled, 5), (Cost::Hedge, 14)] {
        let budget = Budget::full();
        drop(budget.spend(cost).unwrap());
        assert_eq!(budget.tokens(), TOKENS_MAX - tokens, "{cost:?}: dropped, it stays paid");
        budget.spend(cost).unwrap().give_back();
        assert_eq!(budget.tokens(), TOKENS_MAX - tokens, "{cost:?}: it comes back when it has worked");
    }
}

#[test]
fn a_budget_pays_to_the_last_token_and_not_further() {
    assert!(with_tokens(14).spend(Cost::Retry).is_some());
    let budget = with_tokens(13);
    assert!(budget.spend(Cost::Retry).is_none());
    assert_eq!(budget.tokens(), 13);
    assert!(budget.spend(Cost::Throttled).is_some());
    assert_eq!(budget.tokens(), 8);
}

#[test]
fn a_first_success_adds_one_token_to_a_budget_that_is_not_full() {
    let budget = with_tokens(498);
    for wanted in [499, 500, 500] {
        budget.first_try_worked();
        assert_eq!(budget.tokens(), wanted);
    }
}

#[test]
fn a_dependency_that_is_down_gets_35_retries_and_no_more() {
    let budget = Budget::full();
    assert_eq!((0..1_000).filter(|_| budget.spend(Cost::Retry).is_some()).count(), 35);
}

#[test]
fn a_budget_is_never_negative_nor_above_its_cap_however_many_use_it() {
    let budget = Budget::full();
    let nets: Vec<i64> = std::thread::scope(|scope| {
        let threads: Vec<_> = (0..4_u64)
            .map(|seed| {
                let budget = budget.clone();
                scope.spawn(move || {
                    let mut rng = fastrand::Rng::with_seed(seed);
                    let (mut held, mut net) = (Vec::new(), 0);
                    for _ in 0..20_000 {
                        let cost = COSTS[rng.usize(0..3)];
                        if let Some(spent) = budget.spend(cost) {
                            net -= i64::from(cost.tokens());
                            held.push((spent, cost));
                        }
                        if rng.bool()
                            && let Some((spent, cost)) = held.pop()
                        {
                            spent.give_back();
                            net += i64::from(cost.tokens());
                        }
                        assert!(budget.tokens() <= TOKENS_MAX);
                    }
                    net
                })
            })
            .collect();
        threads.into_iter().map(|thread| thread.join().unwrap()).collect()
    });
    // Without a first success, nothing can have been cut off at the cap: not one update is lost.
    assert_eq!(i64::from(budget.tokens()), i64::from(TOKENS_MAX) + nets.iter().sum::<i64>());
}

#[test]
fn tenants_and_dependencies_have_budgets_of_their_own() {
    let budgets = Budgets::default();
    let keys = [("a", "b"), ("b", "a"), ("ab", ""), ("", "ab"), ("a", "")];
    for (tenant, dependency) in keys {
        let _ = budgets.of(tenant, dependency).spend(Cost::Retry);
    }
    for (tenant, dependency) in keys {
        assert_eq!(budgets.of(tenant, dependency).tokens(), TOKENS_MAX - 14);
    }
    assert_eq!(budgets.remembered(), keys.len());
}

#[test]
fn full_budgets_make_room_and_what_was_spent_or_is_in_use_is_not_forgotten() {
    let budgets = Budgets::with_budgets_max(3);
    let _ = budgets.of("poor", "").spend(Cost::Retry);
    let in_use = budgets.of("in use", "");
    drop(budgets.of("idle", ""));
    drop(budgets.of("new", ""));
    assert_eq!(budgets.remembered(), 3);
    assert_eq!(budgets.of("poor", "").tokens(), TOKENS_MAX - 14);
    let _ = in_use.spend(Cost::Retry);
    assert_eq!(budgets.of("in use", "").tokens(), TOKENS_MAX - 14);
}

#[test]
fn those_for_whom_there_is_no_room_share_one_budget() {
    let budgets = Budgets::with_budgets_max(20);
    for tenant in 0..20 {
        let _ = budgets.of(&tenant.to_string(), "").spend(Cost::Retry);
    }
    let late = (0..1_000).filter(|tenant| budgets.of(&format!("late {tenant}"), "").spend(Cost::Retry).is_some());
    assert_eq!(late.count(), 35);
    assert_eq!(budgets.remembered(), 20);

    for _ in 0..14 {
        budgets.of("7", "").first_try_worked();
    }
    let found = (0..3).any(|_| budgets.of("late again", "").tokens() == TOKENS_MAX);
    assert!(found, "a full one makes room soon");
    assert_eq!(budgets.remembered(), 20);
}

#[test]
fn the_retries_of_a_call_are_counted_once_however_many_take_them() {
    for max_attempts in [0, 1, 2, 10] {
        let retries = CallRetries::default();
        let taken: usize = std::thread::scope(|scope| {
            let threads: Vec<_> = (0..4)
                .map(|_| {
                    let retries = retries.clone();
                    scope.spawn(move || (0..1_000).filter(|_| retries.take(max_attempts)).count())
                })
                .collect();
            threads.into_iter().map(|thread| thread.join().unwrap()).sum()
        });
        assert_eq!(taken, max_attempts.saturating_sub(1) as usize);
        assert_eq!(retries.made(), max_attempts.saturating_sub(1));
    }
}

fn latencies(times: impl IntoIterator<Item = u64>) -> Latencies {
    let latencies = Latencies::default();
    times.into_iter().for_each(|time| latencies.succeeded(ms(time)));
    latencies
}

#[test]
fn an_attempt_is_given_50_ms_or_the_median_of_the_successes() {
    assert_eq!(latencies([]).floor(), ms(50));
    assert_eq!(latencies([10, 20, 30]).floor(), ms(50));
    assert_eq!(latencies([900]).floor(), ms(900));
    assert_eq!(latencies([300, 100, 200]).floor(), ms(200));
    assert_eq!(latencies([400, 300, 100, 200]).floor(), ms(200));
}

#[test]
fn a_second_attempt_starts_after_50_ms_or_the_95th_percentile() {
    let after = |times| Hedge::P95.after(&latencies(times), EffectClass::Reads);
    assert_eq!(after((1..=100).collect::<Vec<_>>()), Some(ms(95)));
    assert_eq!(after((1..=20).map(|n| n * 100).collect()), Some(ms(1_900)));
    assert_eq!(after(vec![1; 50]), Some(ms(50)));
    assert_eq!(after(vec![1; 19]), None, "too little is known");
}

#[test]
fn nothing_that_may_change_the_world_is_hedged() {
    let latencies = latencies([1; 50]);
    let classes =
        [EffectClass::Pure, EffectClass::Reads, EffectClass::Writes, EffectClass::Open, EffectClass::Destroys];
    let hedged = classes.map(|class| Hedge::P95.after(&latencies, class).is_some());
    assert_eq!(hedged, [true, true, false, false, false]);
}

#[test]
fn only_the_last_successes_count() {
    let times = std::iter::repeat_n(9_000, 500).chain(std::iter::repeat_n(100, SUCCESSES_MAX));
    let latencies = latencies(times);
    assert_eq!((latencies.floor(), Hedge::P95.after(&latencies, EffectClass::Pure)), (ms(100), Some(ms(100))));
}

proptest! {
    #[test]
    fn a_budget_does_what_its_arithmetic_says(steps in prop::collection::vec(0..5_u8, 0..400)) {
        let (budget, mut wanted, mut held) = (Budget::full(), i64::from(TOKENS_MAX), Vec::new());
        for step in steps {
            match step {
                0..3 => {
                    let cost = COSTS[usize::from(step)];
                    let spent = budget.spend(cost);
                    prop_assert_eq!(spent.is_some(), wanted >= i64::from(cost.tokens()));
                    if let Some(spent) = spent {
                        wanted -= i64::from(cost.tokens());
                        held.push((spent, cost));
                    }
                }
                3 => {
                    budget.first_try_worked();
                    wanted += 1;
                }
                _ => {
                    if let Some((spent, cost)) = held.pop() {
                        spent.give_back();
                        wanted += i64::from(cost.tokens());
                    }
                }
            }
            wanted = wanted.min(i64::from(TOKENS_MAX));
            prop_assert_eq!(i64::from(budget.tokens()), wanted);
        }
    }

    #[test]
    fn percentiles_are_times_that_were_taken(times in prop::collection::vec(0..10_000_u64, 20..300)) {
        let latencies = latencies(times.clone());
        let last = &times[times.len().saturating_sub(SUCCESSES_MAX)..];
        let after = Hedge::P95.after(&latencies, EffectClass::Reads).unwrap();
        let done = last.iter().filter(|time| ms(**time) <= after).count();
        prop_assert!(done * 100 >= last.len() * 95);
        prop_assert!(after == ms(50) || last.contains(&(after.as_millis() as u64)));
    }
}

#[test]
fn what_worked_at_once_is_paid_into_a_purse_that_there_is_and_makes_none() {
    let budgets = Budgets::default();
    budgets.first_try_worked("ann", "orders");
    assert_eq!(budgets.remembered(), 0, "a purse that was never used is full");
    let budget = budgets.of("ann", "orders");
    drop(budget.spend(Cost::Retry));
    let before = budget.tokens();
    budgets.first_try_worked("ann", "orders");
    budgets.first_try_worked("bob", "orders");
    assert_eq!((budget.tokens(), budgets.remembered()), (before + 1, 1));
}
