//! One connection, from leave to made: it passes its place's breaker and the gate before anything of it can be noticed, and both
//! are told what became of it.
//!
//! A breaker hears whether the other side lets itself be connected to. How well it then does what it is for, only the tool knows.

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;

use tokio::net::TcpStream;
use tokio::sync::Semaphore;
use tokio::time::timeout;
use toolpost_core::Level;
use toolpost_core::effect::Intent;
use toolpost_core::guard::breaker::Outcome;
use wasmtime_wasi::p2::bindings::sockets::network::ErrorCode;

use super::connection::{Connection, Room};
use super::grant::{self, Share};

/// Connects to an address that the grant covers.
///
/// # Cancel safety
/// Dropping the future gives the connection up; where it was on its way, whether it has been made is not known.
pub(super) async fn connect(
    share: Arc<Share>,
    to: SocketAddr,
    of_host: Arc<Semaphore>,
) -> Result<Arc<Connection>, ErrorCode> {
    let attempt = &share.attempt;
    let place = share.grant.tcp.to_string();
    // What will be said over it, nobody knows yet. Asked before anything is held that others wait for.
    let intent = Intent::from(share.effect()).open_ended();
    let asked = attempt.ask(intent).await.map_err(|_| ErrorCode::AccessDenied)?;
    let Ok(of_share) = share.room.clone().try_acquire_owned() else {
        attempt.refuse_asked(asked, share.crowded());
        return Err(ErrorCode::NewSocketLimit);
    };
    let Ok(of_host) = of_host.try_acquire_owned() else {
        attempt.refuse_asked(asked, grant::no_room());
        return Err(ErrorCode::NewSocketLimit);
    };
    // In front of the gate: what the breaker refuses must not be on record as something that may have happened.
    let contact = match attempt.contact(&place) {
        Ok(contact) => contact,
        Err(open) => {
            attempt.refuse_asked(asked, open);
            return Err(ErrorCode::RemoteUnreachable);
        }
    };
    let passage = attempt.pass_asked(asked).await.map_err(|_| ErrorCode::AccessDenied)?;
    let connecting = timeout(share.grant.timeout.0, TcpStream::connect(to)).await;
    let error = match connecting.unwrap_or_else(|_| Err(io::ErrorKind::TimedOut.into())) {
        Ok(stream) => {
            passage.done();
            contact.finish(Outcome::Success);
            // A guest cannot ask for it, and what waits for more before it is sent waits for long.
            stream.set_nodelay(true).ok();
            return Ok(Connection::new(stream, share, Room { _share: of_share, _host: of_host }));
        }
        Err(error) => error,
    };
    passage.failed();
    contact.finish(fault(&error).map_or(Outcome::Ignored, Outcome::Failure));
    attempt.log(Level::Warn, &format!("net.connect tcp://{place}: {error}"));
    Err(ErrorCode::from(error))
}

/// How the other side has failed, in one word; nothing where it was not the other side.
fn fault(error: &io::Error) -> Option<&'static str> {
    Some(match error.kind() {
        io::ErrorKind::ConnectionRefused => "connection_refused",
        io::ErrorKind::TimedOut => "connection_timeout",
        io::ErrorKind::HostUnreachable | io::ErrorKind::NetworkUnreachable => "unreachable",
        io::ErrorKind::ConnectionReset | io::ErrorKind::ConnectionAborted => "broken_off",
        _ => return None,
    })
}
