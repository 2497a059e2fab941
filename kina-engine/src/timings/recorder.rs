//! Records the states of slots after each event that the pool has handled.

use std::collections::{BTreeMap, HashMap, VecDeque};
use std::path::Path;
use std::sync::Arc;
use std::time::{Instant, SystemTime};

use super::log::Logs;
use super::record::{Cluster, Notes, Origin, Record, milliseconds};
use super::{EngineLine, Phase, ServedFrom, TimingLine, WaitEnd};
use crate::pool::{Pool, SlotId, SlotState, WaiterId};

/// The number of phases that are kept: about half a megabyte, and two thousand leases.
pub(super) const PHASES_MAX: usize = 4096;
/// The largest length of a test's name; longer ones are cut.
const NAME_CHARACTERS_MAX: usize = 300;

/// The origin of a request for a cluster.
#[derive(Clone, Debug)]
pub(crate) struct Asker {
    test: Arc<str>,
    asked_at: Instant,
    log: Option<Arc<Path>>,
    /// Set if it is a client, and not a part of the engine.
    is_client: bool,
}

/// A step of a request for a namespace. The pool does not know of those.
#[derive(Clone, Debug)]
pub(crate) enum NamespaceNews {
    /// The request has arrived.
    Asked(Asker),
    /// The client has its namespace.
    Granted { lease: u64, cluster: String },
    /// The client has left, or was refused.
    Left(WaitEnd),
}

/// The latest phases, and those under way.
pub(crate) struct Recorder {
    engine: EngineLine,
    origin: Origin,
    ended: VecDeque<Record>,
    forgotten: u64,
    under_way: BTreeMap<SlotId, UnderWay>,
    clusters: BTreeMap<SlotId, Arc<Cluster>>,
    waiting: HashMap<WaiterId, Asker>,
    namespaces: HashMap<WaiterId, Record>,
    logs: Logs,
}

struct UnderWay {
    state: SlotState,
    record: Record,
}

impl Asker {
    /// A client whose request for a cluster has just arrived, and the file that is to tell of it.
    pub(crate) fn client(test: &str, log: Option<&Path>) -> Self {
        let test = test.chars().take(NAME_CHARACTERS_MAX).collect::<String>();
        Self { test: test.into(), asked_at: Instant::now(), log: log.map(Arc::from), is_client: true }
    }

    /// A part of the engine.
    pub(crate) fn internal(what: &str) -> Self {
        Self { test: what.into(), asked_at: Instant::now(), log: None, is_client: false }
    }
}

impl Recorder {
    /// A recorder for an engine that starts now.
    pub(crate) fn new(mut engine: EngineLine) -> Self {
        let since_1970 = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
        let start_unix_us = u64::try_from(since_1970.as_micros()).unwrap_or_default();
        engine.start_unix_ms = milliseconds(start_unix_us);
        engine.engine = format!("{}-{}-{}", engine.provider, std::process::id(), since_1970.as_secs());
        let (name, simulated) = (engine.engine.clone(), engine.simulated);
        Self {
            engine,
            origin: Origin { engine: name, simulated, start: Instant::now(), start_unix_us },
            ended: VecDeque::new(),
            forgotten: 0,
            under_way: BTreeMap::new(),
            clusters: BTreeMap::new(),
            waiting: HashMap::new(),
            namespaces: HashMap::new(),
            logs: Logs::default(),
        }
    }

    /// Records a request for a cluster.
    pub(crate) fn asked(&mut self, waiter: WaiterId, asker: Asker) {
        if asker.is_client {
            self.logs.asked(waiter, asker.log.as_ref(), &self.engine);
        }
        self.waiting.insert(waiter, asker);
    }

    /// Records a warm-up request.
    pub(crate) fn asked_warm(&mut self, asker: &Asker) {
        if let Some(log) = &asker.log {
            self.logs.touched(log, &self.engine);
        }
    }

    /// Records the changes of slots after the pool has handled an event.
    pub(crate) fn note(&mut self, pool: &Pool) {
        let now = Instant::now();
        let mut slot_count = 0;
        for (slot, state) in pool.slots() {
            slot_count += 1;
            let memory_bytes = pool.slot_memory_bytes(slot);
            match self.under_way.get_mut(&slot) {
                Some(under_way) if under_way.state == state => under_way.record.memory_bytes = memory_bytes,
                _ => self.enter(pool, slot, state, memory_bytes, now),
            }
        }
        if slot_count < self.under_way.len() {
            let gone: Vec<_> = self.under_way.keys().filter(|slot| pool.key(**slot).is_none()).copied().collect();
            for slot in gone {
                self.leave(slot, now);
                self.clusters.remove(&slot);
            }
        }
    }

    /// Records that a slot has a cluster.
    pub(crate) fn booted(&mut self, slot: SlotId, cluster: &str, kubernetes: &str) {
        let cluster = Arc::new(Cluster { name: cluster.to_owned(), kubernetes: kubernetes.to_owned() });
        if let Some(under_way) = self.under_way.get_mut(&slot) {
            under_way.record.cluster = Some(Arc::clone(&cluster));
        }
        self.clusters.insert(slot, cluster);
    }

    /// Records that a slot is handed out.
    pub(crate) fn handed_out(&mut self, slot: SlotId, served_from: ServedFrom) {
        if let Some(under_way) = self.under_way.get_mut(&slot) {
            under_way.record.served_from = Some(served_from);
        }
    }

    /// Records that the client has its lease.
    pub(crate) fn granted(&mut self, slot: SlotId, lease: u64) {
        let now_us = self.origin.since_start_us(Instant::now());
        if let Some(under_way) = self.under_way.get_mut(&slot) {
            under_way.record.lease = Some(lease);
            under_way.record.granted_us = Some(now_us);
        }
    }

    /// Records that a slot was rewound.
    pub(crate) fn rewound(&mut self, slot: SlotId, changed_keys: usize, api_server_restarted: bool) {
        if let Some(under_way) = self.under_way.get_mut(&slot) {
            under_way.record.changed_keys = Some(u32::try_from(changed_keys).unwrap_or(u32::MAX));
            under_way.record.api_server_restarted = api_server_restarted;
        }
    }

    /// Records the end of a client's lease, or of its wait without a lease.
    pub(crate) fn left(&mut self, waiter: WaiterId, outcome: WaitEnd) {
        if let Some(asker) = self.waiting.remove(&waiter) {
            let start_us = self.origin.since_start_us(asker.asked_at);
            let test = Some(asker.test);
            let record = Record { phase: Phase::Waiting, outcome: Some(outcome), start_us, test, ..Record::default() };
            self.push_ended(record, Instant::now());
        }
        self.logs.left(waiter);
    }

    /// Records a step of a request for a namespace.
    pub(crate) fn namespace(&mut self, waiter: WaiterId, news: NamespaceNews) {
        match news {
            NamespaceNews::Asked(asker) => self.asked(waiter, asker),
            NamespaceNews::Granted { lease, cluster } => {
                let Some(asker) = self.waiting.remove(&waiter) else { return };
                let found = self.clusters.iter().find(|(_, known)| known.name == cluster);
                let start_us = self.origin.since_start_us(Instant::now());
                let record = Record {
                    phase: Phase::Namespace,
                    start_us,
                    slot: found.map(|(slot, _)| *slot),
                    cluster: found.map(|(_, cluster)| Arc::clone(cluster)),
                    lease: Some(lease),
                    asked_us: self.origin.since_start_us(asker.asked_at),
                    granted_us: Some(start_us),
                    test: Some(asker.test),
                    ..Record::default()
                };
                self.namespaces.insert(waiter, record);
            }
            NamespaceNews::Left(outcome) => {
                if let Some(record) = self.namespaces.remove(&waiter) {
                    self.push_ended(record, Instant::now());
                }
                self.left(waiter, outcome);
            }
        }
    }

    /// The phases that are kept, and those under way.
    pub(crate) fn notes(&self) -> Notes {
        let now_us = self.origin.since_start_us(Instant::now());
        let mut engine = self.engine.clone();
        engine.forgotten_phases = self.forgotten;
        engine.asked_unix_ms = Some(self.origin.unix_ms(now_us));
        let of_slots = self.under_way.values().map(|under_way| under_way.record.clone());
        let waiting = self.waiting.values().map(|asker| {
            let start_us = self.origin.since_start_us(asker.asked_at);
            Record { start_us, test: Some(Arc::clone(&asker.test)), ..Record::default() }
        });
        Notes {
            engine,
            origin: self.origin.clone(),
            ended: self.ended.iter().cloned().collect(),
            under_way: of_slots.chain(self.namespaces.values().cloned()).chain(waiting).collect(),
        }
    }

    /// Ends all phases under way, because the engine ends.
    pub(crate) fn finish(&mut self) {
        let now = Instant::now();
        let slots: Vec<_> = self.under_way.keys().copied().collect();
        for slot in slots {
            self.leave(slot, now);
        }
        let namespaces: Vec<_> = self.namespaces.drain().map(|(_, record)| record).collect();
        for record in namespaces {
            self.push_ended(record, now);
        }
        self.logs.finish();
    }

    fn enter(&mut self, pool: &Pool, slot: SlotId, state: SlotState, memory_bytes: u64, now: Instant) {
        let before = self.leave(slot, now);
        let mut record = Record {
            phase: phase_of(state),
            start_us: self.origin.since_start_us(now),
            slot: Some(slot),
            memory_bytes,
            cluster: self.clusters.get(&slot).cloned(),
            template: pool.template(slot).map(|template| Arc::clone(&template.0)),
            ..Record::default()
        };
        match state {
            SlotState::Leased(waiter) => {
                if let Some(asker) = self.waiting.remove(&waiter) {
                    record.asked_us = self.origin.since_start_us(asker.asked_at);
                    record.test = Some(asker.test);
                }
            }
            // This phase is a consequence of the lease before it.
            SlotState::Released | SlotState::Rewinding | SlotState::Broken => {
                let before = before.filter(|before| matches!(before.phase, Phase::Leased | Phase::Released));
                (record.lease, record.test) = before.map_or((None, None), |before| (before.lease, before.test));
            }
            _ => {}
        }
        self.under_way.insert(slot, UnderWay { state, record });
    }

    fn leave(&mut self, slot: SlotId, now: Instant) -> Option<Record> {
        let record = self.under_way.remove(&slot)?.record;
        self.push_ended(record.clone(), now);
        Some(record)
    }

    fn push_ended(&mut self, mut record: Record, now: Instant) {
        record.duration_us = self.origin.since_start_us(now).saturating_sub(record.start_us);
        self.push(record);
    }

    fn push(&mut self, record: Record) {
        if self.logs.are_wanted() {
            self.logs.append(&TimingLine::Phase(self.origin.line(&record, true)));
        }
        if self.ended.len() == PHASES_MAX {
            self.ended.pop_front();
            self.forgotten += 1;
        }
        self.ended.push_back(record);
    }
}

fn phase_of(state: SlotState) -> Phase {
    match state {
        SlotState::Booting => Phase::Booting,
        SlotState::Ready => Phase::Ready,
        SlotState::Leased(_) => Phase::Leased,
        SlotState::Released => Phase::Released,
        SlotState::Rewinding => Phase::Rewinding,
        SlotState::Freezing => Phase::Freezing,
        SlotState::Frozen => Phase::Frozen,
        SlotState::Thawing => Phase::Thawing,
        SlotState::Stopping => Phase::Stopping,
        SlotState::Stopped => Phase::Stopped,
        SlotState::Starting => Phase::Starting,
        SlotState::Broken => Phase::Broken,
    }
}
