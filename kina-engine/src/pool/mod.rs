//! The assignment of clusters to clients: a pure state machine.
//!
//! [`Event`]s go in, with the time at which they happened; [`Action`]s come out. The pool does no I/O, knows no clock
//! and no provider, and uses no randomness. The daemon carries the actions out and reports their results as events.
//!
//! - `event_handling`: the effect of each event on its slot.
//! - `supply`: the pool's next steps: hand out, thaw, start, boot, freeze, stop, replace.
//! - `slot`: the states.
//! - `templates`: the choice of the template that a slot is rewound to.
//! - `queue`: the order in which clients are served.
//! - `breaker`: pauses after failed boots.
//! - `autoscale`: the number of clusters to keep ahead of demand.
//! - `limits`: the bounds.
//!
//! ARCHITECTURE.md lists the invariants; the model in `tests/` checks them after every event.

mod autoscale;
mod breaker;
mod event_handling;
mod limits;

mod queue;
mod slot;
mod supply;
mod templates;
#[cfg(test)]
mod tests;

pub use breaker::BreakerCounts;
pub use event_handling::Pool;
pub use limits::{BreakerLimits, Limits, ScaleLimits, WearLimits};
pub use slot::{Layer, SlotState};

use std::sync::Arc;

/// Milliseconds since some moment that stays the same for one pool.
pub type TimeMs = u64;

/// A slot. Numbers are never used twice.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct SlotId(pub u64);

/// A request for a lease: its client waits, or has one.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct WaiterId(pub u64);

/// A client process, which may make many requests.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ClientId(pub u64);

/// The kind of a cluster: Kubernetes version, profile, provider, binaries. Clusters of one kind are interchangeable.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct SlotKey(pub Arc<str>);

/// The name of a template: the content of a slot's baseline beyond that of a bare cluster of its kind.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct TemplateName(pub Arc<str>);

/// An input of the pool.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Event {
    /// A client asks for a cluster.
    Acquire {
        /// The request.
        waiter: WaiterId,
        /// The process that made it.
        client: ClientId,
        /// The kind of cluster.
        key: SlotKey,
        /// The template that the cluster starts from.
        template: Option<TemplateName>,
        /// The time at which the request is refused.
        deadline: TimeMs,
    },
    /// A waiting client is gone.
    WaiterLeft {
        /// The request.
        waiter: WaiterId,
    },
    /// A boot, a start or a thaw succeeded.
    Started {
        /// The slot.
        slot: SlotId,
    },
    /// A boot or a start failed; nothing is left of it.
    StartFailed {
        /// The slot.
        slot: SlotId,
        /// The reason, for the waiting clients.
        reason: String,
        /// Set if only the user can repair the cause, so that a retry is pointless.
        is_user_error: bool,
        /// A random number from 0 to 1000 that spreads retries.
        jitter_permille: u16,
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
        /// Set if everything, OpenAPI included, has followed.
        is_settled: bool,
    },
    /// The state of the leased slot has become the baseline of this template.
    TemplateTaken {
        /// The slot, still leased.
        slot: SlotId,
        /// The template.
        template: TemplateName,
    },
    /// No slot can be rewound to this template.
    TemplateBroke {
        /// The kind of cluster.
        key: SlotKey,
        /// The template.
        template: TemplateName,
        /// The reason, for the waiting clients.
        reason: String,
    },
    /// OpenAPI, the last to follow a rewind, has followed as well.
    Settled {
        /// The slot.
        slot: SlotId,
    },
    /// The slot is frozen.
    Frozen {
        /// The slot.
        slot: SlotId,
    },
    /// The slot is stopped, its state kept.
    Stopped {
        /// The slot.
        slot: SlotId,
    },
    /// The slot cannot be used any more: it died, or could not be rewound, frozen, thawed, stopped or proven.
    Broke {
        /// The slot.
        slot: SlotId,
    },
    /// Nothing is left of the slot.
    Destroyed {
        /// The slot.
        slot: SlotId,
    },
    /// The size of a slot was measured.
    Measured {
        /// The slot.
        slot: SlotId,
        /// The memory of its processes.
        memory_bytes: u64,
        /// The size of its database.
        database_bytes: u64,
    },
    /// The limit of the memory of all clusters together has changed.
    MemoryLimit {
        /// The new limit.
        memory_max_bytes: u64,
    },
    /// A client asks for this many ready clusters of a kind.
    WarmUp {
        /// The kind of cluster.
        key: SlotKey,
        /// The number of clusters.
        count: usize,
    },
    /// A client asks for all ready and frozen slots to be stopped.
    StopIdle,
    /// Time has passed.
    Tick,
}

/// An output of the pool: a task for the daemon.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Action {
    /// Creates a cluster. Answer: `Started` or `StartFailed`.
    Boot {
        /// The slot it is for.
        slot: SlotId,
        /// The kind of cluster.
        key: SlotKey,
    },
    /// Starts a stopped cluster. Answer: `Started` or `StartFailed`.
    Start {
        /// The slot.
        slot: SlotId,
    },
    /// Thaws a frozen cluster. Answer: `Started` or `Broke`.
    Thaw {
        /// The slot.
        slot: SlotId,
    },
    /// Gives the slot to the client, and lets the client in once the slot is proven. Answer: `Released`, at the end of
    /// the lease, or `Broke`.
    HandOut {
        /// The slot.
        slot: SlotId,
        /// The client.
        waiter: WaiterId,
        /// The source of the slot, for statistics.
        layer: Layer,
    },
    /// Rewinds to the bare baseline or to that of a template. Answer: `Rewound` or `Broke`.
    Rewind {
        /// The slot.
        slot: SlotId,
        /// The template, which may differ from the one before.
        template: Option<TemplateName>,
    },
    /// Freezes the slot. Answer: `Frozen` or `Broke`.
    Freeze {
        /// The slot.
        slot: SlotId,
    },
    /// Stops the slot and keeps its state, if clusters can be stopped ([`Limits::can_stop`]). Answer: `Stopped` or `Broke`.
    Stop {
        /// The slot.
        slot: SlotId,
    },
    /// Ends the cluster and removes everything. Answer: `Destroyed`.
    Destroy {
        /// The slot.
        slot: SlotId,
        /// For the log.
        cause: DestroyCause,
    },
    /// Refuses a client's request.
    Refuse {
        /// The client.
        waiter: WaiterId,
        /// The reason.
        refusal: PoolRefusal,
    },
}

/// The reason for removing a slot.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum DestroyCause {
    /// It broke.
    Broke,
    /// It has served its time.
    Worn,
    /// A slot of another kind is needed.
    MakesRoom,
    /// It has been stopped for too long.
    Old,
    /// It was not needed, and the provider cannot stop clusters.
    Unneeded,
}

/// The reason for refusing a request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum PoolRefusal {
    /// Its deadline passed.
    Deadline {
        /// The time it waited.
        waited_ms: TimeMs,
        /// Slots by state at that time, as text.
        slots: String,
        /// The number of other waiting requests.
        waiting: usize,
        /// The number of slots that may exist.
        slots_max: usize,
    },
    /// Clusters of this kind do not start.
    StartFailed {
        /// The last failure.
        reason: String,
        /// Set if only the user can repair the cause.
        is_user_error: bool,
        /// The time until a new request leads to another try.
        retry_after_ms: TimeMs,
    },
    /// No cluster can be rewound to the requested template.
    TemplateBroke {
        /// The failure.
        reason: String,
    },
    /// Too many requests wait already.
    QueueFull {
        /// The number of requests that may wait.
        waiting_max: usize,
    },
}
