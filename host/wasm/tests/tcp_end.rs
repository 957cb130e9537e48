//! Bounds of connections, what rules and breakers say of them, and their end: with the attempt, and not behind it.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing, reason = "tests")]

mod common;

use std::sync::{Arc, Mutex};
use std::time::Duration;

use common::line::{End, answer, by_address, by_name, exchange, listening, shouting, talking};
use common::server::{self, Names, Server, effects, rogue};
use common::{call, kind, prebuilt, soon, span};
use futures_util::future::BoxFuture;
use serde_json::{Value, json};
use tokio::io::AsyncWriteExt;
use tokio::net::{TcpListener, TcpSocket, TcpStream};
use tokio::time::{sleep, timeout};
use toolpost_core::catalog::Base;
use toolpost_core::catalog::settings::{LimitSettings, ToolSettings};
use toolpost_core::check::approve::{Answer, Approval, Approver, Choice, Pass, Question, Rules};
use toolpost_core::guard::breaker::{Key, Status};
use toolpost_core::guard::{GuardSettings, Guards};
use toolpost_core::{Catalog, Effect, ErrorKind, Host};

fn to(server: &Server) -> Value {
    json!({"host": "127.0.0.1", "port": server.address.port()})
}

fn with(mut arguments: Value, key: &str, value: impl Into<Value>) -> Value {
    arguments[key] = value.into();
    arguments
}

/// A host of `line` that may talk to a server for so long.
fn for_so_long(server: &Server, time: &str) -> Host {
    let limits = LimitSettings { time: span(time), fuel: Some(u64::MAX / 2), ..LimitSettings::default() };
    server::granted(&prebuilt("line"), by_address(server, json!({})), &limits)
}

#[tokio::test]
async fn what_is_sent_is_bounded_and_what_would_be_too_much_is_not_sent() {
    let (server, heard) = listening().await;
    let host = talking(by_address(&server, json!({"max_bytes": 100_000})), &Arc::default());
    let outcome = call(&host, "line_pour", with(to(&server), "length", 100_000)).await;
    assert_eq!(answer(&outcome), Ok(json!(100_000)));
    soon("the first connection to end", || heard.lock().unwrap().len() == 1).await;
    let outcome = call(&host, "line_pour", with(to(&server), "length", 100_001)).await;
    let error = outcome.result.as_ref().unwrap_err();
    let at = server.address;
    assert_eq!(error.kind, ErrorKind::QuotaExceeded);
    assert_eq!(
        error.message,
        format!(
            "the tool may send and receive no more than 97.7 KiB over its connections to `{at}`; the operator can raise \
             `max_bytes` in the grant of `{at}`; the tool ended with: broken pipe"
        )
    );
    soon("both connections to end", || heard.lock().unwrap().len() == 2).await;
    let heard = heard.lock().unwrap().clone();
    assert_eq!(heard[0], (100_000, End::Said));
    assert!(heard[1].0 <= 100_000, "{heard:?}");
}

#[tokio::test]
async fn what_is_received_is_bounded_and_counts_with_what_is_sent() {
    let server = rogue(|mut stream| async move {
        stream.write_all(&vec![7; 50_000]).await.ok();
    })
    .await;
    let host = |bytes: u64| talking(by_address(&server, json!({"max_bytes": bytes})), &Arc::default());
    let outcome = call(&host(50_000), "line_drain", to(&server)).await;
    assert_eq!(answer(&outcome), Ok(json!(50_000)), "all that is granted, and then the end");
    let outcome = call(&host(49_999), "line_drain", to(&server)).await;
    assert_eq!(kind(&outcome), Some(ErrorKind::QuotaExceeded), "{:?}", outcome.result);
    // Six bytes there, and six back.
    let shouting = shouting().await;
    let host = |bytes: u64| talking(by_address(&shouting, json!({"max_bytes": bytes})), &Arc::default());
    let port = shouting.address.port();
    assert_eq!(answer(&exchange(&host(12), "127.0.0.1", port, "hello").await), Ok(json!("HELLO")));
    assert_eq!(kind(&exchange(&host(11), "127.0.0.1", port, "hello").await), Some(ErrorKind::QuotaExceeded));
    assert_eq!(kind(&exchange(&host(0), "127.0.0.1", port, "hello").await), Some(ErrorKind::QuotaExceeded));
}

#[tokio::test]
async fn connections_at_once_are_bounded_and_one_that_ends_makes_room() {
    let server = shouting().await;
    let host = talking(by_address(&server, json!({"max_connections": 3})), &Arc::default());
    let several = |count: u32| with(to(&server), "count", count);
    let outcome = call(&host, "line_several", several(3)).await;
    assert_eq!(answer(&outcome), Ok(json!([{"ok": "HELLO"}, {"ok": "HELLO"}, {"ok": "HELLO"}])));
    let outcome = call(&host, "line_several", several(5)).await;
    let said = answer(&outcome).unwrap().to_string();
    assert_eq!((said.matches("HELLO").count(), said.matches("\"err\"").count()), (3, 2), "{said}");
    let made = format!("net.connect tcp://{} Done", server.address);
    let refused = format!("net.connect tcp://{} Refused", server.address);
    assert_eq!(effects(&outcome), [&*made, &made, &made, &refused, &refused]);
    let at = server.address;
    let why = format!(
        "the tool has as many connections to `{at}` as it may at once: 3; the operator can raise `max_connections` in the grant \
         of `{at}`"
    );
    assert_eq!(outcome.report.effects[4].effect.detail.as_deref(), Some(&*why));
    // One behind the other, there is room for any number.
    for _ in 0..5 {
        assert!(exchange(&host, "127.0.0.1", at.port(), "x").await.result.is_ok());
    }
}

#[tokio::test]
async fn all_tools_together_have_so_many_connections_as_the_host_has_room_for() {
    let server = shouting().await;
    let host = talking(by_address(&server, json!({"max_connections": 1_000})), &Arc::default());
    let outcome = call(&host, "line_several", with(to(&server), "count", 260)).await;
    let said = answer(&outcome).unwrap().to_string();
    assert_eq!((said.matches("HELLO").count(), said.matches("\"err\"").count()), (256, 4));
    let why = "the tools have as many connections as the host has room for; call again later";
    assert_eq!(outcome.report.effects[256].effect.detail.as_deref(), Some(why));
    assert!(exchange(&host, "127.0.0.1", server.address.port(), "x").await.result.is_ok(), "and then there is room");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_end_of_an_attempt_breaks_its_connections_off() {
    let (server, heard) = listening().await;
    let host = for_so_long(&server, "300ms");
    let outcome = exchange(&host, "127.0.0.1", server.address.port(), "hello").await;
    // What the other side has made of it, nobody knows.
    assert_eq!(kind(&outcome), Some(ErrorKind::OutcomeUnknown), "{:?}", outcome.result);
    assert_eq!(effects(&outcome), [format!("net.connect tcp://{} Done", server.address)]);
    soon("the connection to end", || heard.lock().unwrap().len() == 1).await;
    assert_eq!(heard.lock().unwrap()[0], (6, End::Broken(std::io::ErrorKind::ConnectionReset)));
    common::assert_idle(&host).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_tool_that_sends_as_fast_as_it_can_sends_nothing_behind_its_end() {
    let (server, heard) = listening().await;
    let net = by_address(&server, json!({"max_bytes": "1 TiB"}));
    let limits = LimitSettings { time: span("300ms"), fuel: Some(u64::MAX / 2), ..LimitSettings::default() };
    let host = server::granted(&prebuilt("line"), net, &limits);
    let outcome = call(&host, "line_pour", with(to(&server), "length", 1_u64 << 40)).await;
    assert!(outcome.result.is_err());
    soon("the connection to end", || heard.lock().unwrap().len() == 1).await;
    let (bytes, end) = heard.lock().unwrap()[0].clone();
    assert_eq!(end, End::Broken(std::io::ErrorKind::ConnectionReset), "it never looks whole");
    assert!(bytes > 100_000, "{bytes}");
    sleep(Duration::from_millis(100)).await;
    assert_eq!((server.connections(), heard.lock().unwrap().len()), (1, 1));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_tool_that_ends_well_has_sent_all_that_it_wrote() {
    let (server, heard) = listening().await;
    let host = for_so_long(&server, "20s");
    let outcome = call(&host, "line_pour", with(to(&server), "length", 20_000_000)).await;
    assert_eq!(answer(&outcome), Ok(json!(20_000_000)));
    soon("the connection to end", || heard.lock().unwrap().len() == 1).await;
    assert_eq!(heard.lock().unwrap()[0], (20_000_000, End::Said));
}

/// A server that takes nobody in, and those who fill its queue.
async fn full() -> (TcpListener, Vec<TcpStream>) {
    let socket = TcpSocket::new_v4().unwrap();
    socket.bind("127.0.0.1:0".parse().unwrap()).unwrap();
    let listener = socket.listen(1).unwrap();
    let at = listener.local_addr().unwrap();
    let mut queue = Vec::new();
    while let Ok(stream) = timeout(Duration::from_millis(300), TcpStream::connect(at)).await {
        queue.push(stream.unwrap());
        assert!(queue.len() < 1_000, "it has room for everybody");
    }
    (listener, queue)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_place_that_does_not_let_itself_be_connected_to_is_given_up_in_time() {
    let (listener, _queue) = full().await;
    let at = listener.local_addr().unwrap();
    let host = talking(json!([{"tcp": at.to_string(), "timeout": "200ms"}]), &Arc::default());
    let given_up = timeout(Duration::from_secs(10), exchange(&host, "127.0.0.1", at.port(), "x")).await;
    let given_up = given_up.expect("in time");
    assert_eq!(answer(&given_up), Err("timed out".into()));
    assert_eq!(effects(&given_up), [format!("net.connect tcp://{at} Failed")]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_connection_that_was_still_on_its_way_is_indeterminate() {
    let (listener, _queue) = full().await;
    let at = listener.local_addr().unwrap();
    let net = json!([{"tcp": at.to_string(), "timeout": "20s"}]);
    let limits = LimitSettings { time: span("300ms"), ..LimitSettings::default() };
    let host = server::granted(&prebuilt("line"), net, &limits);
    let outcome = exchange(&host, "127.0.0.1", at.port(), "x").await;
    assert_eq!(effects(&outcome), [format!("net.connect tcp://{at} Indeterminate")]);
    common::assert_idle(&host).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_a_tool_leaves_open_when_it_is_done_ends_as_with_a_process() {
    let (server, heard) = listening().await;
    let host = for_so_long(&server, "20s");
    let outcome = call(&host, "line_leave", with(to(&server), "text", "hello")).await;
    assert_eq!(answer(&outcome), Ok(Value::Null));
    soon("the connection to end", || heard.lock().unwrap().len() == 1).await;
    assert_eq!(heard.lock().unwrap()[0], (6, End::Said));
}

/// A host of `line` with such guards.
fn guarded(net: Value, guard: Value) -> Host {
    let guard: GuardSettings = serde_json::from_value(guard).unwrap();
    let base = Base { grants: server::grants(net), guards: Guards::none().with(&guard), ..common::strict() };
    let mut catalog = Catalog::default();
    let guest = prebuilt("line");
    for function in &guest.functions {
        catalog.add(guest.tool(function, &base, &ToolSettings::default()).unwrap()).unwrap();
    }
    Host::new(catalog)
}

#[tokio::test]
async fn a_place_that_keeps_refusing_is_left_alone_and_the_others_are_not() {
    let well = shouting().await;
    let port = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
    let place = format!("127.0.0.1:{port}");
    let net = json!([{ "tcp": place }, {"tcp": well.address.to_string()}]);
    let breaker = json!({"breaker": {"kind": "standard", "consecutive": 3, "open": "30s", "jitter": 0}});
    let host = guarded(net, breaker);
    for _ in 0..3 {
        assert_eq!(answer(&exchange(&host, "127.0.0.1", port, "x").await), Err("connection refused".into()));
    }
    let outcome = exchange(&host, "127.0.0.1", port, "x").await;
    let error = outcome.result.as_ref().unwrap_err();
    assert_eq!(error.kind, ErrorKind::CircuitOpen);
    let told = format!("`{place}` failed too often and is left alone (the last failure: `connection_refused`)");
    assert!(error.message.starts_with(&told), "{error}");
    assert_eq!(effects(&outcome), [format!("net.connect tcp://{place} Refused")]);
    let status = |key: &Key| host.breakers().find(key).unwrap().snapshot().status;
    assert_eq!(status(&Key::egress("line_exchange", &*place)), Status::Open);
    assert_eq!(status(&Key::tool("line_exchange")), Status::Closed);
    let fine = exchange(&host, "127.0.0.1", well.address.port(), "hello").await;
    assert_eq!(answer(&fine), Ok(json!("HELLO")));
}

/// Somebody who allows whatever is asked, after a while, and remembers what it was.
#[derive(Default)]
struct Person(Mutex<Vec<String>>);

impl Approver for Person {
    fn ask<'a>(&'a self, question: &'a Question) -> BoxFuture<'a, Result<Answer, Pass>> {
        Box::pin(async move {
            self.0.lock().unwrap().push(question.doing.as_ref().map(Effect::words).unwrap_or_default());
            sleep(Duration::from_millis(500)).await;
            Ok(Answer { choice: Choice::Allow, by: "ann".into() })
        })
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn who_is_asked_sees_where_to_and_the_time_for_it_is_not_the_tools() {
    let server = shouting().await;
    let rules: Rules = serde_json::from_value(json!({"ask": [{"does": {"action": "net.connect"}}]})).unwrap();
    let person = Arc::new(Person::default());
    let host = for_so_long(&server, "300ms").with_approval(Approval::new(rules).then(person.clone()));
    let outcome = exchange(&host, "127.0.0.1", server.address.port(), "hello").await;
    assert_eq!(answer(&outcome), Ok(json!("HELLO")));
    assert_eq!(*person.0.lock().unwrap(), [format!("net.connect tcp://{}", server.address)]);
}

#[tokio::test]
async fn rules_may_deny_a_connection_or_ask_about_it_by_its_name() {
    let server = shouting().await;
    let port = server.address.port();
    let (names, net) = (Names::new(&[&["127.0.0.1"]]), by_name(&server, json!({"private": true})));
    let ruled = |rules: Value| {
        let rules: Rules = serde_json::from_value(rules).unwrap();
        talking(net.clone(), &names).with_approval(Approval::new(rules))
    };
    let does = json!({"action": "net.connect", "target": format!("tcp://db.test:{port}")});
    for rule in ["deny", "ask"] {
        // Nobody is there who could be asked.
        let host = ruled(json!({ rule: [{ "does": does }] }));
        let outcome = exchange(&host, "db.test", port, "hello").await;
        let refused = matches!(kind(&outcome), Some(ErrorKind::Declined | ErrorKind::ApprovalTimedOut));
        assert!(refused, "{rule}: {:?}", outcome.result);
        let connect = format!("net.connect tcp://db.test:{port} Refused");
        assert_eq!(effects(&outcome), ["net.lookup db.test Done", &connect], "{rule}");
    }
    assert_eq!(server.connections(), 0);
    let other = json!({"action": "net.connect", "target": "tcp://other.test:*"});
    let host = ruled(json!({"deny": [{ "does": other }]}));
    assert_eq!(answer(&exchange(&host, "db.test", port, "hello").await), Ok(json!("HELLO")));
}
