//! Leases that start from a template, and checks of their content.

use anyhow::Context;
use kina_engine::{FixtureOverlay, FixtureSet, FixtureSource};
use serde_json::Value;

use super::canary::{Api, Sighting};

const MARKER: &str = "template-marker";
const GROUP: &str = "template.kina.test";

/// The content of the template of this number.
pub(super) fn content(number: u64) -> FixtureSet {
    let marker = format!(
        "apiVersion: v1\nkind: ConfigMap\nmetadata: {{name: {MARKER}, namespace: default}}\ndata: {{template: \"{number}\"}}\n"
    );
    let mut texts = vec![("marker.yaml", marker)];
    if number.is_multiple_of(2) {
        // A kind of its own, with a different definition in each.
        let definition = format!(
            "apiVersion: apiextensions.k8s.io/v1\nkind: CustomResourceDefinition\nmetadata: {{name: things.{GROUP}}}\n\
             spec:\n  group: {GROUP}\n  scope: Cluster\n  names: {{plural: things, singular: thing, kind: Thing}}\n  \
             versions:\n  - name: v1\n    served: true\n    storage: true\n    schema:\n      openAPIV3Schema:\n        \
             type: object\n        properties: {{size: {{type: integer, maximum: {number}}}}}\n"
        );
        texts.push(("definition.yaml", definition));
        texts
            .push(("thing.yaml", format!("apiVersion: {GROUP}/v1\nkind: Thing\nmetadata: {{name: thing}}\nsize: 1\n")));
    }
    let sources = texts.into_iter().map(|(name, text)| FixtureSource { name: name.to_owned(), text }).collect();
    FixtureSet { overlays: vec![FixtureOverlay { name: "chaos".to_owned(), sources }] }
}

/// Returns the deviations from a cluster that starts from this template and from no other.
pub(super) async fn look(api: &Api, number: Option<u64>) -> anyhow::Result<Vec<Sighting>> {
    let mut sightings = Vec::new();
    let mut complain = |what: String| sightings.push(Sighting { what, is_late: false, persists: false });
    let list = api.get("/api/v1/namespaces/default/configmaps").await?;
    let config_maps = list["items"].as_array().context("a list of ConfigMaps")?;
    let marker = config_maps.iter().find(|object| object["metadata"]["name"] == MARKER);
    let found = marker.and_then(|marker| marker["data"]["template"].as_str()).map(str::to_owned);
    if found != number.map(|number| number.to_string()) {
        complain(format!("template {found:?} instead of {number:?}"));
    }
    let groups = api.get("/apis").await?;
    let is_group = |group: &Value| group["name"] == GROUP;
    let is_served = groups["groups"].as_array().context("a list of groups")?.iter().any(is_group);
    if is_served != number.is_some_and(|number| number.is_multiple_of(2)) {
        complain(format!("group {GROUP} of another template"));
    } else if is_served {
        let things = api.get(&format!("/apis/{GROUP}/v1/things")).await?;
        if things["items"].as_array().is_none_or(|things| things.len() != 1) {
            complain(format!("other objects than the template's: {}", things["items"]));
        }
    }
    Ok(sightings)
}
