use super::limits::WearLimits;
use super::{SlotKey, TemplateName, TimeMs, WaiterId};

/// The place for one cluster.
#[derive(Clone, Debug)]
pub(super) struct Slot {
    pub(super) key: SlotKey,
    /// What it was last proven to be at, is being rewound to, or was when its lease began.
    pub(super) template: Option<TemplateName>,
    /// Whether the rewind under way is to another one.
    pub(super) changes_template: bool,
    pub(super) state: SlotState,
    /// Whether everything in the API server, OpenAPI included, has followed the last rewind.
    pub(super) is_settled: bool,
    /// When it came into that state.
    pub(super) since: TimeMs,
    /// When it last became ready after a boot or a start.
    pub(super) running_since: TimeMs,
    /// When it was last of use to anybody. Freezing and stopping do not change that.
    pub(super) used_at: TimeMs,
    /// From where it last became ready.
    pub(super) origin: Layer,
    /// How many leases it has served.
    pub(super) leases: u64,
    /// What it takes while it runs or is frozen.
    pub(super) memory_bytes: u64,
    /// What slots with its template take at least.
    pub(super) template_memory_bytes: u64,
    /// How large its database is.
    pub(super) database_bytes: u64,
}

/// The states of a slot; one that is absent from the pool has none.
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
    /// Pristine, in memory, without the use of a processor.
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

/// What a lease was served from, the cheapest first.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Layer {
    /// A slot that was ready when the client asked.
    Ready,
    /// A slot that had to be rewound first.
    Rewound,
    /// A slot that had another template.
    OtherTemplate,
    /// A frozen one.
    Frozen,
    /// A stopped one.
    Stopped,
    /// None: a cluster was created.
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
            // What a large template takes is no wear.
            || wear.memory_max_bytes.max(self.template_memory_bytes / 2 * 3) < self.memory_bytes
    }

    /// What it takes of the memory now.
    pub(super) fn held_memory_bytes(&self) -> u64 {
        if self.state == SlotState::Stopped { 0 } else { self.running_memory_bytes() }
    }

    /// What it takes while it runs.
    pub(super) fn running_memory_bytes(&self) -> u64 {
        self.memory_bytes.max(self.template_memory_bytes)
    }
}

impl SlotState {
    /// One word for each state there is.
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

    /// One word, for people.
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

    /// Becomes ready, or at once thawable, by itself.
    pub(super) fn is_coming(self) -> bool {
        matches!(
            self,
            Self::Booting | Self::Starting | Self::Released | Self::Rewinding | Self::Thawing | Self::Freezing
        )
    }

    /// Is ready, or on loan.
    pub(super) fn is_running(self) -> bool {
        matches!(self, Self::Ready | Self::Leased(_))
    }

    /// Pristine and of no use to anybody now.
    pub(super) fn is_idle(self) -> bool {
        matches!(self, Self::Ready | Self::Frozen | Self::Stopped)
    }

    /// Gives its memory back by itself, soon.
    pub(super) fn is_leaving(self) -> bool {
        matches!(self, Self::Stopping | Self::Broken)
    }

    /// Takes the cores that a boot takes.
    pub(super) fn is_boot(self) -> bool {
        matches!(self, Self::Booting | Self::Starting)
    }
}
