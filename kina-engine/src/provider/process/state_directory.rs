//! Directories of clusters that were dropped half made, or without having been destroyed.

use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};

use crate::provider::ProviderError;
use crate::provider::files::remove_directory;

/// Directories that are to be removed once nothing runs in them any more.
#[derive(Clone, Debug, Default)]
pub(super) struct Abandoned(Arc<Mutex<Vec<PathBuf>>>);

/// A cluster's directory. Dropped without having been removed, it is abandoned.
#[derive(Debug)]
pub(super) struct StateDirectory {
    path: PathBuf,
    abandoned: Abandoned,
    is_removed: Mutex<bool>,
}

impl Abandoned {
    /// Removes them. To be called when none of their processes runs any more.
    pub(super) fn remove_all(&self) {
        let paths = std::mem::take(&mut *self.0.lock().unwrap_or_else(PoisonError::into_inner));
        for path in paths {
            if let Err(error) = remove_directory(&path) {
                tracing::warn!(error = crate::error_text::with_causes(&error), "a cluster's directory was left behind");
            }
        }
    }
}

impl StateDirectory {
    /// Names the directory at `path`, which need not exist yet.
    pub(super) fn new(path: PathBuf, abandoned: Abandoned) -> Self {
        Self { path, abandoned, is_removed: Mutex::new(false) }
    }

    pub(super) fn path(&self) -> &Path {
        &self.path
    }

    /// Returns true if [`Self::remove`] has removed it.
    pub(super) fn is_removed(&self) -> bool {
        *self.is_removed.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn remove(&self) -> Result<(), ProviderError> {
        remove_directory(&self.path)?;
        *self.is_removed.lock().unwrap_or_else(PoisonError::into_inner) = true;
        Ok(())
    }
}

impl Drop for StateDirectory {
    fn drop(&mut self) {
        if !self.is_removed() {
            self.abandoned.0.lock().unwrap_or_else(PoisonError::into_inner).push(std::mem::take(&mut self.path));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_directories_dropped_without_removal_are_abandoned() {
        let directory = tempfile::tempdir().expect("a temporary directory");
        let abandoned = Abandoned::default();
        let paths = ["dropped", "removed", "held"].map(|name| directory.path().join(name));
        let states = paths.each_ref().map(|path| {
            std::fs::create_dir(path).expect("made");
            StateDirectory::new(path.clone(), abandoned.clone())
        });
        let [dropped, removed, held] = states;
        removed.remove().expect("removed");
        assert_eq!([dropped.is_removed(), removed.is_removed()], [false, true]);
        drop((dropped, removed));
        // The directory of another cluster by now.
        std::fs::create_dir(&paths[1]).expect("made again");
        abandoned.remove_all();
        assert_eq!(paths.each_ref().map(|path| path.exists()), [false, true, true]);
        assert_eq!(held.path(), paths[2]);
    }
}
