//! Rules of a template, which have to be in force with B's first request.

use anyhow::bail;
use kina_engine::{FixtureOverlay, FixtureSet, FixtureSource};
use serde_json::{Value, json};

use super::super::intruder;
use super::super::kind::{Former, Kind, Planted, Side, Start};

const CONFIG_MAPS: &str = "/api/v1/namespaces/default/configmaps?dryRun=All";
const PODS: &str = "/api/v1/namespaces/default/pods?dryRun=All";
const CLAIMS: &str = "/api/v1/namespaces/default/persistentvolumeclaims?dryRun=All";
const SECRETS: &str = "/api/v1/namespaces/default/secrets?limit=1";
const STRANGER: &str = "pair-template-stranger";
/// As many and as large as those of a well-known operator: the API server takes a second for them.
const DEFINITION_COUNT: usize = 11;
const FIELD_COUNT: usize = 300;
const FIRST_DEFINITION: &str = "/registry/apiextensions.k8s.io/customresourcedefinitions/large0s.large.pairs.kina.test";
const PRIORITY: i64 = 78;

pub(super) static KINDS: [Kind; 4] = [
    Kind::own(
        "template-policy",
        "a write that A may do, and that the policy of B's new template forbids",
        |side| Box::pin(write_forbidden(side)),
        |side, former| Box::pin(is_let_through(side, former)),
    )
    .restarting()
    .starting(Start::NewTemplate(with_policies))
    .shown_without(&["in-force"]),
    Kind::own(
        "template-defaults",
        "defaults that A has not, and that B's new template sets",
        |side| Box::pin(expect_no_defaults(side)),
        |side, former| Box::pin(is_default_missing(side, former)),
    )
    .restarting()
    .starting(Start::NewTemplate(with_defaults))
    .shown_without(&["in-force"]),
    Kind::own(
        "intruded-template",
        "a key that something else stores while B's new template is made",
        |side| Box::pin(expect_no_intruder(side)),
        |side, former| Box::pin(is_intruder_there(side, former)),
    )
    .restarting()
    .starting(Start::IntrudedTemplate(with_policies, FIRST_DEFINITION))
    .shown_without(&["template-keys"]),
    Kind::own(
        "template-rights",
        "a right that A has not, and that B's new template gives",
        |side| Box::pin(expect_no_right(side)),
        |side, former| Box::pin(is_right_missing(side, former)),
    )
    .restarting()
    .starting(Start::NewTemplate(with_rights))
    .shown_without(&["in-force"]),
];

fn set(number: u64, objects: Vec<Value>) -> FixtureSet {
    let mut marker = json!({"apiVersion": "v1", "kind": "ConfigMap"});
    marker["metadata"] = json!({"name": "pair-template", "namespace": "default"});
    marker["data"] = json!({"number": number.to_string()});
    let sources = objects.into_iter().chain([marker]).enumerate();
    let source =
        |(index, object): (usize, Value)| FixtureSource { name: format!("{index}.yaml"), text: object.to_string() };
    FixtureSet { overlays: vec![FixtureOverlay { name: "pairs".to_owned(), sources: sources.map(source).collect() }] }
}

fn admission(kind: &str, spec: Value) -> Value {
    let mut object = json!({"apiVersion": "admissionregistration.k8s.io/v1", "kind": kind});
    object["metadata"] = json!({"name": "pair-template"});
    object["spec"] = spec;
    object
}

fn large_definition(number: usize) -> Value {
    let field = |index: usize| {
        let about = format!("The field of number {index}. {}", "It is described at length. ".repeat(9));
        (format!("field{index}"), json!({"type": "string", "description": about, "maxLength": 253}))
    };
    let properties: serde_json::Map<String, Value> = (0..FIELD_COUNT).map(field).collect();
    let schema = json!({"openAPIV3Schema": {"type": "object", "properties": properties}});
    let plural = format!("large{number}s");
    json!({
        "apiVersion": "apiextensions.k8s.io/v1",
        "kind": "CustomResourceDefinition",
        "metadata": {"name": format!("{plural}.large.pairs.kina.test")},
        "spec": {
            "group": "large.pairs.kina.test",
            "scope": "Namespaced",
            "names": {"plural": plural, "singular": format!("large{number}"), "kind": format!("Large{number}")},
            "versions": [{"name": "v1", "served": true, "storage": true, "schema": schema}],
        },
    })
}

fn with_policies(number: u64) -> FixtureSet {
    let rule = json!({"apiGroups": [""], "apiVersions": ["v1"], "operations": ["CREATE"], "resources": ["configmaps"]});
    let constraints = json!({"resourceRules": [rule]});
    let forbidden = json!({"expression": "!object.metadata.name.startsWith('pair-template-forbidden')"});
    let own = json!({"name": "own", "expression": "object.metadata.name.startsWith('pair-template-changed')"});
    let mutation = "Object{metadata: Object.metadata{labels: {\"pair\": \"template\"}}}";
    let mut objects: Vec<_> = (0..DEFINITION_COUNT).map(large_definition).collect();
    objects.extend([
        admission(
            "ValidatingAdmissionPolicy",
            json!({"failurePolicy": "Fail", "matchConstraints": constraints, "validations": [forbidden]}),
        ),
        admission(
            "ValidatingAdmissionPolicyBinding",
            json!({"policyName": "pair-template", "validationActions": ["Deny"]}),
        ),
        admission(
            "MutatingAdmissionPolicy",
            json!({
                "failurePolicy": "Fail",
                "reinvocationPolicy": "Never",
                "matchConstraints": constraints,
                "matchConditions": [own],
                "mutations": [{"patchType": "ApplyConfiguration", "applyConfiguration": {"expression": mutation}}],
            }),
        ),
        admission("MutatingAdmissionPolicyBinding", json!({"policyName": "pair-template"})),
    ]);
    set(number, objects)
}

async fn write_forbidden(side: &Side) -> anyhow::Result<Planted> {
    side.api.create(CONFIG_MAPS, &json!({"metadata": {"name": "pair-template-forbidden"}})).await?;
    Ok(Planted::default())
}

async fn is_let_through(side: &Side, _: &Former) -> anyhow::Result<Option<String>> {
    let (forbidden, changed) = (
        json!({"metadata": {"name": "pair-template-forbidden"}}),
        json!({"metadata": {"name": "pair-template-changed"}}),
    );
    let (forbidden, changed) =
        tokio::try_join!(side.api.post(CONFIG_MAPS, &forbidden), side.api.create(CONFIG_MAPS, &changed))?;
    if forbidden.is_success() {
        return Ok(Some("a write that the policy forbids".to_owned()));
    }
    let labels = &changed["metadata"]["labels"];
    Ok((labels["pair"] != "template").then(|| format!("a write that the policy should have changed: {labels}")))
}

async fn expect_no_intruder(side: &Side) -> anyhow::Result<Planted> {
    match is_intruder_stored(side).await? {
        true => bail!("there is an intruder before anything was written"),
        false => Ok(Planted::default()),
    }
}

async fn is_intruder_there(side: &Side, _: &Former) -> anyhow::Result<Option<String>> {
    Ok(is_intruder_stored(side).await?.then(|| format!("{} is part of the template", intruder::NAME)))
}

async fn is_intruder_stored(side: &Side) -> anyhow::Result<bool> {
    let path = format!("/api/v1/namespaces/default/configmaps/{}", intruder::NAME);
    Ok(side.api.get(&path).await?.is_success())
}

fn with_defaults(number: u64) -> FixtureSet {
    let annotations = json!({"storageclass.kubernetes.io/is-default-class": "true"});
    set(
        number,
        vec![
            json!({
                "apiVersion": "scheduling.k8s.io/v1", "kind": "PriorityClass",
                "metadata": {"name": "pair-template"}, "value": PRIORITY, "globalDefault": true,
            }),
            json!({
                "apiVersion": "storage.k8s.io/v1", "kind": "StorageClass",
                "metadata": {"name": "pair-template", "annotations": annotations}, "provisioner": "pairs.kina.test/none",
            }),
            json!({
                "apiVersion": "v1", "kind": "LimitRange", "metadata": {"name": "pair-template", "namespace": "default"},
                "spec": {"limits": [{"type": "Container", "default": {"cpu": "78m"}}]},
            }),
        ],
    )
}

async fn defaults(side: &Side) -> anyhow::Result<[Value; 3]> {
    let pod = json!({"metadata": {"name": "probe"}, "spec": {"containers": [{"name": "a", "image": "a"}]}});
    let resources = json!({"requests": {"storage": "1Gi"}});
    let claim = json!({
        "metadata": {"name": "probe"}, "spec": {"accessModes": ["ReadWriteOnce"], "resources": resources},
    });
    let (pod, claim) = tokio::try_join!(side.api.create(PODS, &pod), side.api.create(CLAIMS, &claim))?;
    Ok([
        pod["spec"]["priority"].clone(),
        claim["spec"]["storageClassName"].clone(),
        pod["spec"]["containers"][0]["resources"]["limits"]["cpu"].clone(),
    ])
}

async fn expect_no_defaults(side: &Side) -> anyhow::Result<Planted> {
    let found = defaults(side).await?;
    if found != [json!(0), Value::Null, Value::Null] {
        bail!("there are defaults: {found:?}");
    }
    Ok(Planted::default())
}

async fn is_default_missing(side: &Side, _: &Former) -> anyhow::Result<Option<String>> {
    let found = defaults(side).await?;
    let expected = [json!(PRIORITY), json!("pair-template"), json!("78m")];
    Ok((found != expected).then(|| format!("priority, storage class and limit are {found:?}")))
}

fn with_rights(number: u64) -> FixtureSet {
    let subject = json!({"kind": "User", "name": STRANGER, "apiGroup": "rbac.authorization.k8s.io"});
    let role = json!({"kind": "ClusterRole", "name": "pair-template", "apiGroup": "rbac.authorization.k8s.io"});
    set(
        number,
        vec![
            json!({
                "apiVersion": "rbac.authorization.k8s.io/v1", "kind": "ClusterRole",
                "metadata": {"name": "pair-template"},
                "rules": [{"apiGroups": [""], "resources": ["secrets"], "verbs": ["list"]}],
            }),
            json!({
                "apiVersion": "rbac.authorization.k8s.io/v1", "kind": "ClusterRoleBinding",
                "metadata": {"name": "pair-template"}, "subjects": [subject], "roleRef": role,
            }),
        ],
    )
}

async fn expect_no_right(side: &Side) -> anyhow::Result<Planted> {
    let answer = side.api.get_as(STRANGER, SECRETS).await?;
    if answer.status != 403 {
        bail!("a list of Secrets was answered by {}", answer.status);
    }
    Ok(Planted::default())
}

async fn is_right_missing(side: &Side, _: &Former) -> anyhow::Result<Option<String>> {
    let answer = side.api.get_as(STRANGER, SECRETS).await?;
    Ok((!answer.is_success()).then(|| format!("a list of Secrets was answered by {}", answer.status)))
}
