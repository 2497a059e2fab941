//! Events that are counted as they happen.

use std::collections::BTreeSet;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::histogram::Histogram;

use super::labels::{KeyCount, Labelled, ProviderCall, StartedFrom, TemplateFrom, Verification};
use super::processor_time::ProcessorTimes;
use crate::pool::{BreakerCounts, DestroyCause};
use crate::protocol::RefusalKind;
use crate::rewind::RewindReport;
use crate::timings::ServedFrom;

/// From a hand-out to the longest waits. The budgets are among them: 5, 25 and 30 ms, 1 and 5 s.
const WAIT_SECONDS: [f64; 16] =
    [0.001, 0.0025, 0.005, 0.01, 0.025, 0.03, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0];
/// The budgets are 15 ms for 250 keys and 150 ms for 5,000.
const REWIND_SECONDS: [f64; 14] =
    [0.001, 0.0025, 0.005, 0.01, 0.015, 0.025, 0.05, 0.1, 0.15, 0.25, 0.5, 1.0, 2.5, 10.0];
const REWIND_KEYS: [f64; 8] = [0.0, 1.0, 10.0, 50.0, 250.0, 1000.0, 5000.0, 50000.0];
/// Rougher, because there are so many of them.
const CALL_SECONDS: [f64; 6] = [0.001, 0.01, 0.1, 1.0, 10.0, 60.0];

/// All counters of events. The task that knows of an event reports it here.
#[derive(Debug)]
pub(in crate::daemon) struct Metrics {
    pub(super) acquire: Labelled<ServedFrom, Histogram>,
    pub(super) queue_wait: Histogram,
    pub(super) refusals: Labelled<RefusalKind, Counter>,
    pub(super) starts: Labelled<StartedFrom, Histogram>,
    pub(super) start_failures: Labelled<StartedFrom, Counter>,
    pub(super) stops: Counter,
    pub(super) evictions: Labelled<DestroyCause, Counter>,
    pub(super) rewind_keys: Histogram,
    pub(super) rewinds: Labelled<KeyCount, Histogram>,
    pub(super) releases: Histogram,
    pub(super) verification_failures: Labelled<Verification, Counter>,
    pub(super) template_lookups: Labelled<TemplateFrom, Counter>,
    pub(super) provider_calls: Labelled<ProviderCall, Histogram>,
    pub(super) provider_errors: Labelled<ProviderCall, Counter>,
    pub(super) orphans_ended: Counter,
    /// The pool's counts when it was last looked at.
    pub(super) breakers: Mutex<BreakerCounts>,
    clusters: Mutex<BTreeSet<String>>,
    processor_times: Mutex<ProcessorTimes>,
}

/// A cluster that the pool has or is about to have, for as long as this lives.
#[derive(Debug)]
pub(super) struct KnownCluster {
    metrics: Arc<Metrics>,
    name: String,
}

impl Default for Metrics {
    fn default() -> Self {
        let waits = || Histogram::new(WAIT_SECONDS);
        Self {
            acquire: Labelled::new(waits),
            queue_wait: waits(),
            refusals: Labelled::new(Counter::default),
            starts: Labelled::new(waits),
            start_failures: Labelled::new(Counter::default),
            stops: Counter::default(),
            evictions: Labelled::new(Counter::default),
            rewind_keys: Histogram::new(REWIND_KEYS),
            rewinds: Labelled::new(|| Histogram::new(REWIND_SECONDS)),
            releases: Histogram::new(REWIND_SECONDS),
            verification_failures: Labelled::new(Counter::default),
            template_lookups: Labelled::new(Counter::default),
            provider_calls: Labelled::new(|| Histogram::new(CALL_SECONDS)),
            provider_errors: Labelled::new(Counter::default),
            orphans_ended: Counter::default(),
            breakers: Mutex::default(),
            clusters: Mutex::default(),
            processor_times: Mutex::default(),
        }
    }
}

impl Metrics {
    /// A lease's cluster is handed over and proven.
    pub(in crate::daemon) fn acquired(&self, from: ServedFrom, waited: Duration) {
        observe(self.acquire.get(from), waited);
    }

    /// A client is no longer in the queue, for any reason.
    pub(super) fn left_queue(&self, waited: Duration) {
        self.queue_wait.observe(waited.as_secs_f64());
    }

    pub(in crate::daemon) fn refused(&self, kind: RefusalKind) {
        count(self.refusals.get(kind), 1);
    }

    pub(in crate::daemon) fn started(&self, from: StartedFrom, took: Duration) {
        observe(self.starts.get(from), took);
    }

    pub(in crate::daemon) fn start_failed(&self, from: StartedFrom) {
        count(self.start_failures.get(from), 1);
    }

    pub(in crate::daemon) fn stopped(&self) {
        self.stops.inc();
    }

    pub(in crate::daemon) fn evicted(&self, cause: DestroyCause) {
        count(self.evictions.get(cause), 1);
    }

    pub(in crate::daemon) fn rewound(&self, report: &RewindReport) {
        self.rewind_keys.observe(f64::from(u32::try_from(report.changed_keys).unwrap_or(u32::MAX)));
        observe(self.rewinds.get(KeyCount::new(report.changed_keys)), report.duration);
    }

    /// A released cluster is ready again.
    pub(in crate::daemon) fn released(&self, took: Duration) {
        self.releases.observe(took.as_secs_f64());
    }

    pub(in crate::daemon) fn not_pristine(&self, outcome: Verification, times: u64) {
        count(self.verification_failures.get(outcome), times);
    }

    pub(in crate::daemon) fn looked_for_template(&self, found: TemplateFrom) {
        count(self.template_lookups.get(found), 1);
    }

    pub(super) fn called_provider(&self, call: ProviderCall, took: Duration, succeeded: bool) {
        observe(self.provider_calls.get(call), took);
        count(self.provider_errors.get(call), u64::from(!succeeded));
    }

    /// Counts the ended processes that had outlived an earlier engine.
    pub(in crate::daemon) fn ended_orphans(&self, processes: usize) {
        self.orphans_ended.inc_by(u64::try_from(processes).unwrap_or(u64::MAX));
    }

    pub(in crate::daemon) fn looked_at_breakers(&self, counts: BreakerCounts) {
        *lock(&self.breakers) = counts;
    }

    /// Returns true if a cluster of that name exists.
    pub(super) fn has_cluster(&self, name: &str) -> bool {
        lock(&self.clusters).contains(name)
    }

    pub(super) fn processor_times(&self) -> MutexGuard<'_, ProcessorTimes> {
        lock(&self.processor_times)
    }
}

impl KnownCluster {
    pub(super) fn new(metrics: &Arc<Metrics>, name: &str) -> Self {
        lock(&metrics.clusters).insert(name.to_owned());
        Self { metrics: Arc::clone(metrics), name: name.to_owned() }
    }
}

impl Drop for KnownCluster {
    fn drop(&mut self) {
        lock(&self.metrics.clusters).remove(&self.name);
    }
}

pub(super) fn lock<Value>(mutex: &Mutex<Value>) -> MutexGuard<'_, Value> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

fn observe(histogram: Option<&Histogram>, duration: Duration) {
    if let Some(histogram) = histogram {
        histogram.observe(duration.as_secs_f64());
    }
}

fn count(counter: Option<&Counter>, times: u64) {
    if let Some(counter) = counter {
        counter.inc_by(times);
    }
}
