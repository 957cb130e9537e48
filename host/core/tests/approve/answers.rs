//! What can be answered, and what follows.

use std::sync::Arc;
use std::sync::atomic::Ordering::SeqCst;

use serde_json::json;
use toolpost_core::check::approve::{Approval, Choice, Decided, Risk};
use toolpost_core::{Call, Caller, EffectClass, ErrorKind, Stage};

use crate::{Book, Person, call, call_in, deny, host, rules};

#[tokio::test]
async fn what_destroys_runs_when_somebody_allows_it_and_the_report_says_who() {
    let person = Person::quick([Choice::Allow]);
    let (host, runs) = host(Approval::default().then(person.clone()));
    let outcome = call(&host, "delete", "/a").await;
    assert_eq!(outcome.result.unwrap().value["path"], "/a");
    let [decision] = &outcome.report.decisions[..] else { panic!("{:?}", outcome.report.decisions) };
    let question = person.last();
    assert_eq!((decision.what, decision.by.as_str()), (Decided::Allowed, "ann"));
    assert_eq!(decision.question.as_ref(), Some(&question.id));
    assert_eq!(decision.arguments_hash, question.arguments_hash);
    assert_eq!((question.tool.as_str(), question.effect, question.risk), ("delete", EffectClass::Destroys, Risk::High));
    assert_eq!(question.why, "a tool that may destroy something is asked about");
    assert_eq!(question.expires_at_ms - question.asked_at_ms, 300_000);

    // What does not destroy is not asked about, and leaves nothing in the report.
    assert!(call(&host, "write", "/a").await.report.decisions.is_empty());
    assert_eq!((person.times(), runs.load(SeqCst)), (1, 2));
}

#[tokio::test]
async fn a_denial_gives_its_reason_to_the_one_who_called() {
    let (host, runs) = host(Approval::default().then(Person::quick([deny("  not on a Friday\n"), deny("")])));
    for words in [
        "`delete` was declined: not on a Friday; do not try the same again",
        "`delete` was declined; do not try the same again",
    ] {
        let error = call(&host, "delete", "/a").await.result.unwrap_err();
        assert_eq!((error.kind, error.stage), (ErrorKind::Declined, Stage::Check));
        assert_eq!(error.message, words);
    }
    assert_eq!(runs.load(SeqCst), 0);
}

#[tokio::test]
async fn somebody_may_answer_instead_of_the_tool() {
    let instead = Choice::Answer { value: json!({"found": 3}) };
    let (host, runs) = host(Approval::default().then(Person::quick([instead])));
    let output = call(&host, "delete", "/a").await.result.unwrap();
    assert_eq!(output.value, json!({"found": 3}));
    assert_eq!(output.notes, ["the tool did not run: somebody answered instead of it"]);
    assert_eq!(runs.load(SeqCst), 0);
}

#[tokio::test]
async fn an_answer_for_the_session_is_for_the_same_call_in_that_session() {
    let person =
        Person::quick([Choice::AllowSession, Choice::Allow, Choice::Allow, Choice::Allow, Choice::AllowSession]);
    let (host, _) = host(Approval::default().then(person.clone()));
    let path = |path: &str| json!({"path": path});
    for _ in 0..3 {
        assert!(call_in(&host, Some("s"), "delete", path("/a")).await.result.is_ok());
    }
    assert_eq!(person.times(), 1);
    call_in(&host, Some("s"), "delete", path("/b")).await.result.unwrap();
    call_in(&host, Some("t"), "delete", path("/a")).await.result.unwrap();
    let bob = Caller { session: Some("s".into()), ..Caller::named("bob") };
    host.call(Call::new("delete", path("/a")).by(bob)).await.result.unwrap();
    assert_eq!(person.times(), 4);
    // Without a session it is for once.
    let outcome = call(&host, "delete", "/a").await;
    assert_eq!(outcome.report.decisions[0].what, Decided::Allowed);
    assert!(!person.last().session);
    assert!(call(&host, "delete", "/a").await.result.is_err());
}

#[tokio::test]
async fn always_writes_a_rule_for_this_very_call_and_no_other() {
    let book = Arc::new(Book::default());
    let asking = json!({"ask": [{"tools": ["write"]}], "deny": [{"arguments": {"/path": "/etc*"}}]});
    let answers = || [Choice::AllowAlways, deny(""), deny(""), deny("")];
    let person = Person::quick(answers().into_iter().chain(answers()));
    let (host, runs) = host(Approval::new(rules(asking)).then(person.clone()).writing(book.clone()));
    for tool in ["delete", "write"] {
        for _ in 0..2 {
            assert!(call(&host, tool, "/a*").await.result.is_ok(), "{tool}");
        }
        // Other arguments, other callers.
        assert!(call(&host, tool, "/ab").await.result.is_err());
        assert!(call_in(&host, None, tool, json!({"path": "/a*", "count": 1})).await.result.is_err());
        let bob = Call::new(tool, json!({"path": "/a*"})).by(Caller::named("bob"));
        assert!(host.call(bob).await.result.is_err());
    }
    assert_eq!(runs.load(SeqCst), 4);
    let written = book.0.lock().unwrap();
    assert_eq!(written.len(), 2);
    assert_eq!(written[0].digest.as_deref(), Some("native"));
    assert_eq!(host.approval().rules().always, *written);
    assert_eq!(serde_json::to_value(&written[0].arguments).unwrap(), json!({"": {"equals": {"path": "/a*"}}}));
}

#[tokio::test]
async fn always_is_once_where_no_rule_can_be_written() {
    let person = Person::quick([Choice::AllowAlways]);
    let (host, _) = host(Approval::default().then(person.clone()));
    let outcome = call(&host, "delete", "/a").await;
    assert_eq!(outcome.report.decisions[0].what, Decided::Allowed);
    assert_eq!(person.last().always, None);
    assert!(call(&host, "delete", "/a").await.result.is_err());
}

#[tokio::test]
async fn an_edit_runs_what_was_written_without_asking_again() {
    let person = Person::quick([Choice::Edit { arguments: json!({"path": "/b"}) }]);
    let (host, runs) = host(Approval::default().then(person.clone()));
    let outcome = call(&host, "delete", "/a").await;
    assert_eq!(outcome.result.unwrap().value["path"], "/b");
    assert_eq!((person.times(), runs.load(SeqCst)), (1, 1));
    assert_eq!(outcome.report.decisions[0].what, Decided::Edited);
}

#[tokio::test]
async fn an_edit_that_does_not_fit_is_asked_about_again_and_says_what_is_wrong() {
    let wrong = Choice::Edit { arguments: json!({"pth": "/b"}) };
    // What had to be cast was not written by anybody: it is shown before it runs.
    let cast = Choice::Edit { arguments: json!({"path": "/b", "count": "3"}) };
    let person = Person::quick([wrong, cast, Choice::Allow]);
    let (host, _) = host(Approval::default().then(person.clone()));
    let outcome = call(&host, "delete", "/a").await;
    assert_eq!(outcome.result.unwrap().value, json!({"path": "/b", "count": 3, "token": null}));
    let asked = person.asked.lock().unwrap();
    assert!(asked[1].fault.as_ref().unwrap().contains("did you mean `path`?"), "{:?}", asked[1].fault);
    assert_eq!(asked[1].arguments["path"], "/a");
    assert_eq!(asked[2].arguments, json!({"path": "/b", "count": 3, "token": null}));
    assert_eq!(asked[2].casts, ["`/count` was cast from \\\"3\\\" to 3"].map(|cast| cast.replace("\\\"", "\"")));
}

#[tokio::test]
async fn edits_come_to_an_end() {
    let edits = (0..100).map(|_| Choice::Edit { arguments: json!({"path": 5.5, "x": 1}) });
    let person = Person::quick(edits);
    let (host, runs) = host(Approval::default().then(person.clone()));
    let error = call(&host, "delete", "/a").await.result.unwrap_err();
    assert_eq!((error.kind, runs.load(SeqCst)), (ErrorKind::Declined, 0));
    assert_eq!(error.message, "`delete` was not allowed: its arguments were edited too often");
    assert_eq!(person.times(), 10);
}

#[tokio::test]
async fn secrets_are_masked_and_an_edit_that_leaves_the_mask_keeps_them() {
    let edit = |token: &str| Choice::Edit { arguments: json!({"path": "/b", "token": token}) };
    let person = Person::quick([edit("***"), edit("other"), Choice::Edit { arguments: json!({"path": "***"}) }]);
    let book = Arc::new(Book::default());
    let (host, _) = host(Approval::default().then(person.clone()).writing(book));
    let secret = json!({"path": "/a", "token": "hunter2"});
    let ran = async || call_in(&host, None, "delete", secret.clone()).await.result;
    assert_eq!(ran().await.unwrap().value["token"], "hunter2");
    assert_eq!(ran().await.unwrap().value["token"], "other");
    assert!(ran().await.is_err(), "a mask where no secret was is no argument");
    let shown = serde_json::to_string(&*person.asked.lock().unwrap()).unwrap();
    assert!(!shown.contains("hunter2") && shown.contains("***"), "{shown}");
    assert_eq!(person.last().always, None, "not everything was shown");
    assert!(person.last().fault.unwrap().starts_with("`***` stands for a secret that was not there"));
}

#[tokio::test]
async fn rules_decide_without_asking_and_are_named_in_the_report() {
    let said = json!({
        "deny": [{"name": "no-etc", "arguments": {"/path": "/etc/*"}, "reason": "it is the system's"}],
        "allow": [{"tools": ["delete"], "arguments": {"/path": "/tmp/*"}}],
        "ask": [{"name": "watch", "tools": ["*"], "shadow": true}],
    });
    let (host, runs) = host(Approval::new(rules(said)));
    let outcome = call(&host, "read", "/etc/passwd").await;
    let error = outcome.result.unwrap_err();
    assert_eq!(error.kind, ErrorKind::Declined);
    assert_eq!(error.message, "`read` is denied with these arguments by the rule `no-etc`: it is the system's");
    assert_eq!(outcome.report.decisions[0].rule.as_deref(), Some("no-etc"));

    let outcome = call(&host, "delete", "/tmp/a").await;
    assert!(outcome.result.is_ok());
    let told: Vec<_> =
        outcome.report.decisions.iter().map(|told| (told.shadow, told.what, told.rule.as_deref())).collect();
    assert_eq!(told, [(true, Decided::Asked, Some("watch")), (false, Decided::Allowed, Some("allow 1"))]);
    assert_eq!(runs.load(SeqCst), 1);
}

#[tokio::test]
async fn a_rule_that_asks_says_why() {
    let said = json!({"ask": [{"name": "big", "tools": ["write"], "reason": "it is a lot"}, {"tools": ["read"]}]});
    let person = Person::quick([Choice::Allow, Choice::Allow]);
    let (host, _) = host(Approval::new(rules(said)).then(person.clone()));
    let outcome = call(&host, "write", "/a").await;
    assert_eq!(person.last().why, "it is a lot");
    assert_eq!(outcome.report.decisions[0].rule.as_deref(), Some("big"));
    call(&host, "read", "/a").await.result.unwrap();
    assert_eq!(person.last().why, "the rule `ask 2` asks");
}

#[tokio::test]
async fn what_rules_say_can_be_explained_without_asking() {
    let said = json!({
        "deny": [{"name": "no-etc", "arguments": {"/path": "/etc/*"}}],
        "ask": [{"tools": ["write"]}],
        "allow": [{"callers": ["bob"]}, {"tools": ["r*"]}],
    });
    let (host, runs) = host(Approval::new(rules(said)));
    let explained = host.explain(Call::new("read", json!({"path": "/tmp"}))).unwrap();
    assert_eq!(explained.by.as_deref(), Some("allow 2"));
    let misfits: Vec<_> = explained.rules.iter().map(|tried| tried.misfit.as_deref()).collect();
    assert_eq!(
        misfits,
        [Some("`/path` does not fit glob `/etc/*`"), Some("another tool"), Some("another caller"), None]
    );
    assert_eq!(host.explain(Call::new("read", json!({}))).unwrap_err().kind, ErrorKind::InvalidArguments);
    assert_eq!(runs.load(SeqCst), 0);
}
