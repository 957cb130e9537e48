//! A service on this machine that a guest talks to, and the hosts that let it.

use std::collections::VecDeque;
use std::convert::Infallible;
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::sync::atomic::AtomicUsize;
use std::sync::atomic::Ordering::SeqCst;
use std::sync::{Arc, Mutex};

use bytes::Bytes;
use futures_util::future::BoxFuture;
use http_body_util::{BodyExt, Full};
use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper::{HeaderMap, Method, Request, Response};
use hyper_util::rt::{TokioExecutor, TokioIo};
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use serde_json::{Value, json};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpListener, TcpStream};
use tokio_rustls::TlsAcceptor;
use toolpost_core::catalog::Base;
use toolpost_core::catalog::grants::{GrantSettings, Grants};
use toolpost_core::catalog::settings::{LimitSettings, ToolSettings};
use toolpost_core::{Call, Catalog, Host, Outcome};
use toolpost_wasm::{Component, Engine, EngineOptions, NetOptions, Resolver};

/// A request as the service has seen it.
#[derive(Clone, Debug)]
pub struct Seen {
    pub method: Method,
    /// Path and query.
    pub path: String,
    pub authority: String,
    pub headers: HeaderMap,
    /// The body, or why it never came to its end.
    pub body: Result<Bytes, String>,
}

/// A service that runs for as long as the test does.
#[derive(Clone)]
pub struct Server {
    pub address: SocketAddr,
    pub connections: Arc<AtomicUsize>,
    /// Connections that are open now.
    pub open: Arc<AtomicUsize>,
    pub seen: Arc<Mutex<Vec<Seen>>>,
}

impl Server {
    async fn listen() -> (Self, TcpListener) {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        (Server { address, connections: Arc::default(), open: Arc::default(), seen: Arc::default() }, listener)
    }

    pub fn url(&self, path: &str) -> String {
        format!("http://{}{path}", self.address)
    }

    pub fn connections(&self) -> usize {
        self.connections.load(SeqCst)
    }

    pub fn seen(&self) -> Vec<Seen> {
        self.seen.lock().unwrap().clone()
    }

    /// A grant of everything that the service has, by its address.
    pub fn grant(&self) -> Value {
        json!([{"to": self.url("/**"), "methods": ["GET", "HEAD", "POST"]}])
    }

    async fn answer(
        self,
        request: Request<Incoming>,
        respond: impl Fn(&Seen) -> Response<Full<Bytes>>,
    ) -> Result<Response<Full<Bytes>>, Infallible> {
        let (head, body) = request.into_parts();
        let body = body.collect().await.map(|body| body.to_bytes()).map_err(|error| error.to_string());
        let host = head.headers.get("host").and_then(|host| host.to_str().ok());
        let seen = Seen {
            authority: head.uri.authority().map_or(host.unwrap_or_default(), |it| it.as_str()).to_owned(),
            method: head.method,
            path: head.uri.path_and_query().unwrap().to_string(),
            headers: head.headers,
            body,
        };
        let response = respond(&seen);
        self.seen.lock().unwrap().push(seen);
        Ok(response)
    }
}

pub type Respond = fn(&Seen) -> Response<Full<Bytes>>;

pub fn text(status: u16, text: impl Into<Bytes>) -> Response<Full<Bytes>> {
    Response::builder().status(status).body(Full::new(text.into())).unwrap()
}

pub fn ok(_: &Seen) -> Response<Full<Bytes>> {
    text(200, "hello")
}

/// A service that speaks HTTP/1.1.
pub async fn serve<F>(respond: F) -> Server
where
    F: Fn(&Seen) -> Response<Full<Bytes>> + Clone + Send + Sync + 'static,
{
    let (server, listener) = Server::listen().await;
    let kept = server.clone();
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            tokio::spawn(speak(server.clone(), stream, respond.clone(), false));
        }
    });
    kept
}

/// A service that speaks HTTP over TLS under the name `shop.test`, in these versions.
pub async fn serve_tls<F>(versions: &[&str], respond: F) -> Server
where
    F: Fn(&Seen) -> Response<Full<Bytes>> + Clone + Send + Sync + 'static,
{
    let (server, listener) = Server::listen().await;
    let key = PrivateKeyDer::try_from(include_bytes!("../tls/key.der").to_vec()).unwrap();
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let config = rustls::ServerConfig::builder_with_provider(provider).with_safe_default_protocol_versions().unwrap();
    let mut config =
        config.with_no_client_auth().with_single_cert(vec![CertificateDer::from(certificate())], key).unwrap();
    config.alpn_protocols = versions.iter().map(|version| version.as_bytes().to_vec()).collect();
    let acceptor = TlsAcceptor::from(Arc::new(config));
    let kept = server.clone();
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            let (acceptor, server, respond) = (acceptor.clone(), server.clone(), respond.clone());
            tokio::spawn(async move {
                let Ok(stream) = acceptor.accept(stream).await else { return };
                let is_two = stream.get_ref().1.alpn_protocol() == Some(b"h2");
                speak(server, stream, respond, is_two).await;
            });
        }
    });
    kept
}

pub fn certificate() -> Vec<u8> {
    include_bytes!("../tls/cert.der").to_vec()
}

async fn speak<S, F>(server: Server, stream: S, respond: F, is_two: bool)
where
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
    F: Fn(&Seen) -> Response<Full<Bytes>> + Clone + Send + Sync + 'static,
{
    server.connections.fetch_add(1, SeqCst);
    server.open.fetch_add(1, SeqCst);
    let open = server.open.clone();
    let service = service_fn(move |request| server.clone().answer(request, respond.clone()));
    let stream = TokioIo::new(stream);
    let ended = if is_two {
        hyper::server::conn::http2::Builder::new(TokioExecutor::new()).serve_connection(stream, service).await
    } else {
        hyper::server::conn::http1::Builder::new().serve_connection(stream, service).await
    };
    drop(ended);
    open.fetch_sub(1, SeqCst);
}

/// A service that does as it likes with each connection.
pub async fn rogue<F>(script: impl Fn(TcpStream) -> F + Send + Sync + 'static) -> Server
where
    F: Future<Output = ()> + Send + 'static,
{
    let (server, listener) = Server::listen().await;
    let kept = server.clone();
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            server.connections.fetch_add(1, SeqCst);
            tokio::spawn(script(stream));
        }
    });
    kept
}

/// A resolver that gives one answer after the other, the last one for ever, and counts the questions.
#[derive(Default)]
pub struct Names {
    answers: Mutex<VecDeque<Vec<IpAddr>>>,
    pub asked: AtomicUsize,
}

impl Names {
    pub fn new(answers: &[&[&str]]) -> Arc<Self> {
        let names = Arc::new(Names::default());
        names.say(answers);
        names
    }

    pub fn say(&self, answers: &[&[&str]]) {
        let parse = |answer: &&[&str]| answer.iter().map(|address| address.parse().unwrap()).collect();
        *self.answers.lock().unwrap() = answers.iter().map(parse).collect();
    }
}

impl Resolver for Names {
    fn resolve(&self, _: String) -> BoxFuture<'static, io::Result<Vec<IpAddr>>> {
        self.asked.fetch_add(1, SeqCst);
        let mut answers = self.answers.lock().unwrap();
        let answer = if answers.len() > 1 { answers.pop_front() } else { answers.front().cloned() };
        Box::pin(async move { answer.ok_or_else(|| io::Error::other("nobody knows")) })
    }
}

/// An engine with a resolver of its own, which trusts `shop.test`.
pub fn engine(names: &Arc<Names>) -> Engine {
    let net = NetOptions { resolver: Some(names.clone()), roots: vec![certificate()] };
    Engine::new(&EngineOptions { max_parallel: 80, net, ..EngineOptions::default() }).unwrap()
}

pub fn load(engine: &Engine, guest: &str) -> Component {
    engine.load_file(guest, &super::prebuilt_file(guest)).unwrap()
}

pub fn grants(net: Value) -> Grants {
    let settings: GrantSettings = serde_json::from_value(json!({ "net": net })).unwrap();
    Grants::default().with(&settings)
}

/// A host of one guest that was granted this.
pub fn granted(guest: &Component, net: Value, limits: &LimitSettings) -> Host {
    let base = Base { grants: grants(net), ..super::strict() };
    let settings = ToolSettings { limits: limits.clone(), ..ToolSettings::default() };
    let mut catalog = Catalog::default();
    for function in &guest.functions {
        catalog.add(guest.tool(function, &base, &settings).unwrap()).unwrap();
    }
    Host::new(catalog)
}

/// A host of `fetch` that was granted this.
pub fn fetching(net: Value) -> Host {
    granted(&super::prebuilt("fetch"), net, &LimitSettings::default())
}

/// Sends a request.
pub async fn send(host: &Host, method: &str, url: &str, body: &[u8]) -> Outcome {
    send_with(host, method, url, json!([]), body, Value::Null).await
}

pub async fn send_with(
    host: &Host,
    method: &str,
    url: &str,
    headers: Value,
    body: &[u8],
    timeout_ms: Value,
) -> Outcome {
    let arguments = json!({"method": method, "url": url, "headers": headers, "body": body, "timeout_ms": timeout_ms});
    host.call(Call::new("fetch_request", arguments)).await
}

pub async fn get(host: &Host, url: &str) -> Outcome {
    send(host, "GET", url, b"").await
}

/// The status of an answer, or the error in a word.
pub fn status(outcome: &Outcome) -> Result<u64, String> {
    match &outcome.result {
        Ok(output) => Ok(output.value["status"].as_u64().unwrap()),
        Err(error) => Err(error.message.clone()),
    }
}

/// The effects of a call: each action with its target and fate.
pub fn effects(outcome: &Outcome) -> Vec<String> {
    let line = |record: &toolpost_core::effect::EffectRecord| {
        format!("{} {} {:?}", record.effect.action, record.effect.target, record.fate)
    };
    outcome.report.effects.iter().map(line).collect()
}
