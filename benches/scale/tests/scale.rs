//! The tests of `cargo lab bench scale`, and one that checks the work of each.

use k8s_openapi::api::core::v1::ConfigMap;
use kube::api::{Api, ListParams};

include!(concat!(env!("OUT_DIR"), "/tests.rs"));

#[kina::test]
async fn the_work_is_a_namespace_with_ten_config_maps(client: kube::Client) -> anyhow::Result<()> {
    kina_bench_scale::work(&client, "scale").await?;
    let config_maps: Api<ConfigMap> = Api::namespaced(client.clone(), "scale");
    let found = config_maps.list(&ListParams::default()).await?.items.len();
    anyhow::ensure!(found == kina_bench_scale::CONFIG_MAPS, "there are {found} ConfigMaps");
    // Tests on their own clusters all use one name: it would be taken in a cluster that is not pristine.
    let again = kina_bench_scale::work(&client, "scale").await;
    anyhow::ensure!(again.is_err(), "the same name could be used twice");
    Ok(())
}
