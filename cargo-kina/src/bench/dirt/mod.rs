//! The changes that tests leave behind.
//!
//! - `change`: single changes, shared with the tests of the workspace.

pub mod change;

use anyhow::Context;
use futures::{StreamExt, TryStreamExt};
use http::{Request, Response};
use kube::client::Body;

use self::change::Change;

/// Writes under way at a time.
const CONCURRENCY: usize = 8;
const GROUP: &str = "bench.kina.dev";
const NAMESPACE: &str = "bench";
const DELETED_NAMESPACE: &str = "bench-deleted";
const CONFIG_MAPS: usize = 200;
const CUSTOM_RESOURCES: usize = 40;

/// The changes that a probe leaves behind.
pub enum Dirt<'a> {
    /// Nothing.
    None,
    /// About 250 changed keys, as a thorough test of an operator might leave them.
    Thorough,
    /// This many ConfigMaps.
    ConfigMaps(usize),
    /// A CRD of this group.
    Definition(&'a str),
    /// This many watches, open until the lease has ended.
    Watches(usize),
}

/// Connections that stay open until this is dropped.
pub struct Open(Vec<Response<Body>>);

/// Changes the cluster.
pub async fn make(client: &kube::Client, dirt: &Dirt<'_>) -> anyhow::Result<Open> {
    let mut open = Open(Vec::new());
    match dirt {
        Dirt::None => {}
        Dirt::Thorough => make_thorough(client).await?,
        Dirt::ConfigMaps(count) => send_all(client, &change::config_maps("default", *count)).await?,
        Dirt::Definition(group) => send(client, &change::definition(group)).await?,
        Dirt::Watches(count) => open.0 = open_watches(client, *count).await?,
    }
    Ok(open)
}

async fn open_watches(client: &kube::Client, count: usize) -> anyhow::Result<Vec<Response<Body>>> {
    let mut watches = Vec::new();
    for _ in 0..count {
        let request = Request::get("/api/v1/configmaps?watch=true").body(Body::empty())?;
        let watch = client.send(request).await.context("opening a watch failed")?;
        anyhow::ensure!(watch.status().is_success(), "a watch was answered by {}", watch.status());
        watches.push(watch);
    }
    Ok(watches)
}

/// Makes a CRD, custom resources with finalizers, a namespace being deleted, a deleted system ClusterRole, ConfigMaps,
/// a service on a fixed port, and changed labels of `default`.
async fn make_thorough(client: &kube::Client) -> anyhow::Result<()> {
    send(client, &change::namespace(NAMESPACE)).await?;
    send(client, &change::namespace(DELETED_NAMESPACE)).await?;
    send(client, &change::definition(GROUP)).await?;
    send_all(client, &change::config_maps(NAMESPACE, CONFIG_MAPS)).await?;
    send(client, &change::service(NAMESPACE)).await?;
    wait_served(client).await?;
    // The API server holds back each create of a kind whose CRD is younger than that.
    tokio::time::sleep(std::time::Duration::from_secs(2)).await;
    send_all(client, &change::finalized_widgets(GROUP, DELETED_NAMESPACE, CUSTOM_RESOURCES)).await?;
    send(client, &change::labels_of_default()).await?;
    send(client, &change::deletion_of_namespace(DELETED_NAMESPACE)).await?;
    send(client, &change::deletion_of_cluster_role("view")).await
}

async fn wait_served(client: &kube::Client) -> anyhow::Result<()> {
    const ATTEMPTS_MAX: u32 = 1000;
    let path = change::widgets_path(GROUP, DELETED_NAMESPACE);
    for _ in 0..ATTEMPTS_MAX {
        if client.request_text(Request::get(&path).body(Vec::new())?).await.is_ok() {
            return Ok(());
        }
        tokio::time::sleep(std::time::Duration::from_millis(10)).await;
    }
    anyhow::bail!("the custom resources were not served within 10 s")
}

/// Sends changes that do not depend on each other.
async fn send_all(client: &kube::Client, changes: &[Change]) -> anyhow::Result<()> {
    let sent = changes.iter().map(|change| send(client, change));
    futures::stream::iter(sent).buffer_unordered(CONCURRENCY).try_collect().await
}

async fn send(client: &kube::Client, change: &Change) -> anyhow::Result<()> {
    let Change { method, path, object } = change;
    let body = object.as_ref().map(serde_json::to_vec).transpose()?.unwrap_or_default();
    let request = Request::builder()
        .method(method)
        .uri(path)
        .header(http::header::CONTENT_TYPE, change.content_type())
        .body(body)?;
    client.request_text(request).await.with_context(|| format!("{method} {path} failed"))?;
    Ok(())
}
