//! A provider for this process alone, in directories of its own: the user's engines are not touched, and everything is
//! removed at the end.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use anyhow::Context;
use cargo_kina::{PrivateEngine, find_binaries_for};
use kina_engine::lab::boot::wait_quiet;
use kina_engine::lab::etcd::EtcdClient;
use kina_engine::lab::journal::Journal;
use kina_engine::lab::provider::{self, CreateRequest, EngineParts, ProvidedCluster, Provider, Readiness};
use kina_engine::lab::rewind::{PREFIX, read_fingerprint};
use kina_engine::lab::snapshot::Snapshot;
use kina_engine::{Assets, EnginePaths, EngineSettings, Profile, ProviderName};

/// The directories of a provider that this process connects to.
pub(super) struct PrivateProvider {
    name: ProviderName,
    paths: EnginePaths,
    /// Dropped after everything that works in its directories. No engine runs there.
    _private: PrivateEngine,
}

impl PrivateProvider {
    /// Creates the directories; `purpose` is part of their name.
    pub(super) fn prepare(name: ProviderName, purpose: &str) -> anyhow::Result<Self> {
        let private = PrivateEngine::prepare(purpose)?.with_own_cache();
        Ok(Self { name, paths: private.paths(name)?, _private: private })
    }

    /// Makes a provider, as an engine does. Several can exist at the same time, like engines of one user.
    pub(super) async fn connect(&self) -> anyhow::Result<Arc<dyn Provider>> {
        let journal = Arc::new(Journal::start(&self.paths.journal_directory).context("beginning a journal failed")?);
        let settings = EngineSettings::of_this_process()?;
        let engine_parts = EngineParts { paths: &self.paths, settings: &settings, journal };
        Ok(provider::connect(self.name, engine_parts).await?)
    }

    /// The state directory of the cluster of this name.
    pub(super) fn state_directory(&self, cluster: &str) -> PathBuf {
        self.paths.cluster_directory.join(cluster)
    }

    /// The places of its files.
    pub(super) fn paths(&self) -> &EnginePaths {
        &self.paths
    }

    /// The directory of all clusters' states.
    pub(super) fn cluster_directory(&self) -> &Path {
        &self.paths.cluster_directory
    }
}

/// The binaries that clusters of this provider are made from.
pub(super) async fn binaries_of(provider: &Arc<dyn Provider>) -> anyhow::Result<Assets> {
    find_binaries_for(provider.capabilities().binaries_platform).await
}

/// Bootstraps a cluster from nothing, lets `change` write into it, and reads its state; then removes the cluster.
pub(super) async fn bootstrap(
    provider: &Arc<dyn Provider>,
    assets: &Assets,
    change: impl AsyncFnOnce(&Arc<dyn ProvidedCluster>) -> anyhow::Result<()>,
) -> anyhow::Result<Snapshot> {
    let request = CreateRequest {
        name: "bootstrap".to_owned(),
        assets: assets.clone(),
        profile: Profile::Api,
        initial_state: Arc::default(),
    };
    let cluster = provider.create(request).await?;
    let taken = async {
        cluster.wait_ready(Readiness::Full).await?;
        change(&cluster).await?;
        let access = cluster.access();
        let etcd = EtcdClient::connect(access.etcd_address, &access.etcd_ca_pem, &access.etcd_client).await?;
        wait_quiet(&etcd).await?;
        let (stored_keys, _) = etcd.read_all(PREFIX).await?;
        let fingerprint = read_fingerprint(&kina_engine::lab::api_client::ApiClient::new(access)?).await?;
        anyhow::Ok(Snapshot::new(&stored_keys, fingerprint))
    };
    let taken = taken.await;
    cluster.destroy().await?;
    taken
}
