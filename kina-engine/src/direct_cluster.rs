//! One cluster of the provider `process` in this very process: no engine, no pool, no gateway. Benchmarks compare a lease with
//! it.

use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use crate::assets::Assets;
use crate::cluster_access::ClusterAccess;
use crate::journal::Journal;
use crate::protocol::Profile;
use crate::provider::process::ProcessProvider;
use crate::provider::{CreateRequest, ProvidedCluster, Provider, ProviderError, Readiness};
use crate::snapshot::SnapshotStore;

/// A running cluster.
pub struct DirectCluster {
    cluster: Arc<dyn ProvidedCluster>,
}

/// A cluster could not be made.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum DirectClusterError {
    /// The journal of its processes cannot be written.
    #[error("beginning a journal in {directory} failed")]
    Journal {
        /// Its directory.
        directory: PathBuf,
        /// The cause.
        #[source]
        source: io::Error,
    },
    /// No engine has bootstrapped a cluster of these binaries yet.
    #[error("there is no bootstrapped state in {directory}: let an engine boot a cluster of the same binaries first")]
    NoState {
        /// The directory of bootstrapped states.
        directory: PathBuf,
    },
    /// The provider failed.
    #[error("booting a cluster without an engine failed")]
    Provider(#[from] ProviderError),
}

impl DirectCluster {
    /// Boots a cluster that keeps its files in `directory`, from the state that an engine with this cache has bootstrapped.
    ///
    /// # Errors
    /// If there is no such state, or if the provider fails.
    pub async fn boot(directory: &Path, cache_directory: &Path, assets: Assets) -> Result<Self, DirectClusterError> {
        let journal_directory = directory.join("direct-journal");
        let journal = Journal::start(&journal_directory)
            .map_err(|source| DirectClusterError::Journal { directory: journal_directory, source })?;
        let provider =
            ProcessProvider::new(directory.join("direct"), directory.join("direct-logs"), Arc::new(journal))?;
        let snapshots = cache_directory.join("snapshots");
        let snapshot = SnapshotStore::new(snapshots.clone())
            .load(&assets.identity)
            .ok_or(DirectClusterError::NoState { directory: snapshots })?;
        let name = "direct".to_owned();
        let request = CreateRequest { name, assets, profile: Profile::Api, initial_state: snapshot.state };
        let cluster = provider.create(request).await?;
        cluster.wait_ready(Readiness::Full).await?;
        Ok(Self { cluster })
    }

    /// Returns its address and credentials.
    pub fn access(&self) -> &ClusterAccess {
        self.cluster.access()
    }

    /// Returns the numbers of its processes.
    pub fn process_ids(&self) -> Vec<u32> {
        self.cluster.process_ids()
    }

    /// Ends the cluster, and removes its files.
    ///
    /// # Errors
    /// If a process or a file is left.
    pub async fn destroy(&self) -> Result<(), ProviderError> {
        self.cluster.destroy().await
    }
}
