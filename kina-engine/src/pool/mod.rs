//! Who gets which cluster, and when: a pure state machine.
//!
//! [`Event`]s go in, with the time at which they happened; [`Action`]s come out. The pool does no I/O, knows no clock
//! and no provider, and rolls no dice. The daemon carries the actions out, and reports what became of them as events.
//!
//! - `machine`: what each event does to the state of its slot.
//! - `supply`: what the pool wants next: to hand out, thaw, start, boot, freeze, stop, replace.
//! - `slot`: the states.
//! - `templates`: which slot is put to which template.
//! - `queue`: whose turn it is.
//! - `breaker`: what does not boot is not tried for ever.
//! - `autoscale`: how many there should be ahead of demand.
//! - `limits`: the bounds.
//!
//! What holds after every event is listed in ARCHITECTURE.md and checked by the model in `tests/`.

mod autoscale;
mod breaker;
mod limits;
mod machine;
mod queue;
mod slot;
mod supply;
mod templates;
#[cfg(test)]
mod tests;

pub use breaker::BreakerCounts;
pub use limits::{BreakerLimits, Limits, RETRY_PAUSES, ScaleLimits, WearLimits};
pub use machine::Pool;
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

/// Everything that makes one cluster unfit for who wants another: Kubernetes version, profile, provider, binaries.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct SlotKey(pub Arc<str>);

/// What a slot's state starts from beyond what every cluster of its kind has: a template's name.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct TemplateName(pub Arc<str>);

/// What happened.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Event {
    /// A client wants a cluster, until `deadline`.
    Acquire {
        /// The request.
        waiter: WaiterId,
        /// Whose it is.
        client: ClientId,
        /// What it wants.
        key: SlotKey,
        /// What that shall start from.
        template: Option<TemplateName>,
        /// When it gives up.
        deadline: TimeMs,
    },
    /// A client that waited is gone.
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
        /// Why, for whoever waits.
        reason: String,
        /// Whether it is the user's to repair, so that trying again is pointless.
        is_user_error: bool,
        /// A number from 0 to 1000, at random, that spreads the next try.
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
        /// Whether everything, OpenAPI included, has followed.
        is_settled: bool,
    },
    /// What the lease has made of its slot is the baseline of this template from now on.
    TemplateTaken {
        /// The slot, still leased.
        slot: SlotId,
        /// The template.
        template: TemplateName,
    },
    /// No slot can be put to this template.
    TemplateBroke {
        /// Of which kind.
        key: SlotKey,
        /// The template.
        template: TemplateName,
        /// Why, for whoever waits.
        reason: String,
    },
    /// The rest, OpenAPI, has followed as well.
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
    /// What a slot takes was measured.
    Measured {
        /// The slot.
        slot: SlotId,
        /// Its processes' memory.
        memory_bytes: u64,
        /// Its database.
        database_bytes: u64,
    },
    /// All clusters together may take so much from now on.
    MemoryLimit {
        /// In bytes.
        memory_max_bytes: u64,
    },
    /// So many clusters of a kind shall exist.
    WarmUp {
        /// What kind.
        key: SlotKey,
        /// How many.
        count: usize,
    },
    /// All ready and frozen slots shall be stopped.
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
    /// Thaw a frozen cluster. Answer: `Started` or `Broke`.
    Thaw {
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
        /// What the client was spared, for statistics.
        layer: Layer,
    },
    /// Rewind, to the baseline or to that of a template. Answer: `Rewound` or `Broke`.
    Rewind {
        /// The slot.
        slot: SlotId,
        /// The template, which may be another than before.
        template: Option<TemplateName>,
    },
    /// Freeze. Answer: `Frozen` or `Broke`.
    Freeze {
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
        /// For the log.
        cause: DestroyCause,
    },
    /// Tell a client that it gets nothing.
    Refuse {
        /// The client.
        waiter: WaiterId,
        /// Why.
        refusal: PoolRefusal,
    },
}

/// Why a slot is removed.
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
}

/// Why a client gets nothing.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum PoolRefusal {
    /// Its deadline passed.
    Deadline {
        /// How long it waited.
        waited_ms: TimeMs,
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
        /// After which time it will be tried again, if asked.
        retry_after_ms: TimeMs,
    },
    /// No cluster can be put to what was asked for.
    TemplateBroke {
        /// What happened.
        reason: String,
    },
    /// Too many wait already.
    QueueFull {
        /// How many may.
        waiting_max: usize,
    },
}
