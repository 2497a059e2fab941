//! `cargo lab bench compare`: the wait of a test for a cluster of a provider, and of `process`, by turns in one run.

use anyhow::{Context, bail};
use cargo_kina::Format;
use kina_engine::ProviderName;
use serde::Serialize;

use super::probe::ProbeReport;
use super::statistics::{median, percentile};
use super::{Bench, say};

/// Samples of operations that take about a second each.
const STOPPED_SAMPLES: usize = 5;
/// Slots of each private engine: one that is leased and one that is being rewound meanwhile.
const SLOTS: usize = 2;

/// The result, in milliseconds.
#[derive(Debug, Serialize)]
struct Report {
    /// The provider is an emulation of the real thing, so no figure applies to that.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    simulated: bool,
    provider: &'static str,
    runs: usize,
    warm_p50_ms: f64,
    warm_p99_ms: f64,
    stopped_ms: f64,
    process_warm_p50_ms: f64,
    process_warm_p99_ms: f64,
    process_stopped_ms: f64,
    warm_ratio: f64,
    engine_profile: String,
}

#[derive(Debug, Default)]
struct Samples {
    stopped: Vec<f64>,
    warm: Vec<f64>,
}

/// Measures and prints.
pub(crate) async fn measure(provider: ProviderName, runs: usize, format: Format) -> anyhow::Result<()> {
    if runs == 0 {
        bail!("--runs must be at least 1");
    }
    let reference = ProviderName::default();
    if provider == reference {
        bail!("`{reference}` is what the others are compared with: name another with --provider");
    }
    let other = Bench::prepare(provider, SLOTS).await?;
    let process = Bench::prepare(reference, SLOTS).await?;
    let measured = take_turns(&other, &process, provider, runs).await;
    let measured = process.end(measured).await;
    other.finish(measured, format).await
}

async fn take_turns(other: &Bench, process: &Bench, provider: ProviderName, runs: usize) -> anyhow::Result<Report> {
    let both = [other, process];
    let mut samples = [Samples::default(), Samples::default()];
    say("from stopped, in turns");
    for _ in 0..STOPPED_SAMPLES {
        for (bench, samples) in both.into_iter().zip(&mut samples) {
            bench.probe::<ProbeReport>(&["lease"]).await?;
            bench.wait_all_ready().await?;
            bench.engine.stop_idle_clusters().await?;
            samples.stopped.push(bench.probe::<ProbeReport>(&["lease"]).await?.took_ms);
            bench.wait_all_ready().await?;
        }
    }
    say("warm, in turns");
    for bench in both {
        bench.warm_up().await?;
    }
    for _ in 0..runs {
        for (bench, samples) in both.into_iter().zip(&mut samples) {
            samples.warm.push(bench.probe::<ProbeReport>(&["lease"]).await?.took_ms);
        }
    }
    let status = other.status(false).await?;
    let [other, process] = samples;
    let of = |samples: &[f64], share: f64| percentile(samples, share).context("no sample");
    let (warm_p50_ms, process_warm_p50_ms) = (of(&other.warm, 0.5)?, of(&process.warm, 0.5)?);
    Ok(Report {
        simulated: status.simulated,
        provider: provider.as_str(),
        runs,
        warm_p50_ms,
        warm_p99_ms: of(&other.warm, 0.99)?,
        stopped_ms: median(&other.stopped).context("no start")?,
        process_warm_p50_ms,
        process_warm_p99_ms: of(&process.warm, 0.99)?,
        process_stopped_ms: median(&process.stopped).context("no start")?,
        warm_ratio: warm_p50_ms / process_warm_p50_ms,
        engine_profile: status.engine_profile,
    })
}
