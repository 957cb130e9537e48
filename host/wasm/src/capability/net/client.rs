//! The driver: carries a request to its destination, over a connection that is there or a new one.
//!
//! The connection leads to an address that was judged, under the name of the URL: for TLS, for the certificate, and for the
//! `Host` of the request. Nothing is followed and nothing is tried twice. Only a request that has not left the host (its
//! connection had been closed meanwhile) goes over another connection.

use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use futures_util::FutureExt as _;
use http::{Request, Response, Uri, header};
use hyper::body::Incoming;
use hyper::client::conn::{http1, http2};
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use rustls::pki_types::{CertificateDer, ServerName};
use rustls_platform_verifier::Verifier;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;
use tokio::sync::{OnceCell, OwnedSemaphorePermit, Semaphore};
use tokio::time::{Instant, sleep_until, timeout_at};
use tokio_rustls::TlsConnector;
use url::{Position, Url};
use wasmtime_wasi_http::Error;

use super::address::{Lookups, Resolver, System};
use super::body::{Life, RequestBody, Upload};
use super::pool::{Lease, Link, One, Peer, Pool, STREAMS_MAX, Task, Two};
use super::reason;
use crate::capability::dirs::driver::places;

/// What the head of an answer may have: bytes, and fields.
const HEAD_BYTES_MAX: usize = 64 << 10;
const FIELDS_MAX: usize = 100;

/// What a stream of HTTP/2 may hold that its guest has not read. All streams of a connection may do so at once: one that is
/// not read never holds up the others.
const STREAM_BYTES_MAX: u32 = 128 << 10;

/// After so long without a word, a connection of HTTP/2 with requests on it is asked whether it is there.
const PING_AFTER: Duration = Duration::from_secs(15);

/// Addresses of one name that are tried.
pub(crate) const ADDRESSES_MAX: usize = 8;

/// How a host reaches the network.
#[derive(Clone, Default)]
pub struct NetOptions {
    /// What looks up names; the operating system's resolver by default.
    pub resolver: Option<Arc<dyn Resolver>>,
    /// Certificates, in DER, that are trusted beside those of the operating system.
    pub roots: Vec<Vec<u8>>,
}

impl PartialEq for NetOptions {
    fn eq(&self, other: &Self) -> bool {
        let resolvers = match (&self.resolver, &other.resolver) {
            (Some(resolver), Some(other)) => Arc::ptr_eq(resolver, other),
            (resolver, other) => resolver.is_none() && other.is_none(),
        };
        resolvers && self.roots == other.roots
    }
}

impl Eq for NetOptions {}

impl std::fmt::Debug for NetOptions {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("NetOptions").field("roots", &self.roots.len()).finish_non_exhaustive()
    }
}

/// Connections over TCP that all tools together hold. Each is an open file of this process.
const CONNECTIONS_MAX: usize = 256;

/// The network, for all instances.
pub(crate) struct Client {
    pub(crate) lookups: Lookups,
    /// Room for connections over TCP that tools hold themselves.
    pub(crate) connections: Arc<Semaphore>,
    /// Room for connections over which requests go. Each is an open file of this process, too.
    room: Arc<Semaphore>,
    roots: Vec<CertificateDer<'static>>,
    tls: OnceCell<Result<TlsConnector, String>>,
    pool: Arc<Pool>,
}

/// A request on its way: to whom, and how long anything may take.
pub(super) struct Errand {
    /// The component that sends it.
    pub(super) component: String,
    pub(super) peer: Peer,
    /// The URL as HTTP/1.1 and as HTTP/2 write it.
    pub(super) path: Uri,
    pub(super) whole: Uri,
    pub(super) host: header::HeaderValue,
    pub(super) connect_time_max: Duration,
    pub(super) first_byte_time_max: Duration,
    pub(super) upload: Arc<Upload>,
    pub(super) life: Arc<Life>,
}

impl Errand {
    /// A URL as HTTP/1.1 writes it.
    pub(super) fn path(url: &Url) -> Option<Uri> {
        url[Position::BeforePath..Position::AfterQuery].parse().ok()
    }

    /// A URL as HTTP/2 writes it.
    pub(super) fn whole(url: &Url) -> Option<Uri> {
        url[..Position::AfterQuery].parse().ok()
    }
}

/// Why there is no answer.
pub(super) enum Failure {
    /// The name leads to where the grant does not reach.
    Prohibited(IpAddr, &'static str),
    /// Nothing was sent.
    Unsent(Error, String),
    /// It was sent, wholly or in part.
    Cut(Error, String),
}

/// What became of a request on one connection.
enum Sent {
    Answered(Response<Incoming>),
    /// It never left: here it is again.
    Back(Box<Request<RequestBody>>),
    Failed(Failure),
}

/// How a request of either version comes back.
type Tried = Result<Response<Incoming>, hyper::client::conn::TrySendError<Request<RequestBody>>>;

trait Stream: AsyncRead + AsyncWrite + Unpin + Send {}
impl<S: AsyncRead + AsyncWrite + Unpin + Send> Stream for S {}

impl Client {
    pub(crate) fn new(options: &NetOptions) -> Self {
        Client {
            connections: Arc::new(Semaphore::new(CONNECTIONS_MAX)),
            room: Arc::new(Semaphore::new(places())),
            lookups: Lookups::new(options.resolver.clone().unwrap_or_else(|| Arc::new(System::default()))),
            roots: options.roots.iter().map(|root| CertificateDer::from(root.clone())).collect(),
            tls: OnceCell::new(),
            pool: Arc::default(),
        }
    }

    /// Sends a request, and gives the head of the answer with the connection on which the rest comes.
    ///
    /// # Cancel safety
    /// Dropping the future closes the connection, if it serves only this request, or resets the stream.
    pub(super) async fn send(
        &self,
        errand: &Errand,
        mut request: Request<RequestBody>,
    ) -> Result<(Response<Incoming>, Lease), Failure> {
        loop {
            let mut lease = match self.pool.take(&errand.peer, &errand.upload) {
                Some(lease) => lease,
                None => self.connect(errand).await?,
            };
            if errand.life.is_over() {
                return Err(Failure::Unsent(Error::ConnectionTerminated, "the attempt is over".into()));
            }
            request = match exchange(errand, &mut lease, request).await {
                Sent::Answered(response) => return Ok((response, lease)),
                Sent::Failed(failure) => {
                    lease.retire();
                    return Err(failure);
                }
                Sent::Back(_) if lease.is_new() => {
                    let why = "the connection was closed before the request".to_owned();
                    return Err(Failure::Unsent(Error::ConnectionTerminated, why));
                }
                Sent::Back(request) => {
                    lease.retire();
                    *request
                }
            };
        }
    }

    async fn connect(&self, errand: &Errand) -> Result<Lease, Failure> {
        let until = Instant::now() + errand.connect_time_max;
        let waits = Mark::default();
        let connecting = async {
            let Some(dialing) = self.pool.dialing(&errand.peer) else { return self.dial(errand, until, &waits).await };
            if self.room.available_permits() == 0 {
                // Who has the turn waits for room, too.
                waits.mark();
            }
            let turn = dialing.acquire().await;
            // While this one waited, another has perhaps found a connection for all.
            if let Some(lease) = self.pool.take(&errand.peer, &errand.upload) {
                return Ok(lease);
            }
            if self.pool.dialing(&errand.peer).is_none() {
                drop(turn);
            }
            self.dial(errand, until, &waits).await
        };
        let connected = timeout_at(until, connecting).await;
        match connected {
            Ok(Err(Failure::Unsent(Error::ConnectionTimeout, _))) | Err(_) if waits.is_marked() => Err(no_room()),
            Ok(connected) => connected,
            Err(_) => Err(Failure::Unsent(Error::ConnectionTimeout, "nothing was connected in time".into())),
        }
    }

    /// Room for one more connection. Where there is none, it is noted that time went by that is no fault of a server's.
    async fn room(&self, waits: &Mark) -> Result<OwnedSemaphorePermit, Failure> {
        if let Ok(room) = self.room.clone().try_acquire_owned() {
            return Ok(room);
        }
        waits.mark();
        let _waiting = self.pool.wait();
        self.room.clone().acquire_owned().await.map_err(|_| no_room())
    }

    async fn dial(&self, errand: &Errand, until: Instant, waits: &Mark) -> Result<Lease, Failure> {
        let peer = &errand.peer;
        let addresses = self.addresses(errand).await?;
        let room = self.room(waits).await?;
        let tcp = tcp(&addresses, until, &errand.life).await?;
        let (stream, is_two): (Box<dyn Stream>, bool) = if peer.tls {
            let stream = self.handshake(peer, tcp).await?;
            let is_two = stream.get_ref().1.alpn_protocol() == Some(b"h2");
            (Box::new(stream), is_two)
        } else {
            (Box::new(tcp), false)
        };
        let link = speak(stream, is_two, room).await;
        let link = link.map_err(|error| Failure::Unsent(reason::of_answer(&error), reason::words(&error)))?;
        self.pool.met(peer, &link);
        Ok(self.pool.lease(link, peer, &errand.upload))
    }

    /// The addresses to which the grant reaches.
    async fn addresses(&self, errand: &Errand) -> Result<Vec<SocketAddr>, Failure> {
        let peer = &errand.peer;
        let literal = peer.host.trim_matches(['[', ']']).parse::<IpAddr>();
        let found = match literal {
            Ok(address) => vec![address],
            Err(_) => self.lookups.find(&errand.component, peer.host.clone()).await.map_err(|error| {
                Failure::Unsent(Error::DnsError { rcode: None, info_code: None }, format!("the lookup failed: {error}"))
            })?,
        };
        let allowed = found.iter().filter(|address| peer.reach.refuses(**address).is_none());
        let allowed: Vec<_> = allowed.take(ADDRESSES_MAX).map(|address| SocketAddr::new(*address, peer.port)).collect();
        let refused = found.iter().find_map(|address| Some((*address, peer.reach.refuses(*address)?)));
        match (allowed.is_empty(), refused) {
            (false, _) => Ok(allowed),
            (true, Some((address, what))) => Err(Failure::Prohibited(address, what)),
            (true, None) => Err(Failure::Unsent(Error::DestinationNotFound, "the name has no address".into())),
        }
    }

    async fn handshake(
        &self,
        peer: &Peer,
        tcp: TcpStream,
    ) -> Result<tokio_rustls::client::TlsStream<TcpStream>, Failure> {
        let unsent = |error, why: String| Failure::Unsent(error, why);
        let connector = self.tls.get_or_init(|| self.connector()).await;
        let connector = connector.as_ref().map_err(|why| unsent(Error::ConfigurationError, why.clone()))?;
        let name = ServerName::try_from(peer.host.trim_matches(['[', ']']).to_owned());
        let name = name.map_err(|error| unsent(Error::HttpRequestUriInvalid, error.to_string()))?;
        let shaken = connector.connect(name, tcp).await;
        shaken.map_err(|error| unsent(reason::of_tls(&error), reason::words(&error)))
    }

    async fn connector(&self) -> Result<TlsConnector, String> {
        let roots = self.roots.clone();
        let make = move || {
            let provider = Arc::new(rustls::crypto::ring::default_provider());
            let verifier = Verifier::new_with_extra_roots(roots, provider.clone())?;
            let config = rustls::ClientConfig::builder_with_provider(provider).with_safe_default_protocol_versions()?;
            let config = config.dangerous().with_custom_certificate_verifier(Arc::new(verifier));
            let mut config = config.with_no_client_auth();
            config.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
            Ok(TlsConnector::from(Arc::new(config)))
        };
        // It reads some hundred certificates from files.
        match tokio::task::spawn_blocking(make).await {
            Ok(made) => made.map_err(|error: rustls::Error| format!("TLS cannot be used: {error}")),
            Err(error) => Err(format!("TLS cannot be used: {error}")),
        }
    }
}

/// Whether something was noted.
#[derive(Default)]
struct Mark(AtomicBool);

impl Mark {
    fn mark(&self) {
        self.0.store(true, Ordering::Relaxed);
    }

    fn is_marked(&self) -> bool {
        self.0.load(Ordering::Relaxed)
    }
}

/// No server's fault.
fn no_room() -> Failure {
    let why = "the host has as many connections as it may, and none became free in time";
    Failure::Unsent(Error::ConnectionLimitReached, why.into())
}

/// Connects to the first address that answers. Each gets its share of the time that is left.
async fn tcp(addresses: &[SocketAddr], until: Instant, life: &Life) -> Result<TcpStream, Failure> {
    let mut failure = None;
    for (tried, address) in addresses.iter().enumerate() {
        if life.is_over() {
            break;
        }
        let left = until.saturating_duration_since(Instant::now());
        let share = left / u32::try_from(addresses.len() - tried).unwrap_or(1);
        match timeout_at(Instant::now() + share, TcpStream::connect(address)).await {
            Ok(Ok(stream)) => {
                stream.set_nodelay(true).ok();
                return Ok(stream);
            }
            Ok(Err(error)) => failure = Some((reason::of_connecting(&error), error.to_string())),
            Err(_) => failure = Some((Error::ConnectionTimeout, "an address did not answer".into())),
        }
    }
    let (error, why) = failure.unwrap_or((Error::ConnectionTerminated, "the attempt is over".into()));
    Err(Failure::Unsent(error, why))
}

/// Begins to speak HTTP.
async fn speak(stream: Box<dyn Stream>, is_two: bool, room: OwnedSemaphorePermit) -> hyper::Result<Link> {
    let stream = TokioIo::new(stream);
    if is_two {
        let (sender, connection) = http2::Builder::new(TokioExecutor::new())
            .timer(TokioTimer::new())
            .initial_stream_window_size(STREAM_BYTES_MAX)
            .initial_connection_window_size(STREAM_BYTES_MAX.saturating_mul(u32::try_from(STREAMS_MAX).unwrap_or(1)))
            .max_header_list_size(u32::try_from(HEAD_BYTES_MAX).unwrap_or(u32::MAX))
            .max_send_buf_size(HEAD_BYTES_MAX)
            .keep_alive_interval(PING_AFTER)
            .handshake(stream)
            .await?;
        return Ok(Link::Two(Arc::new(Two { sender, task: Task::spawn(connection, room) })));
    }
    let (sender, connection) =
        http1::Builder::new().max_buf_size(HEAD_BYTES_MAX).max_headers(FIELDS_MAX).handshake(stream).await?;
    Ok(Link::One(One { sender, task: Task::spawn(connection, room) }))
}

/// One request on one connection, until the head of its answer is there.
async fn exchange(errand: &Errand, lease: &mut Lease, mut request: Request<RequestBody>) -> Sent {
    let sending = match lease.link() {
        Some(Link::One(one)) => {
            *request.uri_mut() = errand.path.clone();
            request.headers_mut().insert(header::HOST, errand.host.clone());
            one.sender.try_send_request(request).boxed()
        }
        Some(Link::Two(two)) => {
            *request.uri_mut() = errand.whole.clone();
            request.headers_mut().remove(header::HOST);
            two.sender.clone().try_send_request(request).boxed()
        }
        None => return Sent::Back(Box::new(request)),
    };
    match in_time(errand, sending).await {
        None => Sent::Failed(Failure::Cut(Error::ConnectionReadTimeout, "no answer came in time".into())),
        Some(Ok(response)) => Sent::Answered(response),
        Some(Err(mut error)) => match error.take_message() {
            Some(request) => Sent::Back(Box::new(request)),
            None => {
                let error = error.into_error();
                Sent::Failed(Failure::Cut(reason::of_answer(&error), reason::words(&error)))
            }
        },
    }
}

/// Waits for the head of an answer. The time runs from the moment at which the body was last taken from us.
async fn in_time(errand: &Errand, mut sending: impl Future<Output = Tried> + Unpin) -> Option<Tried> {
    let started = Instant::now();
    loop {
        let since = errand.upload.taken_until().map_or(started, |taken| taken.max(started));
        let until = since + errand.first_byte_time_max;
        if until <= Instant::now() {
            // An answer that came at the last moment counts.
            return sending.now_or_never();
        }
        tokio::select! {
            biased;
            tried = &mut sending => return Some(tried),
            () = sleep_until(until) => {}
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::panic, reason = "tests")]

    use tokio::net::TcpListener;

    use super::super::address::Reach;
    use super::*;

    /// To a server that takes every connection.
    async fn errand(reach: Reach) -> Errand {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let port = listener.local_addr().unwrap().port();
        tokio::spawn(async move {
            let mut held = Vec::new();
            while let Ok((stream, _)) = listener.accept().await {
                held.push(stream);
            }
        });
        Errand {
            component: "a".into(),
            peer: Peer { tls: false, host: "127.0.0.1".into(), port, reach },
            path: Uri::default(),
            whole: Uri::default(),
            host: header::HeaderValue::from_static("a"),
            connect_time_max: Duration::from_millis(200),
            first_byte_time_max: Duration::from_secs(1),
            upload: Arc::default(),
            life: Arc::default(),
        }
    }

    #[tokio::test]
    async fn a_connection_waits_for_room_of_its_host_and_an_idle_one_makes_some() {
        let client = Client { room: Arc::new(Semaphore::new(1)), ..Client::new(&NetOptions::default()) };
        let (one, other) = (errand(Reach::Named).await, errand(Reach::Private).await);
        let lease = client.connect(&one).await.ok().unwrap();
        match client.connect(&other).await {
            Err(Failure::Unsent(Error::ConnectionLimitReached, _)) => {}
            Err(Failure::Unsent(error, why)) => panic!("{error:?} {why}"),
            _ => panic!("there is no room"),
        }
        // It is kept for the next request, and gives its place up for another server's.
        lease.finish();
        tokio::time::sleep(Duration::from_millis(20)).await;
        let lease = client.connect(&other).await.ok().unwrap();
        // One that comes back while somebody waits is not kept.
        let (next, ()) = futures_util::join!(client.connect(&one), async {
            tokio::time::sleep(Duration::from_millis(20)).await;
            lease.finish();
        });
        assert!(next.is_ok());
    }
}
