//! The kind of cluster for a command: from its options, or from the workspace's settings.

use anyhow::Context;
use clap::Args;
use clap::builder::{PossibleValuesParser, TypedValueParser};
use kina_engine::{
    AcquireRequest, ClientError, EngineClient, FixtureSet, Isolation, Lease, Profile, WorkspaceSettings, read_fixtures,
};

use super::output::print_progress;

/// Options of all commands that use clusters.
#[derive(Clone, Debug, Default, PartialEq, Eq, Args)]
pub(super) struct WantedCluster {
    /// Kubernetes minor, such as 1.36 [default: from the workspace's settings]
    #[arg(long, value_name = "MINOR")]
    pub(super) kubernetes: Option<String>,
    /// Parts of the cluster to run [default: from the workspace's settings]
    #[arg(long, value_parser = profile_parser())]
    pub(super) profile: Option<Profile>,
}

/// Options of commands that hold a lease.
#[derive(Clone, Debug, Default, PartialEq, Eq, Args)]
pub(super) struct WantedLease {
    #[command(flatten)]
    pub(super) cluster: WantedCluster,
    /// The part of a cluster to lease: a whole one or a namespace [default: from the workspace's settings]
    #[arg(long, value_parser = isolation_parser())]
    pub(super) isolation: Option<Isolation>,
    /// CRDs and other objects that the cluster starts from: files, by a pattern, or a folder. Can be given several times
    #[arg(long, value_name = "FILES")]
    pub(super) fixtures: Vec<String>,
}

/// A request to the engine.
pub(super) struct LeaseRequest {
    request: AcquireRequest,
    template: FixtureSet,
}

impl WantedCluster {
    /// The resulting request; `who` is shown in the engine's status.
    pub(super) fn request(&self, who: &str, settings: WorkspaceSettings) -> AcquireRequest {
        let mut request = AcquireRequest::with_settings(who, self.kubernetes.as_deref(), settings);
        request.profile = self.profile.unwrap_or(request.profile);
        request
    }
}

impl WantedLease {
    /// The resulting request. Reads the fixtures.
    pub(super) fn request(&self, who: &str, settings: WorkspaceSettings) -> anyhow::Result<LeaseRequest> {
        let mut request = self.cluster.request(who, settings);
        request.isolation = self.isolation.unwrap_or(request.isolation);
        let directory = std::env::current_dir().context("finding the current directory failed")?;
        let overlays =
            self.fixtures.iter().map(|pattern| read_fixtures(&directory, pattern)).collect::<Result<_, _>>()?;
        let template = FixtureSet { overlays };
        request.template = (!template.is_empty()).then(|| template.hash());
        Ok(LeaseRequest { request, template })
    }
}

impl LeaseRequest {
    /// Waits for the lease, and prints the reasons for waiting.
    pub(super) async fn acquire(self, engine: &EngineClient) -> Result<Lease, ClientError> {
        engine.acquire_from(self.request, &self.template, &print_progress).await
    }
}

fn profile_parser() -> impl TypedValueParser<Value = Profile> {
    PossibleValuesParser::new(Profile::ALL.map(Profile::as_str)).try_map(|word| word.parse::<Profile>())
}

fn isolation_parser() -> impl TypedValueParser<Value = Isolation> {
    PossibleValuesParser::new(Isolation::ALL.map(Isolation::as_str)).try_map(|word| word.parse::<Isolation>())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn options_take_precedence_over_settings() {
        let settings = || WorkspaceSettings {
            kubernetes: Some("1.35".to_owned()),
            profile: Profile::Controllers,
            isolation: Isolation::Namespace,
            ..WorkspaceSettings::default()
        };
        let silent = WantedLease::default().request("me", settings()).expect("no fixtures").request;
        assert_eq!(silent.template, None);
        assert_eq!(silent.kubernetes.as_deref(), Some("1.35"));
        assert_eq!((silent.profile, silent.isolation), (Profile::Controllers, Isolation::Namespace));
        let cluster = WantedCluster { kubernetes: Some("1.36".to_owned()), profile: Some(Profile::Api) };
        let directory = tempfile::tempdir().expect("a temporary directory");
        std::fs::write(directory.path().join("a.yaml"), "{}").expect("written");
        let fixtures = vec![directory.path().join("*.yaml").display().to_string()];
        let wanted = WantedLease { cluster, isolation: Some(Isolation::Cluster), fixtures };
        let LeaseRequest { request: asked, template } = wanted.request("me", settings()).expect("read");
        assert_eq!(asked.template, Some(template.hash()));
        assert_eq!(asked.kubernetes.as_deref(), Some("1.36"));
        assert_eq!((asked.profile, asked.isolation), (Profile::Api, Isolation::Cluster));
    }
}
