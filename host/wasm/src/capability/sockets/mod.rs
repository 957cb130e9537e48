//! Connections over TCP, by `wasi:sockets`. Nothing is open that is not granted; each connection passes the gate before anything
//! of it can be noticed. To wait for connections, and UDP, is granted to nobody.
//!
//! A tool connects to addresses, and is granted names. So names are looked up here, and only those that are granted; what they
//! lead to is judged as it is for requests over HTTP, told to the tool, and remembered for as long as the attempt lasts. A
//! connection leads to an address that is remembered so, or that a grant names itself, and to no other: what a name leads to a
//! moment later is of no account, and nothing can be scanned.
//!
//! The parts, as other capabilities have them: the **grant** says where to ([`grant`], and the settings in
//! `toolpost_core::catalog::grants`); the **driver** gets there: a [`lookup`], the way to [`connect`], a [`connection`]; the
//! **handle** is what one attempt has of both; and the **interface** turns what a guest asks for into that. It is not that of
//! `wasmtime-wasi`, which can be asked whether an address may be connected to, but neither says what became of it nor counts,
//! and which writes in tasks of its own that may outlive the attempt by a moment.

// What was granted
mod grant;

// The driver
mod connect;
mod connection;
mod lookup;

// The interface, in its own words
mod interface;
mod options;
mod socket;

use std::any::Any;
use std::collections::VecDeque;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;

use toolpost_core::Attempt;
use url::Host;
use wasmtime::Result;
use wasmtime::component::{HasData, Linker, ResourceTable};
use wasmtime_wasi::p2::bindings::sockets::{ip_name_lookup, tcp, tcp_create_socket, udp_create_socket};

use self::grant::Share;
use super::Fate;
use super::net::client::Client;
use crate::state::State;

/// Addresses that are remembered; the oldest are forgotten.
const KNOWN_MAX: usize = 256;

pub(super) fn link(linker: &mut Linker<State>) -> Result<()> {
    tcp::add_to_linker::<_, Sockets>(linker, State::connections)?;
    tcp_create_socket::add_to_linker::<_, Sockets>(linker, State::connections)?;
    udp_create_socket::add_to_linker::<_, Sockets>(linker, State::connections)?;
    ip_name_lookup::add_to_linker::<_, Sockets>(linker, State::connections)
}

/// A connection ends with its call, also one that was not made yet; so does a lookup.
pub(super) fn close(held: &mut (dyn Any + Send)) -> Option<Fate> {
    let is_open = match held.downcast_mut::<socket::Socket>() {
        Some(socket) => socket.close(),
        None => held.downcast_mut::<lookup::Lookup>()?.close(),
    };
    Some(if is_open { Fate::Closed } else { Fate::Lasts })
}

/// Sockets, as the linker knows them.
struct Sockets;

impl HasData for Sockets {
    type Data<'a> = View<'a>;
}

/// What the interface works on.
pub(crate) struct View<'a> {
    pub(crate) handle: &'a mut Handle,
    pub(crate) table: &'a mut ResourceTable,
}

/// The granted connections, as far as one attempt has them. Dropping it breaks off those that are open; where the tool was done,
/// they end as they would with a process that ends.
pub(crate) struct Handle {
    attempt: Attempt,
    client: Arc<Client>,
    shares: Vec<Arc<Share>>,
    /// Where the names of grants lead to.
    known: VecDeque<(IpAddr, Arc<Share>)>,
    is_done: bool,
}

impl Drop for Handle {
    fn drop(&mut self) {
        if !self.is_done {
            self.shares.iter().for_each(|share| share.cut());
        }
    }
}

impl Handle {
    pub(crate) fn new(attempt: &Attempt, client: &Arc<Client>) -> Self {
        let shares = attempt.call.tool.grants.net.tcp.iter().map(|grant| Arc::new(Share::new(grant, attempt)));
        Handle {
            attempt: attempt.clone(),
            client: client.clone(),
            shares: shares.collect(),
            known: VecDeque::new(),
            is_done: false,
        }
    }

    /// The tool has given its answer.
    pub(crate) fn done(&mut self) {
        self.is_done = true;
    }

    /// The grants of a name.
    fn of_name(&self, name: &str) -> Vec<Arc<Share>> {
        let is_of = |share: &&Arc<Share>| matches!(share.grant.tcp.host(), Host::Domain(host) if host == name);
        self.shares.iter().filter(is_of).cloned().collect()
    }

    /// Remembers where names lead to.
    fn learn(&mut self, found: Vec<(IpAddr, Arc<Share>)>) {
        for (address, share) in found {
            self.known.retain(|(known, of)| *known != address || !Arc::ptr_eq(of, &share));
            self.known.push_back((address, share));
        }
        let too_many = self.known.len().saturating_sub(KNOWN_MAX);
        self.known.drain(..too_many);
    }

    /// The grant that covers a connection, which is judged once more.
    fn covering(&self, to: SocketAddr) -> Option<Arc<Share>> {
        let named = self.shares.iter().filter(|share| share.grant.tcp.host() == &host_of(to.ip()));
        let known = self.known.iter().filter(|(address, _)| *address == to.ip()).map(|(_, share)| share);
        let mut all = named.chain(known);
        all.find(|share| share.grant.tcp.port() == to.port() && share.reach().refuses(to.ip()).is_none()).cloned()
    }

    /// A place as it would be granted: by the name that has led to its address, where there is one.
    fn place(&self, to: SocketAddr) -> String {
        let known = self.known.iter().rev().find(|(address, _)| *address == to.ip());
        let host = known.map_or_else(|| host_of(to.ip()), |(_, share)| share.grant.tcp.host().clone());
        format!("{host}:{}", to.port())
    }
}

fn host_of(address: IpAddr) -> Host<String> {
    match address {
        IpAddr::V4(address) => Host::Ipv4(address),
        IpAddr::V6(address) => Host::Ipv6(address),
    }
}
