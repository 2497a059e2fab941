//! The wait of each client, from its request to a cluster that is proven.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Instant;

use super::recorder::Metrics;
use crate::pool::WaiterId;
use crate::protocol::RefusalKind;
use crate::timings::ServedFrom;

/// The clients that wait: as many as there are replies outstanding.
#[derive(Debug)]
pub(in crate::daemon) struct Waits {
    metrics: Arc<Metrics>,
    waiting: HashMap<WaiterId, Wait>,
}

/// One client's wait.
#[derive(Clone, Copy, Debug)]
struct Wait {
    since: Instant,
    /// Once a cluster was chosen for it.
    from: Option<ServedFrom>,
}

/// The wait of a client that has its cluster, which is still to be proven.
#[derive(Debug)]
pub(in crate::daemon) struct Unproven {
    metrics: Arc<Metrics>,
    since: Instant,
    from: ServedFrom,
}

impl Waits {
    pub(in crate::daemon) fn new(metrics: Arc<Metrics>) -> Self {
        Self { metrics, waiting: HashMap::new() }
    }

    /// A client wants a cluster.
    pub(in crate::daemon) fn asked(&mut self, waiter: WaiterId) {
        self.waiting.insert(waiter, Wait { since: Instant::now(), from: None });
    }

    /// A cluster was chosen for it.
    pub(in crate::daemon) fn chosen(&mut self, waiter: WaiterId, from: ServedFrom) {
        if let Some(wait) = self.waiting.get_mut(&waiter) {
            wait.from = Some(from);
            self.metrics.left_queue(wait.since.elapsed());
        }
    }

    /// It gets that cluster, unless a proof of it fails.
    pub(in crate::daemon) fn granted(&mut self, waiter: WaiterId) -> Option<Unproven> {
        let Wait { since, from } = self.waiting.remove(&waiter)?;
        Some(Unproven { metrics: Arc::clone(&self.metrics), since, from: from? })
    }

    /// It gets nothing.
    pub(in crate::daemon) fn refused(&mut self, waiter: WaiterId, kind: RefusalKind) {
        self.metrics.refused(kind);
        self.gone(waiter);
    }

    /// It waits no longer.
    pub(in crate::daemon) fn gone(&mut self, waiter: WaiterId) {
        if let Some(Wait { since, from: None }) = self.waiting.remove(&waiter) {
            self.metrics.left_queue(since.elapsed());
        }
    }
}

impl Unproven {
    /// The client gets through to its cluster.
    pub(in crate::daemon) fn proven(self) {
        self.metrics.acquired(self.from, self.since.elapsed());
    }
}
