//! A shop on this machine that takes orders over HTTP, counts what it charges, and is not to be relied upon.

use std::collections::BTreeMap;
use std::io;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use http_body_util::{BodyExt as _, Full, Limited};
use hyper::body::{Bytes, Incoming};
use hyper::service::service_fn;
use hyper::{Method, Request, Response, StatusCode};
use hyper_util::rt::TokioIo;
use serde_json::{Value, json};
use tempfile::TempDir;
use tokio::net::TcpListener;
use tokio::task::{AbortHandle, JoinSet};

use crate::{prebuilt, root};

/// The longest order, in bytes.
const ORDER_BYTES_MAX: usize = 64 << 10;

/// The longest time that a slow answer takes.
const SLOW_MAX: Duration = Duration::from_millis(60);

/// How a shop is to its customers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Manner {
    /// Each request has its own luck: answered, late, turned away, or hung up upon, before or after the charge.
    Flaky,
    /// Each request is answered, but for so many that are turned away first.
    Reliable(usize),
}

/// An open shop. It closes when this is dropped.
#[derive(Debug)]
pub struct Shop {
    /// Where it is.
    pub address: SocketAddr,
    books: Arc<Mutex<Books>>,
    open: AbortHandle,
}

/// What a shop has written down.
#[derive(Clone, Debug, Default)]
pub struct Books {
    /// The receipts of each order, one for each charge: with more than one, its customer has paid twice.
    pub charges: BTreeMap<String, Vec<Value>>,
    /// Orders that came in, also those that were not taken.
    pub requests: usize,
    /// Orders that came again under a key that was known, and were answered from these books.
    pub known: usize,
    by_key: BTreeMap<String, Value>,
}

/// What a request comes upon.
enum Luck {
    Answered,
    Late,
    TurnedAway,
    HungUpBefore,
    HungUpAfter,
}

impl Shop {
    /// Opens a shop. One that `knows_keys` charges once for all orders with the same `Idempotency-Key`.
    ///
    /// # Errors
    /// The address cannot be had.
    pub async fn open(address: SocketAddr, manner: Manner, knows_keys: bool) -> io::Result<Shop> {
        let listener = TcpListener::bind(address).await?;
        let (address, books) = (listener.local_addr()?, Arc::<Mutex<Books>>::default());
        let serving = tokio::spawn(serve(listener, books.clone(), manner, knows_keys));
        Ok(Shop { address, books, open: serving.abort_handle() })
    }

    /// A folder with the settings of the example, for this shop, and with something else in them.
    ///
    /// # Panics
    /// The folder cannot be made, or what is to be something else is not in the example.
    #[must_use]
    #[expect(clippy::expect_used, reason = "a test cannot go on without it")]
    pub fn settings(&self, changes: &[(&str, &str)]) -> TempDir {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let settings = std::fs::read_to_string(root().join("guest-examples/orders.toml")).expect("the example");
        let (address, orders) = (self.address.to_string(), prebuilt("orders"));
        let first = [("127.0.0.1:8370", address.as_str()), ("prebuilt/orders.wasm", orders.as_str())];
        let settings = first.iter().chain(changes).fold(settings, |settings, (from, to)| {
            assert!(settings.contains(from), "{from} is not in the example");
            settings.replace(from, to)
        });
        let settings = format!("store.dir = \"kept\"\n{settings}");
        std::fs::write(folder.path().join("toolpost.toml"), settings).expect("written");
        folder
    }

    /// What it has written down so far.
    #[must_use]
    pub fn books(&self) -> Books {
        locked(&self.books).clone()
    }
}

impl Drop for Shop {
    fn drop(&mut self) {
        self.open.abort();
    }
}

impl Books {
    /// Every charge there was.
    #[must_use]
    pub fn charged(&self) -> usize {
        self.charges.values().map(Vec::len).sum()
    }

    fn charge(&mut self, order: &Value) -> Option<Value> {
        let name = order.get("order_id")?.as_str()?.to_owned();
        let mut receipt = order.clone();
        receipt.as_object_mut()?.insert("number".into(), json!(format!("R-{}", self.charged() + 1)));
        self.charges.entry(name).or_default().push(receipt.clone());
        Some(receipt)
    }
}

async fn serve(listener: TcpListener, books: Arc<Mutex<Books>>, manner: Manner, knows_keys: bool) {
    // They end with the shop.
    let mut customers = JoinSet::new();
    while let Ok((stream, _)) = listener.accept().await {
        while customers.try_join_next().is_some() {}
        let books = books.clone();
        customers.spawn(async move {
            let service = service_fn(|request| answer(request, &books, manner, knows_keys));
            // An error of the service closes the connection without an answer.
            let _ = hyper::server::conn::http1::Builder::new().serve_connection(TokioIo::new(stream), service).await;
        });
    }
}

async fn answer(
    request: Request<Incoming>,
    books: &Mutex<Books>,
    manner: Manner,
    knows_keys: bool,
) -> Result<Response<Full<Bytes>>, io::Error> {
    let key = request.headers().get("idempotency-key").and_then(|key| key.to_str().ok()).map(str::to_owned);
    let (head, body) = request.into_parts();
    match (&head.method, head.uri.path()) {
        (&Method::POST, "/orders") => {}
        (&Method::GET, path) => return Ok(look_up(&locked(books), path)),
        _ => return Ok(said(StatusCode::NOT_FOUND, &json!("there are only orders here"))),
    }
    let body = Limited::new(body, ORDER_BYTES_MAX).collect().await.map_err(io::Error::other)?.to_bytes();
    let order: Value = serde_json::from_slice(&body).map_err(io::Error::other)?;
    locked(books).requests += 1;
    let luck = luck(manner, locked(books).requests);
    match luck {
        Luck::TurnedAway => return Ok(said(StatusCode::SERVICE_UNAVAILABLE, &json!("come back later"))),
        Luck::HungUpBefore => return Err(io::ErrorKind::ConnectionReset.into()),
        Luck::Late => tokio::time::sleep(SLOW_MAX.mul_f64(fastrand::f64())).await,
        Luck::Answered | Luck::HungUpAfter => {}
    }
    let receipt = take(&mut locked(books), &order, key.filter(|_| knows_keys));
    match (luck, receipt) {
        (Luck::HungUpAfter, _) => Err(io::ErrorKind::ConnectionReset.into()),
        (_, Some(receipt)) => Ok(said(StatusCode::CREATED, &receipt)),
        (_, None) => Ok(said(StatusCode::BAD_REQUEST, &json!("this is no order"))),
    }
}

/// Charges for an order, unless it was charged for under this key.
fn take(books: &mut Books, order: &Value, key: Option<String>) -> Option<Value> {
    let known = key.as_ref().and_then(|key| books.by_key.get(key)).cloned();
    if known.is_some() {
        books.known += 1;
        return known;
    }
    let receipt = books.charge(order)?;
    if let Some(key) = key {
        books.by_key.insert(key, receipt.clone());
    }
    Some(receipt)
}

fn look_up(books: &Books, path: &str) -> Response<Full<Bytes>> {
    match path.strip_prefix("/orders/").and_then(|order| books.charges.get(order)?.last()) {
        Some(receipt) => said(StatusCode::OK, receipt),
        None => said(StatusCode::NOT_FOUND, &json!("there is no such order")),
    }
}

/// What the so-maniest request comes upon.
fn luck(manner: Manner, number: usize) -> Luck {
    match (manner, fastrand::u32(..10)) {
        (Manner::Reliable(busy), _) if number <= busy => Luck::TurnedAway,
        (Manner::Reliable(_), _) | (Manner::Flaky, 0..=5) => Luck::Answered,
        (Manner::Flaky, 6) => Luck::Late,
        (Manner::Flaky, 7) => Luck::TurnedAway,
        (Manner::Flaky, 8) => Luck::HungUpBefore,
        (Manner::Flaky, _) => Luck::HungUpAfter,
    }
}

fn said(status: StatusCode, body: &Value) -> Response<Full<Bytes>> {
    let mut response = Response::new(Full::from(body.to_string()));
    *response.status_mut() = status;
    response
}

fn locked(books: &Mutex<Books>) -> MutexGuard<'_, Books> {
    books.lock().unwrap_or_else(PoisonError::into_inner)
}
