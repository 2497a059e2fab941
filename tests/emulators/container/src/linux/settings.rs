//! The settings from the environment.

use std::env;
use std::path::PathBuf;
use std::time::Duration;

use container_command_line::{Code, Failure, Version};

use super::faults::FaultPlan;

/// The directory of the state.
const ROOT: &str = "KINA_EMULATOR_ROOT";
/// The emulated version of the CLI.
const VERSION: &str = "KINA_EMULATOR_VERSION";
/// The least time for which the boot of one machine holds the global lock.
const BOOT_DELAY: &str = "KINA_EMULATOR_BOOT_DELAY_MS";
/// The plan of faults.
const FAULTS: &str = "KINA_EMULATOR_FAULTS";

/// The settings from the environment.
#[derive(Debug, Clone)]
pub(crate) struct Settings {
    /// The directory of the state.
    pub(crate) root: PathBuf,
    /// The emulated version of the CLI.
    pub(crate) version: Version,
    /// The least time for which the boot of one machine holds the global lock.
    pub(crate) boot_delay: Duration,
    /// The plan of faults.
    pub(crate) faults: FaultPlan,
}

impl Settings {
    /// Reads the environment.
    pub(crate) fn from_environment() -> Result<Self, Failure> {
        let root = env::var_os(ROOT).filter(|root| !root.is_empty()).map(PathBuf::from).ok_or_else(|| {
            wrong(format!("{ROOT} is not set: kina's emulator keeps all state below that directory, without a default"))
        })?;
        let root = std::path::absolute(&root).map_err(|error| wrong(format!("{ROOT}: {error}")))?;
        let boot_delay_ms = match text(BOOT_DELAY) {
            Some(text) => text.parse().map_err(|_| wrong(format!("{BOOT_DELAY}: `{text}` is not a number")))?,
            None => 0,
        };
        let faults = match text(FAULTS) {
            Some(text) => FaultPlan::read(&text).map_err(|error| wrong(format!("{FAULTS}: {error}")))?,
            None => FaultPlan::default(),
        };
        Ok(Self { root, version: version()?, boot_delay: Duration::from_millis(boot_delay_ms), faults })
    }
}

/// Returns the emulated version of the CLI, which does not depend on the state.
pub(crate) fn version() -> Result<Version, Failure> {
    text(VERSION).map_or(Ok(Version::NEWEST), |text| text.parse().map_err(|error| wrong(format!("{VERSION}: {error}"))))
}

fn text(name: &str) -> Option<String> {
    env::var(name).ok().filter(|text| !text.is_empty())
}

fn wrong(text: String) -> Failure {
    Failure::runtime(Code::InvalidArgument, text)
}
