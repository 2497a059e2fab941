//! The open files that this process may have.
//!
//! Each connection takes at least one of them. Once all are taken, nothing works any more: no cluster can be proven,
//! rewound or booted. So gateways and the socket each have a share, and leave a quarter to everything else.
//!
//! - `limit`: raised at the start.
//! - `share`: a bounded number of files.
//! - `acceptor`: a listener that survives the lack of files.
//! - `told_once`: a line of the log for many events.

mod acceptor;
mod limit;
mod share;
mod told_once;

use std::sync::Arc;

pub(crate) use self::acceptor::Acceptor;
pub(crate) use self::limit::raise_limit;
pub(crate) use self::share::{Files, Share};
pub(crate) use self::told_once::ToldOnce;

/// More than any engine ever uses: the limit of some systems is a thousand times as high.
const LIMIT_COUNTED_MAX: u64 = 1 << 20;

/// The shares of those that accept connections, and the errors that they have with it.
#[derive(Debug)]
pub(crate) struct OpenFiles {
    /// Half of the limit. A connection takes two: one to the client and one to the API server.
    pub(crate) gateways: Share,
    /// A quarter of the limit, which gateways cannot take, so that a client is always heard.
    pub(crate) socket: Share,
    /// The first error of accepting, for all listeners: they all lack the same.
    pub(crate) accept_failures: Arc<ToldOnce>,
}

impl OpenFiles {
    /// Divides the limit.
    pub(crate) fn new(limit: u64) -> Self {
        let limit = limit.min(LIMIT_COUNTED_MAX);
        Self {
            gateways: Share::new(limit / 2),
            socket: Share::new(limit / 4),
            accept_failures: Arc::new(ToldOnce::default()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn gateways_and_the_socket_leave_a_quarter_of_the_limit() {
        for limit in [64, 256, 1024, 4096, 20_000, LIMIT_COUNTED_MAX] {
            let files = OpenFiles::new(limit);
            let taken = (files.gateways.free() + files.socket.free()) as u64;
            assert!(taken <= limit * 3 / 4, "{taken} of {limit}");
            assert!(limit * 3 / 4 - taken <= 2, "{taken} of {limit}");
        }
        assert_eq!(OpenFiles::new(u64::MAX).gateways.free() as u64, LIMIT_COUNTED_MAX / 2);
    }

    #[test]
    fn one_connection_is_possible_under_any_limit() {
        let files = OpenFiles::new(0);
        assert!(files.gateways.try_take(2).is_some());
        assert!(files.socket.try_take(1).is_some());
    }
}
