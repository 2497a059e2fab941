use super::TimeMs;
use super::limits::{BreakerLimits, RETRY_PAUSES};

/// Keeps a kind of cluster that does not boot from being tried over and over.
///
/// Closed, it allows everything. Each failure is followed by a pause. After the last allowed failure in a row it opens:
/// nothing is tried for a while. Then it is half open: one boot is tried, and its result decides.
#[derive(Clone, Debug, Default)]
pub(super) struct Breaker {
    failures: u32,
    not_before: TimeMs,
    is_open: bool,
    reason: String,
}

/// The number of kinds of clusters whose last boot failed, by the state of their breaker.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct BreakerCounts {
    /// They are tried again after a pause, and their clients keep waiting.
    pub paused: usize,
    /// They are not tried for a while, and their clients are refused.
    pub open: usize,
    /// One boot of theirs will be tried.
    pub half_open: usize,
}

/// The boots that may be tried.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Permission {
    /// As many as the other bounds allow.
    Any,
    /// One, whose result decides.
    One,
    /// None until the pause ends, and clients keep waiting.
    Paused,
    /// None for a while, and clients are refused.
    Open {
        /// The time of the next try.
        until: TimeMs,
    },
}

impl Breaker {
    pub(super) fn permission(&self, now: TimeMs) -> Permission {
        match (self.not_before <= now, self.is_open) {
            (true, true) => Permission::One,
            (true, false) => Permission::Any,
            (false, true) => Permission::Open { until: self.not_before },
            (false, false) => Permission::Paused,
        }
    }

    /// The last failure.
    pub(super) fn reason(&self) -> &str {
        &self.reason
    }

    /// Records a failure. `jitter_permille` places the pause between half of its length and all of it.
    pub(super) fn failed(&mut self, reason: String, now: TimeMs, jitter_permille: u16, limits: &BreakerLimits) {
        self.failures = self.failures.saturating_add(1);
        self.reason = reason;
        self.is_open = limits.failures_max <= self.failures;
        let pause_ms = if self.is_open {
            limits.open_ms
        } else {
            let index = usize::try_from(self.failures - 1).unwrap_or(usize::MAX).min(RETRY_PAUSES - 1);
            let half_ms = limits.retry_pauses_ms[index] / 2;
            half_ms + half_ms * TimeMs::from(jitter_permille.min(1000)) / 1000
        };
        self.not_before = now.saturating_add(pause_ms);
    }
}
