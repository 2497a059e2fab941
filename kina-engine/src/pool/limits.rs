use super::TimeMs;

/// The number of different pauses between failed boots; the last one is then repeated.
pub(super) const RETRY_PAUSES: usize = 7;

/// The pool's bounds and rules. Only the memory limit changes in the life of a pool
/// ([`Event::MemoryLimit`](super::Event::MemoryLimit)).
#[derive(Clone, Copy, Debug)]
pub struct Limits {
    /// The number of clusters that may exist at a time, in any state.
    pub slots_max: usize,
    /// The number of clusters that may boot or start at a time: boots starve each other.
    pub boots_max: usize,
    /// The number of clusters that may be rewound at a time.
    pub rewinds_max: usize,
    /// The time that the next client may be kept waiting while slots keep their templates for others.
    pub template_patience_ms: TimeMs,
    /// The time that a client must have waited for a kind that has no slot, and that a slot of another kind must have
    /// served, before that slot is given up.
    pub kind_patience_ms: TimeMs,
    /// The number of clients that may wait.
    pub waiting_max: usize,
    /// The memory that all clusters together may take. One cluster may always run, or no client would ever be served.
    pub memory_max_bytes: u64,
    /// The memory that a cluster is counted as until it has been measured.
    pub slot_memory_bytes: u64,
    /// The time that a ready slot may idle before it is frozen; `None` if the provider cannot freeze.
    pub freeze_after_idle_ms: Option<TimeMs>,
    /// Set if the provider can stop clusters and start them again. If not, they are destroyed instead.
    pub can_stop: bool,
    /// The time that a surplus ready or frozen slot may idle before it is stopped.
    pub stop_after_idle_ms: TimeMs,
    /// The time that a stopped slot is kept.
    pub stopped_age_max_ms: TimeMs,
    /// Rules for kinds of clusters that do not boot.
    pub breaker: BreakerLimits,
    /// Rules for clusters ahead of demand.
    pub scale: ScaleLimits,
    /// Rules for replacing used slots.
    pub wear: WearLimits,
}

/// Rules for kinds of clusters that do not boot.
#[derive(Clone, Copy, Debug)]
pub struct BreakerLimits {
    /// The number of failures in a row after which a kind is not tried for a while and its clients are refused.
    pub failures_max: u32,
    /// The length of that while.
    pub open_ms: TimeMs,
    /// The pauses after the first, second, … failure, before jitter.
    pub retry_pauses_ms: [TimeMs; RETRY_PAUSES],
}

/// Rules for pre-warming, as in Kubernetes' HorizontalPodAutoscaler: desired = ceil(wanted ÷ utilisation), where a rise
/// counts once it has lasted for one window, and a fall once it has lasted for the other.
#[derive(Clone, Copy, Debug)]
pub struct ScaleLimits {
    /// The part of the clusters that should be in use, in percent, 1 to 100.
    pub target_utilisation_percent: usize,
    /// The time that demand must have been higher before clusters are booted ahead of it. Waiting clients are not
    /// affected.
    pub up_window_ms: TimeMs,
    /// The time that demand must have been lower before clusters count as surplus.
    pub down_window_ms: TimeMs,
}

/// The use after which a slot is replaced: an API server never frees its records of API groups that it once served.
#[derive(Clone, Copy, Debug)]
pub struct WearLimits {
    /// The number of leases that a slot serves.
    pub leases_max: u64,
    /// The largest size of its database.
    pub database_max_bytes: u64,
    /// The most memory that it may take.
    pub memory_max_bytes: u64,
}

#[cfg(test)]
impl Limits {
    /// Limits for tests of the code around the pool: one of everything at a time, and nothing expires.
    pub(crate) fn unhurried(slots_max: usize, slot_memory_bytes: u64, memory_max_bytes: u64) -> Self {
        Self {
            slots_max,
            boots_max: 1,
            rewinds_max: 1,
            template_patience_ms: 0,
            kind_patience_ms: 0,
            waiting_max: 10,
            memory_max_bytes,
            slot_memory_bytes,
            freeze_after_idle_ms: None,
            can_stop: true,
            stop_after_idle_ms: 1_000_000,
            stopped_age_max_ms: 1_000_000,
            breaker: BreakerLimits { failures_max: 3, open_ms: 1000, retry_pauses_ms: [100; RETRY_PAUSES] },
            scale: ScaleLimits { target_utilisation_percent: 100, up_window_ms: 1000, down_window_ms: 1000 },
            wear: WearLimits { leases_max: u64::MAX, database_max_bytes: u64::MAX, memory_max_bytes: u64::MAX },
        }
    }
}
