//! Failures of providers.

use std::error::Error;
use std::fmt;
use std::path::PathBuf;

use crate::api_client::NoClient;
use crate::certificates::CertificateError;
use crate::etcd::EtcdError;
use crate::provider_name::ProviderNotBuilt;
use crate::trust::Distrust;

/// A failure of a provider.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ProviderError {
    /// A directory or file could not be made, read or removed.
    #[error("{action} {path} failed")]
    Files {
        /// The action that was tried.
        action: &'static str,
        /// The path of the directory or file.
        path: PathBuf,
        /// The system's answer.
        #[source]
        source: std::io::Error,
    },
    /// No port could be reserved on loopback.
    #[error("reserving a loopback port failed")]
    Port(#[source] std::io::Error),
    /// A certificate could not be made.
    #[error("preparing the cluster's certificates failed")]
    Certificates(#[from] CertificateError),
    /// A program could not be started.
    #[error("starting {program} failed")]
    Spawn {
        /// The program.
        program: PathBuf,
        /// The system's answer.
        #[source]
        source: std::io::Error,
    },
    /// Another user could have put the program there.
    #[error("a program is not started where another user could have put it: {distrust}")]
    Distrusted {
        /// The fault, and its repair.
        distrust: Distrust,
    },
    /// A program ended before it was ready.
    #[error("{component} ended while it started ({status}); its log {log} ends with:\n{log_tail}")]
    Ended {
        /// The component, `etcd` or `kube-apiserver`.
        component: &'static str,
        /// Its exit status, in words.
        status: String,
        /// Its log file.
        log: PathBuf,
        /// The last lines of the log.
        log_tail: String,
    },
    /// A component did not become ready in time.
    #[error("{component} was not ready after {waited_seconds} s ({last_answer}); its log {log} ends with:\n{log_tail}")]
    NotReady {
        /// The component.
        component: &'static str,
        /// The length of the wait.
        waited_seconds: u64,
        /// Its last answer.
        last_answer: String,
        /// Its log file.
        log: PathBuf,
        /// The last lines of the log.
        log_tail: String,
    },
    /// The cluster's etcd did not accept its initial state.
    #[error("loading the bootstrapped state into etcd failed")]
    InitialState(#[source] EtcdError),
    /// A call that needs a running cluster met a stopped one, or the other way round.
    #[error("the cluster is {state}, so it cannot be {wanted}")]
    WrongState {
        /// The state that the cluster is in.
        state: &'static str,
        /// The action that was asked for.
        wanted: &'static str,
    },
    /// The provider does not support an action.
    #[error("clusters of this kind cannot be {wanted}")]
    Unsupported {
        /// The action that was asked for.
        wanted: &'static str,
    },
    /// A running cluster could not be frozen or thawed.
    #[error("a process of the cluster cannot be {wanted}")]
    Signal {
        /// The action that was asked for.
        wanted: &'static str,
        /// The system's answer.
        #[source]
        source: std::io::Error,
    },
    /// The client for the API server could not be made.
    #[error(transparent)]
    Client(#[from] NoClient),
    /// The engine was built without the provider.
    #[error(transparent)]
    NotBuilt(#[from] ProviderNotBuilt),
    /// A failure of a kind that only one provider has.
    #[error(transparent)]
    Own(#[from] OwnError),
}

/// An error of one provider, of a type that no other code knows.
#[derive(Debug)]
pub struct OwnError {
    error: Box<dyn Error + Send + Sync>,
    is_user_error: bool,
}

impl ProviderError {
    /// Returns true if only the user can repair the cause, so that trying again before that is no use.
    pub fn is_user_error(&self) -> bool {
        match self {
            Self::Distrusted { .. } | Self::NotBuilt(_) => true,
            Self::Own(error) => error.is_user_error,
            _ => false,
        }
    }
}

impl OwnError {
    /// Wraps a provider's error; `is_user_error` is set if only the user can repair the cause.
    #[cfg_attr(
        not(any(feature = "apple", target_os = "macos")),
        expect(dead_code, reason = "of the providers so far, only `apple` has errors of its own")
    )]
    pub(super) fn new(error: impl Error + Send + Sync + 'static, is_user_error: bool) -> Self {
        Self { error: Box::new(error), is_user_error }
    }

    /// Returns the provider's error, if it has this type.
    #[cfg(all(test, any(feature = "apple", target_os = "macos")))]
    pub(super) fn downcast_ref<Own: Error + 'static>(&self) -> Option<&Own> {
        self.error.downcast_ref()
    }
}

impl fmt::Display for OwnError {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.error.fmt(formatter)
    }
}

impl Error for OwnError {
    fn source(&self) -> Option<&(dyn Error + 'static)> {
        self.error.source()
    }
}
