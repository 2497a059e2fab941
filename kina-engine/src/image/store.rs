//! The images of one directory: archives, and a record for each of them.
//!
//! An archive appears by one rename of a file that is complete and on disk; its record is written after it, and an
//! archive without a record counts as absent. Work in progress lies in `staging`, under the lock, so the holder of the
//! lock knows that everything there was left behind by a process that died.

use std::fs::{File, FileTimes, TryLockError};
use std::io;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant, SystemTime};

use serde::{Deserialize, Serialize};

use super::architecture::Architecture;
use super::error::ImageError;
use crate::assets::KubernetesMinor;
use crate::backoff::Backoff;

/// The number of images that are kept, for two processors and a few minor versions; each takes 200 MB.
const IMAGES_KEPT_MAX: usize = 4;
/// Building an image takes a second or two.
const LOCK_TIMEOUT: Duration = Duration::from_secs(120);
const LOCK_POLL_INTERVAL: Duration = Duration::from_millis(50);

/// The description of an archive.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Record {
    pub(super) reference: String,
    pub(super) archive_name: String,
    pub(super) digest: String,
    pub(super) size_bytes: u64,
    pub(super) architecture: String,
    pub(super) kubernetes: String,
    pub(super) supervisor: String,
}

/// The images of one directory.
pub(super) struct ImageStore<'a> {
    directory: &'a Path,
}

/// The exclusive right to add images and to remove old ones; given back when dropped.
pub(super) struct ImageLock<'a> {
    store: &'a ImageStore<'a>,
    _file: File,
}

impl<'a> ImageStore<'a> {
    pub(super) fn new(directory: &'a Path) -> Self {
        Self { directory }
    }

    /// The path of a record's archive.
    pub(super) fn archive(&self, record: &Record) -> PathBuf {
        self.directory.join(&record.archive_name)
    }

    /// Finds the image that was built under `key`, if it is complete, and marks it as used.
    pub(super) fn find(&self, key: &str) -> Option<Record> {
        let path = self.record_path(key);
        let record = self.trusted(&path)?;
        // May fail: it only decides which image goes first when there are too many.
        let now = FileTimes::new().set_modified(SystemTime::now());
        let _ = File::options().write(true).open(&path).and_then(|file| file.set_times(now));
        Some(record)
    }

    /// The most recently used image for `architecture` and, if given, for a minor version.
    pub(super) fn last_used(&self, architecture: Architecture, minor: Option<KubernetesMinor>) -> Option<Record> {
        let prefix = minor.map(|minor| format!("{minor}.")).unwrap_or_default();
        self.records_last_used_first()
            .into_iter()
            .filter_map(|path| self.trusted(&path))
            .find(|record| record.architecture == architecture.name() && record.kubernetes.starts_with(&prefix))
    }

    /// Waits for the right to change the directory, and removes the leftovers of earlier holders.
    pub(super) fn lock(&'a self) -> Result<ImageLock<'a>, ImageError> {
        for directory in [self.directory.to_owned(), self.records(), self.staging()] {
            crate::trust::create_directories(&directory)
                .map_err(|error| ImageError::store("create", &directory, error))?;
        }
        let path = self.directory.join("lock");
        let file = File::options()
            .create(true)
            .truncate(false)
            .write(true)
            .open(&path)
            .map_err(|error| ImageError::store("open", &path, error))?;
        let started = Instant::now();
        Backoff::poll(LOCK_POLL_INTERVAL, LOCK_TIMEOUT)
            .run_blocking(|| file.try_lock(), |error| matches!(error, TryLockError::WouldBlock), |_, _| {})
            .map_err(|error| match error {
                TryLockError::WouldBlock => ImageError::LockTimeout { lock: path.clone(), waited: started.elapsed() },
                TryLockError::Error(error) => ImageError::store("lock", &path, error),
            })?;
        for leftover in paths_in(&self.staging()) {
            remove(&leftover);
        }
        Ok(ImageLock { store: self, _file: file })
    }

    /// The record at `path`, if it can be read and its archive matches it.
    fn trusted(&self, path: &Path) -> Option<Record> {
        let record: Record = serde_json::from_slice(&std::fs::read(path).ok()?).ok()?;
        let metadata = std::fs::metadata(self.archive(&record)).ok()?;
        (metadata.is_file() && metadata.len() == record.size_bytes).then_some(record)
    }

    fn records_last_used_first(&self) -> Vec<PathBuf> {
        let mut paths: Vec<_> = paths_in(&self.records())
            .into_iter()
            .filter_map(|path| Some((std::fs::metadata(&path).ok()?.modified().ok()?, path)))
            .collect();
        paths.sort_unstable_by(|one, other| other.cmp(one));
        paths.into_iter().map(|(_, path)| path).collect()
    }

    fn record_path(&self, key: &str) -> PathBuf {
        self.records().join(format!("{key}.json"))
    }

    fn records(&self) -> PathBuf {
        self.directory.join("records")
    }

    fn staging(&self) -> PathBuf {
        self.directory.join("staging")
    }
}

impl ImageLock<'_> {
    /// Creates a file to write an archive into, and returns it with its path.
    pub(super) fn stage(&self) -> Result<(File, PathBuf), ImageError> {
        let path = self.store.staging().join("archive.tar");
        match File::create_new(&path) {
            Ok(file) => Ok((file, path)),
            Err(error) => Err(ImageError::store("create", &path, error)),
        }
    }

    /// Moves a complete archive to its place, and writes its record under `key`.
    pub(super) fn publish(&self, staged: &Path, key: &str, record: &Record) -> Result<(), ImageError> {
        let archive = self.store.archive(record);
        std::fs::rename(staged, &archive).map_err(|error| ImageError::store("create", &archive, error))?;
        sync_directory(self.store.directory)?;
        let path = self.store.record_path(key);
        let staged = self.store.staging().join("record.json");
        serde_json::to_vec(record)
            .map_err(io::Error::from)
            .and_then(|text| std::fs::write(&staged, text))
            .and_then(|()| File::open(&staged)?.sync_all())
            .and_then(|()| std::fs::rename(&staged, &path))
            .map_err(|error| ImageError::store("write", &path, error))?;
        self.prune();
        Ok(())
    }

    /// Removes the least recently used images beyond the number that is kept.
    fn prune(&self) {
        let mut kept = Vec::new();
        for path in self.store.records_last_used_first() {
            match self.store.trusted(&path) {
                Some(record) if kept.contains(&record.archive_name) => {}
                Some(record) if kept.len() < IMAGES_KEPT_MAX => kept.push(record.archive_name),
                _ => remove(&path),
            }
        }
        let is_archive = |path: &PathBuf| path.extension().is_some_and(|extension| extension == "tar");
        for path in paths_in(self.store.directory).into_iter().filter(is_archive) {
            let is_kept = kept.iter().any(|name| path.file_name().is_some_and(|other| other == name.as_str()));
            if !is_kept {
                remove(&path);
            }
        }
    }
}

fn paths_in(directory: &Path) -> Vec<PathBuf> {
    let Ok(entries) = std::fs::read_dir(directory) else { return Vec::new() };
    entries.flatten().map(|entry| entry.path()).collect()
}

/// Removes a file that is not needed; one that cannot be removed does no harm.
fn remove(path: &Path) {
    if let Err(error) = std::fs::remove_file(path) {
        tracing::warn!(path = %path.display(), %error, "cannot remove a leftover of an image");
    }
}

/// Syncs a directory to disk, on file systems that support it.
fn sync_directory(path: &Path) -> Result<(), ImageError> {
    match File::open(path).and_then(|directory| directory.sync_all()) {
        Err(error) if !matches!(error.kind(), io::ErrorKind::InvalidInput | io::ErrorKind::Unsupported) => {
            Err(ImageError::store("write to disk", path, error))
        }
        _ => Ok(()),
    }
}
