//! Traces and metrics, as those who take them see them: a collector and a reader on this machine.
#![cfg(all(feature = "otlp", feature = "prometheus"))]
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing, reason = "tests")]

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use opentelemetry_proto::tonic::collector::trace::v1::ExportTraceServiceRequest;
use opentelemetry_proto::tonic::common::v1::KeyValue;
use opentelemetry_proto::tonic::common::v1::any_value::Value as Any;
use opentelemetry_proto::tonic::trace::v1::Span;
use prost::Message as _;
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};
use tokio::time::{sleep, timeout};
use toolpost::core::catalog::shape::Shape;
use toolpost::core::guard::breaker::Key;
use toolpost::core::run::span_id;
use toolpost::telemetry::prometheus::Prometheus;
use toolpost::{Builder, Call, CallError, CallId, Effect, EffectClass, ErrorKind, Host, Native, Settings, Stage};

/// Tools: one reads a file, one works at the second attempt, one fails.
fn builder(said: &str) -> Builder {
    let settings = Settings::parse(said, Path::new("toolpost.toml")).unwrap();
    let native = |name: &str| {
        Native::new(name, "Does something")
            .parameter("password", Shape::Option(Box::new(Shape::String)))
            .effect(EffectClass::Reads)
    };
    let tries = Arc::new(AtomicU32::new(0));
    Builder::new()
        .settings(settings)
        .in_memory()
        .native(native("reads"), |attempt| async move {
            let effect =
                Effect { class: EffectClass::Reads, action: "files.read".into(), target: "a.txt".into(), detail: None };
            attempt.pass(effect).await?.done();
            Ok(json!("it is read"))
        })
        .native(native("at_last"), move |_| {
            let first = tries.fetch_add(1, Ordering::SeqCst) == 0;
            async move { if first { Err(failure(true)) } else { Ok(Value::Null) } }
        })
        .native(native("fails"), |_| async { Err(failure(false)) })
}

fn failure(retryable: bool) -> CallError {
    CallError::new(ErrorKind::ToolFailed { retryable }, Stage::Run, "it is away")
}

async fn call(host: &Host, tool: &str) {
    host.call(Call { id: CallId::given(format!("of {tool}")), ..Call::new(tool, json!({"password": "hunter2"})) })
        .await;
}

/// A collector that takes one request: its head and its body.
async fn one_request(listener: TcpListener) -> (String, Vec<u8>) {
    let (mut stream, _) = listener.accept().await.unwrap();
    let mut bytes = Vec::new();
    let head = loop {
        let mut more = [0; 4096];
        let count = stream.read(&mut more).await.unwrap();
        bytes.extend_from_slice(&more[..count]);
        if let Some(end) = bytes.windows(4).position(|end| end == b"\r\n\r\n") {
            break String::from_utf8(bytes.drain(..end + 4).collect()).unwrap();
        }
    };
    let length = head.lines().find_map(|line| line.to_lowercase().strip_prefix("content-length: ").map(str::to_owned));
    let mut rest = vec![0; length.unwrap().parse::<usize>().unwrap() - bytes.len()];
    stream.read_exact(&mut rest).await.unwrap();
    bytes.extend(rest);
    stream.write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n").await.unwrap();
    (head, bytes)
}

fn attributes(list: &[KeyValue]) -> BTreeMap<&str, Value> {
    let value = |value: &KeyValue| match value.value.as_ref().and_then(|value| value.value.as_ref()).unwrap() {
        Any::StringValue(text) => json!(text),
        Any::IntValue(number) => json!(number),
        Any::DoubleValue(number) => json!(number),
        other => panic!("{other:?}"),
    };
    list.iter().map(|pair| (pair.key.as_str(), value(pair))).collect()
}

/// All spans that one request brings to a collector when these calls are made.
async fn spans_of(content: bool, calls: impl AsyncFnOnce(&Host)) -> Vec<Span> {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let collector = tokio::spawn(one_request(listener));
    let said = format!("[telemetry]\notlp = \"http://{address}\"\ncontent = {content}");
    let host = builder(&said).build().await.unwrap();
    calls(&host).await;
    host.flush().await;
    let (head, body) = timeout(Duration::from_secs(20), collector).await.unwrap().unwrap();
    assert!(head.starts_with("POST /v1/traces HTTP/1.1\r\n") && head.contains("application/x-protobuf"), "{head}");
    let request = ExportTraceServiceRequest::decode(body.as_slice()).unwrap();
    let resource = &request.resource_spans[0];
    assert_eq!(attributes(&resource.resource.as_ref().unwrap().attributes)["service.name"], "toolpost");
    resource.scope_spans.iter().flat_map(|scope| scope.spans.clone()).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_collector_gets_a_span_for_each_call_and_each_attempt_in_the_trace_that_the_call_came_with() {
    let spans = spans_of(false, async |host| {
        let traceparent = Some("00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01".into());
        host.call(Call { id: CallId::given("one"), traceparent, ..Call::new("at_last", json!({})) }).await;
    })
    .await;
    let names: Vec<&str> = spans.iter().map(|span| span.name.as_str()).collect();
    assert_eq!(names, ["attempt 1", "attempt 2", "execute_tool at_last"]);
    let [first, second, call] = spans.as_slice() else { panic!() };
    let hex = |bytes: &[u8]| bytes.iter().map(|byte| format!("{byte:02x}")).collect::<String>();
    assert_eq!(hex(&call.parent_span_id), "b7ad6b7169203331");
    assert!(spans.iter().all(|span| hex(&span.trace_id) == "0af7651916cd43dd8448eb211c80319c"));
    assert!([first, second].iter().all(|attempt| attempt.parent_span_id == call.span_id));
    // What an attempt sends out names it so.
    let ids = [1, 2].map(|attempt| span_id("one", attempt).to_be_bytes());
    assert_eq!([&first.span_id[..], &second.span_id[..]], [&ids[0][..], &ids[1][..]]);
    let said = attributes(&call.attributes);
    for (name, value) in [
        ("gen_ai.operation.name", json!("execute_tool")),
        ("gen_ai.tool.name", json!("at_last")),
        ("gen_ai.tool.call.id", json!("one")),
        ("gen_ai.tool.description", json!("Does something")),
        ("toolpost.outcome", json!("ok")),
        ("toolpost.attempts", json!(2)),
        ("toolpost.effect", json!("reads")),
    ] {
        assert_eq!(said[name], value, "{name}");
    }
    assert!(said["toolpost.retry_wait_ms"].as_f64().unwrap() > 0.0);
    assert!(!said.contains_key("error.type") && !said.contains_key("gen_ai.tool.call.arguments"), "{said:?}");
    assert_eq!(attributes(&first.attributes)["error.type"], "tool_failed");
    assert_eq!(first.status.as_ref().unwrap().message, "tool_failed");
    assert_eq!(call.events[0].name, "toolpost.retry");
}

#[tokio::test(flavor = "multi_thread")]
async fn arguments_and_results_are_sent_only_when_asked_for_and_masked() {
    let spans = spans_of(true, async |host| call(host, "reads").await).await;
    let said = attributes(&spans[1].attributes);
    assert_eq!(said["gen_ai.tool.call.arguments"], r#"{"password":"***"}"#);
    assert_eq!(said["gen_ai.tool.call.result"], r#""it is read""#);
    let effect = attributes(&spans[0].events[0].attributes);
    assert_eq!(
        (&effect["toolpost.effect.action"], &effect["toolpost.effect.target"]),
        (&json!("files.read"), &json!("a.txt"))
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn the_words_of_a_failure_are_sent_only_with_content_and_masked() {
    for (content, words) in
        [(false, ["tool_failed", "tool_failed", "invalid_arguments"]), (true, ["it is away", "it is away", "***"])]
    {
        let spans = spans_of(content, async |host| {
            call(host, "fails").await;
            host.call(Call::new("reads", json!({"password": ["hunter2"]}))).await;
        })
        .await;
        assert_eq!(spans.len(), words.len());
        for (span, words) in spans.iter().zip(words) {
            let message = &span.status.as_ref().unwrap().message;
            assert!(message.contains(words) && !message.contains("hunter2"), "{message}");
            assert!(content || message == words, "{message}");
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_no_traceparent_begins_a_trace_of_its_own() {
    let spans = spans_of(false, async |host| {
        host.call(Call { traceparent: Some("nonsense".into()), ..Call::new("reads", json!({})) }).await;
    })
    .await;
    assert!(spans[1].parent_span_id.is_empty() && spans[1].trace_id.iter().any(|byte| *byte != 0));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_collector_that_is_away_holds_up_no_call_and_a_flush_only_for_a_while() {
    let host = builder("[telemetry]\notlp = \"http://127.0.0.1:9\"").build().await.unwrap();
    let calls = async {
        for _ in 0..1_000 {
            call(&host, "reads").await;
        }
    };
    timeout(Duration::from_secs(5), calls).await.expect("calls go on");
    timeout(Duration::from_secs(8), host.flush()).await.expect("a flush ends");
}

/// What is served at a path to one who asks for it under that name.
async fn get(address: SocketAddr, path: &str, host: &str) -> String {
    let mut stream = TcpStream::connect(address).await.unwrap();
    let request = format!("GET {path} HTTP/1.1\r\nhost: {host}\r\nconnection: close\r\n\r\n");
    stream.write_all(request.as_bytes()).await.unwrap();
    let mut text = String::new();
    stream.read_to_string(&mut text).await.unwrap();
    text
}

async fn until_gone(address: SocketAddr) {
    let gone = async {
        while TcpStream::connect(address).await.is_ok() {
            sleep(Duration::from_millis(20)).await;
        }
    };
    timeout(Duration::from_secs(10), gone).await.expect("nobody serves any more");
}

#[tokio::test]
async fn prometheus_finds_every_metric_by_its_name() {
    let prometheus = Arc::new(Prometheus::serve("127.0.0.1:0".parse().unwrap()).unwrap());
    let host = builder("guard.rate.caller = \"4/h\"").sink(prometheus.clone()).build().await.unwrap();
    prometheus.look_at(&host);
    for tool in ["reads", "at_last", "fails", "nobody_at_all", "reads", "reads"] {
        call(&host, tool).await;
    }
    host.breakers().find(&Key::tool("reads")).unwrap().isolate("ops", "", None);
    let (breaker, time) = (toolpost::core::guard::breaker::Settings::None, Duration::from_secs(1));
    host.breakers().get(&Key::egress("reads", "shop.test:443"), &breaker, time).isolate("ops", "", None);
    let page = get(prometheus.address(), "/metrics", "localhost:9464").await;
    assert!(page.starts_with("HTTP/1.1 200 OK\r\n") && page.contains("text/plain; version=0.0.4"), "{page}");
    for line in [
        r#"toolpost_calls_total{tool="reads",outcome="ok",class="reads"} 2"#,
        r#"toolpost_calls_total{tool="fails",outcome="tool_failed",class="reads"} 1"#,
        r#"toolpost_calls_total{tool="",outcome="unknown_tool",class=""} 1"#,
        r#"toolpost_calls_total{tool="reads",outcome="rate_limited",class="reads"} 1"#,
        r#"toolpost_rate_limited_total{tool="reads"} 1"#,
        r#"toolpost_call_seconds_count{tool="reads",outcome="ok"} 2"#,
        r#"toolpost_attempts_total{tool="at_last",outcome="tool_failed"} 1"#,
        r#"toolpost_attempts_total{tool="at_last",outcome="ok"} 1"#,
        r#"toolpost_retry_budget_tokens{tool="at_last"} 486"#,
        r#"toolpost_breaker_state{kind="tool",name="reads"} 3"#,
        r#"toolpost_breaker_transitions_total{kind="tool",name="reads",to="isolated"} 1"#,
        r#"toolpost_breaker_state{kind="egress",name="reads",authority="shop.test:443"} 3"#,
        r#"toolpost_queue_seconds_count{tool="reads"} 2"#,
        r#"toolpost_fuel_total{tool="reads"} 0"#,
        "toolpost_inflight 0",
        "toolpost_waiting 0",
        "# TYPE gen_ai_execute_tool_duration histogram",
    ] {
        assert!(page.contains(line), "{line} is not in {page}");
    }
    assert!(page.contains(r#"gen_ai_tool_name="fails",error_type="tool_failed""#), "{page}");
    assert!(!page.contains("nobody_at_all") && !page.contains("hunter2"), "{page}");
}

#[tokio::test]
async fn names_of_servers_that_guests_make_up_do_not_fill_the_page() {
    let prometheus = Arc::new(Prometheus::serve("127.0.0.1:0".parse().unwrap()).unwrap());
    let host = builder("").sink(prometheus.clone()).build().await.unwrap();
    for number in 0..1_100 {
        let key = Key::egress(format!("reads_{}", number % 20), format!("host-{number}.test:443"));
        let settings = toolpost::core::guard::breaker::Settings::None;
        host.breakers().get(&key, &settings, Duration::from_secs(1)).isolate("ops", "", None);
    }
    let page = get(prometheus.address(), "/metrics", "localhost:9464").await;
    assert_eq!(page.matches("toolpost_breaker_state{").count(), 1_000);
}

#[tokio::test]
async fn metrics_are_served_to_this_machine_alone_and_no_longer_than_their_host_lives() {
    let prometheus = Arc::new(Prometheus::serve("127.0.0.1:0".parse().unwrap()).unwrap());
    let address = prometheus.address();
    for (host, status) in [("127.0.0.1", "200"), ("[::1]:9464", "200"), ("evil.example", "403"), ("10.0.0.1", "403")] {
        let answer = get(address, "/metrics", host).await;
        assert!(answer.starts_with(&format!("HTTP/1.1 {status} ")), "{host}: {answer}");
    }
    let host = builder("").sink(prometheus).build().await.unwrap();
    drop(host);
    until_gone(address).await;
}

#[tokio::test]
async fn settings_serve_metrics_and_an_address_that_is_taken_is_a_fault() {
    let taken = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = taken.local_addr().unwrap();
    let said = format!("[telemetry]\nprometheus = \"{address}\"");
    let faults = builder(&said).build().await.unwrap_err().to_string();
    assert!(
        faults.starts_with(&format!("the host: `telemetry.prometheus`: nothing can be served at `{address}`: ")),
        "{faults}"
    );
    drop(taken);
    let host = builder(&said).build().await.unwrap();
    call(&host, "reads").await;
    let page = get(address, "/metrics", "localhost").await;
    assert!(page.contains(r#"toolpost_calls_total{tool="reads",outcome="ok",class="reads"} 1"#), "{page}");
}

#[tokio::test]
async fn metrics_go_on_when_settings_are_read_again() {
    let free = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = free.local_addr().unwrap();
    drop(free);
    let said = |more: &str| format!("[telemetry]\nprometheus = \"{address}\"\n{more}");
    let loaded = builder(&said("")).load().await;
    let reloader = loaded.reloader("toolpost.toml");
    call(&loaded.host, "reads").await;
    let other = Settings::parse(&said("[limits]\ntime = \"9s\""), Path::new("toolpost.toml")).unwrap();
    reloader.reload_with(other).await.unwrap();
    call(&loaded.host, "reads").await;
    let page = get(address, "/metrics", "localhost").await;
    assert!(page.contains(r#"toolpost_calls_total{tool="reads",outcome="ok",class="reads"} 2"#), "{page}");

    reloader.reload_with(Settings::default()).await.unwrap();
    drop((loaded, reloader));
    until_gone(address).await;
}

#[test]
fn an_address_that_others_can_reach_and_a_collector_without_a_scheme_are_faults() {
    let fault = |said: &str| Settings::parse(said, Path::new("toolpost.toml")).unwrap_err()[0].to_string();
    assert_eq!(
        fault("[telemetry]\nprometheus = \"0.0.0.0:9464\""),
        "toolpost.toml:2: expected an address of this machine alone, for example \"127.0.0.1:9464\""
    );
    assert_eq!(
        fault("[telemetry]\notlp = \"127.0.0.1:4318\""),
        "toolpost.toml:2: expected the address of a collector, for example \"http://127.0.0.1:4318\""
    );
}
