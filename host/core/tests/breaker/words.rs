//! What errors say about a tool, and what the one who called is told.

use std::time::Duration;

use serde_json::json;
use toolpost_core::guard::breaker::{Key, Outcome, Refusal, Rejection, classify};
use toolpost_core::{CallError, ErrorKind, Stage};

use super::{Bench, FAILURE, pass, plain, throttled};

#[test]
fn every_kind_of_error_is_read_as_the_table_says() {
    for kind in ErrorKind::ALL {
        let expected = match kind {
            ErrorKind::OutOfFuel
            | ErrorKind::OutOfMemory
            | ErrorKind::OutputTooLarge
            | ErrorKind::Trapped
            | ErrorKind::TimedOut
            | ErrorKind::ToolFailed { retryable: true } => Outcome::Failure(kind.name()),
            ErrorKind::ToolFailed { retryable: false } => Outcome::Success,
            ErrorKind::Cancelled => Outcome::Abandoned,
            _ => Outcome::Ignored,
        };
        assert_eq!(classify(&CallError::new(kind, Stage::Run, "")), expected, "{kind:?}");
    }
}

#[test]
fn a_tool_that_names_a_time_is_throttled_and_not_failing() {
    for retryable in [true, false] {
        let error = CallError::new(ErrorKind::ToolFailed { retryable }, Stage::Run, "");
        assert_eq!(classify(&error.retry_after(Duration::from_secs(7))), throttled(7));
    }
}

#[test]
fn a_call_that_found_no_place_in_time_says_nothing_about_the_tool() {
    assert_eq!(classify(&CallError::new(ErrorKind::TimedOut, Stage::Guard, "")), Outcome::Ignored);
}

#[tokio::test(start_paused = true)]
async fn a_permit_settles_with_what_the_call_brought() {
    let bench = Bench::standard(plain());
    bench.acquire().settle(&Ok::<(), CallError>(()));
    bench.acquire().settle(&Err::<(), _>(CallError::new(ErrorKind::Trapped, Stage::Run, "")));
    let show = bench.show();
    assert_eq!((show.counts.total, show.counts.failed, show.last_failure), (2, 1, Some("trapped")));
}

fn check(refusal: Refusal, why: Option<&str>, expected: &str) {
    let rejection = Rejection {
        refusal,
        retry_after: why.is_none().then_some(Duration::from_millis(29_001)),
        last_failure: Some("timed_out"),
        why: why.map(Into::into),
    };
    let error = rejection.into_error(&Key::tool("orders_create").of_tenant("acme"));
    assert_eq!((error.kind, error.stage), (ErrorKind::CircuitOpen, Stage::Guard));
    assert_eq!(error.message, expected);
}

#[test]
fn a_refusal_says_what_happened_and_what_would_help_and_not_for_whom_else_it_holds() {
    let open = "`orders_create` failed too often and is left alone (the last failure: `timed_out`)";
    check(Refusal::Open, None, &format!("{open}; call again in 30s, or go on without it"));
    let half_open = "`orders_create` failed too often, and another call is finding out whether it is well (the last \
                     failure: `timed_out`); call again in 30s, or go on without it";
    check(Refusal::HalfOpen, None, half_open);
    let held = "`orders_create` has asked not to be called for a while; call again in 30s, or go on without it";
    check(Refusal::Held, None, held);
    let isolated = "`orders_create` is switched off by the operator: it deletes too much; go on without it";
    check(Refusal::Isolated, Some("it deletes too much"), isolated);
    check(Refusal::Isolated, Some(""), "`orders_create` is switched off by the operator; go on without it");
    let throttled = "`orders_create` fails so often that only a part of the calls goes through (the last failure: \
                     `timed_out`); call again in 30s, or go on without it";
    check(Refusal::Throttled, None, throttled);
    let full = "as many calls of `orders_create` run as it can take; call again in 30s, or go on without it";
    check(Refusal::Full, None, full);
}

#[tokio::test(start_paused = true)]
async fn a_program_reads_the_cause_the_wait_and_the_last_failure() {
    let bench = Bench::standard(plain());
    bench.calls(5, FAILURE);
    pass(500).await;
    let error = bench.refused().into_error(bench.breaker.key());
    assert_eq!(error.retry_after, Some(Duration::from_millis(29_500)));
    assert_eq!(error.detail, Some(json!({"cause": "open", "last_failure": "timed_out", "retry_after_s": 29.5})));
}

#[tokio::test(start_paused = true)]
async fn what_the_list_shows_can_be_read_by_a_program() {
    let bench = Bench::standard(plain());
    bench.calls(5, FAILURE);
    let shown = serde_json::to_value(bench.show()).unwrap();
    assert_eq!(shown["key"], json!({"scope": {"kind": "tool", "tool": "tool"}}));
    assert_eq!((&shown["status"], &shown["ends_in"]["secs"]), (&json!("open"), &json!(30)));
}

#[test]
fn a_key_is_read_as_it_is_printed_and_a_program_finds_its_parts() {
    let server = Key::egress("orders_create", "shop.example.com:443");
    for (key, printed) in [
        (&Key::tool("orders_create"), "tool orders_create"),
        (&server, "egress orders_create shop.example.com:443"),
        (&Key::custom("the shop"), "custom the shop"),
    ] {
        assert_eq!(key.to_string(), printed);
        assert_eq!(Key::parse(printed).as_ref(), Some(key));
    }
    for other in ["tool", "tool ", "tool a b", "egress a:1", "egress a b:1 c", "egress  b:1", "server a", ""] {
        assert_eq!(Key::parse(other), None, "{other}");
    }
    let parts = json!({"kind": "egress", "tool": "orders_create", "authority": "shop.example.com:443"});
    assert_eq!(serde_json::to_value(&server).unwrap(), json!({"scope": parts}));
}

#[test]
fn a_refusal_names_the_server_that_is_left_alone() {
    let rejection = Rejection {
        refusal: Refusal::Open,
        retry_after: Some(Duration::from_secs(30)),
        last_failure: Some("http_503"),
        why: None,
    };
    assert_eq!(
        rejection.into_error(&Key::egress("orders_create", "shop.example.com:443")).message,
        "`shop.example.com:443` failed too often and is left alone (the last failure: `http_503`); call again in 30s, or go \
         on without it"
    );
}
