//! An agent that goes round in circles is told so, then stopped; one that polls is not.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing, reason = "tests")]

use std::sync::atomic::{AtomicU64, Ordering};

use serde_json::{Value, json};
use toolpost_core::catalog::shape::{Integer, Shape};
use toolpost_core::check::repeat::RepeatSettings;
use toolpost_core::{Call, CallError, Caller, Catalog, ErrorKind, Host, Native, Output, Stage};

static COUNT: AtomicU64 = AtomicU64::new(0);
static SLOW_COUNT: AtomicU64 = AtomicU64::new(0);

fn host() -> Host {
    let mut catalog = Catalog::default();
    let number = Shape::Integer(Integer::U64);
    catalog.add(Native::new("same", "").parameter("n", number.clone()).run(|_| async { Ok(json!("same")) })).unwrap();
    catalog.add(Native::new("other", "").parameter("n", number.clone()).run(|_| async { Ok(json!("other")) })).unwrap();
    let changing = |_| async { Ok(json!(COUNT.fetch_add(1, Ordering::Relaxed))) };
    catalog.add(Native::new("changing", "").parameter("n", number.clone()).run(changing)).unwrap();
    let slowly = |_| async { Ok(json!(SLOW_COUNT.fetch_add(1, Ordering::Relaxed) / 4)) };
    catalog.add(Native::new("slowly", "").parameter("n", number.clone()).run(slowly)).unwrap();
    let failing = |_| async { Err(CallError::new(ErrorKind::ToolFailed { retryable: false }, Stage::Run, "no")) };
    catalog.add(Native::new("failing", "").parameter("n", number.clone()).run(failing)).unwrap();
    for (name, kind, stage) in [
        ("in_use", ErrorKind::KeyInUse, Stage::Guard),
        ("unknown_before", ErrorKind::OutcomeUnknown, Stage::Guard),
        ("unknown_now", ErrorKind::OutcomeUnknown, Stage::Run),
    ] {
        let failing = move |_| async move { Err(CallError::new(kind, stage, "nobody knows")) };
        catalog.add(Native::new(name, "").parameter("n", number.clone()).run(failing)).unwrap();
    }
    let busy = |_| async { Err(CallError::new(ErrorKind::QuotaExceeded, Stage::Run, "no more")) };
    catalog.add(Native::new("limited", "").parameter("n", number.clone()).run(busy)).unwrap();
    // Nobody is asked here: only what is told, and what is refused.
    Host::new(catalog).with_repetition(RepeatSettings { ask: 100, ..RepeatSettings::default() })
}

async fn call(host: &Host, session: Option<&str>, tool: &str, n: Value) -> Result<Output, CallError> {
    let caller = Caller { session: session.map(str::to_owned), ..Caller::named("ann") };
    host.call(Call::new(tool, json!({"n": n})).by(caller)).await.result
}

#[tokio::test]
async fn the_third_same_result_in_a_row_says_so_and_the_eighth_call_is_refused() {
    let host = host();
    for time in 1..8 {
        let output = call(&host, Some("s"), "same", json!(1)).await.unwrap();
        assert_eq!(output.value, json!("same"));
        let notes = if time < 3 {
            vec![]
        } else {
            vec![format!("this call was made {time} times in a row, with the same result each time")]
        };
        assert_eq!(output.notes, notes, "time {time}");
    }
    let error = call(&host, Some("s"), "same", json!(1)).await.unwrap_err();
    assert_eq!((error.kind, error.stage), (ErrorKind::RepeatedCall, Stage::Check));
    assert!(
        error.message.starts_with("this call was made 7 times in a row, with the same result each time; "),
        "{error}"
    );
    // Other arguments, other sessions and other tools are other calls.
    assert!(call(&host, Some("s"), "same", json!(2)).await.is_ok());
    assert!(call(&host, Some("t"), "same", json!(1)).await.is_ok());
    // And after another call it is no repetition any more.
    assert!(call(&host, Some("s"), "same", json!(1)).await.unwrap().notes.is_empty());
}

#[tokio::test]
async fn arguments_that_are_cast_to_the_same_are_the_same() {
    let host = host();
    let written = [json!(1), json!("1"), json!(1.0), json!(" 1 "), json!("+1")];
    for (at, n) in written.into_iter().enumerate() {
        assert_eq!(call(&host, Some("s"), "same", n).await.unwrap().notes.is_empty(), at < 2);
    }
}

#[tokio::test]
async fn circles_of_two_and_of_three_calls_are_noticed() {
    for circle in [&["same", "other"][..], &["same", "other", "same"][..]] {
        let host = host();
        let mut refused = None;
        for at in 0..30 {
            let n = json!(at % circle.len());
            if call(&host, Some("s"), circle[at % circle.len()], n).await.is_err() {
                refused = Some(at);
                break;
            }
        }
        assert_eq!(refused, Some(circle.len() * 7), "{circle:?}");
    }
}

#[tokio::test]
async fn repetition_counts_only_when_the_results_repeat_too() {
    let host = host();
    for _ in 0..40 {
        assert!(call(&host, Some("s"), "changing", json!(1)).await.unwrap().notes.is_empty());
    }
    // A poll that finds the same a few times, and then something new, begins anew each time.
    for _ in 0..20 {
        for note in [false, false, true, true] {
            let output = call(&host, Some("s"), "slowly", json!(1)).await.unwrap();
            assert_eq!(!output.notes.is_empty(), note);
        }
    }
}

#[tokio::test]
async fn a_call_without_a_session_is_not_judged() {
    let host = host();
    for _ in 0..40 {
        assert!(call(&host, None, "same", json!(1)).await.unwrap().notes.is_empty());
    }
}

#[tokio::test]
async fn a_session_has_a_budget_of_failed_calls_that_no_success_and_no_invented_name_renews() {
    type Fails = fn(u64) -> (String, Value);
    let ways: [Fails; 3] = [
        |n| ("failing".into(), json!(n)),
        // Each name is a new one, and no tool has it.
        |n| (format!("invented_{n}"), json!(n)),
        |n| ("same".into(), json!(format!("no number {n}"))),
    ];
    for (way, fails) in ways.into_iter().enumerate() {
        let host = host();
        for n in 0..25 {
            let (tool, n_or_text) = fails(n);
            let error = call(&host, Some("s"), &tool, n_or_text).await.unwrap_err();
            assert_ne!(error.kind, ErrorKind::RepeatedCall, "{way}: {n}");
            // What works between two failures makes up for neither.
            if n < 24 {
                assert!(call(&host, Some("s"), "same", json!(n)).await.is_ok(), "{way}: {n}");
            }
        }
        for fails in ways {
            let (tool, n) = fails(99);
            let error = call(&host, Some("s"), &tool, n).await.unwrap_err();
            assert_eq!((error.kind, error.stage), (ErrorKind::RepeatedCall, Stage::Check), "{way}");
            assert!(error.message.starts_with("25 calls of this session have failed, and no more may"), "{error}");
        }
        assert_eq!(call(&host, Some("s"), "same", json!(1)).await.unwrap_err().kind, ErrorKind::RepeatedCall);
        assert!(call(&host, Some("t"), "same", json!(1)).await.is_ok());
    }
}

#[tokio::test]
async fn sessions_of_two_callers_know_nothing_of_each_other_though_they_have_one_name() {
    let host = host();
    for n in 0..25 {
        call(&host, Some("s"), "failing", json!(n)).await.unwrap_err();
    }
    let bob = Caller { session: Some("s".into()), ..Caller::named("bob") };
    assert!(host.call(Call::new("same", json!({"n": 1})).by(bob)).await.result.is_ok());
    assert_eq!(call(&host, Some("s"), "same", json!(1)).await.unwrap_err().kind, ErrorKind::RepeatedCall);
}

#[tokio::test]
async fn what_a_policy_refuses_is_neither_a_repetition_nor_a_failure() {
    let host = host();
    for _ in 0..40 {
        let error = call(&host, Some("s"), "limited", json!(1)).await.unwrap_err();
        assert_eq!(error.kind, ErrorKind::QuotaExceeded);
    }
}

#[tokio::test]
async fn asking_again_how_it_stands_with_a_key_is_neither_a_repetition_nor_a_failure() {
    let host = host();
    for tool in ["in_use", "unknown_before"] {
        for _ in 0..40 {
            let error = call(&host, Some("s"), tool, json!(1)).await.unwrap_err();
            assert_ne!(error.kind, ErrorKind::RepeatedCall, "{tool}");
        }
    }
    // A call that may have changed something is one that has failed.
    let kind = async |n| call(&host, Some("s"), "unknown_now", json!(n)).await.unwrap_err().kind;
    for n in 0..25 {
        assert_eq!(kind(n).await, ErrorKind::OutcomeUnknown, "{n}");
    }
    assert_eq!(kind(25).await, ErrorKind::RepeatedCall);
}

#[test]
fn counts_that_can_never_be_reached_are_faults() {
    let read = |said: Value| serde_json::from_value::<RepeatSettings>(said).map_err(|error| error.to_string());
    for said in [
        json!({}),
        json!({"failures": 1}),
        json!({"warn": 1, "ask": 8}),
        json!({"warn": 9, "ask": 9, "refuse": 9, "window": 9}),
    ] {
        assert!(read(said.clone()).is_ok(), "{said}");
    }
    for (said, words) in [
        (
            json!({"warn": 6}),
            "`warn` (6) is above `ask` (5): nobody would be told before; raise `ask`, or lower `warn`",
        ),
        (
            json!({"ask": 100}),
            "`ask` (100) is above `refuse` (8): nobody would ever be asked; raise `refuse`, or set both to the same to \
             have nobody asked",
        ),
        (
            json!({"refuse": 31}),
            "`refuse` (31) is above `window` (30): so many calls are not kept in mind; raise `window`",
        ),
        (
            json!({"window": 7}),
            "`refuse` (8) is above `window` (7): so many calls are not kept in mind; raise `window`",
        ),
    ] {
        assert_eq!(read(said), Err(words.to_owned()));
    }
}

#[tokio::test]
async fn very_many_sessions_take_no_more_room_and_the_latest_are_kept() {
    let host = host();
    for session in 0..10_500 {
        call(&host, Some(&format!("s{session}")), "same", json!(1)).await.unwrap();
    }
    for _ in 0..2 {
        call(&host, Some("s10499"), "same", json!(1)).await.unwrap();
        call(&host, Some("s0"), "same", json!(1)).await.unwrap();
    }
    assert_eq!(call(&host, Some("s10499"), "same", json!(1)).await.unwrap().notes.len(), 1);
    // The first one was forgotten: this is only its third time.
    let third = call(&host, Some("s0"), "same", json!(1)).await.unwrap().notes;
    assert_eq!(third, ["this call was made 3 times in a row, with the same result each time"]);
}
