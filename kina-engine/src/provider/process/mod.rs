//! Clusters of plain processes: an etcd and a kube-apiserver on loopback, with controllers or without, all of them
//! children of the engine.
//!
//! - `child`: starts children that die with the engine, and ends them.
//! - `cluster`: one cluster's life, from its certificates to its removal.
//! - `silent_ports`: the system's behaviour at reserved ports, asked once.
//! - `state_directory`: sees to it that no directory is left without a cluster.

mod child;
mod cluster;
mod silent_ports;
mod state_directory;

use std::path::PathBuf;
use std::pin::Pin;
use std::sync::Arc;

use self::child::ChildStarter;
use self::silent_ports::KnownSilentPorts;
use self::state_directory::{Abandoned, StateDirectory};
use super::{
    Capabilities, CreateRequest, EngineParts, MeasureFuture, ProvidedCluster, Provider, ProviderError, ProviderFuture,
};
use crate::assets::Platform;
use crate::journal::Journal;
use crate::protocol::Profile;
use crate::provider::registration::Registration;
#[cfg(feature = "lab")]
use crate::provider::silent_ports::SilentPorts;

/// Memory of one running cluster, for admission.
pub const MEMORY_PER_CLUSTER_BYTES: u64 = 320 << 20;

pub(super) const REGISTRATION: Registration =
    Registration { binaries_platform: Platform::host, program_variable: None, connect };

/// Makes clusters of plain processes.
pub struct ProcessProvider {
    child_starter: ChildStarter,
    journal: Arc<Journal>,
    abandoned: Abandoned,
    cluster_directory: PathBuf,
    log_directory: PathBuf,
    silent_ports: KnownSilentPorts,
}

fn connect(engine_parts: EngineParts<'_>) -> ProviderFuture<'_, Arc<dyn Provider>> {
    let EngineParts { paths, journal, .. } = engine_parts;
    let made = ProcessProvider::new(paths.cluster_directory.clone(), paths.cluster_log_directory.clone(), journal);
    Box::pin(std::future::ready(made.map(|provider| Arc::new(provider) as Arc<dyn Provider>)))
}

impl ProcessProvider {
    /// Makes a provider that keeps states below `cluster_directory` and logs below `log_directory`, and records each
    /// process that it starts in `journal`.
    ///
    /// # Errors
    /// If the thread that starts the children cannot be made.
    pub fn new(
        cluster_directory: PathBuf,
        log_directory: PathBuf,
        journal: Arc<Journal>,
    ) -> Result<Self, ProviderError> {
        let child_starter = ChildStarter::start(Arc::clone(&journal))?;
        Ok(Self {
            child_starter,
            journal,
            abandoned: Abandoned::default(),
            cluster_directory,
            log_directory,
            silent_ports: KnownSilentPorts::default(),
        })
    }

    /// Makes it believe in a behaviour of the system at silent ports, which it would otherwise find out.
    #[cfg(feature = "lab")]
    #[must_use]
    pub fn assuming(self, silent_ports: SilentPorts) -> Self {
        Self { silent_ports: KnownSilentPorts::of(silent_ports), ..self }
    }
}

impl Provider for ProcessProvider {
    fn capabilities(&self) -> Capabilities {
        let cores = std::thread::available_parallelism().map_or(1, usize::from);
        Capabilities {
            stop: true,
            freeze: true,
            // A boot keeps about two cores busy for most of a second.
            parallel_boots_max: (cores / 2).max(1),
            memory_per_cluster_bytes: MEMORY_PER_CLUSTER_BYTES,
            shares_loopback: true,
            binaries_platform: Platform::host(),
            profiles: &[Profile::Api, Profile::Controllers],
            simulated: false,
        }
    }

    fn create(&self, request: CreateRequest) -> ProviderFuture<'_, Arc<dyn ProvidedCluster>> {
        Box::pin(async move {
            let state_directory = self.cluster_directory.join(&request.name);
            let state_directory = StateDirectory::new(state_directory, self.abandoned.clone());
            let log_directory = self.log_directory.join(&request.name);
            let cluster = cluster::ProcessCluster::create(
                self.child_starter.clone(),
                state_directory,
                log_directory,
                self.silent_ports.clone(),
                request,
            );
            Ok(Arc::new(cluster.await?) as Arc<dyn ProvidedCluster>)
        })
    }

    fn wait_all_ended(&self) -> Pin<Box<dyn Future<Output = ()> + Send + '_>> {
        Box::pin(async {
            self.child_starter.wait_all_ended().await;
            self.abandoned.remove_all();
        })
    }

    fn remains(&self) -> ProviderFuture<'_, Vec<String>> {
        let living = self.journal.living();
        let told = living
            .iter()
            .map(|record| format!("process {} ({} of {})", record.process_id, record.component, record.cluster));
        let told = told.collect();
        Box::pin(async { Ok(told) })
    }

    /// Measures nothing: there is no data outside of the provider's directories.
    fn disk_bytes(&self) -> MeasureFuture<'_> {
        Box::pin(async { None })
    }
}
