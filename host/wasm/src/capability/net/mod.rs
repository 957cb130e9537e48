//! The network over HTTP. Nothing is open that is not granted; every request passes the gate before anything of it leaves
//! the host.
//!
//! The parts, which other capabilities have too: the **grant** says what may be reached ([`grant`], and the settings in
//! `toolpost_core::catalog::grants`); the **driver** reaches it, and is shared by all attempts ([`client`], with its
//! [`pool`] and its judgement of an [`address`]); the **handle** is what one attempt has of both; and the
//! **implementation** of the interface turns what a guest asks for into one [`exchange`] each.

// What was granted
mod grant;

// What a guest holds of it
pub(crate) mod held;

// The driver
pub(crate) mod address;
mod body;
pub(crate) mod client;
mod pool;
mod reason;

// One request, what its end says about the server, and what of it outlives its call
mod close;
mod exchange;
mod health;
mod inject;
mod sign;

use std::pin::pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use http::{HeaderValue, Request, header};
use hyper::body::Body as _;
use tokio::sync::Semaphore;
use toolpost_core::catalog::grants::{NetGrant, method_effect};
use toolpost_core::{Attempt, CallError, EffectClass, ErrorKind, Stage};
use url::{Position, Url};
use wasmtime::Result;
use wasmtime::component::Linker;
use wasmtime_wasi_http::{Error, RequestOptions, WasiBody, WasiHttpCtx, WasiHttpHooks};

pub(super) use self::close::close;

use self::address::Reach;
use self::body::{Draft, Life, Made, SIGNED_BYTES_MAX, Upload};
use self::client::{Client, Errand};
use self::exchange::Exchange;
use self::pool::Peer;
use crate::state::State;

pub(super) fn link(linker: &mut Linker<State>) -> Result<()> {
    wasmtime_wasi_http::p2::add_only_http_to_linker_async(linker)?;
    held::link(linker)
}

/// Requests of one attempt that are under way at once, until their answers are read.
const IN_FLIGHT_MAX: usize = 64;

/// What a guest may write into a request in one go. What it has written waits in the host: two chunks for each request that
/// it holds. So only as many as can be under way have the room to be quick, and all others next to none.
const CHUNK_BYTES_MAX: usize = 32 << 10;
const CHUNK_BYTES_LEAST: usize = 1 << 10;

/// The largest set of header fields that a guest may make.
const FIELDS_BYTES_MAX: usize = 16 << 10;

pub(crate) fn context() -> WasiHttpCtx {
    let mut context = WasiHttpCtx::new();
    context.set_field_size_limit(FIELDS_BYTES_MAX);
    context
}

/// The network, as far as one attempt has it. Dropping it is the end of every request of the attempt.
pub(crate) struct Handle {
    attempt: Attempt,
    client: Arc<Client>,
    /// Requests under each grant.
    sent: Vec<u32>,
    /// Requests that may change something.
    changes: u32,
    in_flight: Arc<Semaphore>,
    /// Bodies that the guest has made and that were not sent yet.
    made: Arc<AtomicUsize>,
    /// Room for bodies that are signed, in bytes.
    room: Arc<Semaphore>,
    life: Arc<Life>,
}

impl Drop for Handle {
    fn drop(&mut self) {
        self.life.end();
    }
}

type Answer = std::result::Result<
    (http::Response<WasiBody>, Box<dyn Future<Output = std::result::Result<(), Error>> + Send>),
    Error,
>;

impl Handle {
    pub(crate) fn new(attempt: &Attempt, client: &Arc<Client>) -> Self {
        Handle {
            attempt: attempt.clone(),
            client: client.clone(),
            sent: vec![0; attempt.call.tool.grants.net.http.len()],
            changes: 0,
            in_flight: Arc::new(Semaphore::new(IN_FLIGHT_MAX)),
            made: Arc::default(),
            room: Arc::new(Semaphore::new(SIGNED_BYTES_MAX)),
            life: Arc::default(),
        }
    }

    /// Judges a request by what was granted. Nothing waits here, so a guest that sends the same requests in the same order
    /// is judged the same.
    fn judge(
        &mut self,
        request: Request<WasiBody>,
        options: Option<RequestOptions>,
    ) -> std::result::Result<Exchange, Error> {
        let (mut head, body) = request.into_parts();
        let mut draft = self.draft(body)?;
        let url = self.url(&head)?;
        let effect = grant::effect(head.method.as_str(), &url);
        let content = grant::content(&head, &url);
        let call = self.attempt.call.clone();
        let Some((at, grant)) = grant::covering(&call, head.method.as_str(), &url) else {
            self.attempt.refuse(effect, grant::denied(&call.tool, head.method.as_str(), &url));
            return Err(Error::HttpRequestDenied);
        };
        let place = self.in_flight.clone().try_acquire_owned().map_err(|_| {
            let words = format!("{IN_FLIGHT_MAX} requests of one attempt are under way at once, and no more");
            let why = CallError::new(ErrorKind::QuotaExceeded, Stage::Run, words);
            self.attempt.keep_from(why.with_help("read the answers to the end before the next request"));
            Error::ConnectionLimitReached
        })?;
        if !self.count(at, grant) {
            self.attempt.refuse(effect, grant::used_up(grant));
            return Err(Error::HttpRequestDenied);
        }
        if method_effect(head.method.as_str()) > EffectClass::Reads {
            self.changes += 1;
            if grant.idempotency_key {
                head.headers.insert("idempotency-key", idempotency_key(&self.attempt, self.changes)?);
            }
        }
        if let Some(traceparent) = self.attempt.traceparent().and_then(|text| HeaderValue::from_str(&text).ok()) {
            // What the guest has written there is of another trace.
            head.headers.remove("tracestate");
            head.headers.insert("traceparent", traceparent);
        }
        let declared = head.headers.get(header::CONTENT_LENGTH);
        let declared = declared.and_then(|length| length.to_str().ok()?.parse().ok());
        // What the guest has finished already is there now, or never at once.
        let ready = tokio::task::unconstrained(std::future::poll_fn(|task| draft.poll_ahead(task)));
        if let Poll::Ready(Err(error)) = pin!(ready).poll(&mut Context::from_waker(Waker::noop())) {
            return Err(error);
        }
        let errand = self.errand(&url, grant, options.as_ref())?;
        let within = |asked: Option<Duration>| asked.map_or(grant.timeout.0, |asked| asked.min(grant.timeout.0));
        Ok(Exchange {
            attempt: self.attempt.clone(),
            client: self.client.clone(),
            errand,
            url,
            effect,
            content,
            head,
            draft,
            declared,
            grant: grant.clone(),
            silence_max: within(options.and_then(|options| options.between_bytes_timeout)),
            place,
            room: self.room.clone(),
        })
    }

    fn url(&self, head: &http::request::Parts) -> std::result::Result<Url, Error> {
        grant::url(&head.uri).map_err(|why| {
            let (error, refused) = grant::unfit(&self.attempt.call.tool, head.method.as_str(), &head.uri, &why);
            if let Some((effect, why)) = refused {
                self.attempt.refuse(effect, why);
            }
            error
        })
    }

    /// A body that is not empty counts as sent from here on, whatever becomes of it.
    fn draft(&self, body: WasiBody) -> std::result::Result<Draft, Error> {
        let made = (!body.is_end_stream()).then(|| Made(self.made.clone()));
        Ok(Draft::new(body, made))
    }

    /// Counts a request under its grant; `false` where there were enough.
    fn count(&mut self, at: usize, grant: &NetGrant) -> bool {
        let Some(sent) = self.sent.get_mut(at).filter(|sent| **sent < grant.max_requests) else { return false };
        *sent += 1;
        true
    }

    fn errand(
        &self,
        url: &Url,
        grant: &NetGrant,
        options: Option<&RequestOptions>,
    ) -> std::result::Result<Errand, Error> {
        let invalid = || Error::HttpRequestUriInvalid;
        let reach = match (grant.to.names_address(), grant.private) {
            (true, _) => Reach::Named,
            (false, true) => Reach::Private,
            (false, false) => Reach::Public,
        };
        let within = |asked: Option<Duration>| asked.map_or(grant.timeout.0, |asked| asked.min(grant.timeout.0));
        Ok(Errand {
            component: self.attempt.call.tool.component().to_owned(),
            peer: Peer {
                tls: url.scheme() == "https",
                host: url.host_str().ok_or_else(invalid)?.to_owned(),
                port: url.port_or_known_default().ok_or_else(invalid)?,
                reach,
            },
            path: Errand::path(url).ok_or_else(invalid)?,
            whole: Errand::whole(url).ok_or_else(invalid)?,
            host: HeaderValue::from_str(&url[Position::BeforeHost..Position::AfterPort]).map_err(|_| invalid())?,
            connect_time_max: within(options.and_then(|options| options.connect_timeout)),
            first_byte_time_max: within(options.and_then(|options| options.first_byte_timeout)),
            upload: Arc::new(Upload::default()),
            life: self.life.clone(),
        })
    }
}

/// The key under which the service can tell that a request is one that it has had already: the same for the same request in
/// every attempt of a call. Where the call has a key itself, this one follows from it, else from the call's id.
fn idempotency_key(attempt: &Attempt, ordinal: u32) -> std::result::Result<HeaderValue, Error> {
    let key = attempt.idempotency_key().unwrap_or_else(|| {
        let mut hash = blake3::Hasher::new_derive_key("toolpost 1 idempotency key of a request");
        let hash = hash.update(attempt.call.call.id.as_str().as_bytes()).update(&ordinal.to_le_bytes()).finalize();
        hash.to_hex().get(..32).unwrap_or_default().to_owned()
    });
    HeaderValue::from_str(&key).map_err(|_| Error::InternalError(None))
}

impl WasiHttpHooks for Handle {
    // The one that belongs to the URL is set when it is sent.
    fn set_host_header(&mut self) -> bool {
        false
    }

    fn send_request(
        &mut self,
        request: Request<WasiBody>,
        options: Option<RequestOptions>,
        _: Box<dyn Future<Output = std::result::Result<(), Error>> + Send>,
    ) -> Box<dyn Future<Output = Answer> + Send> {
        let judged = self.judge(request, options);
        Box::new(async move {
            let response = judged?.answer().await?;
            let nothing_more: Box<dyn Future<Output = std::result::Result<(), Error>> + Send> =
                Box::new(async { Ok(()) });
            Ok((response, nothing_more))
        })
    }

    fn p2_outgoing_body_buffer_chunks(&mut self) -> usize {
        self.made.fetch_add(1, Ordering::Relaxed);
        1
    }

    fn p2_outgoing_body_chunk_size(&mut self) -> usize {
        let is_quick = !self.sent.is_empty() && self.made.load(Ordering::Relaxed) <= IN_FLIGHT_MAX;
        if is_quick { CHUNK_BYTES_MAX } else { CHUNK_BYTES_LEAST }
    }
}
