//! Providers: the makers of clusters.
//!
//! A [`Provider`] makes clusters; a [`ProvidedCluster`] is one of them. The pool never sees either: it asks for
//! [`Capabilities`] and for actions, and the daemon calls the provider. Nothing outside this module matches on a
//! provider's name.
//!
//! - `process`, `apple`: the providers. `registry`: from a name to the `registration` of one of them.
//! - `capabilities`: their differences. `error`: their failures.
//! - `access`, `arguments`: certificates and command lines of a cluster's components, wherever they run.
//! - `controllers`: configuration of a cluster's controllers.
//! - `readiness`: waiting for components.
//! - `port`: reserves a port, without a race. `silent_ports`: the system's answer there while no process listens.
//! - `tokens`: detects that tokens were made, and makes them void.
//! - `group_watcher`: ends groups of processes that would outlive the engine.

mod access;
#[cfg(any(feature = "apple", target_os = "macos"))]
pub mod apple;
mod arguments;
mod capabilities;
mod controllers;
mod error;
mod files;
mod group_watcher;
mod port;
pub mod process;
mod readiness;
mod registration;
mod registry;
mod silent_ports;
mod tokens;

use std::future::Future;
use std::path::PathBuf;
use std::pin::Pin;
use std::sync::Arc;

pub use self::capabilities::Capabilities;
#[cfg(any(feature = "apple", target_os = "macos"))]
use self::error::OwnError;
pub use self::error::ProviderError;
pub use self::registration::EngineParts;
#[cfg(feature = "lab")]
pub use self::registry::program_variable;
pub use self::registry::{binaries_platform, connect};
#[cfg(feature = "lab")]
pub use self::silent_ports::SilentPorts;
pub use self::silent_ports::silent_port_refusal;
use crate::assets::Assets;
use crate::cluster_access::ClusterAccess;
use crate::etcd::PackedState;
use crate::protocol::Profile;

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

    /// Returns true if the API server is known to have ended, so that no connection to it needs to be tried. A cluster
    /// whose port then refuses connections by itself need not know.
    fn api_server_has_ended(&self) -> bool {
        false
    }

    /// Returns the place that serves the stacks of the API server's goroutines.
    fn goroutine_profile(&self) -> GoroutineProfile {
        GoroutineProfile::Api
    }

    /// Ends the API server and starts it again on the same state. Tokens of service accounts that were made since its
    /// last start are void after that.
    fn restart_api_server(&self) -> ProviderFuture<'_, ()>;

    /// Returns true if tokens of service accounts were asked for that are valid until the API server is restarted.
    ///
    /// # Errors
    /// If the audit log cannot be examined.
    fn tokens_were_made(&self) -> Result<bool, ProviderError>;

    /// Returns false if a request for a token may go unnoticed, so that each lease has to be followed by a restart.
    fn notices_tokens(&self) -> bool {
        true
    }

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

    /// Takes the processor away from a running cluster; its memory stays. Only called if [`Capabilities::freeze`] is set.
    fn freeze(&self) -> ProviderFuture<'_, ()> {
        Box::pin(async { Err(ProviderError::Unsupported { wanted: "frozen" }) })
    }

    /// Gives the processor back to a frozen cluster.
    fn thaw(&self) -> ProviderFuture<'_, ()> {
        Box::pin(async { Err(ProviderError::Unsupported { wanted: "thawed" }) })
    }

    /// Ends all processes, even if frozen, and keeps the state. Does nothing to a stopped cluster. Only called if
    /// [`Capabilities::stop`] is set.
    fn stop(&self) -> ProviderFuture<'_, ()> {
        Box::pin(async { Err(ProviderError::Unsupported { wanted: "stopped" }) })
    }

    /// Starts a stopped cluster on its own state. Fails for one that runs.
    fn start(&self) -> ProviderFuture<'_, ()> {
        Box::pin(async { Err(ProviderError::Unsupported { wanted: "started again" }) })
    }

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

/// A degree of readiness of an API server.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Readiness {
    /// Ready except for two post-start hooks (`rbac/bootstrap-roles`, `scheduling/bootstrap-system-priority-classes`)
    /// that sleep for a second before they start and, on a bootstrapped state, have nothing to do.
    Early,
    /// `/readyz` without exceptions.
    Full,
}
