//! `wasi:sockets@0.2`, for what is granted of TCP.
//!
//! The types of the interface are those of `wasmtime-wasi`, so that streams and errors are the same for all of WASI. Behind a socket
//! and behind a lookup stands one of ours: to the linker a resource is a number with a name.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::task::{Context, Poll, Waker};

use toolpost_core::catalog::grants::host_name;
use url::Host;
use wasmtime::component::Resource;
use wasmtime_wasi::p2::bindings::sockets::network::{
    self, ErrorCode, IpAddress, IpAddressFamily, IpSocketAddress, Network,
};
use wasmtime_wasi::p2::bindings::sockets::tcp::{self, HostTcpSocket, ShutdownType};
use wasmtime_wasi::p2::bindings::sockets::{ip_name_lookup, tcp_create_socket, udp_create_socket};
use wasmtime_wasi::p2::{
    DynInputStream, DynOutputStream, DynPollable, IoError, SocketError, SocketResult, UdpSocket, subscribe,
};

use super::View;
use super::connect::connect;
use super::grant;
use super::lookup::Lookup;
use super::options::above_zero;
use super::socket::{Socket, State};

type Theirs = Resource<tcp::TcpSocket>;
type TheirLookup = Resource<ip_name_lookup::ResolveAddressStream>;

/// Ours, behind theirs.
fn ours(socket: &Theirs) -> Resource<Socket> {
    Resource::new_borrow(socket.rep())
}

fn our_lookup(lookup: &TheirLookup) -> Resource<Lookup> {
    Resource::new_borrow(lookup.rep())
}

impl View<'_> {
    fn socket(&mut self, socket: &Theirs) -> SocketResult<&mut Socket> {
        Ok(self.table.get_mut(&ours(socket))?)
    }

    /// Writes down that a tool would wait for connections.
    fn refuse_to_listen(&mut self, place: String) -> ErrorCode {
        self.handle.attempt.refuse(grant::listening(place), grant::closed("wait for connections"));
        ErrorCode::AccessDenied
    }
}

/// What turns our errors into those of a guest. The interface itself is linked with the rest of WASI.
impl network::Host for View<'_> {
    fn convert_error_code(&mut self, error: SocketError) -> wasmtime::Result<ErrorCode> {
        error.downcast()
    }

    fn network_error_code(&mut self, error: Resource<IoError>) -> wasmtime::Result<Option<ErrorCode>> {
        Ok(self.table.get(&error)?.downcast_ref::<std::io::Error>().map(ErrorCode::from))
    }
}

impl network::HostNetwork for View<'_> {
    fn drop(&mut self, network: Resource<Network>) -> wasmtime::Result<()> {
        self.table.delete(network)?;
        Ok(())
    }
}

impl tcp_create_socket::Host for View<'_> {
    fn create_tcp_socket(&mut self, family: IpAddressFamily) -> SocketResult<Theirs> {
        Ok(Resource::new_own(self.table.push(Socket::new(family))?.rep()))
    }
}

impl udp_create_socket::Host for View<'_> {
    async fn create_udp_socket(&mut self, _: IpAddressFamily) -> SocketResult<Resource<UdpSocket>> {
        self.handle.attempt.refuse(grant::sending_datagrams(), grant::closed("use UDP"));
        Err(ErrorCode::AccessDenied.into())
    }
}

impl ip_name_lookup::Host for View<'_> {
    fn resolve_addresses(&mut self, network: Resource<Network>, name: String) -> SocketResult<TheirLookup> {
        self.table.get(&network)?;
        // An IPv6 address stands here without brackets.
        let plain = name.parse::<Ipv6Addr>().ok().map(Host::Ipv6);
        let lookup = match plain.or_else(|| host_name(&name)).ok_or(ErrorCode::InvalidArgument)? {
            Host::Ipv4(address) => Lookup::of_address(address.into()),
            Host::Ipv6(address) => Lookup::of_address(address.into()),
            Host::Domain(name) => {
                let shares = self.handle.of_name(&name);
                let attempt = &self.handle.attempt;
                if shares.is_empty() {
                    attempt.refuse(grant::looking_up(&name), grant::unknown(&attempt.call.tool, &name));
                    return Err(ErrorCode::AccessDenied.into());
                }
                Lookup::of_name(name, shares, attempt.clone(), self.handle.client.clone())
            }
        };
        Ok(Resource::new_own(self.table.push(lookup)?.rep()))
    }
}

impl ip_name_lookup::HostResolveAddressStream for View<'_> {
    fn resolve_next_address(&mut self, lookup: TheirLookup) -> SocketResult<Option<IpAddress>> {
        let lookup = self.table.get_mut(&our_lookup(&lookup))?;
        let Poll::Ready(found) = lookup.poll(&mut Context::from_waker(Waker::noop())) else {
            return Err(ErrorCode::WouldBlock.into());
        };
        let found = found.as_mut().map_err(|code| *code)?;
        self.handle.learn(std::mem::take(&mut found.known));
        Ok(found.addresses.next().map(IpAddress::from))
    }

    fn subscribe(&mut self, lookup: TheirLookup) -> wasmtime::Result<Resource<DynPollable>> {
        subscribe(self.table, our_lookup(&lookup))
    }

    fn drop(&mut self, lookup: TheirLookup) -> wasmtime::Result<()> {
        self.table.delete(Resource::<Lookup>::new_own(lookup.rep()))?;
        Ok(())
    }
}

impl tcp::Host for View<'_> {}

impl HostTcpSocket for View<'_> {
    async fn start_bind(&mut self, _: Theirs, _: Resource<Network>, address: IpSocketAddress) -> SocketResult<()> {
        Err(self.refuse_to_listen(SocketAddr::from(address).to_string()).into())
    }

    fn finish_bind(&mut self, _: Theirs) -> SocketResult<()> {
        Err(ErrorCode::NotInProgress.into())
    }

    fn start_connect(&mut self, socket: Theirs, network: Resource<Network>, to: IpSocketAddress) -> SocketResult<()> {
        self.table.get(&network)?;
        // Of an address the tool chooses its number, and neither the way to it nor a mark.
        let to = SocketAddr::from(to);
        let to = SocketAddr::new(to.ip(), to.port());
        self.socket(&socket)?.fits(to)?;
        let Some(share) = self.handle.covering(to) else {
            let (attempt, place) = (&self.handle.attempt, self.handle.place(to));
            attempt.refuse(grant::connecting(&place), grant::denied(&attempt.call.tool, &place));
            return Err(ErrorCode::AccessDenied.into());
        };
        let connecting = connect(share, to, self.handle.client.connections.clone());
        self.socket(&socket)?.state = State::Connecting(Box::pin(connecting));
        Ok(())
    }

    fn finish_connect(
        &mut self,
        socket: Theirs,
    ) -> SocketResult<(Resource<DynInputStream>, Resource<DynOutputStream>)> {
        let connection = self.socket(&socket)?.finish()?;
        let (input, output): (DynInputStream, DynOutputStream) =
            (Box::new(connection.reader()), Box::new(connection.writer()));
        let socket = ours(&socket);
        Ok((self.table.push_child(input, &socket)?, self.table.push_child(output, &socket)?))
    }

    async fn start_listen(&mut self, _: Theirs) -> SocketResult<()> {
        Err(self.refuse_to_listen("any port".to_owned()).into())
    }

    fn finish_listen(&mut self, _: Theirs) -> SocketResult<()> {
        Err(ErrorCode::NotInProgress.into())
    }

    fn accept(&mut self, _: Theirs) -> SocketResult<(Theirs, Resource<DynInputStream>, Resource<DynOutputStream>)> {
        Err(ErrorCode::InvalidState.into())
    }

    /// Where this machine stands in its networks, a tool is not told.
    fn local_address(&mut self, socket: Theirs) -> SocketResult<IpSocketAddress> {
        let socket = self.socket(&socket)?;
        socket.connection()?;
        let nowhere: IpAddr = match socket.family {
            IpAddressFamily::Ipv4 => Ipv4Addr::UNSPECIFIED.into(),
            IpAddressFamily::Ipv6 => Ipv6Addr::UNSPECIFIED.into(),
        };
        Ok(SocketAddr::new(nowhere, 0).into())
    }

    fn remote_address(&mut self, socket: Theirs) -> SocketResult<IpSocketAddress> {
        Ok(self.socket(&socket)?.connection()?.peer()?.into())
    }

    fn is_listening(&mut self, _: Theirs) -> wasmtime::Result<bool> {
        Ok(false)
    }

    fn address_family(&mut self, socket: Theirs) -> wasmtime::Result<IpAddressFamily> {
        Ok(self.table.get(&ours(&socket))?.family)
    }

    fn set_listen_backlog_size(&mut self, _: Theirs, _: u64) -> SocketResult<()> {
        Err(ErrorCode::NotSupported.into())
    }

    fn keep_alive_enabled(&mut self, socket: Theirs) -> SocketResult<bool> {
        Ok(self.socket(&socket)?.options.keep_alive)
    }

    fn set_keep_alive_enabled(&mut self, socket: Theirs, value: bool) -> SocketResult<()> {
        self.socket(&socket)?.options.keep_alive = value;
        Ok(())
    }

    fn keep_alive_idle_time(&mut self, socket: Theirs) -> SocketResult<u64> {
        Ok(self.socket(&socket)?.options.keep_alive_idle)
    }

    fn set_keep_alive_idle_time(&mut self, socket: Theirs, value: u64) -> SocketResult<()> {
        self.socket(&socket)?.options.keep_alive_idle = above_zero(value)?;
        Ok(())
    }

    fn keep_alive_interval(&mut self, socket: Theirs) -> SocketResult<u64> {
        Ok(self.socket(&socket)?.options.keep_alive_interval)
    }

    fn set_keep_alive_interval(&mut self, socket: Theirs, value: u64) -> SocketResult<()> {
        self.socket(&socket)?.options.keep_alive_interval = above_zero(value)?;
        Ok(())
    }

    fn keep_alive_count(&mut self, socket: Theirs) -> SocketResult<u32> {
        Ok(self.socket(&socket)?.options.keep_alive_count)
    }

    fn set_keep_alive_count(&mut self, socket: Theirs, value: u32) -> SocketResult<()> {
        self.socket(&socket)?.options.keep_alive_count = above_zero(value)?;
        Ok(())
    }

    fn hop_limit(&mut self, socket: Theirs) -> SocketResult<u8> {
        Ok(self.socket(&socket)?.options.hop_limit)
    }

    fn set_hop_limit(&mut self, socket: Theirs, value: u8) -> SocketResult<()> {
        self.socket(&socket)?.options.hop_limit = above_zero(value)?;
        Ok(())
    }

    fn receive_buffer_size(&mut self, socket: Theirs) -> SocketResult<u64> {
        Ok(self.socket(&socket)?.options.receive_buffer)
    }

    fn set_receive_buffer_size(&mut self, socket: Theirs, value: u64) -> SocketResult<()> {
        self.socket(&socket)?.options.receive_buffer = above_zero(value)?;
        Ok(())
    }

    fn send_buffer_size(&mut self, socket: Theirs) -> SocketResult<u64> {
        Ok(self.socket(&socket)?.options.send_buffer)
    }

    fn set_send_buffer_size(&mut self, socket: Theirs, value: u64) -> SocketResult<()> {
        self.socket(&socket)?.options.send_buffer = above_zero(value)?;
        Ok(())
    }

    fn subscribe(&mut self, socket: Theirs) -> wasmtime::Result<Resource<DynPollable>> {
        subscribe(self.table, ours(&socket))
    }

    fn shutdown(&mut self, socket: Theirs, how: ShutdownType) -> SocketResult<()> {
        let connection = self.socket(&socket)?.connection()?;
        if matches!(how, ShutdownType::Receive | ShutdownType::Both) {
            connection.close_in();
        }
        if matches!(how, ShutdownType::Send | ShutdownType::Both) {
            connection.close_out();
        }
        Ok(())
    }

    fn drop(&mut self, socket: Theirs) -> wasmtime::Result<()> {
        self.table.delete(Resource::<Socket>::new_own(socket.rep()))?;
        Ok(())
    }
}
