use k8s_openapi::api::core::v1::ConfigMap;

async fn waits_for_it(cluster: kina::Cluster, settings: ConfigMap) {
    let _ = cluster.wait_for(&settings, "has(data)").await;
}

fn main() {}
