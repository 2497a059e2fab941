//! A client's connection, on which the network can go wrong.
//!
//! It lies below TLS, where there is TLS, so that a test's changes to its network also affect handshakes, and so that the relay above need
//! not know of them. In the normal state a chunk costs one atomic load and one addition more than on the bare socket.
//! In any other state, the connection takes a detour, which ends when all held bytes have arrived.

use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, ReadBuf};
use tokio::sync::watch;

use super::delay_line::DelayLine;
use super::network::{Network, NetworkState};
use super::socket::Socket;

const CHUNK_BYTES: usize = 16 << 10;

/// A connection that counts, and obeys the network's state.
pub(super) struct ClientStream {
    socket: Socket,
    network: Arc<Network>,
    detour: Option<Box<Detour>>,
}

struct Detour {
    state: NetworkState,
    changed: Pin<Box<dyn Future<Output = watch::Receiver<NetworkState>> + Send>>,
    to_cluster: DelayLine,
    to_client: DelayLine,
    /// Its value when last looked at.
    drop_count: u64,
    has_lost_bytes: bool,
}

/// The treatment of bytes on a detour.
#[derive(Clone, Copy)]
enum Passage {
    Open,
    Delayed(Duration),
    Lost,
}

impl ClientStream {
    pub(super) fn new(socket: Socket, network: Arc<Network>) -> Self {
        network.traffic.connection_opened(socket.path());
        Self { socket, network, detour: None }
    }

    /// Waits until the client has sent something, or has gone.
    ///
    /// # Errors
    /// If the connection has lost bytes, and the network is back.
    pub(super) async fn wait_readable(&mut self) -> io::Result<()> {
        std::future::poll_fn(|context| {
            if self.is_on_detour() {
                self.poll_passage(context)?;
            }
            self.socket.poll_read_ready(context)
        })
        .await
    }

    /// Behind a partition a client cannot notice that the other side has gone. So the connection stays open for as long
    /// as the network drops everything, or until the client closes it.
    pub(super) async fn linger_while_dropped(&mut self) {
        if self.network.state() == NetworkState::Drop {
            self.mark_lossy();
            // Ends with the client, or with an error once the network is back.
            let _ = self.read(&mut [0]).await;
        }
    }

    fn detour(&mut self) -> &mut Detour {
        self.detour.get_or_insert_with(|| {
            let mut changes = self.network.changes();
            // In this order: a drop that begins from now on is seen as a change.
            let drop_count = self.network.drop_count();
            let state = *changes.borrow_and_update();
            Box::new(Detour {
                state,
                drop_count,
                changed: next_change(changes),
                to_cluster: DelayLine::new(),
                to_client: DelayLine::new(),
                has_lost_bytes: false,
            })
        })
    }

    /// Notes the network's state, and has this task woken when it changes.
    fn poll_passage(&mut self, context: &mut Context<'_>) -> io::Result<Passage> {
        self.detour();
        let Some(detour) = &mut self.detour else { return Ok(Passage::Open) };
        // Ends, because the network does not change faster than it is looked at.
        while let Poll::Ready(mut changes) = detour.changed.as_mut().poll(context) {
            detour.state = *changes.borrow_and_update();
            detour.changed = next_change(changes);
        }
        // Counted before the state is set, so a drop is known here even if it is over already.
        let drop_count = self.network.drop_count();
        let was_dropped = std::mem::replace(&mut detour.drop_count, drop_count) != drop_count;
        let loses = was_dropped || detour.state == NetworkState::Drop;
        if loses && (detour.to_cluster.lose_all() | detour.to_client.lose_all()) && !detour.has_lost_bytes {
            detour.has_lost_bytes = true;
            self.network.connection_lost_bytes();
        }
        let passage = match detour.state {
            NetworkState::Drop => Passage::Lost,
            NetworkState::Normal if !detour.has_lost_bytes => Passage::Open,
            NetworkState::Delay(delay) if !detour.has_lost_bytes => Passage::Delayed(delay),
            // Lost bytes cannot be sent again: to go on would show the client a stream that was never sent.
            NetworkState::Normal | NetworkState::Delay(_) | NetworkState::Cut => {
                return Err(io::Error::new(io::ErrorKind::ConnectionReset, "the test cut its network"));
            }
        };
        Ok(passage)
    }

    fn mark_lossy(&mut self) {
        if !std::mem::replace(&mut self.detour().has_lost_bytes, true) {
            self.network.connection_lost_bytes();
        }
    }

    /// Sends the bytes that are due to the client; ready when none are left.
    fn poll_send_held(&mut self, context: &mut Context<'_>, passage: Passage) -> Poll<io::Result<()>> {
        let Some(detour) = &mut self.detour else { return Poll::Ready(Ok(())) };
        let is_held_back = matches!(passage, Passage::Delayed(_));
        while let Some(bytes) = ready!(detour.to_client.poll_next(context, is_held_back)) {
            let sent = ready!(Pin::new(&mut self.socket).poll_write(context, bytes))?;
            if sent == 0 {
                return Poll::Ready(Err(io::ErrorKind::WriteZero.into()));
            }
            self.network.traffic.count_from_cluster(sent);
            detour.to_client.advance(sent);
        }
        Poll::Ready(Ok(()))
    }

    /// Ends the detour once there is no reason for it.
    fn end_detour(&mut self) {
        if self.detour.as_ref().is_some_and(|detour| detour.to_cluster.is_empty() && detour.to_client.is_empty()) {
            self.detour = None;
        }
    }

    fn poll_read_socket(&mut self, context: &mut Context<'_>, buffer: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let before = buffer.filled().len();
        let read = Pin::new(&mut self.socket).poll_read(context, buffer);
        self.network.traffic.count_to_cluster(buffer.filled().len() - before);
        read
    }

    #[cold]
    fn poll_read_on_detour(&mut self, context: &mut Context<'_>, buffer: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let passage = self.poll_passage(context)?;
        // A client that only reads still has to be sent the bytes that are due.
        if let Poll::Ready(Err(error)) = self.poll_send_held(context, passage) {
            return Poll::Ready(Err(error));
        }
        let mut chunk = [0; CHUNK_BYTES];
        let mut has_ended = false;
        match passage {
            Passage::Lost => loop {
                let mut lost = ReadBuf::new(&mut chunk);
                ready!(Pin::new(&mut self.socket).poll_read(context, &mut lost))?;
                if lost.filled().is_empty() {
                    return Poll::Ready(Ok(()));
                }
                self.mark_lossy();
            },
            Passage::Delayed(delay) => {
                while !has_ended && self.detour().to_cluster.has_room() {
                    let mut taken = ReadBuf::new(&mut chunk);
                    match Pin::new(&mut self.socket).poll_read(context, &mut taken) {
                        Poll::Pending => break,
                        Poll::Ready(read) => read?,
                    }
                    has_ended = taken.filled().is_empty();
                    self.detour().to_cluster.push(taken.filled().to_vec(), delay);
                }
            }
            Passage::Open => {}
        }
        let is_held_back = matches!(passage, Passage::Delayed(_));
        let line = &mut self.detour().to_cluster;
        if let Some(bytes) = ready!(line.poll_next(context, is_held_back)) {
            let count = bytes.len().min(buffer.remaining());
            buffer.put_slice(&bytes[..count]);
            line.advance(count);
            self.network.traffic.count_to_cluster(count);
            return Poll::Ready(Ok(()));
        }
        match passage {
            Passage::Open => {
                self.end_detour();
                self.poll_read_socket(context, buffer)
            }
            _ if has_ended => Poll::Ready(Ok(())),
            _ => Poll::Pending,
        }
    }

    #[cold]
    fn poll_write_on_detour(
        &mut self,
        context: &mut Context<'_>,
        parts: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let passage = self.poll_passage(context)?;
        let count = parts.iter().map(|part| part.len()).sum();
        match passage {
            Passage::Lost => {
                self.mark_lossy();
                Poll::Ready(Ok(count))
            }
            Passage::Delayed(delay) => {
                if !self.detour().to_client.has_room() {
                    // Sending the bytes that are due makes room.
                    if let Poll::Ready(Err(error)) = self.poll_send_held(context, passage) {
                        return Poll::Ready(Err(error));
                    }
                    if !self.detour().to_client.has_room() {
                        return Poll::Pending;
                    }
                }
                let bytes = parts.iter().flat_map(|part| part.iter().copied()).collect();
                self.detour().to_client.push(bytes, delay);
                // Sets the alarm, also for a relay that does not flush.
                match self.poll_send_held(context, passage) {
                    Poll::Ready(Err(error)) => Poll::Ready(Err(error)),
                    _ => Poll::Ready(Ok(count)),
                }
            }
            Passage::Open => {
                ready!(self.poll_send_held(context, passage))?;
                self.end_detour();
                self.poll_write_socket(context, parts)
            }
        }
    }

    fn poll_write_socket(&mut self, context: &mut Context<'_>, parts: &[io::IoSlice<'_>]) -> Poll<io::Result<usize>> {
        let sent = ready!(Pin::new(&mut self.socket).poll_write_vectored(context, parts))?;
        self.network.traffic.count_from_cluster(sent);
        Poll::Ready(Ok(sent))
    }

    fn is_on_detour(&self) -> bool {
        self.detour.is_some() || !self.network.is_normal()
    }
}

impl AsyncRead for ClientStream {
    fn poll_read(self: Pin<&mut Self>, context: &mut Context<'_>, buffer: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        if this.detour.is_none() {
            let before = buffer.filled().len();
            let read = Pin::new(&mut this.socket).poll_read(context, buffer);
            let count = buffer.filled().len() - before;
            // Looked at after the reading: bytes that arrive after a change never pass as if they had come before.
            if count == 0 || this.network.is_normal() {
                this.network.traffic.count_to_cluster(count);
                return read;
            }
            let taken = buffer.filled()[before..].to_vec();
            buffer.set_filled(before);
            let delay = match this.detour().state {
                NetworkState::Delay(delay) => delay,
                _ => Duration::ZERO,
            };
            this.detour().to_cluster.push(taken, delay);
        }
        this.poll_read_on_detour(context, buffer)
    }
}

impl AsyncWrite for ClientStream {
    fn poll_write(self: Pin<&mut Self>, context: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        self.poll_write_vectored(context, &[io::IoSlice::new(bytes)])
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
        parts: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let this = self.get_mut();
        if this.is_on_detour() {
            this.poll_write_on_detour(context, parts)
        } else {
            this.poll_write_socket(context, parts)
        }
    }

    fn is_write_vectored(&self) -> bool {
        self.socket.is_write_vectored()
    }

    fn poll_flush(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        if this.detour.is_some() {
            let passage = this.poll_passage(context)?;
            ready!(this.poll_send_held(context, passage))?;
        }
        Pin::new(&mut this.socket).poll_flush(context)
    }

    fn poll_shutdown(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        if this.is_on_detour() {
            let passage = this.poll_passage(context)?;
            if matches!(passage, Passage::Lost) {
                // The end, too, never arrives.
                this.mark_lossy();
                return Poll::Ready(Ok(()));
            }
            ready!(this.poll_send_held(context, passage))?;
        }
        Pin::new(&mut this.socket).poll_shutdown(context)
    }
}

impl Drop for ClientStream {
    fn drop(&mut self) {
        self.network.traffic.connection_closed(self.socket.path());
        if self.detour.as_ref().is_some_and(|detour| detour.has_lost_bytes) {
            self.network.lossy_connection_closed();
        }
    }
}

fn next_change(
    mut changes: watch::Receiver<NetworkState>,
) -> Pin<Box<dyn Future<Output = watch::Receiver<NetworkState>> + Send>> {
    Box::pin(async move {
        // The sender lives in the network, which the caller holds.
        let _ = changes.changed().await;
        changes
    })
}
