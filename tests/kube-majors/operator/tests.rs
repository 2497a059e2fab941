//! The tests of the operator, with each kind of argument and each part of kina that has types of kube.

use std::error::Error;

use k8s_openapi::api::core::v1::{ConfigMap, Namespace};
use kina_kube_major::{Greeting, GreetingSpec, run};
use kube::api::{Api, DeleteParams, DynamicObject, ListParams, ObjectMeta, PostParams};
use kube::core::admission::{AdmissionRequest, AdmissionResponse, Operation};
use kube::core::{ApiResource, GroupVersionKind};
use kube::{Client, Config, CustomResourceExt};

type TestResult = Result<(), Box<dyn Error + Send + Sync>>;

fn greeting(name: &str) -> Greeting {
    Greeting::new(name, GreetingSpec { whom: "world".to_owned() })
}

fn config_map(name: &str) -> ConfigMap {
    let metadata = ObjectMeta { name: Some(name.to_owned()), ..ObjectMeta::default() };
    ConfigMap { metadata, ..ConfigMap::default() }
}

#[kina::test(crds = [Greeting])]
async fn a_greeting_becomes_a_config_map(
    client: Client,
    greetings: Api<Greeting>,
    cluster: kina::Cluster,
) -> TestResult {
    let controller = tokio::spawn(run(client));
    let created = greetings.create(&PostParams::default(), &greeting("first")).await?;
    let served = cluster.wait_for(&created, "status.greeted == true").await?;
    assert!(served.status.is_some_and(|status| status.greeted));
    let has_text = |found: &ConfigMap| found.data.as_ref().is_some_and(|data| data["greeting"] == "Hello, world!");
    cluster.wait_until(&kina::object::<ConfigMap>("first"), has_text).await?;

    greetings.delete("first", &DeleteParams::default()).await?;
    cluster.wait_deleted(&created).await?;
    controller.abort();
    Ok(())
}

#[kina::test]
async fn definitions_and_texts_are_fixtures(cluster: kina::Cluster, namespace: kina::Namespace) -> TestResult {
    let object = "{apiVersion: majors.example.com/v1, kind: Greeting, metadata: {name: early}, spec: {whom: you}}";
    cluster.apply_fixtures((Greeting::crd(), object)).await?;
    assert_eq!(namespace.api::<Greeting>().get("early").await?.spec.whom, "you");

    let kind = ApiResource::from_gvk(&GroupVersionKind::gvk("majors.example.com", "v1", "Greeting"));
    let found = kina::object_of_dynamic_type::<DynamicObject>(&kind, "early").within("default");
    assert_eq!(cluster.wait_for(&found, "spec.whom == 'you'").await?.data["spec"]["whom"], "you");
    let found = kina::object_of_kind("majors.example.com/v1", "Greeting", "early");
    assert_eq!(cluster.wait_for(&found, "spec.whom == 'you'").await?["spec"]["whom"], "you");
    Ok(())
}

#[kina::test]
async fn a_user_without_rights_is_refused(cluster: kina::Cluster) -> TestResult {
    let config_maps = Api::<ConfigMap>::default_namespaced(cluster.as_user("alice", ["devs"])?);
    let refused = config_maps.list(&ListParams::default()).await;
    assert!(matches!(refused, Err(kube::Error::Api(status)) if status.code == 403));
    Ok(())
}

#[kina::test]
async fn a_webhook_denies(cluster: kina::Cluster, config_maps: Api<ConfigMap>) -> TestResult {
    let webhook = cluster
        .webhook()
        .validating("names.majors.example.com")
        .on::<ConfigMap>([Operation::Create])
        .start(|request: AdmissionRequest<ConfigMap>| async move {
            let response = AdmissionResponse::from(&request);
            if request.name == "forbidden" { response.deny("not this name") } else { response }
        })
        .await?;
    config_maps.create(&PostParams::default(), &config_map("allowed")).await?;
    let denied = config_maps.create(&PostParams::default(), &config_map("forbidden")).await;
    assert!(denied.is_err_and(|error| error.to_string().contains("not this name")));
    webhook.stop().await?;
    Ok(())
}

#[kina::test]
async fn a_configuration_makes_further_clients(config: Config, cluster: kina::Cluster) -> TestResult {
    let version = Client::try_from(config)?.apiserver_version().await?;
    assert_eq!(version.git_version, cluster.kubernetes_version());
    Ok(())
}

#[kina::test]
async fn a_namespace_is_deleted_with_its_content(namespaces: Api<Namespace>, cluster: kina::Cluster) -> TestResult {
    let blue = Namespace {
        metadata: ObjectMeta { name: Some("blue".to_owned()), ..ObjectMeta::default() },
        ..Namespace::default()
    };
    namespaces.create(&PostParams::default(), &blue).await?;
    cluster.delete_namespace("blue").await?;
    assert!(namespaces.get_opt("blue").await?.is_none());
    Ok(())
}

/// The re-export of kina is the kube of this crate.
#[test]
fn kube_is_the_same() {
    let _: fn(kina::kube::Client) -> Client = |client| client;
}
