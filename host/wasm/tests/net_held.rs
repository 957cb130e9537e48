//! What the host holds of a guest's requests has bounds, whatever the guest was granted: it is no memory of the guest's.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing, reason = "tests")]

mod common;

use common::asks::{self, HTTP, POLL};
use common::{blocking, fails, host_of, resident_kib};
use serde_json::json;
use toolpost_core::catalog::settings::LimitSettings;
use toolpost_core::{CallError, ErrorKind, Host};
use toolpost_wasm::Component;

/// A guest that holds `n` requests with such an authority, and gives up where one is not taken.
fn guest() -> Component {
    let asked = [
        ("fields", "http", "[constructor]fields", "(result i32)"),
        ("new", "http", "[constructor]outgoing-request", "(param i32) (result i32)"),
        ("set", "http", "[method]outgoing-request.set-authority", "(param i32 i32 i32 i32) (result i32)"),
    ];
    let core = r#"(func (export "f") (param $n i32) (param $bytes i32) (result i32)
      (drop (memory.grow (i32.const 128)))
      (memory.fill (i32.const 65536) (i32.const 0x61) (local.get $bytes))
      (loop
        (call $set (call $new (call $fields)) (i32.const 1) (i32.const 65536) (local.get $bytes))
        (if (then (unreachable)))
        (br_if 0 (local.tee $n (i32.sub (local.get $n) (i32.const 1)))))
      (i32.const 7))"#;
    let signature = "(param \"n\" u32) (param \"bytes\" u32) (result u32)";
    common::component(&asks::component(&format!("{POLL}{HTTP}"), &asked, signature, core))
}

fn ends(host: &Host, n: u64, bytes: u64) -> CallError {
    blocking(fails(host, json!({"n": n, "bytes": bytes})))
}

#[test]
fn words_of_a_request_are_short_and_there_are_not_many_of_them() {
    let guest = guest();
    let host = host_of([&guest], &LimitSettings::default());
    let held = blocking(common::call(&host, "guest_f", json!({"n": 100, "bytes": 512})));
    assert_eq!(held.result.unwrap().value, json!(7));
    let before = resident_kib();
    let error = ends(&host, 1_000, 4 << 20);
    assert_eq!(error.kind, ErrorKind::QuotaExceeded, "{error}");
    let words = "the host of a request has at most 512 bytes; no grant allows it";
    assert!(error.message.starts_with(words), "{error}");
    let error = ends(&host, 1_000_000_000, 512);
    assert_eq!(error.kind, ErrorKind::Trapped, "{error}");
    let words = "the tool held more than 256 requests, answers and sets of header fields at once; it must drop";
    assert!(error.message.starts_with(words), "{error}");
    let more = resident_kib().saturating_sub(before);
    assert!(more < 64 << 10, "{more} KiB more are held");
}
