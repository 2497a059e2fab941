//! Bytes on their way that are held back.

use std::collections::VecDeque;
use std::pin::Pin;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use tokio::time::{Instant, Sleep};

/// The bytes under way in one direction of one connection; more wait at their sender, as with any network.
const HELD_BYTES_MAX: usize = 256 << 10;

/// One direction of a connection. Chunks leave in the order in which they came.
pub(super) struct DelayLine {
    chunks: VecDeque<Chunk>,
    held_bytes: usize,
    timer: Pin<Box<Sleep>>,
}

struct Chunk {
    due: Instant,
    bytes: Vec<u8>,
    gone: usize,
}

impl DelayLine {
    pub(super) fn new() -> Self {
        Self { chunks: VecDeque::new(), held_bytes: 0, timer: Box::pin(tokio::time::sleep(Duration::ZERO)) }
    }

    pub(super) fn is_empty(&self) -> bool {
        self.chunks.is_empty()
    }

    pub(super) fn has_room(&self) -> bool {
        self.held_bytes < HELD_BYTES_MAX
    }

    pub(super) fn push(&mut self, bytes: Vec<u8>, delay: Duration) {
        if !bytes.is_empty() {
            self.held_bytes += bytes.len();
            self.chunks.push_back(Chunk { due: Instant::now() + delay, bytes, gone: 0 });
        }
    }

    /// The next bytes, once they are due, or now if nothing is held back any more. `None` for an empty line.
    pub(super) fn poll_next(&mut self, context: &mut Context<'_>, is_held_back: bool) -> Poll<Option<&[u8]>> {
        let Some(chunk) = self.chunks.front() else { return Poll::Ready(None) };
        if is_held_back {
            if self.timer.deadline() != chunk.due {
                self.timer.as_mut().reset(chunk.due);
            }
            ready!(self.timer.as_mut().poll(context));
        }
        Poll::Ready(Some(&chunk.bytes[chunk.gone..]))
    }

    /// Notes that this many of the next bytes have arrived.
    pub(super) fn advance(&mut self, bytes: usize) {
        let Some(chunk) = self.chunks.front_mut() else { return };
        chunk.gone += bytes;
        self.held_bytes -= bytes;
        if chunk.gone == chunk.bytes.len() {
            self.chunks.pop_front();
        }
    }

    /// Loses everything; returns true if there was anything.
    pub(super) fn lose_all(&mut self) -> bool {
        self.held_bytes = 0;
        !std::mem::take(&mut self.chunks).is_empty()
    }
}
