//! The command's environment: the variables that lead to its cluster, without those that lead elsewhere.

use std::ffi::OsString;
use std::path::Path;

/// Names the cluster of a command from `cargo kina run`, for commands that it runs in turn.
const LEASED_CLUSTER: &str = "KINA_LEASED_CLUSTER";
const KUBECONFIG: &str = "KUBECONFIG";
/// Makes Go's envtest use the cluster of KUBECONFIG and start none; it needs no other variable then.
const USE_EXISTING_CLUSTER: &str = "USE_EXISTING_CLUSTER";
/// The variable of Terraform's providers, instead of KUBECONFIG.
const KUBE_CONFIG_PATH: &str = "KUBE_CONFIG_PATH";
/// With these, clients would ignore the kubeconfig: they lead to the cluster that runs the CI job, or to one that the
/// user has chosen for a tool.
const MISLEADING: [&str; 13] = [
    "KUBERNETES_MASTER",
    "KUBERNETES_SERVICE_HOST",
    "KUBERNETES_SERVICE_PORT",
    "HELM_KUBEAPISERVER",
    "HELM_KUBEASGROUPS",
    "HELM_KUBEASUSER",
    "HELM_KUBECAFILE",
    "HELM_KUBECONTEXT",
    "HELM_KUBETOKEN",
    "KUBE_CONFIG_PATHS",
    "KUBE_CTX",
    "KUBE_HOST",
    "KUBE_TOKEN",
];
const PROXIES: [&str; 6] = ["HTTPS_PROXY", "HTTP_PROXY", "ALL_PROXY", "https_proxy", "http_proxy", "all_proxy"];
/// Not every client bypasses proxies for loopback by itself.
const NO_PROXIES: [&str; 2] = ["NO_PROXY", "no_proxy"];
const LOOPBACK: &str = "127.0.0.1";

/// A variable, and its new value; `None` removes it.
pub(super) type Change = (&'static str, Option<OsString>);

/// A cluster in this program's environment, which `cargo kina run` started.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Surrounding;

impl Surrounding {
    /// `None` if there is no such cluster, or no longer.
    pub(super) fn find(variable: &dyn Fn(&str) -> Option<OsString>) -> Option<Self> {
        variable(LEASED_CLUSTER)?;
        Path::new(&variable(KUBECONFIG)?).is_file().then_some(Self)
    }
}

/// The differences between the command's environment and this program's. With `each`, no `cargo kina run` inside it
/// uses this cluster.
pub(super) fn changes(
    kubeconfig: &Path,
    cluster: &str,
    each: bool,
    variable: &dyn Fn(&str) -> Option<OsString>,
) -> Vec<Change> {
    let mut changes: Vec<Change> = vec![
        (KUBECONFIG, Some(kubeconfig.into())),
        (KUBE_CONFIG_PATH, Some(kubeconfig.into())),
        (USE_EXISTING_CLUSTER, Some("true".into())),
        (LEASED_CLUSTER, (!each).then(|| cluster.into())),
    ];
    changes.extend(MISLEADING.map(|name| (name, None)));
    if PROXIES.iter().any(|name| variable(name).is_some()) {
        for name in NO_PROXIES {
            let mut exceptions = variable(name).unwrap_or_default();
            if !exceptions.is_empty() {
                exceptions.push(",");
            }
            exceptions.push(LOOPBACK);
            changes.push((name, Some(exceptions)));
        }
    }
    changes
}

#[cfg(test)]
mod tests {
    use super::*;

    fn changes_with(each: bool, variables: &[(&str, &str)]) -> Vec<Change> {
        let variable =
            |name: &str| variables.iter().find(|(known, _)| *known == name).map(|(_, value)| OsString::from(value));
        changes(Path::new("/lease/kubeconfig"), "cluster-1-1", each, &variable)
    }

    fn value<'a>(changes: &'a [Change], name: &str) -> Option<&'a Option<OsString>> {
        changes.iter().find(|(known, _)| *known == name).map(|(_, value)| value)
    }

    #[test]
    fn clients_find_this_cluster_and_no_other() {
        let changes = changes_with(false, &[]);
        assert_eq!(value(&changes, "KUBECONFIG"), Some(&Some("/lease/kubeconfig".into())));
        assert_eq!(value(&changes, "USE_EXISTING_CLUSTER"), Some(&Some("true".into())));
        assert_eq!(value(&changes, "KUBERNETES_SERVICE_HOST"), Some(&None));
        assert_eq!(value(&changes, "KINA_LEASED_CLUSTER"), Some(&Some("cluster-1-1".into())));
        assert_eq!(value(&changes, "NO_PROXY"), None, "without a proxy no exception is needed");
        assert_eq!(value(&changes_with(true, &[]), "KINA_LEASED_CLUSTER"), Some(&None));
    }

    #[test]
    fn no_proxy_is_used_for_the_cluster() {
        let changes = changes_with(false, &[("https_proxy", "http://proxy:1"), ("NO_PROXY", "example.org")]);
        assert_eq!(value(&changes, "NO_PROXY"), Some(&Some("example.org,127.0.0.1".into())));
        assert_eq!(value(&changes, "no_proxy"), Some(&Some("127.0.0.1".into())));
    }

    #[test]
    fn a_surrounding_cluster_is_one_whose_kubeconfig_still_exists() {
        let directory = tempfile::tempdir().expect("a temporary directory");
        let kubeconfig = directory.path().join("kubeconfig");
        let find = |is_leased: bool| {
            Surrounding::find(&|name| match name {
                LEASED_CLUSTER => is_leased.then(|| "cluster-1-1".into()),
                KUBECONFIG => Some(kubeconfig.clone().into_os_string()),
                _ => None,
            })
        };
        assert_eq!(find(true), None);
        std::fs::write(&kubeconfig, "").expect("written");
        assert_eq!((find(true), find(false)), (Some(Surrounding), None));
    }
}
