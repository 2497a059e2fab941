//! Errors on the way to a set of binaries.

use std::error::Error;
use std::fmt;
use std::io;
use std::path::{Path, PathBuf};
use std::time::Duration;

use super::binaries::CONTROLLER_COMPONENTS;
use super::platform::Platform;
use crate::kubernetes_minor::{KubernetesMinor, OLDEST_GO};
use crate::trust::Distrust;

/// The sources of binaries.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum AssetSource {
    /// A directory that the user named in kina's own settings.
    ExplicitDirectory,
    /// The directory that the variable `KUBEBUILDER_ASSETS` names.
    KubebuilderAssets,
    /// kina's own store.
    Store,
    /// The store of setup-envtest.
    SetupEnvtestStore,
    /// An archive that the envtest release index lists.
    Download,
    /// A build from Go modules.
    GoBuild,
}

/// The reasons why no binaries could be provided.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum AssetsError {
    /// A directory that the user named does not hold the components that it must.
    #[error("{source_name} names `{}`, which {problem}; put executables `kube-apiserver` and `etcd` there, or unset it", directory.display())]
    GivenDirectory {
        /// The setting that names the directory.
        source_name: AssetSource,
        /// The directory as it was named.
        directory: PathBuf,
        /// The fault of the directory.
        problem: String,
    },
    /// Another user could have put a program, or a directory of the store, there.
    #[error("Kubernetes' binaries are not run where another user could have put them: {distrust}")]
    Distrusted {
        /// The fault, and its repair.
        distrust: Distrust,
    },
    /// A directory that the user named holds no controllers, and its name says no version to get them for.
    #[error("a cluster with controllers needs {} beside kube-apiserver in `{}`, and the name of that directory says no version to get them for; put them there, or unset what names it", missing.join(", "), directory.display())]
    NoControllers {
        /// The directory.
        directory: PathBuf,
        /// The missing components.
        missing: Vec<&'static str>,
    },
    /// Every source was asked and none had the binaries.
    #[error("{0}")]
    NoSource(Box<NoSource>),
    /// The disk became full on the way.
    #[error("the disk that holds `{}` is full; free some space (a set of binaries takes about 150 MB, a build 5 GB) and try again, nothing half-written was kept", path.display())]
    DiskFull {
        /// The file or directory that was being written.
        path: PathBuf,
        /// The system's error.
        source: io::Error,
    },
    /// kina's store cannot be used.
    #[error("cannot {action} `{}`; check that kina's cache directory belongs to you and is writable", path.display())]
    Store {
        /// The attempt.
        action: &'static str,
        /// Its path.
        path: PathBuf,
        /// The system's error.
        source: io::Error,
    },
    /// Another process has been at work on the same binaries for too long.
    #[error("waited {} s for another process that is providing Kubernetes {minor}; if none is at work, remove `{}`", waited.as_secs(), lock.display())]
    LockTimeout {
        /// The minor that was asked for.
        minor: KubernetesMinor,
        /// The lock that was never free.
        lock: PathBuf,
        /// The time waited.
        waited: Duration,
    },
    /// The caller cancelled the work.
    #[error("providing Kubernetes {minor} was cancelled")]
    Cancelled {
        /// The minor that was asked for.
        minor: KubernetesMinor,
    },
}

/// The answers of all sources, when none had the binaries.
#[derive(Debug)]
#[non_exhaustive]
pub struct NoSource {
    /// The minor that was asked for.
    pub minor: KubernetesMinor,
    /// The platform that it was asked for.
    pub platform: Platform,
    /// The missing components.
    pub components: Vec<&'static str>,
    /// The answers of the sources, in the order in which they were asked.
    pub answers: Vec<SourceAnswer>,
}

/// The answer of one source that did not have the binaries.
#[derive(Debug)]
#[non_exhaustive]
pub struct SourceAnswer {
    /// The source that was asked.
    pub asked: AssetSource,
    /// The place that was searched: a directory, an address, a program.
    pub place: Option<String>,
    /// Its answer, causes included.
    pub answer: String,
}

/// A failure of one source: the next one may be asked, or there is no point in asking.
#[derive(Debug)]
pub(super) enum SourceFailure {
    Answered(String),
    Fatal(AssetsError),
}

impl AssetsError {
    /// Returns true if something that the user named is wrong, so that another try can only fail the same way.
    pub fn is_user_error(&self) -> bool {
        matches!(self, Self::GivenDirectory { .. } | Self::NoControllers { .. } | Self::Distrusted { .. })
    }

    /// The error for a failed operation on kina's store.
    pub(super) fn store(action: &'static str, path: &Path, source: io::Error) -> Self {
        let path = path.to_owned();
        match source.kind() {
            io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => Self::DiskFull { path, source },
            _ => Self::Store { action, path, source },
        }
    }
}

impl From<AssetsError> for SourceFailure {
    fn from(error: AssetsError) -> Self {
        Self::Fatal(error)
    }
}

impl SourceFailure {
    /// The failure that lets the next source be asked, with the text of `error` and of all its causes.
    pub(super) fn answered(error: &dyn Error) -> Self {
        Self::Answered(crate::error_text::with_causes(error))
    }
}

impl fmt::Display for AssetSource {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(match self {
            Self::ExplicitDirectory => "kina's setting for the assets directory",
            Self::KubebuilderAssets => "KUBEBUILDER_ASSETS",
            Self::Store => "kina's store",
            Self::SetupEnvtestStore => "setup-envtest's store",
            Self::Download => "download",
            Self::GoBuild => "build from Go modules",
        })
    }
}

impl fmt::Display for NoSource {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(
            formatter,
            "no source has {} of Kubernetes {} for {}; asked were",
            if self.is_of_controllers() { self.components.join(", ") } else { "the binaries".to_owned() },
            self.minor,
            self.platform
        )?;
        for answer in &self.answers {
            match &answer.place {
                Some(place) => writeln!(formatter, "  - {} ({place}): {}", answer.asked, answer.answer)?,
                None => writeln!(formatter, "  - {}: {}", answer.asked, answer.answer)?,
            }
        }
        write!(
            formatter,
            "do one of these: install Go ({} or later) and let it reach a module proxy; allow the download; set KUBEBUILDER_ASSETS to \
             a directory with {}; ask for {}",
            OLDEST_GO,
            if self.is_of_controllers() {
                format!("`kube-apiserver`, `etcd` and `{}`", self.components.join("`, `"))
            } else {
                "`kube-apiserver` and `etcd`".to_owned()
            },
            if self.is_of_controllers() {
                "profile `api`, if no controllers are needed"
            } else {
                "a minor that is in a store already"
            }
        )
    }
}

impl NoSource {
    /// Returns true if only the controllers are missing, not the control plane.
    fn is_of_controllers(&self) -> bool {
        self.components.iter().all(|component| CONTROLLER_COMPONENTS.contains(component))
    }
}
