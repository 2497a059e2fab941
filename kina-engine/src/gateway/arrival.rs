//! The ways into a gateway: its port, and the engine's socket for leases.

use std::fmt;
use std::os::unix::net::UnixStream as StdUnixStream;
use std::pin::Pin;

use ring::rand::{SecureRandom, SystemRandom};
use tokio::net::{TcpStream, UnixStream};
use tokio::sync::mpsc;
use tokio::sync::mpsc::error::TrySendError;

use super::GatewayError;
use super::entrance::Permits;
use super::socket::Socket;
use crate::hex;

/// The length of a secret as it is shown: two hexadecimal digits for each of 16 bytes.
pub(crate) const CONNECTION_SECRET_BYTES: usize = 2 * RANDOM_BYTES;
const RANDOM_BYTES: usize = 16;
/// Connections that the engine has let in and the gateway has yet to take. Further ones have to come again.
const ARRIVALS_MAX: usize = 16;

/// A connection that has just come in.
#[derive(Debug)]
pub(super) struct Arrival {
    pub(super) socket: Socket,
    /// True if the client waits for a word of the gateway before it sends a request.
    pub(super) awaits_word: bool,
}

/// A connection that waits until it may enter.
pub(super) struct Waiting {
    pub(super) arrival: Arrival,
    pub(super) permits: Pin<Box<dyn Future<Output = Permits> + Send>>,
}

/// Lets clients of the engine's socket for leases into an open gateway.
#[derive(Clone, Debug)]
pub(crate) struct UnixEntry(mpsc::Sender<Arrival>);

/// 128 random bits, in hexadecimal digits. Numbers of leases begin anew with each engine, this never comes back.
#[derive(Clone, PartialEq, Eq, Hash)]
pub(crate) struct ConnectionSecret(String);

/// A connection that a gateway has not taken.
#[derive(Debug)]
pub(crate) enum NotEntered {
    /// It has as many as it can have, and more before this one.
    Busy(UnixStream),
    /// The lease has ended.
    Closed,
}

impl UnixEntry {
    pub(super) fn new() -> (Self, mpsc::Receiver<Arrival>) {
        let (arrivals, received) = mpsc::channel(ARRIVALS_MAX);
        (Self(arrivals), received)
    }

    /// Opens a connection, and returns its client's end.
    pub(crate) fn open(&self) -> std::io::Result<StdUnixStream> {
        let (gateway, client) = StdUnixStream::pair()?;
        gateway.set_nonblocking(true)?;
        client.set_nonblocking(true)?;
        let socket = Socket::Unix(UnixStream::from_std(gateway)?);
        // If the gateway is closed, or has more to do than it can, the client finds the connection ended.
        let _ = self.0.try_send(Arrival { socket, awaits_word: false });
        Ok(client)
    }

    /// Lets a client in, which waits for a word of the gateway.
    pub(crate) fn enter(&self, stream: UnixStream) -> Result<(), NotEntered> {
        match self.0.try_reserve() {
            Ok(place) => {
                place.send(Arrival { socket: Socket::Unix(stream), awaits_word: true });
                Ok(())
            }
            Err(TrySendError::Full(())) => Err(NotEntered::Busy(stream)),
            Err(TrySendError::Closed(())) => Err(NotEntered::Closed),
        }
    }
}

impl ConnectionSecret {
    pub(super) fn generate() -> Result<Self, GatewayError> {
        let mut bytes = [0; RANDOM_BYTES];
        SystemRandom::new().fill(&mut bytes).map_err(|_| GatewayError::Secret)?;
        Ok(Self(hex::encode(&bytes)))
    }

    /// The secret that a client shows, which may be any bytes.
    pub(crate) fn shown(bytes: &[u8]) -> Self {
        Self(String::from_utf8_lossy(bytes).into_owned())
    }

    pub(crate) fn as_str(&self) -> &str {
        &self.0
    }
}

impl Waiting {
    /// Waits until the waiting connection, if there is one, may enter. Dropping the future changes nothing.
    pub(super) async fn entered(waiting: &mut Option<Self>) -> Option<(Arrival, Permits)> {
        let permits = (&mut waiting.as_mut()?.permits).await;
        waiting.take().map(|waiting| (waiting.arrival, permits))
    }
}

impl From<TcpStream> for Arrival {
    fn from(stream: TcpStream) -> Self {
        Self { socket: Socket::Tcp(stream), awaits_word: false }
    }
}

/// Never shows the secret.
impl fmt::Debug for ConnectionSecret {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("ConnectionSecret")
    }
}
