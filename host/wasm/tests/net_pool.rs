//! Connections are kept and shared, requests run side by side, and TLS names whom it talks to.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing, reason = "tests")]

mod common;

use std::collections::HashSet;
use std::time::Duration;

use common::server::{self, Names, Server, fetching, get, granted, serve, serve_tls, status, text};
use common::{call, figure, places};
use futures_util::future::join_all;
use serde_json::{Value, json};
use tokio::time::{Instant, timeout};
use toolpost_core::Host;
use toolpost_core::catalog::settings::LimitSettings;
use toolpost_wasm::Engine;

const ALL: usize = 64;

async fn all_get(host: &Host, url: &str) -> Vec<Result<u64, String>> {
    let outcomes = join_all((0..ALL).map(|_| get(host, url))).await;
    outcomes.iter().map(status).collect()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_thousand_calls_one_after_the_other_share_a_connection() {
    let server = serve(server::ok).await;
    let host = fetching(server.grant());
    for _ in 0..1_000 {
        assert_eq!(status(&get(&host, &server.url("/")).await), Ok(200));
    }
    assert_eq!(server.seen().len(), 1_000);
    assert_eq!(server.connections(), 1, "each call has an instance of its own, and all have one connection");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn sixty_four_calls_at_once_are_all_answered_and_their_connections_kept() {
    let server = serve(server::ok).await;
    let host = places(fetching(server.grant()), ALL);
    assert_eq!(all_get(&host, &server.url("/")).await, vec![Ok(200); ALL]);
    let first = server.connections();
    let started = Instant::now();
    for _ in 0..5 {
        assert_eq!(all_get(&host, &server.url("/")).await, vec![Ok(200); ALL]);
    }
    let (connections, each) = (server.connections(), started.elapsed() / (5 * 64));
    figure(&format!("{connections} connections for {} calls, the first 64 had {first}; {each:?} each", 6 * ALL));
    assert!(connections <= ALL + 8, "{connections}");
    assert_eq!(server.seen().len(), 6 * ALL);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn sixty_four_requests_of_one_call_are_all_answered_and_no_more_go_out_at_once() {
    let server = serve(server::ok).await;
    let host = fetching(server.grant());
    let outcome = call(&host, "fetch_many", json!({"url": server.url("/"), "count": ALL + 3})).await;
    let answers = outcome.result.unwrap().value;
    let answered = |wanted: &Value| answers.as_array().unwrap().iter().filter(|answer| *answer == wanted).count();
    assert_eq!(answered(&json!({"ok": 200})), ALL);
    assert_eq!(answered(&json!({"err": "ConnectionLimitReached"})), 3);
    assert_eq!(outcome.report.effects.len(), ALL);
}

#[tokio::test]
async fn a_service_that_closes_after_each_answer_is_connected_to_anew() {
    let server = serve(|_| {
        let mut answer = text(200, "bye");
        answer.headers_mut().insert("connection", "close".parse().unwrap());
        answer
    })
    .await;
    let host = fetching(server.grant());
    for _ in 0..10 {
        assert_eq!(status(&get(&host, &server.url("/")).await), Ok(200));
    }
    assert_eq!(server.connections(), 10);
}

#[tokio::test]
async fn a_connection_whose_answer_was_not_read_is_not_used_again() {
    let server = serve(|_| text(200, vec![0; 1_000_000])).await;
    let host = fetching(server.grant());
    let answers = call(&host, "fetch_hoard", json!({"url": server.url("/"), "count": 3})).await;
    assert_eq!(answers.result.unwrap().value, json!([{"ok": 200}, {"ok": 200}, {"ok": 200}]));
    common::soon("the connections to be closed", || server.open.load(std::sync::atomic::Ordering::SeqCst) == 0).await;
    assert_eq!(server.connections(), 3);
}

/// A host whose tool may talk to `shop.test` over TLS.
fn over_tls(engine: &Engine, server: &Server, name: &str) -> (Host, String) {
    let url = format!("https://{name}:{}/a?b=c", server.address.port());
    let to = format!("https://*.test:{}/**", server.address.port());
    let to = if name == "shop.test" { to.replace("*.test", "shop.test") } else { to };
    let net = json!([{"to": to, "methods": ["GET", "POST"], "private": true, "timeout": "20s", "max_requests": 1000}]);
    let limits = LimitSettings { time: common::span("60s"), ..LimitSettings::default() };
    (places(granted(&server::load(engine, "fetch"), net, &limits), 80), url)
}

fn engine() -> Engine {
    server::engine(&Names::new(&[&["127.0.0.1"]]))
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn over_http_2_all_calls_share_one_connection() {
    let server = serve_tls(&["h2", "http/1.1"], server::ok).await;
    let (host, url) = over_tls(&engine(), &server, "shop.test");
    for _ in 0..3 {
        assert_eq!(all_get(&host, &url).await, vec![Ok(200); ALL]);
    }
    assert_eq!(server.connections(), 1);
    let authorities: HashSet<String> = server.seen().into_iter().map(|seen| seen.authority).collect();
    assert_eq!(authorities, HashSet::from([format!("shop.test:{}", server.address.port())]));
    assert_eq!(server.seen()[0].path, "/a?b=c");
    let outcome = server::send(&host, "POST", &url, b"order").await;
    assert_eq!(status(&outcome), Ok(200));
    let last = server.seen().pop().unwrap();
    assert_eq!(
        (last.body.unwrap().as_ref(), last.headers["content-length"].to_str().unwrap()),
        (b"order".as_slice(), "5")
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn over_tls_a_service_may_speak_only_http_1() {
    let server = serve_tls(&["http/1.1"], server::ok).await;
    let (host, url) = over_tls(&engine(), &server, "shop.test");
    for _ in 0..2 {
        assert_eq!(all_get(&host, &url).await, vec![Ok(200); ALL]);
    }
    assert!(server.connections() <= ALL + 8, "{}", server.connections());
}

#[tokio::test]
async fn a_certificate_for_another_name_is_no_proof() {
    let server = serve_tls(&["h2"], server::ok).await;
    let (host, url) = over_tls(&engine(), &server, "evil.test");
    let outcome = get(&host, &url).await;
    assert_eq!(status(&outcome), Err("TlsCertificateError".into()));
    assert!(server::effects(&outcome)[0].ends_with("Failed"), "nothing of the request was sent");
    assert!(
        outcome.report.attempts[0].log.text.contains("not valid for name"),
        "{}",
        outcome.report.attempts[0].log.text
    );
    assert_eq!(server.seen().len(), 0);
}

#[tokio::test]
async fn a_certificate_that_nobody_vouches_for_is_no_proof() {
    let server = serve_tls(&["h2"], server::ok).await;
    let url = format!("https://localhost:{}/", server.address.port());
    let outcome = get(&fetching(json!([{"to": url, "private": true}])), &url).await;
    assert_eq!(status(&outcome), Err("TlsCertificateError".into()));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_tool_that_does_not_read_its_answers_holds_up_no_other_on_the_same_connection() {
    let server = serve_tls(&["h2"], |_| text(200, vec![0; 400_000])).await;
    let (host, url) = over_tls(&engine(), &server, "shop.test");
    let many = json!({"url": url, "count": 60});
    let hoarding = call(&host, "fetch_hoard", many);
    let others = async {
        let mut answered = 0;
        for _ in 0..10 {
            let outcome = call(&host, "fetch_many", json!({"url": url, "count": 1})).await;
            answered += u32::from(outcome.result.unwrap().value == json!([{"ok": 200}]));
        }
        answered
    };
    let (hoarded, answered) = timeout(Duration::from_secs(50), async { tokio::join!(hoarding, others) }).await.unwrap();
    assert!(hoarded.result.is_ok());
    assert_eq!(answered, 10);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn over_http_2_a_body_that_is_left_unfinished_never_looks_whole() {
    let server = serve_tls(&["h2"], server::ok).await;
    let (host, url) = over_tls(&engine(), &server, "shop.test");
    for ending in ["leave", "trap", "give-up"] {
        let body = json!({"url": url, "count": 3, "bytes": 1_000, "ending": ending});
        assert!(call(&host, "fetch_parts", body).await.result.is_err(), "{ending}");
    }
    assert_eq!(status(&get(&host, &url).await), Ok(200));
    // Each has given up its connection, and the service is through with all that came over it.
    common::soon("the service to be through", || server.open.load(std::sync::atomic::Ordering::SeqCst) == 1).await;
    let whole: Vec<_> = server.seen().into_iter().filter(|seen| seen.body.is_ok()).map(|seen| seen.method).collect();
    assert_eq!(whole, ["GET"], "a body that was cut off is none");
}
