use std::net::{Ipv4Addr, SocketAddr, SocketAddrV4};
use std::os::fd::OwnedFd;

use rustix::net::{AddressFamily, SocketType, sockopt};

use super::ProviderError;

/// A loopback port that nobody else gets as long as this value lives.
///
/// The socket is bound with `SO_REUSEPORT` but never listens. So the kernel gives the port to nobody who asks for any
/// free one, refuses everybody who wants this one without that option, and delivers no connection here; etcd
/// (`--socket-reuse-port`) and kube-apiserver (`--permit-port-sharing`), which run as the same user, bind it beside us.
pub(super) struct ReservedPort {
    address: SocketAddr,
    _socket: OwnedFd,
}

impl ReservedPort {
    pub(super) fn reserve() -> Result<Self, ProviderError> {
        let reserve = || -> Result<Self, rustix::io::Errno> {
            // Not `socket_with`: macOS has no atomic close-on-exec for sockets, so the flag is set right after.
            let socket = rustix::net::socket(AddressFamily::INET, SocketType::STREAM, None)?;
            rustix::io::fcntl_setfd(&socket, rustix::io::FdFlags::CLOEXEC)?;
            sockopt::set_socket_reuseport(&socket, true)?;
            rustix::net::bind(&socket, &SocketAddrV4::new(Ipv4Addr::LOCALHOST, 0))?;
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

    #[test]
    fn a_reserved_port_is_refused_to_others_and_answers_nobody() {
        let port = ReservedPort::reserve().expect("a loopback port is free");
        assert!(TcpListener::bind(port.address()).is_err());
        assert!(TcpStream::connect(port.address()).is_err());
    }

    #[test]
    fn ports_reserved_at_the_same_time_differ() {
        let ports: Vec<_> = (0..64).map(|_| ReservedPort::reserve().expect("a loopback port is free")).collect();
        let distinct: std::collections::HashSet<_> = ports.iter().map(ReservedPort::address).collect();
        assert_eq!(distinct.len(), ports.len());
    }
}
