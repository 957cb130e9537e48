//! Requests that are signed: over what goes out in the end, and with no more of a body in memory than there is room for.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing, reason = "tests")]

mod common;

use std::time::SystemTime;

use common::server::{self, Names, Seen, Server, effects, fetching, granted, send, serve, serve_tls, status};
use common::{call, kind};
use serde_json::{Value, json};
use toolpost_core::catalog::settings::LimitSettings;
use toolpost_core::{ErrorKind, Host};
use toolpost_wasm::aws::{Line, Payload, Signer};

const SIGNER: Signer<'_> = Signer {
    access_key: "AKIDEXAMPLE",
    secret_key: "a key that the tool never has",
    session_token: None,
    region: "eu-central-1",
    service: "s3",
};

/// A grant to sign for that service.
fn grant(to: &str, service: &str) -> Value {
    let aws = json!({
        "service": service, "region": SIGNER.region, "access_key": SIGNER.access_key, "secret_key": SIGNER.secret_key,
    });
    json!({"to": to, "methods": ["GET", "POST"], "private": true, "max_request": "32 MiB", "inject": {"aws": aws}})
}

/// The signature that the service would make of what it has seen.
fn expected(seen: &Seen, service: &str, payload: &Payload) -> String {
    let (path, query) = seen.path.split_once('?').unwrap_or((&seen.path, ""));
    let line = Line { method: seen.method.as_str(), host: &seen.authority, path, query };
    let date = seen.headers["x-amz-date"].to_str().unwrap();
    let part = |at: usize, to: usize| &date[at..to];
    let date = [part(0, 4), "-", part(4, 6), "-", part(6, 11), ":", part(11, 13), ":", part(13, 16)].concat();
    let at: SystemTime = humantime::parse_rfc3339(&date).unwrap();
    let mut headers = seen.headers.clone();
    Signer { service, ..SIGNER }.sign(line, &mut headers, payload, at).unwrap();
    headers["authorization"].to_str().unwrap().to_owned()
}

#[track_caller]
fn check(seen: &Seen, service: &str, payload: &Payload) {
    assert_eq!(seen.headers["authorization"].to_str().unwrap(), expected(seen, service, payload));
    let hash = match payload {
        Payload::Hash(hash) => hash,
        Payload::Unsigned => "UNSIGNED-PAYLOAD",
    };
    assert_eq!(seen.headers["x-amz-content-sha256"], hash);
}

/// A host whose tool may send signed requests to `shop.test` over TLS.
async fn over_tls(version: &str, service: &str) -> (Host, Server, String) {
    let server = serve_tls(&[version], server::ok).await;
    let engine = server::engine(&Names::new(&[&["127.0.0.1"]]));
    let url = format!("https://shop.test:{}", server.address.port());
    let net = json!([grant(&format!("{url}/**"), service)]);
    (granted(&server::load(&engine, "fetch"), net, &LimitSettings::default()), server, url)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_goes_out_over_either_version_of_http_is_what_was_signed() {
    for version in ["h2", "http/1.1"] {
        let (host, server, url) = over_tls(version, "execute-api").await;
        let outcome = send(&host, "POST", &format!("{url}/a%20b/(c)?z=1&a=%2F"), b"{\"a\":1}").await;
        assert_eq!(status(&outcome), Ok(200));
        check(&server.seen()[0], "execute-api", &Payload::of(b"{\"a\":1}"));
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn only_s3_and_only_over_tls_gets_a_stream_whose_body_is_not_signed() {
    let body = vec![b'x'; 100_000];
    for (service, payload) in [("s3", Payload::Unsigned), ("execute-api", Payload::of(&body))] {
        let (host, server, url) = over_tls("http/1.1", service).await;
        assert_eq!(status(&send(&host, "POST", &url, &body).await), Ok(200));
        let seen = &server.seen()[0];
        check(seen, service, &payload);
        assert_eq!(seen.body.as_ref().unwrap().len(), body.len());
        assert_eq!(seen.headers.contains_key("content-length"), payload != Payload::Unsigned);
        // What is there at once is signed in any case.
        assert_eq!(status(&send(&host, "POST", &url, b"short").await), Ok(200));
        check(&server.seen()[1], service, &Payload::of(b"short"));
    }
    let server = serve(server::ok).await;
    let host = fetching(json!([grant(&server.url("/**"), "s3")]));
    assert_eq!(status(&send(&host, "POST", &server.url("/"), &body).await), Ok(200));
    check(&server.seen()[0], "s3", &Payload::of(&body));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_body_for_which_there_is_no_room_is_refused_before_anything_is_sent() {
    let server = serve(server::ok).await;
    let parts =
        |bytes: u32| json!({"url": server.url("/"), "count": bytes / 4_000, "bytes": 4_000, "ending": "finish"});
    let of = |grant: Value| {
        let limits = LimitSettings { time: common::span("60s"), ..LimitSettings::default() };
        granted(&common::prebuilt("fetch"), json!([grant]), &limits)
    };
    let host = of(grant(&server.url("/**"), "execute-api"));
    let outcome = call(&host, "fetch_parts", parts(17_000_000)).await;
    assert_eq!(kind(&outcome), Some(ErrorKind::QuotaExceeded));
    let said = outcome.result.as_ref().unwrap_err().message.clone();
    assert!(
        said.starts_with(
            "the body is longer than what is left of 16.0 MiB: a request that is signed is kept whole until it is sent, and \
             all of them together have so much in one attempt; the tool can send less at once; the tool ended with: "
        ),
        "{said}"
    );
    assert_eq!(effects(&outcome), [format!("net.post {} Refused", server.url("/"))]);
    let mut less = grant(&server.url("/**"), "s3");
    less["max_request"] = json!("1 MiB");
    let outcome = call(&of(less), "fetch_parts", parts(2_000_000)).await;
    let said = outcome.result.as_ref().unwrap_err().message.clone();
    assert!(said.starts_with("the request is longer than the 1.0 MiB that its grant allows"), "{said}");
    assert_eq!(server.connections(), 0);
    // What fits is sent.
    assert_eq!(status(&call(&host, "fetch_parts", parts(16_000_000)).await), Ok(200));
    assert_eq!(server.seen()[0].body.as_ref().unwrap().len(), 16_000_000);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_body_that_breaks_off_is_not_sent() {
    let server = serve(server::ok).await;
    let host = fetching(json!([grant(&server.url("/**"), "execute-api")]));
    for ending in ["give-up", "leave", "trap"] {
        let parts = json!({"url": server.url("/"), "count": 3, "bytes": 4_000, "ending": ending});
        assert!(call(&host, "fetch_parts", parts).await.result.is_err(), "{ending}");
    }
    assert_eq!(server.connections(), 0);
}
