//! From the choices of a test to its clusters.

use kina_engine::{
    AcquireRequest, ClientError, EngineClient, EngineProgram, FixtureSet, Isolation, News, Profile, WorkspaceSettings,
};

use crate::template::ReadTemplate;
use crate::{Cluster, Error};

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
        let clusters: Vec<Self> =
            leases.into_iter().map(|lease| Self::from_lease(lease, &engine, user_agent.clone())).collect();
        // On the runtime of the test.
        #[cfg(any(feature = "kube3", feature = "kube4", feature = "kube5"))]
        for cluster in &clusters {
            crate::kube_majors::main::client(cluster)?;
        }
        Ok(clusters)
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
