//! Requirements of clusters in virtual machines of Apple's `container`.
//!
//! - `mac`: the machine and the session. `program`: the program `container`.
//! - `service`: the service behind it. `image`: the image that clusters boot from. `ports`: the published ports.
//! - `busy`: the reason to leave the service alone.

mod busy;
mod image;
mod mac;
mod ports;
mod program;
mod service;

use std::path::PathBuf;
use std::sync::Arc;

use kina_engine::doctor::{
    self, AppleError, AppleProvider, AppleSettings, ClusterImage, PROGRAM_VARIABLE, Provider, ProviderError,
};
use kina_engine::{Assets, EnginePaths, EngineSettings, ProviderName};

use super::ask;
use super::check::{Check, Section};
use super::process::open_files;

const SECTION: Section = Section("apple");

/// Makes all checks of this section. Also returns true if the program is an emulator.
pub(super) async fn examine(settings: &EngineSettings) -> (bool, Vec<Check>) {
    let variable = |name| std::env::var_os(name).filter(|value| !value.is_empty());
    let (named, search_path) = (variable(PROGRAM_VARIABLE), variable("PATH"));
    let chosen = doctor::find_program(named.as_deref(), search_path.as_deref());
    let connected = match &chosen {
        Some(program) => Some(connect(program.clone(), settings).await),
        None => None,
    };
    let provider = connected.as_ref().and_then(|connected| connected.as_ref().ok());
    let simulated = provider.is_some_and(|provider| provider.capabilities().simulated);
    let (made, busy) = (image::last_used(), busy::reason().await);
    let examined = match provider {
        Some(provider) => Some(provider.examine(made.as_ref(), busy.is_none()).await),
        None => None,
    };

    let mut checks = vec![
        program::program(chosen.as_deref(), named.is_some()),
        program::installations(&program::all_in(search_path.as_deref())),
        program::version(connected.as_ref().map(|connected| connected.as_ref().map(AppleProvider::program_version))),
        program::reality(provider.map(|_| simulated)),
    ];
    checks.extend(mac::examine(simulated, service::is_running(examined.as_ref())).await);
    checks.extend(service::checks(examined.as_ref(), simulated, busy));
    checks.extend(image::examine(made.as_ref(), examined.as_ref()).await);
    checks.push(ports::examine());
    checks.push(open_files(SECTION, ask::open_files_max()));
    checks.push(memory(provider, settings));
    (simulated, checks)
}

/// Asks the program for its version. Nothing is started, and no image is made.
pub(in super::super) async fn connect(
    program: PathBuf,
    settings: &EngineSettings,
) -> Result<AppleProvider, ProviderError> {
    let paths =
        EnginePaths::from_environment(ProviderName::Apple).map_err(|error| AppleError::Image(Box::new(error)))?;
    let mut apple =
        AppleSettings::new(program, paths.cluster_directory, paths.cluster_log_directory, paths.journal_directory);
    apple.start_service = false;
    apple.memory_bytes = settings.cluster_memory_bytes.unwrap_or(apple.memory_bytes);
    let no_images = |_: &Assets| -> Result<ClusterImage, Box<dyn std::error::Error + Send + Sync>> {
        Err("the doctor makes no clusters".into())
    };
    AppleProvider::connect(apple, Arc::new(no_images)).await
}

fn memory(provider: Option<&AppleProvider>, settings: &EngineSettings) -> Check {
    let Some(provider) = provider else { return SECTION.skipped("memory", NO_PROGRAM) };
    let available = settings.memory_max_bytes.unwrap_or_else(kina_engine::available_memory_bytes);
    room_for_clusters(available, provider.capabilities().memory_per_cluster_bytes)
}

fn room_for_clusters(available_bytes: u64, per_cluster_bytes: u64) -> Check {
    let name = "memory";
    let clusters = available_bytes / per_cluster_bytes.max(1);
    let found = format!(
        "{} MB for clusters of {} MB each: {clusters} at a time",
        available_bytes / 1_000_000,
        per_cluster_bytes / 1_000_000
    );
    match clusters {
        0 | 1 => SECTION.warning(
            name,
            found,
            "there is only one cluster at a time: tests wait for each other",
            "lower cluster_memory (KINA_CLUSTER_MEMORY) or raise memory_max (KINA_MEMORY_MAX), then cargo kina stop",
        ),
        _ => SECTION.ok(name, found),
    }
}

/// The reason to skip checks that need the program.
const NO_PROGRAM: &str = "there is no usable program `container`";

#[cfg(test)]
mod tests {
    use super::super::check::CheckOutcome;
    use super::*;

    #[test]
    fn a_machine_with_room_for_one_cluster_is_warned_about() {
        assert_eq!(room_for_clusters(3 << 30, 2 << 30).outcome, CheckOutcome::Warning);
        assert_eq!(room_for_clusters(4 << 30, 2 << 30).outcome, CheckOutcome::Ok);
    }
}
