//! The search for files of settings.

use std::collections::BTreeSet;
use std::fs::File;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};

use super::error::SettingsError;
use crate::trust::{Distrust, OpenError, Opened, Rule, open};

/// The name of the file, in a workspace and in the user's own configuration.
pub(super) const FILE_NAME: &str = "kina.toml";
/// Directories that are searched on the way up; deeper ones belong to no workspace.
const DEPTH_MAX: usize = 100;
/// Files that are reported as passed over; a process reads the settings of one workspace, and these are all on its way
/// up.
const TOLD_MAX: usize = DEPTH_MAX;

/// A file of settings that no other user can have written, opened.
#[derive(Debug)]
pub(super) struct SettingsFile {
    pub(super) path: PathBuf,
    pub(super) file: File,
}

/// The file of the workspace that `start` is in: the first on the way up.
///
/// The way ends at a directory with a `.git` in it, which is the top of a repository, and at the latest at the parent
/// of the home directory: anything above belongs to no workspace. All links are followed first, so that each directory
/// is judged by its own owner, however it was reached.
///
/// A file of another user's is passed over, as if it were not there: the search goes on. A file further up was written
/// for everything below it, and is judged in the same way.
pub(super) fn workspace_file(
    start: &Path,
    home: Option<&Path>,
    rule: &Rule,
) -> Result<Option<SettingsFile>, SettingsError> {
    let start = without_links(start);
    let home = home.map(without_links);
    let last = home.as_deref().and_then(Path::parent);
    for directory in start.ancestors().take(DEPTH_MAX) {
        if let Some(found) = file_in(directory, rule)? {
            return Ok(Some(found));
        }
        if Some(directory) == last || directory.join(".git").exists() {
            break;
        }
    }
    Ok(None)
}

/// The file of settings in a directory without links.
pub(super) fn file_in(directory: &Path, rule: &Rule) -> Result<Option<SettingsFile>, SettingsError> {
    let path = directory.join(FILE_NAME);
    match open(rule, directory, FILE_NAME) {
        Ok(Opened::Absent) => Ok(None),
        Ok(Opened::File(file)) => Ok(Some(SettingsFile { path, file })),
        Ok(Opened::Strangers(distrust)) => {
            tell_once(&path, &distrust);
            Ok(None)
        }
        Err(OpenError::Distrusted(distrust)) => Err(SettingsError::Distrusted { path, distrust }),
        Err(OpenError::Failed(source)) => Err(SettingsError::Unreadable { path, source }),
    }
}

/// The user's own file, whether it exists or not.
pub(super) fn user_file(configuration_home: Option<PathBuf>, home: Option<&Path>) -> Option<PathBuf> {
    // The specification of the variable says that a relative path is to be ignored.
    let directory = configuration_home.filter(|path| path.is_absolute());
    Some(directory.or_else(|| home.map(|home| home.join(".config")))?.join("kina").join(FILE_NAME))
}

/// The same path with all links followed, or unchanged if that is impossible.
pub(super) fn without_links(path: &Path) -> PathBuf {
    std::fs::canonicalize(path).unwrap_or_else(|_| path.to_owned())
}

/// Reports on standard error that a file is passed over. Each test reads the settings, so it is reported once in a
/// process.
fn tell_once(path: &Path, distrust: &Distrust) {
    static TOLD: Mutex<BTreeSet<PathBuf>> = Mutex::new(BTreeSet::new());
    let mut told = TOLD.lock().unwrap_or_else(PoisonError::into_inner);
    if told.len() < TOLD_MAX && told.insert(path.to_owned()) {
        // Not by the macro, whose output the test harness keeps to itself. The settings count even if this cannot be
        // written.
        let _ = writeln!(std::io::stderr(), "kina: passing over {}: {distrust}", path.display());
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use super::*;

    /// Makes directories (that end with a slash) and empty files.
    fn tree(entries: &[&str]) -> tempfile::TempDir {
        let root = tempfile::tempdir().expect("a temporary directory");
        for entry in entries {
            let path = root.path().join(entry);
            if entry.ends_with('/') {
                std::fs::create_dir_all(path).expect("made");
            } else {
                std::fs::create_dir_all(path.parent().expect("a parent")).expect("made");
                std::fs::write(path, "").expect("written");
            }
        }
        root
    }

    #[test]
    fn the_first_file_on_the_way_up_is_the_workspaces() {
        for (entries, start, home, expected) in [
            (&["w/kina.toml", "w/a/b/"][..], "w/a/b", "h/u", Some("w/kina.toml")),
            (&["w/kina.toml", "w/a/kina.toml", "w/a/b/"], "w/a/b", "h/u", Some("w/a/kina.toml")),
            // The top of a repository still counts, directories above it do not.
            (&["w/kina.toml", "w/.git/", "w/a/"], "w/a", "h/u", Some("w/kina.toml")),
            (&["kina.toml", "w/.git/", "w/a/"], "w/a", "h/u", None),
            // In a worktree `.git` is a file.
            (&["kina.toml", "w/.git", "w/a/"], "w/a", "h/u", None),
            // The home directory and its parent count, directories above them do not.
            (&["h/u/kina.toml", "h/u/w/"], "h/u/w", "h/u", Some("h/u/kina.toml")),
            (&["h/kina.toml", "h/u/w/"], "h/u/w", "h/u", Some("h/kina.toml")),
            (&["kina.toml", "h/u/w/"], "h/u/w", "h/u", None),
            // A directory of that name is no file.
            (&["w/kina.toml/", "w/.git/"], "w", "h/u", None),
        ] {
            let root = tree(entries);
            // On macOS, temporary directories are reached through a link.
            let root = std::fs::canonicalize(root.path()).expect("it is there");
            let found = workspace_file(&root.join(start), Some(&root.join(home)), &Rule::new(None)).expect("trusted");
            let found = found.map(|found| found.path);
            assert_eq!(found, expected.map(|path| root.join(path)), "{entries:?} from {start}");
        }
    }

    #[test]
    fn a_file_of_ones_own_in_a_directory_that_every_user_can_write_to_is_an_error() {
        let root = tree(&["w/kina.toml", "w/.git/"]);
        let directory = root.path().join("w");
        for mode in [0o777, 0o1777] {
            std::fs::set_permissions(&directory, std::fs::Permissions::from_mode(mode)).expect("opened");
            let error = workspace_file(&directory, None, &Rule::new(None)).expect_err("others can write there");
            assert!(matches!(error, SettingsError::Distrusted { .. }), "{error}");
        }
        // The user may trust everything there.
        let rule = Rule::new(Some(root.path().into()));
        assert!(workspace_file(&directory, None, &rule).expect("trusted").is_some());
    }

    #[test]
    fn a_file_of_another_user_is_passed_over_and_the_way_goes_on() {
        // Only root can give a file away; tests/trust.rs reports that it skips.
        if !rustix::process::getuid().is_root() {
            return;
        }
        let root = tree(&["w/kina.toml", "w/.git/", "w/a/kina.toml"]);
        let root_directory = std::fs::canonicalize(root.path()).expect("it is there");
        std::os::unix::fs::chown(root_directory.join("w/a/kina.toml"), Some(65534), None).expect("given away");
        let found = |rule: &Rule| workspace_file(&root_directory.join("w/a"), None, rule).expect("no error");
        let path = |found: Option<SettingsFile>| found.map(|found| found.path);
        assert_eq!(path(found(&Rule::new(None))), Some(root_directory.join("w/kina.toml")));
        let trusting = Rule::new(Some(root_directory.join("w/a").into_os_string()));
        assert_eq!(path(found(&trusting)), Some(root_directory.join("w/a/kina.toml")));
    }

    #[test]
    fn the_users_own_file_is_where_configuration_is() {
        let home = Path::new("/home/user");
        let file = |configuration_home: Option<&str>| user_file(configuration_home.map(PathBuf::from), Some(home));
        assert_eq!(file(Some("/etc/mine")), Some("/etc/mine/kina/kina.toml".into()));
        assert_eq!(file(Some("relative")), Some("/home/user/.config/kina/kina.toml".into()));
        assert_eq!(file(None), Some("/home/user/.config/kina/kina.toml".into()));
        assert_eq!(user_file(None, None), None);
    }
}
