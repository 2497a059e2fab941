//! kina's store of assets, in the layout that setup-envtest uses: `k8s/<version>-<os>-<arch>/<program>`.
//!
//! The program that simulates nodes goes with every version: `kwok/<version>-<os>-<arch>/kwok`.
//!
//! A directory or a file appears in the store only by one rename, complete and on disk. Work in progress lies in
//! `staging`, beside the store on the same file system, under the lock of its minor; so for the holder of that lock,
//! everything there under the same name was left behind by a process that died.

use std::fs::{File, TryLockError};
use std::io;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant, SystemTime};

use tempfile::TempDir;

use super::binaries::{Binaries, COMPONENTS, CONTROLLER_COMPONENTS, KWOK, KWOK_VERSION, problem_of};
use super::error::AssetsError;
use super::platform::Platform;
use super::request::AssetRequest;
use super::{Progress, Report};
use crate::assets::version::KubernetesVersion;
use crate::backoff::Backoff;
use crate::kubernetes_minor::KubernetesMinor;
use crate::set_aside::set_aside;
use crate::trust::{close_to_others, create_directories, expect_directory_below};

/// Staging directories of other minors are left alone until no process can still be at work in them.
const STAGING_AGE_MAX: Duration = Duration::from_secs(24 * 60 * 60);
const LOCK_POLL_INTERVAL: Duration = Duration::from_millis(100);

/// The exclusive right to add binaries of one minor to the store; given back when dropped.
pub(super) struct StoreLock<'a> {
    request: &'a AssetRequest,
    _file: File,
}

/// The directory that holds the version directories, below the root of a store.
pub(super) fn versions_directory(root: &Path) -> PathBuf {
    root.join("k8s")
}

/// The root of kina's store.
pub(super) fn root(cache_directory: &Path) -> PathBuf {
    cache_directory.join("assets")
}

/// The directory of the binaries of one version of Kubernetes, below the root of a store.
pub(super) fn version_directory(root: &Path, version: KubernetesVersion, platform: &Platform) -> PathBuf {
    versions_directory(root).join(format!("{version}-{platform}"))
}

/// The path of the program that simulates nodes, below the root of kina's store.
pub(super) fn kwok_path(root: &Path, platform: &Platform) -> PathBuf {
    root.join(KWOK).join(format!("{KWOK_VERSION}-{platform}")).join(KWOK)
}

/// The newest complete set of `minor` in the store at `root`, or why there is none.
pub(super) fn newest_complete(
    root: &Path,
    minor: KubernetesMinor,
    platform: &Platform,
) -> Result<(KubernetesVersion, Binaries), String> {
    let directory = versions_directory(root);
    let entries = match std::fs::read_dir(&directory) {
        Ok(entries) => entries,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Err("the store does not exist".to_owned()),
        Err(error) => return Err(format!("the store cannot be read: {error}")),
    };
    let suffix = format!("-{platform}");
    let mut versions: Vec<KubernetesVersion> = entries
        .filter_map(|entry| entry.ok()?.file_name().to_str()?.strip_suffix(&suffix)?.parse().ok())
        .filter(|version: &KubernetesVersion| version.is_of(minor))
        .collect();
    versions.sort_unstable_by(|one, other| other.cmp(one));
    let mut problems = Vec::new();
    for version in versions {
        match Binaries::in_directory(&directory.join(format!("{version}{suffix}"))) {
            Ok(binaries) => return Ok((version, binaries)),
            Err(problem) => problems.push(format!("{version} {problem}")),
        }
    }
    Err(if problems.is_empty() { format!("holds no {minor} for {platform}") } else { problems.join("; ") })
}

impl<'a> StoreLock<'a> {
    /// Waits for the lock of the wanted minor, and removes what earlier holders left behind.
    pub(super) fn acquire(request: &'a AssetRequest, report: &Report<'_>) -> Result<Self, AssetsError> {
        let root = root(&request.cache_directory);
        for directory in [versions_directory(&root), root.join("locks"), root.join("staging")] {
            create_directories(&directory).map_err(|error| AssetsError::store("create", &directory, error))?;
            // Before anything is put there, and not only before it is run.
            expect_directory_below(&request.rule(), &request.cache_directory, &directory)?;
        }
        let path = root.join("locks").join(format!("{}-{}.lock", request.minor, request.platform));
        let file = File::options()
            .create(true)
            .truncate(false)
            .write(true)
            .open(&path)
            .map_err(|error| AssetsError::store("open", &path, error))?;
        let started = Instant::now();
        let mut reported: Option<Instant> = None;
        Backoff::poll(LOCK_POLL_INTERVAL, request.limits.lock_timeout)
            .run_blocking(
                || file.try_lock(),
                |error| matches!(error, TryLockError::WouldBlock) && !request.is_cancelled(),
                |_, _| {
                    if reported.is_none_or(|reported| reported.elapsed() >= request.limits.report_interval) {
                        reported = Some(Instant::now());
                        report(Progress::new(format!(
                            "waiting for another process that is providing Kubernetes {} ({} s so far)",
                            request.minor,
                            started.elapsed().as_secs()
                        )));
                    }
                },
            )
            .map_err(|error| match error {
                TryLockError::WouldBlock if request.is_cancelled() => AssetsError::Cancelled { minor: request.minor },
                TryLockError::WouldBlock => {
                    AssetsError::LockTimeout { minor: request.minor, lock: path.clone(), waited: started.elapsed() }
                }
                TryLockError::Error(error) => AssetsError::store("lock", &path, error),
            })?;
        let lock = Self { request, _file: file };
        lock.remove_leftovers();
        Ok(lock)
    }

    /// An empty directory to work in; removed when dropped.
    pub(super) fn staging(&self) -> Result<TempDir, AssetsError> {
        let directory = self.staging_directory();
        tempfile::Builder::new()
            .prefix(&self.staging_prefix())
            .tempdir_in(&directory)
            .map_err(|error| AssetsError::store("create a directory in", &directory, error))
    }

    /// Moves the binaries in `directory`, which lies in a staging directory, into the store as `version`.
    pub(super) fn publish(&self, directory: &Path, version: KubernetesVersion) -> Result<(), AssetsError> {
        for path in COMPONENTS.iter().map(|name| directory.join(name)) {
            close_to_others(&path)
                .and_then(|()| File::open(&path)?.sync_all())
                .map_err(|error| AssetsError::store("write to disk", &path, error))?;
        }
        close_to_others(directory).map_err(|error| AssetsError::store("write to disk", directory, error))?;
        sync_directory(directory)?;
        Binaries::in_directory(directory).map_err(|problem| {
            let problem = io::Error::other(format!("it {problem}, after it was written"));
            AssetsError::store("use", directory, problem)
        })?;
        let versions = versions_directory(&root(&self.request.cache_directory));
        let destination = self.version_directory(version);
        if Binaries::in_directory(&destination).is_ok() {
            return Ok(());
        }
        // Controllers may have been there before their control plane.
        for component in CONTROLLER_COMPONENTS {
            let (here, there) = (destination.join(component), directory.join(component));
            if problem_of(&here, component).is_none() {
                std::fs::rename(&here, &there).map_err(|error| AssetsError::store("create", &there, error))?;
            }
        }
        if std::fs::symlink_metadata(&destination).is_ok() {
            // Something incomplete or foreign is in the way, and a directory with content cannot be renamed over. It
            // may be large, so that only the last such thing is kept.
            set_aside(&destination, 1, "an incomplete version in the store of binaries")
                .ok_or_else(|| AssetsError::store("set aside", &destination, io::Error::other("see the log")))?;
        }
        std::fs::rename(directory, &destination).map_err(|error| AssetsError::store("create", &destination, error))?;
        sync_directory(&versions)
    }

    /// Moves the program at `path`, which lies in a staging directory, into the store as `component` of `version`.
    pub(super) fn add(&self, path: &Path, component: &str, version: KubernetesVersion) -> Result<(), AssetsError> {
        add_file(path, component, &self.version_directory(version).join(component))
    }

    /// Moves the program that simulates nodes, which lies in a staging directory, into the store.
    pub(super) fn add_kwok(&self, path: &Path) -> Result<(), AssetsError> {
        add_file(path, KWOK, &kwok_path(&root(&self.request.cache_directory), &self.request.platform))
    }

    fn version_directory(&self, version: KubernetesVersion) -> PathBuf {
        version_directory(&root(&self.request.cache_directory), version, &self.request.platform)
    }

    fn staging_directory(&self) -> PathBuf {
        root(&self.request.cache_directory).join("staging")
    }

    fn staging_prefix(&self) -> String {
        format!("{}-{}.", self.request.minor, self.request.platform)
    }

    /// Removes staging directories that no process works in; one that cannot be removed does no harm.
    fn remove_leftovers(&self) {
        let Ok(entries) = std::fs::read_dir(self.staging_directory()) else { return };
        let prefix = self.staging_prefix();
        for entry in entries.flatten() {
            let is_ours = entry.file_name().to_str().is_some_and(|name| name.starts_with(&prefix));
            if is_ours || is_older_than(&entry, STAGING_AGE_MAX) {
                let path = entry.path();
                if let Err(error) = std::fs::remove_dir_all(&path) {
                    tracing::warn!(path = %path.display(), %error, "cannot remove a leftover staging directory");
                }
            }
        }
    }
}

/// Puts a file that is complete and on disk in its place, by one rename.
fn add_file(path: &Path, component: &str, destination: &Path) -> Result<(), AssetsError> {
    close_to_others(path)
        .and_then(|()| File::open(path)?.sync_all())
        .map_err(|error| AssetsError::store("write to disk", path, error))?;
    if let Some(problem) = problem_of(path, component) {
        return Err(AssetsError::store("use", path, io::Error::other(format!("{problem}, after it was written"))));
    }
    let directory = destination.parent().unwrap_or(destination);
    create_directories(directory).map_err(|error| AssetsError::store("create", directory, error))?;
    std::fs::rename(path, destination).map_err(|error| AssetsError::store("create", destination, error))?;
    sync_directory(directory)
}

/// Writes a directory to disk, on file systems that know of such a thing.
fn sync_directory(path: &Path) -> Result<(), AssetsError> {
    match File::open(path).and_then(|directory| directory.sync_all()) {
        Err(error) if !matches!(error.kind(), io::ErrorKind::InvalidInput | io::ErrorKind::Unsupported) => {
            Err(AssetsError::store("write to disk", path, error))
        }
        _ => Ok(()),
    }
}

fn is_older_than(entry: &std::fs::DirEntry, age: Duration) -> bool {
    let modified = entry.metadata().and_then(|metadata| metadata.modified());
    modified.is_ok_and(|modified| SystemTime::now().duration_since(modified).is_ok_and(|elapsed| elapsed > age))
}
