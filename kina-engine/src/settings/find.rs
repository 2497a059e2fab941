//! Where settings are looked for.

use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

/// What the file is called, in a workspace and in the user's own configuration.
pub(super) const FILE_NAME: &str = "kina.toml";
/// Directories that are looked at on the way up; deeper ones are no workspace of anybody's.
const DEPTH_MAX: usize = 100;
/// Permission to write for everybody.
const WRITABLE_BY_ALL: u32 = 0o002;

/// The file of the workspace that `start` is in: the first on the way up.
///
/// The way ends at a directory with a `.git` in it, which is the top of a repository, and at the latest at the parent
/// of the home directory: what is above belongs to nobody's workspace.
pub(super) fn workspace_file(start: &Path, home: Option<&Path>) -> Option<PathBuf> {
    let last = home.and_then(Path::parent);
    for directory in start.ancestors().take(DEPTH_MAX) {
        let file = directory.join(FILE_NAME);
        if file.is_file() && is_trusted(directory, &file) {
            return Some(file);
        }
        if Some(directory) == last || directory.join(".git").exists() {
            break;
        }
    }
    None
}

/// The user's own file, whether it exists or not.
pub(super) fn user_file(configuration_home: Option<PathBuf>, home: Option<&Path>) -> Option<PathBuf> {
    // A relative one is to be ignored: so says the specification of the variable.
    let directory = configuration_home.filter(|path| path.is_absolute());
    Some(directory.or_else(|| home.map(|home| home.join(".config")))?.join("kina").join(FILE_NAME))
}

/// A file can name programs to run. In a directory where everybody can put one, such as `/tmp`, only one's own counts.
fn is_trusted(directory: &Path, file: &Path) -> bool {
    let (Ok(of_directory), Ok(of_file)) = (std::fs::metadata(directory), std::fs::metadata(file)) else { return false };
    of_directory.mode() & WRITABLE_BY_ALL == 0 || of_file.uid() == rustix::process::getuid().as_raw()
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
            // The top of a repository still counts, what is above does not.
            (&["w/kina.toml", "w/.git/", "w/a/"], "w/a", "h/u", Some("w/kina.toml")),
            (&["kina.toml", "w/.git/", "w/a/"], "w/a", "h/u", None),
            // In a worktree `.git` is a file.
            (&["kina.toml", "w/.git", "w/a/"], "w/a", "h/u", None),
            // The home directory and its parent count, what is above does not.
            (&["h/u/kina.toml", "h/u/w/"], "h/u/w", "h/u", Some("h/u/kina.toml")),
            (&["h/kina.toml", "h/u/w/"], "h/u/w", "h/u", Some("h/kina.toml")),
            (&["kina.toml", "h/u/w/"], "h/u/w", "h/u", None),
            // A directory of that name is no file.
            (&["w/kina.toml/", "w/.git/"], "w", "h/u", None),
        ] {
            let root = tree(entries);
            let found = workspace_file(&root.path().join(start), Some(&root.path().join(home)));
            assert_eq!(found, expected.map(|path| root.path().join(path)), "{entries:?} from {start}");
        }
    }

    #[test]
    fn in_a_directory_that_everybody_can_write_to_only_ones_own_file_counts() {
        let root = tree(&["w/kina.toml", "w/.git/"]);
        let directory = root.path().join("w");
        std::fs::set_permissions(&directory, std::fs::Permissions::from_mode(0o777)).expect("opened");
        assert!(workspace_file(&directory, None).is_some());
        // Only root can give a file away.
        if rustix::process::getuid().is_root() {
            let file = directory.join(FILE_NAME);
            std::os::unix::fs::chown(&file, Some(65534), None).expect("given away");
            assert_eq!(workspace_file(&directory, None), None);
            std::fs::set_permissions(&directory, std::fs::Permissions::from_mode(0o755)).expect("closed");
            assert_eq!(workspace_file(&directory, None), Some(file));
        }
    }

    #[test]
    fn the_users_own_file_is_where_configuration_is() {
        let home = Path::new("/home/somebody");
        let file = |configuration_home: Option<&str>| user_file(configuration_home.map(PathBuf::from), Some(home));
        assert_eq!(file(Some("/etc/mine")), Some("/etc/mine/kina/kina.toml".into()));
        assert_eq!(file(Some("relative")), Some("/home/somebody/.config/kina/kina.toml".into()));
        assert_eq!(file(None), Some("/home/somebody/.config/kina/kina.toml".into()));
        assert_eq!(user_file(None, None), None);
    }
}
