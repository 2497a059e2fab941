//! Who gets which cluster, and when: a pure state machine.
//!
//! [`Event`]s go in, with the time at which they happened; [`Action`]s come out. The pool does no I/O, knows no clock
//! and no provider. The daemon carries the actions out, and reports what became of them as events.

mod machine;
mod queue;
mod slot;
#[cfg(test)]
mod tests;

pub use machine::{Limits, Pool};
pub use slot::SlotState;

use std::sync::Arc;

/// Milliseconds since some moment that stays the same for one pool.
pub type TimeMs = u64;

/// A slot. Numbers are never used twice.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct SlotId(pub u64);

/// A client that waits for a lease, or has one.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct WaiterId(pub u64);

/// Everything that makes one cluster unfit for who wants another: Kubernetes version, profile, provider, binaries.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct SlotKey(pub Arc<str>);

/// What happened.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Event {
    /// A client wants a cluster, until `deadline`.
    Acquire {
        /// The client.
        waiter: WaiterId,
        /// What it wants.
        key: SlotKey,
        /// When it gives up.
        deadline: TimeMs,
    },
    /// A client that waited is gone.
    WaiterLeft {
        /// The client.
        waiter: WaiterId,
    },
    /// A boot or a start succeeded.
    Started {
        /// The slot.
        slot: SlotId,
    },
    /// A boot or a start failed; nothing is left of it.
    StartFailed {
        /// The slot.
        slot: SlotId,
        /// Why, for whoever waits.
        reason: String,
        /// Whether it is the user's to repair, so that trying again is pointless.
        is_user_error: bool,
    },
    /// The lease has ended.
    Released {
        /// The slot.
        slot: SlotId,
    },
    /// The slot is proven pristine.
    Rewound {
        /// The slot.
        slot: SlotId,
        /// Whether everything, OpenAPI included, has followed.
        is_settled: bool,
    },
    /// The rest, OpenAPI, has followed as well.
    Settled {
        /// The slot.
        slot: SlotId,
    },
    /// The slot is stopped, its state kept.
    Stopped {
        /// The slot.
        slot: SlotId,
    },
    /// The slot cannot be used any more: it died, or could not be rewound, stopped or proven.
    Broke {
        /// The slot.
        slot: SlotId,
    },
    /// Nothing is left of the slot.
    Destroyed {
        /// The slot.
        slot: SlotId,
    },
    /// So many clusters of a kind shall exist.
    WarmUp {
        /// What kind.
        key: SlotKey,
        /// How many.
        count: usize,
    },
    /// All ready slots shall be stopped.
    StopIdle,
    /// Time has passed.
    Tick,
}

/// What the daemon has to do.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Action {
    /// Create a cluster. Answer: `Started` or `StartFailed`.
    Boot {
        /// The slot it is for.
        slot: SlotId,
        /// What to create.
        key: SlotKey,
    },
    /// Start a stopped cluster. Answer: `Started` or `StartFailed`.
    Start {
        /// The slot.
        slot: SlotId,
    },
    /// Give the slot to the client, and let the client in once the slot is proven. Answer: `Released`, at the end of the
    /// lease, or `Broke`.
    HandOut {
        /// The slot.
        slot: SlotId,
        /// The client.
        waiter: WaiterId,
    },
    /// Rewind. Answer: `Rewound` or `Broke`.
    Rewind {
        /// The slot.
        slot: SlotId,
    },
    /// Stop, keep the state. Answer: `Stopped` or `Broke`.
    Stop {
        /// The slot.
        slot: SlotId,
    },
    /// End it and remove everything. Answer: `Destroyed`.
    Destroy {
        /// The slot.
        slot: SlotId,
    },
    /// Tell a client that it gets nothing.
    Refuse {
        /// The client.
        waiter: WaiterId,
        /// Why.
        refusal: PoolRefusal,
    },
}

/// Why a client gets nothing.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum PoolRefusal {
    /// Its deadline passed.
    Deadline {
        /// Slots by state at that time, for people.
        slots: String,
        /// How many others wait.
        waiting: usize,
        /// How many slots there may be.
        slots_max: usize,
    },
    /// Clusters of this kind do not start.
    StartFailed {
        /// The last failure.
        reason: String,
        /// Whether it is the user's to repair.
        is_user_error: bool,
    },
    /// Too many wait already.
    QueueFull {
        /// How many may.
        waiting_max: usize,
    },
}
