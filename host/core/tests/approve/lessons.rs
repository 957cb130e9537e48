//! What went wrong elsewhere.

use std::sync::atomic::Ordering::SeqCst;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use futures_util::FutureExt;
use futures_util::future::BoxFuture;
use serde_json::json;
use tokio::time::{Instant, sleep};
use toolpost_core::check::approve::{Answer, Approval, Approver, Choice, Pass, Question};
use toolpost_core::{AcceptedCall, CallError, Check, ErrorKind};

use crate::{Book, Person, call, call_in, deny, host, rules};

#[tokio::test(start_paused = true)]
async fn an_approval_has_its_own_id_and_is_bound_to_tool_digest_and_arguments() {
    // Whoever is asked answers by what stands in the question, in any order.
    struct ByPath;
    impl Approver for ByPath {
        fn ask<'a>(&'a self, question: &'a Question) -> BoxFuture<'a, Result<Answer, Pass>> {
            async move {
                let evil = question.arguments["path"] == "/evil";
                sleep(Duration::from_secs(if evil { 1 } else { 2 })).await;
                let choice = if evil { deny("evil") } else { Choice::Allow };
                Ok(Answer { choice, by: "ann".into() })
            }
            .boxed()
        }
    }
    let (host, runs) = host(Approval::default().then(Arc::new(ByPath)));
    let (good, evil, other) =
        tokio::join!(call(&host, "delete", "/good"), call(&host, "delete", "/evil"), call(&host, "delete", "/other"));
    assert!(good.result.is_ok() && other.result.is_ok());
    assert_eq!(evil.result.unwrap_err().kind, ErrorKind::Declined);
    assert_eq!(runs.load(SeqCst), 2);

    let asked = |tool: &'static str, path: &'static str| async move {
        let person = Person::quick([Choice::Allow]);
        let approval = Approval::new(rules(json!({"ask": [{}]}))).then(person.clone());
        let (host, _) = super::host(approval);
        call(&host, tool, path).await.result.unwrap();
        person.last()
    };
    let questions = [
        asked("delete", "/a").await,
        asked("delete", "/a").await,
        asked("delete", "/b").await,
        asked("write", "/a").await,
    ];
    for (at, one) in questions.iter().enumerate() {
        for (before, other) in questions.iter().enumerate().take(at) {
            assert_ne!(one.id, other.id);
            assert_eq!(one.hash == other.hash, (before, at) == (0, 1), "the hash is that of what was shown");
        }
    }
}

#[tokio::test(start_paused = true)]
async fn a_decision_is_recorded_once_and_is_final_for_that_call_and_those_arguments() {
    /// Lets the first call go, and would let every later one go as well: what is evaluated again would flip.
    #[derive(Default)]
    struct Counting(Mutex<u32>);
    impl Check for Counting {
        fn check<'a>(&'a self, _: &'a AcceptedCall) -> BoxFuture<'a, Result<(), CallError>> {
            *self.0.lock().unwrap() += 1;
            async { Ok(()) }.boxed()
        }
    }
    let (counting, person) = (Arc::new(Counting::default()), Person::slow([deny("no"), Choice::Allow]));
    let (host, runs) = host(Approval::default().then(person.clone()));
    let host = host.with_check(counting.clone());
    let waiting = tokio::spawn({
        let host = host.clone();
        async move { call(&host, "delete", "/a").await }
    });
    sleep(Duration::from_secs(1)).await;
    // The rules change while the person thinks; and the person is ready to say something else afterwards.
    let host = host.with_approval(Approval::new(rules(json!({"allow": [{}]}))));
    person.go.add_permits(2);
    let outcome = waiting.await.unwrap();
    assert_eq!(outcome.result.unwrap_err().kind, ErrorKind::Declined);
    assert_eq!(outcome.report.decisions.len(), 1);
    assert_eq!((runs.load(SeqCst), *counting.0.lock().unwrap(), person.times()), (0, 1, 1));
    drop(host);
}

#[tokio::test]
async fn what_was_not_shown_in_full_is_not_allowed_for_ever() {
    let book = Arc::new(Book::default());
    let person = Person::quick([Choice::AllowAlways, Choice::AllowAlways]);
    let (host, _) = host(Approval::default().then(person.clone()).writing(book.clone()));
    assert!(call(&host, "delete", &"x".repeat(100_000)).await.result.is_ok());
    assert_eq!(person.last().always, None);
    assert!(book.0.lock().unwrap().is_empty());
    // What has to be escaped is shown in full.
    assert!(call(&host, "delete", "/a\u{202e}b").await.result.is_ok());
    assert_eq!(person.last().shown().lines, [r#"path: "/a\u{202e}b""#]);
    assert_eq!(book.0.lock().unwrap().len(), 1);
}

#[tokio::test]
async fn an_edit_goes_through_the_whole_road_again_and_deny_beats_everything() {
    let refused = async |edit: serde_json::Value| {
        let said = json!({"deny": [{"arguments": {"/path": "/etc*"}}], "allow": [{"tools": ["read"]}]});
        let person = Person::quick([Choice::Edit { arguments: edit }]);
        let (host, runs) = host(Approval::new(rules(said)).then(person));
        let error = call_in(&host, Some("s"), "delete", json!({"path": "/a"})).await.result.unwrap_err();
        assert_eq!(runs.load(SeqCst), 0);
        error
    };
    let error = refused(json!({"path": "/etc/passwd"})).await;
    assert_eq!(error.message, "`delete` is denied with these arguments by the rule `deny 1`");
    // What does not fit the tool never reaches it, whoever wrote it.
    assert_eq!(refused(json!({"path": "/b", "more": 1})).await.kind, ErrorKind::Declined);

    struct NotB;
    impl Check for NotB {
        fn check<'a>(&'a self, call: &'a AcceptedCall) -> BoxFuture<'a, Result<(), CallError>> {
            let error = CallError::new(ErrorKind::Unauthorized, toolpost_core::Stage::Check, "not b");
            let fits = call.arguments["path"] != "/b";
            async move { if fits { Ok(()) } else { Err(error) } }.boxed()
        }
    }
    let person = Person::quick([Choice::Edit { arguments: json!({"path": "/b"}) }]);
    let (host, runs) = host(Approval::default().then(person));
    let error = call(&host.with_check(Arc::new(NotB)), "delete", "/a").await.result.unwrap_err();
    assert_eq!((error.kind, runs.load(SeqCst)), (ErrorKind::Unauthorized, 0));
}

#[tokio::test(start_paused = true)]
async fn a_failing_approver_means_ask_the_next_one_or_refuse_never_hang_never_allow() {
    struct Panics;
    impl Approver for Panics {
        fn ask<'a>(&'a self, _: &'a Question) -> BoxFuture<'a, Result<Answer, Pass>> {
            panic!("before it even began")
        }
    }
    struct Hangs;
    impl Approver for Hangs {
        fn ask<'a>(&'a self, _: &'a Question) -> BoxFuture<'a, Result<Answer, Pass>> {
            std::future::pending().boxed()
        }
    }
    let failing = || Person::quick([]);
    let (host_, _) =
        host(Approval::default().then(Arc::new(Panics)).then(failing()).then(Person::quick([Choice::Allow])));
    assert!(call(&host_, "delete", "/a").await.result.is_ok());

    let (host_, runs) = host(Approval::default().then(failing()).then(Arc::new(Panics)).beside(failing()));
    let error = call(&host_, "delete", "/a").await.result.unwrap_err();
    assert_eq!(error.kind, ErrorKind::Declined);
    assert_eq!(
        error.message,
        "`delete` may run only when somebody agrees, and nobody can be asked; `[[approval.allow]]` with \
         `tools = [\"delete\"]` in the settings would allow it"
    );
    let behind = error.source.unwrap().to_string();
    assert_eq!(behind, "person: out to lunch; an approver: it panicked; person: out to lunch");

    let started = Instant::now();
    let (host_, more) = host(Approval::default().then(Arc::new(Hangs)));
    assert_eq!(call(&host_, "delete", "/a").await.result.unwrap_err().kind, ErrorKind::ApprovalTimedOut);
    assert_eq!((started.elapsed().as_secs(), runs.load(SeqCst), more.load(SeqCst)), (300, 0, 0));
}

#[tokio::test]
async fn values_are_masked_never_hosts_paths_or_verbs() {
    let person = Person::quick([Choice::Allow]);
    let (host, _) = host(Approval::default().then(person.clone()));
    let url = "https://ann:hunter2@bank.example/transfer/all?to=mallory&token=abc123";
    let arguments = json!({"path": url, "token": "s3cr3t"});
    call_in(&host, None, "delete", arguments).await.result.unwrap();
    let lines = person.last().shown().lines.join("\n");
    for seen in ["bank.example", "/transfer/all", "to=mallory", "ann:***@", "token=***", "token: \"***\""] {
        assert!(lines.contains(seen), "{seen} in {lines}");
    }
    for hidden in ["hunter2", "abc123", "s3cr3t"] {
        assert!(!lines.contains(hidden), "{hidden} in {lines}");
    }
}
