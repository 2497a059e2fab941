//! The outcomes of actions.

use std::sync::Arc;
use std::time::Instant;

use super::lease::Release;
use super::{Dispatcher, NotTaken, RELEASES_KEPT, TemplateReply, destroy, milliseconds};
use crate::daemon::boot::BootError;
use crate::daemon::metrics::Verification;
use crate::daemon::slot::{SlotError, SlotHandle, SlotSize};
use crate::error_text::with_causes;
use crate::gateway::{Admission, GatewayCredentials, GatewayError, OpenGateway};
use crate::pool::{Event, SlotId, WaiterId};
use crate::protocol::ReleaseStatus;
use crate::rewind::{RewindReport, Template};

/// The outcome of an action.
pub(crate) enum Outcome {
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
    },
    Proven {
        late_writes: u64,
    },
    Rewound {
        slot: SlotId,
        release: Option<Release>,
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

impl Dispatcher {
    pub(super) fn outcome(&mut self, outcome: Outcome) {
        match outcome {
            Outcome::Booted { slot, result: Ok(handle) } => {
                self.counters.boots += 1;
                self.timings.booted(slot, handle.name(), handle.kubernetes());
                self.watch(slot, &handle);
                self.handles.insert(slot, handle);
                self.follow_up(slot, None, Instant::now());
                self.feed(Event::Started { slot });
                self.keep_warm(slot);
            }
            Outcome::Booted { slot, result: Err(error) } => {
                tracing::error!(error = with_causes(&error), "a boot failed");
                let is_user_error = error.is_user_error();
                self.start_failed(slot, with_causes(&error), is_user_error);
            }
            Outcome::Restarted { slot, result: Ok(()) } => {
                self.counters.starts += 1;
                self.follow_up(slot, None, Instant::now());
                self.feed(Event::Started { slot });
                self.keep_warm(slot);
            }
            Outcome::Restarted { slot, result: Err(error) } => {
                tracing::error!(error = with_causes(&error), "a stopped cluster did not start");
                self.counters.broken += 1;
                if let Some(handle) = self.forget(slot) {
                    self.tasks.spawn(async move { destroy(&handle).await });
                }
                self.start_failed(slot, with_causes(&error), false);
            }
            Outcome::Thawed { slot, result: Ok(()) } => {
                self.counters.thaws += 1;
                self.feed(Event::Started { slot });
                self.keep_warm(slot);
            }
            Outcome::Opened { slot, waiter, result } => self.opened(slot, waiter, result),
            Outcome::Proven { late_writes } => self.counters.late_writes += late_writes,
            Outcome::Rewound { slot, release, result } => self.rewound(slot, release, result),
            Outcome::OpenApiFollowed { slot, lease, lag_ms } => {
                self.followers.remove(&slot);
                if let Some(release) = self.releases.iter_mut().find(|release| Some(release.lease) == lease) {
                    release.openapi_lag_ms = Some(lag_ms);
                }
                self.feed(Event::Settled { slot });
                // People want to see the size of a new cluster before the clusters are next looked after.
                if self.handles.get(&slot).is_some_and(|handle| handle.memory_bytes() == 0) {
                    self.measure(slot);
                }
            }
            Outcome::TemplateTaken { slot, result, reply } => self.template_taken(slot, result, reply),
            Outcome::Frozen { slot, result: Ok(()) } => {
                self.counters.freezes += 1;
                self.feed(Event::Frozen { slot });
            }
            Outcome::Stopped { slot, result: Ok(()) } => {
                self.metrics.stopped();
                self.feed(Event::Stopped { slot });
            }
            Outcome::Thawed { slot, result: Err(error) }
            | Outcome::Frozen { slot, result: Err(error) }
            | Outcome::Stopped { slot, result: Err(error) } => self.broke(slot, &with_causes(&error)),
            Outcome::Measured { slot, size: SlotSize { memory_bytes, database_bytes } } => {
                self.feed(Event::Measured { slot, memory_bytes, database_bytes });
            }
            Outcome::MemoryShared { result } => self.memory_shared(result),
            Outcome::Destroyed { slot } => self.feed(Event::Destroyed { slot }),
            Outcome::Died { slot, reason } => self.broke(slot, &reason),
        }
    }

    fn start_failed(&mut self, slot: SlotId, reason: String, is_user_error: bool) {
        let jitter_permille = random_permille();
        self.feed(Event::StartFailed { slot, reason, is_user_error, jitter_permille });
    }

    fn rewound(&mut self, slot: SlotId, release: Option<Release>, result: Result<RewindReport, SlotError>) {
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
        if self.handles.contains_key(&slot) {
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
