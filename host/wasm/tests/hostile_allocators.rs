//! Guests that hand out room which is not there when their arguments come: each such call ends alone, with an error.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing, reason = "tests")]

mod common;

use common::{assert_idle, assert_serves, blocking, fails, guest};
use serde_json::{Value, json};
use toolpost_core::ErrorKind;
use toolpost_core::catalog::settings::LimitSettings;

const MIX: &str = r#"
    (type $r0 (record (field "a" u8) (field "b" u64) (field "c" string))) (export $r "r" (type $r0))
    (type $v0 (variant (case "a" u64) (case "b" (list string)))) (export $v "v" (type $v0))"#;

/// Types of a parameter with a value of each: through every way of lowering something into memory.
fn parameters() -> Vec<(&'static str, Value)> {
    let record = json!({"a": 1, "b": 2, "c": "three"});
    vec![
        ("string", json!("some text")),
        ("(list u8)", json!("AAECAwQ=")),
        ("(list u16)", json!([1, 2, 3])),
        ("(list string)", json!(["one", "two"])),
        ("(list (list u64))", json!([[1], [2, 3]])),
        ("(list $r)", json!([record, record])),
        ("(option $r)", record),
        ("$v", json!({"b": ["x", "y"]})),
        ("(tuple u64 u64 u64 u64 u64 u64 u64 u64 u64 u64 u64 u64 u64 u64 u64 u64 u64)", json!(vec![1; 17])),
    ]
}

/// Gives each type of parameter to a guest whose allocator does this, and says how the call ended.
fn assert_all_end(realloc: &str, kind: ErrorKind, words: &str) {
    for encoding in ["utf8", "utf16", "latin1+utf16"] {
        for (ty, value) in parameters() {
            let core = format!(
                r#"(global $calls (mut i32) (i32.const 0))
                (func (export "realloc") (param $old i32) (param $held i32) (param $align i32) (param $size i32) (result i32)
                  {realloc})
                (func (export "f") (param {}) (result i32) (i32.const 0))"#,
                core_types(ty)
            );
            let wat = guest::component(MIX, &format!("(param \"x\" {ty}) (result u32)"), &core);
            let guest = common::component(&wat.replace("utf8", encoding));
            let text = common::prebuilt("text");
            let limits = LimitSettings { fuel: Some(1_000_000), ..LimitSettings::default() };
            let host = common::host_of([&*text, &guest], &limits);
            blocking(async {
                let error = fails(&host, json!({"x": value})).await;
                assert_eq!(error.kind, kind, "{ty} {encoding}: {error}");
                assert!(error.message.contains(words), "{ty}: {words:?} in {:?}", error.message);
                assert_serves(&host).await;
                assert_idle(&host).await;
            });
        }
    }
}

fn core_types(ty: &str) -> &'static str {
    match ty {
        "(option $r)" => "i32 i32 i64 i32 i32",
        "$v" => "i32 i64 i32",
        ty if ty.starts_with("(tuple") => "i32",
        _ => "i32 i32",
    }
}

#[test]
fn an_allocator_that_points_beyond_its_memory_traps() {
    // Aligned to 8, and with no room at all.
    for place in ["65536", "0xfffffff8", "0x7ffffff8"] {
        assert_all_end(&format!("(i32.const {place})"), ErrorKind::Trapped, "realloc return: beyond end of memory");
    }
}

#[test]
fn an_allocator_that_gives_less_than_was_asked_for_traps() {
    let last = "(i32.sub (i32.const 65536) (i32.and (i32.sub (local.get $size) (i32.const 1)) (i32.const -8)))";
    let short =
        format!("(if (result i32) (i32.gt_u (local.get $size) (i32.const 8)) (then {last}) (else (i32.const 65536)))");
    assert_all_end(&short, ErrorKind::Trapped, "realloc return: beyond end of memory");
}

#[test]
fn an_allocator_that_does_not_align_traps() {
    // One byte has no alignment to miss: it is put beyond the end.
    let odd =
        "(if (result i32) (i32.eq (local.get $align) (i32.const 1)) (then (i32.const -1)) (else (i32.const 1025)))";
    assert_all_end(odd, ErrorKind::Trapped, "realloc return");
}

#[test]
fn an_allocator_that_traps_ends_the_call() {
    assert_all_end("(unreachable)", ErrorKind::Trapped, "it gave up (`unreachable`)");
}

#[test]
fn an_allocator_that_never_returns_runs_out_of_fuel() {
    assert_all_end("(loop (br 0)) (unreachable)", ErrorKind::OutOfFuel, "used up its fuel of 1000000");
}

#[test]
fn an_allocator_that_grows_for_ever_runs_out_of_memory() {
    assert_all_end(
        "(loop (drop (memory.grow (i32.const 16))) (br 0)) (unreachable)",
        ErrorKind::OutOfMemory,
        "64.0 MiB",
    );
}

#[test]
fn an_allocator_that_always_gives_the_same_place_harms_only_its_own_guest() {
    // What is lowered overwrites itself; the host does not mind.
    for (ty, value) in parameters() {
        let core = format!(
            r#"(func (export "realloc") (param i32 i32 i32 i32) (result i32) (i32.const 64))
            (func (export "f") (param {}) (result i32) (i32.const 7))"#,
            core_types(ty)
        );
        let guest = common::component(&guest::component(MIX, &format!("(param \"x\" {ty}) (result u32)"), &core));
        let host = common::host_of([&guest], &LimitSettings::default());
        let outcome = blocking(common::call(&host, "guest_f", json!({"x": value})));
        assert_eq!(outcome.result.unwrap().value, json!(7), "{ty}");
    }
}

#[test]
fn an_allocator_that_calls_the_host_traps() {
    // `realloc` may not leave the component; a host that is called in the middle of lowering would see half a value.
    let wat = r#"(component
      (import "wasi:random/random@0.2.6" (instance $random (export "get-random-u64" (func (result u64)))))
      (core func $u64 (canon lower (func $random "get-random-u64")))
      (core module $m
        (import "random" "u64" (func $u64 (result i64)))
        (memory (export "memory") 1)
        (func (export "realloc") (param i32 i32 i32 i32) (result i32) (drop (call $u64)) (i32.const 64))
        (func (export "f") (param i32 i32)))
      (core instance $i (instantiate $m (with "random" (instance (export "u64" (func $u64))))))
      (func $f (param "x" string) (canon lift (core func $i "f") (memory $i "memory") (realloc (func $i "realloc"))))
      (export "f" (func $f)))"#;
    let (text, guest) = (common::prebuilt("text"), common::component(wat));
    let host = common::host_of([&*text, &guest], &LimitSettings::default());
    blocking(async {
        let error = fails(&host, json!({"x": "text"})).await;
        assert_eq!(error.kind, ErrorKind::Trapped, "{error}");
        assert!(error.message.contains("cannot leave component instance"), "{error}");
        assert_serves(&host).await;
    });
}
