use super::TimeMs;

/// How many pauses between boots that fail are told apart; from there on the last one is kept.
pub const RETRY_PAUSES: usize = 7;

/// The pool's bounds and rules. None of them changes in the life of a pool but the memory
/// ([`Event::MemoryLimit`](super::Event::MemoryLimit)).
#[derive(Clone, Copy, Debug)]
pub struct Limits {
    /// How many clusters may exist at a time, in whatever state.
    pub slots_max: usize,
    /// How many of them may boot or start at a time: boots starve each other.
    pub boots_max: usize,
    /// How many may be rewound at a time.
    pub rewinds_max: usize,
    /// How long who is next may wait while a slot keeps its template for others.
    pub template_patience_ms: TimeMs,
    /// How long who wants a cluster of another kind than all that run may wait, and how long one of those serves, before
    /// one is given up.
    pub kind_patience_ms: TimeMs,
    /// How many clients may wait.
    pub waiting_max: usize,
    /// What all clusters together may take. One cluster may always run, or nobody would ever be served.
    pub memory_max_bytes: u64,
    /// What a cluster counts as until it was measured.
    pub slot_memory_bytes: u64,
    /// How long a ready slot may idle before it is frozen; `None` where the provider cannot freeze.
    pub freeze_after_idle_ms: Option<TimeMs>,
    /// How long a ready or frozen slot that is surplus may idle before it is stopped.
    pub stop_after_idle_ms: TimeMs,
    /// How long a stopped slot is kept.
    pub stopped_age_max_ms: TimeMs,
    /// When a kind of cluster that does not boot is left alone.
    pub breaker: BreakerLimits,
    /// How many clusters are kept ahead of demand.
    pub scale: ScaleLimits,
    /// When a slot is worn.
    pub wear: WearLimits,
}

/// Rules for what does not boot.
#[derive(Clone, Copy, Debug)]
pub struct BreakerLimits {
    /// After so many failures in a row nothing more is tried for a while, and who waits is told.
    pub failures_max: u32,
    /// For how long.
    pub open_ms: TimeMs,
    /// The pauses after the first, second, … failure, before jitter.
    pub retry_pauses_ms: [TimeMs; RETRY_PAUSES],
}

/// Rules for pre-warming, those of Kubernetes' HorizontalPodAutoscaler: desired = ceil(wanted ÷ utilisation), where a rise
/// counts once it has lasted for one window, and a fall once it has lasted for the other.
#[derive(Clone, Copy, Debug)]
pub struct ScaleLimits {
    /// Which part of the clusters shall be in use, in percent, 1 to 100.
    pub target_utilisation_percent: usize,
    /// How long demand must have been higher before clusters are booted ahead of it. Who waits does not wait for this.
    pub up_window_ms: TimeMs,
    /// How long demand must have been lower before clusters count as surplus.
    pub down_window_ms: TimeMs,
}

/// After which use a slot is replaced: an API server never frees what it kept about groups it once served.
#[derive(Clone, Copy, Debug)]
pub struct WearLimits {
    /// How many leases a slot serves.
    pub leases_max: u64,
    /// How large its database may become.
    pub database_max_bytes: u64,
    /// How much memory it may take.
    pub memory_max_bytes: u64,
}

#[cfg(test)]
impl Limits {
    /// For tests of what is around the pool: one at a time of everything, and nothing ends by itself.
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
            stop_after_idle_ms: 1_000_000,
            stopped_age_max_ms: 1_000_000,
            breaker: BreakerLimits { failures_max: 3, open_ms: 1000, retry_pauses_ms: [100; RETRY_PAUSES] },
            scale: ScaleLimits { target_utilisation_percent: 100, up_window_ms: 1000, down_window_ms: 1000 },
            wear: WearLimits { leases_max: u64::MAX, database_max_bytes: u64::MAX, memory_max_bytes: u64::MAX },
        }
    }
}
