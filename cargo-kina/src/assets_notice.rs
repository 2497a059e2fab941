//! Says that a workspace names the programs that clusters are made of, the first time that it does.
//!
//! A checkout from somewhere can do so in its `kina.toml`, and then kina runs the programs there. That is no more than the
//! workspace's own tests can do, but it is easy to miss.

use std::fs::DirBuilder;
use std::io::Write;
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::time::SystemTime;

use kina_engine::{EnginePaths, ProviderName, WorkspaceSettings};
use sha2::{Digest, Sha256};

use super::output::print_progress;

/// Workspaces that are remembered; of more, the oldest is forgotten, and would be told of once more.
const REMEMBERED_MAX: usize = 256;

/// Tells the user, unless this workspace named the same directory before.
pub(super) fn tell_once(provider: ProviderName, settings: &WorkspaceSettings) {
    let (Some(directory), Some(file)) = (&settings.assets_directory, &settings.assets_directory_named_by) else {
        return;
    };
    // Without paths there is nowhere to remember it, and the command itself says why there are none.
    let remembered = EnginePaths::from_environment(provider).map(|paths| paths.cache_directory.join("told"));
    let is_new = remembered.map_or(true, |remembered| remember(&remembered, file, directory));
    if is_new {
        print_progress(&format!(
            "{} sets `assets_directory`: the clusters of this workspace run the programs in {}",
            file.display(),
            directory.display()
        ));
    }
}

/// Tells if it is new. Where it cannot be remembered, it always is.
fn remember(remembered: &Path, file: &Path, directory: &Path) -> bool {
    let digest = Sha256::digest(file.as_os_str().as_encoded_bytes());
    let name: String = digest[..16].iter().map(|byte| format!("{byte:02x}")).collect();
    let path = remembered.join(name);
    let content = directory.as_os_str().as_encoded_bytes();
    if std::fs::read(&path).is_ok_and(|known| known == content) {
        return false;
    }
    forget_oldest(remembered);
    let written = DirBuilder::new().recursive(true).mode(0o700).create(remembered).and_then(|()| {
        // By one rename: a command that reads meanwhile finds the old text or the new one.
        let staged = path.with_extension(std::process::id().to_string());
        let mut options = std::fs::OpenOptions::new();
        options.write(true).create(true).truncate(true).mode(0o600).open(&staged)?.write_all(content)?;
        std::fs::rename(&staged, &path)
    });
    // It is told again the next time.
    drop(written);
    true
}

fn forget_oldest(remembered: &Path) {
    let Ok(entries) = std::fs::read_dir(remembered) else { return };
    let modified = |path: &PathBuf| {
        std::fs::metadata(path).and_then(|metadata| metadata.modified()).unwrap_or(SystemTime::UNIX_EPOCH)
    };
    let mut paths: Vec<PathBuf> = entries.flatten().map(|entry| entry.path()).collect();
    paths.sort_by_cached_key(modified);
    for path in paths.iter().take((paths.len() + 1).saturating_sub(REMEMBERED_MAX)) {
        // Another command may have been quicker.
        let _ = std::fs::remove_file(path);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_directory_is_new_once_for_each_workspace() {
        let directory = tempfile::tempdir().expect("a temporary directory");
        let remembered = directory.path().join("told");
        let is_new = |file: &str, named: &str| remember(&remembered, Path::new(file), Path::new(named));
        assert!(is_new("/w/kina.toml", "/w/a"));
        assert!(!is_new("/w/kina.toml", "/w/a"));
        // Another workspace, and another directory of the same one.
        assert!(is_new("/x/kina.toml", "/w/a"));
        assert!(is_new("/w/kina.toml", "/w/b"));
        assert!(!is_new("/w/kina.toml", "/w/b"));
    }

    #[test]
    fn no_more_workspaces_are_remembered_than_the_bound_says() {
        let directory = tempfile::tempdir().expect("a temporary directory");
        let remembered = directory.path().join("told");
        for number in 0..REMEMBERED_MAX + 10 {
            assert!(remember(&remembered, Path::new(&format!("/{number}/kina.toml")), Path::new("/a")));
        }
        assert_eq!(std::fs::read_dir(&remembered).expect("it is there").count(), REMEMBERED_MAX);
    }

    #[test]
    fn what_cannot_be_remembered_is_told_again() {
        let file = tempfile::NamedTempFile::new().expect("a file");
        for _ in 0..2 {
            assert!(remember(&file.path().join("told"), Path::new("/w/kina.toml"), Path::new("/w/a")));
        }
    }
}
