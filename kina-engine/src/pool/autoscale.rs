use std::collections::VecDeque;

use super::TimeMs;
use super::limits::ScaleLimits;

/// The number of parts that the longer window is divided into. Bounds the size of a history.
const BUCKETS: TimeMs = 32;

/// The recent demand for one kind.
#[derive(Clone, Debug, Default)]
pub(super) struct DemandHistory {
    /// Oldest first. Each is valid from its time until that of the next.
    samples: VecDeque<Sample>,
}

#[derive(Clone, Copy, Debug)]
struct Sample {
    since: TimeMs,
    /// Lowest and highest desired number during this sample.
    lowest: usize,
    highest: usize,
}

impl DemandHistory {
    /// Records the current demand: the clusters in use and the waiting clients.
    pub(super) fn observe(&mut self, wanted: usize, now: TimeMs, limits: &ScaleLimits) {
        let percent = limits.target_utilisation_percent.clamp(1, 100);
        let desired = wanted.saturating_mul(100).div_ceil(percent);
        let window_ms = limits.up_window_ms.max(limits.down_window_ms);
        let bucket_ms = (window_ms / BUCKETS).max(1);
        match self.samples.back_mut() {
            Some(sample) if now.saturating_sub(sample.since) < bucket_ms => {
                sample.lowest = sample.lowest.min(desired);
                sample.highest = sample.highest.max(desired);
            }
            Some(sample) if (sample.lowest, sample.highest) == (desired, desired) => {}
            _ => self.samples.push_back(Sample { since: now, lowest: desired, highest: desired }),
        }
        // The last sample that began before the window is still valid at the window's beginning.
        while self.samples.get(1).is_some_and(|second| second.since <= now.saturating_sub(window_ms)) {
            self.samples.pop_front();
        }
    }

    /// The number of clusters to have, given that there are `current`: growth goes no higher than the lowest demand in
    /// the window for growing, shrinking no lower than the highest demand in the window for shrinking.
    pub(super) fn stabilised(&self, current: usize, now: TimeMs, limits: &ScaleLimits) -> usize {
        let up = self.values_in(now, limits.up_window_ms).map(|(lowest, _)| lowest).min().unwrap_or(0);
        let down = self.values_in(now, limits.down_window_ms).map(|(_, highest)| highest).max().unwrap_or(0);
        current.clamp(up.min(down), down.max(up))
    }

    /// Returns true if there has been no demand for so long that the history can be dropped.
    pub(super) fn is_over(&self, now: TimeMs, limits: &ScaleLimits) -> bool {
        let window_ms = limits.up_window_ms.max(limits.down_window_ms);
        self.values_in(now, window_ms).all(|(_, highest)| highest == 0)
    }

    /// Lowest and highest value of each sample that reaches into the window. Before the first sample there was no
    /// demand.
    fn values_in(&self, now: TimeMs, window_ms: TimeMs) -> impl Iterator<Item = (usize, usize)> + '_ {
        let start = now.saturating_sub(window_ms);
        let before = self.samples.front().is_none_or(|first| start < first.since).then_some((0, 0));
        let ends = self.samples.iter().skip(1).map(|next| next.since).chain([TimeMs::MAX]);
        let reaching = self.samples.iter().zip(ends).filter(move |(_, end)| start < *end);
        // Any value of a sample that began before the window may reach into it.
        before.into_iter().chain(reaching.map(|(sample, _)| (sample.lowest, sample.highest)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const LIMITS: ScaleLimits =
        ScaleLimits { target_utilisation_percent: 70, up_window_ms: 1_000, down_window_ms: 60_000 };

    #[test]
    fn a_rise_counts_once_it_has_lasted() {
        let mut history = DemandHistory::default();
        history.observe(3, 5_000, &LIMITS);
        assert_eq!(history.stabilised(1, 5_999, &LIMITS), 1);
        assert_eq!(history.stabilised(1, 6_000, &LIMITS), 5);
    }

    #[test]
    fn a_dip_starts_the_wait_anew() {
        let mut history = DemandHistory::default();
        history.observe(3, 5_000, &LIMITS);
        history.observe(0, 7_500, &LIMITS);
        history.observe(3, 9_500, &LIMITS);
        assert_eq!(history.stabilised(1, 10_000, &LIMITS), 1);
        assert_eq!(history.stabilised(1, 10_500, &LIMITS), 5);
    }

    #[test]
    fn a_fall_counts_once_it_has_lasted() {
        let mut history = DemandHistory::default();
        history.observe(3, 0, &LIMITS);
        history.observe(0, 10_000, &LIMITS);
        assert_eq!(history.stabilised(5, 69_999, &LIMITS), 5);
        assert_eq!(history.stabilised(5, 70_000, &LIMITS), 0);
        assert!(history.is_over(70_000, &LIMITS));
    }

    #[test]
    fn a_fall_soon_after_a_rise_counts_too() {
        let mut history = DemandHistory::default();
        history.observe(3, 10_000, &LIMITS);
        // Observed every half second, as in the engine.
        for now in (10_500..100_000).step_by(500) {
            history.observe(0, now, &LIMITS);
        }
        assert_eq!(history.stabilised(5, 100_000, &LIMITS), 0);
        assert!(history.is_over(100_000, &LIMITS));
    }

    #[test]
    fn memory_of_demand_is_bounded() {
        let mut history = DemandHistory::default();
        for now in 0..1_000_000 {
            history.observe(usize::try_from(now % 7).expect("small"), now, &LIMITS);
        }
        assert!(history.samples.len() <= 34, "{}", history.samples.len());
    }
}
