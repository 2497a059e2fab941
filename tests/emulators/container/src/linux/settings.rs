//! What the environment says.

use std::env;
use std::path::PathBuf;
use std::time::Duration;

use container_command_line::{Code, Failure, Version};

use super::faults::FaultPlan;

/// Where the state is.
const ROOT: &str = "KINA_EMULATOR_ROOT";
/// Which version of the CLI is spoken.
const VERSION: &str = "KINA_EMULATOR_VERSION";
/// How long the boot of one machine holds the global lock, at the least.
const BOOT_DELAY: &str = "KINA_EMULATOR_BOOT_DELAY_MS";
/// What goes wrong.
const FAULTS: &str = "KINA_EMULATOR_FAULTS";

/// What the environment says.
#[derive(Debug, Clone)]
pub(crate) struct Settings {
    /// Where the state is.
    pub(crate) root: PathBuf,
    /// Which version of the CLI is spoken.
    pub(crate) version: Version,
    /// How long the boot of one machine holds the global lock, at the least.
    pub(crate) boot_delay: Duration,
    /// What goes wrong.
    pub(crate) faults: FaultPlan,
}

impl Settings {
    /// Reads the environment.
    pub(crate) fn from_environment() -> Result<Self, Failure> {
        let root = env::var_os(ROOT).filter(|root| !root.is_empty()).map(PathBuf::from).ok_or_else(|| {
            wrong(format!("{ROOT} is not set: kina's emulator keeps all state below that directory, and has no other"))
        })?;
        let root = std::path::absolute(&root).map_err(|error| wrong(format!("{ROOT}: {error}")))?;
        let boot_delay_ms = match text(BOOT_DELAY) {
            Some(text) => text.parse().map_err(|_| wrong(format!("{BOOT_DELAY}: `{text}` is no number")))?,
            None => 0,
        };
        let faults = match text(FAULTS) {
            Some(text) => FaultPlan::read(&text).map_err(|error| wrong(format!("{FAULTS}: {error}")))?,
            None => FaultPlan::default(),
        };
        Ok(Self { root, version: version()?, boot_delay: Duration::from_millis(boot_delay_ms), faults })
    }
}

/// Which version of the CLI is spoken; known without any state.
pub(crate) fn version() -> Result<Version, Failure> {
    text(VERSION).map_or(Ok(Version::NEWEST), |text| text.parse().map_err(|error| wrong(format!("{VERSION}: {error}"))))
}

fn text(name: &str) -> Option<String> {
    env::var(name).ok().filter(|text| !text.is_empty())
}

fn wrong(text: String) -> Failure {
    Failure::runtime(Code::InvalidArgument, text)
}
