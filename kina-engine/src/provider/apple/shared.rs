//! State that the provider shares with its clusters.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use super::call::Caller;
use super::cli::{ContainerCli, Patience};
use super::death_watcher::DeathWatcher;
use super::error::ContainerError;
use super::image::Images;
use super::labels::{Owner, REALM};
use super::leftovers::Leftovers;
use super::observer::Observer;
use super::service::Service;
use super::settings::AppleSettings;
use super::sweep::{SUFFIX, engine_of, sweep};
use crate::living_file::LivingFile;
use crate::provider::ProviderError;

pub(super) struct Shared {
    pub(super) cli: Arc<ContainerCli>,
    pub(super) service: Arc<Service>,
    pub(super) images: Images,
    pub(super) owner: Owner,
    pub(super) settings: AppleSettings,
    pub(super) observer: Observer,
    pub(super) leftovers: Leftovers,
    /// A sign of life for other engines that find this one's containers.
    living: LivingFile,
    /// Set once the service was seen running and the sweep was started.
    was_prepared: AtomicBool,
}

impl Shared {
    /// Starts the background tasks. To be called within a runtime.
    pub(super) fn new(settings: AppleSettings, patience: Patience) -> Result<Self, ProviderError> {
        let spawn_error = |source| ProviderError::Spawn { program: "/bin/sh".into(), source };
        let living = LivingFile::create(&settings.journal_directory, SUFFIX, b"").map_err(|source| {
            ProviderError::Files { action: "making a file in", path: settings.journal_directory.clone(), source }
        })?;
        let owner = Owner::new(&settings.journal_directory, &engine_of(living.path()));
        let cli = Arc::new(ContainerCli::new(Caller::new(settings.program.clone()).map_err(spawn_error)?, patience));
        let service = Arc::new(Service::new(settings.start_service));
        let death_watcher = DeathWatcher::start(&settings.program, REALM, owner.realm()).map_err(spawn_error)?;
        Ok(Self {
            observer: Observer::start(Arc::clone(&cli), Arc::clone(&service)),
            leftovers: Leftovers::start(Arc::clone(&cli), Arc::clone(&service), owner.clone(), death_watcher),
            images: Images::new(),
            cli,
            service,
            owner,
            settings,
            living,
            was_prepared: AtomicBool::new(false),
        })
    }

    /// Returns when the service runs, with its version, if it tells that. The first time, also compares versions and
    /// starts a sweep of dead engines' containers.
    pub(super) async fn prepare(&self) -> Result<Option<String>, ContainerError> {
        let version = self.service.ensure(&self.cli).await?;
        if self.was_prepared.swap(true, Ordering::Relaxed) {
            return Ok(version);
        }
        match self.service.version_skew(&self.cli).await {
            Ok(Some((client, server))) => tracing::warn!(
                client,
                server,
                "the service of `container` has another version than the program: run `container system stop` and \
                 `container system start`"
            ),
            Ok(None) => {}
            Err(error) => tracing::warn!(%error, "the versions of `container` could not be compared"),
        }
        let (cli, owner, directory) =
            (Arc::clone(&self.cli), self.owner.clone(), self.settings.journal_directory.clone());
        tokio::spawn(async move {
            match sweep(&cli, &owner, &directory).await {
                Ok(report) => tracing::info!(?report, "swept the containers of dead engines"),
                Err(error) => tracing::warn!(%error, "the containers of dead engines could not be swept"),
            }
        });
        Ok(version)
    }
}

impl Drop for Shared {
    fn drop(&mut self) {
        // If a container is left, the next engine must see by the lock that this one is dead.
        if self.leftovers.is_empty() {
            let _ = self.living.remove();
        }
    }
}
