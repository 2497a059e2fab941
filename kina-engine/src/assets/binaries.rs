//! A directory with the binaries of a control plane: its completeness, and a name for its exact content.

use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use super::executable::{is_cut_off, program_kind};
use super::platform::Platform;
use crate::sha256::Sha256;

/// The components that every set of assets has, by the names of their programs.
pub(super) const COMPONENTS: [&str; 2] = ["kube-apiserver", "etcd"];

/// The program that runs the controllers.
pub(super) const CONTROLLER_MANAGER: &str = "kube-controller-manager";
/// The program that decides which node a pod runs on.
pub(super) const SCHEDULER: &str = "kube-scheduler";
/// The program that simulates nodes.
pub(super) const KWOK: &str = "kwok";
/// Its version, one for every Kubernetes.
pub(super) const KWOK_VERSION: &str = "0.8.0";
/// The components of a cluster with controllers, beside [`COMPONENTS`].
pub(super) const CONTROLLER_COMPONENTS: [&str; 3] = [CONTROLLER_MANAGER, SCHEDULER, KWOK];

/// The binaries of a directory that was found complete.
#[derive(Clone, Debug)]
pub(super) struct Binaries {
    pub(super) kube_apiserver: PathBuf,
    pub(super) etcd: PathBuf,
}

impl Binaries {
    /// Returns the binaries in `directory`, or its fault.
    pub(super) fn in_directory(directory: &Path) -> Result<Self, String> {
        let metadata = std::fs::metadata(directory).map_err(|error| match error.kind() {
            std::io::ErrorKind::NotFound => "does not exist".to_owned(),
            _ => format!("cannot be read: {error}"),
        })?;
        if !metadata.is_dir() {
            return Err("is not a directory".to_owned());
        }
        let problems: Vec<String> =
            COMPONENTS.iter().filter_map(|name| problem_of(&directory.join(name), name)).collect();
        if !problems.is_empty() {
            return Err(format!("is incomplete: {}", problems.join(", ")));
        }
        Ok(Self { kube_apiserver: directory.join(COMPONENTS[0]), etcd: directory.join(COMPONENTS[1]) })
    }

    /// Returns the platform that the binaries say they are for, if that is not `wanted`.
    pub(super) fn other_platform_than(&self, wanted: &Platform) -> Option<Platform> {
        [&self.kube_apiserver, &self.etcd]
            .into_iter()
            .filter_map(|path| Some(program_kind(path).ok()??.platform))
            .find(|platform| platform != wanted)
    }

    /// A digest that changes when either binary is replaced.
    ///
    /// Size and time stand for the content: reading a hundred megabytes at every start would take longer than the
    /// start.
    pub(super) fn fingerprint(&self, with_paths: bool) -> Result<String, std::io::Error> {
        fingerprint(&[&self.kube_apiserver, &self.etcd], with_paths)
    }
}

/// A digest that changes when one of these files is replaced.
pub(super) fn fingerprint(paths: &[&Path], with_paths: bool) -> Result<String, std::io::Error> {
    let mut hasher = Sha256::new();
    for path in paths {
        let metadata = std::fs::metadata(path)?;
        if with_paths {
            hasher.update(path.as_os_str().as_encoded_bytes());
        }
        for number in [metadata.len().cast_signed(), metadata.mtime(), metadata.mtime_nsec()] {
            hasher.update(number.to_be_bytes());
        }
    }
    Ok(crate::hex::encode(&hasher.finalize()[..8]))
}

/// Returns the fault of the program `name` at `path`, if it has one.
pub(super) fn problem_of(path: &Path, name: &str) -> Option<String> {
    let metadata = match std::fs::metadata(path) {
        Ok(metadata) => metadata,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Some(format!("`{name}` is missing")),
        Err(error) => return Some(format!("`{name}` cannot be read ({error})")),
    };
    if !metadata.is_file() {
        return Some(format!("`{name}` is not a file"));
    }
    if metadata.len() == 0 {
        return Some(format!("`{name}` is empty"));
    }
    // Asks the system instead of reading the mode, because a file system mounted without execution refuses as well.
    if rustix::fs::access(path, rustix::fs::Access::EXEC_OK).is_err() {
        return Some(format!("`{name}` is not executable"));
    }
    match is_cut_off(path) {
        Ok(false) => None,
        Ok(true) => Some(format!("`{name}` is cut off after {} bytes", metadata.len())),
        // A program that may be run but not read is the user's own choice.
        Err(error) if error.kind() == std::io::ErrorKind::PermissionDenied => None,
        Err(error) => Some(format!("`{name}` cannot be read ({error})")),
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use super::*;

    fn put(directory: &Path, name: &str, content: &str, mode: u32) {
        let path = directory.join(name);
        std::fs::write(&path, content).expect("write");
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(mode)).expect("mode");
    }

    #[test]
    fn a_directory_is_complete_only_with_both_executables() {
        let directory = tempfile::tempdir().expect("directory");
        let problem = || Binaries::in_directory(directory.path()).expect_err("incomplete");
        assert_eq!(problem(), "is incomplete: `kube-apiserver` is missing, `etcd` is missing");
        put(directory.path(), "kube-apiserver", "binary", 0o755);
        put(directory.path(), "etcd", "binary", 0o644);
        assert_eq!(problem(), "is incomplete: `etcd` is not executable");
        put(directory.path(), "etcd", "", 0o755);
        assert_eq!(problem(), "is incomplete: `etcd` is empty");
        put(directory.path(), "etcd", "\u{7f}ELF\u{2}\u{1}", 0o755);
        assert_eq!(problem(), "is incomplete: `etcd` is cut off after 6 bytes");
        put(directory.path(), "etcd", "binary", 0o755);
        assert!(Binaries::in_directory(directory.path()).is_ok());
        std::fs::remove_file(directory.path().join("etcd")).expect("remove");
        std::fs::create_dir(directory.path().join("etcd")).expect("create");
        assert_eq!(problem(), "is incomplete: `etcd` is not a file");
    }

    #[test]
    fn a_path_that_is_no_directory_is_reported() {
        let directory = tempfile::tempdir().expect("directory");
        put(directory.path(), "file", "x", 0o644);
        let problem = |name: &str| Binaries::in_directory(&directory.path().join(name)).expect_err("problem");
        assert_eq!(problem("file"), "is not a directory");
        assert_eq!(problem("absent"), "does not exist");
    }

    #[test]
    fn the_fingerprint_follows_the_content_and_not_the_moment() {
        let directory = tempfile::tempdir().expect("directory");
        put(directory.path(), "kube-apiserver", "binary", 0o755);
        put(directory.path(), "etcd", "binary", 0o755);
        let binaries = Binaries::in_directory(directory.path()).expect("complete");
        let before = binaries.fingerprint(true).expect("fingerprint");
        assert_eq!(binaries.fingerprint(true).expect("fingerprint"), before);
        assert_ne!(binaries.fingerprint(false).expect("fingerprint"), before);
        put(directory.path(), "etcd", "another binary", 0o755);
        assert_ne!(binaries.fingerprint(true).expect("fingerprint"), before);
    }
}
