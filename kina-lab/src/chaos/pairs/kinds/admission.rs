//! Rules about other writes: policies, webhooks, quotas, defaults.

use anyhow::bail;
use serde_json::{Value, json};

use super::super::api::wait_for;
use super::super::kind::{Former, Kind, Planted, Side};

const ADMISSION: &str = "/apis/admissionregistration.k8s.io/v1";
const CONFIG_MAPS: &str = "/api/v1/namespaces/default/configmaps?dryRun=All";
const PODS: &str = "/api/v1/namespaces/default/pods?dryRun=All";
const NAMESPACES: &str = "/api/v1/namespaces";
const QUOTA_NAMESPACE: &str = "pair-quota";
const LIMITED_NAMESPACE: &str = "pair-limited";
const CLAIMS: &str = "/api/v1/namespaces/default/persistentvolumeclaims?dryRun=All";
const INGRESSES: &str = "/apis/networking.k8s.io/v1/namespaces/default/ingresses?dryRun=All";
/// Nothing listens there, and the kernel refuses at once.
const CLOSED_URL: &str = "https://127.0.0.1:1/";
const PRIORITY: i64 = 77;

pub(super) static KINDS: [Kind; 11] = [
    Kind::own(
        "validating-policy",
        "a ValidatingAdmissionPolicy in force",
        |side| Box::pin(set_validating_policy(side)),
        |side, former| Box::pin(is_refused(side, former, "pair-forbidden")),
    )
    .restarting(),
    Kind::own(
        "mutating-policy",
        "a MutatingAdmissionPolicy in force",
        |side| Box::pin(set_mutating_policy(side)),
        |side, former| Box::pin(is_mutated(side, former)),
    )
    .restarting(),
    Kind::own(
        "validating-webhook",
        "a validating webhook that cannot be reached, and so refuses",
        |side| Box::pin(set_webhook(side, "validating")),
        |side, former| Box::pin(is_refused(side, former, "pair-validating")),
    )
    .restarting(),
    Kind::own(
        "mutating-webhook",
        "a mutating webhook that cannot be reached, and so refuses",
        |side| Box::pin(set_webhook(side, "mutating")),
        |side, former| Box::pin(is_refused(side, former, "pair-mutating")),
    )
    .restarting(),
    Kind::own(
        "resource-quota",
        "a ResourceQuota of nothing in a namespace that B makes again",
        |side| Box::pin(set_quota(side)),
        |side, former| Box::pin(is_quota_in_force(side, former)),
    )
    .restarting()
    .look_writes(),
    Kind::own(
        "limit-range",
        "a LimitRange with defaults in a namespace that B makes again",
        |side| Box::pin(set_limits(side)),
        |side, former| Box::pin(are_limits_in_force(side, former)),
    )
    .restarting()
    .look_writes(),
    Kind::own(
        "default-priority-class",
        "a PriorityClass that is every pod's",
        |side| Box::pin(set_default_priority(side)),
        |side, former| Box::pin(is_default_priority(side, former)),
    )
    .restarting()
    .without_template(),
    Kind::own(
        "priority-class",
        "a PriorityClass that pods name",
        |side| Box::pin(make_priority_class(side)),
        |side, former| Box::pin(is_priority_class_known(side, former)),
    )
    .restarting(),
    Kind::own(
        "default-storage-class",
        "a StorageClass that is every claim's",
        |side| Box::pin(set_default_storage_class(side)),
        |side, former| Box::pin(is_default_storage_class(side, former)),
    )
    .restarting(),
    Kind::own(
        "default-ingress-class",
        "an IngressClass that is every Ingress's",
        |side| Box::pin(set_default_ingress_class(side)),
        |side, former| Box::pin(is_default_ingress_class(side, former)),
    )
    .restarting(),
    Kind::own(
        "runtime-class",
        "a RuntimeClass with an overhead that pods name",
        |side| Box::pin(make_runtime_class(side)),
        |side, former| Box::pin(is_runtime_class_known(side, former)),
    )
    .restarting(),
];

fn config_map(name: &str) -> Value {
    json!({"metadata": {"name": name}})
}

fn config_maps_rule() -> Value {
    json!({"apiGroups": [""], "apiVersions": ["v1"], "operations": ["CREATE"], "resources": ["configmaps"]})
}

fn pod(fields: &Value) -> Value {
    let mut spec = fields.clone();
    spec["containers"] = json!([{"name": "a", "image": "a"}]);
    json!({"metadata": {"name": "probe"}, "spec": spec})
}

async fn set_validating_policy(side: &Side) -> anyhow::Result<Planted> {
    let metadata = json!({"name": "pair"});
    let policy = json!({"metadata": metadata, "spec": {
        "failurePolicy": "Fail",
        "matchConstraints": {"resourceRules": [config_maps_rule()]},
        "validations": [{"expression": "!object.metadata.name.startsWith('pair-forbidden')"}],
    }});
    let binding = json!({"metadata": metadata, "spec": {"policyName": "pair", "validationActions": ["Deny"]}});
    side.api.create(&format!("{ADMISSION}/validatingadmissionpolicies"), &policy).await?;
    side.api.create(&format!("{ADMISSION}/validatingadmissionpolicybindings"), &binding).await?;
    wait_refused(side, "pair-forbidden").await
}

async fn set_webhook(side: &Side, which: &str) -> anyhow::Result<Planted> {
    let name = format!("pair-{which}");
    let configuration = json!({
        "metadata": {"name": name},
        "webhooks": [{
            "name": "pairs.kina.test",
            "clientConfig": {"url": CLOSED_URL},
            "rules": [config_maps_rule()],
            "matchConditions": [{"name": "own", "expression": format!("object.metadata.name.startsWith('{name}')")}],
            "failurePolicy": "Fail",
            "sideEffects": "None",
            "admissionReviewVersions": ["v1"],
        }],
    });
    side.api.create(&format!("{ADMISSION}/{which}webhookconfigurations"), &configuration).await?;
    wait_refused(side, &name).await
}

async fn wait_refused(side: &Side, name: &str) -> anyhow::Result<Planted> {
    let object = config_map(name);
    wait_for("a write is refused", async || Ok(!side.api.post(CONFIG_MAPS, &object).await?.is_success())).await?;
    Ok(Planted::default())
}

async fn is_refused(side: &Side, _: &Former, name: &str) -> anyhow::Result<Option<String>> {
    let answer = side.api.post(CONFIG_MAPS, &config_map(name)).await?;
    Ok((!answer.is_success()).then(|| format!("{name} was answered by {}: {}", answer.status, answer.text().trim())))
}

async fn set_mutating_policy(side: &Side) -> anyhow::Result<Planted> {
    let metadata = json!({"name": "pair"});
    let mutation = "Object{metadata: Object.metadata{labels: {\"pair\": \"mutated\"}}}";
    let policy = json!({"metadata": metadata, "spec": {
        "failurePolicy": "Fail",
        "reinvocationPolicy": "Never",
        "matchConstraints": {"resourceRules": [config_maps_rule()]},
        "matchConditions": [{"name": "own", "expression": "object.metadata.name.startsWith('pair-mutated')"}],
        "mutations": [{"patchType": "ApplyConfiguration", "applyConfiguration": {"expression": mutation}}],
    }});
    let binding = json!({"metadata": metadata, "spec": {"policyName": "pair"}});
    side.api.create(&format!("{ADMISSION}/mutatingadmissionpolicies"), &policy).await?;
    side.api.create(&format!("{ADMISSION}/mutatingadmissionpolicybindings"), &binding).await?;
    wait_for("a write is changed", async || Ok(mutated(side).await?["metadata"]["labels"]["pair"] == "mutated"))
        .await?;
    Ok(Planted::default())
}

async fn mutated(side: &Side) -> anyhow::Result<Value> {
    side.api.create(CONFIG_MAPS, &config_map("pair-mutated")).await
}

async fn is_mutated(side: &Side, _: &Former) -> anyhow::Result<Option<String>> {
    let labels = mutated(side).await?["metadata"]["labels"].clone();
    Ok((!labels.is_null()).then(|| format!("labels {labels}")))
}

fn in_namespace(namespace: &str, collection: &str) -> String {
    format!("{NAMESPACES}/{namespace}/{collection}")
}

async fn set_quota(side: &Side) -> anyhow::Result<Planted> {
    side.api.create(NAMESPACES, &config_map(QUOTA_NAMESPACE)).await?;
    let hard = json!({"count/configmaps": "0"});
    let path = in_namespace(QUOTA_NAMESPACE, "resourcequotas");
    side.api.create(&path, &json!({"metadata": {"name": "pair"}, "spec": {"hard": hard}})).await?;
    // There is no controller to do it.
    let status = json!({"status": {"hard": hard, "used": hard}});
    side.api.merge(&format!("{path}/pair/status"), &status).await?.expect_done("the quota's status")?;
    let path = format!("{}?dryRun=All", in_namespace(QUOTA_NAMESPACE, "configmaps"));
    let object = config_map("probe");
    wait_for("the quota is in force", async || Ok(side.api.post(&path, &object).await?.status == 403)).await?;
    Ok(Planted::default())
}

async fn is_quota_in_force(side: &Side, _: &Former) -> anyhow::Result<Option<String>> {
    side.api.create(NAMESPACES, &config_map(QUOTA_NAMESPACE)).await?;
    let path = format!("{}?dryRun=All", in_namespace(QUOTA_NAMESPACE, "configmaps"));
    let answer = side.api.post(&path, &config_map("probe")).await?;
    Ok((!answer.is_success()).then(|| format!("a create was answered by {}: {}", answer.status, answer.text().trim())))
}

async fn limits(side: &Side) -> anyhow::Result<Value> {
    let path = format!("{}?dryRun=All", in_namespace(LIMITED_NAMESPACE, "pods"));
    let made = side.api.create(&path, &pod(&json!({}))).await?;
    Ok(made["spec"]["containers"][0]["resources"]["limits"].clone())
}

async fn set_limits(side: &Side) -> anyhow::Result<Planted> {
    side.api.create(NAMESPACES, &config_map(LIMITED_NAMESPACE)).await?;
    let limits_of_pods = json!([{"type": "Container", "default": {"cpu": "77m"}}]);
    let object = json!({"metadata": {"name": "pair"}, "spec": {"limits": limits_of_pods}});
    side.api.create(&in_namespace(LIMITED_NAMESPACE, "limitranges"), &object).await?;
    wait_for("the limits are in force", async || Ok(limits(side).await?["cpu"] == "77m")).await?;
    Ok(Planted::default())
}

async fn are_limits_in_force(side: &Side, _: &Former) -> anyhow::Result<Option<String>> {
    side.api.create(NAMESPACES, &config_map(LIMITED_NAMESPACE)).await?;
    let found = limits(side).await?;
    Ok((!found.is_null()).then(|| format!("a pod has limits {found}")))
}

async fn default_priority(side: &Side) -> anyhow::Result<Value> {
    Ok(side.api.create(PODS, &pod(&json!({}))).await?["spec"]["priority"].clone())
}

async fn set_default_priority(side: &Side) -> anyhow::Result<Planted> {
    let class = json!({"metadata": {"name": "pair-default"}, "value": PRIORITY, "globalDefault": true});
    side.api.create("/apis/scheduling.k8s.io/v1/priorityclasses", &class).await?;
    wait_for("the default is in force", async || Ok(default_priority(side).await? == PRIORITY)).await?;
    Ok(Planted::default())
}

async fn is_default_priority(side: &Side, _: &Former) -> anyhow::Result<Option<String>> {
    let priority = default_priority(side).await?;
    Ok((priority != 0).then(|| format!("a pod has priority {priority}")))
}

async fn make_priority_class(side: &Side) -> anyhow::Result<Planted> {
    let class = json!({"metadata": {"name": "pair-named"}, "value": 1});
    side.api.create("/apis/scheduling.k8s.io/v1/priorityclasses", &class).await?;
    let object = pod(&json!({"priorityClassName": "pair-named"}));
    wait_for("the class is known", async || Ok(side.api.post(PODS, &object).await?.is_success())).await?;
    Ok(Planted::default())
}

async fn is_priority_class_known(side: &Side, _: &Former) -> anyhow::Result<Option<String>> {
    let answer = side.api.post(PODS, &pod(&json!({"priorityClassName": "pair-named"}))).await?;
    Ok(answer.is_success().then(|| "a pod could name the class".to_owned()))
}

async fn claim(side: &Side) -> anyhow::Result<Value> {
    let resources = json!({"requests": {"storage": "1Gi"}});
    let spec = json!({"accessModes": ["ReadWriteOnce"], "resources": resources});
    Ok(side.api.create(CLAIMS, &json!({"metadata": {"name": "probe"}, "spec": spec})).await?["spec"].clone())
}

async fn set_default_storage_class(side: &Side) -> anyhow::Result<Planted> {
    let annotations = json!({"storageclass.kubernetes.io/is-default-class": "true"});
    let class =
        json!({"metadata": {"name": "pair", "annotations": annotations}, "provisioner": "pairs.kina.test/none"});
    side.api.create("/apis/storage.k8s.io/v1/storageclasses", &class).await?;
    wait_for("the default is in force", async || Ok(claim(side).await?["storageClassName"] == "pair")).await?;
    Ok(Planted::default())
}

async fn is_default_storage_class(side: &Side, _: &Former) -> anyhow::Result<Option<String>> {
    let class = claim(side).await?["storageClassName"].clone();
    Ok((!class.is_null()).then(|| format!("a claim has the class {class}")))
}

async fn ingress(side: &Side) -> anyhow::Result<Value> {
    let backend = json!({"service": {"name": "kubernetes", "port": {"number": 443}}});
    let object = json!({"metadata": {"name": "probe"}, "spec": {"defaultBackend": backend}});
    Ok(side.api.create(INGRESSES, &object).await?["spec"].clone())
}

async fn set_default_ingress_class(side: &Side) -> anyhow::Result<Planted> {
    let annotations = json!({"ingressclass.kubernetes.io/is-default-class": "true"});
    let metadata = json!({"name": "pair", "annotations": annotations});
    let class = json!({"metadata": metadata, "spec": {"controller": "pairs.kina.test/none"}});
    side.api.create("/apis/networking.k8s.io/v1/ingressclasses", &class).await?;
    wait_for("the default is in force", async || Ok(ingress(side).await?["ingressClassName"] == "pair")).await?;
    Ok(Planted::default())
}

async fn is_default_ingress_class(side: &Side, _: &Former) -> anyhow::Result<Option<String>> {
    let class = ingress(side).await?["ingressClassName"].clone();
    Ok((!class.is_null()).then(|| format!("an Ingress has the class {class}")))
}

async fn make_runtime_class(side: &Side) -> anyhow::Result<Planted> {
    let overhead = json!({"podFixed": {"memory": "77Mi"}});
    let class = json!({"metadata": {"name": "pair"}, "handler": "pair", "overhead": overhead});
    side.api.create("/apis/node.k8s.io/v1/runtimeclasses", &class).await?;
    let object = pod(&json!({"runtimeClassName": "pair"}));
    let has_overhead = |answer: &Value| answer["spec"]["overhead"]["memory"] == "77Mi";
    wait_for("the class is known", async || {
        let answer = side.api.post(PODS, &object).await?;
        if answer.is_success() && !has_overhead(&answer.json()) {
            bail!("a pod has not got the overhead");
        }
        Ok(answer.is_success())
    })
    .await?;
    Ok(Planted::default())
}

async fn is_runtime_class_known(side: &Side, _: &Former) -> anyhow::Result<Option<String>> {
    let answer = side.api.post(PODS, &pod(&json!({"runtimeClassName": "pair"}))).await?;
    Ok(answer.is_success().then(|| "a pod could name the class".to_owned()))
}
