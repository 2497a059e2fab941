//! Files whose lock shows that their owner lives: the kernel releases it when the process ends in any way.

use std::fs::{File, OpenOptions, TryLockError};
use std::io::{self, Write};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::time::Duration;

/// The prefix of a file that has no final name yet. Naming takes moments, so an old one was left behind.
const UNNAMED_PREFIX: &str = ".new-";
const UNNAMED_AGE_MAX: Duration = Duration::from_secs(60 * 60);
/// The number of files of one directory that are examined in one go; there is one for each engine.
const FILES_MAX: usize = 1000;

/// A file of this process, locked as long as this value lives.
#[derive(Debug)]
pub(crate) struct LivingFile {
    file: File,
    path: PathBuf,
}

/// The state of a file's owner.
#[derive(Debug)]
pub(crate) enum Found {
    /// Its owner lives.
    Held,
    /// Its owner is gone. This process holds the lock until the file is dropped, so that no other process takes the
    /// file over meanwhile.
    Left(File),
}

impl LivingFile {
    /// Creates a file in `directory`, with a unique name that ends with `.suffix`. It gets its name once it is locked
    /// and has its beginning, so that no process ever sees it without them.
    pub(crate) fn create(directory: &Path, suffix: &str, beginning: &[u8]) -> io::Result<Self> {
        std::fs::DirBuilder::new().recursive(true).mode(0o700).create(directory)?;
        let mut unnamed = tempfile::Builder::new().prefix(UNNAMED_PREFIX).tempfile_in(directory)?;
        unnamed.as_file().try_lock().map_err(io::Error::from)?;
        unnamed.write_all(beginning)?;
        let unique = unnamed.path().file_name().and_then(|name| name.to_str()).unwrap_or_default();
        let unique = unique.trim_start_matches(UNNAMED_PREFIX);
        let path = directory.join(format!("{}-{unique}.{suffix}", std::process::id()));
        let file = unnamed.persist_noclobber(&path).map_err(|error| error.error)?;
        Ok(Self { file, path })
    }

    pub(crate) fn file(&self) -> &File {
        &self.file
    }

    pub(crate) fn path(&self) -> &Path {
        &self.path
    }

    /// The same file, opened so that writing fails.
    #[cfg(test)]
    pub(crate) fn without_room(self) -> Self {
        let file = File::open(&self.path).expect("just made");
        Self { file, path: self.path }
    }

    /// Removes the file. It stays locked and writable, but can no longer be found.
    pub(crate) fn remove(&self) -> io::Result<()> {
        std::fs::remove_file(&self.path)
    }
}

/// The process id of the file's owner, from its name.
pub(crate) fn owner_of(path: &Path) -> Option<u32> {
    path.file_name()?.to_str()?.split_once('-')?.0.parse().ok()
}

/// Returns the state of a file's owner; `None` if the file is gone or is not a regular file.
pub(crate) fn look_at(path: &Path) -> io::Result<Option<Found>> {
    let no_links = i32::try_from(rustix::fs::OFlags::NOFOLLOW.bits()).unwrap_or_default();
    if !std::fs::symlink_metadata(path).is_ok_and(|metadata| metadata.is_file()) {
        return Ok(None);
    }
    let file = match OpenOptions::new().read(true).write(true).custom_flags(no_links).open(path) {
        Ok(file) => file,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(error),
    };
    match file.try_lock() {
        Ok(()) => Ok(Some(Found::Left(file))),
        Err(TryLockError::WouldBlock) => Ok(Some(Found::Held)),
        Err(TryLockError::Error(error)) => Err(error),
    }
}

/// Lists all files in `directory` whose names end with `.suffix`, in the order of their names. Removes old files that
/// never got a name and have no living owner.
pub(crate) fn files_in(directory: &Path, suffix: &str) -> Vec<PathBuf> {
    let Ok(entries) = std::fs::read_dir(directory) else { return Vec::new() };
    let paths: Vec<_> = entries.filter_map(|entry| Some(entry.ok()?.path())).collect();
    let name_of = |path: &Path| path.file_name().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default();
    for path in paths.iter().filter(|path| name_of(path).starts_with(UNNAMED_PREFIX)) {
        if is_old(path) && matches!(look_at(path), Ok(Some(Found::Left(_)))) {
            let _ = std::fs::remove_file(path);
        }
    }
    let ending = format!(".{suffix}");
    let mut files: Vec<_> = paths
        .into_iter()
        .filter(|path| name_of(path).ends_with(&ending) && !name_of(path).starts_with(UNNAMED_PREFIX))
        .collect();
    files.sort();
    files.truncate(FILES_MAX);
    files
}

fn is_old(path: &Path) -> bool {
    let modified = std::fs::metadata(path).and_then(|metadata| metadata.modified());
    modified.is_ok_and(|modified| modified.elapsed().is_ok_and(|age| UNNAMED_AGE_MAX < age))
}

#[cfg(test)]
mod tests {
    use std::time::SystemTime;

    use super::*;

    #[test]
    fn the_lock_shows_that_the_owner_lives() {
        let directory = tempfile::tempdir().expect("a temporary directory");
        let living = LivingFile::create(&directory.path().join("deep"), "life", b"begins").expect("made");
        let path = living.path().to_owned();
        assert_eq!(std::fs::read(&path).expect("readable"), b"begins");
        assert_eq!(files_in(&directory.path().join("deep"), "life"), std::slice::from_ref(&path));
        assert!(matches!(look_at(&path), Ok(Some(Found::Held))));
        assert_eq!(owner_of(&path), Some(std::process::id()));
        drop(living);
        let left = look_at(&path);
        assert!(matches!(left, Ok(Some(Found::Left(_)))), "{left:?}");
        assert!(matches!(look_at(&path), Ok(Some(Found::Held))), "two processes would take it over");
        drop(left);
        std::fs::remove_file(&path).expect("removed");
        assert!(matches!(look_at(&path), Ok(None)));
    }

    #[test]
    fn links_and_directories_are_ignored() {
        let directory = tempfile::tempdir().expect("a temporary directory");
        let target = directory.path().join("target");
        std::fs::write(&target, "").expect("written");
        std::os::unix::fs::symlink(&target, directory.path().join("link.life")).expect("linked");
        std::fs::create_dir(directory.path().join("directory.life")).expect("made");
        for path in files_in(directory.path(), "life") {
            assert!(matches!(look_at(&path), Ok(None)), "{path:?}");
        }
    }

    #[test]
    fn an_old_file_that_never_got_a_name_is_removed() {
        let directory = tempfile::tempdir().expect("a temporary directory");
        let (young, old) = (directory.path().join(".new-young"), directory.path().join(".new-old.life"));
        for path in [&young, &old] {
            std::fs::write(path, "").expect("written");
        }
        let file = File::options().write(true).open(&old).expect("opened");
        file.set_modified(SystemTime::now() - 2 * UNNAMED_AGE_MAX).expect("aged");
        drop(file);
        assert!(files_in(directory.path(), "life").is_empty());
        assert_eq!((young.exists(), old.exists()), (true, false));
    }
}
