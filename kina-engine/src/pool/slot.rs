use super::limits::WearLimits;
use super::{SlotKey, TemplateName, TimeMs, WaiterId};

/// The place for one cluster.
#[derive(Clone, Debug)]
pub(super) struct Slot {
    pub(super) key: SlotKey,
    /// The template that it was last proven at (for a leased slot, before the lease) or is being rewound to.
    pub(super) template: Option<TemplateName>,
    /// Set while it is being rewound to another template.
    pub(super) changes_template: bool,
    pub(super) state: SlotState,
    /// Set once everything in the API server, OpenAPI included, has followed the last rewind.
    pub(super) is_settled: bool,
    /// The time at which it entered its state.
    pub(super) since: TimeMs,
    /// The time at which it last became ready after a boot or a start.
    pub(super) running_since: TimeMs,
    /// The time of its last use. Freezing and stopping do not change it.
    pub(super) used_at: TimeMs,
    /// The source from which it last became ready.
    pub(super) origin: Layer,
    /// The number of leases it has served.
    pub(super) leases: u64,
    /// Its memory while it runs or is frozen.
    pub(super) memory_bytes: u64,
    /// The least memory that slots with its template take.
    pub(super) template_memory_bytes: u64,
    /// The size of its database.
    pub(super) database_bytes: u64,
}

/// The states of a slot. A slot that is absent from the pool has none.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SlotState {
    /// Its cluster is being created.
    Booting,
    /// Proven pristine, waiting for a client.
    Ready,
    /// Exclusively held by this client.
    Leased(WaiterId),
    /// Its lease has ended; waits until it may be rewound.
    Released,
    /// Being put back to its baseline.
    Rewinding,
    /// Being frozen.
    Freezing,
    /// Pristine, in memory, without using CPU time.
    Frozen,
    /// Being thawed.
    Thawing,
    /// Being stopped.
    Stopping,
    /// Pristine, not running, its state on disk.
    Stopped,
    /// Being started from stopped.
    Starting,
    /// Being removed.
    Broken,
}

/// The source of a lease, the cheapest first.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Layer {
    /// A slot that was ready when the client asked.
    Ready,
    /// A slot that had to be rewound first.
    Rewound,
    /// A slot that had another template.
    OtherTemplate,
    /// A frozen slot.
    Frozen,
    /// A stopped slot.
    Stopped,
    /// A new cluster.
    Booted,
}

impl Slot {
    pub(super) fn new(key: SlotKey, now: TimeMs, memory_bytes: u64) -> Self {
        Self {
            key,
            template: None,
            changes_template: false,
            state: SlotState::Booting,
            is_settled: false,
            since: now,
            running_since: now,
            used_at: now,
            origin: Layer::Booted,
            leases: 0,
            memory_bytes,
            template_memory_bytes: 0,
            database_bytes: 0,
        }
    }

    pub(super) fn is_worn(&self, wear: &WearLimits) -> bool {
        wear.leases_max <= self.leases
            || wear.database_max_bytes < self.database_bytes
            // The memory of a large template is not wear.
            || wear.memory_max_bytes.max(self.template_memory_bytes / 2 * 3) < self.memory_bytes
    }

    /// The memory it takes now.
    pub(super) fn held_memory_bytes(&self) -> u64 {
        if self.state == SlotState::Stopped { 0 } else { self.running_memory_bytes() }
    }

    /// The memory it takes while it runs.
    pub(super) fn running_memory_bytes(&self) -> u64 {
        self.memory_bytes.max(self.template_memory_bytes)
    }
}

impl SlotState {
    /// The names of all states.
    pub fn names() -> impl Iterator<Item = &'static str> {
        let states = [
            Self::Booting,
            Self::Ready,
            Self::Leased(WaiterId(0)),
            Self::Released,
            Self::Rewinding,
            Self::Freezing,
            Self::Frozen,
            Self::Thawing,
            Self::Stopping,
            Self::Stopped,
            Self::Starting,
            Self::Broken,
        ];
        states.into_iter().map(Self::name)
    }

    /// The state in one word.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Booting => "booting",
            Self::Ready => "ready",
            Self::Leased(_) => "leased",
            Self::Released => "released",
            Self::Rewinding => "rewinding",
            Self::Freezing => "freezing",
            Self::Frozen => "frozen",
            Self::Thawing => "thawing",
            Self::Stopping => "stopping",
            Self::Stopped => "stopped",
            Self::Starting => "starting",
            Self::Broken => "broken",
        }
    }

    /// Returns true if the slot becomes ready, or ready to be thawed, by itself.
    pub(super) fn is_coming(self) -> bool {
        matches!(
            self,
            Self::Booting | Self::Starting | Self::Released | Self::Rewinding | Self::Thawing | Self::Freezing
        )
    }

    /// Returns true if the slot is ready or leased.
    pub(super) fn is_running(self) -> bool {
        matches!(self, Self::Ready | Self::Leased(_))
    }

    /// Returns true if the slot is pristine and unused.
    pub(super) fn is_idle(self) -> bool {
        matches!(self, Self::Ready | Self::Frozen | Self::Stopped)
    }

    /// Returns true if the slot soon gives its memory back by itself.
    pub(super) fn is_leaving(self) -> bool {
        matches!(self, Self::Stopping | Self::Broken)
    }

    /// Returns true if the slot takes as much CPU as a boot.
    pub(super) fn is_boot(self) -> bool {
        matches!(self, Self::Booting | Self::Starting)
    }
}
