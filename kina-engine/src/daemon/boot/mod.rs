//! Making the cluster of a slot, from a bootstrapped state if there is one.

mod controllers;

use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, Instant};

use super::slot::SlotHandle;
use crate::api_client::{ApiClient, NoAnswer, NoClient};
use crate::assets::Assets;
use crate::etcd::{EtcdClient, EtcdError};
use crate::gateway::{Entrance, GatewayError};
use crate::protocol::Profile;
use crate::provider::{CreateRequest, ProvidedCluster, Provider, ProviderError, Readiness};
use crate::rewind::{
    Baseline, BaselineWriter, Fingerprint, PREFIX, RewindError, Rewinder, ServerOwned, read_fingerprint,
    wait_controllers,
};
use crate::snapshot::{Snapshot, SnapshotStore};

/// Time limit for the API server to make the objects that a snapshot leaves out; usually 110 ms.
const COMPLETE_TIMEOUT: Duration = Duration::from_secs(30);
const COMPLETE_POLL_INTERVAL: Duration = Duration::from_millis(3);
/// The time without a write after which a bootstrap has ended.
const QUIET: Duration = Duration::from_millis(1500);
const QUIET_POLL_INTERVAL: Duration = Duration::from_millis(50);
const QUIET_TIMEOUT: Duration = Duration::from_secs(60);

/// The specification of a slot's cluster.
#[derive(Clone, Debug)]
pub(super) struct SlotSpec {
    pub(super) assets: Assets,
    pub(super) profile: Profile,
    /// The Kubernetes minor that was asked for by name.
    pub(super) kubernetes: Option<String>,
}

/// The reason why a cluster could not be made.
#[derive(Debug, thiserror::Error)]
pub enum BootError {
    #[error("booting a cluster failed")]
    Provider(#[from] ProviderError),
    #[error(transparent)]
    Client(#[from] NoClient),
    #[error("reading the new cluster's store failed")]
    Etcd(#[from] EtcdError),
    #[error("asking the new cluster's API server failed")]
    Api(#[from] NoAnswer),
    #[error("taking the new cluster's baseline failed")]
    Baseline(#[from] RewindError),
    #[error("keeping the new cluster's baseline on disk failed")]
    KeepBaseline(#[source] std::io::Error),
    #[error("opening the new cluster's gateway failed")]
    Gateway(#[from] GatewayError),
    #[error("the new cluster's store was not complete after {waited_seconds} s: {missing} is missing")]
    Incomplete { waited_seconds: u64, missing: String },
    #[error("the new cluster's store was still being written to after {waited_seconds} s")]
    NotQuiet { waited_seconds: u64 },
    #[error(
        "`kubernetes = \"{wanted}\"` was asked for, but the binaries in {directory} are Kubernetes {found}: unset KINA_ASSETS_DIR and KUBEBUILDER_ASSETS, or ask for what they hold"
    )]
    WrongVersion { wanted: String, directory: String, found: String },
}

impl BootError {
    /// Returns true if only the user can repair it, and another try would fail the same way.
    pub(super) fn is_user_error(&self) -> bool {
        match self {
            Self::WrongVersion { .. } => true,
            Self::Provider(error) => error.is_user_error(),
            _ => false,
        }
    }
}

/// Makes clusters for slots.
pub(super) struct Booter {
    pub(super) provider: Arc<dyn Provider>,
    pub(super) snapshots: SnapshotStore,
    /// The bounds that all gateways share.
    pub(super) entrance: Arc<Entrance>,
    /// The directory of the values of baselines, in files without a name.
    pub(super) baseline_directory: PathBuf,
    /// Held by a boot from nothing, so that others wait for its snapshot.
    pub(super) bootstrapping: tokio::sync::Mutex<()>,
}

impl Booter {
    /// Makes a cluster that is proven to be at its baseline.
    pub(super) async fn boot(&self, name: String, spec: &SlotSpec) -> Result<SlotHandle, BootError> {
        let start = Instant::now();
        let identity = &spec.assets.identity;
        let mut snapshot = self.snapshots.load(identity);
        let mut bootstrapping = None;
        if snapshot.is_none() {
            bootstrapping = Some(self.bootstrapping.lock().await);
            snapshot = self.snapshots.load(identity);
        }
        if snapshot.is_some() {
            bootstrapping = None;
        }
        let initial_state = snapshot.as_ref().map(|snapshot| Arc::clone(&snapshot.state)).unwrap_or_default();
        let request =
            CreateRequest { name: name.clone(), assets: spec.assets.clone(), profile: spec.profile, initial_state };
        let cluster = self.provider.create(request).await?;
        tracing::debug!(name, since_start_ms = start.elapsed().as_millis(), "created");
        let taken = self.take_over(&cluster, spec, snapshot.as_ref()).await;
        drop(bootstrapping);
        match taken {
            Ok((rewinder, version)) => {
                let from_snapshot = snapshot.is_some();
                let entrance = Arc::clone(&self.entrance);
                let handle = SlotHandle::new(name, cluster, rewinder, version, from_snapshot, entrance);
                handle.prepare_gateway().await?;
                tracing::info!(cluster = handle.name(), from_snapshot, boot_ms = start.elapsed().as_millis(), "booted");
                Ok(handle)
            }
            Err(error) => {
                if snapshot.is_some() && !error.is_user_error() {
                    // It may be the snapshot's fault; the next boot makes a new one.
                    self.snapshots.remove(identity);
                }
                if let Err(error) = cluster.destroy().await {
                    tracing::warn!(error = crate::error_text::with_causes(&error), "a failed boot left something");
                }
                Err(error)
            }
        }
    }

    async fn take_over(
        &self,
        cluster: &Arc<dyn ProvidedCluster>,
        spec: &SlotSpec,
        snapshot: Option<&Snapshot>,
    ) -> Result<(Rewinder, String), BootError> {
        let (access, host_name) = (cluster.access(), cluster.host_name());
        let api = ApiClient::new(access)?;
        let etcd = EtcdClient::connect(access.etcd_address, &access.etcd_ca_pem, &access.etcd_client).await?;
        let baseline = match snapshot {
            Some(snapshot) => {
                cluster.wait_ready(Readiness::Early).await?;
                tracing::debug!("ready early");
                cluster.start_controllers().await?;
                wait_complete(&etcd, &snapshot.awaited_keys).await?;
                tracing::debug!("complete");
                if cluster.has_controllers() {
                    wait_controllers(&etcd).await?;
                }
                self.read_baseline(&etcd, &host_name, snapshot.fingerprint.clone()).await?
            }
            None => {
                cluster.wait_ready(Readiness::Full).await?;
                if cluster.has_controllers() {
                    controllers::bootstrap(cluster, &api, &etcd).await?;
                }
                wait_quiet(&etcd).await?;
                let (stored_keys, _) = etcd.read_all(PREFIX).await?;
                let fingerprint = read_fingerprint(&api).await?;
                let snapshot = Snapshot::new(&stored_keys, fingerprint.clone());
                if let Err(error) = self.snapshots.save(&spec.assets.identity, &snapshot) {
                    tracing::warn!(%error, "the bootstrapped state could not be kept: the next boot takes as long");
                }
                let mut writer = self.baseline_writer(&host_name)?;
                writer.add(&stored_keys).map_err(BootError::KeepBaseline)?;
                writer.finish(fingerprint).map_err(BootError::KeepBaseline)?
            }
        };
        let version = server_version(&api).await?;
        if let Some(wanted) = &spec.kubernetes
            && !version.trim_start_matches('v').starts_with(&format!("{wanted}."))
        {
            let directory = spec.assets.kube_apiserver.parent().unwrap_or(&spec.assets.kube_apiserver);
            let directory = directory.display().to_string();
            return Err(BootError::WrongVersion { wanted: wanted.clone(), directory, found: version });
        }
        let rewinder = Rewinder::take_over(Arc::clone(cluster), etcd, api, baseline).await?;
        Ok((rewinder, version))
    }

    /// Records the present state of the cluster.
    async fn read_baseline(
        &self,
        etcd: &EtcdClient,
        host_name: &[u8],
        fingerprint: Fingerprint,
    ) -> Result<Baseline, BootError> {
        let mut writer = self.baseline_writer(host_name)?;
        let mut pages = etcd.pages(PREFIX);
        while let Some(page) = pages.next().await? {
            writer.add(&page).map_err(BootError::KeepBaseline)?;
        }
        writer.finish(fingerprint).map_err(BootError::KeepBaseline)
    }

    fn baseline_writer(&self, host_name: &[u8]) -> Result<BaselineWriter, BootError> {
        BaselineWriter::create(&self.baseline_directory, host_name).map_err(BootError::KeepBaseline)
    }
}

/// Returns when all of these keys are there, which the API server makes by itself.
pub async fn wait_complete(etcd: &EtcdClient, awaited_keys: &[Vec<u8>]) -> Result<(), BootError> {
    let start = Instant::now();
    loop {
        let listing = etcd.list_heads(PREFIX).await?;
        let is_there = |key: &[u8]| match crate::snapshot::is_name_of_many(key) {
            true => listing.heads().any(|head| head.key.starts_with(key)),
            false => listing.contains(key),
        };
        let Some(missing) = awaited_keys.iter().find(|key| !is_there(key)) else { return Ok(()) };
        if COMPLETE_TIMEOUT < start.elapsed() {
            let missing = String::from_utf8_lossy(missing).into_owned();
            return Err(BootError::Incomplete { waited_seconds: COMPLETE_TIMEOUT.as_secs(), missing });
        }
        tokio::time::sleep(COMPLETE_POLL_INTERVAL).await;
    }
}

/// Returns when the API server has made all objects that it makes by itself, and writes no more.
pub async fn wait_quiet(etcd: &EtcdClient) -> Result<(), BootError> {
    let start = Instant::now();
    let mut last_heads: Vec<(Vec<u8>, i64)> = Vec::new();
    let mut quiet_since = Instant::now();
    while start.elapsed() < QUIET_TIMEOUT {
        let listing = etcd.list_heads(PREFIX).await?;
        let server_owned = ServerOwned::among(listing.heads().map(|head| head.key));
        let heads = listing.heads().filter(|head| !server_owned.contains(head.key));
        let heads: Vec<_> = heads.map(|head| (head.key.to_vec(), head.mod_revision)).collect();
        if heads != last_heads {
            last_heads = heads;
            quiet_since = Instant::now();
        } else if QUIET < quiet_since.elapsed() {
            return Ok(());
        }
        tokio::time::sleep(QUIET_POLL_INTERVAL).await;
    }
    Err(BootError::NotQuiet { waited_seconds: QUIET_TIMEOUT.as_secs() })
}

async fn server_version(api: &ApiClient) -> Result<String, BootError> {
    let answer = api.get("/version").await?;
    let version: serde_json::Value = serde_json::from_slice(&answer.body).unwrap_or_default();
    match version["gitVersion"].as_str() {
        Some(version) => Ok(version.to_owned()),
        None => Err(RewindError::Unexpected {
            asked: "/version".to_owned(),
            answered: format!("HTTP status {} without a version", answer.status),
        }
        .into()),
    }
}
