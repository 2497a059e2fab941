//! Connections to ports of this machine's loopback.
//!
//! Linux refuses a connection to a port at which no process listens. xnu refuses it only if no socket is bound to the
//! port. If one is bound and silent, as that of a reserved port until its component listens, xnu drops the first packet,
//! and the second follows a second later. So a connection that the system does not make at once is given up, and the
//! next one begins anew.

use std::io;
use std::net::SocketAddr;
use std::time::Duration;

use tokio::net::TcpStream;

/// The time limit of a connection, without what follows it, such as the handshake of TLS. The system makes it without
/// the process at the other end, so no load delays it for so long.
pub(crate) const CONNECT_TIMEOUT: Duration = Duration::from_millis(100);

/// Connects within [`CONNECT_TIMEOUT`].
///
/// # Errors
/// If the system refuses, or with the kind `TimedOut` if it does not answer: the port is silent, or its queue is full.
pub(crate) async fn connect(address: SocketAddr) -> io::Result<TcpStream> {
    let timed_out = |_| {
        let waited_ms = CONNECT_TIMEOUT.as_millis();
        io::Error::new(io::ErrorKind::TimedOut, format!("{address} did not answer within {waited_ms} ms"))
    };
    tokio::time::timeout(CONNECT_TIMEOUT, TcpStream::connect(address)).await.map_err(timed_out)?
}

/// A port that does not answer, on any system: the queue of its listener is full.
#[cfg(test)]
pub(crate) struct UnansweredPort {
    address: SocketAddr,
    listener: tokio::net::TcpListener,
    _waiting: Vec<TcpStream>,
}

#[cfg(test)]
impl UnansweredPort {
    pub(crate) async fn open() -> Self {
        const WAITING_MAX: usize = 64;
        let socket = tokio::net::TcpSocket::new_v4().expect("a socket");
        socket.bind((std::net::Ipv4Addr::LOCALHOST, 0).into()).expect("a port");
        let listener = socket.listen(1).expect("it listens");
        let address = listener.local_addr().expect("an address");
        let mut waiting = Vec::new();
        while let Ok(stream) = connect(address).await {
            waiting.push(stream);
            assert!(waiting.len() < WAITING_MAX, "a queue for one connection takes any number");
        }
        Self { address, listener, _waiting: waiting }
    }

    pub(crate) fn address(&self) -> SocketAddr {
        self.address
    }

    /// Makes it an ordinary listener, once those that wait were accepted.
    pub(crate) fn into_listener(self) -> tokio::net::TcpListener {
        self.listener
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_port_that_does_not_answer_is_given_up_and_reached_once_it_does() {
        let port = UnansweredPort::open().await;
        let address = port.address();
        let error = connect(address).await.expect_err("its queue is full");
        assert_eq!(error.kind(), io::ErrorKind::TimedOut, "{error}");
        let listener = port.into_listener();
        let accepting = tokio::spawn(async move {
            // They end with the task.
            let mut accepted = Vec::new();
            while let Ok((stream, _)) = listener.accept().await {
                accepted.push(stream);
            }
        });
        let mut connected = connect(address).await;
        for _ in 0..100 {
            if connected.is_ok() {
                break;
            }
            connected = connect(address).await;
        }
        connected.expect("its queue is empty");
        accepting.abort();
    }
}
