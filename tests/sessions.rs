//! Instances that outlive a call, as a person meets them: what `check`, `inspect`, `lock` and the report of a call say of them, and
//! a batch of calls to one session.

#![allow(clippy::expect_used, clippy::indexing_slicing, clippy::panic, reason = "tests")]

use insta::assert_snapshot;
use serde_json::{Value, json};
use tempfile::TempDir;
use toolpost_tests::{filters, page, prebuilt, toolpost};

const SHOP: &str = "setup = { currency = \"EUR\", prices = [[\"apple\", 40]] }";

fn says(folder: &TempDir, components: &[(&str, &str)]) {
    let component = |(name, more): &(&str, &str)| {
        format!("[components.{name}]\npath = {:?}\nguard.cache = false\n{more}\n", prebuilt(name))
    };
    let settings: String = components.iter().map(component).collect();
    std::fs::write(folder.path().join("toolpost.toml"), settings).expect("written");
}

fn shop(keep: &str) -> TempDir {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let basket = format!("lifetime = {keep:?}\n{SHOP}");
    says(&folder, &[("basket", &basket), ("divide", "lifetime = { kind = \"warm\", max_calls = 2 }")]);
    folder
}

fn run(folder: &TempDir, args: &[&str]) -> String {
    page(&toolpost(folder.path(), args))
}

fn run_json(folder: &TempDir, args: &[&str]) -> Value {
    serde_json::from_slice(&toolpost(folder.path(), args).stdout).expect("JSON")
}

#[test]
fn what_is_kept_is_told_where_tools_are_looked_at() {
    let _filters = filters();
    let folder = shop("session");
    assert_snapshot!("check", run(&folder, &["check"]));
    assert_eq!(run_json(&folder, &["check", "--json"])["kept"], json!({"basket": "session", "divide": "warm"}));
    assert_snapshot!("inspect-basket", run(&folder, &["inspect", &prebuilt("basket")]));
}

#[test]
fn a_call_without_a_session_is_told_to_name_one_and_with_one_it_runs() {
    let _filters = filters();
    let folder = shop("session");
    assert_snapshot!("no-session", run(&folder, &["call", "basket_basket_new"]));
    let outcome = run_json(&folder, &["call", "basket_prices", "--session", "s", "--json"]);
    let instance = &outcome["report"]["attempts"][0]["instance"];
    assert_eq!(*instance, json!({"lifetime": "session", "calls_before": 0}));
    let unknown = ["call", "basket_basket_lines", "self=basket_0123456789abcdef0123456789abcdef", "--session", "s"];
    assert_snapshot!("unknown-handle", run(&folder, &unknown));
}

#[test]
fn the_calls_of_a_batch_come_to_what_a_session_keeps_in_their_order() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    says(&folder, &[("holder", "lifetime = \"session\""), ("divide", "lifetime = \"warm\"")]);
    let calls = [
        ("holder_count", json!({})),
        ("holder_sleep", json!({"ms": 50})),
        ("holder_count", json!({})),
        ("divide_divide", json!({"dividend": 1, "divisor": 4})),
        ("holder_count", json!({})),
    ];
    let lines = calls.map(|(tool, arguments)| format!("{}\n", json!({"tool": tool, "arguments": arguments})));
    std::fs::write(folder.path().join("calls"), lines.concat()).expect("written");
    assert_snapshot!("plan", run(&folder, &["batch", "calls", "--session", "s", "--plan"]));
    let answers = toolpost(folder.path(), &["batch", "calls", "--session", "s"]);
    let answers = String::from_utf8(answers.stdout).expect("text");
    let answers = answers.lines().map(|line| serde_json::from_str::<Value>(line).expect("JSON"));
    let values: Vec<Value> = answers.map(|answer| answer["output"]["value"].clone()).collect();
    assert_eq!(values, [json!(1), json!(null), json!(2), json!(0.25), json!(3)]);
}

#[test]
fn a_memory_that_more_calls_share_is_wider_than_what_was_locked() {
    let _filters = filters();
    let folder = shop("fresh");
    assert_eq!(toolpost(folder.path(), &["lock"]).status.code(), Some(0));
    says(&folder, &[("basket", &format!("lifetime = \"warm\"\n{SHOP}")), ("divide", "")]);
    assert_snapshot!("lock-wider", run(&folder, &["lock", "--check"]));
    assert_snapshot!("wider-refused", run(&folder, &["call", "basket_prices"]));
}
