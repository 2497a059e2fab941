//! The time from the end of a lease until its cluster is proven pristine and ready again, as the engine reports it.
//!
//! `cargo bench --bench rewind`. For more objects, and in figures, see `cargo lab bench rewind`.

use std::time::Duration;

use criterion::{Criterion, SamplingMode, criterion_group, criterion_main};
use futures::{StreamExt, TryStreamExt};
use k8s_openapi::api::core::v1::ConfigMap;
use kina_engine::{EngineClient, EngineProgram, ReleaseStatus};
use kube::api::{Api, ObjectMeta, PostParams};

const CONCURRENCY: usize = 8;
const LOOK_INTERVAL: Duration = Duration::from_millis(2);
const LOOKS_MAX: u32 = 30_000;

fn rewind(criterion: &mut Criterion) {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
    // The first lease may boot a cluster, which is not part of the measurement.
    runtime.block_on(fill_and_release(10));
    let mut group = criterion.benchmark_group("rewind");
    group.sample_size(10).sampling_mode(SamplingMode::Flat).measurement_time(Duration::from_secs(10));
    for count in [10, 250] {
        group.bench_function(format!("after {count} ConfigMaps"), |bencher| {
            bencher.to_async(&runtime).iter_custom(|iterations| async move {
                let mut measured = Duration::ZERO;
                for _ in 0..iterations {
                    measured += fill_and_release(count).await;
                }
                measured
            });
        });
    }
    group.finish();
}

/// The duration of the release, without the creation of the objects.
async fn fill_and_release(count: usize) -> Duration {
    let cluster = kina::Cluster::acquire().await.expect("a cluster");
    let config_maps: Api<ConfigMap> = Api::default_namespaced(cluster.client());
    let created = (0..count).map(|number| {
        let metadata = ObjectMeta { name: Some(format!("bench-{number}")), ..ObjectMeta::default() };
        let config_map = ConfigMap { metadata, ..ConfigMap::default() };
        let config_maps = config_maps.clone();
        async move { config_maps.create(&PostParams::default(), &config_map).await }
    });
    futures::stream::iter(created).buffer_unordered(CONCURRENCY).try_collect::<Vec<_>>().await.expect("created");
    // The engine of this executable, which the lease has found or started.
    let engine = EngineClient::from_environment(EngineProgram::InstalledOnly).expect("a client");
    let latest = releases(&engine).await.last().map_or(0, |release| release.lease);
    cluster.release();
    for _ in 0..LOOKS_MAX {
        let release =
            releases(&engine).await.into_iter().find(|release| latest < release.lease && count <= release.changed_keys);
        if let Some(release) = release {
            return Duration::from_secs_f64(release.release_ms / 1e3);
        }
        tokio::time::sleep(LOOK_INTERVAL).await;
    }
    panic!("the engine reports no release after a minute");
}

async fn releases(engine: &EngineClient) -> Vec<ReleaseStatus> {
    engine.status(false).await.expect("a status").expect("the engine runs").releases
}

criterion_group!(benches, rewind);
criterion_main!(benches);
