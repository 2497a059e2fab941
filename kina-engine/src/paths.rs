//! Locations: the private runtime directory with the socket, and the cache.

use std::ffi::OsString;
use std::os::unix::fs::{DirBuilderExt, MetadataExt};
use std::path::{Path, PathBuf};

use etcetera::BaseStrategy;

use crate::ProviderName;
use crate::protocol::{PROTOCOL, VERSION};
use crate::trust::{Distrust, Rule, TRUSTED_DIRECTORY, expect_directory};

/// A socket's path may have 108 bytes on Linux and 104 on macOS, the final zero included.
pub(crate) const SOCKET_PATH_BYTES_MAX: usize = 100;

/// The paths of one engine.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct EnginePaths {
    /// Holds the socket and the locks. Private: 0700, owned by this user.
    pub runtime_directory: PathBuf,
    /// The engine's socket.
    pub socket: PathBuf,
    /// Its socket for further connections of leases to their clusters.
    pub lease_socket: PathBuf,
    /// Locked by the process that is starting an engine.
    pub start_lock: PathBuf,
    /// Locked by the process that is acquiring several clusters.
    pub ticket_lock: PathBuf,
    /// Locked by the engine as long as it runs.
    pub running_lock: PathBuf,
    /// States of clusters. Empty when no engine runs.
    pub cluster_directory: PathBuf,
    /// Files that belong to leases. Empty when no engine runs.
    pub lease_directory: PathBuf,
    /// The engine's log.
    pub log: PathBuf,
    /// Logs of clusters.
    pub cluster_log_directory: PathBuf,
    /// Journals of all engines of this user: the processes that they started.
    pub journal_directory: PathBuf,
    /// The budget of memory that all engines of this user share.
    pub budget_directory: PathBuf,
    /// Root of kina's cache: assets, snapshots, logs.
    pub cache_directory: PathBuf,
}

/// No usable directory.
#[derive(Debug, thiserror::Error)]
pub enum PathsError {
    /// Neither `KINA_CACHE_DIR` nor a home directory.
    #[error("kina keeps its binaries below the home directory, and there is none: set KINA_CACHE_DIR to a directory")]
    NoHome,
    /// Another user could have put something into the cache.
    #[error(
        "the cache {path} is not used, because kina runs programs in it: {distrust}, or set KINA_CACHE_DIR to a directory of your own"
    )]
    DistrustedCache {
        /// The directory.
        path: PathBuf,
        /// The fault, and its repair.
        distrust: Distrust,
    },
    /// The directory could not be made or looked at.
    #[error("preparing the runtime directory {path} failed: set KINA_RUNTIME_DIR to a directory that can be used")]
    Unusable {
        /// The directory.
        path: PathBuf,
        /// The system's answer.
        #[source]
        source: std::io::Error,
    },
    /// The directory belongs to another user.
    #[error(
        "the runtime directory {path} belongs to user {owner}, not to {user}, so its owner could pose as the engine: \
         remove it, or set KINA_RUNTIME_DIR to a directory of your own"
    )]
    ForeignOwner {
        /// The directory.
        path: PathBuf,
        /// Its owner.
        owner: u32,
        /// The user of this process.
        user: u32,
    },
    /// The directory is open to others.
    #[error(
        "the runtime directory {path} is open to other users (mode {mode:03o}): `chmod 700` it if you trust what is in \
         it, or set KINA_RUNTIME_DIR to another directory"
    )]
    OpenToOthers {
        /// The directory.
        path: PathBuf,
        /// Its permission bits.
        mode: u32,
    },
}

impl EnginePaths {
    /// The directories below which an engine may remove the states of clusters that a dead one left: its own, and those
    /// of all engines of this cache.
    pub fn state_roots(&self) -> [PathBuf; 2] {
        let own = self.cluster_directory.parent().unwrap_or(&self.cluster_directory).to_owned();
        [own, states(&self.cache_directory)]
    }

    /// The variable that determines where the states of clusters are.
    #[cfg(all(feature = "engine", any(test, feature = "apple", target_os = "macos")))]
    pub(crate) fn state_variable(&self) -> &'static str {
        match self.cluster_directory.starts_with(states(&self.cache_directory)) {
            true => "KINA_CACHE_DIR",
            false => "KINA_RUNTIME_DIR",
        }
    }

    /// The paths of this provider's engine that the environment asks for. Makes the runtime directory, or refuses one
    /// that is not private.
    ///
    /// # Errors
    /// If a directory cannot be made, or others could get into it, or another user could have put something into the
    /// cache.
    pub fn from_environment(provider: ProviderName) -> Result<Self, PathsError> {
        Self::resolve(provider, &|name| std::env::var_os(name).filter(|value| !value.is_empty()))
    }

    /// The same for the environment that `variable` describes.
    ///
    /// # Errors
    /// As for [`Self::from_environment`].
    pub fn resolve(provider: ProviderName, variable: &dyn Fn(&str) -> Option<OsString>) -> Result<Self, PathsError> {
        let cache_directory = match variable("KINA_CACHE_DIR") {
            Some(directory) => absolute(directory.into()),
            None => etcetera::choose_base_strategy().map_err(|_| PathsError::NoHome)?.cache_dir().join("kina"),
        };
        let rule = Rule::new(variable(TRUSTED_DIRECTORY));
        expect_directory(&rule, &cache_directory)
            .map_err(|distrust| PathsError::DistrustedCache { path: cache_directory.clone(), distrust })?;
        let user = rustix::process::getuid().as_raw();
        let private_directory = |path: PathBuf| prepare_private_directory(path, user);
        // The first provider has the names from before there were others.
        let kind = if provider == ProviderName::default() { String::new() } else { format!("{provider}-") };
        let name = format!("engine-{kind}{PROTOCOL}-{VERSION}");
        let (runtime_directory, state_directory) = match variable("KINA_RUNTIME_DIR") {
            Some(directory) => {
                let directory = private_directory(absolute(directory.into()))?;
                (directory.clone(), directory)
            }
            None => {
                let own = match variable("XDG_RUNTIME_DIR").map(PathBuf::from).filter(|path| path.is_dir()) {
                    Some(directory) => directory.join("kina"),
                    None => PathBuf::from(format!("/tmp/kina-{user}")),
                };
                let directory = private_directory(own)?;
                // Runtime directories are often small and in memory; the states of clusters are large.
                let state_directory = states(&cache_directory).join(short_hash(&directory));
                (directory, state_directory)
            }
        };
        // Separate by version, since engines of two versions may run at the same time.
        let state_directory = state_directory.join(&name);
        let socket_of = |extension: &str| {
            let socket = runtime_directory.join(format!("{name}.{extension}"));
            if socket.as_os_str().len() <= SOCKET_PATH_BYTES_MAX {
                return Ok(socket);
            }
            let short = PathBuf::from(format!("/tmp/kina-{user}"));
            Ok(private_directory(short)?.join(format!("{}.{extension}", short_hash(&socket))))
        };
        let (socket, lease_socket) = (socket_of("sock")?, socket_of("leases")?);
        let log_directory = cache_directory.join("logs");
        Ok(Self {
            start_lock: runtime_directory.join(format!("{name}.start-lock")),
            ticket_lock: runtime_directory.join(format!("{name}.ticket-lock")),
            running_lock: runtime_directory.join(format!("{name}.running-lock")),
            cluster_directory: state_directory.join("clusters"),
            lease_directory: state_directory.join("leases"),
            log: log_directory.join(format!("{name}-{}.log", short_hash(&runtime_directory))),
            cluster_log_directory: log_directory.join("clusters"),
            journal_directory: cache_directory.join("journals"),
            budget_directory: cache_directory.join("budget"),
            runtime_directory,
            socket,
            lease_socket,
            cache_directory,
        })
    }
}

/// The root of the states of clusters, unless the user named a runtime directory.
fn states(cache_directory: &Path) -> PathBuf {
    cache_directory.join("run")
}

/// Makes `path` with mode 0700, or checks that it is a directory of ours that no other user can enter.
fn prepare_private_directory(path: PathBuf, user: u32) -> Result<PathBuf, PathsError> {
    let unusable = |source| PathsError::Unusable { path: path.clone(), source };
    match std::fs::DirBuilder::new().mode(0o700).create(&path) {
        Ok(()) => return Ok(path),
        Err(error) if error.kind() == std::io::ErrorKind::AlreadyExists => {}
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
            // Only a directory that the user named can lack its parents.
            std::fs::DirBuilder::new().recursive(true).mode(0o700).create(&path).map_err(unusable)?;
        }
        Err(error) => return Err(unusable(error)),
    }
    // Without following links: a link of another user's could be pointed elsewhere later.
    let metadata = std::fs::symlink_metadata(&path).map_err(unusable)?;
    if !metadata.is_dir() {
        return Err(unusable(std::io::Error::from(std::io::ErrorKind::NotADirectory)));
    }
    if metadata.uid() != user {
        return Err(PathsError::ForeignOwner { path, owner: metadata.uid(), user });
    }
    let mode = metadata.mode() & 0o777;
    if mode & 0o077 != 0 {
        return Err(PathsError::OpenToOthers { path, mode });
    }
    Ok(path)
}

fn absolute(path: PathBuf) -> PathBuf {
    std::path::absolute(&path).unwrap_or(path)
}

/// Sixteen digits that stand for a path. FNV-1a: they only have to be the same in every process.
fn short_hash(path: &Path) -> String {
    let hash =
        path.as_os_str().as_encoded_bytes().iter().fold(0xcbf2_9ce4_8422_2325_u64, |hash, byte| {
            (hash ^ u64::from(*byte)).wrapping_mul(0x0000_0100_0000_01b3)
        });
    format!("{hash:016x}")
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use super::*;

    fn resolve_in(directory: &Path, runtime: &Path) -> Result<EnginePaths, PathsError> {
        EnginePaths::resolve(ProviderName::Process, &|name| match name {
            "KINA_CACHE_DIR" => Some(directory.join("cache").into_os_string()),
            "KINA_RUNTIME_DIR" => Some(runtime.as_os_str().to_owned()),
            _ => None,
        })
    }

    #[test]
    fn a_new_runtime_directory_is_private() {
        let directory = tempfile::tempdir().expect("a temporary directory");
        let paths = resolve_in(directory.path(), &directory.path().join("a/b")).expect("usable");
        let mode = std::fs::metadata(&paths.runtime_directory).expect("made").mode();
        assert_eq!(mode & 0o777, 0o700);
    }

    #[test]
    fn a_runtime_directory_open_to_others_is_refused() {
        let directory = tempfile::tempdir().expect("a temporary directory");
        let runtime = directory.path().join("open");
        std::fs::create_dir(&runtime).expect("made");
        std::fs::set_permissions(&runtime, std::fs::Permissions::from_mode(0o777)).expect("opened");
        let error = resolve_in(directory.path(), &runtime).expect_err("world-writable");
        assert!(matches!(error, PathsError::OpenToOthers { mode: 0o777, .. }), "{error}");
    }

    #[test]
    fn a_runtime_directory_of_somebody_else_is_refused() {
        let directory = tempfile::tempdir().expect("a temporary directory");
        let user = rustix::process::getuid().as_raw();
        let error = prepare_private_directory(directory.path().to_owned(), user + 1).expect_err("not theirs");
        assert!(matches!(error, PathsError::ForeignOwner { .. }), "{error}");
    }

    #[test]
    fn a_link_is_no_runtime_directory() {
        let directory = tempfile::tempdir().expect("a temporary directory");
        let link = directory.path().join("link");
        std::os::unix::fs::symlink(directory.path(), &link).expect("linked");
        assert!(matches!(resolve_in(directory.path(), &link), Err(PathsError::Unusable { .. })));
    }

    #[test]
    fn the_socket_path_is_short_whatever_the_directory_is() {
        let directory = tempfile::tempdir().expect("a temporary directory");
        let paths = resolve_in(directory.path(), &directory.path().join("x".repeat(200))).expect("usable");
        for socket in [&paths.socket, &paths.lease_socket] {
            assert!(socket.as_os_str().len() <= SOCKET_PATH_BYTES_MAX, "{socket:?}");
        }
        assert_ne!(paths.socket, paths.lease_socket);
    }
}
