//! The surroundings of checks.

use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use anyhow::{Context, bail};
use kina_engine::lab::boot::wait_complete;
use kina_engine::lab::etcd::EtcdClient;
use kina_engine::lab::provider::{CreateRequest, ProvidedCluster, Provider, ProviderError, Readiness};
use kina_engine::lab::snapshot::Snapshot;
use kina_engine::{Assets, Profile, ProviderName};
use tokio::sync::OnceCell;

use super::client::{write, writes_allowed};
use crate::private_provider::{PrivateProvider, binaries_of, bootstrap};

/// The ConfigMap in the state that clusters are started from.
pub(super) const FROM_STATE: &str = "from-state";

/// Time for which remains may still be seen after an end.
const GONE_TIMEOUT: Duration = Duration::from_secs(60);
const GONE_POLL_INTERVAL: Duration = Duration::from_millis(100);

/// The parts that all checks share.
pub(super) struct Stage {
    provider: Arc<dyn Provider>,
    assets: Assets,
    state: OnceCell<Snapshot>,
    next_number: AtomicUsize,
    private: PrivateProvider,
}

/// The clusters of one check.
pub(super) struct Scene<'a> {
    pub(super) stage: &'a Stage,
    check: &'static str,
    clusters: Mutex<Vec<Arc<dyn ProvidedCluster>>>,
}

impl Stage {
    pub(super) async fn prepare(name: ProviderName) -> anyhow::Result<Self> {
        let private = PrivateProvider::prepare(name, "contract")?;
        let provider = private.connect().await?;
        let assets = binaries_of(&provider).await?;
        Ok(Self { provider, assets, state: OnceCell::new(), next_number: AtomicUsize::new(1), private })
    }

    pub(super) fn provider(&self) -> &Arc<dyn Provider> {
        &self.provider
    }

    pub(super) fn private(&self) -> &PrivateProvider {
        &self.private
    }

    /// The state of a bootstrapped cluster with one ConfigMap, made at the first request.
    pub(super) async fn state(&self) -> anyhow::Result<&Snapshot> {
        let make = || bootstrap(&self.provider, &self.assets, async |cluster| write(&**cluster, FROM_STATE).await);
        self.state.get_or_try_init(make).await
    }
}

impl<'a> Scene<'a> {
    pub(super) fn new(stage: &'a Stage, check: &'static str) -> Self {
        Self { stage, check, clusters: Mutex::new(Vec::new()) }
    }

    /// A request for a cluster that starts from the common state.
    pub(super) async fn request(&self) -> anyhow::Result<CreateRequest> {
        let initial_state = Arc::clone(&self.stage.state().await?.state);
        let number = self.stage.next_number.fetch_add(1, Ordering::Relaxed);
        let name = format!("{}-{number}", self.check);
        Ok(CreateRequest { name, assets: self.stage.assets.clone(), profile: Profile::Api, initial_state })
    }

    /// Creates a cluster that is destroyed when the check ends.
    pub(super) async fn create(&self, request: CreateRequest) -> Result<Arc<dyn ProvidedCluster>, ProviderError> {
        let cluster = self.stage.provider.create(request).await?;
        self.clusters.lock().unwrap_or_else(PoisonError::into_inner).push(Arc::clone(&cluster));
        Ok(cluster)
    }

    /// A writable cluster that was started from the common state, and the directory of its state.
    pub(super) async fn cluster(&self) -> anyhow::Result<(Arc<dyn ProvidedCluster>, PathBuf)> {
        let request = self.request().await?;
        let state_directory = self.stage.private.state_directory(&request.name);
        let cluster = self.create(request).await.context("creating a cluster failed")?;
        self.wait_usable(&*cluster).await?;
        Ok((cluster, state_directory))
    }

    /// Waits until a cluster that was started from the common state is as ready as the engine requires before a client
    /// gets it.
    pub(super) async fn wait_usable(&self, cluster: &dyn ProvidedCluster) -> anyhow::Result<()> {
        cluster.wait_ready(Readiness::Early).await.context("waiting until a cluster is ready failed")?;
        let access = cluster.access();
        let etcd = EtcdClient::connect(access.etcd_address, &access.etcd_ca_pem, &access.etcd_client).await?;
        wait_complete(&etcd, &self.stage.state().await?.awaited_keys).await?;
        writes_allowed(cluster).await
    }

    /// Ends all clusters of the check. Fails if anything of them is left.
    pub(super) async fn clean(&self) -> anyhow::Result<()> {
        let failed = self.clear().await?;
        failed.map_or(Ok(()), |error| Err(error).context("destroying a cluster failed, though nothing is left of it"))
    }

    /// The same, but returns the error of a failed destruction, as long as the cluster is gone in the end.
    pub(super) async fn clear(&self) -> anyhow::Result<Option<ProviderError>> {
        let clusters = std::mem::take(&mut *self.clusters.lock().unwrap_or_else(PoisonError::into_inner));
        let mut failed = None;
        for cluster in &clusters {
            if let Err(error) = cluster.destroy().await {
                failed = Some(error);
            }
        }
        drop(clusters);
        self.stage.provider.wait_all_ended().await;
        self.nothing_remains().await?;
        Ok(failed)
    }

    /// Fails if a process, a container or a state of any cluster still exists.
    pub(super) async fn nothing_remains(&self) -> anyhow::Result<()> {
        let start = Instant::now();
        loop {
            let remains = self.stage.provider.remains().await?;
            let states = entries(self.stage.private.cluster_directory());
            if remains.is_empty() && states.is_empty() {
                return Ok(());
            }
            if GONE_TIMEOUT < start.elapsed() {
                bail!("after {} s there still is: {remains:?}, and of files {states:?}", GONE_TIMEOUT.as_secs());
            }
            tokio::time::sleep(GONE_POLL_INTERVAL).await;
        }
    }
}

/// Everything in a directory and below, with its permission bits; empty if there is none. Links are not followed.
pub(super) fn walk(directory: &Path) -> anyhow::Result<Vec<(PathBuf, u32)>> {
    let (mut found, mut waiting) = (Vec::new(), vec![directory.to_owned()]);
    while let Some(path) = waiting.pop() {
        let metadata = std::fs::symlink_metadata(&path).with_context(|| format!("looking at {}", path.display()))?;
        if metadata.is_dir() {
            waiting.extend(entries(&path));
        }
        found.push((path, metadata.mode() & 0o7777));
    }
    Ok(found)
}

fn entries(directory: &Path) -> Vec<PathBuf> {
    std::fs::read_dir(directory).into_iter().flatten().flatten().map(|entry| entry.path()).collect()
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use super::*;

    #[test]
    fn a_walk_sees_everything_with_its_mode_and_follows_no_link() {
        let directory = tempfile::tempdir().expect("a temporary directory");
        let [inner, file, link] = ["a", "a/file", "a/link"].map(|name| directory.path().join(name));
        std::fs::create_dir(&inner).expect("made");
        std::fs::write(&file, "").expect("written");
        std::fs::set_permissions(&file, std::fs::Permissions::from_mode(0o640)).expect("set");
        std::os::unix::fs::symlink(directory.path(), &link).expect("linked");
        let found = walk(directory.path()).expect("walked");
        assert_eq!(found.len(), 4);
        assert!(found.contains(&(file, 0o640)));
        assert!(walk(&inner.join("nothing")).is_err());
    }
}
