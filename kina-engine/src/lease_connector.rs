//! Connections to the API server of a lease, over a Unix socket of the engine and without TLS.
//!
//! The client and the engine are processes of one user on one machine. The first connection has come with the lease;
//! each further one shows the lease's secret.

use std::io;
use std::os::unix::net::UnixStream as StdUnixStream;
use std::path::PathBuf;
use std::pin::Pin;
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll, ready};
use std::time::{Duration, Instant};

use http::Uri;
use hyper_util::client::legacy::connect::{Connected, Connection};
use hyper_util::rt::TokioIo;
use rustix::net::{RecvFlags, SendFlags, recv, send};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt, ReadBuf};
use tokio::net::UnixStream;
use tower_service::Service;

use crate::protocol::{BUSY, CONNECTED};

/// Time limit of the wait for room in the gateway. Clients have a shorter one for a connection.
const BUSY_TIMEOUT: Duration = Duration::from_secs(60);
const BUSY_POLL_INTERVAL: Duration = Duration::from_millis(20);

/// Connects HTTP clients to the API server of a lease, whatever the address. Clones share the first connection.
#[derive(Clone)]
pub struct LeaseConnector {
    shared: Arc<Shared>,
}

struct Shared {
    socket: PathBuf,
    secret: String,
    first: Mutex<Option<StdUnixStream>>,
}

/// A connection to a lease's gateway.
///
/// The gateway tells an orderly end of the cluster's side from a cut: a reader gets the error `ConnectionReset` after a
/// cut, as on TCP.
#[derive(Debug)]
pub struct LeaseStream(UnixStream);

/// A connector that has only the secret of a lease.
#[cfg(feature = "lab")]
pub fn of_secret(socket: PathBuf, secret: String) -> LeaseConnector {
    LeaseConnector::new(socket, secret, None)
}

impl LeaseConnector {
    pub(crate) fn new(socket: PathBuf, secret: String, first: Option<StdUnixStream>) -> Self {
        Self { shared: Arc::new(Shared { socket, secret, first: Mutex::new(first) }) }
    }

    async fn connect(self) -> io::Result<LeaseStream> {
        let first = self.shared.first.lock().unwrap_or_else(PoisonError::into_inner).take();
        match first.filter(is_alive) {
            Some(stream) => LeaseStream::new(UnixStream::from_std(stream)?),
            None => self.dial().await,
        }
    }

    /// Dials until the gateway has room for another connection.
    async fn dial(&self) -> io::Result<LeaseStream> {
        let start = Instant::now();
        loop {
            match self.dial_once().await? {
                Some(stream) => return Ok(stream),
                None if start.elapsed() < BUSY_TIMEOUT => tokio::time::sleep(BUSY_POLL_INTERVAL).await,
                None => {
                    return Err(io::Error::new(
                        io::ErrorKind::TimedOut,
                        "this test has as many connections to its cluster as it can have: end some",
                    ));
                }
            }
        }
    }

    /// Returns none if the gateway has no room.
    async fn dial_once(&self) -> io::Result<Option<LeaseStream>> {
        let mut stream = UnixStream::connect(&self.shared.socket).await.map_err(|error| match error.kind() {
            io::ErrorKind::NotFound => io::Error::new(io::ErrorKind::ConnectionRefused, "kina's engine has ended"),
            _ => error,
        })?;
        stream.write_all(self.shared.secret.as_bytes()).await.map_err(as_reset)?;
        let mut answer = [0];
        match (stream.read(&mut answer).await.map_err(as_reset)?, answer) {
            (1, [CONNECTED]) => LeaseStream::new(stream).map(Some),
            (1, [BUSY]) => Ok(None),
            (0, _) => Err(io::Error::new(
                io::ErrorKind::ConnectionReset,
                "the lease of this cluster has ended, or the test cut its network",
            )),
            _ => Err(io::Error::new(io::ErrorKind::InvalidData, "kina's engine gave an answer that makes no sense")),
        }
    }
}

impl Service<Uri> for LeaseConnector {
    type Response = TokioIo<LeaseStream>;
    type Error = io::Error;
    type Future = Pin<Box<dyn Future<Output = io::Result<Self::Response>> + Send>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, _: Uri) -> Self::Future {
        let connector = self.clone();
        Box::pin(async move { connector.connect().await.map(TokioIo::new) })
    }
}

/// Never shows the secret.
impl std::fmt::Debug for LeaseConnector {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.debug_struct("LeaseConnector").field("socket", &self.shared.socket).finish_non_exhaustive()
    }
}

impl LeaseStream {
    fn new(stream: UnixStream) -> io::Result<Self> {
        // Elsewhere each call of `send` says so.
        #[cfg(target_vendor = "apple")]
        rustix::net::sockopt::set_socket_nosigpipe(&stream, true)?;
        Ok(Self(stream))
    }

    /// Returns true if the gateway has dropped the connection, rather than ended its direction of it in order: then the
    /// system takes no more bytes. None are sent to find out.
    fn was_cut(&self) -> bool {
        #[cfg(target_vendor = "apple")]
        let flags = SendFlags::empty();
        #[cfg(not(target_vendor = "apple"))]
        let flags = SendFlags::NOSIGNAL;
        send(&self.0, &[], flags).is_err()
    }
}

impl AsyncRead for LeaseStream {
    fn poll_read(self: Pin<&mut Self>, context: &mut Context<'_>, buffer: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        let (before, had_room) = (buffer.filled().len(), buffer.remaining() != 0);
        ready!(Pin::new(&mut this.0).poll_read(context, buffer)).map_err(as_reset)?;
        if had_room && buffer.filled().len() == before && this.was_cut() {
            return Poll::Ready(Err(io::Error::new(io::ErrorKind::ConnectionReset, "the connection was cut")));
        }
        Poll::Ready(Ok(()))
    }
}

impl AsyncWrite for LeaseStream {
    fn poll_write(self: Pin<&mut Self>, context: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.get_mut().0).poll_write(context, bytes).map_err(as_reset)
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
        parts: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.get_mut().0).poll_write_vectored(context, parts).map_err(as_reset)
    }

    fn is_write_vectored(&self) -> bool {
        self.0.is_write_vectored()
    }

    fn poll_flush(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.get_mut().0).poll_flush(context)
    }

    fn poll_shutdown(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.get_mut().0).poll_shutdown(context)
    }
}

impl Connection for LeaseStream {
    fn connected(&self) -> Connected {
        Connected::new()
    }
}

/// Returns true if nothing has happened to an unused connection.
fn is_alive(stream: &StdUnixStream) -> bool {
    recv(stream, &mut [0_u8; 1][..], RecvFlags::PEEK).is_err_and(|error| error == rustix::io::Errno::WOULDBLOCK)
}

/// A connection that the other side has dropped is reset, as on TCP.
fn as_reset(error: io::Error) -> io::Error {
    match error.kind() {
        io::ErrorKind::BrokenPipe => io::Error::new(io::ErrorKind::ConnectionReset, error),
        _ => error,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    async fn end_of(gateway_ends: impl AsyncFnOnce(UnixStream)) -> io::Result<usize> {
        let (gateway, client) = UnixStream::pair().expect("a pair");
        let mut client = LeaseStream::new(client).expect("a stream");
        gateway_ends(gateway).await;
        client.read(&mut [0; 8]).await
    }

    #[tokio::test]
    async fn a_cut_is_told_from_an_orderly_end() {
        let cut = end_of(async |gateway| drop(gateway)).await;
        assert_eq!(cut.expect_err("cut").kind(), io::ErrorKind::ConnectionReset);

        let mut kept = None;
        let ended = end_of(async |mut gateway| {
            gateway.shutdown().await.expect("half closed");
            kept = Some(gateway);
        });
        assert_eq!(ended.await.expect("an orderly end"), 0);
    }

    #[tokio::test]
    async fn an_engine_that_has_ended_refuses() {
        let directory = tempfile::tempdir().expect("a directory");
        let connector = LeaseConnector::new(directory.path().join("socket"), String::new(), None);
        let error = connector.connect().await.expect_err("there is no engine");
        assert_eq!(error.kind(), io::ErrorKind::ConnectionRefused);
    }

    #[tokio::test]
    async fn the_first_connection_is_used_once_and_only_if_it_lives() {
        for is_kept in [true, false] {
            let (gateway, client) = StdUnixStream::pair().expect("a pair");
            client.set_nonblocking(true).expect("set");
            let kept = is_kept.then_some(gateway);
            let connector = LeaseConnector::new("/nonexistent".into(), String::new(), Some(client));
            assert_eq!(connector.clone().connect().await.is_ok(), is_kept);
            connector.connect().await.expect_err("it is used");
            drop(kept);
        }
    }
}
