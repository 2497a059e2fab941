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
    /// The files of a template could not be read.
    #[error("reading the files of the template failed")]
    Template(#[source] ReadError),
    /// An argument of the test could not be made.
    #[error("making the argument of type `{argument}` failed")]
    Argument {
        /// Its type.
        argument: &'static str,
        /// What its [`FromTest`](crate::FromTest) said.
        #[source]
        source: Box<dyn std::error::Error + Send + Sync>,
    },
    /// Several clusters were asked for, but no whole one.
    #[error(
        "the test takes {count} clusters, but each would be a namespace of a cluster that others use too, perhaps of the \
         same one: say `isolation = \"cluster\"` at the test"
    )]
    SeveralNamespaces {
        /// How many.
        count: usize,
    },
    /// More clusters were taken than announced.
    #[error(
        "all of the test's clusters ({count}) are taken: a type that makes a `Cluster` of its own with \
         `Cluster::from_test` has to say so with `const CLUSTER_COUNT: usize = 1;` in its `impl FromTest`"
    )]
    NoClusterLeft {
        /// How many there are.
        count: usize,
    },
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
    /// The fixtures were applied, but policies, quotas or the like among them have no effect yet.
    #[error("the fixtures were applied, but waiting until the rules among them are in force failed")]
    InForce(#[source] ClientError),
    /// The files of the fixtures could not be read.
    #[error("the fixtures were not read")]
    ReadFixtures(#[source] ReadError),
    /// The scratch directory could not be made.
    #[error("making the scratch directory {path} failed")]
    ScratchDirectory {
        /// The directory.
        path: PathBuf,
        /// The system's answer.
        #[source]
        source: std::io::Error,
    },
    /// There is no runtime to run the test on.
    #[error("starting the test's runtime failed")]
    Runtime(#[source] std::io::Error),
}

impl Error {
    /// Whether you can do something about it, rather than kina's makers.
    pub fn is_user_error(&self) -> bool {
        match self {
            Self::Acquire(error) | Self::Network(error) | Self::InForce(error) => error.is_user_error(),
            Self::Fixtures(error) => error.is_user_error(),
            Self::Template(_)
            | Self::User { .. }
            | Self::ReadFixtures(_)
            | Self::Argument { .. }
            | Self::SeveralNamespaces { .. }
            | Self::NoClusterLeft { .. }
            | Self::Kubeconfig { .. }
            | Self::ScratchDirectory { .. } => true,
            Self::Client(_) | Self::Runtime(_) => false,
        }
    }
}
