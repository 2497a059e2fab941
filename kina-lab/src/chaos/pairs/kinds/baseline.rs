//! Objects that each cluster has from the beginning, changed or deleted by A.

use anyhow::{Context, bail};
use serde_json::{Value, json};

use super::super::api::wait_for;
use super::super::kind::{Former, Kind, Planted, Side};

const DEFAULT: &str = "/api/v1/namespaces/default";
const KUBE_SYSTEM: &str = "/api/v1/namespaces/kube-system";
const NODE_LEASES: &str = "/api/v1/namespaces/kube-node-lease";
const SERVICE: &str = "/api/v1/namespaces/default/services/kubernetes";
const PRIORITY_CLASS: &str = "/apis/scheduling.k8s.io/v1/priorityclasses/system-node-critical";
const AUTHENTICATION: &str = "/api/v1/namespaces/kube-system/configmaps/extension-apiserver-authentication";
const FLOW_SCHEMA: &str = "/apis/flowcontrol.apiserver.k8s.io/v1/flowschemas/global-default";
const DELETED_FLOW_SCHEMA: &str = "/apis/flowcontrol.apiserver.k8s.io/v1/flowschemas/kube-scheduler";
const TOKEN_TRACKING: &str =
    "/api/v1/namespaces/kube-system/configmaps/kube-apiserver-legacy-service-account-token-tracking";
const IDENTITY_LEASES: &str = "/apis/coordination.k8s.io/v1/namespaces/kube-system/leases?labelSelector=apiserver.kubernetes.io/identity=kube-apiserver";
const MARK: &str = "pairs.kina.test/mark";

pub(super) static KINDS: [Kind; 10] = [
    Kind::own(
        "default-namespace-label",
        "a label on the namespace default",
        |side| Box::pin(mark(side, DEFAULT)),
        |side, former| Box::pin(is_marked(side, former, DEFAULT)),
    ),
    Kind::own(
        "kube-system-metadata",
        "labels, annotations and managed fields of the namespace kube-system",
        |side| Box::pin(mark(side, KUBE_SYSTEM)),
        |side, former| Box::pin(is_marked(side, former, KUBE_SYSTEM)),
    ),
    Kind::own(
        "system-priority-class-label",
        "a label on a PriorityClass of the system",
        |side| Box::pin(mark(side, PRIORITY_CLASS)),
        |side, former| Box::pin(is_marked(side, former, PRIORITY_CLASS)),
    )
    .restarting(),
    Kind::own(
        "authentication-config",
        "annotations of the ConfigMap that the API server publishes its authorities in",
        |side| Box::pin(mark(side, AUTHENTICATION)),
        |side, former| Box::pin(is_marked(side, former, AUTHENTICATION)),
    ),
    Kind::own(
        "system-flow-schema-label",
        "a label on a FlowSchema of the system",
        |side| Box::pin(mark(side, FLOW_SCHEMA)),
        |side, former| Box::pin(is_marked(side, former, FLOW_SCHEMA)),
    )
    .restarting(),
    Kind::own(
        "identity-lease",
        "an annotation on the API server's identity Lease, which the API server itself renews",
        |side| Box::pin(mark_identity_lease(side)),
        |side, former| Box::pin(is_identity_lease_marked(side, former)),
    )
    .shown_without(&["identity-lease"]),
    Kind::own(
        "deleted-service",
        "the Service kubernetes, deleted",
        |side| Box::pin(delete(side, SERVICE)),
        |side, former| Box::pin(is_another(side, former, SERVICE)),
    ),
    Kind::own(
        "deleted-flow-schema",
        "a FlowSchema of the system, deleted",
        |side| Box::pin(delete(side, DELETED_FLOW_SCHEMA)),
        |side, former| Box::pin(is_another(side, former, DELETED_FLOW_SCHEMA)),
    )
    .restarting(),
    Kind::own(
        "deleted-system-namespace",
        "the namespace kube-node-lease, being deleted",
        |side| Box::pin(end_namespace(side)),
        |side, former| Box::pin(is_namespace_ending(side, former)),
    ),
    Kind::own(
        "deleted-config-map",
        "a ConfigMap in which the API server keeps account of itself, deleted",
        |side| Box::pin(delete(side, TOKEN_TRACKING)),
        |side, former| Box::pin(is_another(side, former, TOKEN_TRACKING)),
    ),
];

async fn mark(side: &Side, path: &str) -> anyhow::Result<Planted> {
    let patch = json!({"metadata": {"labels": {MARK: side.mark}, "annotations": {MARK: side.mark}}});
    side.api.merge(path, &patch).await?.expect_done(path)?;
    let found = side.api.read(path).await?;
    if found["metadata"]["annotations"][MARK] != side.mark {
        bail!("{path} is not marked");
    }
    Ok(Planted::default())
}

async fn is_marked(side: &Side, _: &Former, path: &str) -> anyhow::Result<Option<String>> {
    for version in ["?resourceVersion=0", ""] {
        let found = side.api.read(&format!("{path}{version}")).await?;
        if found["metadata"].to_string().contains(MARK) {
            return Ok(Some(format!("the mark in the metadata of {path}{version}")));
        }
    }
    Ok(None)
}

/// The API server's own Leases, which one that has just started makes a moment later.
async fn identity_leases(side: &Side) -> anyhow::Result<Vec<Value>> {
    let mut leases = Vec::new();
    wait_for("the API server has an identity Lease", async || {
        leases = side.api.read(IDENTITY_LEASES).await?["items"].as_array().cloned().unwrap_or_default();
        Ok(!leases.is_empty())
    })
    .await?;
    Ok(leases)
}

async fn mark_identity_lease(side: &Side) -> anyhow::Result<Planted> {
    let leases = identity_leases(side).await?;
    let name = leases.first().and_then(|lease| lease["metadata"]["name"].as_str()).context("a Lease has a name")?;
    mark(side, &format!("/apis/coordination.k8s.io/v1/namespaces/kube-system/leases/{name}")).await
}

async fn is_identity_lease_marked(side: &Side, _: &Former) -> anyhow::Result<Option<String>> {
    let leases = identity_leases(side).await?;
    let is_marked = leases.iter().any(|lease| lease["metadata"].to_string().contains(MARK));
    Ok(is_marked.then(|| "the mark on the identity Lease".to_owned()))
}

/// Deletes an object, and hands its content to B. The API server makes some of these objects anew.
async fn delete(side: &Side, path: &str) -> anyhow::Result<Planted> {
    let before = side.api.read(path).await?["metadata"]["uid"].clone();
    side.api.delete(path).await?.expect_done(path)?;
    let answer = side.api.get(path).await?;
    if answer.is_success() && answer.json()["metadata"]["uid"] == before {
        bail!("{path} is still there");
    }
    Ok(Planted::with(before))
}

async fn is_another(side: &Side, former: &Former, path: &str) -> anyhow::Result<Option<String>> {
    for version in ["?resourceVersion=0", ""] {
        let answer = side.api.get(&format!("{path}{version}")).await?;
        if answer.status == 404 {
            return Ok(Some(format!("{path}{version} is gone")));
        }
        if answer.expect_done(path)?["metadata"]["uid"] != former.trace {
            return Ok(Some(format!("{path}{version} is another one")));
        }
    }
    Ok(None)
}

async fn end_namespace(side: &Side) -> anyhow::Result<Planted> {
    side.api.delete(NODE_LEASES).await?.expect_done(NODE_LEASES)?;
    let found = side.api.read(NODE_LEASES).await?;
    if found["status"]["phase"] != "Terminating" {
        bail!("the namespace does not end");
    }
    Ok(Planted::default())
}

async fn is_namespace_ending(side: &Side, _: &Former) -> anyhow::Result<Option<String>> {
    let found = side.api.read(&format!("{NODE_LEASES}?resourceVersion=0")).await?;
    if found["status"]["phase"] != "Active" || !found["metadata"]["deletionTimestamp"].is_null() {
        return Ok(Some("the namespace still ends".to_owned()));
    }
    let path = "/apis/coordination.k8s.io/v1/namespaces/kube-node-lease/leases?dryRun=All";
    let answer = side.api.post(path, &json!({"metadata": {"name": "probe"}})).await?;
    Ok((!answer.is_success()).then(|| format!("a create in it was answered by {}: {}", answer.status, answer.text())))
}
