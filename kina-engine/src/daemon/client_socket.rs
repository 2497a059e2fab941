//! The engine's Unix socket, through which every client asks for its lease.
//!
//! It is served by a task of its own. An obstacle to accepting stops nothing else.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};

use tokio::net::UnixListener;
use tokio::task::JoinHandle;

use super::connection;
use super::engine::Engine;
use crate::open_files::{Acceptor, OpenFiles};

/// The socket, as long as it is served.
pub(super) struct ClientSocket {
    counts: Arc<Counts>,
    accepting: JoinHandle<()>,
}

#[derive(Default)]
struct Counts {
    accepted: AtomicU64,
    open: AtomicUsize,
}

/// Counts an open connection for as long as it lives.
struct OpenConnection(Arc<Counts>);

impl ClientSocket {
    /// Serves clients from now on, as many at a time as the socket's share of the open files allows. Others wait in the
    /// listener's queue.
    pub(super) fn serve(listener: UnixListener, engine: Arc<Engine>, open_files: Arc<OpenFiles>) -> Self {
        let counts = Arc::new(Counts::default());
        let accepting = tokio::spawn(accept_all(listener, engine, open_files, Arc::clone(&counts)));
        Self { counts, accepting }
    }

    /// Returns the number of connections that are open.
    pub(super) fn open(&self) -> usize {
        self.counts.open.load(Ordering::Relaxed)
    }

    /// Returns the number of connections that there have been.
    pub(super) fn accepted(&self) -> u64 {
        self.counts.accepted.load(Ordering::Relaxed)
    }

    /// Closes the socket. Connections that are open stay so.
    pub(super) async fn close(&mut self) {
        self.accepting.abort();
        // An error means that it was aborted.
        let _ = (&mut self.accepting).await;
    }
}

impl OpenConnection {
    fn count(counts: &Arc<Counts>) -> Self {
        counts.accepted.fetch_add(1, Ordering::Relaxed);
        counts.open.fetch_add(1, Ordering::Relaxed);
        Self(Arc::clone(counts))
    }
}

impl Drop for OpenConnection {
    fn drop(&mut self) {
        self.0.open.fetch_sub(1, Ordering::Relaxed);
    }
}

async fn accept_all(listener: UnixListener, engine: Arc<Engine>, open_files: Arc<OpenFiles>, counts: Arc<Counts>) {
    let mut acceptor = Acceptor::new(listener, "socket", &open_files);
    loop {
        let file = open_files.socket.take(1).await;
        let stream = acceptor.accept().await;
        let open = OpenConnection::count(&counts);
        let engine = Arc::clone(&engine);
        tokio::spawn(async move {
            if let Err(error) = connection::serve(stream, engine).await {
                tracing::info!(error = crate::error_text::with_causes(&error), "a connection ended");
            }
            drop((open, file));
        });
    }
}
