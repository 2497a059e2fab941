//! What clusters are made of.
//!
//! A [`Provider`] makes clusters; a [`ProvidedCluster`] is one of them. The pool never sees either: it asks for
//! [`Capabilities`] and for actions, and the daemon calls the provider. Nothing outside this module matches on a
//! provider's name.
//!
//! - `process`, `apple`: the providers. `connect`: from a name to one of them.
//! - `access`, `arguments`: certificates and command lines of a cluster's components, wherever they run.
//! - `controllers`: what a cluster's controllers are told.
//! - `readiness`: waiting for them.
//! - `port`: reserves a port, without a race.
//! - `tokens`: tells that tokens were made, and makes them void.
//! - `group_watcher`: ends groups of processes that would outlive the engine.

mod access;
pub mod apple;
mod arguments;
mod connect;
mod controllers;
mod files;
mod group_watcher;
mod port;
pub mod process;
mod readiness;
mod tokens;

use std::future::Future;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::pin::Pin;
use std::sync::Arc;

use crate::assets::{Assets, Platform};
use crate::certificates::{CertificateAuthority, IssuedIdentity};
use crate::etcd::PackedState;
use crate::protocol::Profile;

pub(crate) use self::connect::{Surroundings, connect};

/// The future of a provider's call.
pub type ProviderFuture<'a, Output> = Pin<Box<dyn Future<Output = Result<Output, ProviderError>> + Send + 'a>>;

/// The future of a measurement; `None` where there is nothing to measure, or nobody can tell.
pub type MeasureFuture<'a> = Pin<Box<dyn Future<Output = Option<u64>> + Send + 'a>>;

/// Makes clusters of one kind.
pub trait Provider: Send + Sync {
    /// What clusters of this provider can do.
    fn capabilities(&self) -> Capabilities;

    /// Makes a cluster and starts it. Returns as soon as its etcd holds `request.initial_state` and its API server
    /// runs; [`ProvidedCluster::wait_ready`] tells when that answers.
    fn create(&self, request: CreateRequest) -> ProviderFuture<'_, Arc<dyn ProvidedCluster>>;

    /// Waits, within a bound, until nothing is left any more of clusters that were destroyed, or dropped half made.
    fn wait_all_ended(&self) -> Pin<Box<dyn Future<Output = ()> + Send + '_>>;

    /// What there is now of this provider's clusters beside files, running or not, each as people would look for it: a
    /// process, a container.
    #[cfg_attr(not(feature = "cli"), allow(dead_code, reason = "asked by the program alone"))]
    fn remains(&self) -> ProviderFuture<'_, Vec<String>>;

    /// What clusters take of the disk outside of the directories that the provider was given. It may count what is not
    /// kina's.
    #[cfg_attr(not(feature = "cli"), allow(dead_code, reason = "asked by the program alone"))]
    fn disk_bytes(&self) -> MeasureFuture<'_>;
}

/// One cluster, running or stopped.
pub trait ProvidedCluster: Send + Sync {
    /// Where the cluster is and how to get in. Stays the same over stops and starts.
    fn access(&self) -> &ClusterAccess;

    /// Where its components write their logs.
    fn log_directory(&self) -> &std::path::Path;

    /// The name of the host that its API server takes itself to be on, by which that names a Lease of its own.
    fn host_name(&self) -> Vec<u8> {
        rustix::system::uname().nodename().to_bytes().to_owned()
    }

    /// Ids of the running processes; empty where they are not this machine's, or not running.
    fn process_ids(&self) -> Vec<u32>;

    /// Whether all of it runs: as the machine tells now, not as it was left. What is frozen runs.
    #[cfg_attr(not(feature = "cli"), allow(dead_code, reason = "asked by the program alone"))]
    fn check_running(&self) -> ProviderFuture<'_, bool>;

    /// What a running cluster takes of this machine's memory; `None` while nothing of it runs.
    fn memory_bytes(&self) -> MeasureFuture<'_>;

    /// Waits until the API server is ready, in the sense of `readiness`.
    fn wait_ready(&self, readiness: Readiness) -> ProviderFuture<'_, ()>;

    /// The place to ask for the stacks of all that runs in the API server.
    fn goroutine_profile(&self) -> GoroutineProfile;

    /// Ends the API server and starts it again on the same state. If tokens of service accounts were made since its last
    /// start, none of them is valid after that.
    fn restart_api_server(&self) -> ProviderFuture<'_, ()>;

    /// Returns whether tokens of service accounts were asked for that are valid until the API server is restarted.
    ///
    /// # Errors
    /// If it cannot be told.
    fn tokens_were_made(&self) -> Result<bool, ProviderError>;

    /// Whether it is one with controllers.
    fn has_controllers(&self) -> bool {
        false
    }

    /// Starts the controllers of a running cluster, unless they run. Nothing else does: not a creation, not a start. Does
    /// nothing to a cluster without any.
    fn start_controllers(&self) -> ProviderFuture<'_, ()> {
        Box::pin(async { Ok(()) })
    }

    /// Ends the controllers with all that they remember, if they run.
    fn stop_controllers(&self) -> ProviderFuture<'_, ()> {
        Box::pin(async { Ok(()) })
    }

    /// Takes the processor away from a running cluster; its memory stays.
    fn freeze(&self) -> ProviderFuture<'_, ()>;

    /// Gives the processor back to a frozen cluster.
    fn thaw(&self) -> ProviderFuture<'_, ()>;

    /// Ends all processes, frozen ones too, and keeps the state. Does nothing to a stopped cluster.
    fn stop(&self) -> ProviderFuture<'_, ()>;

    /// Starts a stopped cluster on its own state. An error for one that runs.
    fn start(&self) -> ProviderFuture<'_, ()>;

    /// Ends everything and removes the state, if that is not done yet. Logs stay.
    fn destroy(&self) -> ProviderFuture<'_, ()>;

    /// Resolves when a process of a running cluster ends without having been asked to; says which and how.
    fn wait_died(&self) -> Pin<Box<dyn Future<Output = String> + Send + '_>>;
}

/// The place where an API server tells what runs in it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum GoroutineProfile {
    /// At this Unix socket, which only this user can reach (kube-apiserver's `--debug-socket-path`).
    Socket(PathBuf),
    /// In its API, for administrators (kube-apiserver's `--profiling`).
    Api,
}

/// What a provider's clusters can do.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Capabilities {
    /// A cluster can be stopped and started again with its state.
    pub stop: bool,
    /// A cluster can be frozen and thawed.
    pub freeze: bool,
    /// How many clusters may boot at the same time without starving each other.
    pub parallel_boots_max: usize,
    /// What one running cluster takes, for admission.
    pub memory_per_cluster_bytes: u64,
    /// Its ports are not the cluster's own: somebody in between listens on loopback for it, and only while it runs. So a
    /// stopped cluster can find its port taken when it is started, and is then replaced.
    pub publish: bool,
    /// What a frozen cluster had in memory is free for others.
    pub memory_returned_when_frozen: bool,
    /// What a stopped cluster had in memory is free for others.
    pub memory_returned_when_stopped: bool,
    /// Several clusters can be started at a time. Where they cannot, starts queue within the provider.
    pub parallel_starts: bool,
    /// What the binaries must have been built for.
    pub binaries_platform: Platform,
    /// How much of a cluster it can make.
    pub profiles: &'static [Profile],
    /// The provider is not the real thing but an emulation of it: no figure from it says anything about the real one.
    pub simulated: bool,
}

/// What a cluster is made from.
#[derive(Clone, Debug)]
pub struct CreateRequest {
    /// A name unique in this engine, also the name of its directories.
    pub name: String,
    /// The binaries.
    pub assets: Assets,
    /// How much of a cluster it shall be.
    pub profile: Profile,
    /// What its store holds before the API server starts; empty for a cluster that bootstraps from nothing.
    pub(crate) initial_state: Arc<PackedState>,
}

/// How to reach a cluster. None of this ever leaves the engine.
#[derive(Clone, Debug)]
pub struct ClusterAccess {
    /// The API server's own address.
    pub api_address: SocketAddr,
    /// Authority of the API server's certificate.
    pub api_ca_pem: String,
    /// Signs certificates of clients that the API server accepts.
    pub client_authority: Arc<CertificateAuthority>,
    /// A member of `system:masters`.
    pub admin: IssuedIdentity,
    /// etcd's address.
    pub etcd_address: SocketAddr,
    /// Authority of etcd's certificate.
    pub etcd_ca_pem: String,
    /// A client that etcd accepts.
    pub etcd_client: IssuedIdentity,
}

/// How ready an API server is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Readiness {
    /// Ready but for the two post-start hooks (`rbac/bootstrap-roles`, `scheduling/bootstrap-system-priority-classes`)
    /// which sleep a second before their first look and, on a bootstrapped state, find nothing to do.
    Early,
    /// `/readyz` without exceptions.
    Full,
}

/// A provider could not do what was asked.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ProviderError {
    /// A directory or file could not be made, read or removed.
    #[error("{action} {path} failed")]
    Files {
        /// What was tried.
        action: &'static str,
        /// On which path.
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
    Certificates(#[from] crate::certificates::CertificateError),
    /// A program could not be started.
    #[error("starting {program} failed")]
    Spawn {
        /// The program.
        program: PathBuf,
        /// The system's answer.
        #[source]
        source: std::io::Error,
    },
    /// A program ended while it was waited for.
    #[error("{component} ended while it started ({status}); its log {log} ends with:\n{log_tail}")]
    Ended {
        /// The component, `etcd` or `kube-apiserver`.
        component: &'static str,
        /// How it ended.
        status: String,
        /// Its log file.
        log: PathBuf,
        /// The last lines of it.
        log_tail: String,
    },
    /// A component did not become ready in time.
    #[error("{component} was not ready after {waited_seconds} s ({last_answer}); its log {log} ends with:\n{log_tail}")]
    NotReady {
        /// The component.
        component: &'static str,
        /// How long it was waited for.
        waited_seconds: u64,
        /// What it answered last.
        last_answer: String,
        /// Its log file.
        log: PathBuf,
        /// The last lines of it.
        log_tail: String,
    },
    /// The cluster's etcd did not accept its initial state.
    #[error("loading the bootstrapped state into etcd failed")]
    InitialState(#[source] crate::etcd::EtcdError),
    /// A call that needs a running cluster met a stopped one, or the other way round.
    #[error("the cluster is {state}, so it cannot be {wanted}")]
    WrongState {
        /// What it is.
        state: &'static str,
        /// What was asked for.
        wanted: &'static str,
    },
    /// The provider has no such thing.
    #[error("clusters of this kind cannot be {wanted}")]
    Unsupported {
        /// What was asked for.
        wanted: &'static str,
    },
    /// The program `container` did not do what was asked.
    #[error("{action} the container {container} failed")]
    Container {
        /// What was tried.
        action: &'static str,
        /// With which container.
        container: String,
        /// What came of it.
        #[source]
        source: Box<apple::ContainerError>,
    },
    /// There is no program `container`.
    #[error(
        "there is no program `container` on PATH: install Apple's `container` (macOS 26 on Apple silicon), or name the \
         program in {variable}"
    )]
    NoContainerProgram {
        /// The variable that names it.
        variable: &'static str,
    },
    /// The program `container` cannot be used at all.
    #[error("the provider `apple` cannot be used")]
    ContainerService(#[source] Box<apple::ContainerError>),
    /// The image that clusters are started from could not be made.
    #[error("preparing the image of the clusters failed")]
    Image(#[source] Box<dyn std::error::Error + Send + Sync>),
    /// A running cluster could not be frozen or thawed.
    #[error("a process of the cluster cannot be {wanted}")]
    Signal {
        /// What was asked for.
        wanted: &'static str,
        /// The system's answer.
        #[source]
        source: std::io::Error,
    },
    /// The client for the API server could not be made.
    #[error("making a client for the cluster failed")]
    Client(#[source] Box<kube::Error>),
}

impl ProviderError {
    /// Whether it is the user's to repair, and the same until then.
    pub fn is_user_error(&self) -> bool {
        match self {
            Self::NoContainerProgram { .. } => true,
            Self::Container { source, .. } | Self::ContainerService(source) => source.kind.is_user_error(),
            _ => false,
        }
    }

    fn container(action: &'static str, container: &str, error: apple::ContainerError) -> Self {
        Self::Container { action, container: container.to_owned(), source: Box::new(error) }
    }
}
