//! Containers that outlived their engine, found by their labels when another engine starts.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::time::Duration;

use futures::StreamExt;

use super::cli::ContainerCli;
use super::error::ContainerError;
use super::labels::{ENGINE, Owner};
use crate::living_file::{Found, files_in, look_at};

/// Suffix of the files that are the signs of life of engines with containers.
pub(super) const SUFFIX: &str = "containers";
/// Limit of deletions in one sweep; the next one continues.
const CONTAINERS_MAX: usize = 200;
const DELETIONS_AT_A_TIME: usize = 4;
/// Time limit of all deletions together.
const SWEEP_TIMEOUT: Duration = Duration::from_secs(180);

/// The result of a sweep.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct SweepReport {
    /// Containers of engines that live, left alone.
    pub held: usize,
    /// Containers that outlived their engine, and were deleted.
    pub deleted: Vec<String>,
    /// Containers that could not be deleted: the next sweep tries again.
    pub left: Vec<String>,
}

/// Deletes the containers of this realm whose engine is gone. Others are not touched.
pub(super) async fn sweep(
    cli: &ContainerCli,
    owner: &Owner,
    journal_directory: &Path,
) -> Result<SweepReport, ContainerError> {
    // Read before the list, so that an engine that starts in between is left alone.
    let before = files_by_engine(journal_directory);
    let mut report = SweepReport::default();
    let mut by_engine: BTreeMap<String, Vec<String>> = BTreeMap::new();
    for container in cli.list().await? {
        let engine = container.labels.get(ENGINE).cloned().unwrap_or_default();
        if owner.is_of_realm(&container.labels) && engine != owner.engine() {
            by_engine.entry(engine).or_default().push(container.id);
        }
    }
    let mut doomed = Vec::new();
    // Locks of dead engines' files, held to the end, so that no other engine sweeps the same containers.
    let mut locks = Vec::new();
    let after = files_by_engine(journal_directory);
    for (engine, path) in &before {
        match look_at(path) {
            Ok(Some(Found::Left(lock))) => locks.push((engine.clone(), path.clone(), lock)),
            Ok(Some(Found::Held) | None) => {}
            Err(error) => tracing::warn!(path = %path.display(), %error, "cannot determine if its engine lives"),
        }
    }
    for (engine, containers) in by_engine {
        let is_dead = locks.iter().any(|(dead, ..)| *dead == engine) || !after.contains_key(&engine);
        if is_dead { doomed.extend(containers) } else { report.held += containers.len() }
    }
    report.left = doomed.split_off(doomed.len().min(CONTAINERS_MAX));
    let mut deletions = futures::stream::iter(doomed.clone())
        .map(|name| async move { (cli.delete(&name, owner).await, name) })
        .buffer_unordered(DELETIONS_AT_A_TIME);
    let collected = tokio::time::timeout(SWEEP_TIMEOUT, async {
        while let Some((deleted, name)) = deletions.next().await {
            match deleted {
                Ok(()) => report.deleted.push(name),
                Err(error) => tracing::warn!(name, %error, "a dead engine's container cannot be deleted"),
            }
        }
    });
    if collected.await.is_err() {
        tracing::warn!("deleting the containers of dead engines takes too long: the next engine continues");
    }
    drop(deletions);
    report.left.extend(doomed.into_iter().filter(|name| !report.deleted.contains(name)));
    if report.left.is_empty() {
        for (_, path, _lock) in &locks {
            let _ = std::fs::remove_file(path);
        }
    }
    Ok(report)
}

/// Returns the engine that a file of this path belongs to, as in its containers' labels.
pub(super) fn engine_of(path: &Path) -> String {
    path.file_stem().map(|stem| stem.to_string_lossy().into_owned()).unwrap_or_default()
}

fn files_by_engine(journal_directory: &Path) -> BTreeMap<String, PathBuf> {
    files_in(journal_directory, SUFFIX).into_iter().map(|path| (engine_of(&path), path)).collect()
}
