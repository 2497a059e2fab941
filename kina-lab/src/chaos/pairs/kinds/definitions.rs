//! CRDs and custom resources.

use anyhow::bail;
use http::Method;
use serde_json::{Value, json};

use super::super::api::{Api, wait_for};
use super::super::kind::{Former, Kind, Planted, Side};

const DEFINITIONS: &str = "/apis/apiextensions.k8s.io/v1/customresourcedefinitions";
const AGGREGATED_DISCOVERY: &str = "application/json;g=apidiscovery.k8s.io;v=v2;as=APIGroupDiscoveryList";
/// Established for longer than the API server holds back the first instances.
const LONG_AGO: &str = "2020-01-01T00:00:00Z";
const FINALIZED_COUNT: usize = 60;
const AGAIN_COUNT: usize = 20;

pub(super) static KINDS: [Kind; 6] = [
    Kind::own(
        "definition",
        "the paths that a CRD serves",
        |side| Box::pin(define(side, "served", &["v1"])),
        |side, former| Box::pin(is_served(side, former, "served", "v1")),
    ),
    Kind::own(
        "definition-version",
        "a version that was added to a CRD",
        |side| Box::pin(add_version(side)),
        |side, former| Box::pin(is_served(side, former, "versioned", "v2")),
    ),
    Kind::own(
        "discovery",
        "the group of a CRD in discovery, aggregated and not",
        |side| Box::pin(define_in_discovery(side)),
        |side, former| Box::pin(is_in_discovery(side, former)),
    ),
    Kind::own(
        "definition-schema",
        "the schema of a CRD that B defines otherwise",
        |side| Box::pin(define_strictly(side)),
        |side, former| Box::pin(is_schema_kept(side, former)),
    )
    .look_writes(),
    Kind::own(
        "custom-resource",
        "an instance of a CRD that B defines again",
        |side| Box::pin(make_instance(side)),
        |side, former| Box::pin(is_instance_there(side, former)),
    )
    .look_writes(),
    Kind::own(
        "definition-finalizer",
        "instances that the API server goes on deleting once their CRD is deleted",
        |side| Box::pin(delete_definition(side)),
        |side, former| Box::pin(make_again(side, former)),
    )
    .looked_late(|side, former| Box::pin(is_any_deleted(side, former)))
    .look_writes()
    .shown_without(&["lingering"]),
];

fn group(name: &str) -> String {
    format!("{name}.pairs.kina.test")
}

fn any_schema() -> Value {
    json!({"type": "object", "x-kubernetes-preserve-unknown-fields": true})
}

fn definition(name: &str, versions: &[&str], schema: &Value) -> Value {
    let group = group(name);
    let versions: Vec<_> = versions
        .iter()
        .enumerate()
        .map(|(number, version)| {
            json!({"name": version, "served": true, "storage": number == 0, "schema": {"openAPIV3Schema": schema}})
        })
        .collect();
    json!({
        "metadata": {"name": format!("things.{group}")},
        "spec": {
            "group": group,
            "scope": "Cluster",
            "names": {"plural": "things", "singular": "thing", "kind": "Thing", "listKind": "ThingList"},
            "versions": versions,
        },
    })
}

fn things(name: &str, version: &str) -> String {
    format!("/apis/{}/{version}/things", group(name))
}

fn path_of(name: &str) -> String {
    format!("{DEFINITIONS}/things.{}", group(name))
}

async fn wait_served(api: &Api, path: &str) -> anyhow::Result<()> {
    wait_for(path, async || Ok(api.get(path).await?.is_success())).await
}

async fn define(side: &Side, name: &str, versions: &[&str]) -> anyhow::Result<Planted> {
    side.api.create(DEFINITIONS, &definition(name, versions, &any_schema())).await?;
    wait_served(&side.api, &things(name, versions.last().copied().unwrap_or("v1"))).await?;
    Ok(Planted::default())
}

/// Defines it so that instances can be made at once.
async fn define_for_instances(side: &Side, name: &str, schema: &Value) -> anyhow::Result<()> {
    side.api.create(DEFINITIONS, &definition(name, &["v1"], schema)).await?;
    let is_established = |object: &Value| {
        let conditions = object["status"]["conditions"].as_array().cloned().unwrap_or_default();
        conditions.iter().any(|condition| condition["type"] == "Established" && condition["status"] == "True")
    };
    let path = path_of(name);
    wait_for("the CRD is established", async || Ok(is_established(&side.api.read(&path).await?))).await?;
    wait_for("an older time is written", async || {
        let mut object = side.api.read(&path).await?;
        for condition in object["status"]["conditions"].as_array_mut().into_iter().flatten() {
            condition["lastTransitionTime"] = LONG_AGO.into();
        }
        Ok(side.api.put(&format!("{path}/status"), &object).await?.status != 409)
    })
    .await?;
    wait_served(&side.api, &things(name, "v1")).await
}

async fn is_served(side: &Side, _: &Former, name: &str, version: &str) -> anyhow::Result<Option<String>> {
    let path = things(name, version);
    let answer = side.api.get(&path).await?;
    match answer.status {
        404 => Ok(None),
        200 => Ok(Some(format!("{path} is served"))),
        status => bail!("{path} was answered by {status}: {}", answer.text().trim()),
    }
}

async fn add_version(side: &Side) -> anyhow::Result<Planted> {
    define(side, "versioned", &["v1"]).await?;
    let both = definition("versioned", &["v1", "v2"], &any_schema());
    side.api.merge(&path_of("versioned"), &json!({"spec": {"versions": both["spec"]["versions"]}})).await?;
    wait_served(&side.api, &things("versioned", "v2")).await?;
    Ok(Planted::default())
}

async fn in_discovery(side: &Side) -> anyhow::Result<Option<String>> {
    let group = group("discovered");
    for accept in [AGGREGATED_DISCOVERY, "application/json"] {
        let answer = side.api.send(Method::GET, "/apis", &[("accept", accept)], None).await?;
        answer.expect_done("GET /apis")?;
        if answer.text().contains(&group) {
            return Ok(Some(format!("{group} in /apis as {accept}")));
        }
    }
    let answer = side.api.get(&format!("/apis/{group}")).await?;
    Ok(answer.is_success().then(|| format!("/apis/{group}")))
}

async fn define_in_discovery(side: &Side) -> anyhow::Result<Planted> {
    define(side, "discovered", &["v1"]).await?;
    wait_for("the group is in discovery", async || Ok(in_discovery(side).await?.is_some())).await?;
    Ok(Planted::default())
}

async fn is_in_discovery(side: &Side, _: &Former) -> anyhow::Result<Option<String>> {
    in_discovery(side).await
}

async fn define_strictly(side: &Side) -> anyhow::Result<Planted> {
    let schema = json!({"type": "object", "properties": {"size": {"type": "integer", "maximum": 1}}});
    define_for_instances(side, "strict", &schema).await?;
    let thing = thing("strict", "probe", &json!({"size": 5}));
    let answer = side.api.post(&format!("{}?dryRun=All", things("strict", "v1")), &thing).await?;
    if answer.status != 422 {
        bail!("a size of 5 was answered by {}: {}", answer.status, answer.text().trim());
    }
    Ok(Planted::default())
}

async fn is_schema_kept(side: &Side, _: &Former) -> anyhow::Result<Option<String>> {
    define_for_instances(side, "strict", &any_schema()).await?;
    let thing = thing("strict", "probe", &json!({"size": 5, "colour": "red"}));
    let answer = side.api.post(&format!("{}?dryRun=All", things("strict", "v1")), &thing).await?;
    if answer.status == 422 {
        return Ok(Some("the schema of the lease before".to_owned()));
    }
    let made = answer.expect_done("making an instance")?;
    Ok((made["colour"] != "red").then(|| "a field was pruned".to_owned()))
}

fn thing(name: &str, instance: &str, fields: &Value) -> Value {
    let mut thing = fields.clone();
    thing["apiVersion"] = format!("{}/v1", group(name)).into();
    thing["kind"] = "Thing".into();
    thing["metadata"] = json!({"name": instance});
    thing
}

async fn make_instance(side: &Side) -> anyhow::Result<Planted> {
    define_for_instances(side, "instance", &any_schema()).await?;
    let path = things("instance", "v1");
    side.api.create(&path, &thing("instance", "pair", &json!({}))).await?;
    side.api.read(&format!("{path}/pair")).await?;
    Ok(Planted::default())
}

async fn is_instance_there(side: &Side, _: &Former) -> anyhow::Result<Option<String>> {
    side.api.create(DEFINITIONS, &definition("instance", &["v1"], &any_schema())).await?;
    let path = things("instance", "v1");
    wait_served(&side.api, &path).await?;
    for version in ["?resourceVersion=0", ""] {
        let list = side.api.read(&format!("{path}{version}")).await?;
        if list["items"].as_array().is_none_or(|items| !items.is_empty()) {
            return Ok(Some(format!("instances in {path}{version}")));
        }
    }
    Ok(None)
}

async fn make_many(side: &Side, count: usize) -> anyhow::Result<()> {
    define_for_instances(side, "finalized", &any_schema()).await?;
    let path = things("finalized", "v1");
    for number in 0..count {
        side.api.create(&path, &thing("finalized", &format!("thing-{number}"), &json!({}))).await?;
    }
    Ok(())
}

async fn delete_definition(side: &Side) -> anyhow::Result<Planted> {
    make_many(side, FINALIZED_COUNT).await?;
    let path = path_of("finalized");
    side.api.delete(&path).await?.expect_done(&path)?;
    Ok(Planted::default())
}

async fn make_again(side: &Side, _: &Former) -> anyhow::Result<Option<String>> {
    make_many(side, AGAIN_COUNT).await?;
    Ok(None)
}

async fn is_any_deleted(side: &Side, _: &Former) -> anyhow::Result<Option<String>> {
    let list = side.api.read(&things("finalized", "v1")).await?;
    let left = list["items"].as_array().map_or(0, Vec::len);
    Ok((left != AGAIN_COUNT).then(|| format!("{left} of {AGAIN_COUNT} instances are left")))
}
