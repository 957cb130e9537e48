//! What a person and a report are told of grants that arguments narrow: what the call really comes to, and no secret.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing, reason = "tests")]

use std::sync::Arc;

use futures_util::future::BoxFuture;
use serde_json::{Value, json};
use toolpost_core::catalog::grants::{GrantSettings, Grants};
use toolpost_core::catalog::shape::Shape;
use toolpost_core::check::approve::{Answer, Approval, Approver, Choice, Pass, Question};
use toolpost_core::{Call, Catalog, EffectClass, Host, Native, Tool};

fn grants(settings: Value) -> Grants {
    let settings: GrantSettings = serde_json::from_value(settings).unwrap();
    Grants::default().with(&settings)
}

/// What a call comes to that names these paths, of a folder that the tool knows by that name.
fn check(guest: &str, paths: &[&str], wanted: &str) {
    let grants = grants(json!({"dirs": [{"host": "/h", "guest": guest, "only": "${args.paths}"}]}));
    let told = grants.narrowed_to(&json!({"paths": paths}));
    assert_eq!(told, [format!("dirs {guest}: {wanted}")], "{paths:?}");
}

#[test]
fn a_path_is_told_as_what_it_comes_to() {
    check("/notes", &["/notes/a/one.md"], "only `/notes/a/one.md`");
    check("/notes", &["notes//a/./one.md/"], "only `/notes/a/one.md`");
    check("/notes", &["/notes/a", "/notes/b"], "only `/notes/a`, `/notes/b`");
    check("/", &["a/b"], "only `/a/b`");
    // Everything is told as everything, however it is written.
    for all in ["/", ".", "//", "/a/..", "a/b/../.."] {
        check("/", &[all], "all of it");
        check("/", &["/a", all], "all of it");
    }
    check("/notes", &["/notes"], "all of it");
    check("/notes", &["/notes/a/.."], "all of it");
    // Links may lead elsewhere than the words, so both are told.
    check("/notes", &["/notes/a/../b"], "only `/notes/b` (written `/notes/a/../b`)");
    check("/notes", &["/notes/../etc"], "only where `/notes/../etc` leads");
    check("/notes", &["/etc"], "nothing");
    check("/notes", &["/etc", "/notes/a"], "only `/notes/a`");
    check("/notes", &[], "nothing");
}

#[test]
fn an_empty_text_names_nothing() {
    check("/", &[""], "nothing");
    check("/", &["", "/a"], "only `/a`");
    let grants = grants(json!({"kv": [{"bucket": "b", "only": "${args.key}"}]}));
    assert_eq!(grants.narrowed_to(&json!({"key": ""})), ["kv b: nothing"]);
    let only = grants.kv[0].only.as_ref().unwrap();
    assert_eq!(only.values(&json!({"key": ["", "a", ""]})).collect::<Vec<_>>(), ["a"]);
}

#[test]
fn what_is_told_holds_no_secret_and_cannot_be_mistaken() {
    let grants = grants(json!({"net": [{"to": "https://a.org/**", "only": "${args.url}"}]}));
    let told = |url: &str| grants.narrowed_to(&json!({ "url": url })).remove(0);
    assert_eq!(
        told("https://ann:pa55@a.org/x?api_key=k1&q=2"),
        "net https://a.org/**: only `https://ann:***@a.org/x?api_key=***&q=2`"
    );
    // One value never looks like two, nor like something else.
    assert_eq!(told("https://a.org/x`, `y"), "net https://a.org/**: only `https://a.org/x\\u{60}, \\u{60}y`");
    assert_eq!(told("https://a.org/\u{202e}x"), "net https://a.org/**: only `https://a.org/\\u{202e}x`");
    // A path that looks like such a URL is shown as arguments are.
    check("/", &["/x/https://ann:pa55@a.org"], "only `/x/https://ann:***@a.org`");
    let long = told(&format!("https://a.org/{}", "ä".repeat(500)));
    assert!(long.ends_with("ä…`") && long.len() < 320, "{long}");
    let many: Vec<String> = (0..1_000).map(|number| format!("/{number}")).collect();
    let many: Vec<&str> = many.iter().map(String::as_str).collect();
    let shown: Vec<String> = many[..20].iter().map(|path| format!("`{path}`")).collect();
    check("/", &many, &format!("only {} and 980 more", shown.join(", ")));
}

struct Yes(std::sync::Mutex<Vec<Question>>);

impl Approver for Yes {
    fn ask<'a>(&'a self, question: &'a Question) -> BoxFuture<'a, Result<Answer, Pass>> {
        self.0.lock().unwrap().push(question.clone());
        Box::pin(async { Ok(Answer { choice: Choice::Allow, by: "ann".into() }) })
    }
}

#[tokio::test]
async fn the_question_and_the_report_show_the_same_and_both_without_secrets() {
    let grants = grants(json!({"net": [{"to": "https://a.org/**", "only": "${args.url}"}]}));
    let fetch = Native::new("fetch", "").effect(EffectClass::Open).parameter("url", Shape::String);
    let fetch = Tool { grants, ..fetch.run(|_| async { Ok(json!(null)) }) };
    let mut catalog = Catalog::default();
    catalog.add(fetch).unwrap();
    let rules = serde_json::from_value(json!({"ask": [{"tools": ["fetch"]}]})).unwrap();
    let asked = Arc::new(Yes(Default::default()));
    let host = Host::new(catalog).with_approval(Approval::new(rules).then(asked.clone()));
    let url = "https://ann:pa55@a.org/x?token=t0k3n";
    let outcome = host.call(Call::new("fetch", json!({ "url": url }))).await;
    assert!(outcome.result.is_ok(), "{outcome:?}");
    let wanted = ["net https://a.org/**: only `https://ann:***@a.org/x?token=***`"];
    assert_eq!(outcome.report.narrowed, wanted);
    let questions = asked.0.lock().unwrap();
    assert_eq!(questions[0].powers[1..], wanted);
    assert!(!format!("{questions:?}").contains("pa55"));
}
