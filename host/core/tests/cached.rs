//! The result cache: what is answered again without running, and what never is.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing, reason = "tests")]

use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering::SeqCst};
use std::time::Duration;

use futures_util::future::join_all;
use serde_json::{Value, json};
use tokio::time::{advance, sleep};
use toolpost_core::catalog::shape::{Integer, Shape};
use toolpost_core::catalog::{Lifetime, SecretArguments};
use toolpost_core::guard::GuardSettings;
use toolpost_core::{
    Attempt, Call, CallError, Caller, Catalog, Effect, EffectClass, ErrorKind, Host, Native, Outcome, Stage, Tool,
};

fn seconds(seconds: u64) -> Duration {
    Duration::from_secs(seconds)
}

/// A tool with these settings that does what `act` says, by the number of times that it was run.
fn tool<R>(
    effect: EffectClass,
    guard: Value,
    act: impl Fn(u32, Attempt) -> R + Send + Sync + 'static,
) -> (Tool, Arc<AtomicU32>)
where
    R: Future<Output = Result<Value, CallError>> + Send + 'static,
{
    let runs = Arc::new(AtomicU32::new(0));
    let counted = runs.clone();
    let guard: GuardSettings = serde_json::from_value(guard).unwrap();
    let tool = Native::new("work", "")
        .parameter("number", Shape::Option(Box::new(Shape::Integer(Integer::U64))))
        .parameter("word", Shape::Option(Box::new(Shape::String)))
        .effect(effect)
        .guard(guard)
        .run(move |attempt| act(counted.fetch_add(1, SeqCst) + 1, attempt));
    (tool, runs)
}

fn host_of(tool: Tool) -> Host {
    let mut catalog = Catalog::default();
    catalog.add(tool).unwrap();
    Host::new(catalog)
}

/// A tool that answers with the number of its run, a second after it was asked.
fn slow(effect: EffectClass, cache: Value) -> (Host, Arc<AtomicU32>) {
    let (tool, runs) = tool(effect, json!({"cache": cache}), |run, _| async move {
        sleep(seconds(1)).await;
        Ok(json!(run))
    });
    (host_of(tool), runs)
}

async fn call(host: &Host, arguments: Value) -> Outcome {
    host.call(Call::new("work", arguments)).await
}

fn answer(outcome: &Outcome) -> (u64, bool) {
    (outcome.result.as_ref().unwrap().value.as_u64().unwrap(), outcome.report.cached)
}

#[tokio::test(start_paused = true)]
async fn an_equal_call_gets_the_kept_result_and_runs_nothing() {
    let (host, runs) = slow(EffectClass::Pure, json!(true));
    let first = call(&host, json!({"number": 1})).await;
    // However the same arguments are written.
    let second = call(&host, json!({"word": null, "number": "1"})).await;
    assert_eq!((answer(&first), answer(&second)), ((1, false), (1, true)));
    assert!(second.report.attempts.is_empty());
    assert_eq!(second.report.time, Duration::ZERO);
    let json = serde_json::to_value(&second.report).unwrap();
    assert_eq!(json["cached"], json!(true));
    assert_eq!(answer(&call(&host, json!({"number": 2})).await), (2, false));
    assert_eq!(runs.load(SeqCst), 2);
}

#[tokio::test(start_paused = true)]
async fn numbers_that_differ_in_their_last_digit_are_not_the_same_arguments() {
    let (host, _) = slow(EffectClass::Pure, json!(true));
    call(&host, json!({"number": 9_007_199_254_740_992_u64})).await;
    assert_eq!(answer(&call(&host, json!({"number": 9_007_199_254_740_993_u64})).await), (2, false));
}

#[tokio::test(start_paused = true)]
async fn a_result_holds_as_long_as_the_settings_say() {
    let (host, _) = slow(EffectClass::Reads, json!({"ttl": "60s"}));
    call(&host, json!({})).await;
    advance(seconds(60) - Duration::from_millis(1)).await;
    assert_eq!(answer(&call(&host, json!({})).await), (1, true));
    advance(Duration::from_millis(1)).await;
    assert_eq!(answer(&call(&host, json!({})).await), (2, false));
}

#[tokio::test(start_paused = true)]
async fn nobody_gets_the_result_of_another_caller() {
    let (host, _) = slow(EffectClass::Pure, json!(true));
    let by = async |name| answer(&host.call(Call::new("work", json!({})).by(Caller::named(name))).await);
    assert_eq!((by("ann").await, by("bob").await, by("ann").await), ((1, false), (2, false), (1, true)));
}

#[tokio::test(start_paused = true)]
async fn what_may_change_something_or_reads_without_a_ttl_is_never_answered_from_the_cache() {
    for (effect, cache) in [
        (EffectClass::Writes, json!(true)),
        (EffectClass::Open, json!({"ttl": "60s"})),
        (EffectClass::Writes, json!({"ttl": "60s"})),
        (EffectClass::Reads, json!(true)),
        (EffectClass::Pure, json!(false)),
    ] {
        let (host, _) = slow(effect, cache.clone());
        call(&host, json!({})).await;
        assert_eq!(answer(&call(&host, json!({})).await), (2, false), "{effect:?} {cache}");
    }
}

#[test]
fn the_settings_say_what_would_be_right() {
    let fits = |cache: Value, effect| {
        let guard: GuardSettings = serde_json::from_value(json!({"cache": cache})).unwrap();
        guard.cache.unwrap().fits(effect, Lifetime::Fresh).err().unwrap_or_default()
    };
    let ttl = || json!({"ttl": "60s"});
    for (cache, effect) in [
        (json!(true), EffectClass::Pure),
        (ttl(), EffectClass::Pure),
        (ttl(), EffectClass::Reads),
        (json!(false), EffectClass::Destroys),
    ] {
        assert_eq!(fits(cache, effect), "");
    }
    assert_eq!(
        fits(json!(true), EffectClass::Reads),
        "what it reads may change; say how long a result holds, such as guard.cache = { ttl = \"60s\" }"
    );
    assert_eq!(
        fits(ttl(), EffectClass::Writes),
        "its effect is `writes`, so an earlier result cannot stand for a call of it; write guard.cache = false"
    );
    for wrong in [json!("60s"), json!({}), json!({"ttl": "0s"}), json!({"ttl": "60s", "size": 1})] {
        assert!(serde_json::from_value::<GuardSettings>(json!({"cache": wrong})).is_err(), "{wrong}");
    }
}

#[tokio::test(start_paused = true)]
async fn equal_calls_at_once_run_once() {
    let (host, runs) = slow(EffectClass::Pure, json!(true));
    let outcomes = join_all((0..100).map(|_| call(&host, json!({})))).await;
    assert_eq!(runs.load(SeqCst), 1);
    assert_eq!(outcomes.iter().filter(|outcome| outcome.report.cached).count(), 99);
    assert!(outcomes.iter().all(|outcome| answer(outcome).0 == 1));
}

#[tokio::test(start_paused = true)]
async fn where_the_first_fails_exactly_one_runs_next_and_no_error_is_kept() {
    let guard = json!({"cache": true, "retry": {"max_attempts": 1}});
    let (tool, runs) = tool(EffectClass::Pure, guard, |run, _| async move {
        sleep(seconds(1)).await;
        if run == 1 { Err(CallError::new(ErrorKind::Trapped, Stage::Run, "it gave up")) } else { Ok(json!(run)) }
    });
    let host = host_of(tool);
    let outcomes = join_all((0..10).map(|_| call(&host, json!({})))).await;
    assert_eq!(runs.load(SeqCst), 2);
    let kinds: Vec<_> = outcomes.iter().map(|outcome| (outcome.failed(), outcome.report.cached)).collect();
    assert_eq!(kinds[0], (Some(ErrorKind::Trapped), false));
    assert_eq!(kinds[1], (None, false));
    assert!(kinds[2..].iter().all(|kind| *kind == (None, true)), "{kinds:?}");
    assert_eq!(outcomes[2].report.time, seconds(2));
}

#[tokio::test(start_paused = true)]
async fn a_call_that_is_dropped_while_it_runs_or_waits_gives_its_turn_to_the_next() {
    let (host, runs) = slow(EffectClass::Pure, json!(true));
    let patient = async {
        sleep(Duration::from_millis(1)).await;
        call(&host, json!({})).await
    };
    let first = tokio::time::timeout(Duration::from_millis(500), call(&host, json!({})));
    let waits = tokio::time::timeout(Duration::from_millis(300), call(&host, json!({})));
    let (first, waits, patient) = tokio::join!(first, waits, patient);
    assert!(first.is_err() && waits.is_err());
    assert_eq!((answer(&patient), runs.load(SeqCst)), ((2, false), 2));
    assert_eq!(answer(&call(&host, json!({})).await), (2, true));
}

#[tokio::test(start_paused = true)]
async fn a_result_of_an_attempt_with_an_effect_is_not_kept() {
    let (tool, _) = tool(EffectClass::Reads, json!({"cache": {"ttl": "60s"}}), |run, attempt| async move {
        let effect = Effect {
            class: EffectClass::Reads,
            action: "net.get".into(),
            target: "https://a.test/".into(),
            detail: None,
        };
        if run == 1 {
            attempt.pass(effect).await?.done();
        }
        Ok(json!(run))
    });
    let host = host_of(tool);
    assert_eq!(answer(&call(&host, json!({})).await), (1, false));
    assert_eq!(answer(&call(&host, json!({})).await), (2, false));
    assert_eq!(answer(&call(&host, json!({})).await), (2, true));
}

#[tokio::test(start_paused = true)]
async fn a_kept_result_feeds_neither_the_rate_nor_the_breaker() {
    let guard = json!({"cache": true, "rate": {"tool": "1/min"}});
    let (tool, runs) = tool(EffectClass::Pure, guard, |run, _| async move { Ok(json!(run)) });
    let host = host_of(tool);
    for _ in 0..20 {
        assert_eq!(answer(&call(&host, json!({})).await).0, 1);
    }
    assert_eq!(runs.load(SeqCst), 1);
    // The one that ran was charged.
    assert_eq!(call(&host, json!({"number": 1})).await.failed(), Some(ErrorKind::RateLimited));
}

#[tokio::test(start_paused = true)]
async fn what_is_kept_has_a_bound_in_bytes() {
    let (tool, runs) = tool(EffectClass::Pure, json!({"cache": true}), |_, attempt| async move {
        Ok(json!(attempt.call.arguments["number"].to_string().repeat(1_000)))
    });
    let host = host_of(tool).with_cached_results(40_000);
    for round in 1..=2 {
        for number in 0..200 {
            call(&host, json!({"number": number})).await;
        }
        // With room for all of them, no call of the second round would have run.
        assert!(runs.load(SeqCst) > 150 * round, "{runs:?}");
    }
    call(&host, json!({"number": 7})).await;
    let before = runs.load(SeqCst);
    call(&host, json!({"number": 7})).await;
    assert_eq!(runs.load(SeqCst), before, "and what was asked last is there");
}

#[tokio::test(start_paused = true)]
async fn secret_arguments_tell_calls_apart() {
    let (mut tool, _) = tool(EffectClass::Pure, json!({"cache": true}), |run, _| async move { Ok(json!(run)) });
    tool.secret_arguments = SecretArguments::find(&["/word".into()], &tool.parameters).unwrap();
    let host = host_of(tool);
    let with = async |word: &str| answer(&call(&host, json!({"word": word})).await);
    assert_eq!((with("one").await, with("two").await, with("one").await), ((1, false), (2, false), (1, true)));
}
