//! WASI 0.2, with nothing granted: no arguments, no standard input, and of an environment what was granted. Clocks and
//! random numbers work. Standard output and standard error go into the call's report, as far as they are kept. Files are not
//! here, nor are connections over TCP: they are capabilities of their own. Nor is the making of a socket for UDP, without which the
//! rest of that interface is of no use.

use std::any::Any;
use std::pin::Pin;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll};

use bytes::Bytes;
use tokio::io::AsyncWrite;
use toolpost_core::run::Capture;
use wasmtime::Result;
use wasmtime::component::Linker;
use wasmtime_wasi::cli::{IsTerminal, StdoutStream, WasiCli, WasiCliView as _};
use wasmtime_wasi::p2::bindings::filesystem::types::ErrorCode;
use wasmtime_wasi::p2::bindings::sockets::network::{LinkOptions, Network};
use wasmtime_wasi::p2::bindings::{cli, random, sockets};
use wasmtime_wasi::p2::pipe::ClosedInputStream;
use wasmtime_wasi::p2::{
    DynInputStream, DynOutputStream, DynPollable, InputStream, IoError, OutputStream, Pollable, StreamError,
    StreamResult,
};
use wasmtime_wasi::random::{WasiRandom, WasiRandomView as _};
use wasmtime_wasi::sockets::{WasiSockets, WasiSocketsView as _};
use wasmtime_wasi::{WasiCtx, WasiCtxBuilder};

use super::Fate;
use super::words::Words;
use crate::state::State;

/// The most random bytes that a guest gets in one request.
const RANDOM_BYTES_MAX: u64 = 1 << 20;

/// The most that a guest may write in one go; a larger write comes in parts.
const CHUNK_BYTES_MAX: usize = 64 << 10;

pub(super) fn link(linker: &mut Linker<State>) -> Result<()> {
    wasmtime_wasi::p2::add_to_linker_proxy_interfaces_async(linker)?;
    random::insecure::add_to_linker::<_, WasiRandom>(linker, State::random)?;
    random::insecure_seed::add_to_linker::<_, WasiRandom>(linker, State::random)?;
    cli::exit::add_to_linker::<_, WasiCli>(linker, State::cli)?;
    cli::environment::add_to_linker::<_, WasiCli>(linker, State::cli)?;
    cli::terminal_input::add_to_linker::<_, WasiCli>(linker, State::cli)?;
    cli::terminal_output::add_to_linker::<_, WasiCli>(linker, State::cli)?;
    cli::terminal_stdin::add_to_linker::<_, WasiCli>(linker, State::cli)?;
    cli::terminal_stdout::add_to_linker::<_, WasiCli>(linker, State::cli)?;
    cli::terminal_stderr::add_to_linker::<_, WasiCli>(linker, State::cli)?;
    sockets::udp::add_to_linker::<_, WasiSockets>(linker, State::sockets)?;
    sockets::instance_network::add_to_linker::<_, WasiSockets>(linker, State::sockets)?;
    sockets::network::add_to_linker::<_, WasiSockets>(linker, &LinkOptions::default(), State::sockets)
}

pub(crate) fn context(stdio: &Arc<Stdio>, words: &Words) -> WasiCtx {
    WasiCtxBuilder::new()
        .envs(&words.env)
        .stdin(ClosedInputStream)
        .stdout(Captured(stdio.clone(), Stdio::OUT))
        .stderr(Captured(stdio.clone(), Stdio::ERR))
        .max_random_size(RANDOM_BYTES_MAX)
        .allow_tcp(false)
        .allow_udp(false)
        .allow_ip_name_lookup(false)
        .build()
}

/// Where standard output and standard error go: into the report of the call that is served. Guests keep their streams from one
/// call to the next.
#[derive(Default)]
pub(crate) struct Stdio {
    now: Mutex<Option<[Arc<Capture>; 2]>>,
    /// Whether one of its streams was flushed.
    flushed: AtomicBool,
}

impl Stdio {
    const OUT: usize = 0;
    const ERR: usize = 1;

    pub(crate) fn serve(&self, out: &Arc<Capture>, err: &Arc<Capture>) {
        *self.now() = Some([out.clone(), err.clone()]);
    }

    pub(crate) fn rest(&self) {
        *self.now() = None;
    }

    fn write(&self, which: usize, bytes: &[u8]) {
        let capture = self.now().as_ref().and_then(|captures| captures.get(which).cloned());
        if let Some(capture) = capture {
            capture.write(bytes);
        }
    }

    /// Whether a stream is one of these. What is behind a stream cannot be asked for its type, but for something to do.
    fn owns(&self, stream: &mut DynOutputStream) -> bool {
        self.flushed.store(false, Ordering::Relaxed);
        drop(stream.flush());
        self.flushed.swap(false, Ordering::Relaxed)
    }

    fn now(&self) -> MutexGuard<'_, Option<[Arc<Capture>; 2]>> {
        self.now.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Closes a stream that outlives its call, but for those of standard output and standard error. What else WASI has (clocks to
/// wait for, and whatever there is to wait for on a stream) is good for the next call, and shows it nothing.
pub(super) fn close(held: &mut (dyn Any + Send), stdio: &Stdio) -> Option<Fate> {
    if let Some(stream) = held.downcast_mut::<DynOutputStream>() {
        if is_nothing(&**stream) || stdio.owns(stream) {
            return Some(Fate::Lasts);
        }
        *stream = Box::new(Ended);
        return Some(Fate::Closed);
    }
    if let Some(stream) = held.downcast_mut::<DynInputStream>() {
        if is_nothing(&**stream) {
            return Some(Fate::Lasts);
        }
        *stream = Box::new(Ended);
        return Some(Fate::Closed);
    }
    let is_harmless = held.is::<DynPollable>() || held.is::<IoError>() || held.is::<Network>();
    is_harmless.then_some(Fate::Lasts)
}

/// Whether a stream has nothing in it: it is standard input, or has ended with its call.
fn is_nothing(stream: &(impl ?Sized + Pollable)) -> bool {
    size_of_val(stream) == 0
}

/// A stream of a call that is over. It fails: what was cut off must not look like all.
struct Ended;

fn ended() -> StreamError {
    StreamError::LastOperationFailed(ErrorCode::BadDescriptor.into())
}

#[async_trait::async_trait]
impl Pollable for Ended {
    async fn ready(&mut self) {}
}

#[async_trait::async_trait]
impl InputStream for Ended {
    fn read(&mut self, _: usize) -> StreamResult<Bytes> {
        Err(ended())
    }
}

#[async_trait::async_trait]
impl OutputStream for Ended {
    fn write(&mut self, _: Bytes) -> StreamResult<()> {
        Err(ended())
    }

    fn flush(&mut self) -> StreamResult<()> {
        Err(ended())
    }

    fn check_write(&mut self) -> StreamResult<usize> {
        Err(ended())
    }
}

/// A stream that is always ready, keeps the beginning of what is written, and counts the rest: a tool that prints much
/// must not die of it.
#[derive(Clone)]
struct Captured(Arc<Stdio>, usize);

impl IsTerminal for Captured {
    fn is_terminal(&self) -> bool {
        false
    }
}

impl StdoutStream for Captured {
    fn async_stream(&self) -> Box<dyn AsyncWrite + Send + Sync> {
        Box::new(self.clone())
    }

    fn p2_stream(&self) -> Box<dyn OutputStream> {
        Box::new(self.clone())
    }
}

impl OutputStream for Captured {
    fn write(&mut self, bytes: Bytes) -> StreamResult<()> {
        self.0.write(self.1, &bytes);
        Ok(())
    }

    fn flush(&mut self) -> StreamResult<()> {
        self.0.flushed.store(true, Ordering::Relaxed);
        Ok(())
    }

    fn check_write(&mut self) -> StreamResult<usize> {
        Ok(CHUNK_BYTES_MAX)
    }
}

#[async_trait::async_trait]
impl Pollable for Captured {
    async fn ready(&mut self) {}
}

impl AsyncWrite for Captured {
    fn poll_write(self: Pin<&mut Self>, _: &mut Context<'_>, bytes: &[u8]) -> Poll<std::io::Result<usize>> {
        self.0.write(self.1, bytes);
        Poll::Ready(Ok(bytes.len()))
    }

    fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<std::io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<std::io::Result<()>> {
        Poll::Ready(Ok(()))
    }
}
