//! Templates: applied once, and every lease that requests one starts from it.
#![cfg(target_os = "linux")]

use crate::common;
use crate::common::cache::empty_cache;
use crate::common::children::Realm;
use crate::common::wait_until_blocking;
use anyhow::Context;
use k8s_openapi::api::core::v1::ConfigMap;
use k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1::CustomResourceDefinition;
use kina_engine::{
    AcquireRequest, ClientError, EngineClient, FixtureOverlay, FixtureSet, FixtureSource, Lease, Status,
};
use kube::api::{Api, ApiResource, DeleteParams, DynamicObject, ListParams, PostParams};
use serde_json::json;

/// The child of the tests below. On its own, it is an ordinary test.
#[kina::test]
async fn visitor(client: kube::Client) -> anyhow::Result<()> {
    client.apiserver_version().await?;
    Ok(())
}

const WIDGETS: &str = r#"
apiVersion: apiextensions.k8s.io/v1
kind: CustomResourceDefinition
metadata:
  name: widgets.example.com
spec:
  group: example.com
  scope: Namespaced
  names: {plural: widgets, singular: widget, kind: Widget, listKind: WidgetList}
  versions:
  - name: v1
    served: true
    storage: true
    schema:
      openAPIV3Schema:
        type: object
        properties:
          spec:
            type: object
            required: [size]
            properties:
              size: {type: integer, maximum: 10}
---
apiVersion: example.com/v1
kind: Widget
metadata: {name: first, namespace: workshop}
spec: {size: 3}
---
apiVersion: v1
kind: Namespace
metadata: {name: workshop}
"#;

/// An engine of its own with one slot, and its client.
struct Scene {
    realm: Realm,
    cache: tempfile::TempDir,
    client: EngineClient,
}

impl Scene {
    fn new() -> anyhow::Result<Self> {
        let cache = empty_cache();
        let assets = common::untouched::assets()?;
        let assets = assets.kube_apiserver.parent().context("the binaries have a directory")?.to_owned();
        let realm = Realm::new()
            .with("KINA_CACHE_DIR", cache.path())
            .with("KINA_ASSETS_DIR", assets)
            .with("KINA_SLOTS_MAX", "1");
        let client = realm.client();
        realm.run_well("templates::visitor");
        Ok(Self { realm, cache, client })
    }

    async fn lease(&self, template: Option<&FixtureSet>) -> Result<Lease, ClientError> {
        let name = template.map(FixtureSet::hash);
        let assets_directory =
            common::untouched::assets().expect("found before").kube_apiserver.parent().map(Into::into);
        let request = AcquireRequest {
            test: "templates".to_owned(),
            timeout_ms: 60_000,
            assets_directory,
            template: name,
            ..AcquireRequest::default()
        };
        self.client.acquire_from(request, &template.cloned().unwrap_or_default(), &|_| {}).await
    }

    fn status(&self) -> Status {
        self.realm.status_of_running()
    }
}

fn set(sources: &[(&str, &str)]) -> FixtureSet {
    let source = |(name, text): &(&str, &str)| FixtureSource { name: (*name).to_owned(), text: (*text).to_owned() };
    let sources = sources.iter().map(source).collect();
    FixtureSet { overlays: vec![FixtureOverlay { name: "test".to_owned(), sources }] }
}

fn settings(value: &str) -> FixtureSet {
    let text = format!("apiVersion: v1\nkind: ConfigMap\nmetadata: {{name: settings}}\ndata: {{value: {value}}}\n");
    set(&[("settings.yaml", &text)])
}

fn kube_client(lease: &Lease) -> anyhow::Result<kube::Client> {
    Ok(kube::Client::try_from(kina::__private::config_of_lease(&lease.grant)?)?)
}

fn widgets(client: &kube::Client) -> Api<DynamicObject> {
    let resource = ApiResource {
        group: "example.com".to_owned(),
        version: "v1".to_owned(),
        api_version: "example.com/v1".to_owned(),
        kind: "Widget".to_owned(),
        plural: "widgets".to_owned(),
    };
    Api::namespaced_with(client.clone(), "workshop", &resource)
}

fn widget(name: &str, size: u32) -> DynamicObject {
    let widget = json!({
        "apiVersion": "example.com/v1", "kind": "Widget", "metadata": {"name": name}, "spec": {"size": size},
    });
    serde_json::from_value(widget).expect("a widget")
}

/// The state that every lease on the template of [`WIDGETS`] must find.
async fn expect_untouched_workshop(client: &kube::Client) -> anyhow::Result<()> {
    let found = widgets(client).list(&ListParams::default()).await?;
    let names: Vec<_> = found.items.iter().filter_map(|widget| widget.metadata.name.as_deref()).collect();
    anyhow::ensure!(names == ["first"], "widgets: {names:?}");
    anyhow::ensure!(found.items[0].data["spec"]["size"] == 3, "{:?}", found.items[0].data);
    // The schema is the template's, even if an earlier lease has changed it.
    let refused = widgets(client).create(&PostParams::default(), &widget("large", 11)).await;
    anyhow::ensure!(matches!(&refused, Err(kube::Error::Api(status)) if status.code == 422), "{refused:?}");
    widgets(client).create(&PostParams::default(), &widget("small", 10)).await?;
    let config_maps: Api<ConfigMap> = Api::default_namespaced(client.clone());
    anyhow::ensure!(config_maps.get_opt("left-behind").await?.is_none(), "a ConfigMap was left behind");
    Ok(())
}

async fn leave_behind(client: &kube::Client) -> anyhow::Result<()> {
    let mut config_map = ConfigMap::default();
    config_map.metadata.name = Some("left-behind".to_owned());
    Api::<ConfigMap>::default_namespaced(client.clone()).create(&PostParams::default(), &config_map).await?;
    Ok(())
}

#[tokio::test]
async fn every_lease_starts_from_the_template_regardless_of_the_one_before() -> anyhow::Result<()> {
    let scene = Scene::new()?;
    let template = set(&[("widgets.yaml", WIDGETS)]);
    for round in 0..6 {
        let lease = scene.lease(Some(&template)).await?;
        let client = kube_client(&lease)?;
        expect_untouched_workshop(&client).await.with_context(|| format!("round {round}"))?;
        leave_behind(&client).await?;
        let crds: Api<CustomResourceDefinition> = Api::all(client.clone());
        match round % 3 {
            0 => drop(widgets(&client).delete("first", &DeleteParams::default()).await?),
            1 => {
                let mut crd = crds.get("widgets.example.com").await?;
                let schema = crd.spec.versions[0].schema.as_mut().and_then(|schema| schema.open_api_v3_schema.as_mut());
                let properties =
                    schema.and_then(|schema| schema.properties.as_mut()?.get_mut("spec")?.properties.as_mut());
                let size = properties.and_then(|properties| properties.get_mut("size"));
                size.context("the schema has a size")?.maximum = Some(99.0);
                crds.replace("widgets.example.com", &PostParams::default(), &crd).await?;
            }
            _ => drop(crds.delete("widgets.example.com", &DeleteParams::default()).await?),
        }
    }
    let counters = scene.status().counters;
    assert_eq!((counters.boots, counters.broken), (1, 0), "{counters:?}");
    Ok(())
}

#[tokio::test]
async fn one_slot_serves_several_templates_and_none() -> anyhow::Result<()> {
    let scene = Scene::new()?;
    let (one, two, workshop) = (settings("one"), settings("two"), set(&[("widgets.yaml", WIDGETS)]));
    for round in 0..12 {
        let template = [None, Some(&one), Some(&workshop), Some(&two)][round % 4];
        let lease = scene.lease(template).await?;
        let client = kube_client(&lease)?;
        let config_maps: Api<ConfigMap> = Api::default_namespaced(client.clone());
        let found = config_maps.get_opt("settings").await?.and_then(|found| found.data?.remove("value"));
        let expected = [None, Some("one"), None, Some("two")][round % 4];
        assert_eq!(found.as_deref(), expected, "round {round}");
        let crds: Api<CustomResourceDefinition> = Api::all(client.clone());
        assert_eq!(crds.list(&ListParams::default()).await?.items.len(), usize::from(round % 4 == 2), "round {round}");
        leave_behind(&client).await?;
    }
    let counters = scene.status().counters;
    assert_eq!((counters.boots, counters.broken), (1, 0), "{counters:?}");
    assert!(3 <= counters.hits.other_template, "{counters:?}");
    Ok(())
}

#[tokio::test]
async fn a_template_survives_its_engine() -> anyhow::Result<()> {
    let scene = Scene::new()?;
    let template = settings("kept");
    drop(scene.lease(Some(&template)).await?);
    let templates = scene.cache.path().join("templates");
    wait_until_blocking("the template is on disk", || {
        std::fs::read_dir(&templates).is_ok_and(|entries| {
            entries.flatten().any(|entry| entry.path().extension().is_some_and(|extension| extension == "template"))
        })
    });
    scene.realm.stop();
    scene.realm.run_well("templates::visitor");
    // If the engine requested the content, it would get a different one, and refuse.
    let assets_directory = common::untouched::assets()?.kube_apiserver.parent().map(Into::into);
    let request = AcquireRequest {
        timeout_ms: 60_000,
        assets_directory,
        template: Some(template.hash()),
        ..AcquireRequest::default()
    };
    let lease = scene.client.acquire_from(request, &FixtureSet::default(), &|_| {}).await?;
    let config_maps: Api<ConfigMap> = Api::default_namespaced(kube_client(&lease)?);
    assert_eq!(config_maps.get("settings").await?.data.unwrap_or_default()["value"], "kept");
    Ok(())
}

#[tokio::test]
async fn many_clients_of_the_same_template_have_it_made_once() -> anyhow::Result<()> {
    let scene = Scene::new()?;
    let template = settings("shared");
    let look = async |_| -> anyhow::Result<()> {
        let lease = scene.lease(Some(&template)).await?;
        let config_maps: Api<ConfigMap> = Api::default_namespaced(kube_client(&lease)?);
        assert_eq!(config_maps.get("settings").await?.data.unwrap_or_default()["value"], "shared");
        Ok(())
    };
    futures::future::try_join_all((0..8).map(look)).await?;
    let counters = scene.status().counters;
    // The visitor's lease, the one in which the template was made, and the clients' own.
    assert_eq!((counters.boots, counters.leases), (1, 1 + 1 + 8), "{counters:?}");
    Ok(())
}

#[tokio::test]
async fn a_template_that_cannot_be_applied_is_refused_and_costs_no_cluster() -> anyhow::Result<()> {
    let scene = Scene::new()?;
    let broken = set(&[("broken.yaml", "apiVersion: example.com/v1\nkind: Widget\nmetadata: {name: alone}\n")]);
    for _ in 0..2 {
        let Err(error) = scene.lease(Some(&broken)).await else { panic!("not refused") };
        assert!(error.is_user_error(), "{error}");
        let text = kina_engine::with_causes(&error);
        for words in ["broken.yaml", "Widget"] {
            assert!(text.contains(words), "no `{words}` in: {text}");
        }
    }
    drop(scene.lease(None).await?);
    let counters = scene.status().counters;
    assert_eq!((counters.boots, counters.broken), (1, 0), "{counters:?}");
    Ok(())
}
