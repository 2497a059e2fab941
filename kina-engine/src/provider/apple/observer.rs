//! Notices when the container of a running cluster is gone: one observer for all, which lists them every few seconds. And
//! keeps the logs within their bound that components write in there.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use tokio::sync::{Notify, watch};
use tokio::task::JoinHandle;

use super::cli::ContainerCli;
use super::error::ContainerErrorKind as Kind;
use super::json::{Container, ContainerState};
use super::service::Service;
use crate::earlier_logs;

/// Interval between lists, each of which takes the service some milliseconds.
const INTERVAL: Duration = Duration::from_secs(3);
/// Time after which a service that seems down is asked once more.
const CONFIRM_INTERVAL: Duration = Duration::from_secs(1);

/// Lists containers as long as there is one to be watched.
#[derive(Debug)]
pub(super) struct Observer {
    watched: Arc<Watched>,
    task: JoinHandle<()>,
}

#[derive(Debug, Default)]
struct Watched {
    /// Entries by number. A list says nothing about containers that were first watched after it was asked for.
    entries: Mutex<BTreeMap<u64, Entry>>,
    added: Notify,
}

#[derive(Debug)]
struct Entry {
    container: String,
    log_directory: PathBuf,
    end: watch::Sender<Option<String>>,
}

/// One running container that is watched as long as this value lives.
#[derive(Debug)]
pub(super) struct Watch {
    watched: Arc<Watched>,
    number: u64,
    end: watch::Receiver<Option<String>>,
}

impl Observer {
    /// Starts the task that lists. To be called within a runtime.
    pub(super) fn start(cli: Arc<ContainerCli>, service: Arc<Service>) -> Self {
        let watched = Arc::new(Watched::default());
        let task = tokio::spawn(observe(cli, service, Arc::clone(&watched)));
        Self { watched, task }
    }

    /// Watches a container that was just seen running, and the logs in this directory.
    pub(super) fn watch(&self, container: &str, log_directory: &Path) -> Watch {
        let (sender, end) = watch::channel(None);
        let mut entries = self.watched.lock();
        let number = entries.last_key_value().map_or(0, |(number, _)| number + 1);
        entries.insert(
            number,
            Entry { container: container.to_owned(), log_directory: log_directory.to_owned(), end: sender },
        );
        drop(entries);
        self.watched.added.notify_one();
        Watch { watched: Arc::clone(&self.watched), number, end }
    }
}

impl Drop for Observer {
    fn drop(&mut self) {
        self.task.abort();
    }
}

impl Watch {
    /// Describes the container's end, if one was noticed.
    pub(super) fn ended(&self) -> Option<String> {
        self.end.borrow().clone()
    }

    /// Resolves when it is noticed that the container has ended.
    pub(super) async fn wait_ended(&self) -> String {
        let mut end = self.end.clone();
        let ended = end.wait_for(Option::is_some).await.ok().and_then(|end| end.clone());
        match ended {
            Some(how) => how,
            // The observer is gone, so an end will never be noticed.
            None => std::future::pending().await,
        }
    }
}

impl Drop for Watch {
    fn drop(&mut self) {
        self.watched.lock().remove(&self.number);
    }
}

impl Watched {
    fn lock(&self) -> std::sync::MutexGuard<'_, BTreeMap<u64, Entry>> {
        self.entries.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Returns the containers that are watched and have not ended.
    fn living(&self) -> Vec<(u64, String)> {
        let entries = self.lock();
        let living = entries.iter().filter(|(_, entry)| entry.end.borrow().is_none());
        living.map(|(number, entry)| (*number, entry.container.clone())).collect()
    }

    /// The directories of the logs of those that are watched now.
    fn log_directories(&self) -> Vec<PathBuf> {
        self.lock().values().map(|entry| entry.log_directory.clone()).collect()
    }

    fn end(&self, number: u64, how: &str) {
        if let Some(entry) = self.lock().get(&number) {
            entry.end.send_replace(Some(how.to_owned()));
        }
    }
}

async fn observe(cli: Arc<ContainerCli>, service: Arc<Service>, watched: Arc<Watched>) {
    loop {
        let living = watched.living();
        if living.is_empty() {
            watched.added.notified().await;
            continue;
        }
        keep_logs_bounded(watched.log_directories()).await;
        match cli.list_once().await {
            Ok(containers) => {
                for (number, name) in &living {
                    if let Some(how) = end_of(name, &containers) {
                        watched.end(*number, how);
                    }
                }
            }
            Err(error) if error.kind == Kind::ServiceDown || error.kind == Kind::ServiceInterrupted => {
                tokio::time::sleep(CONFIRM_INTERVAL).await;
                if service.is_down(&cli).await {
                    for (number, _) in &living {
                        // Its virtual machine may still run, but is deleted before the cluster is replaced.
                        watched.end(*number, "the service of `container` is down");
                    }
                }
            }
            // A failed list does not mean that a container has ended.
            Err(error) => tracing::warn!(%error, "containers could not be listed: trying again soon"),
        }
        tokio::time::sleep(INTERVAL).await;
    }
}

async fn keep_logs_bounded(log_directories: Vec<PathBuf>) {
    let kept = tokio::task::spawn_blocking(move || {
        for directory in log_directories {
            if let Err(error) = earlier_logs::keep_bounded(&directory) {
                tracing::warn!(%error, directory = %directory.display(), "logs cannot be kept within their bound");
            }
        }
    });
    // An error is a panic, which is in the log.
    let _ = kept.await;
}

fn end_of(name: &str, containers: &[Container]) -> Option<&'static str> {
    match containers.iter().find(|container| container.id == name).map(|container| container.state) {
        None => Some("its container is gone: it was deleted or pruned"),
        Some(ContainerState::Stopped) => Some("its container has stopped"),
        // The end of a container that is being stopped is noticed later.
        Some(ContainerState::Running | ContainerState::Stopping | ContainerState::Unknown) => None,
    }
}
