//! `cargo kina bench rewind`: how long a cluster takes from the end of a lease until it is proven pristine and ready, by how
//! much the lease changed.

use anyhow::{Context, bail};
use serde::Serialize;

use super::super::Format;
use super::probe::ProbeReport;
use super::statistics::{median, percentile};
use super::{Bench, SLOTS, say};
use crate::ProviderName;

#[derive(Debug, Serialize)]
struct Report {
    rewinds: Vec<Row>,
    engine_profile: String,
    kubernetes: String,
}

/// Milliseconds.
#[derive(Debug, Serialize)]
struct Row {
    objects: usize,
    changed_keys_p50: f64,
    release_p50_ms: f64,
    release_max_ms: f64,
    samples: usize,
}

/// Measures and prints.
pub(crate) async fn measure(
    provider: ProviderName,
    objects: &[usize],
    samples: usize,
    format: Format,
) -> anyhow::Result<()> {
    if samples == 0 {
        bail!("--samples must be at least 1");
    }
    let bench = Bench::prepare(provider, SLOTS).await?;
    let measured = report(&bench, objects, samples).await;
    bench.finish(measured, format).await
}

async fn report(bench: &Bench, objects: &[usize], samples: usize) -> anyhow::Result<Report> {
    bench.warm_up().await?;
    let mut rewinds = Vec::new();
    for count in objects {
        say(&format!("{count} ConfigMaps"));
        let mut leases = Vec::new();
        for _ in 0..samples {
            leases.extend(bench.probe::<ProbeReport>(&["fill", &count.to_string()]).await?.lease);
            bench.wait_all_ready().await?;
        }
        let status = bench.status(false).await?;
        let releases: Vec<_> = status.releases.iter().filter(|release| leases.contains(&release.lease)).collect();
        let release_ms: Vec<f64> = releases.iter().map(|release| release.release_ms).collect();
        let changed_keys: Vec<f64> = releases.iter().map(|release| release.changed_keys as f64).collect();
        let broken = status.counters.broken;
        let missing = || format!("the engine tells of no release of {count} objects ({broken} clusters broke)");
        rewinds.push(Row {
            objects: *count,
            changed_keys_p50: median(&changed_keys).with_context(missing)?,
            release_p50_ms: median(&release_ms).with_context(missing)?,
            release_max_ms: percentile(&release_ms, 1.0).with_context(missing)?,
            samples: releases.len(),
        });
    }
    let status = bench.status(false).await?;
    let kubernetes = status.slots.iter().find_map(|slot| slot.kubernetes.clone()).unwrap_or_default();
    Ok(Report { rewinds, engine_profile: status.engine_profile, kubernetes })
}
