//! Peaks, which tell of an engine that ran if it kept to the pool's bounds.

use crate::pool::{Limits, Pool};
use crate::protocol::HighWater;
use crate::provider::Capabilities;

/// Looks at the pool after each event.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct HighWaterMark {
    queue_longest: usize,
    boots_under_way_most: usize,
    slots_most: usize,
    memory_most_bytes: u64,
}

impl HighWaterMark {
    pub(super) fn note(&mut self, pool: &Pool) {
        self.queue_longest = self.queue_longest.max(pool.waiting());
        self.boots_under_way_most = self.boots_under_way_most.max(pool.boots_under_way());
        self.slots_most = self.slots_most.max(pool.slots().count());
        self.memory_most_bytes = self.memory_most_bytes.max(pool.memory_bytes());
    }

    pub(super) fn with_bounds(self, limits: &Limits, capabilities: &Capabilities) -> HighWater {
        HighWater {
            queue_longest: self.queue_longest,
            queue_max: limits.waiting_max,
            boots_under_way_most: self.boots_under_way_most,
            boots_under_way_max: limits.boots_max,
            slots_most: self.slots_most,
            slots_max: limits.slots_max,
            memory_most_bytes: self.memory_most_bytes,
            memory_max_bytes: limits.memory_max_bytes,
            memory_per_cluster_bytes: capabilities.memory_per_cluster_bytes,
        }
    }
}
