//! kina's features beyond a cluster, one test for each.

use std::time::Duration;

use k8s_openapi::api::apps::v1::Deployment;
use k8s_openapi::api::core::v1::ConfigMap;
use kina_example_operator::{Greeting, GreetingSpec, WORDS_KEY};
use kube::api::{Api, ListParams, PostParams};
use kube::core::admission::{AdmissionRequest, AdmissionResponse, Operation};
use serde_json::json;

const REPORTED: &str =
    "status.observedGeneration == metadata.generation && status.conditions.exists(c, c.status == 'True')";

/// The CRD of a type, and objects from files, exist from the start. They are applied once for all tests with the same
/// template.
#[kina::test(crds = [Greeting], fixtures = ["manifests/samples.yaml"])]
async fn a_test_starts_from_a_template(greetings: Api<Greeting>) -> anyhow::Result<()> {
    let found = greetings.list(&ListParams::default()).await?;
    let names: Vec<_> = found.items.iter().map(|greeting| greeting.spec.name.as_str()).collect();
    assert_eq!(names, ["moon", "world"]);
    Ok(())
}

/// Waits for a condition of an object, without polling. The error at the deadline shows which part was false.
#[kina::test(crds = [Greeting], fixtures = ["manifests/samples.yaml"])]
async fn conditions_are_waited_for(cluster: kina::Cluster) -> anyhow::Result<()> {
    tokio::spawn(kina_example_operator::run(cluster.client()));
    let moon = kina::object::<Greeting>("moon").within("default");
    cluster.wait_for(&moon, REPORTED).await?;
    let words = kina::object::<ConfigMap>("moon").within("default");
    cluster
        .wait_until(&words, |words: &ConfigMap| {
            words.data.as_ref().is_some_and(|data| data[WORDS_KEY] == "Good night, moon!")
        })
        .await?;

    let error = cluster.wait_for(&moon, "spec.salutation == 'Hello'").timeout(Duration::from_millis(50)).await;
    let message = error.expect_err("it says good night").to_string();
    assert!(message.contains("spec.salutation == 'Hello'"), "{message}");
    Ok(())
}

/// The controller runs as its service account, with the rights in its manifest. If one were missing, this test would
/// fail.
#[kina::test(crds = [Greeting], fixtures = ["manifests/rbac.yaml", "manifests/samples.yaml"])]
async fn the_manifest_grants_the_controller_all_necessary_rights(cluster: kina::Cluster) -> anyhow::Result<()> {
    let controller = cluster.as_service_account("greetings", "greeting-controller")?;
    let greetings: Api<Greeting> = Api::default_namespaced(controller.clone());
    let refused = greetings.delete("world", &Default::default()).await;
    assert!(matches!(refused, Err(kube::Error::Api(status)) if status.code == 403), "Greetings are read-only");

    tokio::spawn(kina_example_operator::run(controller));
    for name in ["world", "moon"] {
        cluster.wait_for(&kina::object::<Greeting>(name).within("default"), REPORTED).await?;
    }
    Ok(())
}

/// A webhook in the test process controls the controller's writes.
#[kina::test(crds = [Greeting])]
async fn a_webhook_can_refuse_what_the_controller_writes(cluster: kina::Cluster) -> anyhow::Result<()> {
    let webhook = cluster
        .webhook()
        .validating("quiet.example.kina.dev")
        .on::<ConfigMap>([Operation::Create])
        .start(|request: AdmissionRequest<ConfigMap>| async move {
            AdmissionResponse::from(&request).deny("no greetings today")
        })
        .await?;
    tokio::spawn(kina_example_operator::run(cluster.client()));
    let greetings: Api<Greeting> = Api::default_namespaced(cluster.client());
    let spec = GreetingSpec { name: "world".to_owned(), salutation: "Hello".to_owned() };
    greetings.create(&PostParams::default(), &Greeting::new("world", spec)).await?;
    // The controller tries, fails and tries again; once the webhook is gone it succeeds.
    while webhook.request_count() == 0 {
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    webhook.stop().await?;
    cluster.wait_for(&kina::object::<Greeting>("world").within("default"), REPORTED).await?;
    Ok(())
}

/// The API server becomes unreachable, and the controller recovers afterwards.
#[kina::test(crds = [Greeting], fixtures = ["manifests/samples.yaml"])]
async fn the_controller_survives_the_loss_of_its_api_server(cluster: kina::Cluster) -> anyhow::Result<()> {
    cluster.network().cut().await?;
    tokio::spawn(kina_example_operator::run(cluster.client()));
    tokio::task::yield_now().await;
    cluster.network().restore().await?;
    cluster.wait_for(&kina::object::<Greeting>("world").within("default"), REPORTED).await?;
    Ok(())
}

/// Two clusters at once, for controllers that work on several.
#[kina::test(crds = [Greeting])]
async fn two_clusters_are_independent(here: kina::Cluster, there: kina::Cluster) -> anyhow::Result<()> {
    let spec = GreetingSpec { name: "world".to_owned(), salutation: "Hello".to_owned() };
    Api::<Greeting>::default_namespaced(here.client())
        .create(&PostParams::default(), &Greeting::new("world", spec))
        .await?;
    assert!(Api::<Greeting>::default_namespaced(there.client()).get_opt("world").await?.is_none());
    Ok(())
}

/// The cluster is shared, the namespace is not. The CRD exists, the namespace is empty.
#[kina::test(crds = [Greeting], isolation = "namespace")]
async fn a_namespace_may_be_enough(namespace: kina::Namespace) -> anyhow::Result<()> {
    let greetings: Api<Greeting> = namespace.api();
    let spec = GreetingSpec { name: "world".to_owned(), salutation: "Hello".to_owned() };
    greetings.create(&PostParams::default(), &Greeting::new("world", spec)).await?;
    assert_eq!(greetings.list(&ListParams::default()).await?.items.len(), 1);
    Ok(())
}

/// With controllers, a Deployment becomes available, on nodes that only simulate its pods.
#[kina::test(profile = "controllers")]
async fn a_deployment_becomes_available(cluster: kina::Cluster, deployments: Api<Deployment>) -> anyhow::Result<()> {
    let labels = json!({"app": "web"});
    let deployment = serde_json::from_value(json!({
        "metadata": {"name": "web"},
        "spec": {
            "replicas": 2,
            "selector": {"matchLabels": labels},
            "template": {"metadata": {"labels": labels}, "spec": {"containers": [{"name": "web", "image": "web"}]}},
        },
    }))?;
    let deployment: Deployment = deployments.create(&PostParams::default(), &deployment).await?;
    cluster.wait_condition(&deployment, "Available").await?;
    cluster.wait_for(&deployment, "status.readyReplicas == spec.replicas").await?;
    Ok(())
}
