//! Until the engine's own reading of fixtures is there: files, folders, and `folder/*.ending`.

use std::hash::{DefaultHasher, Hash, Hasher};
use std::path::{Path, PathBuf};

use kina_engine::fixtures::{FixtureSet, Overlay, Source};

/// Fixtures could not be read.
#[derive(Debug, thiserror::Error)]
#[error("no file matches `{pattern}` in {directory}")]
pub struct ReadError {
    pattern: String,
    directory: PathBuf,
}

pub(super) fn read_glob(base: &Path, pattern: &str) -> Result<Overlay, ReadError> {
    let (folder, ending) = pattern.split_once("/*.").unwrap_or((pattern, ""));
    let path = base.join(folder);
    let mut files: Vec<PathBuf> = if path.is_dir() {
        std::fs::read_dir(&path).into_iter().flatten().flatten().map(|entry| entry.path()).collect()
    } else {
        vec![path]
    };
    files.sort();
    files.retain(|file| file.is_file() && file.to_string_lossy().ends_with(ending));
    if files.is_empty() {
        return Err(ReadError { pattern: pattern.to_owned(), directory: base.to_owned() });
    }
    let source = |file: &PathBuf| Source {
        name: file.strip_prefix(base).unwrap_or(file).display().to_string(),
        text: std::fs::read_to_string(file).unwrap_or_default(),
    };
    Ok(Overlay { name: pattern.to_owned(), sources: files.iter().map(source).collect() })
}

pub(super) fn hash(set: &FixtureSet) -> String {
    let mut hasher = DefaultHasher::new();
    format!("{set:?}").hash(&mut hasher);
    format!("{:064x}", hasher.finish())
}
