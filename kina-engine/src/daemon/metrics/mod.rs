//! The engine's counters and measurements, as OpenMetrics text.
//!
//! The pool knows nothing of it: its actions, as the dispatcher sees them, and the status tell enough. Nothing is
//! measured before it is asked for, so an engine that is not scraped only pays for a few additions.
//!
//! - `labels`: the labels of the families. No label has values that a user makes up.
//! - `recorder`: events that are counted as they happen.
//! - `waits`: the waits of clients.
//! - `provider`: calls of the provider, from the outside.
//! - `processor_time`: the processor time of processes.
//! - `export`: all metrics as text.
//! - `listener`: the loopback port, if one is asked for.
//!
//! docs/metrics.md describes each family; a test compares.

mod export;
mod labels;
mod listener;
mod processor_time;
mod provider;
mod recorder;
#[cfg(test)]
mod tests;
mod waits;

use std::sync::Arc;

pub(super) use self::labels::{StartedFrom, TemplateFrom, Verification};
pub(super) use self::listener::Listener;
pub(super) use self::provider::MeteredProvider;
pub(super) use self::recorder::Metrics;
pub(super) use self::waits::Waits;

use self::export::Scrape;
use crate::journal::Journal;
use crate::protocol::Status;

/// The sources of the text, beside the engine's state.
pub(super) struct MetricsSource {
    pub(super) metrics: Arc<Metrics>,
    pub(super) journal: Arc<Journal>,
}

impl MetricsSource {
    /// All metrics, as text; `None` if a bug keeps them from being written.
    pub(super) fn text(&self, status: Status) -> Option<String> {
        let Self { metrics, journal } = self;
        let processes = journal.living();
        let orphans = processes.iter().filter(|record| !metrics.has_cluster(&record.cluster)).count();
        let slots = status.slots.iter().map(|slot| (slot.slot, slot.process_ids.as_slice()));
        let processor_seconds = metrics.processor_times().update(slots);
        let engine_seconds = processor_time::seconds_of(status.process_id);
        let scrape = Scrape { metrics: Arc::clone(metrics), status, orphans, processor_seconds, engine_seconds };
        match scrape.text() {
            Ok(text) => Some(text),
            Err(error) => {
                tracing::error!(%error, "bug: the metrics cannot be written");
                None
            }
        }
    }
}
