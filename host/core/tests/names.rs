//! How tools are named, and how they are found by their names.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing, reason = "tests")]

use std::collections::{BTreeMap, HashSet};

use proptest::prelude::*;
use serde_json::{Value, json};
use tokio::time::Instant;
use toolpost_core::catalog::shape::{Field, Shape};
use toolpost_core::catalog::{Catalog, NAME_CHARACTERS_MAX, NameError, Origin, tool_name};
use toolpost_core::{ErrorKind, Native, Stage, Tool};

fn named(name: &str) -> Tool {
    Native::new(name, "").run(|_| async { Ok(Value::Null) })
}

fn of_component(name: &str, component: &str, function: &str) -> Tool {
    let origin =
        Origin::Component { component: component.into(), digest: "sha256:0".into(), function: function.into() };
    Tool { origin, ..named(name) }
}

fn catalog(names: &[&str]) -> Catalog {
    let mut catalog = Catalog::default();
    names.iter().for_each(|name| catalog.add(named(name)).unwrap());
    catalog
}

/// What is said about a name that no tool has.
fn check(names: &[&str], asked: &str, told: &str) {
    let error = catalog(names).find(asked).unwrap_err();
    assert_eq!((error.kind, error.stage), (ErrorKind::UnknownTool, Stage::Find));
    assert_eq!(error.message, told);
}

#[test]
fn a_name_is_component_and_function_in_snake_case() {
    for (component, function, name) in [
        ("text", "word-count", "text_word_count"),
        ("http-get", "fetch", "http_get_fetch"),
        ("Files", "read-URL", "files_read_url"),
        ("my:pkg/api@1.0", "run", "my_pkg_api_1_0_run"),
        ("tö", "x y", "t__x_y"),
    ] {
        assert_eq!(tool_name(component, function), name);
    }
    let (component, function) = ("a".repeat(20), "b".repeat(19));
    assert_eq!(tool_name(&component, &function), format!("{component}_{function}"), "40 characters are not cut");
}

#[test]
fn a_name_that_is_too_long_is_cut_and_ends_with_a_hash_of_the_whole() {
    let name = tool_name("image-tools", "convert-between-colour-spaces-with-profile");
    let (head, hash) = name.rsplit_once('_').unwrap();
    assert_eq!(head, "image_tools_convert_between_col");
    assert!(hash.len() == 8 && hash.bytes().all(|b| b.is_ascii_hexdigit()), "{name}");
    assert_eq!(name, tool_name("image-tools", "convert-between-colour-spaces-with-profile"), "the same each time");
}

#[test]
fn different_long_names_stay_different() {
    let stem = "a-function-whose-name-is-far-longer-than-forty-characters";
    let names: HashSet<_> = (0..10_000).map(|n| tool_name("component", &format!("{stem}-{n}"))).collect();
    assert_eq!(names.len(), 10_000);
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 1_000, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn a_name_is_short_and_plain_whatever_it_is_made_of(component in ".{0,50}", function in ".{0,50}") {
        let name = tool_name(&component, &function);
        prop_assert!(name.len() <= NAME_CHARACTERS_MAX, "{name}");
        prop_assert!(name.bytes().all(|b| matches!(b, b'a'..=b'z' | b'0'..=b'9' | b'_')), "{name}");
    }
}

#[test]
fn a_collision_names_both_and_changes_nothing() {
    let mut catalog = Catalog::default();
    catalog.add(of_component("text_count", "text", "count")).unwrap();
    let collision = catalog.add(of_component("text_count", "text-count", "api#run")).unwrap_err();
    assert_eq!(
        collision.to_string(),
        "two tools would be named `text_count`: `count` of component `text` and `api#run` of component `text-count`; \
         give one of them another name in the settings"
    );
    let between = ["`count` of component `text`".to_owned(), "`api#run` of component `text-count`".to_owned()];
    assert_eq!(collision, NameError::Taken { name: "text_count".into(), between });

    assert_eq!(catalog.tools().count(), 1);
    let kept = catalog.find("text_count").unwrap();
    assert_eq!(kept.origin.describe(), "`count` of component `text`");
    catalog.add(named("another")).unwrap();
    assert_eq!(catalog.tools().map(|tool| tool.name.as_str()).collect::<Vec<_>>(), ["another", "text_count"]);
}

#[test]
fn a_tool_is_not_added_under_a_name_that_is_none_for_a_tool() {
    for name in ["a", "a1_", "text_word_count", &"a".repeat(40)] {
        assert_eq!(Catalog::default().add(named(name)), Ok(()), "{name}");
    }
    let long = "a".repeat(41);
    for name in ["", "_a", "1a", "A", "aB", "a-b", "a b", "ä", "日本", "a\n", &long] {
        let mut catalog = Catalog::default();
        let (tool, function) = (of_component(name, "c", "api#run"), "`api#run` of component `c`".to_owned());
        assert_eq!(catalog.add(tool), Err(NameError::Malformed { name: name.into(), function }), "{name}");
        assert_eq!(catalog.tools().count(), 0, "{name}");
    }
    // Made of a component's name without a letter.
    assert!(Catalog::default().add(named(&tool_name("日本", "run"))).is_err());
}

#[test]
fn the_error_of_a_name_says_what_a_name_is() {
    let error = Catalog::default().add(named("Bad Name!\n")).unwrap_err();
    assert_eq!(
        error.to_string(),
        "a native function cannot be named `Bad Name!\\n`: a name has 1 to 40 characters of a-z, 0-9 and _, and begins \
         with a letter; give it another one in the settings"
    );
}

#[test]
fn an_unknown_name_is_answered_with_the_one_that_was_meant() {
    let names = ["text_word_count", "text_reverse", "fetch"];
    check(&names, "text_wrod_count", "no tool is named `text_wrod_count`; did you mean `text_word_count`?");
    check(&names, "text-word-count", "no tool is named `text-word-count`; did you mean `text_word_count`?");
    check(&names, "TextReverse", "no tool is named `TextReverse`; did you mean `text_reverse`?");
    check(&names, "ftech", "no tool is named `ftech`; did you mean `fetch`?");
    check(&names, "weather", "no tool is named `weather`");
    check(&["a"], "b", "no tool is named `b`");
    check(&[], "fetch", "no tool is named `fetch`; there are no tools");
}

#[test]
fn a_strange_name_is_shown_short_and_with_visible_escapes() {
    check(&["fetch"], "fe\u{202e}tch\n", "no tool is named `fe\\u{202e}tch\\n`; did you mean `fetch`?");
    let told = format!("no tool is named `{}`", "x".repeat(80));
    check(&["fetch"], &"x".repeat(10_000), &told);
}

#[test]
fn a_name_of_a_mebibyte_is_answered_quickly() {
    let names: Vec<String> = (0..200).map(|n| format!("a_tool_of_a_common_length_{n}")).collect();
    let catalog = catalog(&names.iter().map(String::as_str).collect::<Vec<_>>());
    let started = Instant::now();
    assert!(catalog.find(&"a".repeat(1 << 20)).is_err());
    assert!(started.elapsed().as_secs() < 5, "{:?}", started.elapsed());
}

#[test]
fn all_faults_of_defaults_are_named_at_once() {
    let mut tool = Native::new("weigh", "").parameter("weight", Shape::F64).run(|_| async { Ok(json!(1)) });
    let defaults = [("colour", json!(5)), ("weight", json!("5"))].map(|(name, value)| (name.to_owned(), value));
    let faults = tool.set_defaults(&defaults.into()).unwrap_err();
    assert_eq!(
        faults,
        "it has no parameter `colour`; the default of `weight` does not fit: expected a number that a 64-bit float can \
         hold, got \"5\""
    );
}

#[test]
fn a_default_is_checked_and_made_canonical_when_it_is_set() {
    let set = |name: &str, value: Value| {
        let mut tool =
            Native::new("weigh", "").field(Field::new("max-weight", Shape::F64)).run(|_| async { Ok(json!(1)) });
        tool.set_defaults(&BTreeMap::from([(name.to_owned(), value)])).map(|()| tool.parameters[0].default.clone())
    };
    assert_eq!(set("max_weight", json!(5)), Ok(Some(json!(5.0))));
    assert_eq!(set("max-weight", json!(0.5)), Ok(Some(json!(0.5))));
    assert_eq!(set("max_wieght", json!(5)), Err("it has no parameter `max_wieght`; did you mean `max_weight`?".into()));
    assert_eq!(set("colour", json!(5)), Err("it has no parameter `colour`".into()));
    let refused = "the default of `max_weight` does not fit: expected a number that a 64-bit float can hold, got \"5\"";
    assert_eq!(set("max_weight", json!("5")), Err(refused.into()));
}
