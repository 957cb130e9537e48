//! A small component can describe something huge. It is refused, or cut, before it costs the host much.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing, reason = "tests")]

mod common;

use std::fmt::Write as _;
use std::sync::Arc;

use common::{assert_serves, blocking, call, component, engine, host_of, load, prebuilt, resident_kib};
use serde_json::json;
use toolpost_core::catalog::settings::LimitSettings;

const CALL: &str = r#"
  (core module $m (memory (export "m") 1) (func (export "f") (param i32) (result i32) local.get 0))
  (core instance $i (instantiate $m))"#;

fn identity(beside: &str) -> String {
    format!(
        r#"(component {beside} {CALL}
  (func (export "f") (param "a" u32) (result u32) (canon lift (core func $i "f"))))"#
    )
}

/// Each level makes two instances of the one inside of it.
fn doubling(levels: usize) -> String {
    let mut inner = "(component $c (core module $n) (core instance (instantiate $n)))".to_owned();
    for _ in 0..levels {
        inner = format!("(component $c {inner} (instance (instantiate $c)) (instance (instantiate $c)))");
    }
    identity(&format!("{inner} (instance (instantiate $c))"))
}

#[test]
fn instances_are_counted_as_often_as_they_are_made() {
    assert!(load(engine(), &doubling(5)).is_ok());
    let before = resident_kib();
    let error = load(engine(), &doubling(40)).unwrap_err();
    assert_eq!(error.message, "it makes more than 5000 instances of its parts");
    assert!(resident_kib() < before + (64 << 10));
}

#[test]
fn a_component_with_more_memories_or_tables_than_one_may_have_is_refused_at_load() {
    for many in ["(core module $x (memory 1))", "(core module $x (table 1 funcref) (table 1 funcref))"] {
        let instances = "(core instance (instantiate $x))".repeat(8);
        let error = load(engine(), &identity(&format!("{many} {instances}"))).unwrap_err();
        assert!(error.message.starts_with("it is too large for this host: "), "{error}");
    }
    // As many as it may have leave the others alone.
    let guest = component(&identity("(core module $x (memory 1)) (core instance (instantiate $x))"));
    let host = Arc::new(host_of([&guest, &prebuilt("text")], &LimitSettings::default()));
    blocking(async {
        assert_eq!(call(&host, "guest_f", json!({"a": 7})).await.result.unwrap().value, json!(7));
        assert_serves(&host).await;
    });
}

/// An enum with long labels, taken by very many functions.
fn shared_type(functions: usize) -> String {
    let labels: Vec<String> = (0..2_000).map(|at| format!("\"{}-{at}\"", "l".repeat(150))).collect();
    let mut exports = String::new();
    for at in 0..functions {
        write!(exports, r#"(func (export "f{at}") (param "a" $e) (result u32) (canon lift (core func $i "f")))"#)
            .unwrap();
    }
    format!(
        r#"(component {CALL}
  (type $e' (enum {})) (export $e "e" (type $e'))
  {exports})"#,
        labels.join(" ")
    )
}

#[test]
fn a_type_that_many_functions_share_is_counted_for_each() {
    let before = resident_kib();
    let guest = component_with_refusals(&shared_type(500));
    assert!(!guest.functions.is_empty() && !guest.refused.is_empty());
    assert!(
        guest.refused[0].reason.contains("as large as those of one component may be"),
        "{}",
        guest.refused[0].reason
    );
    assert!(resident_kib() < before + (400 << 10));
}

fn component_with_refusals(wat: &str) -> toolpost_wasm::Component {
    load(engine(), wat).unwrap()
}

fn documented(wit: &str) -> toolpost_wasm::Component {
    engine().load("guest", &wat::parse_str(identity("")).unwrap(), Some(wit)).unwrap()
}

#[test]
fn a_long_chain_of_names_for_a_type_is_followed_or_named_as_too_long() {
    let mut wit = "package a:b;\nworld w {\n type a0 = u32;\n".to_owned();
    for at in 0..9_000 {
        writeln!(wit, " type a{} = a{at};", at + 1).unwrap();
    }
    wit += " /// Gives back.\n export f: func(a: a9000) -> u32;\n}\n";
    let guest = documented(&wit);
    assert_eq!(guest.functions[0].docs.as_deref(), Some("Gives back."), "{:?}", guest.warnings);
}

#[test]
fn a_parameter_has_the_words_in_front_of_it_and_no_others() {
    let wit = "package a:b;\nworld w {\n // A heading.\n /// Says what F does.\n export f: func(a: u32) -> u32;\n}\n";
    let guest = documented(wit);
    assert_eq!(guest.functions[0].docs.as_deref(), Some("Says what F does."));
    assert_eq!(guest.functions[0].parameters[0].docs, None);
    let wit = "package a:b;\nworld w {\n export f: func(\n  /// What to give back.\n  /// All of it.\n  a: u32\n ) -> u32;\n}\n";
    let guest = documented(wit);
    assert_eq!(guest.functions[0].parameters[0].docs.as_deref(), Some("What to give back.\nAll of it."));
    assert_eq!(guest.functions[0].docs, None);
}
