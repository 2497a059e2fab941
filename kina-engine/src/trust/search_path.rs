//! Programs by their names, for all that kina starts by itself.
//!
//! An entry of `PATH` that is empty or relative means the working directory, which is that of a workspace from somewhere.
//! A shell's user may want that; kina passes such entries over, and hands them on to no program that it starts.

use std::ffi::{OsStr, OsString};
use std::io;
use std::path::{Path, PathBuf};

use rustix::fs::Access;

/// No directory of the search path has the program.
#[derive(Debug, thiserror::Error)]
#[error(
    "there is no program `{program}` in any directory that PATH names from the root; empty and relative entries do not \
     count: install it, or name its directory in PATH by an absolute path"
)]
struct NotFound {
    program: String,
}

/// The directories of a search path, without those that depend on the working directory.
pub fn directories(search_path: &OsStr) -> impl Iterator<Item = PathBuf> + '_ {
    std::env::split_paths(search_path).filter(|directory| directory.is_absolute())
}

/// The first program of this name in the search path.
pub fn find(program: impl AsRef<Path>, search_path: &OsStr) -> Option<PathBuf> {
    directories(search_path).map(|directory| directory.join(&program)).find(|path| is_program(path))
}

/// The absolute path of a program that is given by its path or by its name.
///
/// # Errors
/// If there is no program of that name.
pub fn resolve(program: &Path, search_path: &OsStr) -> io::Result<PathBuf> {
    if program.as_os_str().as_encoded_bytes().contains(&b'/') {
        return std::path::absolute(program);
    }
    let not_found = || NotFound { program: program.display().to_string() };
    find(program, search_path).ok_or_else(|| io::Error::new(io::ErrorKind::NotFound, not_found()))
}

/// The search path of this process, empty if it has none.
pub fn of_this_process() -> OsString {
    std::env::var_os("PATH").unwrap_or_default()
}

/// The search path for a program that kina starts by itself, which starts others in turn.
pub fn without_relative_entries(search_path: &OsStr) -> OsString {
    // They were joined before, so they can be again.
    std::env::join_paths(directories(search_path)).unwrap_or_default()
}

fn is_program(path: &Path) -> bool {
    path.is_file() && rustix::fs::access(path, Access::EXEC_OK).is_ok()
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use super::*;

    #[test]
    fn a_program_is_found_in_absolute_directories_alone() {
        let directory = tempfile::tempdir().expect("a temporary directory");
        for (name, mode) in [("plain", 0o644), ("first", 0o755), ("second", 0o755)] {
            let place = directory.path().join(name);
            std::fs::create_dir(&place).expect("made");
            std::fs::write(place.join("tool"), "").expect("written");
            std::fs::set_permissions(place.join("tool"), std::fs::Permissions::from_mode(mode)).expect("set");
        }
        let root = directory.path().display();
        let search_path = OsString::from(format!(":first:.:{root}/none:{root}/plain:{root}/first:{root}/second"));
        assert_eq!(find("tool", &search_path), Some(directory.path().join("first/tool")));
        assert_eq!(
            without_relative_entries(&search_path),
            OsString::from(format!("{root}/none:{root}/plain:{root}/first:{root}/second"))
        );
    }

    #[test]
    fn the_error_says_which_entries_count() {
        let error = resolve(Path::new("tool"), OsStr::new("::bin")).expect_err("no absolute entry");
        assert_eq!(error.kind(), io::ErrorKind::NotFound);
        assert!(error.to_string().contains("`tool`") && error.to_string().contains("empty and relative"), "{error}");
        assert_eq!(resolve(Path::new("/a/tool"), OsStr::new("")).expect("a path"), Path::new("/a/tool"));
        assert!(resolve(Path::new("./tool"), OsStr::new("")).expect("a path").is_absolute());
    }
}
