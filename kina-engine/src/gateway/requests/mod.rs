//! Observation of requests that may still run in the API server.
//!
//! An API server can go on with a request whose client has gone. When a connection ends, its observer tells if that may
//! be so: from the bytes that passed, without holding any of them back. A cluster that may still be at work for an
//! earlier lease is looked at before it is handed out (see `lingering`); other clusters are not, since a look costs
//! more than all the rest of a rewind.
//!
//! Only a request that can write counts. `GET` and `HEAD` change nothing that is stored, and an open watch is the most
//! common thing for a test to leave behind. A request that can write counts
//!
//! - until it is answered;
//! - beyond its answer, if that means that the API server has given up waiting for its own work (504, or another of the
//!   500s), or that a part of a collection's deletion failed (410);
//! - beyond its answer, if it may have deleted a CRD, whose instances are then deleted in the background.
//!
//! Anything that cannot be understood counts: an observer errs in one direction only.
//!
//! - `http1`, `http2`: the two protocols. `header_block`: the packed headers of HTTP/2.

mod header_block;
mod http1;
mod http2;

use self::http1::Http1;
use self::http2::Http2;

/// The observer of one connection to the API server.
pub(super) struct RequestObserver {
    protocol: Protocol,
    /// True if a request may run although it was answered, or was given up.
    has_suspect: bool,
}

enum Protocol {
    Http1(Box<Http1>),
    Http2(Box<Http2>),
    /// Not understood, or no longer HTTP.
    Opaque,
}

/// The effect that a request can have on the cluster.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Effect {
    /// Nothing in storage changes.
    Reads,
    /// Something may change until the answer arrives.
    Writes,
    /// The API server may go on deleting after the answer.
    Deletes,
}

/// An event in the bytes of one direction.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Finding {
    /// Only requests that are counted as unanswered.
    Nothing,
    /// A request may run on although its client no longer waits for its answer.
    Suspect,
}

/// Bytes that are not understood: the peers may read them differently from the observer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Unclear;

impl RequestObserver {
    /// The observer of a connection on which nothing was sent yet.
    pub(super) fn new(speaks_http_2: bool) -> Self {
        let protocol = match speaks_http_2 {
            true => Protocol::Http2(Box::default()),
            false => Protocol::Http1(Box::default()),
        };
        Self { protocol, has_suspect: false }
    }

    /// Notes bytes that the client sent.
    pub(super) fn note_to_cluster(&mut self, bytes: &[u8]) {
        let noted = match &mut self.protocol {
            Protocol::Http1(http1) => http1.note_to_cluster(bytes),
            Protocol::Http2(http2) => http2.note_to_cluster(bytes),
            Protocol::Opaque => return,
        };
        self.conclude(noted);
    }

    /// Notes bytes that the API server sent.
    pub(super) fn note_from_cluster(&mut self, bytes: &[u8]) {
        let noted = match &mut self.protocol {
            Protocol::Http1(http1) => http1.note_from_cluster(bytes),
            Protocol::Http2(http2) => http2.note_from_cluster(bytes),
            Protocol::Opaque => return,
        };
        self.conclude(noted);
    }

    /// Returns true if a request that can write may still run.
    pub(super) fn may_still_run(&self) -> bool {
        self.has_suspect
            || match &self.protocol {
                Protocol::Http1(http1) => http1.awaits_write(),
                Protocol::Http2(http2) => http2.awaits_write(),
                Protocol::Opaque => true,
            }
    }

    fn conclude(&mut self, noted: Result<Finding, Unclear>) {
        match noted {
            Ok(Finding::Nothing) => {}
            Ok(Finding::Suspect) => self.has_suspect = true,
            Err(Unclear) => self.protocol = Protocol::Opaque,
        }
    }
}

impl Effect {
    fn can_write(self) -> bool {
        self != Self::Reads
    }
}

impl Finding {
    fn suspect_if(is_suspect: bool) -> Self {
        if is_suspect { Self::Suspect } else { Self::Nothing }
    }

    fn and(self, other: Self) -> Self {
        Self::suspect_if(self == Self::Suspect || other == Self::Suspect)
    }
}

/// Returns true if a request with this answer may still run.
fn is_suspect_status(status: u16) -> bool {
    500 <= status || status == 410
}
