//! Grants of connections over TCP as they are written, and what their changes mean.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing, reason = "tests")]

use serde_json::{Value, json};
use toolpost_core::EffectClass;
use toolpost_core::catalog::grants::{Endpoint, GrantSettings, Grants, Way, host_name};

fn grants(net: Value) -> Result<Grants, String> {
    let settings: Result<GrantSettings, _> = serde_json::from_value(json!({ "net": net }));
    settings.map(|settings| Grants::default().with(&settings)).map_err(|error| error.to_string())
}

fn fault(net: Value) -> String {
    grants(net).unwrap_err()
}

#[test]
fn a_grant_is_read_whole_or_not_at_all_beside_those_of_http() {
    let said = grants(json!([{"tcp": "db.internal:5432"}, {"to": "https://a.org/**"}])).unwrap();
    let (shown, lines) = (json!(said), said.lines());
    let tcp = json!({
        "tcp": "db.internal:5432", "private": false, "max_connections": 10, "max_bytes": 67_108_864, "timeout": "10s",
    });
    assert_eq!(shown["net"][1], tcp);
    assert_eq!(lines, ["net GET, HEAD https://a.org/**", "net tcp://db.internal:5432"]);
    // What is written down can be read again.
    assert_eq!(grants(shown["net"].clone()).unwrap(), said);
    let private = grants(json!([{"tcp": "db.internal:5432", "private": true}])).unwrap();
    assert_eq!(private.lines(), ["net tcp://db.internal:5432 (private networks too)"]);
    for (entry, part) in [
        (json!({}), "missing field `to`"),
        (json!({"max_bytes": 1}), "missing field `tcp`"),
        (json!({"tcp": "a.org:1", "to": "https://a.org/**"}), "either `to`, for HTTP, or `tcp`; write two grants"),
        (
            json!({"tcp": "a.org:1", "methods": ["GET"]}),
            "`methods` belongs to a grant with `to`, and this is one with `tcp`",
        ),
        (json!({"to": "https://a.org/**", "max_bytes": 1}), "`max_bytes` belongs to a grant with `tcp`"),
        (json!({"tcp": "a.org:1", "max_byte": 1}), "unknown field `max_byte`"),
        (json!({"tcp": "a.org:1", "max_connections": 0}), "expected a whole number from 1 to 1000"),
        (json!({"tcp": "a.org:1", "max_bytes": "2 TiB"}), "expected from 0 B to 1 TiB, got 2 TiB"),
        (json!({"tcp": "a.org:1", "timeout": "0s"}), "no span of time above zero"),
    ] {
        let fault = fault(json!([entry]));
        assert!(fault.contains(part), "{fault}");
    }
    assert_eq!(fault(json!([{"tcp": "a.org:1"}, {"tcp": "A.org.:1"}])), "`a.org:1` is granted twice: once is enough");
}

#[test]
fn a_place_is_one_host_and_one_port_in_its_normal_form() {
    for (text, shown) in [
        ("DB.Internal.:5432", "db.internal:5432"),
        ("bücher.example:1", "xn--bcher-kva.example:1"),
        ("10.0.0.5:5432", "10.0.0.5:5432"),
        ("0x7f.1:80", "127.0.0.1:80"),
        ("[0:0:0:0:0:0:0:1]:65535", "[::1]:65535"),
    ] {
        assert_eq!(Endpoint::parse(text).unwrap().to_string(), shown);
    }
    for (text, why) in [
        ("db.internal", "names no port"),
        ("db.internal:", "names no port from 1 to 65535"),
        ("db.internal:0", "names no port from 1 to 65535"),
        ("db.internal:65536", "names no port from 1 to 65535"),
        ("db.internal:+1", "names no port from 1 to 65535"),
        ("db.internal:*", "names no port from 1 to 65535"),
        ("*.internal:1", "has no host that can be granted"),
        ("a%2eb:1", "has no host that can be granted"),
        ("tcp://a.org:1", "has no host that can be granted"),
        ("me@a.org:1", "has no host that can be granted"),
        (":1", "has no host that can be granted"),
        (".:1", "has no host that can be granted"),
        ("a b:1", "has no host that can be granted"),
        ("::1:5432", "an IPv6 address stands in brackets"),
    ] {
        let fault = Endpoint::parse(text).unwrap_err();
        assert!(fault.starts_with(&format!("`{text}` ")) && fault.contains(why), "{text}: {fault}");
    }
    assert_eq!(host_name(&"a".repeat(256)), None);
}

#[test]
fn a_tool_that_may_connect_reaches_out_whatever_else_it_may() {
    assert_eq!(Grants::default().tcp_effect(), None);
    let said = grants(json!([{"tcp": "a.org:1"}])).unwrap();
    assert_eq!((said.tcp_effect(), said.net_effect()), (Some(EffectClass::Open), None));
}

#[test]
fn a_change_is_told_with_its_keys_and_is_wider_where_more_may_be_done() {
    let check = |was: Value, is: Value, way: Way, words: &str| {
        let [was, is] = [was, is].map(|net| grants(net).unwrap().recorded());
        let told = is.changes_since(&was);
        assert_eq!(told.iter().map(|it| (it.way, &*it.words)).collect::<Vec<_>>(), [(way, words)]);
    };
    let db = |more: Value| {
        let mut grant = json!({"tcp": "db.internal:5432"});
        grant.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        json!([grant])
    };
    check(json!([]), db(json!({})), Way::Wider, "new: net tcp://db.internal:5432");
    check(db(json!({})), json!([]), Way::Narrower, "gone: net tcp://db.internal:5432");
    let private = "net tcp://db.internal:5432 (private networks too): private true, was false";
    check(db(json!({})), db(json!({"private": true})), Way::Wider, private);
    for (key, more, words) in [
        ("max_connections", json!(11), "max_connections 11, was 10"),
        ("max_bytes", json!("65 MiB"), "max_bytes 65.0 MiB, was 64.0 MiB"),
        ("timeout", json!("11s"), "timeout 11s, was 10s"),
    ] {
        check(db(json!({})), db(json!({ key: more })), Way::Wider, &format!("net tcp://db.internal:5432: {words}"));
        let back = words.split_once(", was ").map(|(is, was)| (is.split_once(' ').unwrap().1, was)).unwrap();
        let words = format!("net tcp://db.internal:5432: {key} {}, was {}", back.1, back.0);
        check(db(json!({ key: more })), db(json!({})), Way::Narrower, &words);
    }
    // The order says nothing.
    let [one, other] = ["a.org:1", "b.org:1"].map(|place| json!({ "tcp": place }));
    let [was, is] = [json!([one, other]), json!([other, one])].map(|net| grants(net).unwrap().recorded());
    assert_eq!(is.changes_since(&was), []);
}
