//! `cargo lab bench gateway`: the costs of a gateway.
//!
//! One client program takes turns: the same requests through the gateway of a lease, by the client of a test and by one
//! over TLS, and straight to a cluster that runs beside it, of the same binaries and from the same bootstrapped state.
//! The order changes with every turn.

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

/// The three ways.
pub(super) struct Clients {
    /// That of a test, over a Unix socket.
    pub(super) client: kube::Client,
    /// Over TLS, through the same gateway.
    pub(super) tls: kube::Client,
    /// Straight to another cluster.
    pub(super) direct: kube::Client,
}

/// The results of a probe: milliseconds by verb, and for all five together by `cycle`.
#[derive(Debug, Default, Serialize, Deserialize)]
pub(super) struct Samples {
    client: BTreeMap<String, Vec<f64>>,
    tls: BTreeMap<String, Vec<f64>>,
    direct: BTreeMap<String, Vec<f64>>,
    kubernetes: String,
}

/// The result.
#[derive(Debug, Serialize)]
struct Report {
    /// All five verbs by the client of a test, divided by the same straight to a cluster.
    client_ratio: f64,
    /// The same over TLS.
    tls_ratio: f64,
    verbs: BTreeMap<String, Comparison>,
    /// The five verbs, one after the other.
    cycle: Comparison,
    runs: usize,
    engine_profile: String,
    kubernetes: String,
    connections: u64,
    unix_connections: u64,
    bytes_to_cluster: u64,
    bytes_from_cluster: u64,
}

/// All ways, in milliseconds.
#[derive(Debug, Serialize)]
struct Comparison {
    client_p50_ms: f64,
    tls_p50_ms: f64,
    direct_p50_ms: f64,
    client_ratio: f64,
    tls_ratio: f64,
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

/// Makes the same requests on all ways, by turns.
pub(super) async fn take_samples(clients: &Clients, runs: usize, kubernetes: &str) -> anyhow::Result<Samples> {
    let ways = [&clients.client, &clients.tls, &clients.direct].map(|client| Api::default_namespaced(client.clone()));
    let mut samples = Samples { kubernetes: kubernetes.to_owned(), ..Samples::default() };
    for turn in 0..TURNS_UNCOUNTED + runs {
        let mut times = [None; 3];
        for step in 0..ways.len() {
            let way = (turn + step) % ways.len();
            let what = ["by the socket", "through TLS", "straight to the cluster"][way];
            times[way] = Some(cycle(&ways[way], turn, way).await.context(what)?);
        }
        if TURNS_UNCOUNTED <= turn {
            for (way, times) in [&mut samples.client, &mut samples.tls, &mut samples.direct].into_iter().zip(times) {
                add(way, times.unwrap_or_default());
            }
        }
    }
    Ok(samples)
}

async fn report(bench: &Bench, runs: usize) -> anyhow::Result<Report> {
    say("bootstraps, and boots the cluster to compare with");
    bench.warm_up().await?;
    let (cluster, access) = bench.boot_direct_cluster().await?;
    say("through the gateway, by its socket and by TLS, and straight to the cluster, in turns");
    let probed = bench.probe::<Samples>(&["crud", &access.display().to_string(), &runs.to_string()]).await;
    let status = bench.status(false).await?;
    cluster.destroy().await?;
    let samples = probed?;
    let compare = |name: &str| {
        let of = |samples: &BTreeMap<String, Vec<f64>>| {
            let median = samples.get(name).and_then(|samples| median(samples));
            median.with_context(|| format!("the probe took no sample of {name}"))
        };
        let (client_p50_ms, tls_p50_ms) = (of(&samples.client)?, of(&samples.tls)?);
        let direct_p50_ms = of(&samples.direct)?;
        Ok::<_, anyhow::Error>(Comparison {
            client_p50_ms,
            tls_p50_ms,
            direct_p50_ms,
            client_ratio: client_p50_ms / direct_p50_ms,
            tls_ratio: tls_p50_ms / direct_p50_ms,
        })
    };
    let mut verbs = BTreeMap::new();
    for verb in VERBS {
        verbs.insert(verb.to_owned(), compare(verb)?);
    }
    let cycle = compare("cycle")?;
    Ok(Report {
        client_ratio: cycle.client_ratio,
        tls_ratio: cycle.tls_ratio,
        verbs,
        cycle,
        runs,
        engine_profile: status.engine_profile,
        kubernetes: samples.kubernetes,
        connections: status.traffic.connections,
        unix_connections: status.traffic.unix_connections,
        bytes_to_cluster: status.traffic.bytes_to_cluster,
        bytes_from_cluster: status.traffic.bytes_from_cluster,
    })
}

/// One object's life; milliseconds of each verb, in their order.
async fn cycle(config_maps: &Api<ConfigMap>, turn: usize, way: usize) -> anyhow::Result<[f64; VERBS.len()]> {
    let name = format!("turn-{turn}-{way}");
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
