//! Feeds the pool with events and carries its actions out.
//!
//! The only owner of the pool and of its resources. Everything that takes time runs as a task, which reports by
//! [`Message`].

mod action;
mod background;
mod lease;
mod memory;
mod refusal;
mod report;
mod slot_record;
mod template;
mod wish;

use std::collections::{HashMap, VecDeque};
use std::sync::Arc;
use std::time::{Duration, Instant};

use futures::future::BoxFuture;
use tokio::task::{AbortHandle, JoinSet};

use self::memory::MemoryShare;
use self::slot_record::{Remains, SlotRecord};
use self::template::TemplatesInUse;
use self::wish::Wishes;
use super::beginnings::Beginnings;
use super::boot::{Booter, SlotSpec};
use super::high_water::HighWaterMark;
use super::lease_files::LeaseFiles;
use super::message::{DispatcherSender, InspectedSlot, Inspection, LeaseReply, Message, TaskReport};
use super::metrics::{Metrics, Waits};
use super::numbers::Numbers;
use super::slot::SlotHandle;
use super::templates::TemplateCache;
use crate::budget::Budget;
use crate::gateway::TrafficLedger;
use crate::pool::{Event, Limits, Pool, SlotId, SlotKey, TimeMs, WaiterId};
use crate::protocol::{Counters, ReleaseStatus};
use crate::timings::Recorder;

/// The number of releases in the status.
const RELEASES_KEPT: usize = 256;
/// A request for a lease.
enum Request {
    /// Its client waits.
    Waiting(LeaseReply),
    /// Its client has a lease on this slot.
    Leased(SlotId),
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
    pub(super) sender: DispatcherSender,
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
    sender: DispatcherSender,
    start: Instant,
    specs: HashMap<SlotKey, Arc<SlotSpec>>,
    templates: TemplatesInUse,
    /// The slots that have a cluster.
    slots: HashMap<SlotId, SlotRecord>,
    requests: HashMap<WaiterId, Request>,
    wishes: Wishes,
    tasks: JoinSet<()>,
    counters: Counters,
    metrics: Arc<Metrics>,
    waits: Waits,
    high_water: HighWaterMark,
    traffic: TrafficLedger,
    releases: VecDeque<ReleaseStatus>,
    timings: Recorder,
    cluster_count: u64,
    beginnings: Beginnings,
}

impl Dispatcher {
    pub(super) fn new(parts: DispatcherParts) -> Self {
        let DispatcherParts { limits, budget, booter, templates, lease_files, numbers, timings, metrics, sender } =
            parts;
        Self {
            pool: Pool::new(limits),
            limits,
            memory: budget.map(|budget| MemoryShare::new(budget, &limits)),
            booter: Arc::new(booter),
            lease_files,
            numbers,
            sender,
            start: Instant::now(),
            specs: HashMap::new(),
            templates: TemplatesInUse::new(templates),
            slots: HashMap::new(),
            requests: HashMap::new(),
            wishes: Wishes::default(),
            tasks: JoinSet::new(),
            counters: Counters::default(),
            waits: Waits::new(Arc::clone(&metrics)),
            metrics,
            high_water: HighWaterMark::default(),
            traffic: TrafficLedger::default(),
            releases: VecDeque::new(),
            timings,
            cluster_count: 0,
            beginnings: Beginnings::default(),
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
                self.warm(key, count, reply);
            }
            Message::StopIdle { reply } => self.stop_idle(reply),
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

    fn spawn(&mut self, work: impl Future<Output = TaskReport> + Send + 'static) -> AbortHandle {
        self.spawn_boxed(Box::pin(work))
    }

    /// All work in one kind of task: each further kind would cost users' builds two thousand lines of machine code.
    fn spawn_boxed(&mut self, work: BoxFuture<'static, TaskReport>) -> AbortHandle {
        let sender = self.sender.clone();
        self.tasks.spawn(async move {
            let report = work.await;
            // Fails only when the engine is ending.
            let _ = sender.tell(Message::Report(report)).await;
        })
    }

    fn now(&self) -> TimeMs {
        TimeMs::try_from(self.start.elapsed().as_millis()).unwrap_or(TimeMs::MAX)
    }
}

fn milliseconds(duration: Duration) -> f64 {
    duration.as_secs_f64() * 1e3
}
