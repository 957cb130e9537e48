//! Which tools are chosen by name and by label.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing, reason = "tests")]

use std::sync::Arc;

use serde_json::Value;
use toolpost_core::catalog::{Selection, ToolLabel};
use toolpost_core::check::authorize::Pattern;
use toolpost_core::{Native, Tool};

fn tool(name: &str, labels: &[&str]) -> Arc<Tool> {
    let tool = Native::new(name, "");
    let tool = labels.iter().fold(tool, |tool, label| tool.label(label.parse().unwrap()));
    Arc::new(tool.run(|_| async { Ok(Value::Null) }))
}

fn check(names: &[&str], labels: &[&str], wanted: Result<&[&str], &str>) {
    let tools = [
        tool("files_read", &["files", "safe"]),
        tool("files_write", &["files"]),
        tool("mail_send", &["mail"]),
        tool("now", &[]),
    ];
    let names = names.iter().map(|name| Pattern::new(name).unwrap()).collect();
    let labels = labels.iter().map(|label| label.parse::<ToolLabel>().unwrap()).collect();
    let chosen = Selection { names, labels }.among(&tools);
    let chosen = chosen.map(|tools| tools.iter().map(|tool| tool.name.clone()).collect::<Vec<_>>());
    let wanted = wanted.map(|names| names.iter().map(ToString::to_string).collect()).map_err(str::to_owned);
    assert_eq!(chosen, wanted);
}

#[test]
fn without_a_word_all_tools_are_chosen() {
    check(&[], &[], Ok(&["files_read", "files_write", "mail_send", "now"]));
}

#[test]
fn of_several_names_or_labels_one_is_enough_but_of_both_a_tool_needs_one() {
    check(&["files_*", "now"], &[], Ok(&["files_read", "files_write", "now"]));
    check(&[], &["mail", "safe"], Ok(&["files_read", "mail_send"]));
    check(&["*_read", "mail_*"], &["files"], Ok(&["files_read"]));
    check(&["now"], &["files"], Ok(&[]));
}

#[test]
fn what_no_tool_has_is_named() {
    check(&["files_*", "fils_read"], &[], Err("no tool is named `fils_read`; did you mean `files_read`?"));
    check(&["browser_*"], &[], Err("no tool is named `browser_*`"));
    check(&[], &["files", "mial"], Err("no tool has the label `mial`; did you mean `mail`?"));
}

#[test]
fn a_label_is_a_short_plain_word() {
    for label in ["a", "a-b_9", &"x".repeat(40)] {
        assert_eq!(label.parse::<ToolLabel>().unwrap().as_str(), label);
    }
    for label in ["", "A", "a b", "é", "a\n", &"x".repeat(41)] {
        let error = label.parse::<ToolLabel>().unwrap_err();
        let shown = label.escape_debug();
        assert_eq!(error, format!("`{shown}` is no label: it has 1 to 40 characters of a-z, 0-9, `_` and `-`"));
    }
}
