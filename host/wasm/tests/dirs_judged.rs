//! What rules say of files holds whatever a tool calls what it does to them.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing, reason = "tests")]

mod common;

use common::disk::{Ground, paths, step};
use serde_json::{Value, json};
use toolpost_core::check::approve::Approval;
use toolpost_core::Host;

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
