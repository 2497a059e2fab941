use k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1::CustomResourceDefinition;

async fn installs_it(cluster: kina::Cluster, definition: CustomResourceDefinition) {
    let _ = cluster.install_crds(definition).await;
}

fn main() {}
