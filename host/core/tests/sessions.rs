//! Tools that keep their state for a session: one call of it at a time, in order, and what that means for the rest of the road.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing, reason = "tests")]

use std::sync::atomic::{AtomicU32, Ordering::SeqCst};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use futures_util::future::{join, join_all};
use serde_json::{Value, json};
use tokio::time::{Instant, sleep, timeout};
use toolpost_core::catalog::shape::{Integer, Shape};
use toolpost_core::catalog::{Keep, Lifetime};
use toolpost_core::check::repeat::RepeatSettings;
use toolpost_core::guard::GuardSettings;
use toolpost_core::{
    Attempt, Call, CallError, Caller, Catalog, EffectClass, ErrorKind, Host, HostLimits, Native, Outcome, Stage, Tool,
};

fn ms(span: u64) -> Duration {
    Duration::from_millis(span)
}

/// A tool of that lifetime, with an optional number, one attempt, and no breaker.
fn tool<R>(name: &str, lifetime: Lifetime, guard: Value, run: impl Fn(Attempt) -> R + Send + Sync + 'static) -> Tool
where
    R: Future<Output = Result<Value, CallError>> + Send + 'static,
{
    let guard: GuardSettings = serde_json::from_value(guard).unwrap();
    let number = Shape::Option(Box::new(Shape::Integer(Integer::U64)));
    let native = Native::new(name, "").effect(EffectClass::Reads).guard(guard).parameter("number", number).run(run);
    Tool { lifetime, ..native }
}

fn once() -> Value {
    json!({"breaker": {"kind": "none"}, "retry": {"max_attempts": 1}})
}

/// When each call began and ended, by its number.
type Seen = Arc<Mutex<Vec<(u64, Duration, Duration)>>>;

/// A tool of a session that takes 100 ms.
fn basket(seen: &Seen) -> Tool {
    let (seen, start) = (seen.clone(), Instant::now());
    tool("basket", Lifetime::Session, once(), move |attempt| {
        let seen = seen.clone();
        async move {
            let began = start.elapsed();
            sleep(ms(100)).await;
            let number = attempt.call.arguments["number"].as_u64().unwrap_or_default();
            seen.lock().unwrap().push((number, began, start.elapsed()));
            Ok(json!(number))
        }
    })
}

fn host(tools: impl IntoIterator<Item = Tool>, max_parallel: usize) -> Host {
    let mut catalog = Catalog::default();
    tools.into_iter().for_each(|tool| catalog.add(tool).unwrap());
    Host::new(catalog).with_limits(HostLimits { max_parallel, ..HostLimits::default() })
}

fn caller(id: &str, session: &str) -> Caller {
    Caller { session: Some(session.into()), ..Caller::named(id) }
}

async fn call(host: &Host, tool: &str, number: u64, caller: Caller) -> Outcome {
    host.call(Call::new(tool, json!({"number": number})).by(caller)).await
}

#[tokio::test(start_paused = true)]
async fn calls_of_one_session_come_one_after_the_other_and_those_of_others_meanwhile() {
    let seen = Seen::default();
    let host = host([basket(&seen)], 64);
    let of = |who: &'static str, session: &'static str, number| call(&host, "basket", number, caller(who, session));
    let calls = [of("ann", "a", 1), of("ann", "a", 2), of("ann", "b", 3), of("bob", "a", 4), of("ann", "a", 5)];
    let outcomes = join_all(calls).await;
    assert!(outcomes.iter().all(|outcome| outcome.result.is_ok()));
    let mut seen = seen.lock().unwrap().clone();
    seen.sort();
    let began: Vec<_> = seen.iter().map(|(number, began, _)| (*number, began.as_millis())).collect();
    assert_eq!(began, [(1, 0), (2, 100), (3, 0), (4, 0), (5, 200)]);
    assert_eq!(outcomes[4].report.waited, ms(200));
    assert_eq!(host.in_use(), (0, 0));
}

#[tokio::test(start_paused = true)]
async fn a_call_that_waits_for_its_turn_holds_no_place() {
    let seen = Seen::default();
    let other = tool("other", Lifetime::Fresh, once(), |_| async { Ok(json!(null)) });
    let host = host([basket(&seen), other], 2);
    let crowd = join_all((0..20).map(|number| call(&host, "basket", number, caller("ann", "a"))));
    let other = async {
        sleep(ms(50)).await;
        assert_eq!(host.in_use(), (1, 0), "one has a place, and nobody waits for one");
        call(&host, "other", 0, Caller::named("bob")).await
    };
    let (crowd, other) = join(crowd, other).await;
    assert_eq!(other.report.waited, Duration::ZERO);
    assert!(crowd.iter().all(|outcome| outcome.result.is_ok()));
    let order: Vec<u64> = seen.lock().unwrap().iter().map(|(number, ..)| *number).collect();
    assert_eq!(order, (0..20).collect::<Vec<_>>());
}

#[tokio::test(start_paused = true)]
async fn no_more_than_so_many_wait_for_their_turn_and_each_no_longer_than_its_time() {
    let seen = Seen::default();
    let mut slow = basket(&seen);
    slow.limits.call_time_max = ms(1_050);
    // So many failures of one session would be the end of it.
    let host = host([slow], 64).with_repetition(RepeatSettings { failures: 1_000, ..RepeatSettings::default() });
    let outcomes = join_all((0..70).map(|number| call(&host, "basket", number, caller("ann", "a")))).await;
    let of = |kind| outcomes.iter().filter(|outcome| outcome.failed() == Some(kind)).count();
    assert_eq!((of(ErrorKind::Busy), of(ErrorKind::TimedOut), seen.lock().unwrap().len()), (5, 55, 10));
    let busy = outcomes[69].result.as_ref().unwrap_err();
    assert_eq!(busy.message, "64 calls of this session wait already for the component of `basket`; call again later");
    assert!(busy.retry_after.is_some());
    let late = outcomes[60].result.as_ref().unwrap_err();
    assert_eq!(
        late.message,
        "the calls before it in its session did not end within 1s 50ms; call again later, or raise `limits.call_time`"
    );
    assert_eq!(host.in_use(), (0, 0));
    assert!(call(&host, "basket", 1, caller("ann", "a")).await.result.is_ok(), "the line is empty again");
}

#[tokio::test(start_paused = true)]
async fn who_goes_away_while_it_waits_or_runs_gives_its_turn_to_the_next() {
    let seen = Seen::default();
    let host = host([basket(&seen)], 64);
    let of = |number| call(&host, "basket", number, caller("ann", "a"));
    let gone = async {
        let both = join(timeout(ms(30), of(1)), timeout(ms(20), of(2))).await;
        assert!(both.0.is_err() && both.1.is_err());
    };
    let (_, stays) = join(gone, async {
        sleep(ms(1)).await;
        of(3).await
    })
    .await;
    assert!(stays.result.is_ok());
    let seen = seen.lock().unwrap();
    assert_eq!(seen.iter().map(|(number, began, _)| (*number, began.as_millis())).collect::<Vec<_>>(), [(3, 30)]);
}

#[tokio::test(start_paused = true)]
async fn a_call_without_a_session_is_told_to_name_one_before_anybody_is_asked() {
    let host = host([basket(&Seen::default())], 64);
    let outcome = call(&host, "basket", 1, Caller::named("ann")).await;
    let error = outcome.result.unwrap_err();
    assert_eq!((error.kind, error.stage), (ErrorKind::InvalidArguments, Stage::Check));
    assert_eq!(
        error.message,
        "`basket` keeps its state for a session, and the call is of none; name the session of the caller (`toolpost call \
         --session NAME`)"
    );
}

#[tokio::test(start_paused = true)]
async fn siblings_inside_of_one_call_wait_for_one_another_and_a_call_never_for_the_one_around_it() {
    let seen = Seen::default();
    let fan = tool("fan", Lifetime::Fresh, once(), |attempt| async move {
        let one = |number: u64| attempt.call("basket", json!({"number": number}));
        let answers = join_all((1..=3).map(one)).await;
        Ok(answers.into_iter().map(|outcome| outcome.result.unwrap().value).collect())
    });
    let around = tool("around", Lifetime::Session, once(), |attempt| async move {
        let inner = Tool::clone(&attempt.call.tool).name;
        attempt.call(inner, json!({"number": 7})).await.result.map(|output| output.value)
    });
    let host = host([basket(&seen), fan, around], 1);
    // With the one place that the call around them has.
    let outcome = call(&host, "fan", 0, caller("ann", "a")).await;
    assert_eq!(outcome.result.unwrap().value, json!([1, 2, 3]));
    let error = call(&host, "around", 0, caller("ann", "a")).await.result.unwrap_err();
    assert_eq!(error.kind, ErrorKind::Busy);
    assert_eq!(
        error.message,
        "another call of this session is at work in the component of `around`, and a call inside of another one does not wait \
         for it; call again later"
    );
}

#[tokio::test(start_paused = true)]
async fn a_call_inside_of_another_does_not_wait_for_a_stranger_that_may_wait_for_its_place() {
    let fan = tool("fan", Lifetime::Fresh, once(), |attempt| async move {
        sleep(ms(10)).await;
        attempt.call("basket", json!({})).await.result.map(|output| output.value)
    });
    let host = host([basket(&Seen::default()), fan], 1);
    // The first has the place, the second the turn: both would wait for ever.
    let (fan, basket) =
        join(call(&host, "fan", 0, caller("ann", "a")), call(&host, "basket", 1, caller("ann", "a"))).await;
    assert_eq!(fan.failed(), Some(ErrorKind::Busy));
    assert!(basket.result.is_ok());
}

#[tokio::test(start_paused = true)]
async fn attempts_that_are_tried_again_keep_the_turn_and_are_not_begun_beside_one_another() {
    let runs = Arc::new(AtomicU32::new(0));
    let counted = runs.clone();
    let guard = json!({"breaker": {"kind": "none"}, "retry": {"hedge": {"after": "50ms"}, "backoff": {"fixed": {"delay": "20ms"}}}});
    let flaky = tool("flaky", Lifetime::Session, guard, move |attempt| {
        let run = counted.fetch_add(1, SeqCst);
        async move {
            sleep(ms(200)).await;
            match run {
                0 => Err(CallError::new(ErrorKind::ToolFailed { retryable: true }, Stage::Run, "not yet")),
                _ => Ok(attempt.call.arguments["number"].clone()),
            }
        }
    });
    let host = host([flaky], 64);
    let (first, second) =
        join(call(&host, "flaky", 1, caller("ann", "a")), call(&host, "flaky", 2, caller("ann", "a"))).await;
    assert_eq!((first.report.attempts.len(), second.report.attempts.len()), (2, 1));
    assert_eq!(first.result.unwrap().value, json!(1));
    assert!(second.report.waited >= ms(400), "{:?}", second.report.waited);
    assert_eq!(runs.load(SeqCst), 3);
}

#[tokio::test(start_paused = true)]
async fn what_lost_its_state_with_its_time_is_not_tried_again() {
    let runs = Arc::new(AtomicU32::new(0));
    for (lifetime, expected) in [(Lifetime::Session, 1), (Lifetime::Warm, 3), (Lifetime::Fresh, 3)] {
        let counted = runs.clone();
        runs.store(0, SeqCst);
        let mut slow = tool("slow", lifetime, json!({"breaker": {"kind": "none"}}), move |_| {
            counted.fetch_add(1, SeqCst);
            std::future::pending()
        });
        slow.limits.attempt_time_max = ms(100);
        let outcome = call(&host([slow], 64), "slow", 1, caller("ann", "a")).await;
        assert_eq!(outcome.failed(), Some(ErrorKind::TimedOut));
        assert_eq!(runs.load(SeqCst), expected, "{lifetime:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn results_of_a_session_are_never_kept_for_equal_calls() {
    let runs = Arc::new(AtomicU32::new(0));
    let counted = runs.clone();
    let guard = json!({"cache": true, "breaker": {"kind": "none"}});
    let run = move |_| {
        let run = counted.fetch_add(1, SeqCst);
        async move { Ok(json!(run)) }
    };
    let next = Tool { effect: EffectClass::Pure, ..tool("next", Lifetime::Session, guard, run) };
    assert_eq!(
        next.guards.cache.fits(next.effect, next.lifetime).unwrap_err(),
        "it keeps its state for a session, so an earlier result cannot stand for a call of it; write guard.cache = false"
    );
    let host = host([next], 64);
    for expected in 0..3 {
        let outcome = call(&host, "next", 1, caller("ann", "a")).await;
        assert_eq!((outcome.report.cached, outcome.result.unwrap().value), (false, json!(expected)));
    }
}

#[test]
fn settings_say_how_long_an_instance_lives_and_within_which_bounds() {
    let read = |value: Value| serde_json::from_value::<Keep>(value).map_err(|error| error.to_string());
    assert_eq!(read(json!("fresh")), Ok(Keep::Nothing));
    assert_eq!(read(json!({"kind": "fresh"})), Ok(Keep::Nothing));
    for (kind, lifetime) in [("session", Lifetime::Session), ("warm", Lifetime::Warm)] {
        let keep = read(json!(kind)).unwrap();
        assert_eq!((keep.lifetime(), Ok(keep)), (lifetime, read(json!({"kind": kind}))));
        let table = json!({"kind": kind, "idle": "1s", "total": "2s", "max_calls": 3, "max_instances": 4});
        let bounds = read(table).unwrap().bounds().unwrap();
        assert_eq!((bounds.idle, bounds.total), (ms(1_000), ms(2_000)));
        assert_eq!((bounds.max_calls, bounds.max_instances), (Some(3), 4));
    }
    for wrong in [
        json!("for ever"),
        json!({"kind": "fresh", "idle": "1s"}),
        json!({"kind": "session", "idle": "0s"}),
        json!({"kind": "session", "max_instances": 0}),
        json!({"kind": "warm", "max_calls": 0}),
        json!({"kind": "warm", "uses": 3}),
        json!({"idle": "1s"}),
        json!(3),
    ] {
        assert!(read(wrong.clone()).is_err(), "{wrong}");
    }
}
