//! The changes that tests leave behind.

use anyhow::Context;
use futures::{StreamExt, TryStreamExt};
use http::{Method, Request, Response};
use kube::client::Body;
use serde_json::{Value, json};

/// Writes under way at a time.
const CONCURRENCY: usize = 8;
const CONFIG_MAPS: usize = 200;
const DEFINITIONS: &str = "/apis/apiextensions.k8s.io/v1/customresourcedefinitions";
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
        Dirt::ConfigMaps(count) => make_config_maps(client, "default", *count).await?,
        Dirt::Definition(group) => create(client, DEFINITIONS, definition(group)).await?,
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
    create(client, "/api/v1/namespaces", namespace("bench")).await?;
    create(client, "/api/v1/namespaces", namespace("bench-deleted")).await?;
    create(client, DEFINITIONS, definition("bench.kina.dev")).await?;
    make_config_maps(client, "bench", CONFIG_MAPS).await?;
    create(client, "/api/v1/namespaces/bench/services", service()).await?;
    wait_served(client).await?;
    let widgets = (0..CUSTOM_RESOURCES)
        .map(|number| create(client, "/apis/bench.kina.dev/v1/namespaces/bench-deleted/widgets", widget(number)));
    // The API server holds back each create of a kind whose CRD is younger than that.
    tokio::time::sleep(std::time::Duration::from_secs(2)).await;
    futures::stream::iter(widgets).buffer_unordered(CONCURRENCY).try_collect::<Vec<_>>().await?;
    let labels = json!({"metadata": {"labels": {"bench": "dirty"}}});
    send(client, Method::PATCH, "/api/v1/namespaces/default", Some(labels)).await?;
    send(client, Method::DELETE, "/api/v1/namespaces/bench-deleted", None).await?;
    send(client, Method::DELETE, "/apis/rbac.authorization.k8s.io/v1/clusterroles/view", None).await?;
    Ok(())
}

async fn make_config_maps(client: &kube::Client, namespace: &str, count: usize) -> anyhow::Result<()> {
    let path = format!("/api/v1/namespaces/{namespace}/configmaps");
    let config_maps =
        (0..count).map(|number| create(client, &path, json!({"metadata": {"name": format!("map-{number}")}})));
    futures::stream::iter(config_maps).buffer_unordered(CONCURRENCY).try_collect::<Vec<_>>().await?;
    Ok(())
}

async fn wait_served(client: &kube::Client) -> anyhow::Result<()> {
    const ATTEMPTS_MAX: u32 = 1000;
    for _ in 0..ATTEMPTS_MAX {
        if send(client, Method::GET, "/apis/bench.kina.dev/v1/widgets", None).await.is_ok() {
            return Ok(());
        }
        tokio::time::sleep(std::time::Duration::from_millis(10)).await;
    }
    anyhow::bail!("the custom resources were not served within 10 s")
}

async fn create(client: &kube::Client, path: &str, object: Value) -> anyhow::Result<()> {
    send(client, Method::POST, path, Some(object)).await
}

async fn send(client: &kube::Client, method: Method, path: &str, body: Option<Value>) -> anyhow::Result<()> {
    let content_type = if method == Method::PATCH { "application/merge-patch+json" } else { "application/json" };
    let body = body.map(|body| serde_json::to_vec(&body)).transpose()?.unwrap_or_default();
    let request = Request::builder()
        .method(method.clone())
        .uri(path)
        .header(http::header::CONTENT_TYPE, content_type)
        .body(body)?;
    client.request_text(request).await.with_context(|| format!("{method} {path} failed"))?;
    Ok(())
}

fn namespace(name: &str) -> Value {
    json!({"metadata": {"name": name}})
}

fn service() -> Value {
    json!({"metadata": {"name": "fixed"}, "spec": {"type": "NodePort", "ports": [{"port": 80, "nodePort": 30080}]}})
}

fn widget(number: usize) -> Value {
    json!({
        "apiVersion": "bench.kina.dev/v1",
        "kind": "Widget",
        "metadata": {"name": format!("widget-{number}"), "finalizers": ["bench.kina.dev/never"]},
    })
}

fn definition(group: &str) -> Value {
    json!({
        "metadata": {"name": format!("widgets.{group}")},
        "spec": {
            "group": group,
            "scope": "Namespaced",
            "names": {"plural": "widgets", "singular": "widget", "kind": "Widget"},
            "versions": [{
                "name": "v1",
                "served": true,
                "storage": true,
                "schema": {"openAPIV3Schema": {"type": "object", "x-kubernetes-preserve-unknown-fields": true}},
            }],
        },
    })
}
