//! Ports and addresses of Services, and namespaces: allocations that the API server keeps a copy of.

use anyhow::bail;
use futures::{StreamExt, TryStreamExt};
use serde_json::{Value, json};

use super::super::api::wait_for;
use super::super::kind::{Former, Kind, Planted, Side};

const SERVICES: &str = "/api/v1/namespaces/default/services";
const CIDRS: &str = "/apis/networking.k8s.io/v1/servicecidrs";
const ADDRESSES: &str = "/apis/networking.k8s.io/v1/ipaddresses";
const NAMESPACES: &str = "/api/v1/namespaces";
/// Enough to keep an informer busy for a while.
const MANY: usize = 200;
const LOOKED_AT: usize = 3;
const CONCURRENCY: usize = 8;
const NODE_PORT: u16 = 30_777;
/// In the part of the range from which the API server gives no address by itself (KEP-3070), so that no Service of
/// another kind has it.
const CLUSTER_IP: &str = "10.0.0.12";
const SECOND_CLUSTER_IP: &str = "10.0.0.13";
const OTHER_CIDR: &str = "10.9.0.0/24";
const OTHER_CLUSTER_IP: &str = "10.9.0.5";

pub(super) static KINDS: [Kind; 7] = [
    Kind::own(
        "node-port",
        "a NodePort that A's Service has",
        |side| Box::pin(take_service(side, "pair-port", || node_port("pair-port"))),
        |side, former| Box::pin(is_taken(side, former, || node_port("probe-port"))),
    )
    .look_writes(),
    Kind::own(
        "cluster-ip",
        "a ClusterIP that A's Service has",
        |side| Box::pin(take_service(side, "pair-address", || cluster_ip("pair-address", CLUSTER_IP))),
        |side, former| Box::pin(is_taken(side, former, || cluster_ip("probe-address", CLUSTER_IP))),
    )
    .look_writes(),
    Kind::own(
        "ip-address",
        "the IPAddress of A's Service",
        |side| Box::pin(take_address(side)),
        |side, former| Box::pin(is_address_there(side, former)),
    ),
    Kind::own(
        "service-cidr",
        "a ServiceCIDR that B may have no addresses of",
        |side| Box::pin(add_cidr(side)),
        |side, former| Box::pin(is_cidr_in_force(side, former)),
    )
    .restarting(),
    Kind::own(
        "namespace-content",
        "a create into a namespace that only A had",
        |side| Box::pin(make_namespace(side)),
        |side, former| Box::pin(is_namespace_known(side, former, "pair-gone")),
    ),
    Kind::own(
        "many-namespaces",
        "a create into the last of many namespaces that only A had, of which admission hears one by one",
        |side| Box::pin(make_namespaces(side)),
        |side, former| Box::pin(is_any_namespace_known(side, former)),
    )
    .restarting()
    .alone(),
    Kind::own(
        "ending-namespace",
        "a namespace that cannot end for a finalizer in it",
        |side| Box::pin(end_namespace(side)),
        |side, former| Box::pin(is_namespace_ending(side, former)),
    ),
];

fn service(name: &str, fields: &Value) -> Value {
    let mut spec = fields.clone();
    if spec["ports"].is_null() {
        spec["ports"] = json!([{"port": 80}]);
    }
    json!({"metadata": {"name": name}, "spec": spec})
}

fn node_port(name: &str) -> Value {
    service(name, &json!({"type": "NodePort", "ports": [{"port": 80, "nodePort": NODE_PORT}]}))
}

fn cluster_ip(name: &str, address: &str) -> Value {
    service(name, &json!({"clusterIP": address}))
}

async fn take_service(side: &Side, name: &str, service: fn() -> Value) -> anyhow::Result<Planted> {
    side.api.create(SERVICES, &service()).await?;
    let mut other = service();
    other["metadata"]["name"] = format!("{name}-other").into();
    if side.api.post(SERVICES, &other).await?.is_success() {
        bail!("two Services got the same");
    }
    Ok(Planted::default())
}

/// A dry run would give out addresses twice.
async fn is_taken(side: &Side, _: &Former, service: fn() -> Value) -> anyhow::Result<Option<String>> {
    let answer = side.api.post(SERVICES, &service()).await?;
    Ok((!answer.is_success()).then(|| format!("a Service was answered by {}: {}", answer.status, answer.text().trim())))
}

async fn take_address(side: &Side) -> anyhow::Result<Planted> {
    side.api.create(SERVICES, &cluster_ip("pair-second", SECOND_CLUSTER_IP)).await?;
    side.api.read(&format!("{ADDRESSES}/{SECOND_CLUSTER_IP}")).await?;
    Ok(Planted::default())
}

async fn is_address_there(side: &Side, _: &Former) -> anyhow::Result<Option<String>> {
    for version in ["?resourceVersion=0", ""] {
        let answer = side.api.get(&format!("{ADDRESSES}/{SECOND_CLUSTER_IP}{version}")).await?;
        if answer.status != 404 {
            return Ok(Some(format!("the IPAddress{version} was answered by {}", answer.status)));
        }
    }
    Ok(None)
}

async fn add_cidr(side: &Side) -> anyhow::Result<Planted> {
    side.api.create(CIDRS, &json!({"metadata": {"name": "pair"}, "spec": {"cidrs": [OTHER_CIDR]}})).await?;
    let object = cluster_ip("pair-cidr", OTHER_CLUSTER_IP);
    wait_for("the range can be used", async || Ok(side.api.post(SERVICES, &object).await?.is_success())).await?;
    Ok(Planted::default())
}

async fn is_cidr_in_force(side: &Side, _: &Former) -> anyhow::Result<Option<String>> {
    let path = format!("{SERVICES}?dryRun=All");
    let answer = side.api.post(&path, &cluster_ip("probe", OTHER_CLUSTER_IP)).await?;
    Ok(answer.is_success().then(|| format!("a Service could have {OTHER_CLUSTER_IP}")))
}

fn config_maps(namespace: &str) -> String {
    format!("{NAMESPACES}/{namespace}/configmaps")
}

async fn make_namespace(side: &Side) -> anyhow::Result<Planted> {
    side.api.create(NAMESPACES, &json!({"metadata": {"name": "pair-gone"}})).await?;
    side.api.create(&config_maps("pair-gone"), &json!({"metadata": {"name": "pair"}})).await?;
    Ok(Planted::default())
}

async fn is_namespace_known(side: &Side, _: &Former, name: &str) -> anyhow::Result<Option<String>> {
    let path = format!("{}?dryRun=All", config_maps(name));
    let answer = side.api.post(&path, &json!({"metadata": {"name": "probe"}})).await?;
    match answer.status {
        404 => Ok(None),
        status => Ok(Some(format!("a create in {name} was answered by {status}: {}", answer.text().trim()))),
    }
}

fn numbered(number: usize) -> String {
    format!("pair-many-{number:04}")
}

async fn make_namespaces(side: &Side) -> anyhow::Result<Planted> {
    let creates = (0..MANY).map(|number| async move {
        side.api.create(NAMESPACES, &json!({"metadata": {"name": numbered(number)}})).await
    });
    futures::stream::iter(creates).buffer_unordered(CONCURRENCY).try_collect::<Vec<Value>>().await?;
    side.api.create(&config_maps(&numbered(MANY - 1)), &json!({"metadata": {"name": "pair"}})).await?;
    Ok(Planted::default())
}

async fn is_any_namespace_known(side: &Side, former: &Former) -> anyhow::Result<Option<String>> {
    for number in (MANY - LOOKED_AT..MANY).rev() {
        if let Some(seen) = is_namespace_known(side, former, &numbered(number)).await? {
            return Ok(Some(seen));
        }
    }
    Ok(None)
}

async fn end_namespace(side: &Side) -> anyhow::Result<Planted> {
    let name = "pair-ending";
    side.api.create(NAMESPACES, &json!({"metadata": {"name": name}})).await?;
    let finalized = json!({"metadata": {"name": "pair", "finalizers": ["pairs.kina.test/never"]}});
    side.api.create(&config_maps(name), &finalized).await?;
    side.api.delete(&format!("{NAMESPACES}/{name}")).await?.expect_done("deleting a namespace")?;
    let object = json!({"metadata": {"name": "late"}});
    let path = config_maps(name);
    wait_for("it takes nothing more", async || Ok(side.api.post(&path, &object).await?.status == 403)).await?;
    Ok(Planted::default())
}

async fn is_namespace_ending(side: &Side, former: &Former) -> anyhow::Result<Option<String>> {
    let path = format!("{NAMESPACES}?dryRun=All");
    let answer = side.api.post(&path, &json!({"metadata": {"name": "pair-ending"}})).await?;
    if !answer.is_success() {
        return Ok(Some(format!("making it again was answered by {}: {}", answer.status, answer.text().trim())));
    }
    is_namespace_known(side, former, "pair-ending").await
}
