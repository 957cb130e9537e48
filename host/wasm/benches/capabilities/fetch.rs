//! One request after the other: by a client that keeps its connection, and by a tool.

use std::convert::Infallible;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use bytes::Bytes;
use futures_util::future::BoxFuture;
use http_body_util::{BodyExt as _, Empty, Full};
use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper::{Request, Response};
use hyper_util::client::legacy::Client;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::{TokioExecutor, TokioIo};
use serde_json::{Value, json};
use tokio::net::TcpListener;
use tokio::runtime::Runtime;
use tokio::time::Instant;
use toolpost_core::catalog::Keep;
use toolpost_wasm::EngineOptions;
use wasmtime::{Result, ensure};

use crate::hosted::Hosted;
use crate::measure::{Calls, Candidate, Effort, Measured, compare};
use crate::table::Table;

/// What a `fetch` may take beside the client.
const RATIO_MAX: f64 = 1.5;

/// How soon the service answers. One that does so at once shows what a `fetch` costs; a call has an instance of its own, which
/// takes longer than such an answer.
const SERVICES: [(&str, Duration); 2] = [("at once", Duration::ZERO), ("after 1 ms", Duration::from_millis(1))];

const ANSWER: &str = r#"{"city":"Utrecht","now":{"celsius":11.5,"sky":"light rain"},"tomorrow":{"celsius":13.0}}"#;

/// Sends a request and reads its answer; whether that was the right one.
type Send = Arc<dyn Fn() -> BoxFuture<'static, Result<()>> + std::marker::Send + Sync>;

pub(crate) fn measure(table: &mut Table, quick: bool) -> Result<()> {
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build()?;
    for (service, pause) in SERVICES {
        let address = runtime.block_on(serve(pause))?;
        let rows = beside(&runtime, address, quick)?;
        table.group(&format!("fetch: GET over a kept connection, answered {service}, 2 threads"), &rows)?;
        if let [_, tool, warm, ..] = rows.as_slice() {
            table.target(format!("a `fetch`, answered {service}"), RATIO_MAX, tool.wall_ratio, "");
            table.target(format!("a warm `fetch`, answered {service}"), RATIO_MAX, warm.wall_ratio, "");
        }
    }
    Ok(())
}

fn beside(runtime: &Runtime, address: SocketAddr, quick: bool) -> Result<Vec<Measured>> {
    let sides = [
        ("hyper client with keep-alive", client(address)?),
        ("host, `fetch` by JSON value", tool(address, Keep::Nothing)?),
        ("host, the same to a warm instance", tool(address, serde_json::from_value(json!("warm"))?)?),
        ("for information: a `fetch` that the host refuses", refused()?),
    ];
    let mut times: Vec<Vec<Duration>> = vec![Vec::new(); sides.len()];
    let candidates = sides.iter().zip(&mut times).map(|((name, send), times)| {
        Candidate::new(*name, move |calls| {
            times.extend(runtime.block_on(one_by_one(runtime, send.clone(), calls))?);
            Ok(())
        })
    });
    let effort = Effort { rounds: if quick { 10 } else { 50 }, calls: Calls::For(Duration::from_millis(100)) };
    let mut rows = compare(candidates.collect(), effort)?;
    for (row, times) in rows.iter_mut().zip(&mut times) {
        times.sort();
        let [half, most] = [50, 99].map(|percent| at(times, percent).as_secs_f64() * 1e6);
        row.note = format!("one call: median {half:.1}, p99 {most:.1}");
    }
    Ok(rows)
}

/// The time of each request, all of them sent from one task.
async fn one_by_one(runtime: &Runtime, send: Send, calls: u32) -> Result<Vec<Duration>> {
    let sending = runtime.spawn(async move {
        let mut times = Vec::new();
        for _ in 0..calls {
            let start = Instant::now();
            send().await?;
            times.push(start.elapsed());
        }
        Ok(times)
    });
    sending.await?
}

fn at(sorted: &[Duration], percent: usize) -> Duration {
    sorted.get(sorted.len() * percent / 100).copied().unwrap_or_default()
}

/// A service that answers every request with the same small text in JSON.
async fn serve(pause: Duration) -> Result<SocketAddr> {
    let listener = TcpListener::bind("127.0.0.1:0").await?;
    let address = listener.local_addr()?;
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            stream.set_nodelay(true).ok();
            let service = service_fn(move |request| answer(request, pause));
            let speaking = hyper::server::conn::http1::Builder::new().serve_connection(TokioIo::new(stream), service);
            tokio::spawn(speaking);
        }
    });
    Ok(address)
}

async fn answer(request: Request<Incoming>, pause: Duration) -> Result<Response<Full<Bytes>>, Infallible> {
    drop(request.into_body().collect().await);
    if !pause.is_zero() {
        tokio::time::sleep(pause).await;
    }
    let mut answer = Response::new(Full::new(Bytes::from_static(ANSWER.as_bytes())));
    answer.headers_mut().insert("content-type", hyper::header::HeaderValue::from_static("application/json"));
    Ok(answer)
}

fn client(address: SocketAddr) -> Result<Send> {
    let mut connector = HttpConnector::new();
    connector.set_nodelay(true);
    let client: Client<_, Empty<Bytes>> = Client::builder(TokioExecutor::new()).build(connector);
    let url: hyper::Uri = format!("http://{address}/now?city=utrecht").parse()?;
    Ok(Arc::new(move || {
        let (client, url) = (client.clone(), url.clone());
        Box::pin(async move {
            let response = client.request(Request::get(url).body(Empty::new())?).await?;
            ensure!(response.status() == 200, "the status is {}", response.status());
            let body = response.into_body().collect().await?.to_bytes();
            ensure!(body == ANSWER, "another answer came");
            Ok(())
        })
    }))
}

fn tool(address: SocketAddr, keep: Keep) -> Result<Send> {
    let grant = json!({"net": [{"to": format!("http://{address}/**"), "max_requests": 1}]});
    let host = Hosted::keeping(keep, &EngineOptions::default(), &["fetch"], grant)?;
    let url = format!("http://{address}/now?city=utrecht");
    let body = json!(BASE64.encode(ANSWER));
    Ok(Arc::new(move || {
        let (host, url, body) = (host.clone(), url.clone(), body.clone());
        Box::pin(async move {
            let answer = host.call("fetch_request", get(&url)).await?;
            ensure!(answer.get("status") == Some(&json!(200)), "the answer is {answer}");
            ensure!(answer.get("body") == Some(&body), "another answer came: {answer}");
            Ok(())
        })
    }))
}

fn get(url: &str) -> Value {
    json!({"method": "GET", "url": url, "headers": [], "body": [], "timeout_ms": null})
}

/// All but the request itself: the host refuses it.
fn refused() -> Result<Send> {
    let grant = json!({"net": [{"to": "http://example.com/"}]});
    let host = Hosted::granted(&EngineOptions::default(), &["fetch"], grant)?;
    Ok(Arc::new(move || {
        let host = host.clone();
        Box::pin(async move {
            ensure!(host.call("fetch_request", get("http://example.org/")).await.is_err(), "it was not refused");
            Ok(())
        })
    }))
}
