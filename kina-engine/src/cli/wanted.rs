//! What kind of cluster a command wants: what its options say, and else what the workspace's settings say.

use clap::Args;
use clap::builder::{PossibleValuesParser, TypedValueParser};

use crate::protocol::{AcquireRequest, Isolation, Profile};
use crate::settings::WorkspaceSettings;

/// Options of all commands that take clusters.
#[derive(Clone, Debug, Default, PartialEq, Eq, Args)]
pub(super) struct WantedCluster {
    /// Kubernetes minor, such as 1.36 [default: as the workspace's settings say]
    #[arg(long, value_name = "MINOR")]
    pub(super) kubernetes: Option<String>,
    /// How much of a cluster [default: as the workspace's settings say]
    #[arg(long, value_parser = profile_parser())]
    pub(super) profile: Option<Profile>,
}

/// Options of commands that hold a lease.
#[derive(Clone, Debug, Default, PartialEq, Eq, Args)]
pub(super) struct WantedLease {
    #[command(flatten)]
    pub(super) cluster: WantedCluster,
    /// What is held alone [default: as the workspace's settings say]
    #[arg(long, value_parser = isolation_parser())]
    pub(super) isolation: Option<Isolation>,
}

impl WantedCluster {
    /// The request that it comes to; `who` is shown to whoever looks at the engine.
    pub(super) fn request(&self, who: &str, settings: WorkspaceSettings) -> AcquireRequest {
        let mut request = AcquireRequest::with_settings(who, self.kubernetes.as_deref(), settings);
        request.profile = self.profile.unwrap_or(request.profile);
        request
    }
}

impl WantedLease {
    /// The request that it comes to.
    pub(super) fn request(&self, who: &str, settings: WorkspaceSettings) -> AcquireRequest {
        let mut request = self.cluster.request(who, settings);
        request.isolation = self.isolation.unwrap_or(request.isolation);
        request
    }
}

fn profile_parser() -> impl TypedValueParser<Value = Profile> {
    PossibleValuesParser::new(Profile::NAMES).try_map(|name| Profile::from_name(&name).ok_or("no such profile"))
}

fn isolation_parser() -> impl TypedValueParser<Value = Isolation> {
    PossibleValuesParser::new(Isolation::NAMES).try_map(|name| Isolation::from_name(&name).ok_or("no such isolation"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn options_come_before_settings() {
        let settings = || WorkspaceSettings {
            kubernetes: Some("1.35".to_owned()),
            profile: Profile::Controllers,
            isolation: Isolation::Namespace,
            ..WorkspaceSettings::default()
        };
        let silent = WantedLease::default().request("me", settings());
        assert_eq!(silent.kubernetes.as_deref(), Some("1.35"));
        assert_eq!((silent.profile, silent.isolation), (Profile::Controllers, Isolation::Namespace));
        let cluster = WantedCluster { kubernetes: Some("1.36".to_owned()), profile: Some(Profile::Api) };
        let asked = WantedLease { cluster, isolation: Some(Isolation::Cluster) }.request("me", settings());
        assert_eq!(asked.kubernetes.as_deref(), Some("1.36"));
        assert_eq!((asked.profile, asked.isolation), (Profile::Api, Isolation::Cluster));
    }
}
