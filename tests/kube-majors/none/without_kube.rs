//! kina without any types of Kubernetes.

use std::time::Duration;

use k8s_openapi::api::core::v1::Namespace;
use kube::api::ListParams;
use kube::config::{KubeConfigOptions, Kubeconfig};

type TestResult = Result<(), Box<dyn std::error::Error + Send + Sync>>;

const SETTINGS: &str = "{apiVersion: v1, kind: ConfigMap, metadata: {name: settings}, data: {color: red}}";
const DEFINITION: &str = "
apiVersion: apiextensions.k8s.io/v1
kind: CustomResourceDefinition
metadata: {name: widgets.majors.example.com}
spec:
  group: majors.example.com
  scope: Cluster
  names: {kind: Widget, plural: widgets}
  versions:
  - name: v1
    served: true
    storage: true
    schema: {openAPIV3Schema: {type: object, x-kubernetes-preserve-unknown-fields: true}}
";

fn settings() -> kina::Template {
    kina::Template::new().yaml("settings", SETTINGS)
}

#[kina::test(template = settings)]
async fn a_template_is_there_from_the_start(cluster: kina::Cluster) -> TestResult {
    let settings = cluster.wait_for(&kina::object_of_kind("v1", "ConfigMap", "settings"), "has(data.color)").await?;
    assert_eq!(settings["data"]["color"], "red");
    Ok(())
}

#[kina::test]
async fn objects_are_waited_for_by_kind_and_name(cluster: kina::Cluster) -> TestResult {
    cluster.install_crds(DEFINITION).await?;
    cluster.apply_fixtures("{apiVersion: majors.example.com/v1, kind: Widget, metadata: {name: one}, size: 3}").await?;
    let widget = kina::object_of_kind("majors.example.com/v1", "Widget", "one");
    assert_eq!(cluster.wait_until(&widget, |widget| widget["size"] == 3).await?["kind"], "Widget");

    let unknown = kina::object_of_kind("majors.example.com/v1", "Gadget", "one");
    let refused = cluster.wait_until(&unknown, |_| true).timeout(Duration::from_secs(1)).await.unwrap_err();
    assert!(refused.to_string().contains("does not know this kind"), "{refused}");
    Ok(())
}

#[kina::test]
async fn a_namespace_is_deleted(cluster: kina::Cluster, namespace: kina::Namespace) -> TestResult {
    assert_eq!(namespace.name(), "default");
    cluster.apply_fixtures("{apiVersion: v1, kind: Namespace, metadata: {name: blue}}").await?;
    cluster.delete_namespace("blue").await?;
    cluster.wait_deleted(&kina::object_of_kind("v1", "Namespace", "blue")).await?;
    Ok(())
}

/// A client of any origin starts from the kubeconfig.
#[kina::test]
async fn a_client_of_another_major_starts_from_the_kubeconfig(cluster: kina::Cluster) -> TestResult {
    let kubeconfig = Kubeconfig::from_yaml(&cluster.kubeconfig())?;
    let config = kube::Config::from_custom_kubeconfig(kubeconfig, &KubeConfigOptions::default()).await?;
    let namespaces = kube::Api::<Namespace>::all(kube::Client::try_from(config)?);
    assert_eq!(namespaces.list(&ListParams::default()).await?.items.len(), 4);

    cluster.network().cut().await?;
    assert!(namespaces.list(&ListParams::default()).await.is_err());
    cluster.network().restore().await?;
    assert_eq!(namespaces.list(&ListParams::default()).await?.items.len(), 4);
    Ok(())
}
