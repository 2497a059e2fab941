use std::path::PathBuf;

use kina_engine::{ApplyError, ClientError, FixtureReadError};

/// The reason that a cluster, or something made from it, is not available.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// The engine could not be reached, or refused the request.
    #[error("no cluster could be acquired")]
    Acquire(#[from] ClientError),
    /// The files of a template could not be read.
    #[error("reading the files of the template failed")]
    Template(#[source] FixtureReadError),
    /// An argument of the test could not be made.
    #[error("making the argument of type `{argument}` failed")]
    Argument {
        /// Its type.
        argument: &'static str,
        /// The error of its [`FromTest`](crate::FromTest).
        #[source]
        source: Box<dyn std::error::Error + Send + Sync>,
    },
    /// Several clusters were requested, but with namespace isolation.
    #[error(
        "the test takes {count} clusters, but with `isolation = \"namespace\"` each would be a namespace of a shared \
         cluster, perhaps of the same one: set `isolation = \"cluster\"` for the test"
    )]
    SeveralNamespaces {
        /// The number of clusters.
        count: usize,
    },
    /// More clusters were taken than `CLUSTER_COUNT` announced.
    #[error(
        "all of the test's clusters ({count}) are taken: a type that makes a `Cluster` of its own with \
         `Cluster::from_test` must declare `const CLUSTER_COUNT: usize = 1;` in its `impl FromTest`"
    )]
    NoClusterLeft {
        /// The number of the test's clusters.
        count: usize,
    },
    /// No client could be made for the cluster.
    #[error("making a client for the cluster failed")]
    Client(#[source] Box<dyn std::error::Error + Send + Sync>),
    /// The user's name cannot be sent.
    #[error(
        "no client can act as the user {user:?}: names of users and groups must not be empty or contain control \
         characters, since they are sent as headers"
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
    ReadFixtures(#[source] FixtureReadError),
    /// The scratch directory could not be made.
    #[error("making the scratch directory {path} failed")]
    ScratchDirectory {
        /// The directory.
        path: PathBuf,
        /// The system's answer.
        #[source]
        source: std::io::Error,
    },
    /// The test's runtime could not be started.
    #[error("starting the test's runtime failed")]
    Runtime(#[source] std::io::Error),
}

impl Error {
    /// Returns true if the user of kina can fix it, false if it is a bug in kina.
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
