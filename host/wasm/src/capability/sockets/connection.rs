//! A connection, with its two streams. Nothing is written but while its tool waits for it, so nothing can be written behind the
//! end of the attempt; and what then waits in the buffers of the system is taken back.

use std::future::poll_fn;
use std::io;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, ready};

use bytes::{Buf as _, Bytes, BytesMut};
use rustix::net::{Shutdown, shutdown};
use tokio::net::TcpStream;
use tokio::sync::OwnedSemaphorePermit;
use wasmtime_wasi::p2::{InputStream, OutputStream, Pollable, StreamError, StreamResult};

use super::grant::Share;

/// What is read or written in one go, in bytes. As much of each connection may wait in the host.
const CHUNK_BYTES_MAX: usize = 64 << 10;

/// The room that a connection takes, until it is closed.
pub(super) struct Room {
    pub(super) _share: OwnedSemaphorePermit,
    pub(super) _host: OwnedSemaphorePermit,
}

/// A connection that was made.
pub(super) struct Connection {
    stream: TcpStream,
    share: Arc<Share>,
    is_read: AtomicBool,
    out: Mutex<Out>,
    _room: Room,
}

/// What is on its way out.
struct Out {
    /// What the system has not taken yet.
    pending: Bytes,
    state: OutState,
}

enum OutState {
    Open,
    /// No more comes behind what is pending.
    Closing,
    Failed(io::Error),
    Closed,
}

impl Connection {
    pub(super) fn new(stream: TcpStream, share: Arc<Share>, room: Room) -> Arc<Self> {
        let out = Mutex::new(Out { pending: Bytes::new(), state: OutState::Open });
        Arc::new(Connection { stream, share, is_read: AtomicBool::new(true), out, _room: room })
    }

    pub(super) fn peer(&self) -> io::Result<std::net::SocketAddr> {
        self.stream.peer_addr()
    }

    pub(super) fn reader(self: &Arc<Self>) -> Reader {
        Reader(self.clone())
    }

    pub(super) fn writer(self: &Arc<Self>) -> Writer {
        Writer(self.clone())
    }

    /// Receives no more.
    pub(super) fn close_in(&self) {
        self.is_read.store(false, Ordering::Relaxed);
    }

    /// Sends no more than what is on its way, and says so to the other side.
    pub(super) fn close_out(&self) {
        let mut out = self.out();
        if matches!(out.state, OutState::Open) {
            out.state = OutState::Closing;
            self.push(&mut out);
        }
    }

    fn out(&self) -> MutexGuard<'_, Out> {
        self.out.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// More was sent or received than is granted: the end of the connection.
    fn used_up(&self, out: &mut Out) {
        self.share.attempt.keep_from(self.share.used_up());
        self.close_in();
        *out = Out { pending: Bytes::new(), state: OutState::Closed };
        shutdown(&self.stream, Shutdown::Both).ok();
    }

    /// Hands to the system what it takes of what is pending.
    fn push(&self, out: &mut Out) {
        while !out.pending.is_empty() {
            if self.share.attempt.is_over() {
                out.state = OutState::Closed;
                out.pending.clear();
                return;
            }
            match self.stream.try_write(&out.pending) {
                Ok(taken) => out.pending.advance(taken),
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return,
                Err(error) => {
                    out.state = OutState::Failed(error);
                    out.pending.clear();
                    return;
                }
            }
        }
        if matches!(out.state, OutState::Closing) {
            shutdown(&self.stream, Shutdown::Write).ok();
            out.state = OutState::Closed;
        }
    }

    /// Waits until the system has taken all that is pending.
    fn poll_pushed(&self, task: &mut Context<'_>) -> Poll<()> {
        let mut out = self.out();
        loop {
            self.push(&mut out);
            if out.pending.is_empty() {
                return Poll::Ready(());
            }
            if let Err(error) = ready!(self.stream.poll_write_ready(task)) {
                out.pending.clear();
                out.state = OutState::Failed(error);
            }
        }
    }

    fn receive(&self, size: usize) -> StreamResult<Bytes> {
        if !self.is_read.load(Ordering::Relaxed) || self.share.attempt.is_over() {
            return Err(StreamError::Closed);
        }
        if size == 0 {
            return Ok(Bytes::new());
        }
        // One more than is granted is read, to tell whether there is one.
        let granted = usize::try_from(self.share.left()).unwrap_or(usize::MAX).max(1);
        let mut buffer = BytesMut::zeroed(size.min(CHUNK_BYTES_MAX).min(granted));
        match self.stream.try_read(&mut buffer) {
            Ok(0) => {
                self.close_in();
                Err(StreamError::Closed)
            }
            Ok(length) if !self.share.take(length) => {
                self.used_up(&mut self.out());
                // No end of its own, or what has come would look like all.
                Err(failed(io::ErrorKind::PermissionDenied.into()))
            }
            Ok(length) => {
                buffer.truncate(length);
                Ok(buffer.freeze())
            }
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => Ok(Bytes::new()),
            Err(error) => {
                self.close_in();
                Err(failed(error))
            }
        }
    }

    fn send(&self, bytes: Bytes) -> StreamResult<()> {
        let mut out = self.out();
        let is_ready = out.check()?;
        if bytes.is_empty() {
            return Ok(());
        }
        if !is_ready || bytes.len() > CHUNK_BYTES_MAX {
            return Err(StreamError::trap("more was written than `check-write` had allowed"));
        }
        if !self.share.take(bytes.len()) {
            self.used_up(&mut out);
            return Err(StreamError::Closed);
        }
        out.pending = bytes;
        self.push(&mut out);
        out.check().map(|_| ())
    }
}

impl Drop for Connection {
    /// Where the end of its attempt cuts it off, the other side must not take what it has for all, and gets nothing more.
    fn drop(&mut self) {
        if self.share.is_cut() || self.share.attempt.is_over() {
            self.stream.set_zero_linger().ok();
        }
    }
}

impl Out {
    /// Whether something may be written.
    fn check(&mut self) -> StreamResult<bool> {
        match std::mem::replace(&mut self.state, OutState::Closed) {
            OutState::Open => {
                self.state = OutState::Open;
                Ok(self.pending.is_empty())
            }
            OutState::Closing => {
                self.state = OutState::Closing;
                Err(StreamError::Closed)
            }
            // The other side has no ear for it any more, which guests know by this.
            OutState::Failed(error) if is_hung_up(&error) => Err(StreamError::Closed),
            OutState::Failed(error) => Err(failed(error)),
            OutState::Closed => Err(StreamError::Closed),
        }
    }
}

fn is_hung_up(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::BrokenPipe | io::ErrorKind::ConnectionReset)
}

fn failed(error: io::Error) -> StreamError {
    StreamError::LastOperationFailed(error.into())
}

/// What comes in.
pub(super) struct Reader(Arc<Connection>);

#[async_trait::async_trait]
impl InputStream for Reader {
    fn read(&mut self, size: usize) -> StreamResult<Bytes> {
        self.0.receive(size)
    }
}

#[async_trait::async_trait]
impl Pollable for Reader {
    async fn ready(&mut self) {
        if self.0.is_read.load(Ordering::Relaxed) {
            poll_fn(|task| self.0.stream.poll_read_ready(task)).await.ok();
        }
    }
}

/// What goes out.
pub(super) struct Writer(Arc<Connection>);

#[async_trait::async_trait]
impl OutputStream for Writer {
    fn write(&mut self, bytes: Bytes) -> StreamResult<()> {
        self.0.send(bytes)
    }

    fn flush(&mut self) -> StreamResult<()> {
        self.0.out().check().map(|_| ())
    }

    fn check_write(&mut self) -> StreamResult<usize> {
        let mut out = self.0.out();
        self.0.push(&mut out);
        Ok(if out.check()? { CHUNK_BYTES_MAX } else { 0 })
    }

    /// What is written is not taken back because its stream is not needed any more.
    async fn cancel(&mut self) {
        self.ready().await;
    }
}

#[async_trait::async_trait]
impl Pollable for Writer {
    async fn ready(&mut self) {
        poll_fn(|task| self.0.poll_pushed(task)).await;
    }
}
