//! How much this machine can take, and what the user says about it.

use crate::backoff::Backoff;
use crate::machine;
use crate::pool::{BreakerLimits, Limits, ScaleLimits, WearLimits};
use crate::provider::Capabilities;
use crate::settings::EngineSettings;

/// Memory kept for everything that is no cluster.
const MEMORY_RESERVED_BYTES: u64 = 1 << 30;
/// Left to the user on a machine of any size; more clusters than this serve nobody.
const SLOTS_MAX: usize = 32;
/// How long the state of a stopped cluster is kept.
const STOPPED_AGE_MAX_MS: u64 = 3_600_000;
/// After so many boots that failed in a row, nothing is tried for a while.
const BOOT_FAILURES_MAX: u32 = 3;
/// For how long.
const BREAKER_OPEN_MS: u64 = 10_000;

/// What this machine has for an engine of this user.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct MachineLimits {
    pub(super) cores: usize,
    /// What all clusters together may take.
    pub(super) memory_bytes: u64,
}

impl MachineLimits {
    pub(super) fn of_this_machine(settings: &EngineSettings) -> Self {
        Self::new(machine::cores(), machine::available_memory_bytes(), settings)
    }

    fn new(cores: usize, available_bytes: u64, settings: &EngineSettings) -> Self {
        let memory_bytes = settings.memory_max_bytes.unwrap_or(available_bytes.saturating_sub(MEMORY_RESERVED_BYTES));
        Self { cores, memory_bytes }
    }
}

/// Bounds of the pool, for clusters of one provider.
pub(super) fn pool_limits(settings: &EngineSettings, machine: MachineLimits, capabilities: &Capabilities) -> Limits {
    let per_cluster = capabilities.memory_per_cluster_bytes.max(1);
    let by_memory = usize::try_from(machine.memory_bytes / per_cluster).unwrap_or(usize::MAX);
    // As many tests run at a time as there are cores; as many again cover those that are being rewound.
    let by_cores = machine.cores.saturating_mul(2);
    // What the user said of memory binds, whatever was said of slots. What only the machine says is a guess.
    let wanted = settings.slots_max.unwrap_or_else(|| by_memory.min(by_cores).min(SLOTS_MAX));
    let slots_max = if settings.memory_max_bytes.is_some() { wanted.min(by_memory) } else { wanted }.max(1);
    Limits {
        slots_max,
        boots_max: settings.boots_max.unwrap_or(capabilities.parallel_boots_max).clamp(1, slots_max),
        // A rewind keeps two cores busy for some 40 ms.
        rewinds_max: machine.cores,
        waiting_max: settings.waiting_max,
        memory_max_bytes: machine.memory_bytes,
        slot_memory_bytes: capabilities.memory_per_cluster_bytes,
        freeze_after_idle_ms: capabilities.freeze.then_some(settings.freeze_after_idle_seconds.saturating_mul(1000)),
        stop_after_idle_ms: settings.stop_after_idle_seconds.saturating_mul(1000),
        stopped_age_max_ms: STOPPED_AGE_MAX_MS,
        breaker: BreakerLimits {
            failures_max: BOOT_FAILURES_MAX,
            open_ms: BREAKER_OPEN_MS,
            retry_pauses_ms: Backoff::PROVIDER.pauses_ms(),
        },
        scale: ScaleLimits {
            target_utilisation_percent: usize::try_from(settings.target_utilisation_percent).unwrap_or(100),
            up_window_ms: settings.scale_up_window_seconds.saturating_mul(1000),
            down_window_ms: settings.scale_down_window_seconds.saturating_mul(1000),
        },
        wear: WearLimits {
            leases_max: settings.slot_leases_max,
            database_max_bytes: settings.slot_database_bytes_max,
            // A test of 50,000 objects takes about twice as much as an untouched cluster.
            memory_max_bytes: capabilities.memory_per_cluster_bytes.saturating_mul(3),
        },
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const GIBIBYTE: u64 = 1 << 30;

    fn limits(cores: usize, available_bytes: u64, settings: &EngineSettings) -> Limits {
        let capabilities = Capabilities {
            stop: true,
            freeze: true,
            parallel_boots_max: (cores / 2).max(1),
            memory_per_cluster_bytes: GIBIBYTE / 2,
        };
        pool_limits(settings, MachineLimits::new(cores, available_bytes, settings), &capabilities)
    }

    #[test]
    fn slots_come_from_cores_and_memory() {
        for (cores, available_gibibytes, slots_max, boots_max) in
            [(1, 16, 2, 1), (2, 16, 4, 1), (8, 16, 16, 4), (8, 3, 4, 4), (8, 2, 2, 2), (8, 0, 1, 1), (64, 512, 32, 32)]
        {
            let limits = limits(cores, available_gibibytes * GIBIBYTE, &EngineSettings::default());
            let message = format!("{cores} cores, {available_gibibytes} GiB");
            assert_eq!((limits.slots_max, limits.boots_max), (slots_max, boots_max), "{message}");
        }
    }

    #[test]
    fn what_the_user_says_comes_first_and_memory_binds() {
        let settings = EngineSettings { slots_max: Some(10), boots_max: Some(3), ..EngineSettings::default() };
        let of = |settings: &EngineSettings| {
            let limits = limits(2, 4 * GIBIBYTE, settings);
            (limits.slots_max, limits.boots_max)
        };
        assert_eq!(of(&settings), (10, 3));
        assert_eq!(of(&EngineSettings { memory_max_bytes: Some(2 * GIBIBYTE), ..settings.clone() }), (4, 3));
        assert_eq!(of(&EngineSettings { memory_max_bytes: Some(GIBIBYTE), ..settings.clone() }), (2, 2));
        assert_eq!(of(&EngineSettings { slots_max: Some(2), ..settings }), (2, 2));
    }
}
