//! What follows from each kind of error, and what of an error leaves the host.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing, reason = "tests")]

use std::collections::HashSet;
use std::time::Duration;

use serde::Serialize;
use serde_json::{Value, json};
use toolpost_core::tell::Rule;
use toolpost_core::{CallError, ErrorKind, Stage, bug};

/// The word that a value is in JSON.
fn word(value: impl Serialize) -> String {
    serde_json::to_value(value).unwrap().as_str().unwrap().to_owned()
}

fn check(error: CallError, wanted: Value) {
    assert_eq!(serde_json::to_value(&error).unwrap(), wanted);
}

#[test]
fn the_table_of_kinds_says_whose_fault_it_is_and_what_follows() {
    let row = |kind: &ErrorKind| {
        let Rule { fault, feeds_breaker } = kind.rule();
        let retryable = match kind {
            ErrorKind::ToolFailed { retryable: true } => " (retryable)",
            _ => "",
        };
        let breaker = if feeds_breaker { "yes" } else { "no" };
        format!("{}{retryable} | {} | {breaker}\n", kind.name(), word(fault))
    };
    let table: String = ErrorKind::ALL.iter().map(row).collect();
    assert_eq!(
        table,
        "\
unknown_tool | caller | no
invalid_arguments | caller | no
unauthorized | policy | no
declined | policy | no
approval_timed_out | policy | no
repeated_call | policy | no
rate_limited | policy | no
busy | policy | no
circuit_open | policy | no
key_in_use | policy | no
key_reused | caller | no
outcome_unknown | caller | no
capability_denied | policy | no
quota_exceeded | policy | no
out_of_fuel | tool | yes
out_of_memory | tool | yes
output_too_large | tool | yes
trapped | tool | yes
timed_out | tool | yes
tool_failed | tool | no
tool_failed (retryable) | tool | yes
cancelled | caller | no
internal | host | no
"
    );
}

#[test]
fn every_kind_is_listed_once() {
    let distinct: HashSet<_> = ErrorKind::ALL.into_iter().collect();
    assert_eq!(distinct.len(), ErrorKind::ALL.len());
}

#[test]
fn a_kind_has_one_name_wherever_it_is_printed() {
    for kind in ErrorKind::ALL {
        let printed = match serde_json::to_value(kind).unwrap() {
            Value::Object(object) => object.keys().next().cloned().unwrap(),
            name => name.as_str().unwrap().to_owned(),
        };
        assert_eq!(printed, kind.name());
    }
}

#[test]
fn an_error_as_json_says_what_a_program_needs() {
    check(
        CallError::new(ErrorKind::UnknownTool, Stage::Find, "no tool is named `x`"),
        json!({"kind": "unknown_tool", "stage": "find", "message": "no tool is named `x`", "fault": "caller"}),
    );
    check(
        CallError::new(ErrorKind::Busy, Stage::Guard, "later").retry_after(Duration::from_millis(1_500)),
        json!({"kind": "busy", "stage": "guard", "message": "later", "fault": "policy", "retry_after_ms": 1500}),
    );
    for retryable in [false, true] {
        check(
            CallError::new(ErrorKind::ToolFailed { retryable }, Stage::Run, "no").with_detail(json!({"code": 7})),
            json!({
                "kind": "tool_failed", "stage": "run", "message": "no", "fault": "tool", "retryable": retryable,
                "detail": {"code": 7}
            }),
        );
    }
    let forever = CallError::new(ErrorKind::RateLimited, Stage::Guard, "no").retry_after(Duration::MAX);
    assert_eq!(serde_json::to_value(forever).unwrap()["retry_after_ms"], json!(u64::MAX));
}

#[test]
fn help_is_added_behind_the_message() {
    let error = CallError::new(ErrorKind::Busy, Stage::Guard, "all places are taken").with_help("call again later");
    assert_eq!(error.to_string(), "all places are taken; call again later");
}

#[test]
fn what_is_behind_an_error_is_for_the_log_and_leaves_in_no_message() {
    for kind in ErrorKind::ALL {
        let error = CallError::new(kind, Stage::Run, "it failed").because("/srv/secret: hunter2");
        let error = error.with_help("try again").retry_after(Duration::from_secs(1));
        for told in [error.to_string(), serde_json::to_string(&error).unwrap(), error.message.clone()] {
            assert!(!told.contains("hunter2") && !told.contains("/srv"), "{told}");
        }
        let source = std::error::Error::source(&error).unwrap();
        assert_eq!(source.to_string(), "/srv/secret: hunter2");
    }
}

#[test]
fn a_broken_promise_of_the_host_is_internal_and_tells_the_caller_nothing_about_it() {
    let error = bug!(Stage::Run, "no slot at {}", "/srv/secret");
    assert_eq!(std::error::Error::source(&error).unwrap().to_string(), "no slot at /srv/secret");
    let told = json!({
        "kind": "internal", "stage": "run", "message": "the host is at fault; its log says more", "fault": "host"
    });
    check(error, told);
}

#[test]
fn a_client_that_waits_as_long_as_it_is_told_does_not_come_too_early() {
    for (span, told) in [(Duration::ZERO, 0), (Duration::from_nanos(1), 1), (Duration::from_micros(1_500), 2)] {
        let error = CallError::new(ErrorKind::Busy, Stage::Guard, "").retry_after(span);
        assert_eq!(serde_json::to_value(error).unwrap()["retry_after_ms"], told);
    }
    let never = CallError::new(ErrorKind::Busy, Stage::Guard, "").retry_after(Duration::MAX);
    assert_eq!(serde_json::to_value(never).unwrap()["retry_after_ms"], u64::MAX);
}
