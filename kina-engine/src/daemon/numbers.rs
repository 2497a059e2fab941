//! Numbers that the engine gives out once in its life.

use std::sync::atomic::{AtomicU64, Ordering};

use crate::pool::WaiterId;

/// The last number given to a request, and to a lease. Both count from 1.
#[derive(Debug, Default)]
pub(super) struct Numbers {
    waiters: AtomicU64,
    leases: AtomicU64,
}

impl Numbers {
    /// The next number for a request of a client, or of a part of the engine.
    pub(super) fn next_waiter(&self) -> WaiterId {
        WaiterId(self.waiters.fetch_add(1, Ordering::Relaxed) + 1)
    }

    /// The next number for a lease, on a cluster or on a namespace.
    pub(super) fn next_lease(&self) -> u64 {
        self.leases.fetch_add(1, Ordering::Relaxed) + 1
    }
}
