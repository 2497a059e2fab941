//! Errors in building an image.

use std::fmt;
use std::io;
use std::path::{Path, PathBuf};
use std::process::ExitStatus;
use std::time::Duration;

use super::architecture::Architecture;
use crate::trust::Distrust;

/// A failure to build an image.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ImageError {
    /// A binary cannot run in the image.
    #[error("`{}` {problem}, but an image for {architecture} needs a static Linux program for {architecture}: ask for assets of linux-{architecture}", path.display())]
    WrongBinary {
        /// The binary.
        path: PathBuf,
        /// The problem with it.
        problem: String,
        /// The processor that the image is for.
        architecture: Architecture,
    },
    /// Another user could have put something into the image.
    #[error("no image is made or used where another user could have put a part of it: {distrust}")]
    Distrusted {
        /// The fault, and its repair.
        distrust: Distrust,
    },
    /// A binary was replaced while it was read.
    #[error("`{}` changed while it was copied into an image: try again when no other process writes to it", path.display())]
    InputChanged {
        /// The binary.
        path: PathBuf,
    },
    /// There is no supervisor to be the image's entry point.
    #[error("an image needs kina's supervisor as a static Linux program, but there is none")]
    Supervisor(#[source] SupervisorError),
    /// The disk is full.
    #[error("the disk that holds `{}` is full: free some space (an image takes about 200 MB) and try again; nothing half-written was kept", path.display())]
    DiskFull {
        /// The file that was being written.
        path: PathBuf,
        /// The system's error.
        source: io::Error,
    },
    /// A directory or file cannot be used.
    #[error("cannot {action} `{}`: check that kina's cache directory belongs to you and is writable", path.display())]
    Store {
        /// The operation that failed.
        action: &'static str,
        /// The directory or file.
        path: PathBuf,
        /// The system's error.
        source: io::Error,
    },
    /// Another process has been building an image for too long.
    #[error("waited {} s for another process that is making an image: if none is at work, remove `{}`", waited.as_secs(), lock.display())]
    LockTimeout {
        /// The lock that did not become free.
        lock: PathBuf,
        /// The time spent waiting for it.
        waited: Duration,
    },
}

/// A failure to provide the supervisor.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum SupervisorError {
    /// The file that the user named is not a supervisor for the image.
    #[error("KINA_SUPERVISOR names `{}`, which {problem}: name a static Linux program for {architecture}, or unset it", path.display())]
    Given {
        /// The file.
        path: PathBuf,
        /// The problem with it.
        problem: String,
        /// The processor that the image is for.
        architecture: Architecture,
    },
    /// There is no compiler.
    #[error("`{}` cannot be started, but kina compiles its supervisor with it: install Rust with rustup, name the compiler in RUSTC, or name a finished supervisor in KINA_SUPERVISOR", rustc.display())]
    NoCompiler {
        /// The compiler that was tried.
        rustc: PathBuf,
        /// The system's error.
        source: io::Error,
    },
    /// The compiler has no standard library for Linux.
    #[error("the compiler in `{sysroot}` has no standard library for {target}: run `{}`{}", TargetAdd { toolchain, target }, NotByRustup(toolchain))]
    NoTarget {
        /// The compiler's own directory.
        sysroot: String,
        /// The name that rustup knows the compiler by, if it came from there.
        toolchain: Option<String>,
        /// The missing target.
        target: &'static str,
    },
    /// The compiler failed.
    #[error("`{command}` failed ({status}): {said}")]
    Failed {
        /// The command line.
        command: String,
        /// The exit status.
        status: ExitStatus,
        /// The end of its error output.
        said: String,
    },
    /// The compiler took too long.
    #[error("`{command}` was ended after {} s: try again when the machine is less busy", timeout.as_secs())]
    TimedOut {
        /// The command line.
        command: String,
        /// The time limit.
        timeout: Duration,
    },
    /// The compiler made an unsuitable program.
    #[error("bug: the compiler made a supervisor that {problem}, not a static Linux program for {architecture}")]
    Unusable {
        /// The problem with it.
        problem: String,
        /// The processor that the image is for.
        architecture: Architecture,
    },
    /// A directory or file cannot be used.
    #[error("cannot {action} `{}`: check that kina's cache directory belongs to you and is writable", path.display())]
    Store {
        /// The operation that failed.
        action: &'static str,
        /// The directory or file.
        path: PathBuf,
        /// The system's error.
        source: io::Error,
    },
}

impl ImageError {
    /// Returns true if the user's choice or a missing installation is at fault, so that another try would fail the same
    /// way.
    pub fn is_user_error(&self) -> bool {
        match self {
            Self::WrongBinary { .. } => true,
            Self::Supervisor(error) => matches!(
                error,
                SupervisorError::Given { .. } | SupervisorError::NoCompiler { .. } | SupervisorError::NoTarget { .. }
            ),
            _ => false,
        }
    }

    /// The error for a failed operation on a file.
    pub(super) fn store(action: &'static str, path: &Path, source: io::Error) -> Self {
        let path = path.to_owned();
        match source.kind() {
            io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => Self::DiskFull { path, source },
            _ => Self::Store { action, path, source },
        }
    }
}

impl SupervisorError {
    pub(super) fn store(action: &'static str, path: &Path, source: io::Error) -> Self {
        Self::Store { action, path: path.to_owned(), source }
    }
}

/// The command that installs the missing standard library for exactly the compiler that lacks it.
struct TargetAdd<'a> {
    toolchain: &'a Option<String>,
    target: &'a str,
}

impl fmt::Display for TargetAdd<'_> {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.toolchain {
            Some(toolchain) => write!(formatter, "rustup target add --toolchain {toolchain} {}", self.target),
            None => write!(formatter, "rustup target add {}", self.target),
        }
    }
}

struct NotByRustup<'a>(&'a Option<String>);

impl fmt::Display for NotByRustup<'_> {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.0.is_some() {
            return Ok(());
        }
        formatter.write_str(
            " with a Rust installed by rustup (this one does not seem to be), and name its compiler in RUSTC; or name \
             a finished supervisor in KINA_SUPERVISOR",
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_missing_target_is_reported_with_the_command_that_installs_it() {
        let missing = |toolchain: Option<&str>| SupervisorError::NoTarget {
            sysroot: "/sysroot".to_owned(),
            toolchain: toolchain.map(str::to_owned),
            target: Architecture::Arm64.rust_target(),
        };
        assert_eq!(
            missing(Some("1.95.0-aarch64-apple-darwin")).to_string(),
            "the compiler in `/sysroot` has no standard library for aarch64-unknown-linux-musl: run `rustup target add \
             --toolchain 1.95.0-aarch64-apple-darwin aarch64-unknown-linux-musl`"
        );
        let text = missing(None).to_string();
        assert!(
            text.contains("`rustup target add aarch64-unknown-linux-musl` with a Rust installed by rustup"),
            "{text}"
        );
        assert!(ImageError::Supervisor(missing(None)).is_user_error());
    }

    #[test]
    fn a_full_disk_is_distinguished_from_an_unusable_directory() {
        let error = |kind: io::ErrorKind| ImageError::store("write", Path::new("/image"), kind.into());
        assert!(matches!(error(io::ErrorKind::StorageFull), ImageError::DiskFull { .. }));
        assert!(matches!(error(io::ErrorKind::PermissionDenied), ImageError::Store { .. }));
        assert!(!error(io::ErrorKind::StorageFull).is_user_error());
    }
}
