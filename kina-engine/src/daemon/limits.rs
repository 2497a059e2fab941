//! The limits of this machine, and those that the user sets.

use crate::backoff::Backoff;
use crate::machine_resources;
use crate::pool::{BreakerLimits, Limits, ScaleLimits, WearLimits};
use crate::provider::Capabilities;
use crate::settings::EngineSettings;

/// Memory kept for everything that is no cluster.
const MEMORY_RESERVED_BYTES: u64 = 1 << 30;
/// Left to the user on a machine of any size; more clusters than this are of no use.
const SLOTS_MAX: usize = 32;
/// Long enough for a run of tests that share a template, too short to be noticed.
const TEMPLATE_PATIENCE_MS: u64 = 250;
/// Several times as long as the boot of a cluster, which is what it costs to give one up for another.
const KIND_PATIENCE_MS: u64 = 5_000;
/// The time for which the state of a stopped cluster is kept.
const STOPPED_AGE_MAX_MS: u64 = 3_600_000;

/// This machine's resources for an engine of this user.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct MachineLimits {
    pub(super) cores: usize,
    /// The memory of all clusters together.
    pub(super) memory_bytes: u64,
}

impl MachineLimits {
    pub(super) fn of_this_machine(settings: &EngineSettings) -> Self {
        Self::new(machine_resources::cores(), machine_resources::available_memory_bytes(), settings)
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
    let slots_max = settings.slots_max.unwrap_or_else(|| by_memory.min(by_cores).clamp(1, SLOTS_MAX));
    let milliseconds = |seconds: u64| seconds.saturating_mul(1000);
    Limits {
        slots_max,
        boots_max: settings.boots_max.unwrap_or(capabilities.parallel_boots_max).max(1),
        // A rewind takes both cores for some 40 ms where there are two.
        rewinds_max: machine.cores,
        template_patience_ms: TEMPLATE_PATIENCE_MS,
        kind_patience_ms: KIND_PATIENCE_MS,
        waiting_max: settings.waiting_max,
        memory_max_bytes: machine.memory_bytes,
        slot_memory_bytes: capabilities.memory_per_cluster_bytes,
        freeze_after_idle_ms: capabilities.freeze.then_some(milliseconds(settings.freeze_after_idle_seconds)),
        can_stop: capabilities.stop,
        stop_after_idle_ms: milliseconds(settings.stop_after_idle_seconds),
        stopped_age_max_ms: STOPPED_AGE_MAX_MS,
        breaker: BreakerLimits { failures_max: 3, open_ms: 10_000, retry_pauses_ms: Backoff::PROVIDER.pauses_ms() },
        scale: ScaleLimits {
            target_utilisation_percent: usize::try_from(settings.target_utilisation_percent).unwrap_or(100),
            up_window_ms: milliseconds(settings.scale_up_window_seconds),
            down_window_ms: milliseconds(settings.scale_down_window_seconds),
        },
        wear: WearLimits {
            leases_max: settings.slot_leases_max,
            database_max_bytes: settings.slot_database_bytes_max,
            memory_max_bytes: capabilities.memory_per_cluster_bytes * 3,
        },
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const GIBIBYTE: u64 = 1 << 30;

    fn limits(cores: usize, available_bytes: u64, settings: &EngineSettings) -> Limits {
        let capabilities = Capabilities {
            parallel_boots_max: (cores / 2).max(1),
            memory_per_cluster_bytes: GIBIBYTE / 2,
            ..Capabilities::for_tests()
        };
        pool_limits(settings, MachineLimits::new(cores, available_bytes, settings), &capabilities)
    }

    #[test]
    fn slots_come_from_cores_and_memory() {
        for (cores, available_gibibytes, slots_max, boots_max) in
            [(1, 16, 2, 1), (2, 16, 4, 1), (8, 16, 16, 4), (8, 3, 4, 4), (8, 2, 2, 4), (8, 0, 1, 4), (64, 512, 32, 32)]
        {
            let limits = limits(cores, available_gibibytes * GIBIBYTE, &EngineSettings::default());
            let message = format!("{cores} cores, {available_gibibytes} GiB");
            assert_eq!((limits.slots_max, limits.boots_max), (slots_max, boots_max), "{message}");
            let available_bytes = available_gibibytes.saturating_sub(1) * GIBIBYTE;
            assert_eq!(limits.memory_max_bytes, available_bytes, "{message}");
        }
    }

    #[test]
    fn what_the_user_says_comes_first() {
        let settings = EngineSettings {
            slots_max: Some(10),
            boots_max: Some(3),
            memory_max_bytes: Some(2 * GIBIBYTE),
            cluster_cpus: None,
            cluster_memory_bytes: None,
            waiting_max: 5,
            target_utilisation_percent: 50,
            scale_up_window_seconds: 2,
            scale_down_window_seconds: 3,
            freeze_after_idle_seconds: 4,
            stop_after_idle_seconds: 6,
            idle_exit_seconds: 7,
            namespaces_max: 11,
            slot_leases_max: 8,
            slot_database_bytes_max: 9,
            metrics_port: None,
        };
        let limits = limits(2, 16 * GIBIBYTE, &settings);
        assert_eq!((limits.slots_max, limits.boots_max, limits.waiting_max), (10, 3, 5));
        assert_eq!(limits.memory_max_bytes, 2 * GIBIBYTE);
        let scale = limits.scale;
        assert_eq!((scale.target_utilisation_percent, scale.up_window_ms, scale.down_window_ms), (50, 2000, 3000));
        assert_eq!((limits.freeze_after_idle_ms, limits.stop_after_idle_ms), (Some(4000), 6000));
        assert_eq!((limits.wear.leases_max, limits.wear.database_max_bytes), (8, 9));
    }
}
