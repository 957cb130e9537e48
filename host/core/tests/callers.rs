//! Who calls, as a tool may see it.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing, reason = "tests")]

use serde_json::json;
use toolpost_core::{Call, Caller, Catalog, Host, Native};

/// A host whose one tool answers with the caller that it sees.
fn host() -> Host {
    let tool = Native::new("who", "").run(|attempt| async move { Ok(json!(attempt.opaque_caller())) });
    let mut catalog = Catalog::default();
    catalog.add(tool).unwrap();
    Host::new(catalog)
}

async fn seen(host: &Host, caller: &str) -> String {
    let outcome = host.call(Call::new("who", json!({})).by(Caller::named(caller))).await;
    outcome.result.unwrap().value.as_str().unwrap().to_owned()
}

#[tokio::test]
async fn a_caller_is_the_same_in_every_call_of_one_host_and_no_other_caller() {
    let host = host();
    let ann = seen(&host, "ann").await;
    assert!(ann.len() == 32 && ann.bytes().all(|digit| matches!(digit, b'0'..=b'9' | b'a'..=b'f')), "{ann}");
    assert_eq!(ann, seen(&host, "ann").await);
    assert_ne!(ann, seen(&host, "bob").await);
    assert_ne!(ann, seen(&host, "").await);
}

#[tokio::test]
async fn nobody_can_guess_a_caller_of_another_host() {
    for caller in ["ann", ""] {
        assert_ne!(seen(&host(), caller).await, seen(&host(), caller).await, "{caller:?}");
    }
}
