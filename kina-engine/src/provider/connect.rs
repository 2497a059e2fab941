//! From a provider's name to the provider: the one place where names count.

use std::sync::Arc;

use super::apple::{self, AppleProvider, AppleSettings, ClusterImage};
use super::process::ProcessProvider;
use super::{Provider, ProviderError};
use crate::ProviderName;
use crate::assets::Assets;
use crate::image;
use crate::journal::Journal;
use crate::paths::EnginePaths;
use crate::settings::EngineSettings;

/// What an engine gives its provider.
pub(crate) struct Surroundings<'a> {
    pub(crate) paths: &'a EnginePaths,
    pub(crate) settings: &'a EngineSettings,
    pub(crate) journal: Arc<Journal>,
}

/// Makes the provider, and ends what earlier engines left of its clusters.
///
/// # Errors
/// If what it needs of this machine is not there.
pub(crate) async fn connect(
    name: ProviderName,
    surroundings: Surroundings<'_>,
) -> Result<Arc<dyn Provider>, ProviderError> {
    let Surroundings { paths, settings, journal } = surroundings;
    let (states, logs) = (paths.cluster_directory.clone(), paths.cluster_log_directory.clone());
    match name {
        ProviderName::Process => Ok(Arc::new(ProcessProvider::new(states, logs, journal)?)),
        ProviderName::Apple => {
            let variable = |name| std::env::var_os(name);
            let program =
                apple::find_program(variable(apple::PROGRAM_VARIABLE).as_deref(), variable("PATH").as_deref());
            let program = program.ok_or(ProviderError::NoContainerProgram { variable: apple::PROGRAM_VARIABLE })?;
            let mut apple = AppleSettings::new(program, states, logs, paths.journal_directory.clone());
            if let Some(cpus) = settings.cluster_cpus.and_then(|cpus| u32::try_from(cpus).ok()) {
                apple.cpus = cpus;
            }
            apple.memory_bytes = settings.cluster_memory_bytes.unwrap_or(apple.memory_bytes);
            let image_directory = image::directory(&paths.cache_directory);
            let provider = AppleProvider::connect(
                apple,
                Arc::new(move |assets: &Assets| {
                    let image = image::build(assets, image::Architecture::host()?, &image_directory)?;
                    Ok(ClusterImage { reference: image.reference, archive: image.archive, digest: image.digest })
                }),
            )
            .await?;
            tracing::info!(program = provider.program_version(), "makes clusters with `container`");
            if let Some(swept) = provider.sweep().await? {
                tracing::info!(?swept, "swept the containers");
            }
            Ok(Arc::new(provider))
        }
    }
}
