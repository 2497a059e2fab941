//! The image that clusters are started from: made elsewhere and loaded here.
//!
//! A user can remove it at any time, and a create without it does not say so: it tries for about 40 s to pull the image
//! from a registry that does not exist. So the image is asked for directly before each create.

use std::collections::HashMap;
use std::path::PathBuf;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use tokio::sync::Semaphore;

use super::cli::ContainerCli;
use super::command;
use super::error::{ContainerError, ContainerErrorKind as Kind};
use super::json::{self, bare_digest};
use super::service::Service;
use crate::assets::Assets;
use crate::backoff::Backoff;

/// Images that are loaded at a time, since each load uses the disk and a core.
const LOADS_MAX: usize = 3;
/// Number of times that a load is tried if its outcome is unknown.
const TRIES_MAX: usize = 2;
/// Repetition of the question if an image is loaded, until the service answers.
const ASK_AGAIN: Backoff = Backoff {
    first_delay: Duration::from_millis(300),
    longest_delay: Duration::from_secs(1),
    retries_max: 2,
    elapsed_max: Duration::from_secs(20),
    jitter: false,
};

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

/// The loads of images by this engine.
#[derive(Debug)]
pub(super) struct Images {
    turns: Semaphore,
    /// By digest.
    loads: Mutex<HashMap<String, Arc<Loads>>>,
}

/// The loads of one image.
#[derive(Debug, Default)]
struct Loads {
    /// Held during a load.
    loading: tokio::sync::Mutex<()>,
    count: AtomicU64,
}

/// The answer to the question if an image is loaded.
#[derive(Debug)]
pub(super) enum Presence {
    Loaded,
    /// There is none of this name, or one of another content.
    Missing,
    /// The service did not answer.
    Unknown(ContainerError),
}

/// The question if an image is loaded, and the answer.
#[derive(Debug)]
pub(super) struct Asked {
    pub(super) presence: Presence,
    loads: Arc<Loads>,
    /// The number of loads before the question.
    count_before: u64,
}

impl Images {
    pub(super) fn new() -> Self {
        Self { turns: Semaphore::new(LOADS_MAX), loads: Mutex::new(HashMap::new()) }
    }

    /// Asks once if the image is loaded. The exit code, the name and the digest decide: the texts of errors differ from
    /// version to version.
    pub(super) async fn ask(&self, cli: &ContainerCli, image: &ClusterImage) -> Asked {
        let loads = Arc::clone(self.lock().entry(image.digest.clone()).or_default());
        let count_before = loads.count.load(Ordering::SeqCst);
        Asked { presence: presence(cli, image).await, loads, count_before }
    }

    /// Returns when the image is loaded, after a question that had another answer. Concurrent calls for the same image
    /// share one load.
    pub(super) async fn provide(
        &self,
        cli: &ContainerCli,
        service: &Service,
        image: &ClusterImage,
        asked: Asked,
    ) -> Result<(), ContainerError> {
        let Asked { presence, loads, count_before } = asked;
        let _alone = loads.loading.lock().await;
        if loads.count.load(Ordering::SeqCst) != count_before {
            return Ok(());
        }
        // A service that is down knows no image either.
        let is_loaded = match presence {
            Presence::Loaded => true,
            Presence::Missing if !service.is_down(cli).await => false,
            Presence::Missing | Presence::Unknown(_) => {
                service.ensure(cli).await?;
                ask_until_answered(cli, image).await?
            }
        };
        if !is_loaded {
            self.load(cli, image).await?;
            loads.count.fetch_add(1, Ordering::SeqCst);
        }
        Ok(())
    }

    async fn load(&self, cli: &ContainerCli, image: &ClusterImage) -> Result<(), ContainerError> {
        let command = command::image_load(&image.archive);
        // The semaphore is never closed.
        let _turn = self.turns.acquire().await;
        let mut said = None;
        for _ in 0..TRIES_MAX {
            tracing::info!(image = image.reference, archive = %image.archive.display(), "loading the image");
            said = match cli.run(&command).await {
                // It prints the names of the images that it has loaded.
                Ok(answer) if String::from_utf8_lossy(&answer.output).lines().any(|name| name == image.reference) => {
                    return Ok(());
                }
                loaded => loaded.err(),
            };
            if ask_until_answered(cli, image).await? {
                return Ok(());
            }
            if said.as_ref().is_none_or(|error| !error.kind.leaves_open_what_happened()) {
                break;
            }
        }
        Err(said.unwrap_or_else(|| {
            let answer = format!("succeeded, but {} with {} is not there", image.reference, image.digest);
            ContainerError::new(Kind::ImageMissing, cli.describe(&command), answer)
        }))
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, HashMap<String, Arc<Loads>>> {
        self.loads.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Asks until there is an answer, within a bound.
async fn ask_until_answered(cli: &ContainerCli, image: &ClusterImage) -> Result<bool, ContainerError> {
    let ask = || async {
        match presence(cli, image).await {
            Presence::Loaded => Ok(true),
            Presence::Missing => Ok(false),
            Presence::Unknown(error) => Err(error),
        }
    };
    ASK_AGAIN.run(ask, |_| true, |error, _| tracing::info!(%error, "asking for the image failed: trying again")).await
}

async fn presence(cli: &ContainerCli, image: &ClusterImage) -> Presence {
    let command = command::image_inspect(&image.reference);
    let answer = match cli.run_whatever_it_says(&command).await {
        Ok(answer) => answer,
        Err(error) => return Presence::Unknown(error),
    };
    if !answer.is_success() {
        let error = ContainerError::of_answer(cli.describe(&command), &answer);
        return match error.kind {
            Kind::ServiceDown | Kind::ServiceInterrupted | Kind::ServiceHung => Presence::Unknown(error),
            _ => Presence::Missing,
        };
    }
    let images = match json::images(&answer.output) {
        Ok(images) => images,
        Err(unreadable) => return Presence::Unknown(cli.unreadable(&command, &unreadable)),
    };
    let digest = bare_digest(&image.digest);
    let is_it = |loaded: &json::LoadedImage| {
        loaded.name == image.reference && loaded.digests.iter().any(|loaded| loaded == digest)
    };
    if images.iter().any(is_it) { Presence::Loaded } else { Presence::Missing }
}
