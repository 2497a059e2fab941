//! The reports of the dispatcher's tasks.

use std::time::Instant;

use super::slot_record::SlotRecord;
use super::{Dispatcher, RELEASES_KEPT, milliseconds};
use crate::daemon::message::TaskReport;
use crate::daemon::metrics::Verification;
use crate::daemon::slot::{SlotError, SlotSize};
use crate::error_text::with_causes;
use crate::pool::{Event, SlotId};
use crate::protocol::ReleaseStatus;
use crate::rewind::RewindReport;

impl Dispatcher {
    pub(super) fn report(&mut self, report: TaskReport) {
        match report {
            TaskReport::Booted { slot, result: Ok(handle) } => {
                self.counters.boots += 1;
                self.timings.booted(slot, handle.name(), handle.kubernetes());
                let watcher = self.watch(slot, &handle);
                self.slots.insert(slot, SlotRecord::new(handle, watcher));
                self.follow_up(slot, None, Instant::now());
                self.feed(Event::Started { slot });
                self.keep_warm(slot);
            }
            TaskReport::Booted { slot, result: Err(error) } => {
                tracing::error!(error = with_causes(&error), "a boot failed");
                let is_user_error = error.is_user_error();
                self.start_failed(slot, with_causes(&error), is_user_error);
            }
            TaskReport::Restarted { slot, result: Ok(()) } => {
                self.counters.starts += 1;
                self.follow_up(slot, None, Instant::now());
                self.feed(Event::Started { slot });
                self.keep_warm(slot);
            }
            TaskReport::Restarted { slot, result: Err(error) } => {
                tracing::error!(error = with_causes(&error), "a stopped cluster did not start");
                self.counters.broken += 1;
                if let Some(remains) = self.slots.remove(&slot).map(SlotRecord::into_remains) {
                    self.tasks.spawn(async move { remains.destroy().await });
                }
                self.start_failed(slot, with_causes(&error), false);
            }
            TaskReport::Thawed { slot, result: Ok(()) } => {
                self.counters.thaws += 1;
                self.feed(Event::Started { slot });
                self.keep_warm(slot);
            }
            TaskReport::Opened { slot, waiter, result, proof } => self.opened(slot, waiter, result, proof),
            TaskReport::Proven { late_writes } => self.counters.late_writes += late_writes,
            TaskReport::Rewound { slot, result } => self.rewound(slot, result),
            TaskReport::OpenApiFollowed { slot, lease, lag_ms } => {
                if let Some(release) = self.releases.iter_mut().find(|release| Some(release.lease) == lease) {
                    release.openapi_lag_ms = Some(lag_ms);
                }
                self.feed(Event::Settled { slot });
                // People want to see the size of a new cluster before the clusters are next looked after.
                if self.slots.get(&slot).is_some_and(|record| record.handle.memory_bytes() == 0) {
                    self.measure(slot);
                }
            }
            TaskReport::TemplateTaken { slot, result, reply } => self.template_taken(slot, result, reply),
            TaskReport::Frozen { slot, result: Ok(()) } => {
                self.counters.freezes += 1;
                self.feed(Event::Frozen { slot });
            }
            TaskReport::Stopped { slot, result: Ok(()) } => {
                self.metrics.stopped();
                self.feed(Event::Stopped { slot });
            }
            TaskReport::Thawed { slot, result: Err(error) }
            | TaskReport::Frozen { slot, result: Err(error) }
            | TaskReport::Stopped { slot, result: Err(error) } => self.broke(slot, &with_causes(&error)),
            TaskReport::Measured { slot, size: SlotSize { memory_bytes, database_bytes } } => {
                self.feed(Event::Measured { slot, memory_bytes, database_bytes });
            }
            TaskReport::MemoryShared { result } => self.memory_shared(result),
            TaskReport::Destroyed { slot } => self.feed(Event::Destroyed { slot }),
            TaskReport::Died { slot, reason } => self.broke(slot, &reason),
        }
    }

    fn start_failed(&mut self, slot: SlotId, reason: String, is_user_error: bool) {
        let jitter_permille = random_permille();
        self.feed(Event::StartFailed { slot, reason, is_user_error, jitter_permille });
    }

    fn rewound(&mut self, slot: SlotId, result: Result<RewindReport, SlotError>) {
        let report = match result {
            Ok(report) => report,
            Err(error) => {
                let reason = with_causes(&error);
                self.metrics.not_pristine(Verification::Replaced, u64::from(error.is_not_pristine()));
                self.note_template(slot, Some(&reason));
                self.broke(slot, &reason);
                return;
            }
        };
        self.note_template(slot, None);
        self.counters.rewinds += 1;
        self.timings.rewound(slot, report.changed_keys, report.restarted);
        self.metrics.rewound(&report);
        self.counters.api_server_restarts += u64::from(report.restarted);
        let release = self.slots.get_mut(&slot).and_then(|record| record.release.take());
        let lease = release.as_ref().map(|release| release.lease);
        let since = release.as_ref().map_or_else(Instant::now, |release| release.since);
        if let Some(release) = release {
            self.metrics.released(release.since.elapsed());
            let status = ReleaseStatus {
                lease: release.lease,
                changed_keys: report.changed_keys,
                release_ms: milliseconds(release.since.elapsed()),
                openapi_lag_ms: None,
                api_server_restarted: report.restarted,
                traffic: release.network.traffic(),
            };
            tracing::debug!(?status, passes = report.passes, rewind_ms = milliseconds(report.duration), "rewound");
            if self.releases.len() == RELEASES_KEPT {
                self.releases.pop_front();
            }
            self.releases.push_back(status);
        }
        if report.openapi_lags {
            self.follow_up(slot, lease, since);
        }
        self.feed(Event::Rewound { slot, is_settled: !report.openapi_lags });
        self.keep_warm(slot);
        self.forget_history(slot);
    }

    pub(super) fn broke(&mut self, slot: SlotId, reason: &str) {
        if self.slots.contains_key(&slot) {
            tracing::error!(?slot, reason, "a cluster cannot be used any more and is replaced");
            self.counters.broken += 1;
        }
        self.feed(Event::Broke { slot });
    }
}

/// From 0 to 1000. Only has to differ between engines that fail at the same time.
fn random_permille() -> u16 {
    use std::hash::{BuildHasher, Hasher};
    let random = std::collections::hash_map::RandomState::new().build_hasher().finish();
    u16::try_from(random % 1001).unwrap_or_default()
}
