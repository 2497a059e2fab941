//! Providers: the makers of clusters.
//!
//! A [`Provider`] makes clusters; a [`ProvidedCluster`] is one of them. The pool never sees either: it asks for
//! [`Capabilities`] and for actions, and the daemon calls the provider. Nothing outside this module matches on a
//! provider's name.
//!
//! - `process`, `apple`: the providers. `connect`: from a name to one of them.
//! - `access`, `arguments`: certificates and command lines of a cluster's components, wherever they run.
//! - `controllers`: configuration of a cluster's controllers.
//! - `readiness`: waiting for components.
//! - `port`: reserves a port, without a race.
//! - `tokens`: detects that tokens were made, and makes them void.
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

pub use self::connect::{Surroundings, connect};

/// The future of a provider's call.
pub type ProviderFuture<'a, Output> = Pin<Box<dyn Future<Output = Result<Output, ProviderError>> + Send + 'a>>;

/// The future of a measurement; `None` if there is nothing to measure, or no way to.
pub type MeasureFuture<'a> = Pin<Box<dyn Future<Output = Option<u64>> + Send + 'a>>;

/// Makes clusters of one kind.
pub trait Provider: Send + Sync {
    /// Returns the capabilities of this provider's clusters.
    fn capabilities(&self) -> Capabilities;

    /// Makes a cluster and starts it. Returns as soon as its etcd holds `request.initial_state` and its API server
    /// runs; [`ProvidedCluster::wait_ready`] waits until that answers.
    fn create(&self, request: CreateRequest) -> ProviderFuture<'_, Arc<dyn ProvidedCluster>>;

    /// Waits, within a bound, until nothing is left of clusters that were destroyed, or dropped half made.
    fn wait_all_ended(&self) -> Pin<Box<dyn Future<Output = ()> + Send + '_>>;

    /// Lists the processes or containers of this provider's clusters, running or not, each in words by which a person
    /// can find it.
    #[cfg_attr(not(feature = "lab"), allow(dead_code, reason = "asked by the laboratory alone"))]
    fn remains(&self) -> ProviderFuture<'_, Vec<String>>;

    /// Measures the disk space of clusters outside of the directories that the provider was given. The figure may
    /// include data that is not kina's.
    #[cfg_attr(not(feature = "lab"), allow(dead_code, reason = "asked by the laboratory alone"))]
    fn disk_bytes(&self) -> MeasureFuture<'_>;
}

/// One cluster, running or stopped.
pub trait ProvidedCluster: Send + Sync {
    /// Returns the cluster's addresses and credentials, which stay the same over stops and starts.
    fn access(&self) -> &ClusterAccess;

    /// Returns the directory of its components' logs.
    fn log_directory(&self) -> &std::path::Path;

    /// Moves the lines that its components have written so far to where those of earlier leases are. Takes the time of a
    /// few calls of the system, or of copying what a component has written.
    ///
    /// # Errors
    /// If the files cannot be emptied.
    fn set_logs_aside(&self) -> std::io::Result<()> {
        crate::earlier_logs::set_aside(self.log_directory(), &[])
    }

    /// Returns the host name that its API server sees, after which that names a Lease of its own.
    fn host_name(&self) -> Vec<u8> {
        rustix::system::uname().nodename().to_bytes().to_owned()
    }

    /// Returns the ids of the running processes; empty if they are not this machine's, or not running.
    fn process_ids(&self) -> Vec<u32>;

    /// Looks up, instead of remembering, if all of the cluster runs. A frozen cluster runs.
    #[cfg_attr(not(feature = "lab"), allow(dead_code, reason = "asked by the laboratory alone"))]
    fn check_running(&self) -> ProviderFuture<'_, bool>;

    /// Measures a running cluster's share of this machine's memory; `None` while nothing of it runs.
    fn memory_bytes(&self) -> MeasureFuture<'_>;

    /// Waits until the API server is ready, in the sense of `readiness`.
    fn wait_ready(&self, readiness: Readiness) -> ProviderFuture<'_, ()>;

    /// Returns the place that serves the stacks of the API server's goroutines.
    fn goroutine_profile(&self) -> GoroutineProfile;

    /// Ends the API server and starts it again on the same state. Tokens of service accounts that were made since its
    /// last start are void after that.
    fn restart_api_server(&self) -> ProviderFuture<'_, ()>;

    /// Returns true if tokens of service accounts were asked for that are valid until the API server is restarted.
    ///
    /// # Errors
    /// If the audit log cannot be examined.
    fn tokens_were_made(&self) -> Result<bool, ProviderError>;

    /// Returns true if the cluster has controllers.
    fn has_controllers(&self) -> bool {
        false
    }

    /// Starts the controllers of a running cluster, unless they run. Neither creating nor starting a cluster does so.
    /// Does nothing to a cluster without controllers.
    fn start_controllers(&self) -> ProviderFuture<'_, ()> {
        Box::pin(async { Ok(()) })
    }

    /// Ends the controllers, if they run, and so loses all that they hold in memory.
    fn stop_controllers(&self) -> ProviderFuture<'_, ()> {
        Box::pin(async { Ok(()) })
    }

    /// Takes the processor away from a running cluster; its memory stays.
    fn freeze(&self) -> ProviderFuture<'_, ()>;

    /// Gives the processor back to a frozen cluster.
    fn thaw(&self) -> ProviderFuture<'_, ()>;

    /// Ends all processes, even if frozen, and keeps the state. Does nothing to a stopped cluster.
    fn stop(&self) -> ProviderFuture<'_, ()>;

    /// Starts a stopped cluster on its own state. Fails for one that runs.
    fn start(&self) -> ProviderFuture<'_, ()>;

    /// Ends everything and removes the state, unless that is already done. Logs stay.
    fn destroy(&self) -> ProviderFuture<'_, ()>;

    /// Resolves when a process of a running cluster ends unexpectedly, to a text that tells which and how.
    fn wait_died(&self) -> Pin<Box<dyn Future<Output = String> + Send + '_>>;
}

/// The place where an API server serves its goroutines' stacks.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum GoroutineProfile {
    /// A Unix socket that only this user can reach (kube-apiserver's `--debug-socket-path`).
    Socket(PathBuf),
    /// Its API, for administrators (kube-apiserver's `--profiling`).
    Api,
}

/// Capabilities of a provider's clusters.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Capabilities {
    /// A cluster can be stopped and started again with its state.
    pub stop: bool,
    /// A cluster can be frozen and thawed.
    pub freeze: bool,
    /// The number of clusters that can boot at the same time without starving each other.
    pub parallel_boots_max: usize,
    /// Memory of one running cluster, for admission.
    pub memory_per_cluster_bytes: u64,
    /// The ports are not the cluster's own: a proxy listens on loopback for it, and only while it runs. A stopped
    /// cluster can thus find its port taken when it is started, and is then replaced.
    pub publish: bool,
    /// A frozen cluster's memory is free for others.
    pub memory_returned_when_frozen: bool,
    /// A stopped cluster's memory is free for others.
    pub memory_returned_when_stopped: bool,
    /// Several clusters can be started at a time. If they cannot, starts queue within the provider.
    pub parallel_starts: bool,
    /// The platform that the binaries must have been built for.
    pub binaries_platform: Platform,
    /// The profiles that it can make.
    pub profiles: &'static [Profile],
    /// The provider is an emulation: its figures mean nothing for the real one.
    pub simulated: bool,
}

/// The ingredients of a cluster.
#[derive(Clone, Debug)]
pub struct CreateRequest {
    /// A name unique in this engine, also the name of its directories.
    pub name: String,
    /// The binaries.
    pub assets: Assets,
    /// The profile of the cluster.
    pub profile: Profile,
    /// The content of its store before the API server starts; empty for a cluster that bootstraps from nothing.
    pub initial_state: Arc<PackedState>,
}

/// Addresses and credentials of a cluster. None of this ever leaves the engine.
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

/// A degree of readiness of an API server.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Readiness {
    /// Ready except for two post-start hooks (`rbac/bootstrap-roles`, `scheduling/bootstrap-system-priority-classes`)
    /// that sleep for a second before they start and, on a bootstrapped state, have nothing to do.
    Early,
    /// `/readyz` without exceptions.
    Full,
}

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
    /// Another user could have put the program there.
    #[error("a program is not started where another user could have put it: {distrust}")]
    Distrusted {
        /// The fault, and its repair.
        distrust: crate::trust::Distrust,
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
    InitialState(#[source] crate::etcd::EtcdError),
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
    /// A call of the program `container` failed.
    #[error("{action} the container {container} failed")]
    Container {
        /// The action that was tried.
        action: &'static str,
        /// The name of the container.
        container: String,
        /// The failure.
        #[source]
        source: Box<apple::ContainerError>,
    },
    /// There is no program `container`.
    #[error(
        "there is no program `container` on PATH, of which only absolute entries count: install Apple's `container` \
         (macOS 26 on Apple silicon), or name the program in {variable}"
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
        /// The action that was asked for.
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
    /// Returns true if only the user can repair the cause, so that trying again before that is no use.
    pub fn is_user_error(&self) -> bool {
        match self {
            Self::NoContainerProgram { .. } | Self::Distrusted { .. } => true,
            Self::Container { source, .. } | Self::ContainerService(source) => source.kind.is_user_error(),
            _ => false,
        }
    }

    fn container(action: &'static str, container: &str, error: apple::ContainerError) -> Self {
        Self::Container { action, container: container.to_owned(), source: Box::new(error) }
    }
}
