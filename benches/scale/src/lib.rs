//! The work of each test of `cargo lab bench scale`.

use std::net::SocketAddr;

use anyhow::Context;
use k8s_openapi::api::core::v1::{ConfigMap, Namespace};
use kube::api::{Api, ObjectMeta, PostParams};
use serde::Deserialize;

/// The file with the address and credentials of the shared cluster.
pub const SHARED_CLUSTER: &str = "BENCH_SCALE_SHARED_CLUSTER";
/// ConfigMaps that each test creates.
pub const CONFIG_MAPS: usize = 10;

#[derive(Deserialize)]
struct ClusterAccess {
    address: SocketAddr,
    ca_pem: String,
    certificate_pem: String,
    key_pem: String,
}

/// Creates a namespace with ten ConfigMaps in it, one after the other.
///
/// # Errors
/// If the API server refuses one, for instance because the namespace exists already.
pub async fn work(client: &kube::Client, namespace: &str) -> anyhow::Result<()> {
    let named = |name: String| ObjectMeta { name: Some(name), ..ObjectMeta::default() };
    let object = Namespace { metadata: named(namespace.to_owned()), ..Namespace::default() };
    Api::all(client.clone()).create(&PostParams::default(), &object).await.context("creating the namespace failed")?;
    let config_maps: Api<ConfigMap> = Api::namespaced(client.clone(), namespace);
    for number in 0..CONFIG_MAPS {
        let object = ConfigMap {
            metadata: named(format!("map-{number}")),
            data: Some([("key".to_owned(), "value".to_owned())].into()),
            ..ConfigMap::default()
        };
        config_maps.create(&PostParams::default(), &object).await.context("creating a ConfigMap failed")?;
    }
    Ok(())
}

/// The same on the shared cluster, with a client and a runtime like those of a `#[kina::test]`.
///
/// # Errors
/// As for [`work`], and if the shared cluster is not named.
pub fn work_on_shared_cluster(namespace: &str) -> anyhow::Result<()> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    runtime.block_on(async {
        let path = std::env::var_os(SHARED_CLUSTER)
            .with_context(|| format!("{SHARED_CLUSTER} is not set: run this by `cargo lab bench scale`"))?;
        let access: ClusterAccess = serde_json::from_slice(&std::fs::read(path)?)?;
        let auth_info = kina::__private::auth_info(&access.certificate_pem, &access.key_pem);
        let config = kina::__private::config_at(access.address, &access.ca_pem, auth_info)?;
        work(&kube::Client::try_from(config)?, namespace).await
    })
}
