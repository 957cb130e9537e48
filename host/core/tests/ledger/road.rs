//! What is kept of a call's end, and what the road does with it.

use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering::SeqCst};

use futures_util::FutureExt;
use futures_util::future::BoxFuture;
use serde_json::{Value, json};
use tokio::time::sleep;
use toolpost_core::check::approve::{Answer, Approval, Approver, Choice, Pass, Question, Rules};
use toolpost_core::guard::replay::{How, Memory, Query, RecordKey, Standing};
use toolpost_core::{
    AcceptedCall, Attempt, Call, CallError, Check, Content, EffectClass, ErrorKind, Host, Output, Runner, Stage,
};

use crate::work::{change, failed, host, host_on, how, keyed, seconds, standing, tool};

/// Makes a call that ends so, and says how its key stands afterwards.
async fn check(idempotency: Value, effect: bool, error: Option<CallError>, wanted: Option<Standing>) {
    let settings = json!({"idempotency": idempotency, "retry": {"backoff": "none"}});
    let shown = format!("{idempotency} {effect} {error:?}");
    let end = error.clone();
    let (host, _) = host(EffectClass::Writes, settings, move |run, attempt| {
        let end = end.clone();
        async move {
            if effect {
                change(&attempt).await?;
            }
            end.map_or(Ok(json!(run)), Err)
        }
    });
    let outcome = host.call(keyed(1, "k")).await;
    assert_eq!(how(&outcome), Some(How::New));
    assert_eq!(outcome.result.is_ok(), error.is_none(), "{shown}");
    assert_eq!(standing(&host, &outcome).await, wanted, "{shown}");
    let again = host.call(keyed(1, "k")).await;
    match wanted {
        Some(Standing::Done | Standing::Failed) => {
            assert_eq!(how(&again), Some(How::Replayed), "{shown}");
            match (again.result, outcome.result) {
                (Ok(again), Ok(first)) => assert_eq!(again, first, "{shown}"),
                (Err(again), Err(first)) => {
                    assert_eq!((again.kind, again.stage, again.message), (first.kind, first.stage, first.message));
                    assert_eq!(again.detail, first.detail);
                }
                (again, first) => panic!("{shown}: {again:?} {first:?}"),
            }
        }
        Some(Standing::Unknown) => assert_eq!(again.failed(), Some(ErrorKind::OutcomeUnknown), "{shown}"),
        Some(Standing::Left) => assert_eq!(how(&again), Some(How::TakenOver), "{shown}"),
        None => assert_eq!(how(&again), Some(How::New), "{shown}"),
        Some(Standing::Running) => panic!("{shown}: it runs"),
    }
}

#[tokio::test(start_paused = true)]
async fn what_is_kept_of_an_end_is_in_the_table() {
    let trap = || CallError::new(ErrorKind::Trapped, Stage::Run, "it trapped");
    let last = || Some(failed(false).with_detail(json!({"code": 7})));
    let (none, idempotent, forget) = (json!({}), json!({"idempotent": true}), json!({"keep_errors": false}));
    for effect in [false, true] {
        check(none.clone(), effect, None, Some(Standing::Done)).await;
        check(none.clone(), effect, last(), Some(Standing::Failed)).await;
    }
    check(forget.clone(), false, last(), None).await;
    check(forget, true, last(), Some(Standing::Failed)).await;
    let forget = json!({"keep_errors": false, "idempotent": true});
    check(forget, true, last(), Some(Standing::Left)).await;
    for error in [trap(), failed(true)] {
        check(none.clone(), false, Some(error.clone()), None).await;
        check(none.clone(), true, Some(error.clone()), Some(Standing::Unknown)).await;
        check(idempotent.clone(), true, Some(error), Some(Standing::Left)).await;
    }
}

#[tokio::test(start_paused = true)]
async fn an_effect_of_an_earlier_attempt_is_not_forgotten_behind_a_later_one_without() {
    let settings = json!({"idempotency": {"idempotent": true}, "retry": {"max_attempts": 2}});
    let (host, runs) = host(EffectClass::Writes, settings, |run, attempt| async move {
        if run == 1 {
            change(&attempt).await?;
        }
        Err(failed(true))
    });
    let outcome = host.call(keyed(1, "k")).await;
    assert_eq!((runs.load(SeqCst), standing(&host, &outcome).await), (2, Some(Standing::Left)));
}

#[tokio::test(start_paused = true)]
async fn what_is_declared_idempotent_is_tried_again_behind_an_effect_also_without_a_key() {
    for (idempotent, runs_wanted) in [(false, 1), (true, 3)] {
        let settings = json!({"idempotency": {"idempotent": idempotent}});
        let (host, runs) = host(EffectClass::Writes, settings, |_, attempt| async move {
            change(&attempt).await?;
            Err(failed(true))
        });
        let outcome = host.call(Call::new("work", json!({"n": 1}))).await;
        let told = if idempotent { ErrorKind::ToolFailed { retryable: true } } else { ErrorKind::OutcomeUnknown };
        assert_eq!((runs.load(SeqCst), outcome.failed()), (runs_wanted, Some(told)));
    }
}

#[tokio::test(start_paused = true)]
async fn outcomes_are_forgotten_when_their_time_is_over_and_failures_without_effect_sooner() {
    let settings = json!({"idempotency": {"ttl": "1h"}});
    let (host, _) = host(EffectClass::Writes, settings, |run, attempt| async move {
        if attempt.call.arguments["n"] == json!(0) {
            return Err(failed(false));
        }
        change(&attempt).await?;
        if attempt.call.arguments["n"] == json!(1) { Err(failed(false)) } else { Ok(json!(run)) }
    });
    for n in 0..3 {
        host.call(keyed(n, &n.to_string())).await;
    }
    for (wait, replayed) in [(599, [true, true, true]), (2, [false, true, true]), (2_998, [true, true, true])] {
        sleep(seconds(wait)).await;
        for (n, replayed) in replayed.into_iter().enumerate() {
            if n > 0 || wait != 2_998 {
                let outcome = host.call(keyed(n as u64, &n.to_string())).await;
                assert_eq!(how(&outcome) == Some(How::Replayed), replayed, "{n} after {wait}");
            }
        }
    }
    sleep(seconds(3)).await;
    assert_eq!(how(&host.call(keyed(2, "2")).await), Some(How::New));
}

#[tokio::test(start_paused = true)]
async fn where_only_the_fact_is_kept_the_answer_says_so() {
    let (host, runs) =
        host(EffectClass::Writes, json!({"idempotency": {"keep": "fact"}}), |run, _| async move { Ok(json!(run)) });
    assert_eq!(host.call(keyed(1, "k")).await.result.unwrap().value, json!(1));
    let output = host.call(keyed(1, "k")).await.result.unwrap();
    assert_eq!(output.value, Value::Null);
    let note = "this was done before, by a call with the same key; what it answered was not kept";
    assert_eq!((output.notes, runs.load(SeqCst)), (vec![note.to_owned()], 1));
}

#[tokio::test(start_paused = true)]
async fn an_answer_is_given_again_as_it_was_with_all_its_parts() {
    struct Rich;
    impl Runner for Rich {
        fn run<'a>(&'a self, _: &'a Attempt) -> BoxFuture<'a, Result<Output, CallError>> {
            let content = vec![
                Content::Text { text: "a".into() },
                Content::Image { mime_type: "image/png".into(), data: "AA==".into() },
            ];
            async { Ok(Output { value: json!({"b": 0.1, "a": u64::MAX}), content, notes: vec!["n".into()] }) }.boxed()
        }
    }
    let (mut tool, _) = tool(EffectClass::Writes, json!({}), |_, _| async { Ok(json!(0)) });
    tool.runner = Arc::new(Rich);
    let host = host_on(Arc::new(Memory::default()), tool);
    let [first, second] = [host.call(keyed(1, "k")).await, host.call(keyed(1, "k")).await];
    assert_eq!(how(&second), Some(How::Replayed));
    let [first, second] = [first, second].map(|outcome| serde_json::to_string(&outcome.result.unwrap()).unwrap());
    assert_eq!(first, second);
}

/// Counts how often it is asked, and agrees.
#[derive(Default)]
struct Asks(AtomicU32);

impl Check for Asks {
    fn check<'a>(&'a self, _: &'a AcceptedCall) -> BoxFuture<'a, Result<(), CallError>> {
        self.0.fetch_add(1, SeqCst);
        async { Ok(()) }.boxed()
    }
}

impl Approver for Asks {
    fn ask<'a>(&'a self, _: &'a Question) -> BoxFuture<'a, Result<Answer, Pass>> {
        self.0.fetch_add(1, SeqCst);
        async { Ok(Answer { choice: Choice::Allow, by: "ann".into() }) }.boxed()
    }
}

#[tokio::test(start_paused = true)]
async fn what_was_done_is_answered_without_asking_anybody_and_at_no_charge() {
    let settings = json!({"rate": {"tool": "1/h"}});
    let (host, runs) = host(EffectClass::Destroys, settings, |run, _| async move { Ok(json!(run)) });
    let [checks, people] = [Arc::new(Asks::default()), Arc::new(Asks::default())];
    let host = host.with_check(checks.clone()).with_approval(Approval::default().then(people.clone()));
    for _ in 0..5 {
        assert_eq!(host.call(keyed(1, "k")).await.result.unwrap().value, json!(1));
    }
    assert_eq!((runs.load(SeqCst), people.0.load(SeqCst)), (1, 1));
    assert_eq!(checks.0.load(SeqCst), 5, "whoever may not call is not answered either");
    assert_eq!(host.call(keyed(1, "l")).await.failed(), Some(ErrorKind::RateLimited));
    // What was refused has not claimed its key.
    let all = Query { limit: 9, ..Query::default() };
    assert_eq!(host.ledger().book().list(&all).await.unwrap().records.len(), 1);
}

#[tokio::test(start_paused = true)]
async fn what_was_done_and_is_denied_by_now_is_not_answered() {
    let (tool, runs) = tool(EffectClass::Writes, json!({}), |run, _| async move { Ok(json!(run)) });
    let store = Arc::new(Memory::default());
    let host = host_on(store.clone(), tool);
    assert!(host.call(keyed(1, "k")).await.result.is_ok());
    let rule = serde_json::from_value(json!({"tools": ["work"]})).unwrap();
    let host = host.with_approval(Approval::new(Rules { deny: vec![rule], ..Rules::default() }));
    assert_eq!(host.call(keyed(1, "k")).await.failed(), Some(ErrorKind::Declined));
    assert_eq!(runs.load(SeqCst), 1);
}

#[tokio::test(start_paused = true)]
async fn a_call_that_finds_no_place_gives_its_key_back_before_it_is_told_so() {
    use toolpost_core::HostLimits;
    let (host, _) = host(EffectClass::Writes, json!({}), |run, _| async move {
        sleep(seconds(1)).await;
        Ok(json!(run))
    });
    let host = host.with_limits(HostLimits { max_parallel: 1, max_waiting: 0, ..HostLimits::default() });
    let (first, ()) = tokio::join!(host.call(keyed(1, "k")), async {
        sleep(seconds(1) / 2).await;
        let busy = host.call(keyed(1, "l")).await;
        assert_eq!(busy.failed(), Some(ErrorKind::Busy));
        // It was not even written down.
        assert_eq!(busy.report.idempotency, None);
        assert_eq!(host.ledger().in_use(), (1, 0));
    });
    assert!(first.result.is_ok());
    assert_eq!(how(&host.call(keyed(1, "l")).await), Some(How::New));
}

#[tokio::test(start_paused = true)]
async fn the_keys_that_go_along_are_the_same_in_every_attempt_and_differ_from_request_to_request() {
    let sent = Arc::new(std::sync::Mutex::new(Vec::new()));
    let noted = sent.clone();
    let settings = json!({"idempotency": {"idempotent": true, "ttl": "1s"}, "retry": {"max_attempts": 2}});
    let (host, _) = host(EffectClass::Open, settings, move |run, attempt| {
        let noted = noted.clone();
        async move {
            let clone = attempt.clone();
            noted.lock().unwrap().push([attempt.idempotency_key(), clone.idempotency_key()]);
            change(&attempt).await?;
            if run == 1 { Err(failed(true)) } else { Ok(json!(run)) }
        }
    });
    assert!(host.call(keyed(1, "k")).await.result.is_ok());
    assert!(host.call(keyed(1, "l")).await.result.is_ok());
    sleep(seconds(2)).await;
    assert_eq!(how(&host.call(keyed(1, "k")).await), Some(How::New));
    assert!(host.call(Call::new("work", json!({"n": 1}))).await.result.is_ok());
    let sent = sent.lock().unwrap();
    let [first, retried, another, later, unkeyed] = sent.as_slice() else { panic!("{sent:?}") };
    assert!(first.iter().all(|key| key.as_ref().is_some_and(|key| key.len() == 64)), "{first:?}");
    assert_ne!(first[0], first[1]);
    assert_eq!(first, retried);
    assert_ne!(first, another, "another key");
    assert_ne!(first, later, "the same key, once its record is gone, begins anew");
    assert_eq!(*unkeyed, [None, None]);
}

#[tokio::test(start_paused = true)]
async fn a_key_under_which_something_was_done_is_not_free_behind_a_call_that_did_nothing() {
    let sent = Arc::new(std::sync::Mutex::new(Vec::new()));
    let noted = sent.clone();
    let settings = json!({"idempotency": {"idempotent": true}, "retry": {"max_attempts": 1}});
    let (host, _) = host(EffectClass::Open, settings, move |run, attempt| {
        let noted = noted.clone();
        async move {
            noted.lock().unwrap().push(attempt.idempotency_key());
            match run {
                // It is not known whether the other side has heard it.
                1 => change(&attempt).await.and(Err(failed(true))),
                // The other side is not even reached.
                2 | 3 => Err(failed(true)),
                _ => Ok(json!(run)),
            }
        }
    });
    let mut hows = Vec::new();
    for _ in 1..=4 {
        sleep(seconds(1)).await;
        hows.push(how(&host.call(keyed(1, "k")).await));
    }
    assert_eq!(hows, [How::New, How::TakenOver, How::TakenOver, How::TakenOver].map(Some));
    let sent = sent.lock().unwrap();
    assert!(sent.iter().all(|key| *key == sent[0]), "{sent:?}");
}

async fn unknown_host() -> (Host, RecordKey) {
    let (host, _) = host(EffectClass::Writes, json!({}), |run, attempt| async move {
        change(&attempt).await?;
        if run == 1 { Err(failed(true)) } else { Ok(json!(run)) }
    });
    let outcome = host.call(keyed(1, "k")).await;
    assert_eq!(outcome.failed(), Some(ErrorKind::OutcomeUnknown));
    (host, outcome.report.idempotency.unwrap().key)
}

#[tokio::test(start_paused = true)]
async fn what_is_unknown_is_told_with_what_would_help_and_never_run_again() {
    let (host, key) = unknown_host().await;
    for _ in 0..3 {
        let error = host.call(keyed(1, "k")).await.result.unwrap_err();
        assert_eq!((error.kind, error.stage), (ErrorKind::OutcomeUnknown, Stage::Guard));
        let told = format!(
            "whether an earlier call with this idempotency key had its effect is not known; look before you call again, \
             and let an operator say what is true: `toolpost ledger resolve {key}`"
        );
        assert_eq!(error.message, told);
        assert_eq!(error.detail.unwrap()["first_effect"], json!("files.write a"));
    }
}

#[tokio::test(start_paused = true)]
async fn once_an_operator_says_what_is_true_the_calls_get_that_answer() {
    use std::time::Duration;
    use toolpost_core::guard::replay::{Decision, Kept};
    let day = Duration::from_secs(86_400);
    let output = Output { value: json!("it did"), ..Output::default() };
    let done = Kept::ok(Some(&output));
    let not = Kept::failed("it did not", None);
    for (decision, wanted) in [
        (Decision::Ended(done), Ok(json!("it did"))),
        (Decision::Ended(not), Err("it did not".to_owned())),
        (Decision::Rerun, Ok(json!(2))),
    ] {
        let (host, key) = unknown_host().await;
        host.ledger().book().resolve(&key, &decision, day).await.unwrap();
        let result = host.call(keyed(1, "k")).await.result;
        assert_eq!(result.map(|output| output.value).map_err(|error| error.message), wanted);
    }
}
