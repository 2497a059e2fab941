//! Files that only this user may read.

use std::io::Write;
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::Path;

use super::ProviderError;

/// Makes a directory that only this user may enter, and its parents.
pub(super) fn create_private_directory(path: &Path) -> Result<(), ProviderError> {
    std::fs::DirBuilder::new().recursive(true).mode(0o700).create(path).map_err(|source| ProviderError::Files {
        action: "creating the directory",
        path: path.to_owned(),
        source,
    })
}

/// Writes a new file that only this user may read.
pub(super) fn write_private_file(path: &Path, content: &str) -> Result<(), ProviderError> {
    std::fs::OpenOptions::new()
        .write(true)
        .create_new(true)
        .mode(0o600)
        .open(path)
        .and_then(|mut file| file.write_all(content.as_bytes()))
        .map_err(|source| ProviderError::Files { action: "writing", path: path.to_owned(), source })
}

/// Writes a file that only this user may read, and replaces one that is there.
pub(super) fn replace_private_file(path: &Path, content: &str) -> Result<(), ProviderError> {
    match std::fs::remove_file(path) {
        Err(source) if source.kind() != std::io::ErrorKind::NotFound => {
            Err(ProviderError::Files { action: "replacing", path: path.to_owned(), source })
        }
        _ => write_private_file(path, content),
    }
}

/// Removes a directory with its content, if it exists.
pub(super) fn remove_directory(path: &Path) -> Result<(), ProviderError> {
    match std::fs::remove_dir_all(path) {
        Err(source) if source.kind() != std::io::ErrorKind::NotFound => {
            Err(ProviderError::Files { action: "removing", path: path.to_owned(), source })
        }
        _ => Ok(()),
    }
}
