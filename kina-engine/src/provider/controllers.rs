//! Configuration files of controllers: their identities, and the behaviour of the simulated nodes.

use std::path::Path;

use super::ProviderError;
use super::arguments::{CLIENT_REQUESTS_PER_SECOND_MAX, file};
use super::files::write_private_file;
use crate::certificates::CertificateAuthority;
use crate::cluster_access::ClusterAccess;

/// The life cycle of simulated nodes and their pods.
const SIMULATION: &str = include_str!("simulation.yaml");

/// Writes the configuration of a cluster's controllers into `directory`, where its certificates are.
pub(super) fn write_configuration(
    directory: &Path,
    access: &ClusterAccess,
    api_ca: &CertificateAuthority,
) -> Result<(), ProviderError> {
    let controllers = [
        ("system:kube-controller-manager", None, file::CONTROLLER_MANAGER_KUBECONFIG),
        ("system:kube-scheduler", None, file::SCHEDULER_KUBECONFIG),
        // No role is made for it: it stands for kubelets, whose rights are not the subject of any test.
        ("kwok", Some("system:masters"), file::KWOK_KUBECONFIG),
    ];
    for (user, group, name) in controllers {
        let identity = api_ca.issue_client(user, group)?;
        write_private_file(&directory.join(name), &kubeconfig(access, user, &identity).to_string())?;
    }
    let scheduler = serde_json::json!({
        "apiVersion": "kubescheduler.config.k8s.io/v1",
        "kind": "KubeSchedulerConfiguration",
        "clientConnection": {
            "kubeconfig": directory.join(file::SCHEDULER_KUBECONFIG),
            "qps": CLIENT_REQUESTS_PER_SECOND_MAX,
            "burst": CLIENT_REQUESTS_PER_SECOND_MAX,
        },
        "leaderElection": { "leaderElect": false },
        // A test that makes room for a pod should not wait longer than necessary.
        "podMaxBackoffSeconds": 1,
    });
    write_private_file(&directory.join(file::SCHEDULER_CONFIGURATION), &scheduler.to_string())?;
    write_private_file(&directory.join(file::KWOK_CONFIGURATION), SIMULATION)
}

fn kubeconfig(access: &ClusterAccess, user: &str, identity: &crate::certificates::IssuedIdentity) -> serde_json::Value {
    use base64::Engine;
    let encoded = |pem: &str| base64::engine::general_purpose::STANDARD.encode(pem);
    serde_json::json!({
        "apiVersion": "v1",
        "kind": "Config",
        "clusters": [{ "name": "kina", "cluster": {
            "server": format!("https://{}", access.api_address),
            "certificate-authority-data": encoded(&access.api_ca_pem),
        } }],
        "users": [{ "name": user, "user": {
            "client-certificate-data": encoded(&identity.certificate_pem),
            "client-key-data": encoded(&identity.key_pem),
        } }],
        "contexts": [{ "name": "kina", "context": { "cluster": "kina", "user": user } }],
        "current-context": "kina",
    })
}
