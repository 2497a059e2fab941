use std::collections::BTreeSet;
use std::io::Write;
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::sync::Arc;
#[cfg(any(feature = "kube3", feature = "kube4", feature = "kube5"))]
use std::{
    any::{Any, TypeId},
    collections::HashMap,
    sync::{Mutex, PoisonError},
};

use kina_engine::{EngineClient, Lease, NetworkChange, RawClient, RuleKind};
use once_cell::sync::OnceCell;

use crate::Error;

/// An exclusive lease on a real cluster.
///
/// The lease ends when the last clone of this value is dropped, when the test that got it ends, or when the process
/// ends in any way. After that, everything derived from it stops working: its connections are cut, its kubeconfig fails
/// the TLS handshake, and its files are gone.
#[derive(Clone)]
pub struct Cluster {
    shared: Arc<Shared>,
}

struct Shared {
    lease: Lease,
    engine: EngineClient,
    /// One value of each type: see [`Cluster::kept`].
    #[cfg(any(feature = "kube3", feature = "kube4", feature = "kube5"))]
    kept: Mutex<HashMap<TypeId, Box<dyn Any + Send + Sync>>>,
    user_agent: http::HeaderValue,
    /// For kina's own requests, connected with the first of them.
    raw_client: OnceCell<RawClient>,
    kubeconfig_path: OnceCell<PathBuf>,
}

impl Cluster {
    /// A self-contained kubeconfig, as YAML.
    pub fn kubeconfig(&self) -> String {
        kina_engine::kubeconfig_text(&self.shared.lease.grant)
    }

    /// The path of a file with that kubeconfig, readable by the current user only. It is removed when the lease ends.
    ///
    /// # Errors
    /// If the file cannot be written.
    pub fn kubeconfig_path(&self) -> Result<&Path, Error> {
        let write = || {
            let path = self.shared.lease.grant.lease_directory.join("kubeconfig");
            match write_private(&path, &self.kubeconfig()) {
                Ok(()) => Ok(path),
                Err(source) => Err(Error::Kubeconfig { path, source }),
            }
        };
        self.shared.kubeconfig_path.get_or_try_init(write).map(PathBuf::as_path)
    }

    /// The version that the server reports, such as `v1.37.1`.
    pub fn kubernetes_version(&self) -> &str {
        &self.shared.lease.grant.kubernetes
    }

    /// The cluster's name in `cargo kina status`. Clusters are reused, so the name does not identify a lease.
    pub fn name(&self) -> &str {
        &self.shared.lease.grant.cluster
    }

    /// The directory of the logs of etcd and kube-apiserver. They begin with this lease; older lines are in its
    /// subdirectory `earlier`. The logs outlive the cluster for a while.
    pub fn log_directory(&self) -> &Path {
        &self.shared.lease.grant.log_directory
    }

    /// Ends the lease now, even if other clones of this value exist.
    pub fn release(&self) {
        self.shared.lease.release();
    }
}

impl Cluster {
    #[cfg(all(feature = "webhook", any(feature = "kube3", feature = "kube4", feature = "kube5")))]
    pub(crate) fn provider(&self) -> kina_engine::ProviderName {
        self.shared.engine.provider()
    }

    /// Returns true if the cluster reaches listeners on this machine's loopback.
    #[cfg(all(feature = "webhook", any(feature = "kube3", feature = "kube4", feature = "kube5")))]
    pub(crate) fn shares_loopback(&self) -> bool {
        self.shared.lease.grant.shares_loopback
    }

    pub(crate) fn from_lease(lease: Lease, engine: &EngineClient, user_agent: http::HeaderValue) -> Self {
        let shared = Shared {
            lease,
            engine: engine.clone(),
            #[cfg(any(feature = "kube3", feature = "kube4", feature = "kube5"))]
            kept: Mutex::default(),
            user_agent,
            raw_client: OnceCell::new(),
            kubeconfig_path: OnceCell::new(),
        };
        Self { shared: Arc::new(shared) }
    }

    /// Returns the value of this type that is kept with the cluster, and makes it if there is none yet.
    #[cfg(any(feature = "kube3", feature = "kube4", feature = "kube5"))]
    pub(crate) fn kept<Value, E>(&self, make: impl FnOnce() -> Result<Value, E>) -> Result<Value, E>
    where
        Value: Clone + Send + Sync + 'static,
    {
        let mut kept = self.shared.kept.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(value) = kept.get(&TypeId::of::<Value>()).and_then(|value| value.downcast_ref::<Value>()) {
            return Ok(value.clone());
        }
        let value = make()?;
        kept.insert(TypeId::of::<Value>(), Box::new(value.clone()));
        Ok(value)
    }

    #[cfg(any(feature = "kube3", feature = "kube4", feature = "kube5"))]
    pub(crate) fn grant(&self) -> &kina_engine::LeaseGrant {
        &self.shared.lease.grant
    }

    #[cfg(any(feature = "kube3", feature = "kube4", feature = "kube5"))]
    pub(crate) fn connector(&self) -> &kina_engine::LeaseConnector {
        self.shared.lease.connector()
    }

    #[cfg(any(feature = "kube3", feature = "kube4", feature = "kube5"))]
    pub(crate) fn user_agent(&self) -> &http::HeaderValue {
        &self.shared.user_agent
    }

    /// The namespace of objects that name none.
    pub(crate) fn default_namespace(&self) -> &str {
        self.shared.lease.grant.namespace.as_deref().unwrap_or("default")
    }

    /// The client for kina's own requests, with all rights.
    pub(crate) fn raw_client(&self) -> &RawClient {
        let make = || kina_engine::client_of_lease(&self.shared.lease, self.shared.user_agent.clone());
        self.shared.raw_client.get_or_init(make)
    }

    /// The directory for files that are removed when the lease ends.
    pub(crate) fn lease_directory(&self) -> &Path {
        &self.shared.lease.grant.lease_directory
    }

    pub(crate) async fn change_network(&self, change: NetworkChange) -> Result<(), Error> {
        self.shared.engine.change_network(&self.shared.lease.grant, change).await.map_err(Error::Network)
    }

    /// Waits until all rules of these kinds written so far are in force.
    pub(crate) async fn bring_in_force(&self, kinds: BTreeSet<RuleKind>) -> Result<(), Error> {
        self.shared.engine.bring_in_force(&self.shared.lease.grant, kinds).await.map_err(Error::InForce)
    }
}

/// Never shows a credential.
impl std::fmt::Debug for Cluster {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter
            .debug_struct("Cluster")
            .field("name", &self.name())
            .field("kubernetes_version", &self.kubernetes_version())
            .finish_non_exhaustive()
    }
}

fn write_private(path: &Path, content: &str) -> std::io::Result<()> {
    if let Some(directory) = path.parent() {
        std::fs::DirBuilder::new().recursive(true).mode(0o700).create(directory)?;
    }
    let mut file = std::fs::OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(path)?;
    file.write_all(content.as_bytes())
}
