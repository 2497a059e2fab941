//! From a provider's name to the provider: the only place where the name matters.

use std::collections::HashMap;
use std::error::Error;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};

use super::apple::{self, AppleProvider, AppleSettings, ClusterImage, ImageSource};
use super::process::ProcessProvider;
use super::{Provider, ProviderError};
use crate::ProviderName;
use crate::assets::Assets;
use crate::image;
use crate::journal::Journal;
use crate::paths::EnginePaths;
use crate::settings::EngineSettings;

/// The parts of an engine that its provider needs.
pub struct Surroundings<'a> {
    pub paths: &'a EnginePaths,
    pub settings: &'a EngineSettings,
    pub journal: Arc<Journal>,
}

/// Makes the provider, and has it remove the remains of earlier engines' clusters.
///
/// # Errors
/// If this machine lacks something that the provider needs.
pub async fn connect(name: ProviderName, surroundings: Surroundings<'_>) -> Result<Arc<dyn Provider>, ProviderError> {
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
            let images = Images { directory: image::directory(&paths.cache_directory), made: Mutex::default() };
            let provider = AppleProvider::connect(apple, Arc::new(images)).await?;
            tracing::info!(program = provider.program_version(), "making clusters with `container`");
            let provider = Arc::new(provider);
            let sweeping = Arc::clone(&provider);
            // Calls can hang, and clients wait for the engine to start.
            tokio::spawn(async move {
                match sweeping.sweep().await {
                    Ok(Some(swept)) => tracing::info!(?swept, "swept the containers"),
                    Ok(None) => {}
                    Err(error) => {
                        let error = crate::error_text::with_causes(&error);
                        tracing::warn!(error, "the containers of dead engines could not be swept");
                    }
                }
            });
            Ok(provider)
        }
    }
}

/// The images that this engine has used, kept because looking for one asks a compiler for its version.
struct Images {
    directory: PathBuf,
    /// Images by the identity of the binaries. The lock is held while one is made, as other callers need it anyway.
    made: Mutex<HashMap<String, ClusterImage>>,
}

impl ImageSource for Images {
    fn image(&self, assets: &Assets) -> Result<ClusterImage, Box<dyn Error + Send + Sync>> {
        let mut made = self.made.lock().unwrap_or_else(PoisonError::into_inner);
        // It may have been pruned since.
        if let Some(known) = made.get(&assets.identity).filter(|known| known.archive.exists()) {
            return Ok(known.clone());
        }
        let image = image::build(assets, image::Architecture::host()?, &self.directory)?;
        let image = ClusterImage { reference: image.reference, archive: image.archive, digest: image.digest };
        made.insert(assets.identity.clone(), image.clone());
        Ok(image)
    }
}
