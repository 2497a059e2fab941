use std::collections::BTreeSet;
use std::io::Write;
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use kina_engine::{
    AcquireRequest, ClientError, EngineClient, EngineProgram, FixtureSet, Isolation, Lease, NetworkChange, News,
    Profile, RawClient, RuleKind, WorkspaceSettings,
};
use once_cell::sync::OnceCell;

use crate::Error;
#[cfg(any(feature = "kube3", feature = "kube4", feature = "kube5"))]
use crate::kube_majors::Clients;
use crate::template::ReadTemplate;

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
    #[cfg(any(feature = "kube3", feature = "kube4", feature = "kube5"))]
    clients: Clients,
    user_agent: http::HeaderValue,
    /// For kina's own requests, connected with the first of them.
    raw_client: OnceCell<RawClient>,
    kubeconfig_path: OnceCell<PathBuf>,
}

/// The kind and number of clusters to lease. `None` stands for the value in the settings.
#[derive(Clone, Copy, Default)]
pub(crate) struct Wanted<'a> {
    pub(crate) test: &'a str,
    pub(crate) kubernetes: Option<&'a str>,
    pub(crate) provider: Option<&'a str>,
    pub(crate) profile: Option<Profile>,
    pub(crate) isolation: Option<Isolation>,
    pub(crate) template: Option<&'a ReadTemplate>,
    pub(crate) count: usize,
}

impl Cluster {
    /// Leases a cluster, for code outside tests. Starts kina's engine if it is not running.
    ///
    /// Progress (of a first download or build of the Kubernetes binaries, say) goes to standard error.
    ///
    /// Not for a second cluster of a test, which can take several [as arguments](crate::FromTest): two tests that each
    /// hold one cluster and wait for another may wait for each other.
    ///
    /// # Errors
    /// If the engine cannot be started or reached, or has no cluster to give within the time limit
    /// (`KINA_ACQUIRE_TIMEOUT_SECONDS`, 300 by default).
    ///
    /// # Panics
    /// Outside a tokio runtime.
    ///
    /// ```
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// let cluster = kina::Cluster::acquire().await?;
    /// let version = cluster.client().apiserver_version().await?;
    /// assert_eq!(version.git_version, cluster.kubernetes_version());
    /// # Ok(())
    /// # }
    /// ```
    pub async fn acquire() -> Result<Self, Error> {
        let program = std::env::current_exe().map(|path| path.display().to_string());
        let settings = WorkspaceSettings::of_this_process().map_err(ClientError::from)?;
        let test = program.unwrap_or_default();
        let mut clusters = Self::acquire_all(Wanted { test: &test, count: 1, ..Wanted::default() }, settings).await?;
        Ok(clusters.remove(0))
    }

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

    /// Leases as many clusters as requested, all of the same kind.
    pub(crate) async fn acquire_all(wanted: Wanted<'_>, settings: WorkspaceSettings) -> Result<Vec<Self>, Error> {
        let provider = match wanted.provider {
            Some(name) => name.parse().map_err(ClientError::from)?,
            None => settings.provider,
        };
        let engine = EngineClient::for_provider(provider, engine_program())?;
        let mut request = AcquireRequest::with_settings(wanted.test, wanted.kubernetes, settings);
        request.profile = wanted.profile.unwrap_or(request.profile);
        request.isolation = wanted.isolation.unwrap_or(request.isolation);
        request.template = wanted.template.map(|template| template.hash.clone());
        if 1 < wanted.count && request.isolation == Isolation::Namespace {
            return Err(Error::SeveralNamespaces { count: wanted.count });
        }
        let nothing = FixtureSet::default();
        let template = wanted.template.map_or(&nothing, |template| &template.set);
        let user_agent = kina_engine::user_agent(wanted.test);
        let leases = engine.acquire_several(request, wanted.count, template, &print_progress).await?;
        leases.into_iter().map(|lease| Self::from_lease(lease, &engine, user_agent.clone())).collect()
    }

    fn from_lease(lease: Lease, engine: &EngineClient, user_agent: http::HeaderValue) -> Result<Self, Error> {
        let shared = Shared {
            lease,
            engine: engine.clone(),
            #[cfg(any(feature = "kube3", feature = "kube4", feature = "kube5"))]
            clients: Clients::default(),
            user_agent,
            raw_client: OnceCell::new(),
            kubeconfig_path: OnceCell::new(),
        };
        let cluster = Self { shared: Arc::new(shared) };
        // On the runtime of the test.
        #[cfg(any(feature = "kube3", feature = "kube4", feature = "kube5"))]
        crate::kube_majors::main::client(&cluster)?;
        Ok(cluster)
    }

    #[cfg(any(feature = "kube3", feature = "kube4", feature = "kube5"))]
    pub(crate) fn clients(&self) -> &Clients {
        &self.shared.clients
    }

    #[cfg(any(feature = "kube3", feature = "kube4", feature = "kube5"))]
    pub(crate) fn grant(&self) -> &kina_engine::LeaseGrant {
        &self.shared.lease.grant
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
    pub(crate) fn raw_client(&self) -> Result<&RawClient, Error> {
        let make = || kina_engine::client_of_lease(&self.shared.lease.grant, self.shared.user_agent.clone());
        self.shared.raw_client.get_or_try_init(make).map_err(|error| Error::Client(Box::new(error)))
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

fn engine_program() -> EngineProgram {
    #[cfg(feature = "embedded")]
    {
        // Keeps the constructor in the executable: the linker drops unused code.
        crate::engine_constructor::is_linked();
        EngineProgram::ThisExecutable
    }
    #[cfg(not(feature = "embedded"))]
    EngineProgram::InstalledOnly
}

/// Says what is waited for: once, if several tests of this process wait for the same.
fn print_progress(text: &str) {
    static NEWS: News = News::new();
    NEWS.tell(text, |text| eprintln!("kina: {text}"));
}

fn write_private(path: &Path, content: &str) -> std::io::Result<()> {
    if let Some(directory) = path.parent() {
        std::fs::DirBuilder::new().recursive(true).mode(0o700).create(directory)?;
    }
    let mut file = std::fs::OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(path)?;
    file.write_all(content.as_bytes())
}
