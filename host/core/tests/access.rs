//! Who may use which tool, and what the others learn of it: nothing.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing, reason = "tests")]

use serde_json::json;
use toolpost_core::check::authorize::Access;
use toolpost_core::{Call, Caller, Catalog, ErrorKind, Host, Native};

fn host(rules: serde_json::Value) -> Host {
    let mut catalog = Catalog::default();
    for name in ["orders_create", "orders_list", "text_echo"] {
        catalog.add(Native::new(name, "").run(|_| async { Ok(json!(1)) })).unwrap();
    }
    Host::new(catalog).with_access(serde_json::from_value::<Access>(rules).unwrap())
}

fn in_group(group: &str) -> Caller {
    Caller { groups: vec![group.into()], ..Caller::named("somebody") }
}

fn seen(host: &Host, caller: &Caller) -> Vec<String> {
    host.tools_of(caller).iter().map(|tool| tool.name.clone()).collect()
}

const ALL: [&str; 3] = ["orders_create", "orders_list", "text_echo"];

#[test]
fn without_a_rule_everybody_may_use_every_tool() {
    assert_eq!(seen(&host(json!([])), &Caller::default()), ALL);
}

#[test]
fn with_a_rule_nobody_may_what_no_rule_allows() {
    let host = host(json!([{"tools": ["orders_*"], "callers": ["ann"]}]));
    assert_eq!(seen(&host, &Caller::named("ann")), ALL[..2]);
    assert_eq!(seen(&host, &Caller::named("bob")), ALL[..0]);
    assert_eq!(seen(&host, &Caller::default()), ALL[..0]);
}

#[test]
fn a_rule_that_denies_beats_every_other_wherever_it_stands() {
    let allow = json!({"tools": ["*"]});
    let deny = json!({"tools": ["orders_c?eate"], "callers": ["group:guests"], "deny": true});
    for rules in [json!([allow, deny]), json!([deny, allow])] {
        let host = host(rules);
        assert_eq!(seen(&host, &in_group("guests")), ALL[1..]);
        assert_eq!(seen(&host, &in_group("staff")), ALL);
    }
}

#[test]
fn a_caller_is_no_group_whatever_its_id_says() {
    let host = host(json!([{"callers": ["group:staff"]}]));
    assert_eq!(seen(&host, &in_group("staff")), ALL);
    assert_eq!(seen(&host, &Caller::named("group:staff")), ALL[..0]);
}

#[tokio::test]
async fn a_tool_that_a_caller_may_not_use_does_not_exist_for_that_caller() {
    let host = host(json!([{"tools": ["orders_list"]}, {"tools": ["orders_create"], "callers": ["ann"]}]));
    let host = &host;
    let ask = |name: &'static str| async move {
        let bob = host.call(Call::new(name, json!({})).by(Caller::named("bob"))).await;
        let error = bob.result.unwrap_err();
        (error.kind, error.message)
    };
    // The same words for one that exists and one that does not, and no hint at the first.
    let unknown = |name| (ErrorKind::UnknownTool, format!("no tool is named `{name}`"));
    assert_eq!(ask("orders_create").await, unknown("orders_create"));
    assert_eq!(ask("orders_creata").await, unknown("orders_creata"));
    assert!(host.call(Call::new("orders_create", json!({})).by(Caller::named("ann"))).await.result.is_ok());
}

#[test]
fn a_pattern_that_is_none_and_an_unknown_key_are_refused() {
    for rules in [json!([{"tools": ["a["]}]), json!([{"tool": ["a"]}])] {
        assert!(serde_json::from_value::<Access>(rules).is_err());
    }
}
