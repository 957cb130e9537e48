//! How arguments as a whole are accepted or refused, and what the caller is told.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing, reason = "tests")]

use std::sync::Arc;

use serde_json::{Value, json};
use toolpost_core::catalog::Base;
use toolpost_core::catalog::accept;
use toolpost_core::catalog::json::Repair;
use toolpost_core::catalog::shape::{Field, Integer, Shape};
use toolpost_core::{AcceptedCall, Arguments, Call, CallError, Cast, EffectClass, ErrorKind, Limits, Native, Stage};

const MODES: [Cast; 3] = [Cast::Strict, Cast::Safe, Cast::Lax];
const U32: Shape = Shape::Integer(Integer::U32);

/// Calls a tool with a required `count`, an optional `unit-name`, and a list of `items` that defaults to none.
fn check(cast: Cast, arguments: impl Into<Arguments>) -> Result<AcceptedCall, CallError> {
    check_tool(weigh(cast), arguments)
}

fn weigh(cast: Cast) -> Native {
    let item = Shape::Record(vec![Field::new("id", U32), Field::new("a/b~c", Shape::Option(Box::new(Shape::Bool)))]);
    let items = Field { default: Some(json!([])), ..Field::new("items", Shape::List(Box::new(item))) };
    let tool = Native::new("weigh", "").parameter("count", U32);
    let tool = tool.parameter("unit-name", Shape::Option(Box::new(Shape::String))).field(items);
    tool.effect(EffectClass::Reads).cast(cast)
}

fn check_tool(tool: Native, arguments: impl Into<Arguments>) -> Result<AcceptedCall, CallError> {
    accept(Arc::new(tool.run(|_| async { Ok(Value::Null) })), Call::new("weigh", arguments))
}

/// The faults as `pointer: expected, got`, sorted.
fn faults(refused: Result<AcceptedCall, CallError>) -> Vec<String> {
    let error = refused.unwrap_err();
    assert_eq!((error.kind, error.stage), (ErrorKind::InvalidArguments, Stage::Accept));
    let listed = error.detail.as_ref().and_then(|detail| detail["faults"].as_array()).cloned().unwrap_or_default();
    let text = |fault: &Value, key: &str| fault[key].as_str().unwrap().to_owned();
    let told = |fault: &Value| {
        let pointer = text(fault, "pointer");
        assert!(pointer.is_empty() || error.message.contains(&format!("at `{pointer}`: ")), "{pointer} in {error}");
        format!("{pointer}: {}, {}", text(fault, "expected"), text(fault, "got"))
    };
    let mut faults: Vec<String> = listed.iter().map(told).collect();
    faults.sort();
    faults
}

#[test]
fn all_faults_of_a_call_are_told_together_each_with_its_place() {
    let arguments =
        json!({"count": -1, "unit_nam": "kg", "items": [{"id": 1}, {"id": 3.5}, {"a/b~c": 7}, 3], "unit_name": [1]});
    let told = [
        "/count: an integer from 0 to 4294967295, -1",
        "/items/1/id: an integer from 0 to 4294967295, 3.5",
        "/items/2/a~1b~0c: true or false, 7",
        "/items/2/id: u32, nothing",
        "/items/3: an object, 3",
        "/unit_nam: no such field; did you mean `unit_name`?, \"kg\"",
        "/unit_name: a string, [1]",
    ];
    assert_eq!(faults(check(Cast::Safe, arguments)), told);
}

#[test]
fn an_unknown_field_is_refused_with_the_known_one_that_was_meant() {
    for (key, help) in [
        ("cuont", "did you mean `count`?"),
        ("unit_nmae", "did you mean `unit_name`?"),
        ("item", "did you mean `items`?"),
        ("colour", "the fields are one of `count`, `unit_name`, `items`"),
        ("a/b", "the fields are one of `count`, `unit_name`, `items`"),
    ] {
        let pointer = key.replace('/', "~1");
        for mode in [Cast::Strict, Cast::Safe] {
            let told = faults(check(mode, json!({"count": 1, key: 0})));
            assert_eq!(told, [format!("/{pointer}: no such field; {help}, 0")], "{mode:?}");
        }
    }
    let nothing = || Native::new("weigh", "");
    assert_eq!(faults(check_tool(nothing(), json!({"x": 1}))), ["/x: no such field; there are none, 1"]);
}

#[test]
fn an_unknown_field_is_dropped_only_in_lax_and_only_where_nothing_can_change() {
    for effect in [EffectClass::Pure, EffectClass::Reads, EffectClass::Writes, EffectClass::Open, EffectClass::Destroys]
    {
        for mode in MODES {
            let outcome = check_tool(weigh(mode).effect(effect), json!({"count": 1, "colour": "red"}));
            let dropped = mode == Cast::Lax && !effect.may_change();
            assert_eq!(outcome.is_ok(), dropped, "{mode:?}, {effect:?}");
            if let Ok(accepted) = outcome {
                assert_eq!(accepted.arguments, json!({"count": 1, "unit_name": null, "items": []}));
                let [change] = accepted.cast.changes.as_slice() else { panic!("{:?}", accepted.cast) };
                assert_eq!((change.pointer.as_str(), change.from.as_str()), ("/colour", "\"red\""));
                assert_eq!(change.to, "dropped: no such field");
            }
        }
    }
}

#[test]
fn two_spellings_of_one_key_are_refused_in_every_mode() {
    for mode in MODES {
        let told = faults(check(mode, json!({"count": 1, "unit_name": "kg", "unit-name": "g"})));
        assert_eq!(told, ["/unit-name: one spelling of `unit_name`, not two, \"g\""], "{mode:?}");
    }
    let told = faults(check(Cast::Safe, json!({"count": 1, "COUNT": 1})));
    assert_eq!(told, ["/COUNT: one spelling of `count`, not two, 1"]);
}

#[test]
fn a_key_that_stands_twice_is_refused_in_every_mode() {
    for mode in MODES {
        let error = check(mode, r#"{"count": 1, "count": 1}"#).unwrap_err();
        assert_eq!(
            error.message, "the arguments of `weigh` cannot be used: the key \"count\" stands twice (at byte 13)",
            "{mode:?}"
        );
    }
}

#[test]
fn what_was_got_is_shortened_on_a_character_boundary_and_says_so() {
    // The cut falls before, into, and behind characters of one to four bytes.
    for character in ["x", "é", "€", "😀", "\n", "\""] {
        for lead in 0..5 {
            let long = "y".repeat(lead) + &character.repeat(100);
            let told = faults(check(Cast::Safe, json!({"count": long})));
            let got = told[0].split_once(", ").unwrap().1;
            assert!(got.len() <= 60 + "…".len(), "{got}");
            assert!(got.ends_with('…'), "shortened without a sign: {got}");
            let shown = json!(long).to_string();
            assert!(shown.starts_with(got.trim_end_matches('…')), "{got}");
        }
    }
    let told = faults(check(Cast::Safe, json!({"count": {"a": [1, {"b": "c"}]}})));
    assert_eq!(told, ["/count: an integer from 0 to 4294967295, {\"a\":[1,{\"b\":\"c\"}]}"]);
}

#[test]
fn a_key_of_any_length_is_answered_shortly() {
    let key = "é".repeat(250_000);
    let error = check(Cast::Safe, json!({"count": 1, &*key: 1})).unwrap_err();
    assert!(error.message.len() < 1_000, "{}", error.message.len());
    assert!(error.message.contains(&format!("at `/{}…`", "é".repeat(100))), "{error}");
    assert!(error.detail.unwrap().to_string().len() < 1_000);
}

#[test]
fn the_message_counts_all_faults_but_spells_out_ten() {
    let items: Vec<_> = (0..500).map(|_| json!({"id": true})).collect();
    let error = check(Cast::Safe, json!({"count": 1, "items": items})).unwrap_err();
    assert!(error.message.contains("`/items/9/id`"), "{error}");
    assert!(!error.message.contains("`/items/10/id`"), "{error}");
    assert!(error.message.ends_with("; and 490 more"), "{error}");
}

#[test]
fn every_cast_is_written_down_or_counted() {
    let items: Vec<_> = (0..500).map(|id| json!({"id": id.to_string()})).collect();
    let accepted = check(Cast::Safe, json!({"count": 1, "items": items})).unwrap();
    let changes = &accepted.cast.changes;
    assert_eq!((changes.len(), accepted.cast.changes_unlisted), (100, 400));
    assert_eq!(
        (changes[3].pointer.as_str(), changes[3].from.as_str(), changes[3].to.as_str()),
        ("/items/3/id", "\"3\"", "3")
    );
}

#[test]
fn a_dropped_field_past_the_listed_changes_does_not_stand_in_for_another_one() {
    // Fields of an object are looked at before its values, so the unknown one comes last here.
    let mut items: Vec<_> = (0..100).map(|id| json!({"id": id.to_string()})).collect();
    items.push(json!({"id": 1, "colour": "red"}));
    let accepted = check(Cast::Lax, json!({"count": 1, "items": items})).unwrap();
    let last = accepted.cast.changes.last().unwrap();
    assert_eq!((last.pointer.as_str(), last.to.as_str()), ("/items/99/id", "99"));
}

#[test]
fn a_cast_that_was_tried_in_vain_is_not_written_down() {
    // One item for a list is tried first; only then is the text split at its commas.
    let items = Field::new("items", Shape::List(Box::new(Shape::Tuple(vec![U32, Shape::Bool]))));
    let error = check_tool(Native::new("weigh", "").field(items).cast(Cast::Lax), json!({"items": {"0": "1", "1": 7}}));
    assert_eq!(faults(error), ["/items: an array (list<tuple<u32, bool>>), {\"0\":\"1\",\"1\":7}"]);
    let items = Field::new("items", Shape::List(Box::new(U32)));
    let accepted = check_tool(Native::new("weigh", "").field(items).cast(Cast::Lax), json!({"items": "1, 2"})).unwrap();
    let pointers: Vec<_> = accepted.cast.changes.iter().map(|change| change.pointer.as_str()).collect();
    assert_eq!(pointers, ["/items/0", "/items/1", "/items"]);
}

#[test]
fn a_default_stands_in_for_an_absent_field_in_canonical_form_and_is_no_change() {
    let float = || Field { default: Some(json!(5)), ..Field::new("weight", Shape::F64) };
    let bytes = || Field { default: Some(json!([104, 105])), ..Field::new("seal", Shape::Bytes) };
    for mode in MODES {
        let accepted = check_tool(Native::new("weigh", "").field(float()).field(bytes()).cast(mode), "{}").unwrap();
        assert_eq!(accepted.arguments.to_string(), r#"{"weight":5.0,"seal":"aGk="}"#, "{mode:?}");
        assert!(accepted.cast.is_empty(), "{mode:?}: {:?}", accepted.cast);
        let given = check_tool(Native::new("weigh", "").field(float()).cast(mode), json!({"weight": 1.5})).unwrap();
        assert_eq!(given.arguments, json!({"weight": 1.5}), "{mode:?}");
    }
}

#[test]
fn null_is_read_as_absent_where_a_parameter_may_be_absent_and_nowhere_else() {
    let limit = Field { default: Some(json!(10)), ..Field::new("limit", Shape::Option(Box::new(U32))) };
    let weight = Field { default: Some(json!(5)), ..Field::new("weight", Shape::F64) };
    let unit = Field::new("unit", Shape::Option(Box::new(Shape::String)));
    let inner = Shape::Record(vec![limit.clone(), weight.clone(), unit.clone()]);
    let tool = |mode| {
        let tool = Native::new("weigh", "").field(limit.clone()).field(weight.clone()).field(unit.clone());
        tool.parameter("inner", inner.clone()).cast(mode)
    };
    for mode in MODES {
        let nulls = json!({"limit": null, "weight": null, "unit": null});
        let nulls = json!({"limit": null, "weight": null, "unit": null, "inner": nulls});
        let accepted = check_tool(tool(mode), nulls).unwrap();
        let wanted = json!({"limit": 10, "weight": 5.0, "unit": null});
        assert_eq!(accepted.arguments["inner"], wanted, "{mode:?}");
        assert_eq!(accepted.arguments, check_tool(tool(mode), json!({"inner": {}})).unwrap().arguments, "{mode:?}");
        assert!(accepted.cast.is_empty(), "{mode:?}: {:?}", accepted.cast);
        let told = faults(check_tool(
            Native::new("weigh", "").parameter("weight", Shape::F64).cast(mode),
            json!({"weight": null}),
        ));
        assert_eq!(told, ["/weight: a number that a 64-bit float can hold, null"], "{mode:?}");
    }
}

#[test]
fn a_default_that_the_field_cannot_hold_never_reaches_the_tool() {
    let field = Field { default: Some(json!("many")), ..Field::new("count", U32) };
    let told = faults(check_tool(Native::new("weigh", "").field(field), "{}"));
    assert_eq!(told, ["/count: an integer from 0 to 4294967295, \"many\""]);
}

#[test]
fn the_object_of_arguments_may_come_as_a_string_of_json() {
    for mode in MODES {
        let inside = json!(r#"{"count": 18, "unit_name": "kg"}"#);
        for arguments in [Arguments::Value(inside.clone()), Arguments::Text(inside.to_string())] {
            let accepted = check(mode, arguments).unwrap();
            assert_eq!(accepted.arguments, json!({"count": 18, "unit_name": "kg", "items": []}), "{mode:?}");
            assert!(accepted.cast.is_empty(), "{mode:?}");
        }
        for cut in [r#"{"count": 18"#, r#"{"count": 18,"#, "not json", "18"] {
            let error = check(mode, json!(cut)).unwrap_err();
            assert_eq!(error.kind, ErrorKind::InvalidArguments, "{mode:?}: {cut}");
        }
    }
}

#[test]
fn nothing_at_all_is_an_object_without_fields() {
    let nothing: [Arguments; 7] =
        ["".into(), " \n".into(), "null".into(), "{}".into(), "\"\"".into(), Value::Null.into(), json!("").into()];
    for mode in MODES {
        for arguments in nothing.clone() {
            let accepted = check_tool(Native::new("weigh", "").cast(mode), arguments.clone()).unwrap();
            assert_eq!(accepted.arguments, json!({}), "{mode:?}: {arguments:?}");
            assert!(accepted.cast.is_empty(), "{mode:?}: {arguments:?}");
            assert_eq!(faults(check(mode, arguments)), ["/count: u32, nothing"], "{mode:?}");
        }
    }
}

#[test]
fn what_is_no_object_is_refused() {
    for mode in MODES {
        for arguments in [json!([1]), json!(5), json!(true), json!("[1]"), json!([{"count": 1}])] {
            let told = faults(check(mode, arguments.clone()));
            assert!(told[0].starts_with(": an object, "), "{mode:?}: {arguments}: {told:?}");
        }
    }
}

#[test]
fn almost_json_is_repaired_past_strict_and_the_repairs_are_told() {
    let text = "Sure:\n{'count': 1, // about\n}";
    assert_eq!(check(Cast::Strict, text).unwrap_err().kind, ErrorKind::InvalidArguments);
    for mode in [Cast::Safe, Cast::Lax] {
        for arguments in [Arguments::from(text), json!(text).into()] {
            let accepted = check(mode, arguments).unwrap();
            assert_eq!(accepted.arguments["count"], json!(1));
            let repairs = [Repair::LeadingText, Repair::TrailingComma, Repair::Comment, Repair::SingleQuotes].to_vec();
            assert_eq!(accepted.cast.repairs, repairs, "{mode:?}");
        }
    }
    let shown = serde_json::to_value(check(Cast::Safe, text).unwrap().cast).unwrap();
    assert_eq!(shown, json!({"repairs": ["leading_text", "trailing_comma", "comment", "single_quotes"]}));
}

#[test]
fn arguments_past_their_limit_are_refused_before_anybody_reads_them() {
    let limits = Limits { arguments_bytes_max: 64, ..Limits::default() };
    let tool = || Native::new("weigh", "").parameter("note", Shape::String).above(Base { limits, ..Base::default() });
    let note = |bytes: usize| format!("{{\"note\":\"{}\"}}", "x".repeat(bytes - 11));
    for mode in MODES {
        let accepted = check_tool(tool().cast(mode), note(64)).unwrap();
        assert_eq!(accepted.arguments["note"].as_str().unwrap().len(), 53);
        let error = check_tool(tool().cast(mode), note(65)).unwrap_err();
        assert_eq!(
            error.message,
            "the arguments of `weigh` cannot be used: they are 65 bytes long; at most 64 are allowed; \
             limits.arguments = \"65 B\" would allow them"
        );
        assert!(check_tool(tool().cast(mode), json!({"note": "x".repeat(500)})).is_err());
        assert!(check_tool(tool().cast(mode), json!({"note": "x".repeat(50)})).is_ok());
    }
}
