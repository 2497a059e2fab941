//! Phases in memory, and their conversion to lines.

use std::sync::Arc;
use std::time::Instant;

use super::{EngineLine, Phase, PhaseLine, ServedFrom, TimingLine, WaitEnd};
use crate::pool::SlotId;

/// The length of the beginning of a template's name that distinguishes it from all others.
const TEMPLATE_CHARACTERS_MAX: usize = 12;

/// The recorder's state at one moment. Lines are made from it a few at a time: all of them together would take several
/// times the memory.
pub(crate) struct Notes {
    pub(super) engine: EngineLine,
    pub(super) origin: Origin,
    pub(super) ended: Vec<Record>,
    pub(super) under_way: Vec<Record>,
}

/// The data that a record needs to become a line.
#[derive(Clone, Debug)]
pub(super) struct Origin {
    pub(super) engine: String,
    pub(super) simulated: bool,
    pub(super) start: Instant,
    pub(super) start_unix_us: u64,
}

#[derive(Debug)]
pub(super) struct Cluster {
    pub(super) name: String,
    pub(super) kubernetes: String,
}

/// A phase in compact form.
#[derive(Clone, Debug, Default)]
pub(super) struct Record {
    pub(super) phase: Phase,
    pub(super) served_from: Option<ServedFrom>,
    pub(super) outcome: Option<WaitEnd>,
    pub(super) api_server_restarted: bool,
    pub(super) changed_keys: Option<u32>,
    /// Since the recorder's start.
    pub(super) start_us: u64,
    pub(super) duration_us: u64,
    pub(super) slot: Option<SlotId>,
    pub(super) lease: Option<u64>,
    pub(super) memory_bytes: u64,
    /// The time of the client's request, since the recorder's start.
    pub(super) asked_us: u64,
    /// The time at which the request was granted; with `asked_us` it gives the wait.
    pub(super) granted_us: Option<u64>,
    pub(super) cluster: Option<Arc<Cluster>>,
    pub(super) template: Option<Arc<str>>,
    pub(super) test: Option<Arc<str>>,
}

impl Notes {
    /// Lines for the engine, the phases that have ended, in order, and those under way.
    pub(crate) fn lines(&self) -> impl Iterator<Item = TimingLine> {
        let ended = self.ended.iter().map(|record| self.origin.line(record, true));
        let under_way = self.under_way.iter().map(|record| self.origin.line(record, false));
        let phases = ended.chain(under_way).map(TimingLine::Phase);
        std::iter::once(TimingLine::Engine(self.engine.clone())).chain(phases)
    }
}

impl Origin {
    pub(super) fn line(&self, record: &Record, has_ended: bool) -> PhaseLine {
        let cluster = record.cluster.as_deref();
        let short = |template: &Arc<str>| template.chars().take(TEMPLATE_CHARACTERS_MAX).collect();
        PhaseLine {
            engine: self.engine.clone(),
            phase: record.phase,
            start_unix_ms: self.unix_ms(record.start_us),
            duration_ms: has_ended.then(|| milliseconds(record.duration_us)),
            slot: record.slot.map(|slot| slot.0),
            cluster: cluster.map(|cluster| cluster.name.clone()),
            kubernetes: cluster.map(|cluster| cluster.kubernetes.clone()),
            memory_bytes: record.memory_bytes,
            test: record.test.as_deref().map(str::to_owned),
            lease: record.lease,
            wait_ms: record.granted_us.map(|granted_us| milliseconds(granted_us.saturating_sub(record.asked_us))),
            served_from: record.served_from,
            template: record.template.as_ref().map(short),
            changed_keys: record.changed_keys.map(u64::from),
            api_server_restarted: record.api_server_restarted,
            outcome: record.outcome,
            simulated: self.simulated,
        }
    }

    pub(super) fn since_start_us(&self, moment: Instant) -> u64 {
        u64::try_from(moment.saturating_duration_since(self.start).as_micros()).unwrap_or(u64::MAX)
    }

    pub(super) fn unix_ms(&self, since_start_us: u64) -> f64 {
        milliseconds(self.start_unix_us.saturating_add(since_start_us))
    }
}

/// Exact to the microsecond, so that consecutive phases are consecutive in the log as well.
pub(super) fn milliseconds(microseconds: u64) -> f64 {
    microseconds as f64 / 1e3
}
