//! Traces that a lease leaves on purpose, and looks for before it does anything else.

use std::time::{Duration, Instant};

use anyhow::Context;
use http::{Method, Request};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use super::plan::CanaryPlan;

const LABEL: &str = "chaos.kina.test/canary";
const LATE_LABEL: &str = "chaos.kina.test/late";
const GROUP_SUFFIX: &str = ".canary.kina.test";
const POLICY: &str = "canary-policy";
/// Names that the policy refuses.
const REFUSED_PREFIX: &str = "refused-";
/// The namespaces of every cluster.
const NAMESPACES: [&str; 4] = ["default", "kube-node-lease", "kube-public", "kube-system"];
const AGGREGATED_DISCOVERY: &str = "application/json;g=apidiscovery.k8s.io;v=v2;as=APIGroupDiscoveryList";
/// Longer than a planned freeze.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(30);
/// A trace that is still there after this was never removed, rather than removed late.
const TRANSIENCE: Duration = Duration::from_secs(2);
/// Policies are compiled once a second.
const POLICY_TIMEOUT: Duration = Duration::from_secs(5);

/// A client of an API server in JSON, with a bound on each request.
#[derive(Clone)]
pub(super) struct Api(pub(super) kube::Client);

/// A trace of an earlier lease.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(super) struct Sighting {
    /// The trace and its place.
    pub(super) what: String,
    /// Written after the end of its lease.
    pub(super) is_late: bool,
    /// Still there a while later.
    pub(super) persists: bool,
}

impl Api {
    pub(super) async fn get(&self, path: &str) -> anyhow::Result<Value> {
        self.ask(Method::GET, path, "application/json", None).await
    }

    pub(super) async fn create(&self, path: &str, object: &Value) -> anyhow::Result<Value> {
        self.ask(Method::POST, path, "application/json", Some(("application/json", object))).await
    }

    async fn ask(
        &self,
        method: Method,
        path: &str,
        accept: &str,
        body: Option<(&str, &Value)>,
    ) -> anyhow::Result<Value> {
        let mut request = Request::builder().method(&method).uri(path).header("accept", accept);
        let mut bytes = Vec::new();
        if let Some((kind, object)) = body {
            request = request.header("content-type", kind);
            bytes = serde_json::to_vec(object)?;
        }
        let asked = || format!("{method} {path}");
        tokio::time::timeout(ANSWER_TIMEOUT, self.0.request(request.body(bytes)?))
            .await
            .with_context(|| format!("{}: no answer within {} s", asked(), ANSWER_TIMEOUT.as_secs()))?
            .with_context(asked)
    }
}

/// Looks everywhere for traces of another lease.
pub(super) async fn look(api: &Api) -> anyhow::Result<Vec<Sighting>> {
    let mut sightings = look_once(api).await?;
    if !sightings.is_empty() {
        tokio::time::sleep(TRANSIENCE).await;
        let still: Vec<_> = look_once(api).await?.into_iter().map(|sighting| sighting.what).collect();
        for sighting in &mut sightings {
            sighting.persists = still.contains(&sighting.what);
        }
    }
    Ok(sightings)
}

async fn look_once(api: &Api) -> anyhow::Result<Vec<Sighting>> {
    let mut sightings = look_in_discovery(api).await?;
    // First from the caches as they are, as an informer does, then from storage.
    for version in ["resourceVersion=0", ""] {
        for sighting in look_in_lists(api, version).await? {
            if !sightings.iter().any(|known| known.what == sighting.what) {
                sightings.push(sighting);
            }
        }
    }
    if is_policy_in_force(api).await? {
        sightings.push(Sighting { what: format!("policy {POLICY} in force"), is_late: false, persists: false });
    }
    Ok(sightings)
}

/// Leaves the planned traces.
pub(super) async fn plant(api: &Api, plan: CanaryPlan, lease: usize) -> anyhow::Result<()> {
    let labels = json!({LABEL: lease.to_string()});
    let name = format!("canary-{lease}");
    let metadata = json!({"name": name, "labels": labels});
    api.create(&config_maps("default"), &json!({"metadata": metadata})).await?;
    if plan.namespace {
        api.create("/api/v1/namespaces", &json!({"metadata": metadata})).await?;
        api.create(&config_maps(&name), &json!({"metadata": metadata})).await?;
    }
    if plan.cluster_role {
        let rules = json!([{"apiGroups": [""], "resources": ["pods"], "verbs": ["get"]}]);
        let role = json!({"metadata": metadata, "rules": rules});
        api.create("/apis/rbac.authorization.k8s.io/v1/clusterroles", &role).await?;
    }
    if plan.default_label {
        let patch = json!({"metadata": {"labels": labels}});
        let body = Some(("application/merge-patch+json", &patch));
        api.ask(Method::PATCH, "/api/v1/namespaces/default", "application/json", body).await?;
    }
    if plan.definition {
        api.create("/apis/apiextensions.k8s.io/v1/customresourcedefinitions", &definition(lease, &labels)).await?;
    }
    if plan.policy {
        plant_policy(api, &labels).await?;
    }
    Ok(())
}

/// Writes once more, after the lease has been disturbed.
pub(super) async fn plant_again(api: &Api, lease: usize) -> anyhow::Result<()> {
    let object = json!({"metadata": {"name": format!("again-{lease}"), "labels": {LABEL: lease.to_string()}}});
    api.create(&config_maps("default"), &object).await.map(drop)
}

/// Makes one write of a client that goes on after the end of its lease.
pub(super) async fn write_late(api: &Api, lease: usize, number: usize) -> anyhow::Result<()> {
    let labels = json!({LABEL: lease.to_string(), LATE_LABEL: "true"});
    let object = json!({"metadata": {"name": format!("late-{lease}-{number}"), "labels": labels}});
    api.create(&config_maps("default"), &object).await.map(drop)
}

async fn look_in_discovery(api: &Api) -> anyhow::Result<Vec<Sighting>> {
    let groups = api.ask(Method::GET, "/apis", AGGREGATED_DISCOVERY, None).await?;
    let names = groups["items"].as_array().into_iter().flatten().filter_map(|group| group["metadata"]["name"].as_str());
    let seen = names.filter(|name| name.ends_with(GROUP_SUFFIX));
    Ok(seen.map(|name| Sighting { what: format!("group {name}"), is_late: false, persists: false }).collect())
}

async fn look_in_lists(api: &Api, version: &str) -> anyhow::Result<Vec<Sighting>> {
    let mut sightings = Vec::new();
    let labelled = [
        ("/api/v1/configmaps", "ConfigMap"),
        ("/apis/rbac.authorization.k8s.io/v1/clusterroles", "ClusterRole"),
        ("/apis/apiextensions.k8s.io/v1/customresourcedefinitions", "CRD"),
    ];
    for (path, kind) in labelled {
        let list = api.get(&format!("{path}?labelSelector={LABEL}&{version}")).await?;
        for object in list["items"].as_array().into_iter().flatten() {
            let metadata = &object["metadata"];
            let (name, is_late) = (text(&metadata["name"]), !metadata["labels"][LATE_LABEL].is_null());
            let what = format!("{kind} {}/{name}", text(&metadata["namespace"]));
            sightings.push(Sighting { what, is_late, persists: false });
        }
    }
    let namespaces = api.get(&format!("/api/v1/namespaces?{version}")).await?;
    for namespace in namespaces["items"].as_array().into_iter().flatten() {
        let metadata = &namespace["metadata"];
        let name = text(&metadata["name"]);
        if !NAMESPACES.contains(&name) {
            sightings.push(Sighting { what: format!("namespace {name}"), is_late: false, persists: false });
        } else if !metadata["labels"][LABEL].is_null() {
            sightings.push(Sighting { what: format!("label of namespace {name}"), is_late: false, persists: false });
        }
    }
    Ok(sightings)
}

async fn plant_policy(api: &Api, labels: &Value) -> anyhow::Result<()> {
    let metadata = json!({"name": POLICY, "labels": labels});
    let rule = json!({"apiGroups": [""], "apiVersions": ["v1"], "operations": ["CREATE"], "resources": ["configmaps"]});
    let expression = format!("!object.metadata.name.startsWith('{REFUSED_PREFIX}')");
    let policy = json!({"metadata": metadata, "spec": {
        "failurePolicy": "Fail",
        "matchConstraints": {"resourceRules": [rule]},
        "validations": [{"expression": expression, "message": POLICY}],
    }});
    let binding = json!({"metadata": metadata, "spec": {"policyName": POLICY, "validationActions": ["Deny"]}});
    api.create("/apis/admissionregistration.k8s.io/v1/validatingadmissionpolicies", &policy).await?;
    api.create("/apis/admissionregistration.k8s.io/v1/validatingadmissionpolicybindings", &binding).await?;
    let start = Instant::now();
    // Only a policy that was in force can be left in force.
    while start.elapsed() < POLICY_TIMEOUT && !is_policy_in_force(api).await? {
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    Ok(())
}

async fn is_policy_in_force(api: &Api) -> anyhow::Result<bool> {
    let object = json!({"metadata": {"name": format!("{REFUSED_PREFIX}probe")}});
    match api.create(&format!("{}?dryRun=All", config_maps("default")), &object).await {
        Ok(_) => Ok(false),
        Err(error) if format!("{error:#}").contains(POLICY) => Ok(true),
        Err(error) => Err(error),
    }
}

fn definition(lease: usize, labels: &Value) -> Value {
    let group = format!("l{lease}{GROUP_SUFFIX}");
    let schema = json!({"openAPIV3Schema": {"type": "object", "x-kubernetes-preserve-unknown-fields": true}});
    json!({
        "metadata": {"name": format!("probes.{group}"), "labels": labels},
        "spec": {
            "group": group,
            "scope": "Namespaced",
            "names": {"plural": "probes", "singular": "probe", "kind": "Probe", "listKind": "ProbeList"},
            "versions": [{"name": "v1", "served": true, "storage": true, "schema": schema}],
        },
    })
}

fn config_maps(namespace: &str) -> String {
    format!("/api/v1/namespaces/{namespace}/configmaps")
}

fn text(value: &Value) -> &str {
    value.as_str().unwrap_or_default()
}
