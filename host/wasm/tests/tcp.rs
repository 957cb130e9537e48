//! Connections over TCP: what is granted is connected to and written down, what is not is refused and says what would allow it.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing, reason = "tests")]

mod common;

use std::sync::Arc;
use std::sync::atomic::Ordering::SeqCst;

use common::line::{answer, by_address, by_name, exchange, shouting, talking};
use common::server::{self, Names, effects};
use common::{call, kind};
use serde_json::{Value, json};
use toolpost_core::catalog::grants::Grants;
use toolpost_core::catalog::settings::LimitSettings;
use toolpost_core::{EffectClass, ErrorKind, Host, Outcome};
use toolpost_wasm::sql::Databases;

/// The call was denied with these words, and this was written down.
fn check_denied(outcome: &Outcome, words: &str, effect: &str) {
    let error = outcome.result.as_ref().unwrap_err();
    assert_eq!(error.kind, ErrorKind::CapabilityDenied, "{error}");
    assert!(error.message.starts_with(words), "{}", error.message);
    assert_eq!(effects(outcome), [effect]);
}

#[tokio::test]
async fn a_plain_std_net_guest_talks_to_a_granted_name_and_its_report_has_the_lookup_and_the_connection() {
    let (server, names) = (shouting().await, Names::new(&[&["127.0.0.1"]]));
    let host = talking(by_name(&server, json!({"private": true})), &names);
    let port = server.address.port();
    let outcome = exchange(&host, "db.test", port, "hello").await;
    assert_eq!(answer(&outcome), Ok(json!("HELLO")));
    let connect = format!("net.connect tcp://db.test:{port} Done");
    assert_eq!(effects(&outcome), ["net.lookup db.test Done", &connect]);
    let classes: Vec<_> = outcome.report.effects.iter().map(|record| record.effect.class).collect();
    assert_eq!(classes, [EffectClass::Reads, EffectClass::Open]);
    // However the name is spelt, and as often as is wanted over one connection.
    let texts: Vec<String> = (0..50).map(|number| format!("line {number}")).collect();
    let many = call(&host, "line_converse", json!({"host": "DB.Test.", "port": port, "texts": texts})).await;
    assert_eq!(answer(&many).unwrap()[49], "LINE 49");
    assert_eq!((server.connections(), names.asked.load(SeqCst)), (2, 2));
}

#[tokio::test]
async fn an_address_that_a_grant_names_is_connected_to_without_a_lookup() {
    let (server, names) = (shouting().await, Arc::new(Names::default()));
    let host = talking(by_address(&server, json!({})), &names);
    for spelt in ["127.0.0.1", "127.1", "0x7f.0.0.1", "2130706433", "0177.0.0.1"] {
        let outcome = exchange(&host, spelt, server.address.port(), "hello").await;
        assert_eq!(answer(&outcome), Ok(json!("HELLO")), "{spelt}");
        assert_eq!(effects(&outcome), [format!("net.connect tcp://{} Done", server.address)]);
    }
    assert_eq!(names.asked.load(SeqCst), 0);
}

#[tokio::test]
async fn without_a_grant_nothing_is_connected_to_and_the_caller_is_told_the_line_that_would_allow_it() {
    let (server, names) = (shouting().await, Arc::new(Names::default()));
    let (at, port) = (server.address, server.address.port());
    let nothing = talking(json!([]), &names);
    let words = format!(
        "the tool may not connect to `tcp://{at}`; the operator can allow it with `grants.net = [{{ tcp = \"{at}\" }}]` in \
         `[components.line]`; the tool ended with: permission denied"
    );
    let effect = format!("net.connect tcp://{at} Refused");
    check_denied(&exchange(&nothing, "127.0.0.1", port, "hello").await, &words, &effect);
    let other = talking(json!([{"tcp": "127.0.0.1:1"}, {"tcp": "db.test:1"}]), &names);
    let words = format!(
        "the tool may not connect to `tcp://{at}`; the operator can allow it with `{{ tcp = \"{at}\" }}` in `grants.net` of \
         component `line`"
    );
    check_denied(&exchange(&other, "127.0.0.1", port, "hello").await, &words, &effect);
    assert_eq!(server.connections(), 0);
    // What is proposed does allow it.
    let host = talking(json!([{"tcp": at.to_string()}]), &names);
    assert_eq!(answer(&exchange(&host, "127.0.0.1", port, "hello").await), Ok(json!("HELLO")));
}

#[tokio::test]
async fn a_name_that_is_not_granted_is_not_looked_up() {
    let (server, names) = (shouting().await, Names::new(&[&["127.0.0.1"]]));
    let host = talking(by_name(&server, json!({"private": true})), &names);
    for name in ["evil.test", "test", "a.db.test", "db.test.evil.org", "localhost"] {
        let words = format!(
            "the tool may not look up `{name}`; the operator can allow it with `{{ tcp = \"{name}:PORT\" }}` in `grants.net` of \
             component `line`, with the port for PORT"
        );
        check_denied(&exchange(&host, name, 1, "x").await, &words, &format!("net.lookup {name} Refused"));
    }
    // What is no name is neither looked up nor proposed to anybody.
    for text in ["", "a b", "a\",private=true,x=\"b", "a%2eb", "..", &"a.".repeat(200)] {
        let outcome = exchange(&host, text, 1, "x").await;
        assert!(outcome.result.is_err(), "{text}");
        assert!(effects(&outcome).is_empty(), "{text}: {:?}", effects(&outcome));
    }
    assert_eq!((names.asked.load(SeqCst), server.connections()), (0, 0));
}

#[tokio::test]
async fn another_port_of_a_granted_name_is_refused_by_its_name() {
    let (server, other) = (shouting().await, shouting().await);
    let host = talking(by_name(&server, json!({"private": true})), &Names::new(&[&["127.0.0.1"]]));
    let port = other.address.port();
    let outcome = exchange(&host, "db.test", port, "hello").await;
    let error = outcome.result.as_ref().unwrap_err();
    let words = format!(
        "the tool may not connect to `tcp://db.test:{port}`; the operator can allow it with `{{ tcp = \"db.test:{port}\" }}`"
    );
    assert!(error.message.starts_with(&words), "{error}");
    assert_eq!(effects(&outcome), ["net.lookup db.test Done", &format!("net.connect tcp://db.test:{port} Refused")]);
    assert_eq!(other.connections(), 0);
}

#[tokio::test]
async fn where_a_name_leads_to_is_judged_as_for_requests_over_http() {
    let server = shouting().await;
    let names = Arc::new(Names::default());
    let (public, private) =
        (talking(by_name(&server, json!({})), &names), talking(by_name(&server, json!({"private": true})), &names));
    let refused = async |host: &Host, address: &str, what: &str, help: &str| {
        names.say(&[&[address]]);
        let outcome = exchange(host, "db.test", server.address.port(), "x").await;
        let words = format!("`db.test` leads to {what}, where the tool may not go; {help}; the tool ended with: ");
        check_denied(&outcome, &words, "net.lookup db.test Refused");
    };
    let by_private = "the operator can allow it with `private = true` in the grant";
    let by_address = "the operator can allow it with a grant that names the address itself";
    for address in ["127.0.0.1", "::1", "::ffff:127.0.0.1", "64:ff9b::7f00:1"] {
        refused(&public, address, "a loopback address", by_private).await;
    }
    for address in ["10.0.0.1", "192.168.1.1", "fd00::1", "::ffff:10.0.0.1"] {
        refused(&public, address, "a private address", by_private).await;
    }
    for host in [&public, &private] {
        for address in ["169.254.169.254", "::ffff:169.254.169.254", "fd00:ec2::254"] {
            refused(host, address, "the metadata service of a cloud", by_address).await;
        }
        refused(host, "224.0.0.1", "a multicast address", by_address).await;
        refused(host, "0.0.0.0", "a reserved address", by_address).await;
        refused(host, "fe80::1", "a link-local address", by_address).await;
    }
    assert_eq!(server.connections(), 0);
    // Of several, those that are allowed; a mapped one in its plain form.
    names.say(&[&["169.254.169.254", "::ffff:127.0.0.1", "0.0.0.0"]]);
    let found = call(&private, "line_lookup", json!({"host": "db.test"})).await;
    assert_eq!(answer(&found), Ok(json!(["127.0.0.1"])));
    let outcome = exchange(&private, "db.test", server.address.port(), "hello").await;
    assert_eq!(answer(&outcome), Ok(json!("HELLO")));
}

#[tokio::test]
async fn an_address_that_no_name_has_led_to_is_refused_also_where_the_name_is_granted() {
    let server = shouting().await;
    let host = talking(by_name(&server, json!({"private": true})), &Names::new(&[&["127.0.0.1"]]));
    let effect = format!("net.connect tcp://{} Refused", server.address);
    check_denied(&exchange(&host, "127.0.0.1", server.address.port(), "x").await, "the tool may not connect", &effect);
    // What one attempt has found is of no use to the next one.
    call(&host, "line_lookup", json!({"host": "db.test"})).await;
    check_denied(&exchange(&host, "127.0.0.1", server.address.port(), "x").await, "the tool may not connect", &effect);
    for (spelt, shown) in [
        ("169.254.169.254", "169.254.169.254"),
        ("0xa9fea9fe", "169.254.169.254"),
        ("::ffff:127.0.0.1", "[::ffff:7f00:1]"),
        ("::1", "[::1]"),
        ("0.0.0.0", "0.0.0.0"),
    ] {
        let outcome = exchange(&host, spelt, server.address.port(), "x").await;
        let effect = format!("net.connect tcp://{shown}:{} Refused", server.address.port());
        check_denied(&outcome, &format!("the tool may not connect to `tcp://{shown}:"), &effect);
    }
    assert_eq!(server.connections(), 0);
}

#[tokio::test]
async fn what_a_name_leads_to_after_it_was_judged_is_of_no_account() {
    let (server, names) = (shouting().await, Names::new(&[&["127.0.0.1"], &["169.254.169.254"]]));
    let host = talking(by_name(&server, json!({"private": true})), &names);
    let outcome = exchange(&host, "db.test", server.address.port(), "hello").await;
    assert_eq!(answer(&outcome), Ok(json!("HELLO")));
    assert_eq!(names.asked.load(SeqCst), 1, "it is connected to the address, and not to the name");
    let outcome = exchange(&host, "db.test", server.address.port(), "hello").await;
    assert_eq!(kind(&outcome), Some(ErrorKind::CapabilityDenied));
    assert_eq!(server.connections(), 1);
}

#[tokio::test]
async fn a_name_that_nobody_knows_is_told_to_the_tool_and_leaves_a_line_in_its_log() {
    let server = shouting().await;
    let host = talking(by_name(&server, json!({})), &Arc::new(Names::default()));
    let outcome = exchange(&host, "db.test", server.address.port(), "x").await;
    assert_eq!(kind(&outcome), Some(ErrorKind::ToolFailed { retryable: false }), "{:?}", outcome.result);
    assert_eq!(effects(&outcome), ["net.lookup db.test Failed"]);
    let log = &outcome.report.attempts[0].log.text;
    assert_eq!(log, "warn: net.lookup db.test: the lookup failed: nobody knows\n");
}

#[tokio::test]
async fn no_tool_waits_for_connections_and_none_has_udp() {
    let udp = std::net::UdpSocket::bind("127.0.0.1:0").unwrap();
    udp.set_nonblocking(true).unwrap();
    let port = udp.local_addr().unwrap().port();
    let net = json!([{"tcp": format!("127.0.0.1:{port}")}, {"tcp": "0.0.0.0:1"}]);
    let host = talking(net, &Arc::new(Names::default()));
    let outcome = call(&host, "line_listen", json!({"port": port})).await;
    let words = "the tool may not wait for connections: no setting allows that to a tool; let it connect over TCP instead; the tool ended \
                 with: permission denied";
    check_denied(&outcome, words, &format!("net.listen tcp://127.0.0.1:{port} Refused"));
    let outcome = call(&host, "line_datagram", json!({"host": "127.0.0.1", "port": port, "text": "x"})).await;
    let words = "the tool may not use UDP: no setting allows that to a tool; let it connect over TCP instead; the tool ended with: \
                 permission denied";
    check_denied(&outcome, words, "net.datagram udp Refused");
    assert_eq!(udp.recv(&mut [0]).unwrap_err().kind(), std::io::ErrorKind::WouldBlock, "nothing came");
}

#[tokio::test]
async fn a_connection_that_is_refused_by_the_other_side_has_failed() {
    // A port that was free a moment ago.
    let port = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
    let host = talking(json!([{"tcp": format!("127.0.0.1:{port}")}]), &Arc::new(Names::default()));
    let outcome = exchange(&host, "127.0.0.1", port, "x").await;
    assert_eq!(answer(&outcome), Err("connection refused".into()));
    assert_eq!(effects(&outcome), [format!("net.connect tcp://127.0.0.1:{port} Failed")]);
}

#[tokio::test]
async fn what_a_tool_can_do_follows_from_its_imports_and_its_grants() {
    let names = Arc::new(Names::default());
    let line = server::load(&server::engine(&names), "line");
    let grants = |net: Value| server::grants(net);
    assert_eq!(line.effect(&Grants::default()), EffectClass::Pure);
    let tcp = grants(json!([{"tcp": "db.test:1"}]));
    assert_eq!(line.effect(&tcp), EffectClass::Open);
    let powers = |grants: &Grants| line.powers(grants).into_iter().filter(|power| power.contains("sockets")).collect();
    let states: [Vec<String>; 2] = [powers(&Grants::default()), powers(&tcp)];
    assert_eq!(states, [["sockets (closed)"], ["sockets (granted)"]]);
    let http = grants(json!([{"to": "https://a.test/**"}]));
    let takes = |grants: &Grants| line.takes(grants, &Databases::default());
    assert_eq!(takes(&tcp), Ok(()));
    assert!(takes(&http).unwrap_err().contains("it does not import `wasi:http/outgoing-handler`"));
    let fetch = common::prebuilt("fetch");
    let fault = "`tcp` in `grants.net` is of no use to it: it does not import `wasi:sockets/tcp`; take the grant out";
    assert_eq!(fetch.takes(&tcp, &Databases::default()), Err(fault.into()));
    let host = server::granted(&line, json!([{"tcp": "db.test:1"}]), &LimitSettings::default());
    assert_eq!(host.catalog().get("line_exchange").unwrap().effect, EffectClass::Open);
}
