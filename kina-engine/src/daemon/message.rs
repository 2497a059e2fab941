//! The messages to the dispatcher, and the way to it.

use std::sync::Arc;

use tokio::sync::{mpsc, oneshot};

use super::boot::{BootError, SlotSpec};
use super::lease::Lease;
use super::slot::{Proof, SlotError, SlotHandle, SlotSize};
use crate::gateway::{Admission, GatewayCredentials, GatewayError, OpenGateway};
use crate::pool::{ClientId, SlotId, SlotKey, TemplateName, WaiterId};
use crate::protocol::{Counters, HighWater, LeaseStatus, Refusal, ReleaseStatus, Traffic};
use crate::rewind::{ExpectedKeys, RewindReport, Template};
use crate::timings::{Asker, NamespaceNews, Notes};

/// Messages that may be under way; further senders wait.
const MESSAGES_MAX: usize = 1024;

/// Sends messages to the dispatcher.
#[derive(Clone)]
pub(super) struct DispatcherSender(mpsc::Sender<Message>);

/// The engine is ending: no message reaches the dispatcher, and no answer comes from it.
#[derive(Clone, Copy, Debug, thiserror::Error)]
#[error("the engine is ending")]
pub(super) struct Ending;

/// A message to the dispatcher.
pub(super) enum Message {
    /// A client wants a lease.
    Acquire {
        waiter: WaiterId,
        client: ClientId,
        key: SlotKey,
        spec: Arc<SlotSpec>,
        template: Option<Arc<Template>>,
        timeout_ms: u64,
        asker: Asker,
        reply: LeaseReply,
    },
    /// There is news of a request for a namespace.
    Namespace { waiter: WaiterId, news: NamespaceNews },
    /// A request to take the changes that this lease has made to its cluster as a template.
    TakeTemplate { waiter: WaiterId, name: TemplateName, expected: ExpectedKeys, reply: TemplateReply },
    /// A client is gone, or its lease has ended.
    Left { waiter: WaiterId },
    /// A request for so many clusters; the answer comes when they exist.
    Warm { key: SlotKey, spec: Arc<SlotSpec>, count: usize, asker: Asker, reply: oneshot::Sender<Result<(), Refusal>> },
    /// A request to stop all idle clusters; the answer comes when they are stopped.
    StopIdle { reply: oneshot::Sender<()> },
    /// A request for the number of clients that wait for a cluster.
    CountWaiting { reply: oneshot::Sender<usize> },
    /// A request for the state of the pool.
    Inspect { reply: oneshot::Sender<Inspection> },
    /// A request for the timings.
    Timings { reply: oneshot::Sender<Notes> },
    /// Time has passed. From time to time the clusters have to be looked after.
    Tick { looks_after: bool },
    /// A task has carried an action out.
    Report(TaskReport),
}

/// The reply to a waiting client.
pub(super) type LeaseReply = oneshot::Sender<Result<Lease, Refusal>>;

/// The reply to a template request: the template, or the reason why there is none.
pub(super) type TemplateReply = oneshot::Sender<Result<Arc<Template>, NotTaken>>;

/// The reason why no template was taken.
#[derive(Debug)]
pub(super) struct NotTaken {
    pub(super) message: String,
    /// True if something wrote to the cluster meanwhile, which may not happen on another cluster.
    pub(super) is_intruder: bool,
}

/// The sources of the status.
pub(super) struct Inspection {
    pub(super) slots: Vec<InspectedSlot>,
    pub(super) waiting: usize,
    pub(super) counters: Counters,
    pub(super) high_water: HighWater,
    pub(super) traffic: Traffic,
    pub(super) releases: Vec<ReleaseStatus>,
}

/// A slot, as the status shows it.
pub(super) struct InspectedSlot {
    pub(super) slot: SlotId,
    /// The name of its state.
    pub(super) state: &'static str,
    /// Present if it has a cluster.
    pub(super) handle: Option<Arc<SlotHandle>>,
    /// Present if it is leased.
    pub(super) lease: Option<LeaseStatus>,
}

/// The report of a task that carries an action out.
pub(super) enum TaskReport {
    Booted {
        slot: SlotId,
        result: Result<Arc<SlotHandle>, BootError>,
    },
    Restarted {
        slot: SlotId,
        result: Result<(), SlotError>,
    },
    Thawed {
        slot: SlotId,
        result: Result<(), SlotError>,
    },
    Opened {
        slot: SlotId,
        waiter: WaiterId,
        result: Result<(OpenGateway, Admission, GatewayCredentials), GatewayError>,
        /// Of the cluster, for this lease.
        proof: Proof,
    },
    Proven {
        late_writes: u64,
    },
    Rewound {
        slot: SlotId,
        result: Result<RewindReport, SlotError>,
    },
    OpenApiFollowed {
        slot: SlotId,
        lease: Option<u64>,
        lag_ms: f64,
    },
    TemplateTaken {
        slot: SlotId,
        result: Result<Arc<Template>, NotTaken>,
        reply: TemplateReply,
    },
    Frozen {
        slot: SlotId,
        result: Result<(), SlotError>,
    },
    Stopped {
        slot: SlotId,
        result: Result<(), SlotError>,
    },
    Measured {
        slot: SlotId,
        size: SlotSize,
    },
    MemoryShared {
        result: Result<(), std::io::Error>,
    },
    Destroyed {
        slot: SlotId,
    },
    Died {
        slot: SlotId,
        reason: String,
    },
}

impl DispatcherSender {
    /// A sender, and the receiver of its messages.
    pub(super) fn new() -> (Self, mpsc::Receiver<Message>) {
        let (messages, received) = mpsc::channel(MESSAGES_MAX);
        (Self(messages), received)
    }

    pub(super) async fn tell(&self, message: Message) -> Result<(), Ending> {
        self.0.send(message).await.map_err(|_| Ending)
    }

    /// Sends a message, and waits for the answer to it.
    pub(super) async fn ask<Answer>(
        &self,
        question: impl FnOnce(oneshot::Sender<Answer>) -> Message,
    ) -> Result<Answer, Ending> {
        let (reply, answer) = oneshot::channel();
        self.tell(question(reply)).await?;
        answer.await.map_err(|_| Ending)
    }
}
