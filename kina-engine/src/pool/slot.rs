use super::{SlotKey, TimeMs, WaiterId};

/// The place for one cluster.
#[derive(Clone, Debug)]
pub(super) struct Slot {
    pub(super) key: SlotKey,
    pub(super) state: SlotState,
    /// Whether everything in the API server, OpenAPI included, has followed the last rewind.
    pub(super) is_settled: bool,
    /// When it came into that state.
    pub(super) since: TimeMs,
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
    /// Being put back to its baseline.
    Rewinding,
    /// Being stopped.
    Stopping,
    /// Not running, its state kept.
    Stopped,
    /// Being started from stopped.
    Starting,
    /// Being removed.
    Broken,
}

impl SlotState {
    /// One word, for people.
    pub fn name(self) -> &'static str {
        match self {
            Self::Booting => "booting",
            Self::Ready => "ready",
            Self::Leased(_) => "leased",
            Self::Rewinding => "rewinding",
            Self::Stopping => "stopping",
            Self::Stopped => "stopped",
            Self::Starting => "starting",
            Self::Broken => "broken",
        }
    }

    /// Becomes ready by itself, soon.
    pub(super) fn is_coming(self) -> bool {
        matches!(self, Self::Booting | Self::Starting | Self::Rewinding)
    }

    /// Is ready, or on loan.
    pub(super) fn is_running(self) -> bool {
        matches!(self, Self::Ready | Self::Leased(_))
    }

    /// Takes the cores that a boot takes.
    pub(super) fn is_boot(self) -> bool {
        matches!(self, Self::Booting | Self::Starting)
    }
}
