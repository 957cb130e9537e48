//! Waiting for an answer: nothing is held, it ends, and going away takes the question back.

use std::sync::Arc;
use std::sync::atomic::Ordering::SeqCst;
use std::time::Duration;

use serde_json::json;
use tokio::time::{Instant, sleep, timeout};
use toolpost_core::check::approve::{Approval, Choice, Decided};
use toolpost_core::{Catalog, EffectClass, ErrorKind, Host, HostLimits, Native};

use crate::{Person, call, call_in, deny, host, host_with, rules};

fn seconds(seconds: u64) -> Duration {
    Duration::from_secs(seconds)
}

#[tokio::test(start_paused = true)]
async fn a_question_that_nobody_answers_expires_and_is_a_refusal() {
    let person = Person::slow([]);
    let (host, runs) = host(Approval::default().then(person));
    let started = Instant::now();
    let outcome = call(&host, "delete", "/a").await;
    assert_eq!(outcome.report.decisions[0].what, Decided::Expired);
    let error = outcome.result.unwrap_err();
    assert_eq!((error.kind, started.elapsed(), runs.load(SeqCst)), (ErrorKind::ApprovalTimedOut, seconds(300), 0));
    assert_eq!(
        error.message,
        "nobody answered within 5m whether `delete` may run; call again later; `[[approval.allow]]` with \
         `tools = [\"delete\"]` in the settings would allow it"
    );
    assert!(host.approval().pending().is_empty());
}

#[tokio::test(start_paused = true)]
async fn why_nobody_answered_is_told_to_the_operator_and_not_to_the_caller() {
    // One passes while the other lets the time go by; or all pass.
    let waiting = Approval::default().then(Person::quick([])).beside(Person::slow([]));
    let nobody = Approval::default().then(Person::quick([])).beside(Person::quick([]));
    let both = "person: out to lunch; person: out to lunch";
    for (approval, what, why) in [(waiting, Decided::Expired, "person: out to lunch"), (nobody, Decided::Unasked, both)]
    {
        let outcome = call(&host(approval).0, "delete", "/a").await;
        let decision = &outcome.report.decisions[0];
        assert_eq!((decision.what, decision.why.as_deref()), (what, Some(why)));
        let error = outcome.result.unwrap_err();
        assert_eq!(error.source.as_ref().unwrap().to_string(), why);
        assert!(!error.message.contains("lunch"), "{error}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_call_that_waits_for_an_answer_holds_no_place_and_no_clock() {
    let person = Person::slow([Choice::Allow]);
    let (host, _) = host(Approval::default().waiting(seconds(1_000), 5).then(person.clone()));
    let host = host.with_limits(HostLimits { max_parallel: 1, max_waiting: 0, ..HostLimits::default() });
    let waiting = tokio::spawn({
        let host = host.clone();
        async move { call(&host, "delete", "/a").await }
    });
    // Far longer than a call may take.
    sleep(seconds(500)).await;
    assert_eq!(host.in_use(), (0, 0));
    assert_eq!(host.approval().pending().len(), 1);
    assert!(call(&host, "read", "/a").await.result.is_ok());
    person.go.add_permits(1);
    assert!(waiting.await.unwrap().result.is_ok());
}

#[tokio::test(start_paused = true)]
async fn a_caller_who_goes_away_takes_the_question_back() {
    let person = Person::slow([Choice::Allow]);
    let (host, runs) = host(Approval::default().then(person.clone()));
    assert!(timeout(seconds(1), call(&host, "delete", "/a")).await.is_err());
    assert!(host.approval().pending().is_empty());
    person.go.add_permits(1);
    sleep(seconds(1)).await;
    assert_eq!(runs.load(SeqCst), 0);
}

#[tokio::test(start_paused = true)]
async fn equal_calls_join_one_question_and_it_outlives_the_one_who_asked_first() {
    let person = Person::slow([deny("no")]);
    let (host, runs) = host(Approval::default().then(person.clone()));
    let twin = || {
        tokio::spawn({
            let host = host.clone();
            async move { call(&host, "delete", "/a").await }
        })
    };
    let (first, second, third) = (twin(), twin(), twin());
    sleep(seconds(1)).await;
    first.abort();
    sleep(seconds(1)).await;
    assert_eq!((person.times(), host.approval().pending().len()), (1, 1));
    person.go.add_permits(1);
    for twin in [second, third] {
        assert_eq!(twin.await.unwrap().result.unwrap_err().kind, ErrorKind::Declined);
    }
    assert_eq!((person.times(), runs.load(SeqCst)), (1, 0));
}

#[tokio::test(start_paused = true)]
async fn an_answer_for_once_lets_one_of_equal_calls_run_and_the_others_ask_again() {
    let person = Person::slow([Choice::Allow, Choice::Allow, deny("enough")]);
    let (host, runs) = host(Approval::default().then(person.clone()));
    let twins = tokio::spawn(futures_util::future::join_all((0..3).map(|_| {
        let host = host.clone();
        async move { call(&host, "delete", "/a").await.result.is_ok() }
    })));
    for times in 1..=3 {
        sleep(seconds(1)).await;
        assert_eq!(person.times(), times);
        person.go.add_permits(1);
    }
    let ran = twins.await.unwrap();
    assert_eq!((ran.iter().filter(|ran| **ran).count(), runs.load(SeqCst)), (2, 2));
}

#[tokio::test(start_paused = true)]
async fn equal_calls_with_one_idempotency_key_share_an_answer() {
    // The key may be given, or follow from the arguments.
    for (key, given) in [("none", Some("k")), ("args", None)] {
        let person = Person::slow([Choice::Allow]);
        let guard = serde_json::from_value(json!({"idempotency": {"key": key}})).unwrap();
        let (host, runs) = host_with(Approval::default().then(person.clone()), guard);
        let twins = tokio::spawn(futures_util::future::join_all((0..3).map(|_| {
            let host = host.clone();
            let call = toolpost_core::Call::new("delete", json!({"path": "/a"}));
            let call = toolpost_core::Call { idempotency_key: given.map(str::to_owned), ..call };
            async move { host.call(call).await.report.decisions[0].what }
        })));
        sleep(seconds(1)).await;
        person.go.add_permits(1);
        assert_eq!(twins.await.unwrap(), [Decided::Allowed; 3]);
        assert_eq!((person.times(), runs.load(SeqCst)), (1, 1));
    }
}

#[tokio::test(start_paused = true)]
async fn only_so_many_questions_wait_at_once() {
    let person = Person::slow([]);
    let (host, _) = host(Approval::default().waiting(seconds(10), 2).then(person));
    let waiting: Vec<_> = ["/a", "/b"]
        .map(|path| {
            let host = host.clone();
            tokio::spawn(async move { call(&host, "delete", path).await })
        })
        .into();
    sleep(seconds(1)).await;
    let error = call(&host, "delete", "/c").await.result.unwrap_err();
    assert_eq!(error.kind, ErrorKind::Busy);
    assert!(error.message.contains("raise `approval.max_pending`"), "{error}");
    for waiting in waiting {
        assert_eq!(waiting.await.unwrap().result.unwrap_err().kind, ErrorKind::ApprovalTimedOut);
    }
    assert!(host.approval().pending().is_empty());
}

#[tokio::test(start_paused = true)]
async fn only_so_many_equal_calls_wait_for_one_question() {
    let person = Person::slow([Choice::AllowSession]);
    let (host, _) = host(Approval::default().then(person.clone()));
    let twin = || {
        let host = host.clone();
        tokio::spawn(async move { call_in(&host, Some("s"), "delete", json!({"path": "/a"})).await.result })
    };
    let mut twins: Vec<_> = (0..1_024).map(|_| twin()).collect();
    sleep(seconds(1)).await;
    let error = twin().await.unwrap().unwrap_err();
    assert_eq!((error.kind, error.retry_after), (ErrorKind::Busy, Some(seconds(10))));
    assert_eq!(
        error.message,
        "1024 equal calls wait for the answer to one question already; wait for the answer to one of them"
    );
    // Whoever goes away makes room.
    twins.pop().unwrap().abort();
    sleep(seconds(1)).await;
    twins.push(twin());
    sleep(seconds(1)).await;
    assert_eq!(person.times(), 1);
    person.go.add_permits(1);
    for twin in twins {
        assert!(twin.await.unwrap().is_ok());
    }
}

#[tokio::test(start_paused = true)]
async fn those_who_are_asked_beside_the_others_answer_first_if_they_can() {
    let (slow, quick) = (Person::slow([Choice::Allow]), Person::quick([deny("from afar")]));
    let (host, _) = host(Approval::default().then(slow.clone()).beside(quick));
    let error = call(&host, "delete", "/a").await.result.unwrap_err();
    assert!(error.message.contains("from afar"), "{error}");
    // And they are waited for when the others have no answer.
    let (quick, slow) = (Person::quick([]), Person::slow([Choice::Allow]));
    let (host, _) = super::host(Approval::default().then(quick).beside(slow.clone()));
    let waiting = tokio::spawn(async move { call(&host, "delete", "/a").await });
    sleep(seconds(5)).await;
    slow.go.add_permits(1);
    assert!(waiting.await.unwrap().result.is_ok());
}

#[tokio::test]
async fn from_the_fifth_same_call_on_a_person_is_asked_and_from_the_eighth_nobody() {
    let person = Person::quick([Choice::Allow, Choice::AllowSession]);
    let (host, runs) = host(Approval::default().then(person.clone()));
    let again = async || call_in(&host, Some("s"), "read", json!({"path": "/a"})).await;
    for time in 1..=7 {
        assert!(again().await.result.is_ok(), "{time}");
        // Once for the fifth time; the sixth answer is for the session.
        assert_eq!(person.times(), usize::min(usize::max(time, 4) - 4, 2), "{time}");
    }
    assert_eq!(person.last().why, "this call was made 5 times in a row, with the same result each time");
    assert_eq!(person.last().always, None);
    let error = again().await.result.unwrap_err();
    assert_eq!((error.kind, runs.load(SeqCst)), (ErrorKind::RepeatedCall, 7));
}

#[tokio::test]
async fn a_circle_that_nobody_can_be_asked_about_is_refused_from_the_fifth_time_on() {
    let (host, runs) = host(Approval::new(crate::rules(json!({"allow": [{}]}))));
    let again = async || call_in(&host, Some("s"), "read", json!({"path": "/a"})).await.result;
    for _ in 1..=4 {
        assert!(again().await.is_ok());
    }
    let error = again().await.unwrap_err();
    assert_eq!((error.kind, runs.load(SeqCst)), (ErrorKind::RepeatedCall, 4));
    assert_eq!(
        error.message,
        "this call was made 4 times in a row, with the same result each time; try something else, or say that you are stuck"
    );
}

#[tokio::test(start_paused = true)]
async fn while_somebody_is_asked_about_a_call_inside_the_one_around_it_stands_still_and_holds_no_place() {
    let mut catalog = Catalog::default();
    let limits = serde_json::from_value(json!({"time": "100ms"})).unwrap();
    let outer = Native::new("outer", "")
        .effect(EffectClass::Destroys)
        .limits(limits)
        .run(|attempt| async move { attempt.call("inner", json!({})).await.result.map(|output| output.value) });
    catalog.add(outer).unwrap();
    catalog.add(Native::new("inner", "").effect(EffectClass::Destroys).run(|_| async { Ok(json!(6)) })).unwrap();
    let person = Person::slow([Choice::Allow]);
    let rules = rules(json!({"ask": [{"tools": ["inner"]}], "allow": [{"tools": ["outer"]}]}));
    let limits = HostLimits { max_parallel: 1, ..HostLimits::default() };
    let host = Host::new(catalog).with_limits(limits).with_approval(Approval::new(rules).then(person.clone()));
    let host = Arc::new(host);
    let call = tokio::spawn({
        let host = host.clone();
        async move { call_in(&host, None, "outer", json!({})).await }
    });
    sleep(Duration::from_secs(20)).await;
    assert_eq!((person.times(), host.in_use()), (1, (0, 0)));
    person.go.add_permits(1);
    assert_eq!(call.await.unwrap().result.unwrap().value, json!(6));
    assert_eq!(host.in_use(), (0, 0));
}
