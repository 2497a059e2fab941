//! The choices of users, and the places to make them.
//!
//! One engine serves many workspaces. So there are two sets, which never mix: a workspace's `kina.toml` describes the
//! clusters that its tests want ([`WorkspaceSettings`], sent to the engine with each request); the user's
//! `~/.config/kina/kina.toml` limits the engine's use of the machine ([`EngineSettings`]). The environment overrides
//! both: that of the test the first, that of the process that starts the engine the second.
//!
//! - `keys`: the list of all settings.
//! - `find`: the search for the files.
//! - `read`: from a file and an environment to values.
//! - `value`: from text to one value.
//! - `nearest`: the known word nearest to a misspelt one.

mod error;
mod find;
mod keys;
pub(crate) mod nearest;
mod read;
#[cfg(test)]
mod tests;
mod value;

use std::path::PathBuf;

pub use error::SettingsError;
pub use keys::BECOME_ENGINE;
pub(crate) use nearest::nearest;

use crate::ProviderName;
use crate::protocol::{Isolation, Profile};
use keys::Owner;
use read::{SettingsSources, Values};

/// The settings of one workspace, for its tests.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct WorkspaceSettings {
    /// Kubernetes minor for tests that name none.
    pub kubernetes: Option<String>,
    /// The provider of clusters, for tests that name none.
    pub provider: ProviderName,
    /// The profile of clusters, for tests that choose none.
    pub profile: Profile,
    /// The isolation of tests that choose none.
    pub isolation: Isolation,
    /// The time limit of tests that set none. `None`: no limit.
    pub test_timeout_seconds: Option<u64>,
    /// The time limit of a test's wait for a cluster, once the binaries are there.
    pub acquire_timeout_seconds: u64,
    /// Directory with the binaries to use.
    pub assets_directory: Option<PathBuf>,
    /// The workspace's file, if that names the directory and no variable does.
    pub assets_directory_named_by: Option<PathBuf>,
}

/// The engine's limits on this machine. `None`: a value that suits the machine.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct EngineSettings {
    /// The largest number of clusters.
    pub slots_max: Option<usize>,
    /// The largest number of clusters that boot at the same time.
    pub boots_max: Option<usize>,
    /// The memory of all clusters of all this user's engines together.
    pub memory_max_bytes: Option<u64>,
    /// Processors of each cluster, where the provider gives each its own.
    pub cluster_cpus: Option<u64>,
    /// Memory of each cluster, where the provider gives each its own.
    pub cluster_memory_bytes: Option<u64>,
    /// Clients that may wait for a cluster.
    pub waiting_max: usize,
    /// The share of clusters that should be in use; the others are ready for the next clients.
    pub target_utilisation_percent: u32,
    /// The time for which demand must be higher before more clusters are made ready.
    pub scale_up_window_seconds: u64,
    /// The time for which demand must be lower before surplus clusters are given up.
    pub scale_down_window_seconds: u64,
    /// The time after which an idle cluster is frozen.
    pub freeze_after_idle_seconds: u64,
    /// The time after which an idle cluster is stopped.
    pub stop_after_idle_seconds: u64,
    /// The time after which an unused engine ends.
    pub idle_exit_seconds: u64,
    /// Tests with `isolation = "namespace"` that may share one cluster at a time.
    pub namespaces_max: usize,
    /// Leases after which a slot is replaced.
    pub slot_leases_max: u64,
    /// Size of a slot's database at which it is replaced.
    pub slot_database_bytes_max: u64,
    /// Port on loopback at which the engine's metrics can be scraped. `None`: none is opened.
    pub metrics_port: Option<u16>,
}

impl WorkspaceSettings {
    /// The settings of the workspace that this process runs in.
    ///
    /// # Errors
    /// If a file or a variable makes no sense.
    pub fn of_this_process() -> Result<Self, SettingsError> {
        SettingsSources::of_this_process().read(Owner::Workspace).map(|values| Self::from_values(&values))
    }

    fn from_values(values: &Values) -> Self {
        let default = Self::default();
        Self {
            kubernetes: values.text(&keys::KUBERNETES),
            provider: values.choice(&keys::PROVIDER).unwrap_or(default.provider),
            profile: values.choice(&keys::PROFILE).unwrap_or(default.profile),
            isolation: values.choice(&keys::ISOLATION).unwrap_or(default.isolation),
            test_timeout_seconds: values.number(&keys::TEST_TIMEOUT_SECONDS),
            acquire_timeout_seconds: values
                .number(&keys::ACQUIRE_TIMEOUT_SECONDS)
                .unwrap_or(default.acquire_timeout_seconds),
            assets_directory: values.directory(&keys::ASSETS_DIRECTORY),
            assets_directory_named_by: values.named_by(&keys::ASSETS_DIRECTORY),
        }
    }
}

impl EngineSettings {
    /// The user's settings, as seen by an engine that is started from here.
    ///
    /// # Errors
    /// If a file or a variable makes no sense.
    pub fn of_this_process() -> Result<Self, SettingsError> {
        SettingsSources::of_this_process().read(Owner::Engine).map(|values| Self::from_values(&values))
    }

    fn from_values(values: &Values) -> Self {
        let default = Self::default();
        let number = |key, default| values.number(key).unwrap_or(default);
        let count = |key| values.number(key).map(|number| usize::try_from(number).unwrap_or(usize::MAX));
        Self {
            slots_max: count(&keys::SLOTS_MAX),
            boots_max: count(&keys::BOOTS_MAX),
            memory_max_bytes: values.number(&keys::MEMORY_MAX),
            cluster_cpus: values.number(&keys::CLUSTER_CPUS),
            cluster_memory_bytes: values.number(&keys::CLUSTER_MEMORY),
            waiting_max: count(&keys::WAITING_MAX).unwrap_or(default.waiting_max),
            target_utilisation_percent: values
                .number(&keys::TARGET_UTILISATION_PERCENT)
                .and_then(|percent| u32::try_from(percent).ok())
                .unwrap_or(default.target_utilisation_percent),
            scale_up_window_seconds: number(&keys::SCALE_UP_WINDOW_SECONDS, default.scale_up_window_seconds),
            scale_down_window_seconds: number(&keys::SCALE_DOWN_WINDOW_SECONDS, default.scale_down_window_seconds),
            freeze_after_idle_seconds: number(&keys::FREEZE_AFTER_IDLE_SECONDS, default.freeze_after_idle_seconds),
            stop_after_idle_seconds: number(&keys::STOP_AFTER_IDLE_SECONDS, default.stop_after_idle_seconds),
            idle_exit_seconds: number(&keys::IDLE_EXIT_SECONDS, default.idle_exit_seconds),
            namespaces_max: count(&keys::NAMESPACES_MAX).unwrap_or(default.namespaces_max),
            slot_leases_max: number(&keys::SLOT_LEASES_MAX, default.slot_leases_max),
            slot_database_bytes_max: number(&keys::SLOT_DATABASE_BYTES_MAX, default.slot_database_bytes_max),
            metrics_port: values.number(&keys::METRICS_PORT).and_then(|port| u16::try_from(port).ok()),
        }
    }
}

/// The settings of a workspace that makes no choice.
impl Default for WorkspaceSettings {
    fn default() -> Self {
        Self {
            kubernetes: None,
            provider: ProviderName::Process,
            profile: Profile::default(),
            isolation: Isolation::default(),
            test_timeout_seconds: None,
            // Long, because a suite with more tests than slots spends it queueing behind tests that take their time.
            acquire_timeout_seconds: 300,
            assets_directory: None,
            assets_directory_named_by: None,
        }
    }
}

/// The settings of an engine whose user makes no choice.
impl Default for EngineSettings {
    fn default() -> Self {
        Self {
            slots_max: None,
            boots_max: None,
            memory_max_bytes: None,
            cluster_cpus: None,
            cluster_memory_bytes: None,
            waiting_max: 10_000,
            target_utilisation_percent: 70,
            scale_up_window_seconds: 1,
            scale_down_window_seconds: 60,
            freeze_after_idle_seconds: 10,
            stop_after_idle_seconds: 60,
            idle_exit_seconds: 600,
            namespaces_max: 64,
            slot_leases_max: 1000,
            slot_database_bytes_max: 512 << 20,
            metrics_port: None,
        }
    }
}
