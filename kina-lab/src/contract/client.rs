//! Requests to a cluster, as its administrator and as a stranger.

use std::net::SocketAddr;
use std::time::{Duration, Instant};

use anyhow::bail;
use http::{Method, StatusCode};
use kina_engine::lab::api_client::ApiClient;
use kina_engine::lab::provider::ProvidedCluster;
use kina_engine::{IssuedIdentity, RawClient, RequestContent};
use serde_json::{Value, json};
use tokio::net::TcpStream;

const CONFIG_MAPS: &str = "/api/v1/namespaces/default/configmaps";
const REVIEWS: &str = "/apis/authorization.k8s.io/v1/selfsubjectaccessreviews";
/// Time until the administrator of a ready server may write: it has read its roles by then.
const ALLOWED_TIMEOUT: Duration = Duration::from_secs(60);
const ALLOWED_POLL_INTERVAL: Duration = Duration::from_millis(10);
/// Time limit of a stranger's request.
const STRANGER_TIMEOUT: Duration = Duration::from_secs(5);

/// Writes a ConfigMap.
pub(super) async fn write(cluster: &dyn ProvidedCluster, name: &str) -> anyhow::Result<()> {
    let answer = ApiClient::new(cluster.access())?.post(CONFIG_MAPS, &config_map(name)).await?;
    match answer.status {
        StatusCode::CREATED => Ok(()),
        status => bail!("writing the ConfigMap {name} was answered with {status}: {}", text(&answer.body)),
    }
}

/// Returns true if there is a ConfigMap of this name.
pub(super) async fn exists(cluster: &dyn ProvidedCluster, name: &str) -> anyhow::Result<bool> {
    let answer = ApiClient::new(cluster.access())?.get(&format!("{CONFIG_MAPS}/{name}")).await?;
    match answer.status {
        StatusCode::OK => Ok(true),
        StatusCode::NOT_FOUND => Ok(false),
        status => bail!("reading the ConfigMap {name} was answered with {status}: {}", text(&answer.body)),
    }
}

/// Fails unless there is a ConfigMap of this name.
pub(super) async fn must_exist(cluster: &dyn ProvidedCluster, name: &str) -> anyhow::Result<()> {
    match exists(cluster, name).await? {
        true => Ok(()),
        false => bail!("the ConfigMap {name}, which had been written, is not there"),
    }
}

/// Waits until the server reports that a client may write, as `kubectl auth can-i` would.
pub(crate) async fn writes_allowed(cluster: &dyn ProvidedCluster) -> anyhow::Result<()> {
    let client = ApiClient::new(cluster.access())?;
    let attributes = json!({"verb": "create", "resource": "configmaps", "namespace": "default"});
    let review = json!({
        "apiVersion": "authorization.k8s.io/v1",
        "kind": "SelfSubjectAccessReview",
        "spec": {"resourceAttributes": attributes},
    });
    let start = Instant::now();
    loop {
        let last = match client.post(REVIEWS, &review).await {
            Ok(answer) => {
                let body: Value = serde_json::from_slice(&answer.body).unwrap_or_default();
                if body["status"]["allowed"] == true {
                    return Ok(());
                }
                format!("{}: {}", answer.status, text(&answer.body))
            }
            Err(error) => kina_engine::with_causes(&error),
        };
        if ALLOWED_TIMEOUT < start.elapsed() {
            bail!("after {} s the administrator may not write ({last})", ALLOWED_TIMEOUT.as_secs());
        }
        tokio::time::sleep(ALLOWED_POLL_INTERVAL).await;
    }
}

/// Returns the answer to a client with this identity, or with none; fails if there is no answer at all.
pub(super) async fn ask_as(
    address: SocketAddr,
    ca_pem: &str,
    identity: Option<&IssuedIdentity>,
    method: Method,
    path: &str,
) -> anyhow::Result<StatusCode> {
    let client = RawClient::new(address, ca_pem, identity.map(Into::into))?;
    let body = if method == Method::POST { serde_json::to_vec(&config_map("stranger"))? } else { Vec::new() };
    let content = RequestContent { headers: &[(http::header::CONTENT_TYPE, "application/json")], body };
    Ok(client.exchange(method, path, content, STRANGER_TIMEOUT).await?.status)
}

/// As [`ask_as`], for the API server's ConfigMaps: the answer to a write, and the answer to a read.
pub(super) async fn api_as(
    cluster: &dyn ProvidedCluster,
    identity: Option<&IssuedIdentity>,
) -> anyhow::Result<[StatusCode; 2]> {
    let access = cluster.access();
    let mut answers = [StatusCode::OK; 2];
    for (answer, method) in answers.iter_mut().zip([Method::POST, Method::GET]) {
        *answer = ask_as(access.api_address, &access.api_ca_pem, identity, method, CONFIG_MAPS).await?;
    }
    Ok(answers)
}

/// Returns true if connections to this address are accepted.
pub(super) async fn answers(address: SocketAddr) -> bool {
    tokio::time::timeout(STRANGER_TIMEOUT, TcpStream::connect(address)).await.is_ok_and(|connected| connected.is_ok())
}

fn config_map(name: &str) -> Value {
    json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": name}, "data": {"written-by": "contract"}})
}

fn text(body: &[u8]) -> String {
    String::from_utf8_lossy(body).chars().take(300).collect()
}
