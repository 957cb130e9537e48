//! What went wrong elsewhere.

use std::sync::atomic::Ordering::SeqCst;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use futures_util::FutureExt;
use futures_util::future::{BoxFuture, pending};
use serde_json::json;
use tokio::sync::Semaphore;
use tokio::time::{Instant, sleep};
use toolpost_core::catalog::Origin;
use toolpost_core::catalog::shape::Shape;
use toolpost_core::check::approve::rules::Rule;
use toolpost_core::check::approve::{Answer, Approval, Approver, Choice, Pass, Question, Rulebook};
use toolpost_core::{AcceptedCall, CallError, Catalog, Check, EffectClass, ErrorKind, Host, Native};

use crate::{Book, Person, call, call_in, deny, host, rules};

/// Allows each call when it is let go, by its path.
struct OneByOne {
    b: Semaphore,
    c: Semaphore,
}

impl Approver for OneByOne {
    fn ask<'a>(&'a self, question: &'a Question) -> BoxFuture<'a, Result<Answer, Pass>> {
        let go = if question.arguments["path"] == "/b" { &self.b } else { &self.c };
        async {
            go.acquire().await.unwrap().forget();
            Ok(Answer { choice: Choice::Allow, by: "ann".into() })
        }
        .boxed()
    }
}

#[tokio::test(start_paused = true)]
async fn each_call_has_its_own_record_and_resuming_touches_only_the_pending_one() {
    let person = Arc::new(OneByOne { b: Semaphore::new(0), c: Semaphore::new(0) });
    let (host, runs) = host(Approval::default().then(person.clone()));
    // Three calls of one turn: two are asked about, the first is not.
    let siblings = [("read", "/a"), ("delete", "/b"), ("delete", "/c")].map(|(tool, path)| {
        let host = host.clone();
        tokio::spawn(async move { call_in(&host, Some("s"), tool, json!({"path": path})).await })
    });
    let now = async |done: [bool; 3], pending: &[&str]| {
        sleep(Duration::from_secs(1)).await;
        let ended = siblings.each_ref().map(tokio::task::JoinHandle::is_finished);
        let asked = host.approval().pending();
        let mut asked: Vec<_> = asked.iter().map(|asked| asked.arguments["path"].as_str().unwrap()).collect();
        asked.sort_unstable();
        assert_eq!((ended, &*asked), (done, pending));
        assert_eq!(runs.load(SeqCst) as usize, done.iter().filter(|done| **done).count(), "each of them ran once");
    };
    now([true, false, false], &["/b", "/c"]).await;
    person.b.add_permits(1);
    now([true, true, false], &["/c"]).await;
    // The answer to one question is none to the other, however long that waits.
    sleep(Duration::from_secs(100)).await;
    now([true, true, false], &["/c"]).await;
    person.c.add_permits(1);
    now([true, true, true], &[]).await;

    let outcomes = futures_util::future::join_all(siblings).await.into_iter().map(Result::unwrap);
    let mut records =
        outcomes.map(|outcome| (outcome.result.unwrap().value["path"].clone(), outcome.call, outcome.report));
    let (a, b, c) = (records.next().unwrap(), records.next().unwrap(), records.next().unwrap());
    assert_eq!([&a.0, &b.0, &c.0], ["/a", "/b", "/c"]);
    assert!(a.1 != b.1 && b.1 != c.1 && a.1 != c.1, "each has its id");
    let told = |report: &toolpost_core::tell::Report| (report.attempts.len(), report.decisions.len());
    assert_eq!([told(&a.2), told(&b.2), told(&c.2)], [(1, 0), (1, 1), (1, 1)]);
    let [of_b, of_c] = [&b, &c].map(|(_, _, report)| report.decisions[0].question.clone().unwrap());
    assert_ne!(of_b, of_c);
}

/// A host whose `delete` is the function of a component with that digest.
fn of_component(digest: &str, approval: Approval) -> Host {
    let delete = Native::new("delete", "").parameter("path", Shape::String).effect(EffectClass::Destroys);
    let mut tool = delete.run(|_| async { Ok(json!("gone")) });
    let (component, digest, function) = ("files".into(), digest.into(), "delete".into());
    tool.origin = Origin::Component { component, digest, function };
    let mut catalog = Catalog::default();
    catalog.add(tool).unwrap();
    Host::new(catalog).with_approval(approval)
}

#[tokio::test(start_paused = true)]
async fn an_approval_has_its_own_id_and_is_bound_to_tool_component_digest_and_a_hash_of_the_arguments_shown() {
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

    // What was allowed for the session was allowed of one component: another one in its place is asked about again.
    let person = Person::quick([Choice::AllowSession, deny("it is another one")]);
    let live = of_component("sha256:1", Approval::default().then(person.clone()));
    let again = async || call_in(&live, Some("s"), "delete", json!({"path": "/a"})).await.result;
    assert!(again().await.is_ok() && again().await.is_ok());
    let before = (person.times(), person.last());
    live.replace(&of_component("sha256:2", Approval::default().then(person.clone())));
    assert_eq!(again().await.unwrap_err().kind, ErrorKind::Declined);
    let after = (person.times(), person.last());
    assert_eq!((before.0, after.0), (1, 2));
    assert_eq!((&*before.1.digest, &*after.1.digest), ("sha256:1", "sha256:2"));
    assert_ne!(before.1.hash, after.1.hash);
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
async fn canonical_rendering_with_visible_escapes_and_no_always_when_the_content_was_not_shown_in_full() {
    let book = Arc::new(Book::default());
    let person = Person::quick([Choice::AllowAlways, Choice::AllowAlways]);
    let (host, _) = host(Approval::default().then(person.clone()).writing(book.clone()));
    assert!(call(&host, "delete", &"x".repeat(100_000)).await.result.is_ok());
    assert_eq!(person.last().always, None);
    assert!(book.0.lock().unwrap().is_empty());
    // What has to be escaped is shown in full.
    let tricky = "/a\u{202e}b\tc\u{200b}p\u{430}ypal";
    assert!(call(&host, "delete", tricky).await.result.is_ok());
    assert_eq!(person.last().shown().lines, [r#"path: "/a\u{202e}b\u{9}c\u{200b}p\u{430}ypal""#]);
    // What is shown is what runs: the value that was made of the arguments, and not their text.
    assert_eq!(person.last().arguments, json!({"path": tricky, "count": null, "token": null}));
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

    // Nor does one hang that has its answer, because nobody writes that down.
    struct Stuck;
    impl Rulebook for Stuck {
        fn write<'a>(&'a self, _: &'a Rule, _: &'a Question) -> BoxFuture<'a, Result<(), String>> {
            pending().boxed()
        }
        fn remember<'a>(&'a self, _: &'a Question) -> BoxFuture<'a, Result<(), String>> {
            pending().boxed()
        }
        fn remembers<'a>(&'a self, _: &'a str) -> BoxFuture<'a, bool> {
            pending().boxed()
        }
    }
    let started = Instant::now();
    let person = Person::quick([Choice::AllowAlways, Choice::AllowSession, deny("no")]);
    let (host_, runs) = host(Approval::default().then(person.clone()).writing(Arc::new(Stuck)));
    let again = async |path: &str| call_in(&host_, Some("s"), "delete", json!({"path": path})).await.result;
    assert!(again("/a").await.is_ok() && again("/a").await.is_ok());
    // What could not be written down for ever was allowed once; the session is known to this host.
    assert!(again("/a").await.is_ok());
    assert_eq!(again("/b").await.unwrap_err().kind, ErrorKind::Declined);
    assert_eq!((person.times(), runs.load(SeqCst)), (3, 3));
    // Each question waited once before it was asked; two of the answers waited once more.
    assert_eq!(started.elapsed().as_secs(), 50);
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
