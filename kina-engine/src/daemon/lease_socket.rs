//! The Unix socket through which a lease's client opens further connections to its gateway.
//!
//! It is apart from the engine's other socket. There, each client that waits for a cluster holds an open file, and a
//! lease that could not open connections for that reason would never end, and free its cluster for them.

use std::io;
use std::sync::Arc;
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{UnixListener, UnixStream};
use tokio::sync::Semaphore;
use tokio::task::JoinHandle;

use super::lease::HeldLeases;
use crate::gateway::{CONNECTION_SECRET_BYTES, ConnectionSecret, NotEntered};
use crate::open_files::{Acceptor, OpenFiles};
use crate::protocol::BUSY;

/// Connections that have yet to show a secret. Further ones wait in the listener's queue.
const UNKNOWN_MAX: usize = 64;
/// Time limit for showing it, which a client does at once.
const SECRET_TIMEOUT: Duration = Duration::from_secs(10);

/// The socket, as long as it is served.
pub(super) struct LeaseSocket(JoinHandle<()>);

impl LeaseSocket {
    pub(super) fn serve(listener: UnixListener, leases: Arc<HeldLeases>, open_files: &OpenFiles) -> Self {
        Self(tokio::spawn(accept_all(Acceptor::new(listener, "leases", open_files), leases)))
    }

    /// Closes the socket. Connections that gateways have taken stay open.
    pub(super) async fn close(&mut self) {
        self.0.abort();
        // An error means that it was aborted.
        let _ = (&mut self.0).await;
    }
}

async fn accept_all(mut acceptor: Acceptor<UnixListener>, leases: Arc<HeldLeases>) {
    let unknown = Arc::new(Semaphore::new(UNKNOWN_MAX));
    loop {
        // An error means that it is closed, which it never is.
        let place = Arc::clone(&unknown).acquire_owned().await.ok();
        let stream = acceptor.accept().await;
        let leases = Arc::clone(&leases);
        tokio::spawn(async move {
            match tokio::time::timeout(SECRET_TIMEOUT, let_in(stream, &leases)).await {
                Ok(Ok(())) => {}
                Ok(Err(error)) => tracing::debug!(%error, "a connection of a lease ended before it was let in"),
                Err(_) => tracing::info!("a connection showed no secret of a lease in time"),
            }
            drop(place);
        });
    }
}

/// Passes a connection to the gateway of the lease whose secret it shows. Without one, its end is the answer.
async fn let_in(mut stream: UnixStream, leases: &HeldLeases) -> io::Result<()> {
    if stream.peer_cred()?.uid() != rustix::process::getuid().as_raw() {
        return Ok(());
    }
    let mut secret = [0; CONNECTION_SECRET_BYTES];
    stream.read_exact(&mut secret).await?;
    let Some(entry) = leases.entry(&ConnectionSecret::shown(&secret)) else { return Ok(()) };
    match entry.enter(stream) {
        // A gateway that was closed meanwhile has ended it.
        Ok(()) | Err(NotEntered::Closed) => Ok(()),
        Err(NotEntered::Busy(mut stream)) => stream.write_all(&[BUSY]).await,
    }
}
