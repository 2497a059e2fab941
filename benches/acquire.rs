//! The time to acquire a warm cluster outside a test, within one process.
//!
//! `cargo bench --bench acquire`. For the wait of a test *process*, and for ratios to other ways of getting a cluster,
//! see `cargo kina bench acquire`.

use std::time::{Duration, Instant};

use criterion::{Criterion, criterion_group, criterion_main};
use k8s_openapi::api::core::v1::Namespace;
use kube::api::{Api, ListParams};

fn acquire(criterion: &mut Criterion) {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
    // The first lease may boot a cluster, or even build one, which is not part of the measurement.
    runtime.block_on(lease_and_list());
    let mut group = criterion.benchmark_group("acquire");
    group.sample_size(30);
    group.bench_function("warm, to the first list of namespaces", |bencher| {
        bencher.to_async(&runtime).iter_custom(|iterations| async move {
            let mut measured = Duration::ZERO;
            for _ in 0..iterations {
                measured += lease_and_list().await;
            }
            measured
        });
    });
    group.finish();
}

/// The release runs in the engine's background and is not part of the figure.
async fn lease_and_list() -> Duration {
    let start = Instant::now();
    let cluster = kina::Cluster::acquire().await.expect("a cluster");
    let namespaces: Api<Namespace> = Api::all(cluster.client());
    namespaces.list(&ListParams::default()).await.expect("a list of namespaces");
    start.elapsed()
}

criterion_group!(benches, acquire);
criterion_main!(benches);
