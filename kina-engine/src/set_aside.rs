//! Files that are damaged, foreign or from a newer version are neither trusted nor fatal: they are renamed, so that a
//! person can examine them.

use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

const MARK: &str = ".set-aside-";
/// The number of small files kept in one directory; the oldest go first.
pub(crate) const KEPT_MAX: usize = 5;

/// Renames a file or directory to `<name>.set-aside-<n>` and logs that. Keeps no more than `kept_max` such entries in
/// its directory. Returns the new path, or `None` if it could not be renamed and is still in place.
pub(crate) fn set_aside(path: &Path, kept_max: usize, why: &str) -> Option<PathBuf> {
    match rename(path, kept_max) {
        Ok(aside) => {
            tracing::warn!(path = %path.display(), aside = %aside.display(), why, "set aside");
            Some(aside)
        }
        // Another process was quicker.
        Err(error) if error.kind() == io::ErrorKind::NotFound => None,
        Err(error) => {
            tracing::warn!(path = %path.display(), why, %error, "can neither be used nor set aside");
            None
        }
    }
}

fn rename(path: &Path, kept_max: usize) -> io::Result<PathBuf> {
    let name = path.file_name().ok_or(io::ErrorKind::InvalidInput)?.to_os_string();
    let directory = path.parent().ok_or(io::ErrorKind::InvalidInput)?;
    let mut kept = set_aside_in(directory)?;
    // Makes room for this one. The numbers rise, so none is used twice.
    let number = kept.iter().map(|(_, number, _)| number + 1).max().unwrap_or(1);
    kept.sort();
    let surplus = (kept.len() + 1).saturating_sub(kept_max);
    for (_, _, old) in kept.into_iter().take(surplus) {
        let is_directory = std::fs::symlink_metadata(&old).is_ok_and(|metadata| metadata.is_dir());
        if is_directory { std::fs::remove_dir_all(&old)? } else { std::fs::remove_file(&old)? }
    }
    let mut aside = name;
    aside.push(format!("{MARK}{number}"));
    let aside = directory.join(aside);
    std::fs::rename(path, &aside)?;
    Ok(aside)
}

/// The time at which each entry was set aside, its number and its path.
fn set_aside_in(directory: &Path) -> io::Result<Vec<(i64, u64, PathBuf)>> {
    let mut found = Vec::new();
    for entry in std::fs::read_dir(directory)? {
        let path = entry?.path();
        let name = path.file_name().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default();
        let Some((_, number)) = name.rsplit_once(MARK) else { continue };
        let (Ok(number), Ok(metadata)) = (number.parse(), std::fs::symlink_metadata(&path)) else { continue };
        found.push((metadata.ctime(), number, path));
    }
    Ok(found)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn files_that_were_set_aside_are_kept_up_to_a_bound() {
        let directory = tempfile::tempdir().expect("a temporary directory");
        let path = directory.path().join("state");
        for round in 1..=KEPT_MAX + 2 {
            std::fs::write(&path, round.to_string()).expect("written");
            let aside = set_aside(&path, KEPT_MAX, "a test").expect("renamed");
            assert_eq!(aside, directory.path().join(format!("state{MARK}{round}")));
            assert!(!path.exists());
        }
        let mut left: Vec<_> = std::fs::read_dir(directory.path())
            .expect("listed")
            .map(|entry| std::fs::read_to_string(entry.expect("listed").path()).expect("readable"))
            .collect();
        left.sort();
        assert_eq!(left, ["3", "4", "5", "6", "7"]);
    }

    #[test]
    fn a_directory_is_set_aside_whole() {
        let directory = tempfile::tempdir().expect("a temporary directory");
        let path = directory.path().join("1.37.1");
        std::fs::create_dir(&path).expect("made");
        std::fs::write(path.join("etcd"), "half").expect("written");
        let aside = set_aside(&path, KEPT_MAX, "a test").expect("renamed");
        assert_eq!(std::fs::read_to_string(aside.join("etcd")).expect("there"), "half");
    }

    #[test]
    fn an_absent_file_is_not_set_aside() {
        let directory = tempfile::tempdir().expect("a temporary directory");
        assert_eq!(set_aside(&directory.path().join("nothing"), KEPT_MAX, "a test"), None);
    }
}
