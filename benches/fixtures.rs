//! The cost of graphs of fixtures: to read, to order, to search; and the time to apply fixtures to a cluster.
//!
//! `cargo bench --bench fixtures`. See `cargo lab bench fixtures` for the same in figures.

use std::hint::black_box;
use std::time::{Duration, Instant};

use criterion::{Criterion, SamplingMode, criterion_group, criterion_main};
use kina_engine::lab::fixtures::DependencyGraph;
use kina_engine::{FixtureGraph, FixtureOverlay, FixtureSet, FixtureSource};

/// Nodes and edges.
const SIZES: [(usize, usize); 4] = [(5, 4), (15, 25), (30, 45), (100, 200)];
const SEED: u64 = 42;

fn graph(criterion: &mut Criterion) {
    for (nodes, edges) in SIZES {
        let graph = DependencyGraph::seeded(nodes, edges, SEED);
        let mut group = criterion.benchmark_group(format!("graph of {nodes} nodes and {edges} edges"));
        group.bench_function("layers", |bencher| bencher.iter(|| black_box(&graph).layers()));
        // From the last node to the first: random edges lead from higher numbers to lower ones.
        let last = nodes as u32 - 1;
        group.bench_function("path", |bencher| bencher.iter(|| black_box(&graph).path(black_box(last), black_box(0))));
        group.finish();
    }
}

fn read(criterion: &mut Criterion) {
    let fixtures = config_maps(100);
    criterion.bench_function("read 100 ConfigMaps", |bencher| bencher.iter(|| FixtureGraph::new(black_box(&fixtures))));
}

fn apply_to_cluster(criterion: &mut Criterion) {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
    let mut group = criterion.benchmark_group("apply");
    group.sample_size(10).sampling_mode(SamplingMode::Flat).measurement_time(Duration::from_secs(10));
    for count in [10, 100] {
        let fixtures = config_maps_text(count);
        group.bench_function(format!("{count} ConfigMaps, each time to a cluster without them"), |bencher| {
            bencher.to_async(&runtime).iter_custom(|iterations| {
                let fixtures = &fixtures;
                async move {
                    let mut measured = Duration::ZERO;
                    for _ in 0..iterations {
                        let cluster = kina::Cluster::acquire().await.expect("a cluster");
                        let start = Instant::now();
                        cluster.apply_fixtures(fixtures.as_str()).await.expect("applied");
                        measured += start.elapsed();
                    }
                    measured
                }
            });
        });
    }
    group.finish();
}

fn config_maps(count: usize) -> FixtureSet {
    let source = FixtureSource { name: "bench.yaml".to_owned(), text: config_maps_text(count) };
    FixtureSet { overlays: vec![FixtureOverlay { name: "bench".to_owned(), sources: vec![source] }] }
}

fn config_maps_text(count: usize) -> String {
    let texts: Vec<String> = (0..count)
        .map(|number| {
            format!(
                "apiVersion: v1\nkind: ConfigMap\nmetadata:\n  name: settings-{number}\ndata:\n  number: \"{number}\"\n"
            )
        })
        .collect();
    texts.join("---\n")
}

criterion_group!(benches, graph, read, apply_to_cluster);
criterion_main!(benches);
