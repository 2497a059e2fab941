//! The boot of a cluster with controllers.

use std::sync::Arc;
use std::time::{Duration, Instant};

use serde_json::json;

use super::BootError;
use crate::api_client::ApiClient;
use crate::etcd::EtcdClient;
use crate::provider::ProvidedCluster;
use crate::rewind::{PREFIX, RewindError, wait_controllers};

/// The simulated nodes that every cluster has.
const NODES: [&str; 2] = ["node-1", "node-2"];
/// The namespaces that the API server makes.
const NAMESPACES: [&str; 4] = ["default", "kube-node-lease", "kube-public", "kube-system"];
/// Time limit for the controllers to set a new cluster up; usually two seconds.
const SETUP_TIMEOUT: Duration = Duration::from_secs(60);
const POLL_INTERVAL: Duration = Duration::from_millis(20);

/// Adds nodes to a new cluster, starts its controllers, and returns when these have made the objects known to come from
/// them.
pub(super) async fn bootstrap(
    cluster: &Arc<dyn ProvidedCluster>,
    api: &ApiClient,
    etcd: &EtcdClient,
) -> Result<(), BootError> {
    for name in NODES {
        let node = json!({ "apiVersion": "v1", "kind": "Node", "metadata": { "name": name, "labels": {
            "kubernetes.io/arch": "amd64",
            "kubernetes.io/hostname": name,
            "kubernetes.io/os": "linux",
        } } });
        let answer = api.post("/api/v1/nodes", &node).await?;
        if answer.status != http::StatusCode::CREATED {
            let asked = format!("the creation of the simulated node {name}");
            return Err(RewindError::Unexpected { asked, answered: format!("HTTP status {}", answer.status) }.into());
        }
    }
    cluster.start_controllers().await?;
    wait_controllers(etcd).await?;
    let start = Instant::now();
    while let Some(missing) = missing(api, etcd).await? {
        if SETUP_TIMEOUT < start.elapsed() {
            return Err(BootError::Incomplete { waited_seconds: SETUP_TIMEOUT.as_secs(), missing });
        }
        tokio::time::sleep(POLL_INTERVAL).await;
    }
    Ok(())
}

/// An object that the controllers of a new cluster have yet to make.
async fn missing(api: &ApiClient, etcd: &EtcdClient) -> Result<Option<String>, BootError> {
    let listing = etcd.list_heads(PREFIX).await?;
    for namespace in NAMESPACES {
        for key in [format!("configmaps/{namespace}/kube-root-ca.crt"), format!("serviceaccounts/{namespace}/default")]
        {
            let key = [PREFIX, key.as_bytes()].concat();
            if !listing.contains(&key) {
                return Ok(Some(String::from_utf8_lossy(&key).into_owned()));
            }
        }
    }
    for name in NODES {
        let node = read(api, &format!("/api/v1/nodes/{name}")).await?;
        let conditions = node["status"]["conditions"].as_array().cloned().unwrap_or_default();
        let is_ready = conditions.iter().any(|condition| condition["type"] == "Ready" && condition["status"] == "True");
        if !is_ready || node["spec"]["taints"].is_array() {
            return Ok(Some(format!("readiness of the simulated node {name}")));
        }
    }
    let role = read(api, "/apis/rbac.authorization.k8s.io/v1/clusterroles/view").await?;
    let is_aggregated = role["rules"].as_array().is_some_and(|rules| !rules.is_empty());
    Ok((!is_aggregated).then(|| "the rules of the ClusterRole view".to_owned()))
}

async fn read(api: &ApiClient, path: &str) -> Result<serde_json::Value, BootError> {
    let answer = api.get(path).await?;
    Ok(serde_json::from_slice(&answer.body).unwrap_or_default())
}
