//! `cargo lab bench rewind`: the time from the end of a lease until its cluster is proven pristine and ready again, by
//! the number of changes that the lease made.

use anyhow::Context;
use kina_engine::{ProviderName, ReleaseStatus};
use serde_json::json;

use super::report::{Draft, Measurement, Report};
use super::statistics::{median, percentile};
use super::{Bench, SLOTS, say};

const ABOUT: &str = "from the end of a lease until its cluster is proven pristine and ready again";
/// The changes of a thorough test of an operator: see `dirt`.
const THOROUGH: &str = "thorough";
/// Number of objects that all samples of one size may make, because making them takes longer than the measurement. Each
/// size gets at least this many samples.
const OBJECTS_IN_ALL: usize = 40_000;
const SAMPLES_MIN: usize = 2;

/// Measures each number of ConfigMaps, and the changes of a thorough test.
pub(super) async fn measure(provider: ProviderName, objects: &[usize], samples: usize) -> anyhow::Result<Report> {
    let mut draft = Draft::begin("rewind", ABOUT);
    let bench = Bench::prepare(provider, SLOTS).await?;
    let measured = take(&bench, objects, samples, &mut draft).await;
    bench.end(measured).await?;
    Ok(draft.finish())
}

async fn take(bench: &Bench, objects: &[usize], samples: usize, draft: &mut Draft) -> anyhow::Result<()> {
    bench.warm_up().await?;
    // Not counted: nothing was ever rewound here.
    bench.sample_release(&["fill", "10"]).await?;
    let mut rows = Vec::new();
    for count in objects {
        let samples = samples.min(OBJECTS_IN_ALL / (*count).max(1)).max(SAMPLES_MIN.min(samples));
        say(&format!("{count} ConfigMaps, {samples} times"));
        let mut releases = Vec::new();
        for _ in 0..samples {
            releases.push(bench.sample_release(&["fill", &count.to_string()]).await?);
        }
        let release_ms = milliseconds(&releases);
        let what = format!("after a lease that made {count} ConfigMaps");
        draft.add(Measurement::of(&format!("release_{count}_ms"), &what, &release_ms))?;
        rows.push(json!({
            "objects": count,
            "changed_keys_p50": keys_p50(&releases)?,
            "release_p50_ms": median(&release_ms),
            "release_max_ms": percentile(&release_ms, 1.0),
            "samples": releases.len(),
        }));
    }
    draft.figure("rewinds", rows);
    say(&format!("the changes of a thorough test, {samples} times"));
    let mut releases = Vec::new();
    for _ in 0..samples {
        releases.push(bench.sample_release(&["dirty"]).await?);
    }
    let keys = keys_p50(&releases)?;
    let what = format!(
        "after a lease that changed {keys:.0} keys of many kinds: a CRD and resources of it, a namespace being deleted, a \
         deleted system ClusterRole, a NodePort, ConfigMaps"
    );
    draft.add(Measurement::of(&format!("release_{THOROUGH}_ms"), &what, &milliseconds(&releases)))?;
    draft.figure("thorough_changed_keys_p50", keys);
    let status = bench.status(false).await?;
    let leases: Vec<u64> = releases.iter().map(|release| release.lease).collect();
    let lags = status.releases.iter().filter(|release| leases.contains(&release.lease));
    let lags_ms: Vec<f64> = lags.filter_map(|release| release.openapi_lag_ms).collect();
    if !lags_ms.is_empty() {
        let what = "until OpenAPI has forgotten that lease's CRD as well, which happens after the cluster is ready";
        draft.add(Measurement::of("openapi_lag_ms", what, &lags_ms))?;
    }
    let kubernetes = status.slots.iter().find_map(|slot| slot.kubernetes.clone()).unwrap_or_default();
    draft.subject(&status.provider, &kubernetes, status.simulated);
    draft.figure("engine_profile", status.engine_profile);
    draft.figure("api_server_restarts", status.counters.api_server_restarts);
    draft.figure("broken", status.counters.broken);
    Ok(())
}

fn milliseconds(releases: &[ReleaseStatus]) -> Vec<f64> {
    releases.iter().map(|release| release.release_ms).collect()
}

fn keys_p50(releases: &[ReleaseStatus]) -> anyhow::Result<f64> {
    let keys: Vec<f64> = releases.iter().map(|release| release.changed_keys as f64).collect();
    median(&keys).context("no lease was released")
}
