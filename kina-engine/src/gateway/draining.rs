//! The end of connections to an API server.
//!
//! A connection that is only dropped may have requests in the API server's buffers, which then start later, and one
//! after another. So each is half-closed instead and read to its end, no matter how the client's side ended: the
//! API server closes a connection when it has read everything, and, over HTTP/1.1, when the last handler has returned.

use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Context, Poll, ready};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;
use tokio::sync::{Notify, watch};
use tokio_rustls::client::TlsStream;

use super::requests::RequestObserver;
use crate::open_files::Files;
use crate::sabotage::{self, Part};

const READ_BUFFER_BYTES: usize = 16 << 10;

/// The connections of one gateway that have lost their clients, and the known facts about all of its connections.
#[derive(Clone, Debug, Default)]
pub(crate) struct Draining(Arc<Shared>);

#[derive(Debug, Default)]
struct Shared {
    /// Number of those that have yet to be read to their end.
    open: watch::Sender<usize>,
    /// True if one of them had a request, when its client went, that could still write.
    could_write: AtomicBool,
    /// True if one of those that have ended had a request that may still run.
    may_still_run: AtomicBool,
    has_answered: AtomicBool,
    first_answer: Notify,
}

/// A connection to the API server. Dropped before its end, it is read to its end in the background.
pub(super) struct UpstreamConnection {
    /// Taken when it is dropped.
    stream: Option<Box<TlsStream<TcpStream>>>,
    requests: RequestObserver,
    has_ended: bool,
    draining: Draining,
    /// Given back when it has ended, which may be after its client's side.
    files: Option<Files>,
}

/// Counts a connection that is being drained for as long as it exists.
struct DrainingConnection {
    connection: UpstreamConnection,
}

impl Draining {
    /// Returns the number of connections that have yet to be read to their end.
    pub(super) fn len(&self) -> usize {
        *self.0.open.borrow()
    }

    /// Waits until all connections have been read to their end. Bounded by the life of the API server.
    pub(crate) async fn wait_ended(&self) {
        // The sender lives as long as this.
        let _ = self.0.open.subscribe().wait_for(|open| *open == 0).await;
    }

    /// Waits until an answer to a client has come.
    pub(super) async fn wait_answered(&self) {
        let first_answer = self.0.first_answer.notified();
        let mut first_answer = std::pin::pin!(first_answer);
        // Before the look, so that none is missed in between.
        first_answer.as_mut().enable();
        if !self.0.has_answered.load(Ordering::SeqCst) {
            first_answer.await;
        }
    }

    fn note_answer(&self) {
        if !self.0.has_answered.load(Ordering::Relaxed) {
            self.0.has_answered.store(true, Ordering::SeqCst);
            self.0.first_answer.notify_waiters();
        }
    }

    /// Returns true if anything may have been written since the gateway was closed. Idle connections and open watches
    /// write nothing.
    pub(crate) fn may_have_written(&self) -> bool {
        self.may_still_run() || self.0.could_write.load(Ordering::SeqCst)
    }

    /// Returns true if a request of a connection that has ended may still run.
    pub(crate) fn may_still_run(&self) -> bool {
        self.0.may_still_run.load(Ordering::SeqCst)
    }
}

impl UpstreamConnection {
    pub(super) fn new(stream: TlsStream<TcpStream>, speaks_http_2: bool, draining: Draining) -> Self {
        let requests = RequestObserver::new(speaks_http_2);
        Self { stream: Some(Box::new(stream)), requests, has_ended: false, draining, files: None }
    }

    /// Counts it as open files until it has been read to its end.
    pub(super) fn holding(mut self, files: Files) -> Self {
        self.files = Some(files);
        self
    }

    fn stream(&mut self) -> Result<&mut TlsStream<TcpStream>, std::io::Error> {
        self.stream.as_deref_mut().ok_or_else(|| std::io::ErrorKind::NotConnected.into())
    }

    /// Ends what the client sent, and reads until the API server has ended too. Both at once: one that does not read
    /// would keep the end from being sent.
    async fn drain(&mut self) {
        let mut buffer = vec![0; READ_BUFFER_BYTES];
        let mut has_shut_down = false;
        std::future::poll_fn(|context| {
            if !has_shut_down {
                // An error shows in reading too.
                has_shut_down = Pin::new(&mut *self).poll_shutdown(context).is_ready();
            }
            loop {
                let mut buffer = ReadBuf::new(&mut buffer);
                let read = ready!(Pin::new(&mut *self).poll_read(context, &mut buffer));
                if read.is_err() || buffer.filled().is_empty() {
                    return Poll::Ready(());
                }
            }
        })
        .await;
    }
}

impl AsyncRead for UpstreamConnection {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<std::io::Result<()>> {
        let before = buffer.filled().len();
        let read = ready!(Pin::new(self.stream()?).poll_read(context, buffer));
        let bytes = &buffer.filled()[before..];
        self.has_ended |= read.is_err() || bytes.is_empty();
        if !bytes.is_empty() {
            self.draining.note_answer();
        }
        self.requests.note_from_cluster(bytes);
        Poll::Ready(read)
    }
}

impl AsyncWrite for UpstreamConnection {
    fn poll_write(mut self: Pin<&mut Self>, context: &mut Context<'_>, bytes: &[u8]) -> Poll<std::io::Result<usize>> {
        let written = ready!(Pin::new(self.stream()?).poll_write(context, bytes));
        if let Ok(written) = written {
            self.requests.note_to_cluster(&bytes[..written]);
        }
        Poll::Ready(written)
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<std::io::Result<()>> {
        Pin::new(self.stream()?).poll_flush(context)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<std::io::Result<()>> {
        Pin::new(self.stream()?).poll_shutdown(context)
    }
}

impl Drop for UpstreamConnection {
    fn drop(&mut self) {
        let Some(stream) = self.stream.take() else { return };
        let draining = self.draining.clone();
        if !self.has_ended
            && !sabotage::is_off(Part::Drain)
            // Without a runtime the engine is ending, and its clusters with it.
            && let Ok(runtime) = tokio::runtime::Handle::try_current()
        {
            if self.requests.may_still_run() {
                draining.0.could_write.store(true, Ordering::SeqCst);
            }
            let requests = std::mem::replace(&mut self.requests, RequestObserver::new(false));
            draining.0.open.send_modify(|open| *open += 1);
            let files = self.files.take();
            let connection = Self { stream: Some(stream), requests, has_ended: false, draining, files };
            let mut connection = DrainingConnection { connection };
            runtime.spawn(async move { connection.connection.drain().await });
            return;
        }
        if self.requests.may_still_run() {
            draining.0.may_still_run.store(true, Ordering::SeqCst);
        }
    }
}

impl Drop for DrainingConnection {
    fn drop(&mut self) {
        // It is not drained again: connections that have not been read to their end by now go with the runtime.
        self.connection.has_ended = true;
        let draining = self.connection.draining.clone();
        if self.connection.requests.may_still_run() {
            draining.0.may_still_run.store(true, Ordering::SeqCst);
        }
        draining.0.open.send_modify(|open| *open -= 1);
    }
}
