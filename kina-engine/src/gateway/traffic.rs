//! Traffic of gateways.

use std::ops::AddAssign;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use crate::protocol::Traffic;

/// Counts for one lease. Each number stands for itself, so nothing has to be locked to count or to read.
#[derive(Debug, Default)]
pub(crate) struct TrafficCounter {
    loopback: ConnectionCounter,
    unix: ConnectionCounter,
    bytes_to_cluster: AtomicU64,
    bytes_from_cluster: AtomicU64,
}

/// The way on which a client comes in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum ClientPath {
    /// The gateway's port on loopback, with TLS.
    Loopback,
    /// The engine's socket for leases, without TLS.
    Unix,
}

#[derive(Debug, Default)]
struct ConnectionCounter {
    accepted: AtomicU64,
    open: AtomicU64,
}

/// All traffic since the engine started, of leases that have ended and of those that have not.
#[derive(Debug, Default)]
pub(crate) struct TrafficLedger {
    ended: Traffic,
    counters: Vec<Arc<TrafficCounter>>,
}

impl TrafficCounter {
    pub(super) fn connection_opened(&self, path: ClientPath) {
        let counter = self.connections(path);
        counter.accepted.fetch_add(1, Ordering::Relaxed);
        counter.open.fetch_add(1, Ordering::Relaxed);
    }

    pub(super) fn connection_closed(&self, path: ClientPath) {
        self.connections(path).open.fetch_sub(1, Ordering::Relaxed);
    }

    pub(super) fn count_to_cluster(&self, bytes: usize) {
        self.bytes_to_cluster.fetch_add(bytes as u64, Ordering::Relaxed);
    }

    pub(super) fn count_from_cluster(&self, bytes: usize) {
        self.bytes_from_cluster.fetch_add(bytes as u64, Ordering::Relaxed);
    }

    pub(crate) fn read(&self) -> Traffic {
        Traffic {
            connections: self.loopback.accepted.load(Ordering::Relaxed),
            connections_open: self.loopback.open.load(Ordering::Relaxed),
            unix_connections: self.unix.accepted.load(Ordering::Relaxed),
            unix_connections_open: self.unix.open.load(Ordering::Relaxed),
            bytes_to_cluster: self.bytes_to_cluster.load(Ordering::Relaxed),
            bytes_from_cluster: self.bytes_from_cluster.load(Ordering::Relaxed),
        }
    }

    fn connections(&self, path: ClientPath) -> &ConnectionCounter {
        match path {
            ClientPath::Loopback => &self.loopback,
            ClientPath::Unix => &self.unix,
        }
    }
}

impl TrafficLedger {
    /// Takes a new lease's counter in.
    pub(crate) fn open(&mut self, counter: Arc<TrafficCounter>) {
        let ended = &mut self.ended;
        self.counters.retain(|counter| {
            // With no other holder, no more can come.
            let can_grow = 1 < Arc::strong_count(counter);
            if !can_grow {
                *ended += counter.read();
            }
            can_grow
        });
        self.counters.push(counter);
    }

    pub(crate) fn total(&self) -> Traffic {
        let mut total = self.ended;
        for counter in &self.counters {
            total += counter.read();
        }
        total
    }
}

impl AddAssign for Traffic {
    fn add_assign(&mut self, more: Self) {
        self.connections += more.connections;
        self.connections_open += more.connections_open;
        self.unix_connections += more.unix_connections;
        self.unix_connections_open += more.unix_connections_open;
        self.bytes_to_cluster += more.bytes_to_cluster;
        self.bytes_from_cluster += more.bytes_from_cluster;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_ledger_forgets_no_byte_of_a_lease_that_ended() {
        let mut ledger = TrafficLedger::default();
        for bytes in 1..=3 {
            let counter = Arc::new(TrafficCounter::default());
            ledger.open(Arc::clone(&counter));
            counter.connection_opened(ClientPath::Loopback);
            counter.connection_opened(ClientPath::Unix);
            counter.count_to_cluster(bytes);
            counter.count_from_cluster(10 * bytes);
            let open = ledger.total();
            assert_eq!((open.connections_open, open.unix_connections_open), (1, 1));
            counter.connection_closed(ClientPath::Loopback);
            counter.connection_closed(ClientPath::Unix);
        }
        let total = Traffic {
            connections: 3,
            unix_connections: 3,
            bytes_to_cluster: 6,
            bytes_from_cluster: 60,
            ..Traffic::default()
        };
        assert_eq!(ledger.total(), total);
        assert_eq!(ledger.counters.len(), 1, "counters of ended leases are folded into one sum");
    }
}
