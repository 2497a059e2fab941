//! `cargo lab bench wear`: the effects of many leases on one slot, each with a CRD of a group that no other lease had.

use anyhow::{Context, bail};
use cargo_kina::Format;
use kina_engine::ProviderName;
use serde::Serialize;

use super::probe::ProbeReport;
use super::{Bench, say};

/// Number of looks over all leases.
const LOOKS: usize = 20;

#[derive(Debug, Serialize)]
struct Report {
    leases: usize,
    looks: Vec<Look>,
    memory_first_mb: f64,
    memory_most_mb: f64,
    memory_last_mb: f64,
    database_most_mb: f64,
    /// Clusters created: more than one if the slot was replaced.
    boots: u64,
    engine_rss_mb: f64,
    engine_profile: String,
}

/// The values at one time, in megabytes (10⁶ bytes).
#[derive(Clone, Debug, Serialize)]
struct Look {
    leases: usize,
    memory_mb: f64,
    database_mb: f64,
    boots: u64,
}

/// Measures and prints.
pub(crate) async fn measure(provider: ProviderName, leases: usize, format: Format) -> anyhow::Result<()> {
    if leases < LOOKS {
        bail!("--leases must be at least {LOOKS}");
    }
    let bench = Bench::prepare(provider, 1).await?;
    let measured = report(&bench, leases).await;
    bench.finish(measured, format).await
}

async fn report(bench: &Bench, leases: usize) -> anyhow::Result<Report> {
    bench.warm_up().await?;
    let mut looks = vec![look(bench, 0).await?];
    for lease in 1..=leases {
        let group = format!("lease-{lease}.kina.dev");
        bench.probe::<ProbeReport>(&["define", &group]).await?;
        if lease.is_multiple_of(leases / LOOKS) {
            // The slot may just have been given up, without a client that waits for another.
            bench.warm_up().await?;
            bench.wait_all_ready().await?;
            let seen = look(bench, lease).await?;
            say(&format!("{lease} leases: {:.0} MB, database {:.0} MB", seen.memory_mb, seen.database_mb));
            looks.push(seen);
        }
    }
    let status = bench.status(true).await?;
    let most = |value: fn(&Look) -> f64| looks.iter().map(value).fold(0.0, f64::max);
    let memory_last_mb = looks.last().context("it was looked at least once")?.memory_mb;
    Ok(Report {
        leases,
        memory_first_mb: looks[0].memory_mb,
        memory_most_mb: most(|look| look.memory_mb),
        memory_last_mb,
        database_most_mb: most(|look| look.database_mb),
        boots: status.counters.boots,
        engine_rss_mb: status.engine_rss_bytes as f64 / 1e6,
        engine_profile: status.engine_profile,
        looks,
    })
}

async fn look(bench: &Bench, leases: usize) -> anyhow::Result<Look> {
    let status = bench.status(true).await?;
    let slot = status.slots.first().context("the engine has no cluster")?;
    let megabytes = |bytes: u64| bytes as f64 / 1e6;
    Ok(Look {
        leases,
        memory_mb: megabytes(slot.pss_bytes),
        database_mb: megabytes(slot.database_bytes),
        boots: status.counters.boots,
    })
}
