//! How much this machine can take, and what the user says about it.

use crate::backoff::Backoff;
use crate::pool::{BreakerLimits, Limits, ScaleLimits, WearLimits};
use crate::provider::Capabilities;

/// Memory kept for everything that is no cluster.
const MEMORY_RESERVED_BYTES: u64 = 1 << 30;
/// Left to the user on a machine of any size; more clusters than this serve nobody.
const SLOTS_MAX: usize = 32;
/// How long the state of a stopped cluster is kept.
const STOPPED_AGE_MAX_MS: u64 = 3_600_000;

/// The engine's settings.
#[derive(Clone, Copy, Debug)]
pub(super) struct Settings {
    /// `KINA_SLOTS_MAX`.
    pub(super) slots_max: Option<usize>,
    /// `KINA_IDLE_FREEZE_SECONDS`: after which a ready cluster that nobody wants is frozen.
    pub(super) idle_freeze_ms: u64,
    /// `KINA_IDLE_STOP_SECONDS`: after which a ready cluster that nobody wants is stopped.
    pub(super) idle_stop_ms: u64,
    /// `KINA_IDLE_EXIT_SECONDS`: after which an engine that nobody uses ends.
    pub(super) idle_exit_ms: u64,
}

/// A setting makes no sense.
#[derive(Debug, thiserror::Error)]
#[error("{name} is `{value}`, but must be a whole number of at least {minimum}")]
pub(super) struct SettingsError {
    name: &'static str,
    value: String,
    minimum: u64,
}

impl Settings {
    pub(super) fn from_environment() -> Result<Self, SettingsError> {
        Ok(Self {
            slots_max: number("KINA_SLOTS_MAX", 1)?.map(|count| usize::try_from(count).unwrap_or(usize::MAX)),
            idle_freeze_ms: number("KINA_IDLE_FREEZE_SECONDS", 1)?.unwrap_or(10).saturating_mul(1000),
            idle_stop_ms: number("KINA_IDLE_STOP_SECONDS", 1)?.unwrap_or(120).saturating_mul(1000),
            idle_exit_ms: number("KINA_IDLE_EXIT_SECONDS", 1)?.unwrap_or(600).saturating_mul(1000),
        })
    }

    /// Bounds for clusters that take so much memory, of which so many can boot at a time.
    pub(super) fn limits(&self, capabilities: &Capabilities) -> Limits {
        let cores = std::thread::available_parallelism().map_or(1, usize::from);
        let free_bytes = available_memory_bytes().unwrap_or(4 << 30).saturating_sub(MEMORY_RESERVED_BYTES);
        let by_memory =
            usize::try_from(free_bytes / capabilities.memory_per_cluster_bytes.max(1)).unwrap_or(usize::MAX);
        // As many tests run at a time as there are cores; as many again cover those that are being rewound.
        let by_cores = cores.saturating_mul(2);
        let slots_max = self.slots_max.unwrap_or_else(|| by_memory.min(by_cores).clamp(1, SLOTS_MAX));
        let boots_max = capabilities.parallel_boots_max;
        Limits {
            slots_max,
            boots_max,
            // A rewind takes both cores for some 40 ms where there are two.
            rewinds_max: cores,
            waiting_max: 10_000,
            memory_max_bytes: free_bytes,
            slot_memory_bytes: capabilities.memory_per_cluster_bytes,
            freeze_after_idle_ms: capabilities.freeze.then_some(self.idle_freeze_ms),
            stop_after_idle_ms: self.idle_stop_ms,
            stopped_age_max_ms: STOPPED_AGE_MAX_MS,
            breaker: BreakerLimits { failures_max: 3, open_ms: 10_000, retry_pauses_ms: Backoff::PROVIDER.pauses_ms() },
            scale: ScaleLimits { target_utilisation_percent: 70, up_window_ms: 1_000, down_window_ms: 60_000 },
            wear: WearLimits {
                leases_max: 1_000,
                database_max_bytes: 512 << 20,
                memory_max_bytes: capabilities.memory_per_cluster_bytes * 3,
            },
        }
    }
}

fn number(name: &'static str, minimum: u64) -> Result<Option<u64>, SettingsError> {
    let Ok(value) = std::env::var(name) else { return Ok(None) };
    match value.parse() {
        Ok(number) if minimum <= number => Ok(Some(number)),
        _ => Err(SettingsError { name, value, minimum }),
    }
}

#[cfg(target_os = "linux")]
fn available_memory_bytes() -> Option<u64> {
    let meminfo = std::fs::read_to_string("/proc/meminfo").ok()?;
    let kilobytes = meminfo.lines().find_map(|line| line.strip_prefix("MemAvailable:"))?;
    kilobytes.trim().trim_end_matches("kB").trim().parse::<u64>().ok().map(|kilobytes| kilobytes << 10)
}

#[cfg(not(target_os = "linux"))]
fn available_memory_bytes() -> Option<u64> {
    None
}
