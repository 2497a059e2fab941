//! All settings: their names in files, their variables, and the values that they take.

use Owner::{Engine, Workspace};

use crate::ProviderName;
use crate::protocol::{Isolation, Profile};

/// One setting.
#[derive(Clone, Copy, Debug)]
pub(super) struct Key {
    /// In `kina.toml`.
    pub(super) name: &'static str,
    /// In the environment.
    pub(super) variable: &'static str,
    pub(super) owner: Owner,
    pub(super) takes: Takes,
}

/// The owner of a setting, and so the file that it belongs in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Owner {
    /// One engine serves many workspaces, which may differ in this.
    Workspace,
    /// One value for the whole engine.
    Engine,
}

/// The values that a setting takes.
#[derive(Clone, Copy, Debug)]
pub(super) enum Takes {
    /// A whole number in these bounds, both included.
    Number { minimum: u64, maximum: u64 },
    /// A number of bytes in these bounds, both included.
    Bytes { minimum: u64, maximum: u64 },
    /// A Kubernetes minor.
    Kubernetes,
    /// One of these words.
    Word { known: &'static [&'static str] },
    /// A directory.
    Directory,
}

const DAY_SECONDS: u64 = 24 * 60 * 60;
const WEEK_SECONDS: u64 = 7 * DAY_SECONDS;
const MEBIBYTE: u64 = 1 << 20;
const TEBIBYTE: u64 = 1 << 40;

pub(super) const KUBERNETES: Key = key("kubernetes", "KINA_KUBERNETES", Workspace, Takes::Kubernetes);
pub(super) const PROVIDER: Key =
    key("provider", "KINA_PROVIDER", Workspace, Takes::Word { known: ProviderName::WORDS });
pub(super) const PROFILE: Key = key("profile", "KINA_PROFILE", Workspace, Takes::Word { known: Profile::WORDS });
pub(super) const ISOLATION: Key =
    key("isolation", "KINA_ISOLATION", Workspace, Takes::Word { known: Isolation::WORDS });
pub(super) const TEST_TIMEOUT_SECONDS: Key =
    key("test_timeout_seconds", "KINA_TEST_TIMEOUT_SECONDS", Workspace, number(1, DAY_SECONDS));
pub(super) const ACQUIRE_TIMEOUT_SECONDS: Key =
    key("acquire_timeout_seconds", "KINA_ACQUIRE_TIMEOUT_SECONDS", Workspace, number(1, DAY_SECONDS));
pub(super) const ASSETS_DIRECTORY: Key = key("assets_directory", "KINA_ASSETS_DIR", Workspace, Takes::Directory);

pub(super) const SLOTS_MAX: Key = key("slots_max", "KINA_SLOTS_MAX", Engine, number(1, 1000));
pub(super) const BOOTS_MAX: Key = key("boots_max", "KINA_BOOTS_MAX", Engine, number(1, 1000));
pub(super) const MEMORY_MAX: Key = key("memory_max", "KINA_MEMORY_MAX", Engine, bytes(512 * MEBIBYTE, 1024 * TEBIBYTE));
pub(super) const CLUSTER_CPUS: Key = key("cluster_cpus", "KINA_CLUSTER_CPUS", Engine, number(1, 256));
pub(super) const CLUSTER_MEMORY: Key =
    key("cluster_memory", "KINA_CLUSTER_MEMORY", Engine, bytes(512 * MEBIBYTE, TEBIBYTE));
pub(super) const WAITING_MAX: Key = key("waiting_max", "KINA_WAITING_MAX", Engine, number(1, 1_000_000));
pub(super) const TARGET_UTILISATION_PERCENT: Key =
    key("target_utilisation_percent", "KINA_TARGET_UTILISATION_PERCENT", Engine, number(10, 100));
pub(super) const SCALE_UP_WINDOW_SECONDS: Key =
    key("scale_up_window_seconds", "KINA_SCALE_UP_WINDOW_SECONDS", Engine, number(0, DAY_SECONDS));
pub(super) const SCALE_DOWN_WINDOW_SECONDS: Key =
    key("scale_down_window_seconds", "KINA_SCALE_DOWN_WINDOW_SECONDS", Engine, number(0, DAY_SECONDS));
pub(super) const FREEZE_AFTER_IDLE_SECONDS: Key =
    key("freeze_after_idle_seconds", "KINA_FREEZE_AFTER_IDLE_SECONDS", Engine, number(1, 30));
pub(super) const STOP_AFTER_IDLE_SECONDS: Key =
    key("stop_after_idle_seconds", "KINA_STOP_AFTER_IDLE_SECONDS", Engine, number(1, WEEK_SECONDS));
pub(super) const IDLE_EXIT_SECONDS: Key =
    key("idle_exit_seconds", "KINA_IDLE_EXIT_SECONDS", Engine, number(1, WEEK_SECONDS));
pub(super) const NAMESPACES_MAX: Key = key("namespaces_max", "KINA_NAMESPACES_MAX", Engine, number(1, 1000));
pub(super) const SLOT_LEASES_MAX: Key =
    key("slot_leases_max", "KINA_SLOT_LEASES_MAX", Engine, number(1, 1_000_000_000));
pub(super) const SLOT_DATABASE_BYTES_MAX: Key =
    key("slot_database_bytes_max", "KINA_SLOT_DATABASE_BYTES_MAX", Engine, bytes(64 * MEBIBYTE, TEBIBYTE));
/// 0 is any port that is free.
pub(super) const METRICS_PORT: Key = key("metrics_port", "KINA_METRICS_PORT", Engine, number(0, 65_535));

/// All settings.
pub(super) const KEYS: [Key; 23] = [
    KUBERNETES,
    PROVIDER,
    PROFILE,
    ISOLATION,
    TEST_TIMEOUT_SECONDS,
    ACQUIRE_TIMEOUT_SECONDS,
    ASSETS_DIRECTORY,
    SLOTS_MAX,
    BOOTS_MAX,
    MEMORY_MAX,
    CLUSTER_CPUS,
    CLUSTER_MEMORY,
    WAITING_MAX,
    TARGET_UTILISATION_PERCENT,
    SCALE_UP_WINDOW_SECONDS,
    SCALE_DOWN_WINDOW_SECONDS,
    FREEZE_AFTER_IDLE_SECONDS,
    STOP_AFTER_IDLE_SECONDS,
    IDLE_EXIT_SECONDS,
    NAMESPACES_MAX,
    SLOT_LEASES_MAX,
    SLOT_DATABASE_BYTES_MAX,
    METRICS_PORT,
];

/// Set only for the process that is to become the engine, to the name of the engine's provider.
pub const BECOME_ENGINE: &str = "KINA_BECOME_ENGINE";

/// Further variables that kina reads, for which there is no setting in a file.
pub(super) const OTHER_VARIABLES: [&str; 9] = [
    "KINA_CACHE_DIR",
    "KINA_RUNTIME_DIR",
    crate::trust::TRUSTED_DIRECTORY,
    "KINA_ENGINE",
    "KINA_CONTAINER_CLI",
    "KINA_SUPERVISOR",
    "KINA_LOG",
    crate::timings::LOG_VARIABLE,
    BECOME_ENGINE,
];

/// The values, in words.
impl std::fmt::Display for Takes {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Number { minimum, maximum } => write!(formatter, "a whole number from {minimum} to {maximum}"),
            Self::Bytes { minimum, maximum } => {
                let (minimum, maximum) = (minimum / MEBIBYTE, maximum / TEBIBYTE);
                write!(formatter, "a number of bytes, such as \"4GiB\", from {minimum} MiB to {maximum} TiB")
            }
            Self::Kubernetes => write!(formatter, "a Kubernetes minor as text, such as \"1.36\""),
            Self::Word { known } => {
                let known: Vec<_> = known.iter().map(|word| format!("\"{word}\"")).collect();
                write!(formatter, "{}", known.join(" or "))
            }
            Self::Directory => write!(formatter, "the path of a directory, as text"),
        }
    }
}

/// The setting of this name.
pub(super) fn by_name(name: &str) -> Option<&'static Key> {
    KEYS.iter().find(|key| key.name == name)
}

const fn key(name: &'static str, variable: &'static str, owner: Owner, takes: Takes) -> Key {
    Key { name, variable, owner, takes }
}

const fn number(minimum: u64, maximum: u64) -> Takes {
    Takes::Number { minimum, maximum }
}

const fn bytes(minimum: u64, maximum: u64) -> Takes {
    Takes::Bytes { minimum, maximum }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_two_settings_share_a_name_or_a_variable() {
        for (index, key) in KEYS.iter().enumerate() {
            for other in &KEYS[index + 1..] {
                assert!(key.name != other.name && key.variable != other.variable, "{} and {}", key.name, other.name);
            }
        }
    }

    #[test]
    fn the_variable_is_the_name_in_capitals() {
        for key in KEYS.iter().filter(|key| key.name != ASSETS_DIRECTORY.name) {
            assert_eq!(key.variable, format!("KINA_{}", key.name.to_uppercase()));
        }
    }

    #[test]
    fn the_book_lists_every_setting() {
        // The package alone, as it is published, comes without it.
        let Ok(page) = std::fs::read_to_string(concat!(env!("CARGO_MANIFEST_DIR"), "/../docs/settings.md")) else {
            return;
        };
        for key in &KEYS {
            let row = page.lines().find(|line| line.starts_with(&format!("| `{}` |", key.name)));
            let row = row.unwrap_or_else(|| panic!("no row for `{}`", key.name));
            assert!(row.contains(&format!("`{}`", key.variable)), "{row}");
        }
        for variable in OTHER_VARIABLES.iter().filter(|name| **name != BECOME_ENGINE) {
            assert!(page.contains(&format!("| `{variable}` |")), "no row for {variable}");
        }
    }
}
