//! Containers of clusters that were dropped half made, or whose deletion failed.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use tokio::sync::watch;
use tokio::task::JoinHandle;

use super::cli::ContainerCli;
use super::death_watcher::DeathWatcher;
use super::error::{ContainerError, ContainerErrorKind as Kind};
use super::labels::Owner;
use super::service::Service;
use crate::provider::ProviderError;
use crate::provider::files::remove_directory;

/// Number of times that a deletion is tried, each with the retries of [`ContainerCli::delete`].
const TRIES_MAX: usize = 3;
const TRY_INTERVAL: Duration = Duration::from_secs(2);
/// Time that an ending engine waits for deletions.
const END_TIMEOUT: Duration = Duration::from_secs(90);

/// Deletes leftover containers, one after the other.
pub(super) struct Leftovers {
    shared: Arc<Shared>,
    task: JoinHandle<()>,
}

struct Shared {
    cli: Arc<ContainerCli>,
    service: Arc<Service>,
    owner: Owner,
    death_watcher: Mutex<DeathWatcher>,
    /// Directories that are removed with their containers, by the container's name.
    waiting: watch::Sender<BTreeMap<String, PathBuf>>,
}

/// A name under which there may be a container. Dropped without [`Self::delete`], the container becomes a leftover.
pub(super) struct Keeper {
    shared: Arc<Shared>,
    name: String,
    directory: PathBuf,
    is_over: bool,
}

impl Leftovers {
    /// Starts the task that deletes. To be called within a runtime.
    pub(super) fn start(
        cli: Arc<ContainerCli>,
        service: Arc<Service>,
        owner: Owner,
        death_watcher: DeathWatcher,
    ) -> Self {
        let (waiting, _) = watch::channel(BTreeMap::new());
        let shared = Arc::new(Shared { cli, service, owner, death_watcher: Mutex::new(death_watcher), waiting });
        let task = tokio::spawn(delete_all(Arc::clone(&shared)));
        Self { shared, task }
    }

    /// Takes care of a container that is about to be made, and of its directory.
    pub(super) fn keep(&self, name: String, directory: PathBuf) -> Result<Keeper, ProviderError> {
        let watched = self.shared.death_watcher().watch(&name);
        watched.map_err(|source| ProviderError::Spawn { program: "/bin/sh".into(), source })?;
        Ok(Keeper { shared: Arc::clone(&self.shared), name, directory, is_over: false })
    }

    /// Waits, within a bound, until no container waits for its deletion.
    pub(super) async fn wait_none(&self) {
        let mut waiting = self.shared.waiting.subscribe();
        if tokio::time::timeout(END_TIMEOUT, waiting.wait_for(BTreeMap::is_empty)).await.is_err() {
            let names: Vec<_> = self.shared.waiting.borrow().keys().cloned().collect();
            tracing::error!(?names, "containers were not deleted in time: the next engine tries again");
        }
    }

    /// Returns true if no container of this engine is left.
    pub(super) fn is_empty(&self) -> bool {
        self.shared.death_watcher().is_empty()
    }
}

impl Drop for Leftovers {
    fn drop(&mut self) {
        self.task.abort();
    }
}

impl Keeper {
    /// Deletes the container; its directory stays. If that fails, the container becomes a leftover.
    pub(super) async fn delete(mut self) -> Result<(), ContainerError> {
        self.shared.delete(&self.name).await?;
        self.is_over = true;
        Ok(())
    }
}

impl Drop for Keeper {
    fn drop(&mut self) {
        if !self.is_over {
            let (name, directory) = (std::mem::take(&mut self.name), std::mem::take(&mut self.directory));
            self.shared.waiting.send_modify(|waiting| drop(waiting.insert(name, directory)));
        }
    }
}

impl Shared {
    fn death_watcher(&self) -> std::sync::MutexGuard<'_, DeathWatcher> {
        self.death_watcher.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Deletes a container. Starts the service if need be, since it does not run after a reboot.
    async fn delete(&self, name: &str) -> Result<(), ContainerError> {
        match self.cli.delete(name, &self.owner).await {
            Err(error) if error.kind == Kind::ServiceDown => {
                self.service.ensure(&self.cli).await?;
                self.cli.delete(name, &self.owner).await?;
            }
            deleted => deleted?,
        }
        self.death_watcher().forget(name);
        Ok(())
    }

    async fn delete_leftover(&self, name: &str) {
        for round in 1..=TRIES_MAX {
            match self.delete(name).await {
                Ok(()) => return,
                Err(error) if round == TRIES_MAX => {
                    tracing::error!(name, %error, "a container was left behind: the next engine tries again");
                }
                Err(error) => {
                    tracing::warn!(name, %error, "a container could not be deleted: trying again soon");
                    tokio::time::sleep(TRY_INTERVAL).await;
                }
            }
        }
    }
}

async fn delete_all(shared: Arc<Shared>) {
    let mut waiting = shared.waiting.subscribe();
    loop {
        let Ok(first) = waiting
            .wait_for(|waiting| !waiting.is_empty())
            .await
            .map(|waiting| waiting.first_key_value().map(|(name, directory)| (name.clone(), directory.clone())))
        else {
            return;
        };
        let Some((name, directory)) = first else { continue };
        shared.delete_leftover(&name).await;
        if let Err(error) = remove_directory(&directory) {
            tracing::warn!(error = crate::error_text::with_causes(&error), "a cluster's directory was left behind");
        }
        shared.waiting.send_modify(|waiting| drop(waiting.remove(&name)));
    }
}
