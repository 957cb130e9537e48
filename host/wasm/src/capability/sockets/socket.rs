//! A socket as a guest holds it. Nothing of the system stands behind it until it is connected.

use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::task::{Context, Poll, Waker};

use futures_util::future::BoxFuture;
use wasmtime_wasi::p2::Pollable;
use wasmtime_wasi::p2::bindings::sockets::network::{ErrorCode, IpAddressFamily};

use super::connection::Connection;
use super::options::Options;

pub(super) struct Socket {
    pub(super) family: IpAddressFamily,
    pub(super) options: Options,
    pub(super) state: State,
}

pub(super) enum State {
    New,
    /// On its way, when somebody waits for it.
    Connecting(BoxFuture<'static, Result<Arc<Connection>, ErrorCode>>),
    /// It is there, and was not asked for yet.
    Made(Result<Arc<Connection>, ErrorCode>),
    Connected(Arc<Connection>),
    Closed,
}

impl Socket {
    pub(super) fn new(family: IpAddressFamily) -> Self {
        Socket { family, options: Options::default(), state: State::New }
    }

    /// Whether it can be connected to that address.
    pub(super) fn fits(&self, to: SocketAddr) -> Result<(), ErrorCode> {
        match (&self.state, self.family, to.ip()) {
            (State::Connecting(_) | State::Made(_), ..) => Err(ErrorCode::ConcurrencyConflict),
            (State::Connected(_) | State::Closed, ..) => Err(ErrorCode::InvalidState),
            (State::New, IpAddressFamily::Ipv4, IpAddr::V4(_)) | (State::New, IpAddressFamily::Ipv6, IpAddr::V6(_)) => {
                Ok(())
            }
            (State::New, ..) => Err(ErrorCode::InvalidArgument),
        }
    }

    /// The connection that was begun.
    pub(super) fn finish(&mut self) -> Result<Arc<Connection>, ErrorCode> {
        if !matches!(self.state, State::Connecting(_) | State::Made(_)) {
            return Err(ErrorCode::NotInProgress);
        }
        if self.poll(&mut Context::from_waker(Waker::noop())).is_pending() {
            return Err(ErrorCode::WouldBlock);
        }
        match std::mem::replace(&mut self.state, State::Closed) {
            State::Made(Ok(connection)) => {
                self.state = State::Connected(connection.clone());
                Ok(connection)
            }
            State::Made(Err(code)) => Err(code),
            _ => Err(ErrorCode::InvalidState),
        }
    }

    /// Lets go of the connection, if there is one; says whether there was.
    pub(super) fn close(&mut self) -> bool {
        if matches!(self.state, State::New | State::Closed) {
            return false;
        }
        self.state = State::Closed;
        true
    }

    pub(super) fn connection(&self) -> Result<&Arc<Connection>, ErrorCode> {
        match &self.state {
            State::Connected(connection) => Ok(connection),
            _ => Err(ErrorCode::InvalidState),
        }
    }

    fn poll(&mut self, task: &mut Context<'_>) -> Poll<()> {
        let State::Connecting(connecting) = &mut self.state else { return Poll::Ready(()) };
        connecting.as_mut().poll(task).map(|made| self.state = State::Made(made))
    }
}

#[async_trait::async_trait]
impl Pollable for Socket {
    /// May be dropped half way: what is under way stays so.
    async fn ready(&mut self) {
        std::future::poll_fn(|task| self.poll(task)).await;
    }
}
