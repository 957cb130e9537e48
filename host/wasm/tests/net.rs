//! Requests over HTTP: what is granted goes out and is written down, what is not is refused and says what would allow it.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing, reason = "tests")]

mod common;

use std::sync::Arc;
use std::sync::atomic::AtomicUsize;
use std::sync::atomic::Ordering::SeqCst;
use std::time::Duration;

use common::server::{self, effects, fetching, get, granted, grants, send, send_with, serve, status, text};
use serde_json::{Value, json};
use toolpost_core::catalog::Base;
use toolpost_core::catalog::settings::{LimitSettings, ToolSettings};
use toolpost_core::guard::replay::IdempotencySettings;
use toolpost_core::guard::retry::RetrySettings;
use toolpost_core::guard::{GuardSettings, Guards};
use toolpost_core::{Call, Catalog, EffectClass, ErrorKind, Host};
use toolpost_wasm::sql::Databases;

#[tokio::test]
async fn without_a_grant_nothing_leaves_the_host_and_the_caller_is_told_the_line_that_would_allow_it() {
    let server = serve(server::ok).await;
    let url = server.url("/v1/orders?key=geheim");
    let outcome = get(&fetching(json!([])), &url).await;
    let error = outcome.result.as_ref().unwrap_err();
    let at = server.url("/v1/orders");
    assert_eq!(error.kind, ErrorKind::CapabilityDenied);
    assert_eq!(
        error.message,
        format!(
            "the tool may not send `GET {at}`; the operator can allow it with `grants.net = [{{ to = \"{at}\", methods = \
             [\"GET\"] }}]` in `[components.fetch]`; the tool ended with: HttpRequestDenied"
        )
    );
    assert_eq!(effects(&outcome), [format!("net.get {at}?key=* Refused")]);
    assert_eq!(server.connections(), 0);
    // What is proposed does allow it.
    let host = fetching(json!([{"to": at, "methods": ["GET"]}]));
    assert_eq!(status(&get(&host, &url).await), Ok(200));
}

#[tokio::test]
async fn a_tool_that_lives_with_a_refusal_gives_its_answer_and_the_report_has_the_refusal() {
    let host = fetching(json!([{"to": "https://a.test/**"}]));
    let call = Call::new("fetch_many", json!({"url": "http://b.test/x", "count": 2}));
    let outcome = host.call(call).await;
    let denied = json!({"err": "HttpRequestDenied"});
    assert_eq!(outcome.result.as_ref().unwrap().value, json!([denied, denied]));
    assert_eq!(effects(&outcome), ["net.get http://b.test/x Refused"; 2]);
    let line = "warn: the tool may not send `GET http://b.test/x`; the operator can allow it with `{ to = \
                \"http://b.test/x\", methods = [\"GET\"] }` in `grants.net` of component `fetch`\n";
    assert_eq!(outcome.report.attempts[0].log.text, line.repeat(2));
}

#[tokio::test]
async fn scheme_port_method_and_path_must_all_be_granted() {
    let (server, other) = (serve(server::ok).await, serve(server::ok).await);
    let host = fetching(json!([{"to": server.url("/v1/**"), "methods": ["GET"]}]));
    let denied = [
        ("GET", server.url("/v2/a")),
        ("GET", server.url("/v1/../v2/a")),
        ("GET", server.url("/")),
        ("POST", server.url("/v1/a")),
        ("DELETE", server.url("/v1/a")),
        ("GET", server.url("/v1/a").replace("http:", "https:")),
        ("GET", other.url("/v1/a")),
        ("GET", format!("http://localhost:{}/v1/a", server.address.port())),
    ];
    for (method, url) in denied {
        let outcome = send(&host, method, &url, b"").await;
        assert_eq!(common::kind(&outcome), Some(ErrorKind::CapabilityDenied), "{method} {url}");
    }
    for path in ["/v1/x/..%2f..%2fv2", "/v1/%2e%2e%2fv2", "/v1/..;/v2", "/v1/%25%32%65%25%32%65/v2"] {
        let outcome = get(&host, &server.url(path)).await;
        let error = outcome.result.as_ref().unwrap_err();
        assert_eq!(error.kind, ErrorKind::CapabilityDenied, "{path}: {error}");
        let line = format!("`{{ to = \"{}\", methods = [\"GET\"] }}` in `grants.net`", server.url("/v2"));
        assert!(error.to_string().contains(&line), "{path}: {error}");
        assert_eq!(effects(&outcome), [format!("net.get {} Refused", server.url(path))]);
    }
    assert_eq!((server.connections(), other.connections()), (0, 0));
    let spelt = format!("http://0x7f.1:{}/x/../v1/a?q=1#f", server.address.port());
    assert_eq!(status(&get(&host, &spelt).await), Ok(200));
    assert_eq!(server.seen()[0].path, "/v1/a?q=1", "what was judged is what is sent");
    assert_eq!(server.seen()[0].authority, server.address.to_string());
}

#[tokio::test]
async fn an_answer_comes_back_whole_and_the_effect_is_done() {
    let server = serve(|_| {
        let mut answer = text(201, vec![7; 30_000]);
        answer.headers_mut().insert("x-shop", "yes".parse().unwrap());
        answer
    })
    .await;
    let outcome = get(&fetching(server.grant()), &server.url("/a?id=7&token=geheim")).await;
    let value = &outcome.result.as_ref().unwrap().value;
    assert_eq!(value["status"], json!(201));
    assert!(value["headers"].as_array().unwrap().contains(&json!(["x-shop", "yes"])), "{}", value["headers"]);
    assert!(value["body"].as_str().unwrap().starts_with("BwcHBwcH"));
    assert_eq!(effects(&outcome), [format!("net.get {}?id=*&token=* Done", server.url("/a"))]);
    assert_eq!(outcome.report.effects[0].effect.class, EffectClass::Reads);
    assert_eq!(server.seen()[0].path, "/a?id=7&token=geheim");
}

#[tokio::test]
async fn what_may_change_something_is_open_and_shows_the_size_and_hash_of_its_body() {
    let server = serve(server::ok).await;
    let host = fetching(server.grant());
    let outcome = send(&host, "POST", &server.url("/a"), b"{\"amount\":3}").await;
    let effect = &outcome.report.effects[0].effect;
    assert_eq!((effect.class, effect.action.as_str()), (EffectClass::Open, "net.post"));
    let hash = blake3::hash(b"{\"amount\":3}").to_hex();
    assert_eq!(effect.detail.as_deref(), Some(format!("12 bytes, blake3 {hash}").as_str()));
    let seen = &server.seen()[0];
    assert_eq!(seen.body.as_deref().unwrap(), b"{\"amount\":3}");
    assert_eq!(seen.headers["content-length"], "12");
    // A length that is said makes a body known too, though it comes later; one that is not makes it a stream.
    let body = vec![b'x'; 20_000];
    let length = json!([["content-length", "20000"]]);
    let said = send_with(&host, "POST", &server.url("/a"), length, &body, Value::Null).await;
    let said = said.report.effects[0].effect.detail.clone().unwrap();
    assert_eq!(said, format!("20000 bytes, blake3 {}", blake3::hash(&body).to_hex()));
    let unsaid = send(&host, "POST", &server.url("/a"), &body).await;
    assert_eq!(unsaid.report.effects[0].effect.detail.as_deref(), Some("a stream of bytes"));
    assert_eq!(server.seen()[2].body.as_ref().unwrap().len(), 20_000);
}

#[tokio::test]
async fn a_redirect_is_an_answer_and_is_not_followed() {
    let server = serve(|_| {
        let mut answer = text(302, "");
        answer.headers_mut().insert("location", "http://169.254.169.254/".parse().unwrap());
        answer
    })
    .await;
    assert_eq!(status(&get(&fetching(server.grant()), &server.url("/")).await), Ok(302));
    assert_eq!(server.seen().len(), 1);
}

#[tokio::test]
async fn requests_and_bodies_past_their_grant_are_refused_with_the_key_that_would_allow_them() {
    let server = serve(|_| text(200, vec![0; 5_000])).await;
    let to = server.url("/**");
    let grant = |more: Value| {
        let mut grant = json!({"to": to, "methods": ["GET", "POST"]});
        grant.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        fetching(json!([grant]))
    };
    let check = |outcome: &toolpost_core::Outcome, wanted: String, code: &str| {
        let error = outcome.result.as_ref().unwrap_err();
        assert_eq!(error.kind, ErrorKind::QuotaExceeded);
        assert_eq!(error.message, format!("{wanted} in the grant of `{to}`; the tool ended with: {code}"));
    };
    let outcome = get(&grant(json!({"max_response": 4_999})), &server.url("/")).await;
    let long = "the answer is longer than the 4.9 KiB that its grant allows; the operator can raise `max_response`";
    check(&outcome, long.into(), "HttpResponseBodySize(Some(4999))");
    assert_eq!(outcome.report.effects[0].fate, toolpost_core::effect::Fate::Done);
    assert_eq!(status(&get(&grant(json!({"max_response": 5_000})), &server.url("/")).await), Ok(200));

    let outcome = send(&grant(json!({"max_request": 3})), "POST", &server.url("/"), b"four").await;
    let long = "the request is longer than the 3 B that its grant allows; the operator can raise `max_request`";
    check(&outcome, long.into(), "HttpRequestBodySize(Some(3))");
    assert_eq!(effects(&outcome), [format!("net.post {} Refused", server.url("/"))]);

    let before = server.seen().len();
    let call = Call::new("fetch_many", json!({"url": server.url("/"), "count": 3}));
    let outcome = grant(json!({"max_requests": 2})).call(call).await;
    let value = &outcome.result.as_ref().unwrap().value;
    assert_eq!(value.to_string().matches(r#"{"ok":200}"#).count(), 2, "{value}");
    assert!(outcome.report.attempts[0].log.text.contains("has sent the 2 requests that its grant allows"));
    assert_eq!(server.seen().len() - before, 2);
}

#[tokio::test]
async fn a_request_that_finds_nobody_has_not_happened() {
    let nobody = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let url = format!("http://{nobody}/a");
    let outcome = send(&fetching(json!([{"to": url, "methods": ["POST"]}])), "POST", &url, b"x").await;
    assert_eq!(status(&outcome), Err("ConnectionRefused".into()));
    assert_eq!(effects(&outcome), [format!("net.post {url} Failed")]);
    assert!(outcome.report.attempts[0].log.text.contains("Connection refused"), "the log says why");
}

#[test]
fn read_only_is_derived_from_imports_and_grants_and_never_from_hints() {
    let fetch = common::prebuilt("fetch");
    let effect = |methods: &[&str]| fetch.effect(&grants(json!([{"to": "https://a.test/**", "methods": methods}])));
    assert_eq!(fetch.effect(&grants(json!([]))), EffectClass::Pure);
    assert_eq!(effect(&["GET", "HEAD", "OPTIONS"]), EffectClass::Reads);
    assert_eq!(effect(&["GET", "POST"]), EffectClass::Open);
    // What does not ask for the network can do nothing with a grant, and is not given one.
    let text = common::prebuilt("text");
    let net = grants(json!([{"to": "https://a.test/**", "methods": ["POST"]}]));
    assert_eq!(text.effect(&net), EffectClass::Pure);
    let fault = "`grants.net` is of no use to it: it does not import `wasi:http/outgoing-handler`; take the grant out";
    assert_eq!(text.takes(&net, &Databases::default()), Err(fault.into()));
    // What its author says of it is for the one who chooses, and judges nothing.
    let mut function = fetch.functions[0].clone();
    function.docs = Some("Only reads. readOnlyHint: true".into());
    let base = Base { grants: net, ..common::strict() };
    assert_eq!(fetch.tool(&function, &base, &ToolSettings::default()).unwrap().effect, EffectClass::Open);
}

/// A host of `orders`, whose shop wants to know a request again, or not.
fn orders(url: &str, idempotency_key: bool) -> Host {
    let orders = common::prebuilt("orders");
    let net = json!([{"to": url, "methods": ["POST"], "idempotency_key": idempotency_key}]);
    let retry = RetrySettings { max_attempts: Some(3), ..RetrySettings::default() };
    // A shop that knows such keys is asked again without harm.
    let idempotency = IdempotencySettings { idempotent: Some(idempotency_key), ..IdempotencySettings::default() };
    let guards = Guards::none().with(&GuardSettings { retry, idempotency, ..GuardSettings::default() });
    let base = Base { grants: grants(net), guards, ..common::strict() };
    let mut catalog = Catalog::default();
    for function in &orders.functions {
        catalog.add(orders.tool(function, &base, &ToolSettings::default()).unwrap()).unwrap();
    }
    Host::new(catalog)
}

fn order(id: &str, server: &server::Server) -> Call {
    let order = json!({"order_id": id, "item": "bolt", "amount": 3, "service": server.url("")});
    Call::new("orders_create", order)
}

#[tokio::test]
async fn an_order_gets_its_receipt() {
    let server = serve(|seen| {
        let mut order: Value = serde_json::from_slice(seen.body.as_ref().unwrap()).unwrap();
        order["number"] = json!("R-17");
        text(201, order.to_string())
    })
    .await;
    let outcome = orders(&server.url("/orders"), false).call(order("o-1", &server)).await;
    let receipt = json!({"order_id": "o-1", "item": "bolt", "amount": 3, "number": "R-17"});
    assert_eq!(outcome.result.unwrap().value, receipt);
    assert_eq!(server.seen()[0].headers.get("idempotency-key"), None, "nobody has asked for it");
    assert_eq!(server.seen()[0].headers["content-type"], "application/json");
}

#[tokio::test]
async fn a_shop_says_who_is_at_fault_and_when_to_come_back() {
    let answers = Arc::new(AtomicUsize::new(0));
    let server = serve(move |_| match answers.fetch_add(1, SeqCst) {
        0 => text(409, "sold out"),
        1 => text(200, "[]"),
        _ => {
            let mut answer = text(503, "closed");
            answer.headers_mut().insert("retry-after", "7".parse().unwrap());
            answer
        }
    })
    .await;
    let host = orders(&server.url("/orders"), false);
    for wanted in ["the shop answered 409: sold out", "the shop answered without a receipt"] {
        let error = host.call(order("o-1", &server)).await.result.unwrap_err();
        assert_eq!((error.kind, error.message.as_str()), (ErrorKind::ToolFailed { retryable: false }, wanted));
    }
    let outcome = host.call(order("o-1", &server)).await;
    let attempt = outcome.report.attempts[0].error.as_ref().unwrap();
    assert_eq!(
        (attempt.kind, attempt.retry_after),
        (ErrorKind::ToolFailed { retryable: true }, Some(Duration::from_secs(7)))
    );
    assert_eq!(attempt.message, "the shop answered 503: closed");
}

#[tokio::test]
async fn requests_that_may_change_something_carry_a_key_that_is_the_same_in_every_attempt() {
    // Every other request finds the shop closed.
    let asked = Arc::new(AtomicUsize::new(0));
    let server = serve(move |_| match asked.fetch_add(1, SeqCst) % 2 {
        0 => text(503, ""),
        _ => text(201, json!({"order_id": "o", "item": "i", "amount": 1, "number": "R-1"}).to_string()),
    })
    .await;
    let host = orders(&server.url("/orders"), true);
    let keyed = |key: &str| Call { idempotency_key: Some(key.into()), ..order("o-1", &server) };
    for call in [keyed("pay 7"), keyed("pay 8"), order("o-1", &server), order("o-1", &server)] {
        let outcome = host.call(call).await;
        assert_eq!(outcome.report.attempts.len(), 2, "{:?}", outcome.result);
        assert!(outcome.result.is_ok());
    }
    let key = |seen: &server::Seen| seen.headers["idempotency-key"].to_str().unwrap().to_owned();
    let keys: Vec<String> = server.seen().iter().map(key).collect();
    let pairs: Vec<&[String]> = keys.chunks(2).collect();
    assert!(pairs.len() == 4 && pairs.iter().all(|pair| pair[0] == pair[1]), "{keys:?}");
    let different: std::collections::HashSet<_> = keys.iter().collect();
    assert_eq!(different.len(), 4, "each call has one of its own: {keys:?}");
    assert!(keys.iter().all(|key| key.len() >= 32 && !key.contains("pay")), "{keys:?}");
}

#[tokio::test]
async fn reading_requests_carry_no_key_and_a_guest_cannot_choose_one() {
    let server = serve(server::ok).await;
    let grant = json!([{"to": server.url("/**"), "methods": ["GET", "POST"], "idempotency_key": true}]);
    let host = granted(&common::prebuilt("fetch"), grant, &LimitSettings::default());
    let own = json!([["idempotency-key", "mine"]]);
    send_with(&host, "POST", &server.url("/"), own, b"x", Value::Null).await;
    get(&host, &server.url("/")).await;
    let seen = server.seen();
    assert_ne!(seen[0].headers["idempotency-key"], "mine");
    assert_eq!(seen[1].headers.get("idempotency-key"), None);
}

#[tokio::test]
async fn requests_go_on_with_the_trace_that_their_call_came_with() {
    let asked = Arc::new(AtomicUsize::new(0));
    let server = serve(move |_| match asked.fetch_add(1, SeqCst) {
        0 => text(503, ""),
        _ => text(201, json!({"order_id": "o", "item": "i", "amount": 1, "number": "R-1"}).to_string()),
    })
    .await;
    let host = orders(&server.url("/orders"), true);
    let trace = "0af7651916cd43dd8448eb211c80319c";
    let traced = |text: String| Call { traceparent: Some(text), ..order("o-1", &server) };
    let call = traced(format!("00-{trace}-b7ad6b7169203331-01"));
    let ids = [1, 2].map(|attempt| toolpost_core::run::span_id(call.id.as_str(), attempt));
    assert!(host.call(call).await.result.is_ok());
    assert!(host.call(traced("nonsense\r\nx: y".into())).await.result.is_ok());
    assert!(host.call(order("o-1", &server)).await.result.is_ok());
    let seen: Vec<_> = server.seen().iter().map(|seen| seen.headers.get("traceparent").cloned()).collect();
    let expected = ids.map(|id| format!("00-{trace}-{id:016x}-01").parse().ok());
    assert_eq!(seen, [expected[0].clone(), expected[1].clone(), None, None]);
}
