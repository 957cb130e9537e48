//! Where a name leads is judged once, and that is where the request goes: no name, spelling or answer of a resolver leads to
//! where the grant does not.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing, reason = "tests")]

mod common;

use std::sync::Arc;
use std::sync::atomic::Ordering::SeqCst;

use common::server::{self, Names, effects, fetching, get, granted, serve, status};
use serde_json::json;
use toolpost_core::catalog::settings::LimitSettings;
use toolpost_core::{ErrorKind, Host, Outcome};
use toolpost_wasm::Engine;

/// A host whose tool may reach `shop.test`, which leads there; with `private` also where only neighbours see.
fn host(engine: &Engine, private: bool) -> Host {
    let net = json!([{"to": "http://shop.test:80/**"}, {"to": "http://*.test/**", "private": private}]);
    let net = if private { json!([net[1]]) } else { net };
    granted(&server::load(engine, "fetch"), net, &LimitSettings::default())
}

fn is_refused(outcome: &Outcome, what: &str, help: &str) {
    let error = outcome.result.as_ref().unwrap_err();
    assert_eq!(error.kind, ErrorKind::CapabilityDenied, "{error}");
    let wanted =
        format!("`shop.test` leads to {what}, where the tool may not go; the operator can allow it with {help}");
    assert_eq!(error.message, format!("{wanted}; the tool ended with: DestinationIpProhibited"));
    assert_eq!(effects(outcome), ["net.get http://shop.test/ Refused"]);
}

const PRIVATE: &str = "`private = true` in the grant";
const NAMED: &str = "a grant that names the address itself";

#[tokio::test]
async fn a_name_that_leads_to_a_network_of_neighbours_is_refused_and_says_what_would_allow_it() {
    let addresses = [
        ("127.0.0.1", "a loopback address"),
        ("10.1.2.3", "a private address"),
        ("192.168.1.1", "a private address"),
        ("::1", "a loopback address"),
        ("fd12::1", "a private address"),
        ("::ffff:127.0.0.1", "a loopback address"),
        ("64:ff9b::10.0.0.1", "a private address"),
        ("2002:7f00:1::", "a loopback address"),
    ];
    let names = Arc::new(Names::default());
    let host = host(&server::engine(&names), false);
    for (address, what) in addresses {
        names.say(&[&[address]]);
        is_refused(&get(&host, "http://shop.test/").await, what, PRIVATE);
    }
}

#[tokio::test]
async fn a_name_never_leads_to_the_metadata_of_a_cloud() {
    let addresses =
        ["169.254.169.254", "::ffff:169.254.169.254", "64:ff9b::a9fe:a9fe", "fd00:ec2::254", "168.63.129.16"];
    let names = Arc::new(Names::default());
    let engine = server::engine(&names);
    for host in [false, true].map(|private| host(&engine, private)) {
        for address in addresses {
            names.say(&[&[address]]);
            is_refused(&get(&host, "http://shop.test/").await, "the metadata service of a cloud", NAMED);
        }
    }
}

#[tokio::test]
async fn a_resolver_that_changes_its_answer_is_asked_once_for_a_connection() {
    let server = serve(server::ok).await;
    let names = Names::new(&[&["127.0.0.1"], &["169.254.169.254"]]);
    let engine = server::engine(&names);
    let to = format!("http://shop.test:{}/", server.address.port());
    let net = json!([{"to": to, "private": true}]);
    let host = granted(&server::load(&engine, "fetch"), net, &LimitSettings::default());
    // The name is judged and connected to by one answer; the second one would lead elsewhere.
    assert_eq!(status(&get(&host, &to).await), Ok(200));
    assert_eq!(names.asked.load(SeqCst), 1);
    assert_eq!(server.seen()[0].authority, to.strip_prefix("http://").unwrap().trim_end_matches('/'));
    // The connection is still there, and leads to where it led.
    assert_eq!(status(&get(&host, &to).await), Ok(200));
    assert_eq!((names.asked.load(SeqCst), server.connections()), (1, 1));
}

#[tokio::test]
async fn of_several_addresses_only_those_that_are_allowed_are_tried() {
    let server = serve(server::ok).await;
    let names = Names::new(&[&["169.254.169.254", "224.0.0.1", "0.0.0.0", "127.0.0.1"]]);
    let engine = server::engine(&names);
    let to = format!("http://shop.test:{}/", server.address.port());
    let net = json!([{"to": to, "private": true}]);
    let host = granted(&server::load(&engine, "fetch"), net, &LimitSettings::default());
    assert_eq!(status(&get(&host, &to).await), Ok(200));
}

#[tokio::test]
async fn a_connection_that_another_grant_has_made_is_not_found_by_one_that_could_not_make_it() {
    let server = serve(server::ok).await;
    let engine = server::engine(&Names::new(&[&["127.0.0.1"]]));
    let to = format!("http://shop.test:{}/", server.address.port());
    let guest = server::load(&engine, "fetch");
    let host = |private: bool| granted(&guest, json!([{"to": to, "private": private}]), &LimitSettings::default());
    assert_eq!(status(&get(&host(true), &to).await), Ok(200));
    let outcome = get(&host(false), &to).await;
    assert_eq!(common::kind(&outcome), Some(ErrorKind::CapabilityDenied));
    assert_eq!(server.seen().len(), 1);
}

#[tokio::test]
async fn an_address_is_reached_by_a_grant_that_names_it_and_by_no_pattern() {
    let server = serve(server::ok).await;
    assert_eq!(status(&get(&fetching(server.grant()), &server.url("/")).await), Ok(200));
    // A name that the system knows, and that leads to the same place.
    let to = format!("http://localhost:{}/", server.address.port());
    let outcome = get(&fetching(json!([{"to": to}])), &to).await;
    assert_eq!(common::kind(&outcome), Some(ErrorKind::CapabilityDenied), "{:?}", outcome.result);
    assert_eq!(status(&get(&fetching(json!([{"to": to, "private": true}])), &to).await), Ok(200));
    assert_eq!(server.seen().len(), 2);
}

#[tokio::test]
async fn a_name_that_nobody_knows_is_no_request() {
    let names = Arc::new(Names::default());
    let engine = server::engine(&names);
    let outcome = get(&host(&engine, false), "http://shop.test/").await;
    assert!(status(&outcome).unwrap_err().starts_with("DnsError"), "{:?}", outcome.result);
    assert_eq!(effects(&outcome), ["net.get http://shop.test/ Failed"]);
}

#[tokio::test]
async fn nothing_is_looked_up_for_a_request_that_is_not_granted() {
    let names = Names::new(&[&["127.0.0.1"]]);
    let engine = server::engine(&names);
    let host = host(&engine, false);
    for url in ["https://shop.test/", "http://shop.test:81/", "http://shop.test.evil.org/", "ftp://shop.test/"] {
        assert!(get(&host, url).await.result.is_err(), "{url}");
    }
    assert_eq!(names.asked.load(SeqCst), 0);
}
