//! Results and allocators that lie: each ends the call with an error, and costs the host neither its life nor its memory.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing, reason = "tests")]

mod common;

use common::{assert_idle, assert_serves, blocking, fails, guest};
use serde_json::{Value, json};
use toolpost_core::catalog::settings::LimitSettings;
use toolpost_core::{CallError, ErrorKind, Host};

/// A host with the prebuilt `text`, and a function that returns that type by a pointer to that data, which stands at 256.
fn returning(ty: &str, pointer: u32, data: &str) -> Host {
    const TYPES: &str = r#"
        (type $e0 (enum "a" "b" "c")) (export $enum "enum" (type $e0))
        (type $v0 (variant (case "a") (case "b" u64) (case "c" string))) (export $variant "variant" (type $v0))
        (type $r0 (record (field "name" string) (field "size" u32))) (export $record "record" (type $r0))"#;
    let core = format!(
        r#"{} (data (i32.const 256) "{data}")
           (func (export "f") (result i32) (i32.const {pointer}))"#,
        guest::REALLOC
    );
    host_of(&guest::component(TYPES, &format!("(result {ty})"), &core))
}

fn host_of(wat: &str) -> Host {
    let (text, guest) = (common::prebuilt("text"), common::component(wat));
    common::host_of([&*text, &guest], &LimitSettings::default())
}

/// The call fails, the host goes on to serve, and holds nothing.
fn fails_alone(host: &Host, arguments: Value) -> CallError {
    blocking(async {
        let error = fails(host, arguments).await;
        assert_serves(host).await;
        assert_idle(host).await;
        error
    })
}

fn assert_traps(host: &Host, words: &str) {
    let error = fails_alone(host, json!({}));
    assert_eq!(error.kind, ErrorKind::Trapped, "{error}");
    assert!(error.message.contains(words), "{words:?} in {:?}", error.message);
}

/// A pointer and a length as bytes of a data segment.
fn words(words: &[u32]) -> String {
    let bytes = words.iter().flat_map(|word| word.to_le_bytes());
    bytes.map(|byte| format!("\\{byte:02x}")).collect()
}

#[test]
fn a_result_beyond_the_end_of_the_memory_traps() {
    for pointer in [65_536, 65_528, 65_544, 0x7fff_fff8, 0xffff_fff8] {
        assert_traps(&returning("(tuple u64 u64)", pointer, ""), "out of the bounds of the memory");
    }
    assert_traps(&returning("string", 65_532, ""), "out of the bounds of the memory");
}

#[test]
fn a_result_at_an_odd_place_traps() {
    for (ty, pointer) in [("(tuple u16 u16)", 257), ("(list u8)", 258), ("(tuple u64 u8)", 260), ("$record", 1)] {
        assert_traps(&returning(ty, pointer, ""), "the pointer to the result is not aligned");
    }
}

#[test]
fn a_list_that_reaches_beyond_the_memory_traps() {
    let end = 65_536;
    for (ty, place, length) in [
        ("(list u8)", end, 1),
        ("(list u8)", end - 1, 2),
        ("(list u8)", u32::MAX, 1),
        ("(list u8)", end + 1, 0),
        ("(list u32)", end - 4, 2),
        ("(list u64)", 0, u32::MAX),
        ("(list u64)", 8, 0x2000_0000),
        ("(list bool)", 0, end + 1),
        ("(list (tuple u64 u64))", 0, 0x1000_0001),
        ("(list $record)", 0, u32::MAX),
        ("(list string)", !3, u32::MAX),
    ] {
        assert_traps(&returning(ty, 256, &words(&[place, length])), "out of the bounds of the memory");
    }
}

#[test]
fn a_list_at_an_odd_place_traps() {
    for (ty, place) in [("(list u16)", 1), ("(list string)", 2), ("(list f64)", 4)] {
        assert_traps(&returning(ty, 256, &words(&[place, 1])), "the pointer to a list is not aligned");
    }
}

#[test]
fn a_string_that_reaches_beyond_the_memory_traps() {
    for (place, length) in [(65_536, 1), (65_535, 2), (u32::MAX, u32::MAX), (0, 65_537), (0, 0x7fff_ffff)] {
        assert_traps(&returning("string", 256, &words(&[place, length])), "out of bounds");
    }
}

#[test]
fn a_string_that_is_no_utf_8_traps() {
    for bytes in ["\\ff", "\\c3", "\\ed\\a0\\80", "\\f4\\90\\80\\80", "\\c0\\80"] {
        let data = words(&[264, u32::try_from(bytes.len() / 3).unwrap()]) + bytes;
        assert_traps(&returning("string", 256, &data), "utf-8");
    }
}

#[test]
fn a_char_that_is_none_traps() {
    for code in [0xd800, 0xdfff, 0x11_0000, u32::MAX] {
        assert_traps(&returning("(tuple char u8)", 256, &words(&[code])), "not a character");
        let f = format!(r#"{} (func (export "f") (result i32) (i32.const {code}))"#, guest::REALLOC);
        assert_traps(&host_of(&guest::component("", "(result char)", &f)), "not a character");
    }
}

#[test]
fn a_case_that_the_type_does_not_have_traps() {
    for (ty, tag) in [("$enum", 3), ("$variant", 3), ("(option u8)", 2), ("(result u8)", 2), ("$enum", 255)] {
        let host = returning(&format!("(tuple {ty} u64)"), 256, &words(&[tag]));
        assert_traps(&host, "a case that the type does not have");
    }
    for (ty, tag) in [("$e", 3), ("$e", 256), ("(result)", 2), ("(result)", u32::MAX)] {
        let f = format!(r#"{} (func (export "f") (result i32) (i32.const {tag}))"#, guest::REALLOC);
        let types = r#"(type $e0 (enum "a" "b" "c")) (export $e "e" (type $e0))"#;
        let host = host_of(&guest::component(types, &format!("(result {ty})"), &f));
        assert_traps(&host, "a case that the type does not have");
    }
}

#[test]
fn every_byte_but_zero_is_true_and_flags_without_a_name_are_left_out() {
    let types = r#"(type $f0 (flags "a" "b" "c")) (export $f "f" (type $f0))"#;
    let core = format!(
        r#"{} (data (i32.const 256) "\02\ff") (func (export "g") (result i32) (i32.const 256))"#,
        guest::REALLOC
    );
    let wat = guest::component(types, "(result (tuple bool $f))", &core.replace("\"g\"", "\"f\""));
    let wat = wat.replace(r#"(export $f "f" (type"#, r#"(export $f "flags" (type"#);
    let outcome = blocking(common::call(&host_of(&wat), "guest_f", json!({})));
    assert_eq!(outcome.result.unwrap().value, json!([true, ["a", "b", "c"]]));
}
