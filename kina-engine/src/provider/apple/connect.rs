//! The provider for an engine: its settings, its images, and the removal of what dead engines left.

use std::collections::HashMap;
use std::error::Error;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};

use super::apple_error::AppleError;
use super::image::{ClusterImage, ImageSource};
use super::settings::{AppleSettings, PROGRAM_VARIABLE, find_program};
use super::{AppleProvider, Provider, ProviderFuture};
use crate::assets::Assets;
use crate::image;
use crate::provider::EngineParts;

/// Makes the provider, and has it remove the containers of dead engines.
pub(in crate::provider) fn connect(engine_parts: EngineParts<'_>) -> ProviderFuture<'_, Arc<dyn Provider>> {
    Box::pin(async move {
        let EngineParts { paths, settings, .. } = engine_parts;
        let variable = |name| std::env::var_os(name);
        let program = find_program(variable(PROGRAM_VARIABLE).as_deref(), variable("PATH").as_deref());
        let program = program.ok_or(AppleError::NoProgram)?;
        let (states, logs) = (paths.cluster_directory.clone(), paths.cluster_log_directory.clone());
        let mut apple = AppleSettings::new(program, states, logs, paths.journal_directory.clone());
        if let Some(cpus) = settings.cluster_cpus.and_then(|cpus| u32::try_from(cpus).ok()) {
            apple.cpus = cpus;
        }
        apple.memory_bytes = settings.cluster_memory_bytes.unwrap_or(apple.memory_bytes);
        apple.state_variable = paths.state_variable();
        let images = BuiltImages { directory: image::directory(&paths.cache_directory), made: Mutex::default() };
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
        Ok(provider as Arc<dyn Provider>)
    })
}

/// The images that this engine has used, kept because looking for one asks a compiler for its version.
struct BuiltImages {
    directory: PathBuf,
    /// Images by the identity of the binaries. The lock is held while one is made, as other callers need it anyway.
    made: Mutex<HashMap<String, ClusterImage>>,
}

impl ImageSource for BuiltImages {
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
