//! What rules say of files holds whatever a tool calls what it does to them.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing, reason = "tests")]

mod common;

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering::SeqCst};

use common::disk::{Ground, content, paths, step};
use futures_util::future::BoxFuture;
use serde_json::{Value, json};
use toolpost_core::check::approve::{Answer, Approval, Approver, Choice, Pass, Question};
use toolpost_core::{Call, Caller, Host};

fn under(ground: &Ground, rules: Value) -> Host {
    ground.host("write").with_approval(Approval::new(serde_json::from_value(rules).unwrap()))
}

/// Under a rule that keeps this from the file, the step is refused, and both files stay what they are.
async fn check(action: &str, target: &str, what: Value) {
    let ground = Ground::new();
    ground.write("data/b.txt", "precious");
    let before = ground.everything();
    let does = json!({"deny": [{"does": {"action": action, "target": target}}]});
    let (done, _) = step(&under(&ground, does), what.clone()).await;
    assert!(done.starts_with('!'), "{action} {target}: {what} gave {done}");
    assert_eq!(ground.everything(), before, "{action} {target}: {what}");
    let elsewhere = json!({"deny": [{"does": {"action": action, "target": "/data/else"}}]});
    assert_eq!(step(&under(&ground, elsewhere), what).await.0, "");
}

#[tokio::test]
async fn a_rename_deletes_what_it_is_done_to_and_what_it_is_done_over() {
    check("files.delete", "/data/b.txt", json!({"rename": paths("/data/a.txt", "/data/b.txt")})).await;
    check("files.delete", "/data/a.txt", json!({"rename": paths("/data/a.txt", "/data/b.txt")})).await;
    check("files.delete", "/data/a.txt", json!({"rename": paths("/data/a.txt", "/data/c.txt")})).await;
}

#[tokio::test]
async fn a_second_name_is_leave_to_write_to_the_first() {
    check("files.write", "/data/a.txt", json!({"link": paths("/data/a.txt", "/data/c.txt")})).await;
}

/// Allows all for the session, and counts.
struct Willing(Arc<AtomicUsize>);

impl Approver for Willing {
    fn ask<'a>(&'a self, _: &'a Question) -> BoxFuture<'a, Result<Answer, Pass>> {
        self.0.fetch_add(1, SeqCst);
        Box::pin(async { Ok(Answer { choice: Choice::AllowSession, by: "ann".into() }) })
    }
}

#[tokio::test]
async fn leave_to_write_is_for_one_text_and_leave_to_delete_for_the_session() {
    let ground = Ground::new();
    let asked = Arc::new(AtomicUsize::new(0));
    let rules = json!({"ask": [{"does": {"action": "files.*"}}]});
    let approval = Approval::new(serde_json::from_value(rules).unwrap()).then(Arc::new(Willing(asked.clone())));
    let host = ground.host("write").with_approval(approval);
    let times = async |what: Value| {
        let caller = Caller { session: Some("s".into()), ..Caller::named("agent") };
        let before = asked.load(SeqCst);
        let call = Call::new("disk_steps", json!({"steps": [what]})).by(caller);
        assert_eq!(host.call(call).await.result.unwrap().value[0]["ok"], "");
        asked.load(SeqCst) - before
    };
    for _ in 0..2 {
        assert_eq!(times(json!({"write": content("/data/a.txt", "text")})).await, 1);
        assert_eq!(times(json!({"append": content("/data/a.txt", "text")})).await, 1);
    }
    for wanted in [1, 0] {
        ground.write("data/b.txt", "b");
        assert_eq!(times(json!({"remove": "/data/b.txt"})).await, wanted);
    }
}
