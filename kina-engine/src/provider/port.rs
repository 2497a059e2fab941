use std::net::{Ipv4Addr, SocketAddr};
use std::os::fd::OwnedFd;

use rustix::net::{AddressFamily, SocketType, sockopt};

use super::ProviderError;

/// A loopback port that is reserved as long as this value lives.
///
/// The socket is bound with `SO_REUSEPORT` but never listens. The kernel thus never hands out the port as a free one,
/// refuses to bind it without that option, and delivers no connection here. etcd (`--socket-reuse-port`) and
/// kube-apiserver (`--permit-port-sharing`), which run as the same user, bind it beside this socket.
pub(super) struct ReservedPort {
    address: SocketAddr,
    _socket: OwnedFd,
}

impl ReservedPort {
    /// Reserves any free port.
    pub(super) fn reserve() -> Result<Self, ProviderError> {
        Self::reserve_at(SocketAddr::from((Ipv4Addr::LOCALHOST, 0)))
    }

    /// Reserves this port, if it is free.
    pub(super) fn reserve_at(address: SocketAddr) -> Result<Self, ProviderError> {
        let reserve = || -> Result<Self, rustix::io::Errno> {
            // Not `socket_with`: macOS has no atomic close-on-exec for sockets, so the flag is set right after.
            let socket = rustix::net::socket(AddressFamily::INET, SocketType::STREAM, None)?;
            rustix::io::fcntl_setfd(&socket, rustix::io::FdFlags::CLOEXEC)?;
            sockopt::set_socket_reuseport(&socket, true)?;
            rustix::net::bind(&socket, &address)?;
            let address: SocketAddr =
                rustix::net::getsockname(&socket)?.try_into().map_err(|_| rustix::io::Errno::AFNOSUPPORT)?;
            Ok(Self { address, _socket: socket })
        };
        reserve().map_err(|errno| ProviderError::Port(errno.into()))
    }

    pub(super) fn address(&self) -> SocketAddr {
        self.address
    }
}

#[cfg(test)]
mod tests {
    use std::net::{TcpListener, TcpStream};

    use super::*;
    use crate::loopback::CONNECT_TIMEOUT;

    #[test]
    fn a_reserved_port_is_refused_to_others_and_accepts_no_connection() {
        let port = ReservedPort::reserve().expect("a loopback port is free");
        assert!(TcpListener::bind(port.address()).is_err());
        // Linux refuses, and xnu does not answer.
        assert!(TcpStream::connect_timeout(&port.address(), CONNECT_TIMEOUT).is_err());
    }

    #[test]
    fn a_port_that_was_given_up_can_be_reserved_again_unless_it_is_taken() {
        let address = ReservedPort::reserve().expect("a loopback port is free").address();
        let again = ReservedPort::reserve_at(address).expect("given up");
        assert_eq!(again.address(), address);
        drop(again);
        let listener = TcpListener::bind(address).expect("given up");
        assert!(ReservedPort::reserve_at(address).is_err());
        drop(listener);
    }

    #[test]
    fn ports_reserved_at_the_same_time_differ() {
        let ports: Vec<_> = (0..64).map(|_| ReservedPort::reserve().expect("a loopback port is free")).collect();
        let distinct: std::collections::HashSet<_> = ports.iter().map(ReservedPort::address).collect();
        assert_eq!(distinct.len(), ports.len());
    }
}
