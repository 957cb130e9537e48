//! The parts of a document as they stand in it.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing, reason = "tests")]

use proptest::prelude::*;
use serde_json::{Map, Value, json};
use toolpost_core::catalog::json::{Raw, ReadError};

fn document(text: &str) -> Raw<'_> {
    Raw::document(text).unwrap()
}

fn error<T: std::fmt::Debug>(result: Result<T, ReadError>) -> String {
    result.unwrap_err().to_string()
}

#[test]
fn a_part_is_found_whole_whatever_is_inside_of_it() {
    let text = r#" { "a" : {b: 'c', [ "}" : "\"]" ] nonsense}, "d\u0065" : [1,, 2 3] , "f":tru } "#;
    let parts: Vec<_> =
        document(text).members().map(|part| part.map(|(key, raw)| (key, raw.text())).unwrap()).collect();
    let wanted = [("a", r#"{b: 'c', [ "}" : "\"]" ] nonsense}"#), ("de", "[1,, 2 3]"), ("f", "tru")];
    assert_eq!(parts, wanted.map(|(key, text)| (key.into(), text)));
}

#[test]
fn a_document_is_one_value_with_its_brackets_closed() {
    for (text, why) in [
        ("", "the text ends before its value does; send it again, whole (at byte 0)"),
        ("[1", "the text ends before its value does; send it again, whole (at byte 2)"),
        ("\"a\\\"", "the text ends before its value does; send it again, whole (at byte 4)"),
        ("[}", "a `}` stands where none was opened (at byte 1)"),
        (", 1", "expected a JSON value (at byte 0)"),
        ("1 2", "more text follows after the value (at byte 2)"),
    ] {
        assert_eq!(error(Raw::document(text)), why, "{text}");
    }
    assert_eq!(document("\u{feff}[1]").text(), "[1]");
}

#[test]
fn no_depth_is_too_deep_to_be_stepped_over() {
    let text = format!("[{}7{}]", "[{\"a\":".repeat(500_000), "}]".repeat(500_000));
    assert_eq!(document(&text).items().count(), 1);
    let open = "[".repeat(1_000_000);
    assert!(Raw::document(&open).is_err());
}

#[test]
fn where_a_part_is_broken_around_the_error_has_its_place_in_the_document() {
    let raw = document(r#"{"a": [1, {"b" 2}]}"#);
    let [inner] = raw.pick(["a"]).unwrap();
    let items: Vec<_> = inner.unwrap().items().map(Result::unwrap).collect();
    assert_eq!(error(items[1].pick(["b"])), "expected `:` (at byte 15)");
    // After an error nothing comes any more.
    assert_eq!(items[1].members().count(), 1);
    assert_eq!(error(items[0].pick(["b"])), "expected `{` (at byte 7)");
    assert_eq!(error(items[1].items().collect::<Result<Vec<_>, _>>()), "expected `[` (at byte 10)");
}

#[test]
fn of_the_members_that_are_wanted_none_stands_twice_and_null_is_none() {
    let raw = document(r#"{"a": 1, "x": 2, "x": 3, "b": null}"#);
    let picked = raw.pick(["a", "b", "c"]).unwrap().map(|part| part.map(Raw::text));
    assert_eq!(picked, [Some("1"), None, None]);
    assert_eq!(error(raw.pick(["x"])), "the key `x` stands twice (at byte 22)");
}

#[test]
fn a_string_is_read_only_where_it_is_one() {
    let string = |text| document(text).string().map(|text| text.into_owned());
    assert_eq!(string(r#""a\n\u00e9""#).as_deref(), Some("a\né"));
    for text in ["1", "null", r#""\x""#, "\"a\nb\"", "{}"] {
        assert_eq!(string(text), None, "{text}");
    }
}

fn value() -> impl Strategy<Value = Value> {
    let leaf = prop_oneof![
        Just(Value::Null),
        any::<i64>().prop_map(Value::from),
        any::<bool>().prop_map(Value::from),
        r#"[\[\]{}":,\\ é\n]{0,6}"#.prop_map(Value::from),
    ];
    leaf.prop_recursive(4, 24, 4, |inner| {
        let object = prop::collection::vec((r#"[\[\]{}":,\\ é\n]{0,3}"#, inner.clone()), 0..4);
        prop_oneof![
            prop::collection::vec(inner, 0..4).prop_map(Value::from),
            object.prop_map(|members| Value::Object(members.into_iter().collect::<Map<_, _>>())),
        ]
    })
}

/// The value, put together from its parts.
fn rebuilt(raw: Raw<'_>) -> Value {
    if raw.is_object() {
        return raw.members().map(|part| part.map(|(key, raw)| (key.into_owned(), rebuilt(raw))).unwrap()).collect();
    }
    if raw.is_array() {
        return raw.items().map(|part| rebuilt(part.unwrap())).collect();
    }
    raw.string().map_or_else(|| serde_json::from_str(raw.text()).unwrap(), |text| json!(text))
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 2_000, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn from_its_parts_a_document_can_be_put_together_again(value in value()) {
        for text in [value.to_string(), serde_json::to_string_pretty(&value).unwrap()] {
            prop_assert_eq!(rebuilt(document(&text)), value.clone(), "{}", text);
        }
    }
}
