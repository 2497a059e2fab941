//! What the engine counts and measures, as OpenMetrics text.
//!
//! The pool knows nothing of it: what happens there is seen in its actions, by the dispatcher, and in the status. Nothing
//! is measured ahead of being asked for, so an engine that nobody scrapes only pays for a few additions.
//!
//! - `labels`: what the families are divided by. No label has values that a user makes up.
//! - `recorder`: what is counted while it happens.
//! - `waits`: how long each client has been waiting.
//! - `provider`: calls of the provider, from the outside.
//! - `processor_time`: what processes have used of the processors.
//! - `export`: all of it as text.
//! - `listener`: the loopback port, where one is asked for.
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
use super::connection::Engine;
use crate::journal::Journal;

/// Where the text comes from, beside the engine's state.
pub(super) struct MetricsSource {
    pub(super) metrics: Arc<Metrics>,
    pub(super) journal: Arc<Journal>,
}

/// Everything, as text; `None` when the engine is ending. Takes some milliseconds for each cluster, whose memory is
/// measured.
pub(super) async fn text(engine: &Engine) -> Option<String> {
    let status = engine.status_source.read(&engine.messages, &engine.namespaces, true).await?;
    let MetricsSource { metrics, journal } = &engine.metrics_source;
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
