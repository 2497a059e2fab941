use std::path::PathBuf;

use kina_engine::client::ClientError;
use kina_engine::fixtures::{ApplyError, ReadError};

/// Why there is no cluster, or not in the form that was asked for.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// The engine could not be reached, or refused.
    #[error("no cluster could be had")]
    Acquire(#[from] ClientError),
    /// No client could be made for it.
    #[error("making a client for the cluster failed")]
    Client(#[source] Box<dyn std::error::Error + Send + Sync>),
    /// There can be no such user.
    #[error(
        "no client can act as the user {user:?}: names of users and groups are not empty and have no control characters, \
         since they are sent as headers"
    )]
    User {
        /// The user.
        user: String,
    },
    /// The cluster's network could not be changed.
    #[error("changing the cluster's network failed")]
    Network(#[source] ClientError),
    /// The kubeconfig could not be written.
    #[error("writing the kubeconfig {path} failed")]
    Kubeconfig {
        /// The file.
        path: PathBuf,
        /// The system's answer.
        #[source]
        source: std::io::Error,
    },
    /// The fixtures could not be applied.
    #[error("the fixtures were not applied")]
    Fixtures(#[source] ApplyError),
    /// The files of the fixtures could not be read.
    #[error("the fixtures were not read")]
    ReadFixtures(#[source] ReadError),
    /// There is no runtime to run the test on.
    #[error("starting the test's runtime failed")]
    Runtime(#[source] std::io::Error),
}

impl Error {
    /// Whether you can do something about it, rather than kina's makers.
    pub fn is_user_error(&self) -> bool {
        match self {
            Self::Acquire(error) | Self::Network(error) => error.is_user_error(),
            Self::Fixtures(error) => error.is_user_error(),
            Self::Kubeconfig { .. } | Self::ReadFixtures(_) | Self::User { .. } => true,
            Self::Client(_) | Self::Runtime(_) => false,
        }
    }
}
