//! What was granted of the network by name or address and port, and which line of the settings would allow the rest.

use std::net::IpAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use bytesize::ByteSize;
use tokio::sync::Semaphore;
use toolpost_core::catalog::grants::TcpGrant;
use toolpost_core::{Attempt, CallError, Effect, EffectClass, ErrorKind, Stage, Tool};

use crate::capability::net::address::Reach;

/// A grant, as far as one attempt has used it.
pub(super) struct Share {
    pub(super) grant: TcpGrant,
    pub(super) attempt: Attempt,
    /// Room for connections.
    pub(super) room: Arc<Semaphore>,
    /// Bytes that may still be sent or received.
    left: AtomicU64,
    /// Whether the attempt was ended before its tool was done.
    is_cut: AtomicBool,
}

impl Share {
    pub(super) fn new(grant: &TcpGrant, attempt: &Attempt) -> Self {
        Share {
            grant: grant.clone(),
            attempt: attempt.clone(),
            room: Arc::new(Semaphore::new(grant.max_connections as usize)),
            left: AtomicU64::new(grant.max_bytes.0),
            is_cut: AtomicBool::new(false),
        }
    }

    /// How far its name may lead.
    pub(super) fn reach(&self) -> Reach {
        match (self.grant.tcp.names_address(), self.grant.private) {
            (true, _) => Reach::Named,
            (false, true) => Reach::Private,
            (false, false) => Reach::Public,
        }
    }

    /// What is open now was not closed by the tool, but by the end of its attempt.
    pub(super) fn cut(&self) {
        self.is_cut.store(true, Ordering::Relaxed);
    }

    pub(super) fn is_cut(&self) -> bool {
        self.is_cut.load(Ordering::Relaxed)
    }

    /// Bytes that may still be sent or received.
    pub(super) fn left(&self) -> u64 {
        self.left.load(Ordering::Relaxed)
    }

    /// Counts what is sent or was received; `false` where it is too much.
    pub(super) fn take(&self, bytes: usize) -> bool {
        let take = |left: u64| left.checked_sub(bytes as u64);
        self.left.fetch_update(Ordering::Relaxed, Ordering::Relaxed, take).is_ok()
    }

    /// A connection under it, as an effect on the world.
    pub(super) fn effect(&self) -> Effect {
        connecting(&self.grant.tcp.to_string())
    }

    /// It covers no more bytes.
    pub(super) fn used_up(&self) -> CallError {
        let bytes = ByteSize(self.grant.max_bytes.0).display().iec().to_string();
        let place = &self.grant.tcp;
        let message = format!("the tool may send and receive no more than {bytes} over its connections to `{place}`");
        self.raise(message, "max_bytes")
    }

    /// It covers no more connections at once.
    pub(super) fn crowded(&self) -> CallError {
        let place = &self.grant.tcp;
        let message =
            format!("the tool has as many connections to `{place}` as it may at once: {}", self.grant.max_connections);
        self.raise(message, "max_connections")
    }

    fn raise(&self, message: String, key: &str) -> CallError {
        let help = format!("the operator can raise `{key}` in the grant of `{}`", self.grant.tcp);
        CallError::new(ErrorKind::QuotaExceeded, Stage::Run, message).with_help(help)
    }
}

/// A connection to a place as an effect on the world: what is sent over it, nobody here understands.
pub(super) fn connecting(place: &str) -> Effect {
    effect(EffectClass::Open, "net.connect", format!("tcp://{place}"))
}

/// To look a name up as an effect. It tells whoever serves the name that somebody asks, and nothing more.
pub(super) fn looking_up(name: &str) -> Effect {
    effect(EffectClass::Reads, "net.lookup", name.to_owned())
}

/// To wait for connections as an effect.
pub(super) fn listening(place: String) -> Effect {
    effect(EffectClass::Open, "net.listen", format!("tcp://{place}"))
}

/// To have a socket for UDP as an effect.
pub(super) fn sending_datagrams() -> Effect {
    effect(EffectClass::Open, "net.datagram", "udp".to_owned())
}

fn effect(class: EffectClass, action: &str, target: String) -> Effect {
    Effect { class, action: action.to_owned(), target, detail: None }
}

/// No grant covers a connection to that place.
pub(super) fn denied(tool: &Tool, place: &str) -> CallError {
    let help = tool.allowing("net", &format!("{{ tcp = \"{place}\" }}"), !tool.grants.net.is_empty());
    let message = format!("the tool may not connect to `tcp://{place}`");
    CallError::new(ErrorKind::CapabilityDenied, Stage::Run, message).with_help(help)
}

/// No grant has the name.
pub(super) fn unknown(tool: &Tool, name: &str) -> CallError {
    let help = tool.allowing("net", &format!("{{ tcp = \"{name}:PORT\" }}"), !tool.grants.net.is_empty());
    let message = format!("the tool may not look up `{name}`");
    CallError::new(ErrorKind::CapabilityDenied, Stage::Run, message)
        .with_help(format!("{help}, with the port for PORT"))
}

/// All that a name leads to is out of reach.
pub(super) fn out_of_reach(name: &str, reach: Reach, address: IpAddr, what: &str) -> CallError {
    let message = format!("`{name}` leads to {what}, where the tool may not go");
    CallError::new(ErrorKind::CapabilityDenied, Stage::Run, message).with_help(reach.help(address))
}

/// What no tool may, whatever is granted to it.
pub(super) fn closed(what: &str) -> CallError {
    let message = format!("the tool may not {what}: no setting allows that to a tool; let it connect over TCP instead");
    CallError::new(ErrorKind::CapabilityDenied, Stage::Run, message)
}

/// All tools together have as many connections as there is room for.
pub(super) fn no_room() -> CallError {
    let message = "the tools have as many connections as the host has room for; call again later";
    CallError::new(ErrorKind::Busy, Stage::Run, message)
}
