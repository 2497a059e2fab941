//! The CRDs of an operator as large as well-known ones, as a template.
#![cfg(target_os = "linux")]

#[path = "../../kina-lab/src/bench/fixtures/large_operator.rs"]
mod definitions;

use crate::common;
use crate::common::cache::empty_cache;
use crate::common::children::{Realm, text_of};
use definitions::{GROUP, KINDS, VERSIONS, documents, kind, plural};
use k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1::CustomResourceDefinition;
use kube::api::{Api, ApiResource, DeleteParams, DynamicObject, ListParams, Patch, PatchParams, PostParams};
use kube::core::GroupVersionKind;
use serde_json::json;

fn operator() -> kina::Template {
    kina::Template::new().yaml("the operator", text())
}

fn text() -> String {
    documents().join("\n---\n")
}

fn objects(client: &kube::Client, number: usize, version: &str) -> Api<DynamicObject> {
    let kind = GroupVersionKind::gvk(GROUP, version, &kind(number));
    Api::default_namespaced_with(client.clone(), &ApiResource::from_gvk_with_plural(&kind, &plural(number)))
}

fn object(number: usize, spec: serde_json::Value) -> DynamicObject {
    let kind = GroupVersionKind::gvk(GROUP, VERSIONS[2], &kind(number));
    DynamicObject::new("one", &ApiResource::from_gvk(&kind)).data(json!({ "spec": spec }))
}

/// The child of the test below.
#[ignore = "a child: on its own it would install a hundred kinds once more"]
#[kina::test(template = operator, timeout = "100s")]
async fn visitor(client: kube::Client) -> anyhow::Result<()> {
    let definitions: Api<CustomResourceDefinition> = Api::all(client.clone());
    assert_eq!(definitions.list(&ListParams::default()).await?.items.len(), KINDS);
    for number in (0..KINDS).step_by(7) {
        let stored = objects(&client, number, VERSIONS[2]);
        assert!(stored.list(&ListParams::default()).await?.items.is_empty(), "objects of another lease are left");
        stored.create(&PostParams::default(), &object(number, json!({"minimum": 1, "maximum": 2}))).await?;
    }
    // A kind with the conversion strategy `None` is served in each version.
    for version in VERSIONS {
        let read = objects(&client, 0, version).get("one").await?;
        assert_eq!(read.types.map(|types| types.api_version), Some(format!("{GROUP}/{version}")));
    }
    // Its rules are enforced, including those that compare with the old object.
    let refused = objects(&client, 1, VERSIONS[2])
        .create(&PostParams::default(), &object(1, json!({"minimum": 3, "maximum": 2})))
        .await
        .expect_err("against the rules");
    assert!(refused.to_string().contains("minimum must not be above maximum"), "{refused}");
    let taken_away = Patch::Merge(json!({"spec": {"minimum": null}}));
    let refused = objects(&client, 7, VERSIONS[2]).patch("one", &PatchParams::default(), &taken_away).await;
    assert!(refused.expect_err("against the rules").to_string().contains("minimum cannot be taken away"));
    // One kind is deleted with its objects, another is changed.
    definitions.delete(&format!("{}.{GROUP}", plural(0)), &DeleteParams::default()).await?;
    let label = Patch::Merge(json!({"metadata": {"labels": {"touched": "yes"}}}));
    definitions.patch(&format!("{}.{GROUP}", plural(50)), &PatchParams::default(), &label).await?;
    Ok(())
}

#[kina::test(timeout = "100s")]
async fn a_server_accepts_it_without_a_warning(cluster: kina::Cluster) -> anyhow::Result<()> {
    let report = cluster.apply_fixtures(text().as_str()).await?;
    assert_eq!(report.applied, KINDS);
    assert!(report.warnings.is_empty(), "{:?}", report.warnings);
    Ok(())
}

#[test]
fn a_hundred_kinds_are_a_template_like_any_other() {
    let bytes: usize = documents().iter().map(String::len).sum();
    assert!(1_000_000 < bytes, "{bytes} bytes");
    let cache = empty_cache();
    let assets = common::untouched::assets().expect("the binaries are there");
    let realm = Realm::new()
        .with("KINA_SLOTS_MAX", "1")
        .with("KINA_CACHE_DIR", cache.path())
        .with("KINA_ASSETS_DIR", assets.kube_apiserver.parent().expect("a directory"));
    for _ in 0..common::repetitions(3, 2) {
        let output = realm.run("large_operator::visitor");
        assert!(output.status.success(), "{}", text_of(&output));
        let said = String::from_utf8_lossy(&output.stderr).to_lowercase();
        assert!(!said.contains("warn"), "{said}");
    }
    let status = realm.status_of_running();
    assert_eq!((status.counters.boots, status.counters.broken), (1, 0), "{:?}", status.counters);
    println!("{status:#?}");
}
