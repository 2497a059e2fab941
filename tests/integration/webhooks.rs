//! Webhooks that tests answer themselves.

use std::time::Duration;

use crate::common;
use crate::common::children::Realm;
use crate::common::server::Server;
use anyhow::{Context, ensure};
use k8s_openapi::api::admissionregistration::v1::{
    MutatingWebhookConfiguration, RuleWithOperations, ValidatingWebhookConfiguration,
};
use k8s_openapi::api::core::v1::ConfigMap;
use kina::webhook::{Webhook, WebhookError};
use kube::api::{Api, DeleteParams, DynamicObject, ObjectMeta, PostParams};
use kube::core::admission::{AdmissionRequest, AdmissionResponse, Operation};
use kube::core::conversion::{ConversionRequest, ConversionResponse};
use serde_json::{Value, json};

const NAME: &str = "names.example.com";
const DEFINITIONS: &str = "/apis/apiextensions.k8s.io/v1/customresourcedefinitions";
const WIDGETS: &str = "widgets.webhooks.example.com";
/// Set for the tests below that run as children in a realm.
const IN_REALM: &str = "KINA_TEST_WEBHOOKS_REALM";

fn config_map(name: &str) -> ConfigMap {
    ConfigMap { metadata: ObjectMeta { name: Some(name.to_owned()), ..ObjectMeta::default() }, ..ConfigMap::default() }
}

async fn create(client: &kube::Client, name: &str) -> Result<ConfigMap, kube::Error> {
    let config_maps: Api<ConfigMap> = Api::default_namespaced(client.clone());
    config_maps.create(&PostParams::default(), &config_map(name)).await
}

/// The reason that it was not created.
async fn refusal(client: &kube::Client, name: &str) -> anyhow::Result<String> {
    Ok(create(client, name).await.err().context("it was created")?.to_string())
}

async fn deny_all(cluster: &kina::Cluster) -> Result<Webhook, WebhookError> {
    let webhook = cluster.webhook().validating(NAME).on::<ConfigMap>([Operation::Create]);
    let handler = |request: AdmissionRequest<ConfigMap>| async move {
        AdmissionResponse::from(&request).deny(format!("{} is not wanted", request.name))
    };
    webhook.start(handler).await
}

async fn configurations(client: &kube::Client) -> anyhow::Result<usize> {
    let validating: Api<ValidatingWebhookConfiguration> = Api::all(client.clone());
    let mutating: Api<MutatingWebhookConfiguration> = Api::all(client.clone());
    Ok(validating.list(&Default::default()).await?.items.len() + mutating.list(&Default::default()).await?.items.len())
}

#[kina::test]
async fn the_first_write_after_the_start_is_reviewed(cluster: kina::Cluster) -> anyhow::Result<()> {
    let client = cluster.client();
    // Repeated, since a race is not lost each time.
    for round in 0..5 {
        let webhook = deny_all(&cluster).await?;
        let text = refusal(&client, "first").await?;
        ensure!(text.contains("first is not wanted"), "{text}");
        ensure!(webhook.request_count() == 1, "{:?}", webhook.requests());
        ensure!(configurations(&client).await? == 1, "only the test's own webhook is registered");
        webhook.stop().await?;
        create(&client, &format!("after-{round}")).await.context("the stopped webhook is still called")?;
        ensure!(configurations(&client).await? == 0);
    }
    Ok(())
}

#[kina::test]
async fn a_mutating_webhook_changes_written_objects(cluster: kina::Cluster) -> anyhow::Result<()> {
    let webhook = cluster
        .webhook()
        .mutating("labels.example.com")
        .on::<ConfigMap>([Operation::Create, Operation::Update])
        .field("reinvocationPolicy", "IfNeeded")
        .start(|request: AdmissionRequest<ConfigMap>| async move {
            let patch = json!([{"op": "add", "path": "/metadata/labels", "value": {"seen": "true"}}]);
            anyhow::Ok(AdmissionResponse::from(&request).with_patch(serde_json::from_value(patch)?)?)
        })
        .await?;
    let created = create(&cluster.client(), "labelled").await?;
    ensure!(created.metadata.labels.context("labels")?["seen"] == "true");
    let requests = webhook.requests();
    ensure!(requests.len() == 1 && requests[0].succeeded(), "{requests:?}");
    ensure!(requests[0].request["name"] == "labelled", "{requests:?}");
    webhook.stop().await?;
    Ok(())
}

#[kina::test]
async fn any_type_and_any_rule_can_be_reviewed(cluster: kina::Cluster) -> anyhow::Result<()> {
    let rule = RuleWithOperations {
        api_groups: Some(vec!["*".to_owned()]),
        api_versions: Some(vec!["*".to_owned()]),
        resources: Some(vec!["*/*".to_owned()]),
        operations: Some(vec!["DELETE".to_owned()]),
        scope: None,
    };
    let webhook = cluster
        .webhook()
        .validating(NAME)
        .rule(rule)
        .start(|request: AdmissionRequest<DynamicObject>| async move {
            let name = request.old_object.as_ref().and_then(|object| object.metadata.name.clone());
            AdmissionResponse::from(&request).deny(format!("{} stays", name.unwrap_or_default()))
        })
        .await?;
    create(&cluster.client(), "kept").await?;
    let config_maps: Api<ConfigMap> = Api::default_namespaced(cluster.client());
    let error = config_maps.delete("kept", &DeleteParams::default()).await.err().context("deleted")?;
    ensure!(error.to_string().contains("kept stays"), "{error}");
    // A webhook that denies every deletion does not block its own.
    webhook.stop().await?;
    config_maps.delete("kept", &DeleteParams::default()).await?;
    Ok(())
}

#[kina::test]
async fn a_handler_that_fails_is_a_denial_and_fails_the_test(cluster: kina::Cluster) -> anyhow::Result<()> {
    let webhook = cluster
        .webhook()
        .validating(NAME)
        .on::<ConfigMap>([Operation::Create])
        .timeout(Duration::from_secs(1))
        .start(|request: AdmissionRequest<ConfigMap>| async move {
            match request.name.as_str() {
                "panic" => panic!("on purpose"),
                "hang" => std::future::pending().await,
                _ => Err::<AdmissionResponse, _>(std::io::Error::other("no idea")),
            }
        })
        .await?;
    let client = cluster.client();
    for (name, cause) in [
        ("panic", "panicked: on purpose"),
        ("hang", "gave no answer within 1s"),
        ("error", "returned an error: no idea"),
    ] {
        let text = refusal(&client, name).await?;
        ensure!(text.contains(&format!("the handler of the webhook {NAME} {cause}")), "{text}");
    }
    let error = webhook.stop().await.err().context("failures are reported")?;
    let text = error.to_string();
    ensure!(text.contains("CREATE configmaps default/panic: panicked: on purpose"), "{text}");
    ensure!(matches!(error, WebhookError::Handler { failures, .. } if failures.len() == 3), "{text}");
    create(&client, "after").await?;
    Ok(())
}

#[kina::test]
#[should_panic(expected = "the handler of the webhook names.example.com failed")]
async fn an_unread_failure_is_a_panic(cluster: kina::Cluster) {
    let webhook = cluster
        .webhook()
        .validating(NAME)
        .on::<ConfigMap>([Operation::Create])
        .start(|_: AdmissionRequest<ConfigMap>| async { Err::<AdmissionResponse, _>(std::io::Error::other("no")) })
        .await
        .expect("it starts");
    refusal(&cluster.client(), "any").await.expect("denied");
    drop(webhook);
}

#[kina::test]
async fn registrations_that_fail_are_errors(cluster: kina::Cluster) -> anyhow::Result<()> {
    let handler = |request: AdmissionRequest<ConfigMap>| async move { AdmissionResponse::from(&request) };
    let no_rules = cluster.webhook().validating(NAME).start(handler).await;
    ensure!(matches!(no_rules, Err(WebhookError::NoRules { .. })), "{no_rules:?}");
    let named = |name| cluster.webhook().validating(name).on::<ConfigMap>([Operation::Create]);
    for timeout in [Duration::ZERO, Duration::from_secs(30)] {
        let error = named(NAME).timeout(timeout).start(handler).await;
        ensure!(matches!(error, Err(WebhookError::Timeout { .. })), "{error:?}");
    }
    let error = named("short").start(handler).await.err().context("such a name is refused")?;
    let text = kina_engine::with_causes(&error);
    ensure!(text.contains("creating ValidatingWebhookConfiguration short failed"), "{text}");
    ensure!(text.contains("at least three segments"), "the API server gives the reason: {text}");
    let error = cluster.webhook().conversion("nothing.example.com");
    let error = error.start(|request| async { ConversionResponse::for_request(request) }).await;
    let text = kina_engine::with_causes(&error.err().context("there is no such definition")?);
    ensure!(text.contains("reading CustomResourceDefinition nothing.example.com failed"), "{text}");
    Ok(())
}

fn widget_definition() -> Value {
    let version = |name: &str, field: &str, is_stored: bool| {
        json!({
            "name": name,
            "served": true,
            "storage": is_stored,
            "schema": {"openAPIV3Schema": {
                "type": "object",
                "properties": {"spec": {
                    "type": "object",
                    "required": [field],
                    "properties": {field: {"type": "string"}},
                }},
            }},
        })
    };
    json!({
        "metadata": {"name": WIDGETS},
        "spec": {
            "group": "webhooks.example.com",
            "scope": "Namespaced",
            "names": {"plural": "widgets", "singular": "widget", "kind": "Widget"},
            "versions": [version("v1", "size", true), version("v2", "extent", false)],
        },
    })
}

/// `spec.size` of the one version is `spec.extent` of the other.
fn convert(mut request: ConversionRequest) -> anyhow::Result<ConversionResponse> {
    let mut objects = std::mem::take(&mut request.objects);
    for object in &mut objects {
        let spec = object["spec"].as_object_mut().context("a spec")?;
        let (from, to) =
            if request.desired_api_version.ends_with("/v2") { ("size", "extent") } else { ("extent", "size") };
        if let Some(value) = spec.remove(from) {
            spec.insert(to.to_owned(), value);
        }
        object["apiVersion"] = json!(request.desired_api_version);
    }
    Ok(ConversionResponse::for_request(request).success(objects))
}

#[kina::test]
async fn a_conversion_webhook_converts(cluster: kina::Cluster) -> anyhow::Result<()> {
    let server = Server(cluster.client());
    server.create(DEFINITIONS, &widget_definition()).await?;
    common::wait_until("the definition is established", || async {
        server.get("/apis/webhooks.example.com/v1/widgets").await.is_ok()
    })
    .await?;
    let path = |version: &str| format!("/apis/webhooks.example.com/{version}/namespaces/default/widgets");
    let before = server.get(&format!("{DEFINITIONS}/{WIDGETS}")).await?;
    let webhook = cluster.webhook().conversion(WIDGETS).start(|request| async { convert(request) }).await?;
    let during = server.get(&format!("{DEFINITIONS}/{WIDGETS}")).await?;
    ensure!(during["spec"]["versions"] == before["spec"]["versions"], "the versions have changed: {during}");
    let served = server.table(&path("v1")).await?;
    ensure!(!served.to_string().contains("kina-probe-"), "the probe's column is still served: {served}");

    let widget = json!({
        "apiVersion": "webhooks.example.com/v2",
        "kind": "Widget",
        "metadata": {"name": "first"},
        "spec": {"extent": "large"},
    });
    server.create(&path("v2"), &widget).await?;
    let stored = server.get(&format!("{}/first", path("v1"))).await?;
    ensure!(stored["spec"] == json!({"size": "large"}), "{stored}");
    ensure!(0 < webhook.request_count(), "the conversion did not use the webhook");
    webhook.stop().await?;
    let after = server.get(&format!("{DEFINITIONS}/{WIDGETS}")).await?;
    ensure!(after["spec"] == before["spec"], "{after}");
    // Without it, only the version is changed.
    let unconverted = server.get(&format!("{}/first", path("v2"))).await?;
    ensure!(unconverted["spec"].get("extent").is_none(), "{unconverted}");
    Ok(())
}

/// Leaves its webhooks behind. On its own, it is an ordinary test.
#[kina::test]
async fn leaves_its_webhooks(cluster: kina::Cluster) -> anyhow::Result<()> {
    let webhook = deny_all(&cluster).await?;
    refusal(&cluster.client(), "first").await?;
    if std::env::var_os(IN_REALM).is_some() {
        std::mem::forget(webhook);
    }
    Ok(())
}

#[kina::test]
async fn finds_no_webhooks(cluster: kina::Cluster) -> anyhow::Result<()> {
    create(&cluster.client(), "first").await?;
    ensure!(configurations(&cluster.client()).await? == 0);
    Ok(())
}

#[test]
fn the_next_lease_on_the_same_cluster_has_no_webhook() {
    let realm = Realm::new().with("KINA_SLOTS_MAX", "1").with(IN_REALM, "1");
    for _ in 0..2 {
        realm.run_well("webhooks::leaves_its_webhooks");
        realm.run_well("webhooks::finds_no_webhooks");
    }
    let status = realm.status_of_running();
    assert_eq!((status.counters.boots, status.counters.leases), (1, 4), "{:?}", status.counters);
}
