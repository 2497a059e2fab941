//! The changes that tests leave behind.

use futures::{StreamExt, TryStreamExt};

use super::api_server::{ApiServer, Events};
use super::change::{self, Change};

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
pub struct Open(Vec<Events>);

/// Changes the cluster.
pub async fn make(server: &ApiServer, dirt: &Dirt<'_>) -> anyhow::Result<Open> {
    let mut open = Open(Vec::new());
    match dirt {
        Dirt::None => {}
        Dirt::Thorough => make_thorough(server).await?,
        Dirt::ConfigMaps(count) => send_all(server, &change::config_maps("default", *count)).await?,
        Dirt::Definition(group) => server.send(&change::definition(group)).await?,
        Dirt::Watches(count) => open.0 = open_watches(server, *count).await?,
    }
    Ok(open)
}

async fn open_watches(server: &ApiServer, count: usize) -> anyhow::Result<Vec<Events>> {
    let mut watches = Vec::new();
    for _ in 0..count {
        watches.push(server.watch("/api/v1/configmaps?watch=true").await?);
    }
    Ok(watches)
}

/// Makes a CRD, custom resources with finalizers, a namespace being deleted, a deleted system ClusterRole, ConfigMaps,
/// a service on a fixed port, and changed labels of `default`.
async fn make_thorough(server: &ApiServer) -> anyhow::Result<()> {
    server.send(&change::namespace(NAMESPACE)).await?;
    server.send(&change::namespace(DELETED_NAMESPACE)).await?;
    server.send(&change::definition(GROUP)).await?;
    send_all(server, &change::config_maps(NAMESPACE, CONFIG_MAPS)).await?;
    server.send(&change::service(NAMESPACE)).await?;
    wait_served(server).await?;
    // The API server holds back each create of a kind whose CRD is younger than that.
    tokio::time::sleep(std::time::Duration::from_secs(2)).await;
    send_all(server, &change::finalized_widgets(GROUP, DELETED_NAMESPACE, CUSTOM_RESOURCES)).await?;
    server.send(&change::labels_of_default()).await?;
    server.send(&change::deletion_of_namespace(DELETED_NAMESPACE)).await?;
    server.send(&change::deletion_of_cluster_role("view")).await
}

async fn wait_served(server: &ApiServer) -> anyhow::Result<()> {
    const ATTEMPTS_MAX: u32 = 1000;
    let path = change::widgets_path(GROUP, DELETED_NAMESPACE);
    for _ in 0..ATTEMPTS_MAX {
        if server.get(&path).await.is_ok() {
            return Ok(());
        }
        tokio::time::sleep(std::time::Duration::from_millis(10)).await;
    }
    anyhow::bail!("the custom resources were not served within 10 s")
}

/// Sends changes that do not depend on each other.
async fn send_all(server: &ApiServer, changes: &[Change]) -> anyhow::Result<()> {
    let sent = changes.iter().map(|change| server.send(change));
    futures::stream::iter(sent).buffer_unordered(CONCURRENCY).try_collect().await
}
