//! The image that clusters are started from: made elsewhere and loaded here, once.

use std::collections::HashMap;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};

use tokio::sync::{OnceCell, Semaphore};

use super::cli::ContainerCli;
use super::command;
use super::error::{ContainerError, ContainerErrorKind as Kind};
use super::json::{self, bare_digest};
use crate::assets::Assets;

/// Images that are loaded at a time, since each load uses the disk and a core.
const LOADS_MAX: usize = 3;
/// Number of times that a load is tried if its outcome is unknown.
const TRIES_MAX: usize = 2;

/// Makes images. Called from a thread that may block.
pub trait ImageSource: Send + Sync {
    /// Returns the image with these binaries, and makes it first if need be.
    ///
    /// # Errors
    /// If it cannot be made.
    fn image(&self, assets: &Assets) -> Result<ClusterImage, Box<dyn std::error::Error + Send + Sync>>;
}

impl<Make> ImageSource for Make
where
    Make: Fn(&Assets) -> Result<ClusterImage, Box<dyn std::error::Error + Send + Sync>> + Send + Sync,
{
    fn image(&self, assets: &Assets) -> Result<ClusterImage, Box<dyn std::error::Error + Send + Sync>> {
        self(assets)
    }
}

/// An image that can be loaded.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ClusterImage {
    /// Its full name, with host and tag.
    pub reference: String,
    /// The OCI archive.
    pub archive: PathBuf,
    /// The digest of its manifest: `sha256:…`.
    pub digest: String,
}

/// The images that this engine knows to be loaded.
#[derive(Debug)]
pub(super) struct Images {
    loads: Semaphore,
    /// Cells by digest. An image is loaded when its cell is set.
    loaded: Mutex<HashMap<String, Arc<OnceCell<()>>>>,
}

impl Images {
    pub(super) fn new() -> Self {
        Self { loads: Semaphore::new(LOADS_MAX), loaded: Mutex::new(HashMap::new()) }
    }

    /// Returns when the image is loaded. Concurrent calls for the same image share one load.
    pub(super) async fn ensure(&self, cli: &ContainerCli, image: &ClusterImage) -> Result<(), ContainerError> {
        let cell = Arc::clone(self.lock().entry(image.digest.clone()).or_default());
        cell.get_or_try_init(|| self.load(cli, image)).await.copied()
    }

    /// Forgets an image that has been removed, so that the next call looks again.
    pub(super) fn forget(&self, image: &ClusterImage) {
        self.lock().remove(&image.digest);
    }

    async fn load(&self, cli: &ContainerCli, image: &ClusterImage) -> Result<(), ContainerError> {
        if is_loaded(cli, image).await? {
            return Ok(());
        }
        let command = command::image_load(&image.archive);
        // The semaphore is never closed.
        let _turn = self.loads.acquire().await;
        let mut said = None;
        for _ in 0..TRIES_MAX {
            tracing::info!(image = image.reference, archive = %image.archive.display(), "loading the image");
            said = cli.run(&command).await.err();
            if is_loaded(cli, image).await? {
                return Ok(());
            }
            if said.as_ref().is_none_or(|error| !error.kind.leaves_open_what_happened()) {
                break;
            }
        }
        Err(said.unwrap_or_else(|| {
            let answer = format!("succeeded, but {} with {} is not listed", image.reference, image.digest);
            ContainerError::new(Kind::ImageMissing, cli.describe(&command), answer)
        }))
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, HashMap<String, Arc<OnceCell<()>>>> {
        self.loaded.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

async fn is_loaded(cli: &ContainerCli, image: &ClusterImage) -> Result<bool, ContainerError> {
    let images = cli.look_at(&command::image_list(), json::images).await?;
    let digest = bare_digest(&image.digest);
    let is_it = |loaded: &json::LoadedImage| {
        loaded.name == image.reference && loaded.digests.iter().any(|loaded| loaded == digest)
    };
    Ok(images.iter().any(is_it))
}
