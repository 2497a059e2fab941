//! The most there ever was at a time: whether the pool's bounds hold can be read from an engine that ran.

use crate::pool::{Limits, Pool, SlotState};
use crate::protocol::HighWater;
use crate::provider::Capabilities;

/// Looks at the pool after each event.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct HighWaterMark {
    queue_longest: usize,
    boots_under_way_most: usize,
    slots_most: usize,
}

impl HighWaterMark {
    pub(super) fn note(&mut self, pool: &Pool) {
        let is_boot = |state| matches!(state, SlotState::Booting | SlotState::Starting);
        let (slots, boots) =
            pool.slots().fold((0, 0), |(slots, boots), (_, state)| (slots + 1, boots + usize::from(is_boot(state))));
        self.queue_longest = self.queue_longest.max(pool.waiting());
        self.boots_under_way_most = self.boots_under_way_most.max(boots);
        self.slots_most = self.slots_most.max(slots);
    }

    pub(super) fn with_bounds(self, limits: &Limits, capabilities: &Capabilities) -> HighWater {
        HighWater {
            queue_longest: self.queue_longest,
            queue_max: limits.waiting_max,
            boots_under_way_most: self.boots_under_way_most,
            boots_under_way_max: limits.boots_max,
            slots_most: self.slots_most,
            slots_max: limits.slots_max,
            memory_per_cluster_bytes: capabilities.memory_per_cluster_bytes,
        }
    }
}
