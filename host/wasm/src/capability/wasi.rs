//! WASI 0.2, with nothing granted: no arguments, no standard input, and of an environment what was granted. Clocks and
//! random numbers work. Standard output and standard error go into the call's report, as far as they are kept. Files are not
//! here, nor are connections over TCP: they are capabilities of their own. Nor is the making of a socket for UDP, without which the
//! rest of that interface is of no use.

use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use bytes::Bytes;
use tokio::io::AsyncWrite;
use toolpost_core::Attempt;
use toolpost_core::run::Capture;
use wasmtime::Result;
use wasmtime::component::Linker;
use wasmtime_wasi::cli::{IsTerminal, StdoutStream, WasiCli, WasiCliView as _};
use wasmtime_wasi::p2::bindings::sockets::network::LinkOptions;
use wasmtime_wasi::p2::bindings::{cli, random, sockets};
use wasmtime_wasi::p2::{OutputStream, Pollable, StreamResult};
use wasmtime_wasi::random::{WasiRandom, WasiRandomView as _};
use wasmtime_wasi::sockets::{WasiSockets, WasiSocketsView as _};
use wasmtime_wasi::{WasiCtx, WasiCtxBuilder};

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

pub(crate) fn context(attempt: &Attempt, words: &Words) -> WasiCtx {
    WasiCtxBuilder::new()
        .envs(&words.env)
        .stdout(Captured(attempt.meter.stdout.clone()))
        .stderr(Captured(attempt.meter.stderr.clone()))
        .max_random_size(RANDOM_BYTES_MAX)
        .allow_tcp(false)
        .allow_udp(false)
        .allow_ip_name_lookup(false)
        .build()
}

/// A stream that is always ready, keeps the beginning of what is written, and counts the rest: a tool that prints much
/// must not die of it.
#[derive(Clone)]
struct Captured(Arc<Capture>);

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
        self.0.write(&bytes);
        Ok(())
    }

    fn flush(&mut self) -> StreamResult<()> {
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
        self.0.write(bytes);
        Poll::Ready(Ok(bytes.len()))
    }

    fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<std::io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<std::io::Result<()>> {
        Poll::Ready(Ok(()))
    }
}
