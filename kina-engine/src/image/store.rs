//! The images of one directory: archives, and records of what each was made from.
//!
//! An archive appears by one rename of a file that is complete and on disk; its record is written after it, and an
//! archive without one is as good as none. Work in progress lies in `staging`, under the lock; so whoever holds the lock
//! knows that everything there was left behind by somebody who died.

use std::fs::{File, FileTimes, TryLockError};
use std::io;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant, SystemTime};

use serde::{Deserialize, Serialize};

use super::architecture::Architecture;
use super::error::ImageError;
use crate::assets::KubernetesMinor;
use crate::backoff::Backoff;

/// Two processors and a few minors; each takes 200 MB.
const IMAGES_KEPT_MAX: usize = 4;
/// Making an image takes a second or two.
const LOCK_TIMEOUT: Duration = Duration::from_secs(120);
const LOCK_POLL_INTERVAL: Duration = Duration::from_millis(50);

/// What is known of an archive.
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

    /// Where the archive of a record is.
    pub(super) fn archive(&self, record: &Record) -> PathBuf {
        self.directory.join(&record.archive_name)
    }

    /// The image that was made under `key`, if it is all there. It counts as used.
    pub(super) fn find(&self, key: &str) -> Option<Record> {
        let path = self.record_path(key);
        let record = self.trusted(&path)?;
        // Only decides what goes first when there are too many.
        let now = FileTimes::new().set_modified(SystemTime::now());
        let _ = File::options().write(true).open(&path).and_then(|file| file.set_times(now));
        Some(record)
    }

    /// The image that was used last, of those for `architecture` and, if one is named, of a minor.
    pub(super) fn last_used(&self, architecture: Architecture, minor: Option<KubernetesMinor>) -> Option<Record> {
        let prefix = minor.map(|minor| format!("{minor}.")).unwrap_or_default();
        self.records_last_used_first()
            .into_iter()
            .filter_map(|path| self.trusted(&path))
            .find(|record| record.architecture == architecture.name() && record.kubernetes.starts_with(&prefix))
    }

    /// Waits for the right to change the directory, and removes what earlier holders left behind.
    pub(super) fn lock(&'a self) -> Result<ImageLock<'a>, ImageError> {
        for directory in [self.directory.to_owned(), self.records(), self.staging()] {
            std::fs::create_dir_all(&directory).map_err(|error| ImageError::store("create", &directory, error))?;
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

    /// The record at `path`, if it can be read and its archive is what it says.
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
    /// A new file to write an archive into, and where it is.
    pub(super) fn stage(&self) -> Result<(File, PathBuf), ImageError> {
        let path = self.store.staging().join("archive.tar");
        match File::create_new(&path) {
            Ok(file) => Ok((file, path)),
            Err(error) => Err(ImageError::store("create", &path, error)),
        }
    }

    /// Moves a complete archive to its place, and records under `key` what it is.
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

    /// Removes what was not used for longest, until no more archives are left than are kept.
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

/// Removes a file that nobody needs; one that cannot be removed is in nobody's way.
fn remove(path: &Path) {
    if let Err(error) = std::fs::remove_file(path) {
        tracing::warn!(path = %path.display(), %error, "cannot remove what is left of an image");
    }
}

/// Writes a directory to disk, on file systems that know of such a thing.
fn sync_directory(path: &Path) -> Result<(), ImageError> {
    match File::open(path).and_then(|directory| directory.sync_all()) {
        Err(error) if !matches!(error.kind(), io::ErrorKind::InvalidInput | io::ErrorKind::Unsupported) => {
            Err(ImageError::store("write to disk", path, error))
        }
        _ => Ok(()),
    }
}
