//! `cargo lab bench gateway`: the costs of a gateway.
//!
//! One client program takes turns: the same requests through the gateway of a lease, and straight to a cluster that
//! runs beside it, of the same binaries and from the same bootstrapped state. The order changes with every turn.

use std::collections::BTreeMap;
use std::time::Instant;

use anyhow::{Context, bail};
use cargo_kina::Format;
use k8s_openapi::api::core::v1::ConfigMap;
use kina_engine::ProviderName;
use kube::api::{Api, DeleteParams, ListParams, ObjectMeta, PostParams};
use serde::{Deserialize, Serialize};

use super::statistics::median;
use super::{Bench, SLOTS, say};

/// Turns that are not counted: both servers and both connections warm up.
const TURNS_UNCOUNTED: usize = 50;
const VERBS: [&str; 5] = ["create", "get", "update", "list", "delete"];

/// The results of a probe: milliseconds by verb, and for all five together by `cycle`.
#[derive(Debug, Default, Serialize, Deserialize)]
pub(super) struct Samples {
    gateway: BTreeMap<String, Vec<f64>>,
    direct: BTreeMap<String, Vec<f64>>,
    kubernetes: String,
}

/// The result.
#[derive(Debug, Serialize)]
struct Report {
    verbs: BTreeMap<String, Comparison>,
    /// The five verbs, one after the other.
    cycle: Comparison,
    runs: usize,
    engine_profile: String,
    kubernetes: String,
    connections: u64,
    bytes_to_cluster: u64,
    bytes_from_cluster: u64,
}

/// Both ways, in milliseconds.
#[derive(Debug, Serialize)]
struct Comparison {
    gateway_p50_ms: f64,
    direct_p50_ms: f64,
    ratio: f64,
}

/// Measures and prints.
pub(crate) async fn measure(provider: ProviderName, runs: usize, format: Format) -> anyhow::Result<()> {
    if runs == 0 {
        bail!("--runs must be at least 1");
    }
    let bench = Bench::prepare(provider, SLOTS).await?;
    let measured = report(&bench, runs).await;
    bench.finish(measured, format).await
}

/// Makes the same requests both ways, by turns.
pub(super) async fn take_samples(
    through_gateway: &kube::Client,
    direct: &kube::Client,
    runs: usize,
    kubernetes: &str,
) -> anyhow::Result<Samples> {
    let (gateway, direct) = (Api::default_namespaced(through_gateway.clone()), Api::default_namespaced(direct.clone()));
    let mut samples = Samples { kubernetes: kubernetes.to_owned(), ..Samples::default() };
    for turn in 0..TURNS_UNCOUNTED + runs {
        let (by_gateway, by_direct);
        if turn % 2 == 0 {
            by_gateway = cycle(&gateway, turn).await.context("through the gateway")?;
            by_direct = cycle(&direct, turn).await.context("straight to the cluster")?;
        } else {
            by_direct = cycle(&direct, turn).await.context("straight to the cluster")?;
            by_gateway = cycle(&gateway, turn).await.context("through the gateway")?;
        }
        if TURNS_UNCOUNTED <= turn {
            add(&mut samples.gateway, by_gateway);
            add(&mut samples.direct, by_direct);
        }
    }
    Ok(samples)
}

async fn report(bench: &Bench, runs: usize) -> anyhow::Result<Report> {
    say("bootstraps, and boots the cluster to compare with");
    bench.warm_up().await?;
    let (cluster, access) = bench.boot_direct_cluster().await?;
    say("through the gateway and straight to the cluster, in turns");
    let probed = bench.probe::<Samples>(&["crud", &access.display().to_string(), &runs.to_string()]).await;
    let status = bench.status(false).await?;
    cluster.destroy().await?;
    let samples = probed?;
    let compare = |name: &str| {
        let of = |samples: &BTreeMap<String, Vec<f64>>| samples.get(name).and_then(|samples| median(samples));
        let (gateway_p50_ms, direct_p50_ms) = of(&samples.gateway)
            .zip(of(&samples.direct))
            .with_context(|| format!("the probe took no sample of {name}"))?;
        Ok::<_, anyhow::Error>(Comparison { gateway_p50_ms, direct_p50_ms, ratio: gateway_p50_ms / direct_p50_ms })
    };
    let mut verbs = BTreeMap::new();
    for verb in VERBS {
        verbs.insert(verb.to_owned(), compare(verb)?);
    }
    Ok(Report {
        verbs,
        cycle: compare("cycle")?,
        runs,
        engine_profile: status.engine_profile,
        kubernetes: samples.kubernetes,
        connections: status.traffic.connections,
        bytes_to_cluster: status.traffic.bytes_to_cluster,
        bytes_from_cluster: status.traffic.bytes_from_cluster,
    })
}

/// One object's life; milliseconds of each verb, in their order.
async fn cycle(config_maps: &Api<ConfigMap>, turn: usize) -> anyhow::Result<[f64; VERBS.len()]> {
    let name = format!("turn-{turn}");
    let mut config_map = ConfigMap {
        metadata: ObjectMeta { name: Some(name.clone()), ..ObjectMeta::default() },
        data: Some(BTreeMap::from([("key".to_owned(), "value".to_owned())])),
        ..ConfigMap::default()
    };
    let mut times = [0.0; VERBS.len()];
    let mut start = Instant::now();
    let mut lap = |index: usize| {
        let now = Instant::now();
        times[index] = (now - std::mem::replace(&mut start, now)).as_secs_f64() * 1e3;
    };
    config_map = config_maps.create(&PostParams::default(), &config_map).await?;
    lap(0);
    config_maps.get(&name).await?;
    lap(1);
    config_map.data = Some(BTreeMap::from([("key".to_owned(), "other".to_owned())]));
    config_maps.replace(&name, &PostParams::default(), &config_map).await?;
    lap(2);
    config_maps.list(&ListParams::default()).await?;
    lap(3);
    config_maps.delete(&name, &DeleteParams::default()).await?;
    lap(4);
    Ok(times)
}

fn add(samples: &mut BTreeMap<String, Vec<f64>>, times: [f64; VERBS.len()]) {
    for (verb, time) in VERBS.iter().zip(times) {
        samples.entry((*verb).to_owned()).or_default().push(time);
    }
    samples.entry("cycle".to_owned()).or_default().push(times.iter().sum());
}
