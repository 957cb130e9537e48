//! Instances that outlive a call and use the network: each call has its own grants and effects, and no request outlives its call.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing, reason = "tests")]

mod common;

use std::sync::{Arc, Mutex};
use std::time::Duration;

use common::keep::{Said, call_in, instance, message, value};
use common::server::{self, Server, effects, rogue, status, text};
use common::{kind, prebuilt, soon};
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use toolpost_core::catalog::settings::LimitSettings;
use toolpost_core::{ErrorKind, Host, Outcome};

fn fetching(keep: &str, net: Value) -> Said {
    Said::keeping(json!(keep)).granted(json!({ "net": net }))
}

async fn fetch(host: &Host, url: &str) -> Outcome {
    let arguments = json!({"method": "GET", "url": url, "headers": [], "body": [], "timeout_ms": null});
    call_in(host, "s", "fetch_request", arguments).await
}

/// A service that hears and says this much of an answer.
async fn half_spoken(says: &'static str) -> (Server, Arc<Mutex<Vec<String>>>) {
    let heard: Arc<Mutex<Vec<String>>> = Arc::default();
    let ears = heard.clone();
    let server = rogue(move |mut stream| {
        let heard = ears.clone();
        async move {
            let (mut all, mut buffer) = (Vec::new(), [0; 4_096]);
            while let Ok(read @ 1..) = stream.read(&mut buffer).await {
                all.extend(&buffer[..read]);
                stream.write_all(says.as_bytes()).await.ok();
            }
            heard.lock().unwrap().push(String::from_utf8_lossy(&all).into_owned());
        }
    });
    (server.await, heard)
}

async fn ended(heard: &Mutex<Vec<String>>) -> String {
    soon("the connection to be closed", || !heard.lock().unwrap().is_empty()).await;
    heard.lock().unwrap().remove(0)
}

#[tokio::test]
async fn each_call_of_an_instance_has_its_own_requests_and_its_own_effects() {
    for keep in ["warm", "session"] {
        let server = server::serve(server::ok).await;
        let net = json!([{"to": server.url("/a/**"), "max_requests": 1}]);
        let host = fetching(keep, net).host(&prebuilt("fetch"));
        for number in 0..3 {
            let fine = fetch(&host, &server.url("/a/1")).await;
            assert_eq!(status(&fine), Ok(200), "{keep}");
            assert_eq!(effects(&fine), [format!("net.get {} Done", server.url("/a/1"))]);
            assert_eq!((instance(&fine).calls_before, instance(&fine).retired), (number, None), "{keep}");
        }
        assert_eq!(
            (server.connections(), server.seen().len()),
            (1, 3),
            "the connection is the host's, and is kept too"
        );
        let refused = fetch(&host, &server.url("/b")).await;
        assert_eq!((kind(&refused), effects(&refused).len()), (Some(ErrorKind::CapabilityDenied), 1), "{keep}");
        assert!(!message(&refused).is_empty());
        let next = fetch(&host, &server.url("/a/2")).await;
        assert_eq!(effects(&next), [format!("net.get {} Done", server.url("/a/2"))]);
    }
}

#[tokio::test]
async fn what_pieces_of_requests_pile_up_in_an_instance_leaves_each_call_its_room() {
    let server = server::serve(server::ok).await;
    let limits = LimitSettings { handles: Some(40), ..LimitSettings::default() };
    for keep in ["warm", "session"] {
        let host = fetching(keep, json!([{"to": server.url("/**")}])).limited(limits.clone()).host(&prebuilt("fetch"));
        let mut retired = Vec::new();
        // The options of a request are kept by the engine even where the guest has handed them over.
        for number in 0..50 {
            let outcome = fetch(&host, &server.url(&format!("/{number}"))).await;
            assert_eq!(status(&outcome), Ok(200), "{keep}");
            retired.extend(instance(&outcome).retired);
        }
        assert_eq!(retired, ["it held on to too much of what the host had handed to it"; 2], "{keep}");
    }
}

#[tokio::test]
async fn a_request_takes_no_longer_than_its_call_in_whatever_instance() {
    let limits = LimitSettings { time: common::span("200ms"), ..LimitSettings::default() };
    for keep in ["warm", "session"] {
        let (server, heard) = half_spoken("").await;
        let well = server::serve(server::ok).await;
        let net = json!([{"to": server.url("/**")}, {"to": well.url("/**")}]);
        let host = fetching(keep, net).limited(limits.clone()).host(&prebuilt("fetch"));
        for _ in 0..2 {
            assert_eq!(status(&fetch(&host, &well.url("/")).await), Ok(200));
            let late = fetch(&host, &server.url("/")).await;
            assert_eq!((kind(&late), instance(&late).retired), (Some(ErrorKind::TimedOut), Some("an attempt failed")));
            assert!(ended(&heard).await.starts_with("GET / "));
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_request_that_is_left_half_said_ends_with_its_call_and_the_session_goes_on() {
    let (server, heard) = half_spoken("").await;
    let net = json!([{"to": server.url("/**"), "methods": ["POST"]}]);
    let host = fetching("session", net).host(&prebuilt("fetch"));
    for number in 0..2 {
        let body = json!({"url": server.url("/"), "count": 2, "bytes": 1_000, "ending": "leave"});
        let left = call_in(&host, "s", "fetch_parts", body).await;
        assert_eq!(message(&left), "left");
        assert_eq!(effects(&left), [format!("net.post {} Indeterminate", server.url("/"))]);
        assert_eq!((instance(&left).calls_before, instance(&left).retired), (number, None));
        let sent = ended(&heard).await;
        assert!(sent.contains("xxx") && !sent.ends_with("0\r\n\r\n"), "it looks whole: {sent}");
    }
}

#[tokio::test]
async fn an_answer_that_is_kept_unread_holds_no_connection_between_calls() {
    let (server, heard) = half_spoken("HTTP/1.1 200 OK\r\ncontent-length: 1000\r\n\r\nhalf").await;
    let net = json!([{"to": server.url("/**")}]);
    for (keep, retired) in [("session", None), ("warm", Some("the tool left something open"))] {
        let host = fetching(keep, net.clone()).host(&prebuilt("fetch"));
        let left = call_in(&host, "s", "fetch_keep_answer", json!({"url": server.url("/")})).await;
        assert_eq!((value(&left), instance(&left).retired), (json!(200), retired), "{keep}");
        assert!(ended(&heard).await.starts_with("GET / "));
    }
}

#[tokio::test]
async fn a_body_that_was_begun_in_another_call_never_looks_whole() {
    let server = server::serve(|seen| text(200, format!("{:?}", seen.body))).await;
    let net = json!([{"to": server.url("/**"), "methods": ["POST"]}]);
    let host = fetching("session", net.clone()).host(&prebuilt("fetch"));
    let later = || call_in(&host, "s", "fetch_later", json!({"url": server.url("/")}));
    let begun = later().await;
    assert_eq!((value(&begun), instance(&begun).retired), (json!(null), None));
    let sent = later().await;
    assert!(sent.result.is_err(), "{:?}", sent.result);
    assert!(server.seen().iter().all(|seen| seen.body.is_err()), "{:?}", server.seen());
    // It is in order again, and nobody else gets what it has begun.
    assert_eq!((value(&later().await), instance(&sent).retired), (json!(null), None));
    let warm = fetching("warm", net).host(&prebuilt("fetch"));
    for _ in 0..2 {
        let begun = call_in(&warm, "s", "fetch_later", json!({"url": server.url("/")})).await;
        assert_eq!((value(&begun), instance(&begun).retired), (json!(null), Some("the tool left something open")));
    }
    tokio::time::sleep(Duration::from_millis(50)).await;
    assert!(server.seen().iter().all(|seen| seen.body.is_err()), "{:?}", server.seen());
}
