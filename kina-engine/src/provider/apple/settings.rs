//! The provider's settings.

use std::ffi::OsStr;
use std::path::{Path, PathBuf};

use crate::trust::search_path;

/// The variable that names the program.
pub const PROGRAM_VARIABLE: &str = "KINA_CONTAINER_CLI";
/// The program's default name.
const PROGRAM: &str = "container";
/// Default number of processors. A boot keeps two cores busy, an idle cluster a fiftieth of one. Cores are shared, not
/// set aside.
const CPUS: u32 = 2;
/// Default memory. kube-apiserver and etcd take 300 MB at first and up to three times that in a long life, the kernel
/// takes
/// 100. Unused memory is not taken from the machine, but used memory stays taken until the cluster stops.
const MEMORY_BYTES: u64 = 1 << 30;

/// The settings of an [`super::AppleProvider`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AppleSettings {
    /// The program `container`; see [`find_program`].
    pub program: PathBuf,
    /// Processors of each cluster.
    pub cpus: u32,
    /// Memory of each cluster, at least 200 MiB.
    pub memory_bytes: u64,
    /// Permission to start the service of `container` if it does not run, which downloads a kernel the first time.
    pub start_service: bool,
    /// The directory of clusters' states, which are mounted into them.
    pub cluster_directory: PathBuf,
    /// The variable that determines where that directory is.
    pub state_variable: &'static str,
    /// The directory of clusters' logs.
    pub log_directory: PathBuf,
    /// The directory of engines' signs of life. All engines that share it are one realm.
    pub journal_directory: PathBuf,
}

impl AppleSettings {
    /// Makes settings for clusters of the default size, in these directories. The service is started if it does not
    /// run.
    pub fn new(
        program: PathBuf,
        cluster_directory: PathBuf,
        log_directory: PathBuf,
        journal_directory: PathBuf,
    ) -> Self {
        Self {
            program,
            cpus: CPUS,
            memory_bytes: MEMORY_BYTES,
            start_service: true,
            cluster_directory,
            state_variable: "KINA_CACHE_DIR",
            log_directory,
            journal_directory,
        }
    }
}

/// Finds the program: the one that `named` (the value of [`PROGRAM_VARIABLE`]) names, else the first `container` in the
/// absolute entries of `search_path`. `None` if there is none.
pub fn find_program(named: Option<&OsStr>, search_path: Option<&OsStr>) -> Option<PathBuf> {
    if let Some(named) = named.filter(|named| !named.is_empty()) {
        return search_path::resolve(Path::new(named), search_path.unwrap_or_default()).ok();
    }
    search_path::find(PROGRAM, search_path?)
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use super::*;

    #[test]
    fn the_program_is_the_named_one_or_the_first_in_the_path() {
        let directory = tempfile::tempdir().expect("a temporary directory");
        let [none, plain, first, second] = ["none", "plain", "first", "second"].map(|name| directory.path().join(name));
        for (place, mode) in [(&plain, 0o644), (&first, 0o755), (&second, 0o755)] {
            std::fs::create_dir(place).expect("made");
            std::fs::write(place.join("container"), "").expect("written");
            std::fs::set_permissions(place.join("container"), PermissionsExt::from_mode(mode)).expect("set");
        }
        let path = std::env::join_paths([&none, &plain, &first, &second]).expect("joined");
        assert_eq!(find_program(None, Some(&path)), Some(first.join("container")));
        assert_eq!(find_program(Some("".as_ref()), Some(&path)), Some(first.join("container")));
        assert_eq!(find_program(Some("/a/b".as_ref()), Some(&path)), Some("/a/b".into()));
        assert_eq!(find_program(None, Some(none.as_os_str())), None);
        assert_eq!(find_program(None, None), None);
    }
}
