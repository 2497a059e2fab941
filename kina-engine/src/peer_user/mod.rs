//! The user at the other end of a TCP connection on loopback.
//!
//! Every user of a machine can connect to a loopback port. Unlike a Unix socket, a TCP socket does not say which user did;
//! Linux does if it is asked for the other end (`sock_diag`). Loopback belongs to a network namespace, so both
//! ends are always in the engine's own one, also where the client runs in a container with the host's network. A client
//! whose user has no number in the engine's user namespace is another user.

#[cfg(target_os = "linux")]
mod sock_diag;

use std::net::SocketAddr;
use std::sync::Arc;

/// The user of a connection, as far as that matters.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[cfg_attr(not(target_os = "linux"), allow(dead_code, reason = "only Linux tells users apart"))]
pub(crate) enum PeerUser {
    /// The user that the engine runs as.
    Own,
    /// Not known to be the engine's own user: another one, or one that has closed the connection already.
    Other,
    /// On this system, nothing tells.
    Unknown,
}

/// A way to learn the user at the other end.
pub(crate) trait PeerUsers: Send + Sync {
    /// Returns the user at `peer`, which is connected to `local`.
    fn user_of(&self, peer: SocketAddr, local: SocketAddr) -> PeerUser;
}

/// Nothing tells.
struct Untold;

impl PeerUsers for Untold {
    fn user_of(&self, _: SocketAddr, _: SocketAddr) -> PeerUser {
        PeerUser::Unknown
    }
}

/// Returns the way of this system if it names this process's user for a connection that the process makes with itself.
/// Without that test, a kernel that does not know the question would look like one that does not know the connection.
pub(crate) fn of_this_system() -> Arc<dyn PeerUsers> {
    #[cfg(target_os = "linux")]
    match sock_diag::SockDiag::open().and_then(|sock_diag| is_right(&sock_diag).map(|right| (sock_diag, right))) {
        Ok((sock_diag, true)) => return Arc::new(sock_diag),
        Ok((_, false)) => tracing::info!("the kernel does not tell which user a connection comes from"),
        Err(error) => tracing::info!(%error, "the kernel cannot be asked which user a connection comes from"),
    }
    Arc::new(Untold)
}

#[cfg(target_os = "linux")]
fn is_right(users: &impl PeerUsers) -> std::io::Result<bool> {
    let listener = std::net::TcpListener::bind((std::net::Ipv4Addr::LOCALHOST, 0))?;
    let client = std::net::TcpStream::connect(listener.local_addr()?)?;
    Ok(users.user_of(client.local_addr()?, client.peer_addr()?) == PeerUser::Own)
}

#[cfg(all(test, target_os = "linux"))]
mod tests {
    use std::net::{Ipv4Addr, Ipv6Addr, TcpListener, TcpStream};

    use super::*;

    fn connected_to(listener: &TcpListener) -> (TcpStream, TcpStream) {
        let client = TcpStream::connect(listener.local_addr().expect("an address")).expect("connected");
        (client, listener.accept().expect("accepted").0)
    }

    fn addresses(accepted: &TcpStream) -> (SocketAddr, SocketAddr) {
        (accepted.peer_addr().expect("a peer"), accepted.local_addr().expect("an address"))
    }

    #[test]
    fn this_process_has_the_engines_own_user_until_it_hangs_up() {
        let users = of_this_system();
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).expect("a port");
        let (client, accepted) = connected_to(&listener);
        let (peer, local) = addresses(&accepted);
        assert_eq!(users.user_of(peer, local), PeerUser::Own);
        drop(client);
        assert_eq!(users.user_of(peer, local), PeerUser::Other, "a socket without an owner has no user");
        drop(accepted);
        assert_eq!(users.user_of(peer, local), PeerUser::Other, "there is no such connection");
    }

    #[test]
    fn a_client_with_a_socket_of_both_families_is_found() {
        let users = of_this_system();
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).expect("a port");
        let port = listener.local_addr().expect("an address").port();
        // Java connects like that. Not every machine has IPv6.
        let Ok(_client) = TcpStream::connect((Ipv4Addr::LOCALHOST.to_ipv6_mapped(), port)) else {
            assert!(TcpListener::bind((Ipv6Addr::LOCALHOST, 0)).is_err(), "IPv6 works, but no mapped address");
            return;
        };
        let (peer, local) = addresses(&listener.accept().expect("accepted").0);
        assert_eq!(users.user_of(peer, local), PeerUser::Own);
    }
}
