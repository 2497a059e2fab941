//! Feeds the pool with events and carries its actions out.
//!
//! The only owner of the pool and of its resources. Everything that takes time runs as a task, which reports its
//! report as a [`Message`].

mod background;
mod lease;
mod memory;
mod refusal;
mod report;
mod slot_record;
mod template;

use std::collections::{HashMap, VecDeque};
use std::sync::Arc;
use std::time::{Duration, Instant};

use tokio::sync::{mpsc, oneshot};
use tokio::task::{AbortHandle, JoinSet};

use self::memory::MemoryShare;
use self::refusal::to_refusal;
use self::report::TaskReport;
use self::slot_record::{Remains, SlotRecord};
use self::template::TemplatesInUse;
use super::boot::{Booter, SlotSpec};
use super::high_water::HighWaterMark;
use super::lease::Lease;
use super::lease_files::LeaseFiles;
use super::metrics::{Metrics, StartedFrom, Waits};
use super::numbers::Numbers;
use super::slot::{SlotError, SlotHandle};
use super::templates::TemplateCache;
use crate::budget::Budget;
use crate::cluster_name::cluster_name;
use crate::gateway::TrafficLedger;
use crate::pool::{
    Action, ClientId, DestroyCause, Event, Layer, Limits, Pool, SlotId, SlotKey, TemplateName, TimeMs, WaiterId,
};
use crate::protocol::{Counters, HighWater, LeaseStatus, Refusal, RefusalKind, ReleaseStatus, Traffic};
use crate::rewind::{ExpectedKeys, Template};
use crate::timings::{Asker, NamespaceNews, Notes, Outcome as TimingOutcome, Recorder, ServedFrom};

/// The number of releases in the status.
const RELEASES_KEPT: usize = 256;
/// Messages that may be under way; further senders wait.
pub(super) const MESSAGES_MAX: usize = 1024;

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
pub(crate) struct NotTaken {
    pub(crate) message: String,
    /// True if something wrote to the cluster meanwhile, which may not happen on another cluster.
    pub(crate) is_intruder: bool,
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

/// A request for a lease.
enum Request {
    /// Its client waits.
    Waiting(LeaseReply),
    /// Its client has a lease on this slot.
    Leased(SlotId),
}

struct WarmWish {
    key: SlotKey,
    count: usize,
    reply: oneshot::Sender<Result<(), Refusal>>,
}

/// The parts of the engine that a dispatcher uses.
pub(super) struct DispatcherParts {
    pub(super) limits: Limits,
    /// The memory that all engines share; without one, this engine takes no account of others.
    pub(super) budget: Option<Budget>,
    pub(super) booter: Booter,
    pub(super) templates: Arc<TemplateCache>,
    pub(super) lease_files: LeaseFiles,
    pub(super) numbers: Arc<Numbers>,
    pub(super) timings: Recorder,
    pub(super) metrics: Arc<Metrics>,
    /// For the reports of the dispatcher's own tasks.
    pub(super) messages: mpsc::Sender<Message>,
}

/// The dispatcher's state.
pub(super) struct Dispatcher {
    pool: Pool,
    limits: Limits,
    /// `None` if this engine takes no account of others.
    memory: Option<MemoryShare>,
    booter: Arc<Booter>,
    lease_files: LeaseFiles,
    numbers: Arc<Numbers>,
    messages: mpsc::Sender<Message>,
    start: Instant,
    specs: HashMap<SlotKey, Arc<SlotSpec>>,
    templates: TemplatesInUse,
    /// The slots that have a cluster.
    slots: HashMap<SlotId, SlotRecord>,
    requests: HashMap<WaiterId, Request>,
    warm_wishes: Vec<WarmWish>,
    stop_idle_wishes: Vec<oneshot::Sender<()>>,
    tasks: JoinSet<()>,
    counters: Counters,
    metrics: Arc<Metrics>,
    waits: Waits,
    high_water: HighWaterMark,
    traffic: TrafficLedger,
    releases: VecDeque<ReleaseStatus>,
    timings: Recorder,
    cluster_count: u64,
}

impl Dispatcher {
    pub(super) fn new(parts: DispatcherParts) -> Self {
        let DispatcherParts { limits, budget, booter, templates, lease_files, numbers, timings, metrics, messages } =
            parts;
        Self {
            pool: Pool::new(limits),
            limits,
            memory: budget.map(|budget| MemoryShare::new(budget, &limits)),
            booter: Arc::new(booter),
            lease_files,
            numbers,
            messages,
            start: Instant::now(),
            specs: HashMap::new(),
            templates: TemplatesInUse::new(templates),
            slots: HashMap::new(),
            requests: HashMap::new(),
            warm_wishes: Vec::new(),
            stop_idle_wishes: Vec::new(),
            tasks: JoinSet::new(),
            counters: Counters::default(),
            waits: Waits::new(Arc::clone(&metrics)),
            metrics,
            high_water: HighWaterMark::default(),
            traffic: TrafficLedger::default(),
            releases: VecDeque::new(),
            timings,
            cluster_count: 0,
        }
    }

    /// Takes one message. Waits for nothing.
    pub(super) fn handle(&mut self, message: Message) {
        while self.tasks.try_join_next().is_some() {}
        match message {
            Message::Acquire { waiter, client, key, spec, template, timeout_ms, asker, reply } => {
                self.timings.asked(waiter, asker);
                self.specs.insert(key.clone(), spec);
                let template = template.map(|template| self.templates.add(&self.pool, &key, template));
                self.requests.insert(waiter, Request::Waiting(reply));
                self.waits.asked(waiter);
                let deadline = self.now().saturating_add(timeout_ms);
                self.feed(Event::Acquire { waiter, client, key, template, deadline });
            }
            Message::Left { waiter } => self.left(waiter),
            Message::Namespace { waiter, news } => self.timings.namespace(waiter, news),
            Message::TakeTemplate { waiter, name, expected, reply } => {
                self.take_template(waiter, name, expected, reply);
            }
            Message::Warm { key, spec, count, asker, reply } => {
                self.timings.asked_warm(&asker);
                self.specs.insert(key.clone(), spec);
                self.warm_wishes.push(WarmWish { key: key.clone(), count: count.min(self.limits.slots_max), reply });
                self.feed(Event::WarmUp { key, count });
            }
            Message::StopIdle { reply } => {
                self.stop_idle_wishes.push(reply);
                self.feed(Event::StopIdle);
            }
            Message::CountWaiting { reply } => {
                // The asker may have gone.
                let _ = reply.send(self.pool.waiting());
            }
            Message::Inspect { reply } => {
                // The asker may have gone.
                let _ = reply.send(self.inspect());
            }
            Message::Timings { reply } => {
                // The asker may have gone.
                let _ = reply.send(self.timings.notes());
            }
            Message::Tick { looks_after } => {
                if looks_after {
                    self.look_after_all();
                }
                self.feed(Event::Tick);
            }
            Message::Report(report) => self.report(report),
        }
        self.answer_wishes();
    }

    /// Returns true if no client has a cluster or waits for one, and none is being prepared.
    pub(super) fn is_idle(&self) -> bool {
        self.pool.is_idle()
    }

    /// Returns true if nothing runs and no client waits, so that time may pass in larger steps.
    pub(super) fn is_at_rest(&self) -> bool {
        self.pool.is_at_rest()
    }

    /// Ends everything. Nothing is left of any cluster but its logs.
    pub(super) async fn shut_down(mut self) {
        self.tasks.shutdown().await;
        let mut remains: Vec<_> = self.slots.into_values().map(SlotRecord::into_remains).collect();
        futures::future::join_all(remains.iter_mut().map(Remains::close)).await;
        futures::future::join_all(remains.iter().map(Remains::destroy)).await;
        // A boot or a restart that was cut short has killed its processes, but not waited for their end.
        self.booter.provider.wait_all_ended().await;
        self.timings.finish();
    }

    /// Passes an event to the pool, once the pool has heard how much memory there is for it.
    fn feed(&mut self, event: Event) {
        if self.share_memory(&event) {
            self.tell(event);
        }
    }

    fn tell(&mut self, event: Event) {
        let actions = self.pool.handle(event, self.now());
        self.high_water.note(&self.pool);
        self.timings.note(&self.pool);
        for action in actions {
            self.carry_out(action);
        }
    }

    fn carry_out(&mut self, action: Action) {
        match action {
            Action::Boot { slot, key } => self.boot(slot, &key),
            Action::Start { slot } => {
                let metrics = Arc::clone(&self.metrics);
                self.with_handle(slot, async move |handle| {
                    let result = timed(&metrics, StartedFrom::Stopped, handle.start()).await;
                    TaskReport::Restarted { slot, result }
                })
            }
            Action::Thaw { slot } => {
                let metrics = Arc::clone(&self.metrics);
                self.with_handle(slot, async move |handle| {
                    let result = timed(&metrics, StartedFrom::Frozen, handle.thaw()).await;
                    TaskReport::Thawed { slot, result }
                })
            }
            Action::HandOut { slot, waiter, layer } => {
                let from = self.count_hit(slot, layer);
                self.waits.chosen(waiter, from);
                self.stop_following(slot);
                self.with_handle(slot, async move |handle| TaskReport::Opened {
                    slot,
                    waiter,
                    result: handle.open_gateway().await,
                });
            }
            Action::Rewind { slot, template } => self.rewind(slot, template),
            Action::Freeze { slot } => {
                self.with_handle(slot, async move |handle| TaskReport::Frozen { slot, result: handle.freeze().await })
            }
            Action::Stop { slot } => {
                // Its requests would get no answer, which is no fault of the cluster.
                self.stop_following(slot);
                self.with_handle(slot, async move |handle| TaskReport::Stopped { slot, result: handle.stop().await })
            }
            Action::Destroy { slot, cause } => self.destroy(slot, cause),
            Action::Refuse { waiter, refusal } => {
                let Refusal { kind, message } = to_refusal(refusal);
                self.refuse(waiter, kind, message);
            }
        }
    }

    fn refuse(&mut self, waiter: WaiterId, kind: RefusalKind, message: String) {
        self.timings.left(waiter, TimingOutcome::Refused);
        if let Some(Request::Waiting(reply)) = self.requests.remove(&waiter) {
            self.waits.refused(waiter, kind);
            // The client may have gone.
            let _ = reply.send(Err(Refusal { kind, message }));
        }
    }

    fn boot(&mut self, slot: SlotId, key: &SlotKey) {
        let Some(spec) = self.specs.get(key).cloned() else {
            tracing::error!(?key, "bug: the pool wants a cluster of a kind that was never asked for");
            return;
        };
        self.cluster_count += 1;
        let name = cluster_name(std::process::id(), self.cluster_count);
        let booter = Arc::clone(&self.booter);
        let metrics = Arc::clone(&self.metrics);
        self.spawn(async move {
            let start = Instant::now();
            let result = booter.boot(name, &spec).await.map(Arc::new);
            match &result {
                Ok(handle) if handle.is_from_snapshot() => metrics.started(StartedFrom::Snapshot, start.elapsed()),
                Ok(_) => metrics.started(StartedFrom::Nothing, start.elapsed()),
                Err(_) => metrics.start_failed(StartedFrom::Nothing),
            }
            TaskReport::Booted { slot, result }
        });
    }

    fn destroy(&mut self, slot: SlotId, cause: DestroyCause) {
        tracing::debug!(?slot, ?cause, "a cluster is removed");
        self.metrics.evicted(cause);
        let remains = self.slots.remove(&slot).map(SlotRecord::into_remains);
        if let Some(lease) = remains.as_ref().and_then(|remains| remains.lease.as_ref()) {
            self.requests.remove(&lease.waiter);
        }
        self.spawn(async move {
            if let Some(mut remains) = remains {
                remains.close().await;
                remains.destroy().await;
            }
            TaskReport::Destroyed { slot }
        });
    }

    fn count_hit(&mut self, slot: SlotId, layer: Layer) -> ServedFrom {
        let hits = &mut self.counters.hits;
        let is_from_snapshot = self.slots.get(&slot).is_some_and(|record| record.handle.is_from_snapshot());
        let from = ServedFrom::new(layer, is_from_snapshot);
        let count = match from {
            ServedFrom::Ready => &mut hits.ready,
            ServedFrom::Rewound => &mut hits.rewound,
            ServedFrom::OtherTemplate => &mut hits.other_template,
            ServedFrom::Frozen => &mut hits.frozen,
            ServedFrom::Stopped => &mut hits.stopped,
            ServedFrom::Snapshot => &mut hits.snapshot,
            ServedFrom::Bootstrapped => &mut hits.bootstrapped,
        };
        *count += 1;
        self.timings.handed_out(slot, from);
        from
    }

    fn answer_wishes(&mut self) {
        let pool = &self.pool;
        let kept = std::mem::take(&mut self.warm_wishes).into_iter().filter_map(|wish| {
            let is_ready = pool.running(&wish.key) >= wish.count;
            let result = match (is_ready, pool.is_warming(&wish.key)) {
                (true, _) => Ok(()),
                (false, true) => return Some(wish),
                (false, false) => Err(Refusal {
                    kind: RefusalKind::Engine,
                    message: format!("only {} of {} clusters could be booted", pool.running(&wish.key), wish.count),
                }),
            };
            let _ = wish.reply.send(result);
            None
        });
        self.warm_wishes = kept.collect();
        let is_stopping = pool.slots().any(|(_, state)| state == crate::pool::SlotState::Stopping);
        if !is_stopping {
            for wish in self.stop_idle_wishes.drain(..) {
                let _ = wish.send(());
            }
        }
    }

    fn inspect(&self) -> Inspection {
        self.metrics.looked_at_breakers(self.pool.breaker_counts(self.now()));
        let slots = self.pool.slots().map(|(slot, state)| {
            let record = self.slots.get(&slot);
            InspectedSlot {
                slot,
                state: state.name(),
                handle: record.map(|record| Arc::clone(&record.handle)),
                lease: record.and_then(SlotRecord::lease_status),
            }
        });
        Inspection {
            slots: slots.collect(),
            waiting: self.pool.waiting(),
            counters: self.counters,
            high_water: self.high_water.with_bounds(&self.limits, &self.booter.provider.capabilities()),
            traffic: self.traffic.total(),
            releases: self.releases.iter().cloned().collect(),
        }
    }

    fn handle_of(&self, slot: SlotId) -> Option<Arc<SlotHandle>> {
        self.slots.get(&slot).map(|record| Arc::clone(&record.handle))
    }

    /// Ends the wait for events that no lease waits for.
    fn stop_following(&mut self, slot: SlotId) {
        if let Some(record) = self.slots.get_mut(&slot) {
            record.stop_following();
        }
    }

    fn with_handle<Work>(&mut self, slot: SlotId, work: impl FnOnce(Arc<SlotHandle>) -> Work)
    where
        Work: Future<Output = TaskReport> + Send + 'static,
    {
        match self.handle_of(slot) {
            Some(handle) => self.spawn(work(handle)),
            None => self.spawn(async move { TaskReport::Died { slot, reason: "it has no cluster".to_owned() } }),
        };
    }

    fn spawn(&mut self, work: impl Future<Output = TaskReport> + Send + 'static) -> AbortHandle {
        let messages = self.messages.clone();
        self.tasks.spawn(async move {
            let report = work.await;
            // Fails only when the engine is ending.
            let _ = messages.send(Message::Report(report)).await;
        })
    }

    fn now(&self) -> TimeMs {
        TimeMs::try_from(self.start.elapsed().as_millis()).unwrap_or(TimeMs::MAX)
    }
}

/// Measures how long a cluster takes to become ready.
async fn timed(
    metrics: &Metrics,
    from: StartedFrom,
    starting: impl Future<Output = Result<(), SlotError>>,
) -> Result<(), SlotError> {
    let start = Instant::now();
    let result = starting.await;
    match &result {
        Ok(()) => metrics.started(from, start.elapsed()),
        Err(_) => metrics.start_failed(from),
    }
    result
}

fn milliseconds(duration: Duration) -> f64 {
    duration.as_secs_f64() * 1e3
}
