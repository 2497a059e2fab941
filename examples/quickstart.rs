//! A tour of kina, step by step: `cargo run --example quickstart`.
//!
//! This program acquires clusters by hand. `#[kina::test]` does the same before and after a test.

use std::time::{Duration, Instant};

use anyhow::{Context, ensure};
use k8s_openapi::api::core::v1::{ConfigMap, Namespace};
use kina::Cluster;
use kube::api::{Api, ListParams, PostParams};
use kube::{Client, ResourceExt};

const LEASE_COUNT: u32 = 10;
const LEFT_BEHIND: &str = "left-behind";

#[tokio::main(flavor = "current_thread")]
async fn main() -> anyhow::Result<()> {
    println!("1. A first cluster: a real kube-apiserver and a real etcd.");
    println!("   If kina's engine is not running yet, it is started in the background, and boots one.");
    println!("   On a fresh machine it first needs the Kubernetes binaries: it downloads them or, if that is");
    println!("   impossible, builds them with Go, which takes some minutes, once. It reports its progress.");
    let (cluster, namespaces, first) = acquire_and_list().await?;
    println!(
        "   After {}: Kubernetes {}, with the namespaces {}.",
        shown(first),
        cluster.kubernetes_version(),
        namespaces
    );
    drop(cluster);

    println!("2. {LEASE_COUNT} more leases of a cluster, one after the other. Each acquires and lists the namespaces.");
    println!("   No more boots: in between, the engine rewinds the cluster and proves that it is pristine.");
    let mut durations = Vec::new();
    for _ in 0..LEASE_COUNT {
        durations.push(acquire_and_list().await?.2);
    }
    durations.sort();
    let median = (durations[durations.len() / 2 - 1] + durations[durations.len() / 2]) / 2;
    println!(
        "   Median {}, slowest {}, including the wait for the rewind.",
        shown(median),
        shown(durations[durations.len() - 1])
    );

    println!("   (The first rewind after a boot waits about a second, until the API server has finished starting.)");
    if cfg!(debug_assertions) {
        println!("   This program was built without optimization. With `--release` it is much faster.");
    }

    println!("3. The next lease finds nothing of what one lease leaves behind.");
    let (cluster, namespaces_before, _) = acquire_and_list().await?;
    leave_something_behind(cluster.client()).await?;
    println!("   {} now contains a ConfigMap and a namespace, both named `{LEFT_BEHIND}`.", cluster.name());
    drop(cluster);
    let (cluster, namespaces_after, _) = acquire_and_list().await?;
    let config_maps: Api<ConfigMap> = Api::default_namespaced(cluster.client());
    ensure!(config_maps.get_opt(LEFT_BEHIND).await?.is_none(), "bug in kina: the ConfigMap is still there");
    ensure!(namespaces_before == namespaces_after, "bug in kina: the namespaces are now {namespaces_after}");
    println!("   The next lease, of {}, has neither: its namespaces are {namespaces_after}.", cluster.name());

    println!(
        "Done. The engine stays for a while, so that the next run starts warm, and exits when it is no longer used."
    );
    println!("Next:");
    println!("   cargo test --workspace     every test in it that takes a `kube::Client` gets its own cluster");
    println!("   cargo kina status          the engine's state; `cargo kina stop` ends it now");
    println!("   examples/operator          an operator, with the tests of its controller");
    Ok(())
}

/// The wait of a test: for a lease, and for the first answer of its cluster.
async fn acquire_and_list() -> anyhow::Result<(Cluster, String, Duration)> {
    let start = Instant::now();
    let cluster = Cluster::acquire().await.context("no cluster could be acquired")?;
    let namespaces = Api::<Namespace>::all(cluster.client()).list(&ListParams::default()).await?;
    let duration = start.elapsed();
    let names: Vec<_> = namespaces.iter().map(ResourceExt::name_any).collect();
    Ok((cluster, names.join(", "), duration))
}

async fn leave_something_behind(client: Client) -> anyhow::Result<()> {
    let mut config_map = ConfigMap::default();
    config_map.metadata.name = Some(LEFT_BEHIND.to_owned());
    Api::default_namespaced(client.clone()).create(&PostParams::default(), &config_map).await?;
    let mut namespace = Namespace::default();
    namespace.metadata.name = Some(LEFT_BEHIND.to_owned());
    Api::all(client).create(&PostParams::default(), &namespace).await?;
    Ok(())
}

fn shown(duration: Duration) -> String {
    match duration.as_millis() {
        0..1000 => format!("{:.1} ms", duration.as_secs_f64() * 1e3),
        _ => format!("{:.1} s", duration.as_secs_f64()),
    }
}
