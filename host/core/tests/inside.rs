//! Calls inside of calls: what they share with the call around them, and what ends them.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing, reason = "tests")]

use std::sync::atomic::{AtomicU32, Ordering::SeqCst};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use futures_util::future::join_all;
use serde_json::{Value, json};
use tokio::sync::Semaphore;
use tokio::time::sleep;
use toolpost_core::catalog::shape::{Integer, Shape};
use toolpost_core::guard::GuardSettings;
use toolpost_core::inside::TREE_CALLS_MAX;
use toolpost_core::{
    Attempt, Call, CallError, Caller, Catalog, Effect, EffectClass, ErrorKind, Event, Host, HostLimits, Native,
    Outcome, Sink, Stage, Told, Tool,
};

fn ms(span: u64) -> Duration {
    Duration::from_millis(span)
}

fn guard(settings: Value) -> GuardSettings {
    serde_json::from_value(settings).unwrap()
}

/// A tool with an optional number, without a breaker and with short waits.
fn tool<R>(name: &str, class: EffectClass, run: impl Fn(Attempt) -> R + Send + Sync + 'static) -> Tool
where
    R: Future<Output = Result<Value, CallError>> + Send + 'static,
{
    let settings = json!({"breaker": {"kind": "none"}, "retry": {"backoff": {"fixed": {"delay": "10ms"}}}});
    let number = Shape::Option(Box::new(Shape::Integer(Integer::U64)));
    Native::new(name, "").effect(class).guard(guard(settings)).parameter("number", number).run(run)
}

fn host(tools: impl IntoIterator<Item = Tool>) -> Host {
    let mut catalog = Catalog::default();
    tools.into_iter().for_each(|tool| catalog.add(tool).unwrap());
    Host::new(catalog)
}

fn failed(error: &str) -> CallError {
    CallError::new(ErrorKind::ToolFailed { retryable: true }, Stage::Run, error)
}

async fn call(host: &Host, tool: &str) -> Outcome {
    host.call(Call::new(tool, json!({}))).await
}

/// Hands out what the call inside has answered, or its error.
async fn hand_on(attempt: Attempt, tool: &str) -> Result<Value, CallError> {
    attempt.call(tool, json!({})).await.result.map(|output| output.value)
}

#[derive(Default)]
struct Calls(Mutex<Vec<Call>>, Mutex<Vec<(String, Option<ErrorKind>)>>);

impl Sink for Calls {
    fn tell(&self, told: &Told<'_>) {
        match told.event {
            Event::CallStarted { call } => self.0.lock().unwrap().push((*call).clone()),
            Event::CallEnded { outcome } => {
                self.1.lock().unwrap().push((outcome.tool.clone(), outcome.failed()));
            }
            _ => {}
        }
    }
}

#[tokio::test(start_paused = true)]
async fn a_call_inside_of_another_is_by_the_same_caller_in_the_same_session_and_says_where_it_is() {
    let calls = Arc::new(Calls::default());
    let outer = tool("outer", EffectClass::Open, |attempt| async move { hand_on(attempt, "inner").await });
    let host = host([outer, tool("inner", EffectClass::Open, |_| async { Ok(json!(7)) })]).with_sink(calls.clone());
    let caller = Caller { groups: vec!["staff".into()], session: Some("s".into()), ..Caller::named("ann") };
    let outcome = host.call(Call::new("outer", json!({})).by(caller.clone())).await;
    assert_eq!(outcome.result.unwrap().value, json!(7));
    let calls = calls.0.lock().unwrap();
    let [outer, inner] = &calls[..] else { panic!("{calls:?}") };
    assert_eq!((&inner.caller, inner.parent.as_ref()), (&caller, Some(&outer.id)));
    assert_eq!(inner.inside.as_ref().map(|inside| inside.parent()), Some(&outer.id));
    assert_ne!(inner.id, outer.id);
}

#[tokio::test(start_paused = true)]
async fn a_call_inside_of_another_has_no_more_time_than_the_attempt_around_it() {
    let told: Arc<Mutex<Option<CallError>>> = Arc::default();
    let keep = told.clone();
    let outer = tool("outer", EffectClass::Open, move |attempt| {
        let keep = keep.clone();
        async move {
            let error = hand_on(attempt, "inner").await.unwrap_err();
            *keep.lock().unwrap() = Some(error);
            Ok(json!("gave up"))
        }
    });
    let mut outer = Tool { effect: EffectClass::Reads, ..outer };
    outer.limits.attempt_time_max = ms(500);
    let deadlines: Arc<Mutex<Vec<bool>>> = Arc::default();
    let seen = deadlines.clone();
    let inner = tool("inner", EffectClass::Reads, move |attempt| {
        seen.lock().unwrap().push(attempt.clock.deadline() <= attempt.started + ms(500));
        std::future::pending()
    });
    let outcome = call(&host([outer, inner]), "outer").await;
    assert_eq!(outcome.report.time, ms(500));
    assert_eq!(*deadlines.lock().unwrap(), [true]);
    let error = told.lock().unwrap().take().unwrap();
    assert_eq!(
        error.message,
        "the call did not end before the call around it was over; ask for less at once, or raise the time of the call \
         around it"
    );
}

#[tokio::test(start_paused = true)]
async fn one_attempt_budget_for_a_call_across_all_layers() {
    // Also where what is inside may change something, and so runs in a task of its own.
    for class in [EffectClass::Reads, EffectClass::Writes] {
        let runs = Arc::new(AtomicU32::new(0));
        let counted = runs.clone();
        let layers = ["a", "b", "c"].windows(2).map(|pair| {
            let inner = pair[1].to_owned();
            tool(pair[0], class, move |attempt| {
                let inner = inner.clone();
                async move { hand_on(attempt, &inner).await }
            })
        });
        let last = tool("c", class, move |_| {
            counted.fetch_add(1, SeqCst);
            async { Err(failed("away")) }
        });
        let outcome = call(&host(layers.chain([last])), "a").await;
        assert_eq!(outcome.failed(), Some(ErrorKind::ToolFailed { retryable: true }));
        // Not 27.
        assert_eq!((runs.load(SeqCst), outcome.report.attempts.len()), (3, 1), "{class:?}");
        assert_eq!(outcome.report.not_retried, Some("no_attempt_left"));
    }
}

#[tokio::test(start_paused = true)]
async fn calls_beside_one_another_inside_of_a_call_share_its_attempt_budget_too() {
    let runs = Arc::new(AtomicU32::new(0));
    let counted = runs.clone();
    let inner = tool("inner", EffectClass::Reads, move |_| {
        counted.fetch_add(1, SeqCst);
        async { Err(failed("away")) }
    });
    let outer = tool("outer", EffectClass::Reads, |attempt| async move {
        join_all((0..5).map(|number| attempt.call("inner", json!({"number": number})))).await;
        Err(failed("all of them"))
    });
    let outcome = call(&host([outer, inner]), "outer").await;
    // Each of the five once, and two retries for all of them and the one around them.
    assert_eq!((runs.load(SeqCst), outcome.report.attempts.len()), (5 + 2, 1));
}

#[tokio::test(start_paused = true)]
async fn calls_go_only_so_deep_and_the_error_says_the_way() {
    let deeper = |attempt: Attempt| async move {
        let number = attempt.call.arguments["number"].as_u64().unwrap_or_default();
        attempt.call("deeper", json!({"number": number + 1})).await.result.map(|output| output.value)
    };
    for (max_depth, way) in [(0, "deeper > deeper"), (2, "deeper > deeper > deeper > deeper")] {
        let host = host([tool("deeper", EffectClass::Reads, deeper)]);
        let host = host.with_limits(HostLimits { max_depth, ..HostLimits::default() });
        let error = call(&host, "deeper").await.result.unwrap_err();
        assert_eq!((error.kind, error.stage), (ErrorKind::QuotaExceeded, Stage::Check));
        let words = format!("calls inside of one another go no deeper than {max_depth}: {way}");
        assert_eq!(error.message, format!("{words}; raise `host.max_depth` if they should"));
    }
}

#[tokio::test(start_paused = true)]
async fn only_so_many_calls_of_one_tree_are_there_at_once_and_the_next_one_finds_room_behind_them() {
    let (began, may_end) = (Arc::new(AtomicU32::new(0)), Arc::new(Semaphore::new(0)));
    let (counted, waited) = (began.clone(), may_end.clone());
    let leaf = tool("leaf", EffectClass::Pure, move |_| {
        let (began, may_end) = (counted.clone(), waited.clone());
        async move {
            began.fetch_add(1, SeqCst);
            may_end.acquire().await.unwrap().forget();
            Ok(json!(["ok"]))
        }
    });
    // Calls so many at once, and says what came of each of theirs.
    let many = |name: &'static str, inside: &'static str, count: u64| {
        tool(name, EffectClass::Pure, move |attempt| async move {
            let calls = (0..count).map(|number| attempt.call(inside, json!({"number": number})));
            let told = join_all(calls).await.into_iter().flat_map(|outcome| match outcome.result {
                Ok(output) => output.value.as_array().unwrap().clone(),
                Err(error) => vec![json!(error.kind.name())],
            });
            Ok(told.collect())
        })
    };
    let host = host([leaf, many("branch", "leaf", 100), many("root", "branch", 5)]);
    let host = host.with_limits(HostLimits { max_parallel: 1_000, ..HostLimits::default() });
    let calling = tokio::spawn({
        let host = host.clone();
        async move { call(&host, "root").await }
    });
    sleep(ms(100)).await;
    // Five branches, and as many leaves as there is still room for. The fourth branch has found none for any of its leaves, has ended,
    // and left its own room to the fifth.
    let leaves = TREE_CALLS_MAX - 4;
    assert_eq!(began.load(SeqCst) as usize, leaves);
    may_end.add_permits(leaves);
    let told = calling.await.unwrap().result.unwrap().value;
    let count = |word: &str| told.as_array().unwrap().iter().filter(|said| **said == json!(word)).count();
    assert_eq!((count("ok"), count("busy")), (leaves, 500 - leaves), "{told}");
    may_end.add_permits(100);
    assert_eq!(call(&host, "branch").await.result.unwrap().value, json!(vec!["ok"; 100]));
}

#[tokio::test(start_paused = true)]
async fn a_call_that_would_be_inside_of_itself_is_refused() {
    let a = tool("a", EffectClass::Reads, |attempt| async move { hand_on(attempt, "b").await });
    let b = tool("b", EffectClass::Reads, |attempt| async move { hand_on(attempt, "a").await });
    let error = call(&host([a, b]), "a").await.result.unwrap_err();
    assert_eq!((error.kind, error.stage), (ErrorKind::RepeatedCall, Stage::Check));
    assert_eq!(
        error.message,
        "this call would be inside of itself: a > b > a; call it with other arguments, or not at all"
    );
}

#[tokio::test(start_paused = true)]
async fn what_only_reads_cannot_change_anything_by_calling_what_can() {
    use EffectClass::{Destroys, Open, Pure, Reads, Writes};
    let may = [(Pure, Pure), (Reads, Pure), (Reads, Reads), (Writes, Open), (Open, Writes), (Open, Open)];
    let may_not = [(Pure, Reads), (Pure, Writes), (Reads, Writes), (Reads, Open), (Reads, Destroys)];
    for (outer, inner) in may.into_iter().chain(may_not) {
        let outer_tool = tool("outer", outer, |attempt| async move { hand_on(attempt, "inner").await });
        let outcome = call(&host([outer_tool, tool("inner", inner, |_| async { Ok(json!(1)) })]), "outer").await;
        match outcome.result {
            Ok(_) => assert!(may.contains(&(outer, inner)), "{outer:?} > {inner:?}"),
            Err(error) => {
                assert!(may_not.contains(&(outer, inner)), "{outer:?} > {inner:?}");
                assert_eq!((error.kind, error.stage), (ErrorKind::CapabilityDenied, Stage::Check));
                let (outer, inner) = (outer.name(), inner.name());
                let words =
                    format!("`outer` has the effect `{outer}`, and calls `inner`, which has the effect `{inner}`");
                assert_eq!(error.message, format!("{words}; set `effect = \"{inner}\"` for `outer` to allow it"));
            }
        }
    }
}

fn writes() -> Effect {
    Effect { class: EffectClass::Writes, action: "orders.create".into(), target: "1".into(), detail: None }
}

#[tokio::test(start_paused = true)]
async fn a_call_is_not_tried_again_after_what_a_call_inside_of_it_did() {
    for (happens, attempts) in [(true, 1), (false, 3)] {
        let inner = tool("inner", EffectClass::Writes, move |attempt| async move {
            let passage = attempt.pass(writes()).await?;
            if happens {
                passage.done()
            } else {
                passage.failed()
            }
            Ok(json!(1))
        });
        // Two layers: it is handed on to all that are around it.
        let middle = tool("middle", EffectClass::Writes, |attempt| async move { hand_on(attempt, "inner").await });
        let outer = tool("outer", EffectClass::Writes, |attempt| async move {
            hand_on(attempt, "middle").await?;
            Err(failed("it failed afterwards"))
        });
        let outcome = call(&host([outer, middle, inner]), "outer").await;
        assert_eq!(outcome.report.attempts.len(), attempts);
        assert_eq!(outcome.failed() == Some(ErrorKind::OutcomeUnknown), happens);
    }
}

#[tokio::test(start_paused = true)]
async fn the_end_of_a_call_ends_what_only_reads_inside_of_it_wherever_it_runs() {
    struct Gone(Arc<AtomicU32>);
    impl Drop for Gone {
        fn drop(&mut self) {
            self.0.fetch_add(1, SeqCst);
        }
    }
    let gone = Arc::new(AtomicU32::new(0));
    let count = gone.clone();
    let inner = tool("inner", EffectClass::Reads, move |_| {
        let gone = Gone(count.clone());
        async move {
            let _gone = gone;
            std::future::pending().await
        }
    });
    // One is awaited, one runs in a task of its own.
    let mut outer = tool("outer", EffectClass::Writes, |attempt| async move {
        let other = attempt.clone();
        tokio::spawn(async move { other.call("inner", json!({"number": 1})).await });
        hand_on(attempt, "inner").await
    });
    outer.limits.attempt_time_max = ms(1_000);
    let calls = Arc::new(Calls::default());
    let host = host([outer, inner]).with_sink(calls.clone());
    let outcome = call(&host, "outer").await;
    assert_eq!(outcome.failed(), Some(ErrorKind::TimedOut));
    sleep(ms(1)).await;
    assert_eq!((gone.load(SeqCst), host.in_use()), (2 * 3, (0, 0)), "three attempts, each with two calls");
    let ended = calls.1.lock().unwrap();
    let cut = ended.iter().filter(|(tool, failed)| tool == "inner" && failed.is_some()).count();
    assert_eq!((cut, ended.len()), (6, 7));
}

#[tokio::test(start_paused = true)]
async fn an_attempt_that_is_over_or_has_lost_its_host_calls_nothing() {
    let kept: Arc<Mutex<Option<Attempt>>> = Arc::default();
    let keep = kept.clone();
    let outer = tool("outer", EffectClass::Open, move |attempt| {
        *keep.lock().unwrap() = Some(attempt);
        async { Ok(json!(1)) }
    });
    let ran = Arc::new(AtomicU32::new(0));
    let count = ran.clone();
    let inner = tool("inner", EffectClass::Reads, move |_| {
        count.fetch_add(1, SeqCst);
        async { Ok(json!(1)) }
    });
    let host = host([outer, inner]);
    call(&host, "outer").await.result.unwrap();
    let attempt = kept.lock().unwrap().take().unwrap();
    let told = |outcome: Outcome| outcome.result.map(drop).map_err(|error| (error.kind, error.message));
    let over = "the call around it is over; nothing more is done for it";
    assert_eq!(told(attempt.call("inner", json!({})).await), Err((ErrorKind::Cancelled, over.into())));
    drop(host);
    let gone = "the host is gone; nothing more is done for it";
    assert_eq!(told(attempt.call("inner", json!({})).await), Err((ErrorKind::Cancelled, gone.into())));
    assert_eq!(ran.load(SeqCst), 0);
}

#[tokio::test(start_paused = true)]
async fn a_host_is_gone_when_nobody_holds_it_though_an_attempt_is_kept() {
    let alive = Arc::new(());
    let within = alive.clone();
    let kept: Arc<Mutex<Vec<Attempt>>> = Arc::default();
    let keep = kept.clone();
    let other = tool("other", EffectClass::Reads, move |_| {
        let _ = &within;
        async { Ok(json!(1)) }
    });
    let outer = tool("outer", EffectClass::Reads, move |attempt| {
        keep.lock().unwrap().push(attempt.clone());
        async move { hand_on(attempt, "other").await }
    });
    let host = host([outer, other]);
    call(&host, "outer").await.result.unwrap();
    assert_eq!(Arc::strong_count(&alive), 2);
    drop(host);
    assert_eq!((Arc::strong_count(&alive), kept.lock().unwrap().len()), (1, 1));
}

#[tokio::test(start_paused = true)]
async fn what_a_tool_calls_again_and_again_is_not_taken_for_an_agent_that_goes_round_in_circles() {
    let outer = tool("outer", EffectClass::Reads, |attempt| async move {
        for _ in 0..20 {
            hand_on(attempt.clone(), "inner").await?;
        }
        Ok(json!("done"))
    });
    let host = host([outer, tool("inner", EffectClass::Reads, |_| async { Ok(json!("not yet")) })]);
    let caller = Caller { session: Some("s".into()), ..Caller::named("ann") };
    let outcome = host.call(Call::new("outer", json!({})).by(caller)).await;
    assert!(outcome.result.unwrap().notes.is_empty());
}

#[tokio::test(start_paused = true)]
async fn sixty_four_calls_that_each_call_another_all_end_with_any_number_of_places() {
    for class in [EffectClass::Reads, EffectClass::Writes] {
        for max_parallel in 1..=64 {
            let outer = tool("outer", class, |attempt| async move {
                sleep(ms(1)).await;
                hand_on(attempt, "inner").await
            });
            let inner = tool("inner", class, |_| async {
                sleep(ms(1)).await;
                Ok(json!(1))
            });
            let limits = HostLimits { max_parallel, ..HostLimits::default() };
            let host = host([outer, inner]).with_limits(limits);
            let outcomes = join_all((0..64).map(|_| call(&host, "outer"))).await;
            assert!(outcomes.iter().all(|outcome| outcome.result.is_ok()), "{class:?}, {max_parallel}");
            let slowest = outcomes.iter().map(|outcome| outcome.report.time).max().unwrap();
            let turns = 64_u64.div_ceil(max_parallel as u64);
            assert!(slowest <= ms(turns * 5), "{class:?}, {max_parallel}: {slowest:?}");
            assert_eq!(host.in_use(), (0, 0));
        }
    }
}

#[tokio::test]
async fn as_many_calls_inside_of_one_another_as_settings_may_allow_fit_on_the_stack() {
    let deeper = |attempt: Attempt| async move {
        match attempt.call.arguments["number"].as_u64().unwrap_or_default() {
            12 => Ok(json!("deep")),
            number => attempt.call("deeper", json!({"number": number + 1})).await.result.map(|output| output.value),
        }
    };
    let host = host([tool("deeper", EffectClass::Reads, deeper)]);
    let host = host.with_limits(HostLimits { max_depth: 12, ..HostLimits::default() });
    assert_eq!(call(&host, "deeper").await.result.unwrap().value, json!("deep"));
}
