//! A server that fails is left alone, and nothing else is: not the other servers of the tool, nor the server's other tools.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing, reason = "tests")]

mod common;

use std::sync::Arc;
use std::sync::atomic::AtomicU16;
use std::sync::atomic::Ordering::SeqCst;
use std::time::Duration;

use common::server::{self, Names, Server, effects, get, grants, rogue, send, send_with, serve, status, text};
use common::{call, kind, prebuilt, soon, span};
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::time::timeout;
use toolpost_core::catalog::Base;
use toolpost_core::catalog::settings::{LimitSettings, ToolSettings};
use toolpost_core::effect::Fate;
use toolpost_core::guard::breaker::{Counts, Key, Settings, Snapshot, Status};
use toolpost_core::guard::{GuardSettings, Guards};
use toolpost_core::{Catalog, ErrorKind, Host, Outcome};
use toolpost_wasm::Component;

/// Opens after three failures, for so long.
fn opens(open: &str) -> Value {
    json!({"breaker": {"kind": "standard", "consecutive": 3, "open": open, "jitter": 0}})
}

fn host_of(guest: &Component, net: Value, guard: Value, time: &str) -> Host {
    let guard: GuardSettings = serde_json::from_value(guard).unwrap();
    let base = Base { grants: grants(net), guards: Guards::none().with(&guard), ..common::strict() };
    let limits = LimitSettings { time: span(time), ..LimitSettings::default() };
    let settings = ToolSettings { limits, ..ToolSettings::default() };
    let mut catalog = Catalog::default();
    for function in &guest.functions {
        catalog.add(guest.tool(function, &base, &settings).unwrap()).unwrap();
    }
    Host::new(catalog)
}

/// A host of `fetch` that may talk to these servers.
fn fetching(servers: &[&Server], guard: Value) -> Host {
    let grant = |server: &&Server| json!({"to": server.url("/**"), "methods": ["GET", "HEAD", "POST"]});
    host_of(&prebuilt("fetch"), servers.iter().map(grant).collect(), guard, "10s")
}

/// What there is to see of the breaker of a tool and a server.
fn seen(host: &Host, tool: &str, authority: &str) -> Snapshot {
    host.breakers().find(&Key::egress(tool, authority)).expect("a breaker").snapshot()
}

fn watched(host: &Host, server: &Server) -> Snapshot {
    seen(host, "fetch_request", &server.address.to_string())
}

/// How many ends were counted, and how many of them as failures.
fn counted(host: &Host, server: &Server) -> (u64, u64) {
    let Counts { total, failed, .. } = watched(host, server).counts;
    (total, failed)
}

/// A server that answers with a status that can be changed.
async fn moody(first: u16) -> (Server, Arc<AtomicU16>) {
    let mood = Arc::new(AtomicU16::new(first));
    let now = mood.clone();
    (serve(move |_| text(now.load(SeqCst), "so it is")).await, mood)
}

async fn fail(host: &Host, server: &Server, times: usize) {
    for _ in 0..times {
        get(host, &server.url("/")).await;
    }
}

#[tokio::test]
async fn a_server_that_keeps_failing_is_not_connected_to_any_more_and_the_caller_is_told() {
    let (server, _) = moody(500).await;
    let host = fetching(&[&server], opens("30s"));
    for _ in 0..3 {
        assert_eq!(status(&get(&host, &server.url("/")).await), Ok(500), "it is an answer all the same");
    }
    let outcome = send(&host, "POST", &server.url("/a?key=geheim"), b"x").await;
    let error = outcome.result.as_ref().unwrap_err();
    assert_eq!(error.kind, ErrorKind::CircuitOpen);
    let after = error.retry_after.unwrap();
    assert!(after > Duration::from_secs(25) && after <= Duration::from_secs(30), "{after:?}");
    let at = server.address;
    let told = format!("`{at}` failed too often and is left alone (the last failure: `http_500`); call again in");
    assert!(error.message.starts_with(&told), "{error}");
    assert!(error.message.ends_with("; the tool ended with: DestinationUnavailable"), "{error}");
    assert_eq!(effects(&outcome), [format!("net.post {} Refused", server.url("/a?key=*"))]);
    let detail = outcome.report.effects[0].effect.detail.as_deref().unwrap();
    assert!(detail.starts_with(&told) && detail.contains("call again in"), "{detail}");
    assert!(outcome.report.attempts[0].log.text.starts_with(&format!("warn: {told}")));
    assert_eq!((server.connections(), server.seen().len()), (1, 3), "nothing was sent");
    assert_eq!(host.breakers().find(&Key::tool("fetch_request")).unwrap().snapshot().status, Status::Closed);
}

#[tokio::test]
async fn a_server_that_is_left_alone_keeps_no_tool_from_the_others_and_no_other_tool_from_it() {
    let ((bad, _), good) = (moody(503).await, serve(server::ok).await);
    let host = fetching(&[&bad, &good], opens("30s"));
    fail(&host, &bad, 3).await;
    assert_eq!(kind(&get(&host, &bad.url("/")).await), Some(ErrorKind::CircuitOpen));
    assert_eq!(status(&get(&host, &good.url("/")).await), Ok(200));
    assert_eq!((watched(&host, &bad).status, watched(&host, &good).status), (Status::Open, Status::Closed));
    let other = call(&host, "fetch_many", json!({"url": bad.url("/"), "count": 1})).await;
    assert_eq!(other.result.unwrap().value, json!([{"ok": 503}]));
    assert_eq!(seen(&host, "fetch_many", &bad.address.to_string()).counts.failed, 1);
}

#[tokio::test]
async fn a_server_that_is_well_again_is_found_out_by_calls_that_try_it() {
    let (server, mood) = moody(500).await;
    let host = fetching(&[&server], opens("200ms"));
    fail(&host, &server, 3).await;
    assert_eq!(watched(&host, &server).status, Status::Open);
    mood.store(200, SeqCst);
    let tried = async {
        while status(&get(&host, &server.url("/")).await) != Ok(200) {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    };
    timeout(Duration::from_secs(20), tried).await.unwrap();
    assert_eq!(watched(&host, &server).status, Status::HalfOpen, "one of two");
    assert_eq!(status(&get(&host, &server.url("/")).await), Ok(200));
    assert_eq!(watched(&host, &server).status, Status::Closed);
    assert_eq!(server.seen().len(), 5, "nobody asked while it was left alone");
}

/// An answer that asks for a pause.
async fn pausing(status: u16, until: &'static str) -> Server {
    serve(move |_| {
        let mut answer = text(status, "later");
        answer.headers_mut().insert("retry-after", until.parse().unwrap());
        answer
    })
    .await
}

#[tokio::test]
async fn a_server_that_asks_for_a_pause_gets_it_and_no_longer_than_a_minute() {
    for (status, until, at_most) in [
        (503, "7", 7),
        (429, "40", 40),
        (429, "100000", 60),
        (503, "Wed, 21 Oct 2065 07:28:00 GMT", 60),
        (503, "Wednesday, 21-Oct-65 07:28:00 GMT", 60),
    ] {
        let server = pausing(status, until).await;
        let host = fetching(&[&server], opens("30s"));
        get(&host, &server.url("/")).await;
        let error = get(&host, &server.url("/")).await.result.unwrap_err();
        let after = error.retry_after.unwrap();
        assert!(
            after <= Duration::from_secs(at_most) && after > Duration::from_secs(at_most - 5),
            "{until}: {after:?}"
        );
        assert!(error.message.contains("has asked not to be called for a while; call again in"), "{error}");
        assert_eq!(counted(&host, &server), (0, 0), "it is no failure");
        assert_eq!(server.seen().len(), 1);
    }
    // What names no time, or one that is over, is a failure; what asks for a pause without being overloaded gets none.
    for (status, until, failed) in
        [(503, "soon", 1), (429, "0", 1), (503, "Wed, 21 Oct 2015 07:28:00 GMT", 1), (500, "30", 1), (200, "30", 0)]
    {
        let server = pausing(status, until).await;
        let host = fetching(&[&server], opens("30s"));
        get(&host, &server.url("/")).await;
        assert_eq!(counted(&host, &server), (1, failed), "{status} {until}");
        assert_eq!(watched(&host, &server).held_for, None);
    }
}

/// Reads the head of a request, and answers with these bytes.
async fn says(bytes: &'static [u8]) -> Server {
    rogue(move |mut stream: TcpStream| async move {
        let _ = stream.read(&mut [0; 4_096]).await;
        let _ = stream.write_all(bytes).await;
        let _ = stream.shutdown().await;
    })
    .await
}

#[tokio::test]
async fn every_way_in_which_a_server_fails_is_a_failure_and_has_a_name() {
    let silent =
        rogue(|mut stream: TcpStream| async move { while let Ok(1..) = stream.read(&mut [0; 4_096]).await {} });
    let stalls = rogue(|mut stream: TcpStream| async move {
        let _ = stream.write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 9\r\n\r\nhalf").await;
        while let Ok(1..) = stream.read(&mut [0; 4_096]).await {}
    });
    let (silent, stalls) = (silent.await, stalls.await);
    let gone = says(b"").await;
    let rows = [
        (serve(|_| text(500, "")).await, "http_500"),
        (serve(|_| text(502, "")).await, "http_502"),
        (serve(|_| text(503, "")).await, "http_503"),
        (serve(|_| text(504, "")).await, "http_504"),
        (serve(|_| text(507, "")).await, "http_5xx"),
        (serve(|_| text(429, "")).await, "http_429"),
        (gone, "broken_off"),
        (says(b"this is no HTTP\r\n\r\n").await, "broken_answer"),
        (says(b"HTTP/1.1 200 OK\r\ncontent-length: 9\r\n\r\nhalf").await, "broken_off"),
        (silent, "no_answer"),
        (stalls, "no_answer"),
    ];
    for (server, word) in rows {
        let host = fetching(&[&server], opens("30s"));
        let asked = send_with(&host, "GET", &server.url("/"), json!([]), b"", json!(300)).await;
        let shown = watched(&host, &server);
        assert_eq!((shown.counts.failed, shown.last_failure), (1, Some(word)), "{:?}", asked.result);
        assert_eq!(shown.running, 0);
        assert_eq!(host.breakers().find(&Key::tool("fetch_request")).unwrap().snapshot().counts.failed, 0, "{word}");
    }
}

#[tokio::test]
async fn a_server_that_cannot_be_connected_to_is_known_by_the_port_of_its_scheme() {
    let names = Names::new(&[&["127.0.0.1"], &["127.0.0.1"], &[]]);
    let engine = server::engine(&names);
    let net = json!([{"to": "http://*.test/**", "private": true}, {"to": "https://*.test/**", "private": true}]);
    let host = host_of(&server::load(&engine, "fetch"), net, opens("30s"), "10s");
    for (url, authority, word) in [
        ("http://Shop.test/a", "shop.test:80", "connection_refused"),
        ("https://shop.test/a", "shop.test:443", "connection_refused"),
        ("https://other.test/a", "other.test:443", "unreachable"),
    ] {
        get(&host, url).await;
        let shown = seen(&host, "fetch_request", authority);
        assert_eq!((shown.counts.failed, shown.last_failure), (1, Some(word)), "{authority}");
    }
}

#[tokio::test]
async fn what_is_not_the_servers_fault_is_not_counted_against_it() {
    let (server, _) = moody(404).await;
    let host = fetching(&[&server], opens("30s"));
    for (method, path) in [("GET", "/"), ("HEAD", "/"), ("POST", "/")] {
        assert_eq!(status(&send(&host, method, &server.url(path), b"").await), Ok(404));
    }
    assert_eq!(counted(&host, &server), (3, 0), "an answer that nobody hoped for");

    // The grant's limits, and addresses where it does not lead.
    let grant = |more: Value| {
        let mut grant = json!({"to": server.url("/**"), "methods": ["GET", "POST"]});
        grant.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        host_of(&prebuilt("fetch"), json!([grant]), opens("30s"), "10s")
    };
    let host = grant(json!({"max_response": 3}));
    assert_eq!(kind(&get(&host, &server.url("/")).await), Some(ErrorKind::QuotaExceeded));
    assert_eq!(counted(&host, &server), (1, 0));
    let host = grant(json!({"max_request": 10}));
    let long = vec![b'x'; 20_000];
    assert_eq!(kind(&send(&host, "POST", &server.url("/"), &long).await), Some(ErrorKind::QuotaExceeded));
    assert_eq!(counted(&host, &server), (0, 0));
    let engine = server::engine(&Names::new(&[&["10.0.0.1"]]));
    let host = host_of(&server::load(&engine, "fetch"), json!([{"to": "http://a.test/**"}]), opens("30s"), "10s");
    assert_eq!(kind(&get(&host, "http://a.test/").await), Some(ErrorKind::CapabilityDenied));
    assert_eq!(seen(&host, "fetch_request", "a.test:80").counts.total, 0);
    assert_eq!(kind(&get(&host, "http://b.test/").await), Some(ErrorKind::CapabilityDenied));
    assert!(host.breakers().find(&Key::egress("fetch_request", "b.test:80")).is_none(), "it is not granted");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_body_that_its_tool_gives_up_is_not_held_against_the_server() {
    for ending in ["give-up", "leave", "trap", "spin"] {
        let server =
            rogue(|mut stream: TcpStream| async move { while let Ok(1..) = stream.read(&mut [0; 4_096]).await {} })
                .await;
        let net = json!([{"to": server.url("/**"), "methods": ["POST"]}]);
        let host = host_of(&prebuilt("fetch"), net, opens("30s"), "500ms");
        let body = json!({"url": server.url("/"), "count": 3, "bytes": 1_000, "ending": ending});
        assert!(call(&host, "fetch_parts", body).await.result.is_err(), "{ending}");
        let authority = server.address.to_string();
        soon("the permit to be back", || seen(&host, "fetch_parts", &authority).running == 0).await;
        assert_eq!(seen(&host, "fetch_parts", &authority).counts, Counts::default(), "{ending}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn calls_that_are_cut_off_give_their_permits_back_and_count_for_nothing() {
    let silent =
        rogue(|mut stream: TcpStream| async move { while let Ok(1..) = stream.read(&mut [0; 4_096]).await {} });
    let silent = silent.await;
    let host = host_of(&prebuilt("fetch"), silent.grant(), opens("30s"), "300ms");
    // The caller goes away; the time of the attempt is over.
    assert!(timeout(Duration::from_millis(100), get(&host, &silent.url("/"))).await.is_err());
    soon("the permit to be back", || watched(&host, &silent).running == 0).await;
    assert_eq!(kind(&get(&host, &silent.url("/")).await), Some(ErrorKind::TimedOut));
    soon("the permit to be back", || watched(&host, &silent).running == 0).await;
    assert_eq!(counted(&host, &silent), (0, 0));
    let shown = watched(&host, &silent);
    assert_eq!((shown.status, shown.admitted, silent.connections()), (Status::Closed, 2, 2));
}

#[tokio::test]
async fn answers_that_are_not_read_speak_for_the_server_all_the_same() {
    let server = serve(|_| text(200, vec![0; 1_000_000])).await;
    let host = fetching(&[&server], opens("30s"));
    let outcome = call(&host, "fetch_hoard", json!({"url": server.url("/"), "count": 3})).await;
    assert_eq!(outcome.result.unwrap().value, json!([{"ok": 200}, {"ok": 200}, {"ok": 200}]));
    let shown = seen(&host, "fetch_hoard", &server.address.to_string());
    assert_eq!((shown.counts.total, shown.counts.failed, shown.running), (3, 0, 0));
}

#[tokio::test]
async fn a_server_that_is_opened_within_one_call_ends_its_requests_and_its_retries() {
    let (server, _) = moody(503).await;
    let host = fetching(&[&server], opens("30s"));
    let outcome = call(&host, "fetch_hoard", json!({"url": server.url("/"), "count": 5})).await;
    let refused = json!({"err": "DestinationUnavailable"});
    let answered = json!({"ok": 503});
    assert_eq!(outcome.result.unwrap().value, json!([answered, answered, answered, refused, refused]));
    let fates: Vec<Fate> = outcome.report.effects.iter().map(|record| record.fate).collect();
    assert_eq!(fates, [Fate::Done, Fate::Done, Fate::Done, Fate::Refused, Fate::Refused]);

    let mut guard = opens("30s");
    guard["retry"] = json!({"max_attempts": 3, "backoff": {"fixed": {"delay": "1ms"}}});
    guard["breaker"]["consecutive"] = json!(2);
    let host = host_of(&prebuilt("orders"), json!([{"to": server.url("/**")}]), guard, "10s");
    let find = json!({"order_id": "o-1", "service": server.url("")});
    let outcome: Outcome = call(&host, "orders_find", find).await;
    let kinds: Vec<_> = outcome.report.attempts.iter().map(|attempt| attempt.error.as_ref().unwrap().kind).collect();
    let failed = ErrorKind::ToolFailed { retryable: true };
    assert_eq!(kinds, [failed, failed, ErrorKind::CircuitOpen]);
    assert_eq!(kind(&outcome), Some(ErrorKind::CircuitOpen));
}

#[tokio::test]
async fn without_a_breaker_no_server_is_left_alone_unless_an_operator_says_so() {
    let (server, _) = moody(500).await;
    let host = fetching(&[&server], json!({"breaker": {"kind": "none"}}));
    fail(&host, &server, 20).await;
    assert_eq!((server.seen().len(), host.breakers().list().len()), (20, 0));
    let key = Key::egress("fetch_request", server.address.to_string());
    host.breakers().get(&key, &Settings::None, Duration::from_secs(1)).isolate("ops", "it moves", None);
    let error = get(&host, &server.url("/")).await.result.unwrap_err();
    let wanted = format!("`{}` is switched off by the operator: it moves; go on without it", server.address);
    assert!(error.kind == ErrorKind::CircuitOpen && error.message.starts_with(&wanted), "{error}");
    assert_eq!(server.seen().len(), 20);
}

#[tokio::test]
async fn a_tool_that_sends_nothing_has_no_such_breaker() {
    let server = serve(server::ok).await;
    let host = host_of(&prebuilt("text"), json!([]), opens("30s"), "10s");
    common::assert_serves(&host).await;
    assert_eq!(host.breakers().list().len(), 1, "its own");
    let host = fetching(&[&server], opens("30s"));
    get(&host, &server.url("/")).await;
    let keys: Vec<String> = host.breakers().list().iter().map(|shown| shown.key.to_string()).collect();
    assert_eq!(keys, ["tool fetch_request".into(), format!("egress fetch_request {}", server.address)]);
}
