//! What random types seldom reach comes back too: very many cases, very long lists, very large parameters.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing, reason = "tests")]

mod common;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use common::echo::assert_all_come_back;
use common::{blocking, guest, shapes};
use serde_json::{Value, json};
use toolpost_core::catalog::settings::LimitSettings;
use toolpost_core::catalog::shape::{Integer, Label, Shape};

const U8: Shape = Shape::Integer(Integer::U8);
const U16: Shape = Shape::Integer(Integer::U16);
const U32: Shape = Shape::Integer(Integer::U32);
const U64: Shape = Shape::Integer(Integer::U64);
const S8: Shape = Shape::Integer(Integer::S8);

fn labels(count: usize) -> Vec<Label> {
    (0..count).map(|at| Label::new(format!("n{at}"))).collect()
}

fn list(item: Shape) -> Shape {
    Shape::List(Box::new(item))
}

#[test]
fn the_last_name_of_an_enum_with_thousands_comes_back() {
    for count in [1, 2, 256, 257, 300, 4_900] {
        let shape = Shape::Enum(labels(count));
        let names: Vec<_> = [0, count / 2, count - 1].iter().map(|at| json!(format!("n{at}"))).collect();
        assert_all_come_back(&shape, &names, "utf8");
        let every: Vec<Value> = (0..count).map(|at| json!(format!("n{at}"))).collect();
        assert_all_come_back(&list(shape), &[json!(every)], "utf8");
    }
}

#[test]
fn the_last_case_of_a_variant_with_more_than_256_comes_back() {
    let payloads = [None, Some(U8), Some(Shape::F64), Some(Shape::String), Some(Shape::F32), Some(U64)];
    for count in [256, 257, 300] {
        let shape = shapes::variant(payloads.iter().cycle().take(count).cloned().collect());
        let Shape::Variant(cases) = &shape else { panic!() };
        let value = |at: usize| match &cases[at].payload {
            None => json!(cases[at].name),
            Some(Shape::String) => json!({&cases[at].name: "é"}),
            Some(Shape::F32 | Shape::F64) => json!({&cases[at].name: -0.5}),
            Some(U64) => json!({&cases[at].name: "18446744073709551615"}),
            Some(_) => json!({&cases[at].name: 255}),
        };
        let values: Vec<Value> = (0..6).chain(count - 6..count).map(value).collect();
        assert_all_come_back(&shape, &values, "utf8");
        assert_all_come_back(&list(shape), &[json!(values)], "utf8");
    }
}

#[test]
fn each_of_32_flags_comes_back_alone_and_with_all_others() {
    for count in [1, 2, 8, 9, 15, 16, 17, 31, 32] {
        let shape = Shape::Flags(labels(count));
        let names: Vec<String> = labels(count).into_iter().map(|label| label.name).collect();
        let alone = names.iter().map(|name| json!([name]));
        let values: Vec<Value> = alone.chain([json!([]), json!(names)]).collect();
        assert_all_come_back(&shape, &values, "utf8");
        assert_all_come_back(&list(shape), &[json!(values)], "utf8");
    }
}

#[test]
fn a_megabyte_of_bytes_comes_back() {
    let bytes: Vec<u8> = (0..1 << 20).map(|at: u32| at.to_le_bytes()[at as usize % 3]).collect();
    for length in [0, 1, 2, 3, 65_535, 65_536, 1 << 20] {
        assert_all_come_back(&Shape::Bytes, &[json!(BASE64.encode(&bytes[..length]))], "utf8");
    }
}

#[test]
fn a_megabyte_of_text_comes_back_in_every_encoding() {
    for encoding in ["utf8", "utf16", "latin1+utf16"] {
        // Latin-1 that becomes more at its very end is the hardest case: the guest reallocates it.
        for text in ["x".repeat(1 << 20), "é".repeat(1 << 19), "é".repeat(1 << 18) + "€", "𝄞".repeat(1 << 18)] {
            assert_all_come_back(&Shape::String, &[json!(text)], encoding);
        }
    }
}

#[test]
fn long_lists_of_items_with_padding_come_back() {
    let padded = shapes::record(vec![U8, U64, S8, U32, U16, Shape::Bool]);
    let Shape::Record(fields) = &padded else { panic!() };
    let item = |at: i32| {
        let members = [json!(at % 256), json!(at), json!(-(at % 128)), json!(at), json!(at), json!(at % 2 == 0)];
        fields.iter().map(|field| field.key.clone()).zip(members).collect::<serde_json::Map<_, _>>()
    };
    let items: Vec<_> = (0..5_000).map(item).collect();
    assert_all_come_back(&list(padded), &[json!(items), json!([])], "utf8");
    let odd = Shape::Tuple(vec![U8, U16, U8]);
    let items: Vec<_> = (0..20_000).map(|at| json!([at % 256, at, 255 - at % 256])).collect();
    assert_all_come_back(&list(odd), &[json!(items)], "utf8");
}

#[test]
fn lists_in_lists_in_lists_come_back_also_where_they_are_empty() {
    let shape = list(list(list(Shape::String)));
    let values = [
        json!([]),
        json!([[]]),
        json!([[[]], [], [[], [""], ["a", "", "b"]]]),
        json!(vec![vec![vec!["x"; 10]; 10]; 10]),
    ];
    assert_all_come_back(&shape, &values, "utf8");
    assert_all_come_back(&list(Shape::Bytes), &[json!(["", "AA==", "", "AAAA"])], "utf8");
}

#[test]
fn parameters_of_any_size_come_back() {
    for count in [15, 16, 17, 31, 32, 33, 511, 512, 513, 4_900] {
        let value = json!((0..count).map(|at| at * 1_000_003).collect::<Vec<u64>>());
        assert_all_come_back(&Shape::Tuple(vec![U64; count as usize]), &[value], "utf8");
    }
}

#[test]
fn parameters_of_more_than_64_kib_arrive() {
    const COUNT: u64 = 9_000;
    let mut types = guest::Types::default();
    let ty = types.name(&Shape::Tuple(vec![U64; COUNT as usize]));
    let last = r#"(func (export "f") (param i32) (result i64) (i64.load offset=71992 (local.get 0)))"#;
    let signature = format!("(param \"x\" {ty}) (result u64)");
    let component = common::component(&guest::component("", &signature, &format!("{}{last}", guest::REALLOC)));
    let host = common::host_of([&component], &LimitSettings::default());
    let outcome = blocking(common::call(&host, "guest_f", json!({"x": (1..=COUNT).collect::<Vec<_>>()})));
    assert_eq!(outcome.result.unwrap().value, json!(COUNT));
}

/// An allocator that gives room of one size and alignment only.
fn exact_realloc(size: u32, align: u32) -> String {
    format!(
        r#"(func (export "realloc") (param $old i32) (param $held i32) (param $align i32) (param $size i32) (result i32)
          (if (i32.or (local.get $old) (local.get $held)) (then (unreachable)))
          (if (i32.ne (local.get $align) (i32.const {align})) (then (unreachable)))
          (if (i32.ne (local.get $size) (i32.const {size})) (then (unreachable)))
          (i32.const 1024))"#
    )
}

#[test]
fn a_guest_is_asked_for_exactly_the_room_that_its_parameters_take() {
    for (ty, size, align) in [("u8", 17, 1), ("u16", 34, 2), ("f32", 68, 4), ("u64", 136, 8), ("char", 68, 4)] {
        let parameters: String = (0..17).map(|at| format!("(param \"p{at}\" {ty}) ")).collect();
        let f = r#"(func (export "f") (param i32) (result i32) (local.get 0))"#;
        let core = format!("{}\n{f}", exact_realloc(size, align));
        let component = common::component(&guest::component("", &format!("{parameters}(result u32)"), &core));
        let host = common::host_of([&component], &LimitSettings::default());
        let value = if ty == "char" { json!("x") } else { json!(1) };
        let arguments: Value =
            (0..17).map(|at| (format!("p{at}"), value.clone())).collect::<serde_json::Map<_, _>>().into();
        let outcome = blocking(common::call(&host, "guest_f", arguments));
        assert_eq!(outcome.result.unwrap().value, json!(1024), "{ty}");
    }
}

#[test]
fn a_result_of_one_core_value_is_read_as_its_type_says() {
    // Beyond the width of the type: the rest is cut off, and any number but zero is true.
    for (ty, core, expected) in [
        ("bool", "i32.const 256", json!(true)),
        ("bool", "i32.const 0", json!(false)),
        ("u8", "i32.const 0x1ff", json!(255)),
        ("s8", "i32.const 0x80", json!(-128)),
        ("u16", "i32.const -1", json!(65_535)),
        ("s16", "i32.const 0x8000", json!(-32_768)),
        ("s32", "i32.const 0x80000000", json!(-2_147_483_648_i64)),
        ("u64", "i64.const -1", json!("18446744073709551615")),
        ("s64", "i64.const 0x8000000000000000", json!("-9223372036854775808")),
        ("f32", "f32.const 0.1", json!(0.1)),
        ("f64", "f64.const -nan", json!("NaN")),
        ("char", "i32.const 0x10ffff", json!("\u{10ffff}")),
    ] {
        let f = format!(r#"(func (export "f") (result {}) ({core}))"#, core.split('.').next().unwrap());
        let component =
            common::component(&guest::component("", &format!("(result {ty})"), &format!("{}{f}", guest::REALLOC)));
        let host = common::host_of([&component], &LimitSettings::default());
        let outcome = blocking(common::call(&host, "guest_f", json!({})));
        assert_eq!(outcome.result.unwrap().value, expected, "{core} as {ty}");
    }
}
