//! The end of an attempt is the end of its requests: nothing more is sent, and what was begun does not look whole.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing, reason = "tests")]

mod common;

use std::sync::{Arc, Mutex};
use std::time::Duration;

use common::server::{self, effects, granted, rogue, status};
use common::{call, prebuilt, soon, span};
use serde_json::{Value, json};
use tokio::io::AsyncReadExt;
use tokio::time::{sleep, timeout};
use toolpost_core::catalog::settings::LimitSettings;
use toolpost_core::{ErrorKind, Host};

/// All that one connection has sent, and whether it is closed.
type Heard = Arc<Mutex<(Vec<u8>, bool)>>;

/// A service that listens and never answers.
async fn listener() -> (server::Server, Heard) {
    let heard = Heard::default();
    let ears = heard.clone();
    let server = rogue(move |mut stream| {
        let heard = ears.clone();
        async move {
            let mut buffer = [0; 4_096];
            while let Ok(read @ 1..) = stream.read(&mut buffer).await {
                heard.lock().unwrap().0.extend(&buffer[..read]);
            }
            heard.lock().unwrap().1 = true;
        }
    })
    .await;
    (server, heard)
}

fn host(server: &server::Server, methods: Value, time: &str) -> Host {
    let net = json!([{"to": server.url("/**"), "methods": methods}]);
    let limits = LimitSettings { time: span(time), fuel: Some(u64::MAX / 2), ..LimitSettings::default() };
    granted(&prebuilt("fetch"), net, &limits)
}

async fn is_closed(heard: &Heard) -> Vec<u8> {
    soon("the connection to be closed", || heard.lock().unwrap().1).await;
    heard.lock().unwrap().0.clone()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_body_that_its_tool_leaves_unfinished_never_looks_whole() {
    for ending in ["give-up", "leave", "trap", "spin"] {
        let (server, heard) = listener().await;
        let host = host(&server, json!(["POST"]), "500ms");
        let body = json!({"url": server.url("/"), "count": 3, "bytes": 1_000, "ending": ending});
        let outcome = call(&host, "fetch_parts", body).await;
        assert!(outcome.result.is_err(), "{ending}");
        let sent = is_closed(&heard).await;
        let sent = String::from_utf8_lossy(&sent);
        assert!(!sent.ends_with("0\r\n\r\n"), "{ending}: the body looks finished: {}", sent.len());
        assert_eq!(effects(&outcome), [format!("net.post {} Indeterminate", server.url("/"))], "{ending}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_request_in_flight_is_cut_off_with_its_attempt_and_is_indeterminate() {
    let (server, heard) = listener().await;
    let host = host(&server, json!(["POST"]), "200ms");
    let outcome = server::send(&host, "POST", &server.url("/"), b"order").await;
    assert_eq!(common::kind(&outcome), Some(ErrorKind::OutcomeUnknown), "{:?}", outcome.result);
    assert_eq!(effects(&outcome), [format!("net.post {} Indeterminate", server.url("/"))]);
    is_closed(&heard).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_reading_call_that_is_dropped_takes_its_request_along() {
    let (server, heard) = listener().await;
    let host = host(&server, json!(["GET"]), "30s");
    let dropped = timeout(Duration::from_millis(200), server::get(&host, &server.url("/"))).await;
    assert!(dropped.is_err());
    is_closed(&heard).await;
    common::assert_idle(&host).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_tool_that_sends_as_fast_as_it_can_is_cut_off_at_its_end() {
    let (server, heard) = listener().await;
    let net = json!([{"to": server.url("/**"), "methods": ["POST"], "max_request": "1 GiB"}]);
    let limits = LimitSettings { time: span("300ms"), fuel: Some(u64::MAX / 2), ..LimitSettings::default() };
    let host = granted(&prebuilt("fetch"), net, &limits);
    let body = json!({"url": server.url("/"), "count": 1_000_000, "bytes": 1_000, "ending": "finish"});
    let outcome = call(&host, "fetch_parts", body).await;
    assert!(outcome.result.is_err());
    let sent = is_closed(&heard).await.len();
    assert!(sent > 100_000, "{sent}");
    sleep(Duration::from_millis(100)).await;
    assert_eq!(server.connections(), 1);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_call_whose_requests_were_cut_off_leaves_the_host_as_it_was() {
    let (server, _) = listener().await;
    let dying = host(&server, json!(["GET"]), "100ms");
    let well = server::serve(server::ok).await;
    let fine = host(&well, json!(["GET"]), "10s");
    for _ in 0..5 {
        let many = json!({"url": server.url("/"), "count": 20});
        let outcome = call(&dying, "fetch_many", many).await;
        assert_eq!(common::kind(&outcome), Some(ErrorKind::TimedOut));
        assert_eq!(outcome.report.effects.len(), 20);
        assert_eq!(status(&server::get(&fine, &well.url("/")).await), Ok(200));
    }
    common::assert_idle(&dying).await;
}
