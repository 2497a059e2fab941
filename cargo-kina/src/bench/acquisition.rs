//! `cargo kina bench cold|warm|stopped|frozen`: the wait of a test process for its cluster, from its first line to the
//! answer of its first list of namespaces, by the state that it finds.

use std::time::{Duration, Instant};

use anyhow::bail;
use kina_engine::ProviderName;

use super::probe::ProbeReport;
use super::report::{Draft, Measurement, Report};
use super::thread_times::ThreadTimes;
use super::{Bench, SLOTS, say};

/// Uncounted lives of processes and caches, for samples of milliseconds and of seconds.
const WARM_UP: usize = 20;
const WARM_UP_SLOW: usize = 1;
/// Number of timed runs of `cargo kina status`.
const STATUS_COMMANDS: usize = 50;
/// Duration and number of the looks at the processor time of idle clusters.
const IDLE_LOOK: Duration = Duration::from_secs(2);
const IDLE_LOOKS: usize = 4;
/// Time after which a release and its aftermath are over.
const QUIET: Duration = Duration::from_millis(1500);

const COLD: &str = "no engine runs; the binaries and a bootstrapped state are there";
const WARM: &str = "the engine runs and has clusters that are ready";
const STOPPED: &str = "the engine runs, and its clusters are stopped, their state kept on disk";
const FROZEN: &str = "the engine runs, and its cluster is frozen";

/// With no engine running, by turns with envtest's recipe.
pub async fn cold(provider: ProviderName, samples: usize) -> anyhow::Result<Report> {
    let mut draft = Draft::begin("cold", COLD);
    let bench = Bench::prepare(provider, SLOTS).await?;
    let measured = measure_cold(&bench, samples, &mut draft).await;
    bench.end(measured).await?;
    Ok(draft.finish())
}

/// With a pool of ready clusters, by turns with a client straight to a running cluster.
pub async fn warm(provider: ProviderName, samples: usize) -> anyhow::Result<Report> {
    let mut draft = Draft::begin("warm", WARM);
    // As late as possible: the clusters have to be ready here.
    let bench = Bench::prepare_with(provider, SLOTS, &[("KINA_FREEZE_AFTER_IDLE_SECONDS", "30")]).await?;
    let measured = measure_warm(&bench, samples, &mut draft).await;
    bench.end(measured).await?;
    Ok(draft.finish())
}

/// With stopped clusters.
pub async fn stopped(provider: ProviderName, samples: usize) -> anyhow::Result<Report> {
    let mut draft = Draft::begin("stopped", STOPPED);
    let bench = Bench::prepare(provider, SLOTS).await?;
    let measured = async {
        say("bootstraps, and starts stopped clusters");
        let mut stopped_ms = Vec::new();
        for sample in 0..WARM_UP_SLOW + samples {
            let took_ms = bench.sample_stopped().await?;
            if WARM_UP_SLOW <= sample {
                stopped_ms.push(took_ms);
            }
        }
        let what = "a test process, from its first line to the answer of its first list";
        draft.add(Measurement::of("stopped_ms", what, &stopped_ms).map(|of| of.after_warm_up(WARM_UP_SLOW)))?;
        describe(&bench, &mut draft).await
    };
    let measured = measured.await;
    bench.end(measured).await?;
    Ok(draft.finish())
}

/// With a frozen cluster.
pub async fn frozen(provider: ProviderName, samples: usize) -> anyhow::Result<Report> {
    let mut draft = Draft::begin("frozen", FROZEN);
    let bench = Bench::prepare_with(provider, 1, &[("KINA_FREEZE_AFTER_IDLE_SECONDS", "1")]).await?;
    let measured = measure_frozen(&bench, samples, &mut draft).await;
    bench.end(measured).await?;
    Ok(draft.finish())
}

async fn measure_cold(bench: &Bench, samples: usize, draft: &mut Draft) -> anyhow::Result<()> {
    say("first ever: bootstraps from nothing");
    let first: ProbeReport = bench.probe(&["lease"]).await?;
    say("cold boots, and envtest's recipe in turns");
    let (mut cold_ms, mut recipe_ms, mut ratios) = (Vec::new(), Vec::new(), Vec::new());
    for sample in 0..WARM_UP_SLOW + samples {
        let cold = bench.sample_cold().await?;
        let recipe = bench.sample_envtest_recipe().await?;
        if WARM_UP_SLOW <= sample {
            cold_ms.push(cold);
            recipe_ms.push(recipe);
            ratios.push(cold / recipe);
        }
    }
    // Leaves an engine running for the questions below.
    bench.sample_cold().await?;
    let what = "a test process, from its first line to the answer of its first list";
    draft.add(Measurement::of("cold_ms", what, &cold_ms).map(|of| of.after_warm_up(WARM_UP_SLOW)))?;
    let what = "the boot recipe of controller-runtime's envtest, with the same binaries, until the same answer";
    draft.add(Measurement::of("envtest_recipe_ms", what, &recipe_ms).map(|of| of.after_warm_up(WARM_UP_SLOW)))?;
    let what = "each cold boot, divided by the recipe beside it";
    draft.add(Measurement::of("cold_to_envtest_ratio", what, &ratios).map(|of| of.after_warm_up(WARM_UP_SLOW)))?;
    let what = "the very first time: nothing was bootstrapped before; this can be measured only once a run";
    draft.add(Measurement::of("first_ever_ms", what, &[first.took_ms]))?;
    describe(bench, draft).await
}

async fn measure_warm(bench: &Bench, samples: usize, draft: &mut Draft) -> anyhow::Result<()> {
    say("bootstraps, and boots the cluster to compare with");
    bench.warm_up().await?;
    let (cluster, access_path) = bench.boot_direct_cluster().await?;
    let access_path = access_path.display().to_string();
    say("warm leases, and straight to a running cluster in turns");
    let measured = async {
        let (mut warm_ms, mut direct_ms, mut ratios) = (Vec::new(), Vec::new(), Vec::new());
        for sample in 0..WARM_UP + samples {
            let warm = bench.sample_warm().await?;
            let direct = bench.probe::<ProbeReport>(&["direct", &access_path]).await?.took_ms;
            if WARM_UP <= sample {
                warm_ms.push(warm);
                direct_ms.push(direct);
                ratios.push(warm / direct);
            }
        }
        let what = "a test process, from its first line to the answer of its first list";
        draft.add(Measurement::of("warm_ms", what, &warm_ms).map(|of| of.after_warm_up(WARM_UP)))?;
        let what = "the same client, straight to a cluster that runs already, by address and credentials";
        draft.add(Measurement::of("direct_ms", what, &direct_ms).map(|of| of.after_warm_up(WARM_UP)))?;
        let what = "each warm lease, divided by the direct list beside it";
        draft.add(Measurement::of("warm_to_direct_ratio", what, &ratios).map(|of| of.after_warm_up(WARM_UP)))
    };
    let measured = measured.await;
    cluster.destroy().await?;
    measured?;
    say("the costs of ready clusters and of the engine");
    bench.wait_all_ready().await?;
    tokio::time::sleep(QUIET).await;
    let what = "of one core, an idle cluster that is ready, its etcd included";
    add_known(draft, "ready_cluster_cpu_percent", what, &idle_percent(bench, "ready").await?)?;
    let status = bench.status(true).await?;
    let memory_mb: Vec<f64> =
        status.slots.iter().filter(|slot| 0 < slot.pss_bytes).map(|slot| slot.pss_bytes as f64 / 1e6).collect();
    let what = "proportional memory (PSS) of each of the pool's clusters after these leases, its etcd included";
    add_known(draft, "cluster_memory_mb", what, &memory_mb)?;
    let what = "resident memory (RSS) of the engine after these leases";
    draft.add(Measurement::of("engine_memory_mb", what, &[status.engine_rss_bytes as f64 / 1e6]))?;
    say("cargo kina status");
    let mut status_ms = Vec::new();
    for _ in 0..STATUS_COMMANDS {
        status_ms.push(bench.sample_status_command().await?);
    }
    let what = "`cargo kina status --format json`, the whole process";
    draft.add(Measurement::of("status_command_ms", what, &status_ms))?;
    describe(bench, draft).await
}

async fn measure_frozen(bench: &Bench, samples: usize, draft: &mut Draft) -> anyhow::Result<()> {
    say("bootstraps, and thaws a frozen cluster");
    bench.warm_up().await?;
    let mut frozen_ms = Vec::new();
    for sample in 0..WARM_UP_SLOW + samples {
        let took_ms = bench.sample_frozen().await?;
        if WARM_UP_SLOW <= sample {
            frozen_ms.push(took_ms);
        }
    }
    let what = "a test process, from its first line to the answer of its first list";
    draft.add(Measurement::of("frozen_ms", what, &frozen_ms).map(|of| of.after_warm_up(WARM_UP_SLOW)))?;
    bench.wait_states(&["frozen"]).await?;
    let what = "of one core, a frozen cluster";
    add_known(draft, "frozen_cluster_cpu_percent", what, &idle_percent(bench, "frozen").await?)?;
    let status = bench.status(false).await?;
    let mut engine_percent = Vec::new();
    for _ in 0..IDLE_LOOKS {
        engine_percent.extend(percent_of_core(&[status.process_id]).await);
    }
    let what = "of one core, the engine while its pool is frozen";
    add_known(draft, "engine_idle_cpu_percent", what, &engine_percent)?;
    if status.counters.thaws < samples as u64 {
        bail!("the engine thawed only {} times in {samples} samples", status.counters.thaws);
    }
    draft.figure("thaws", status.counters.thaws);
    describe(bench, draft).await
}

/// The processor time of one idle cluster in this state, from several looks at all of them; empty if there is none, or
/// if the system does not report it.
async fn idle_percent(bench: &Bench, state: &str) -> anyhow::Result<Vec<f64>> {
    let mut percent = Vec::new();
    for _ in 0..IDLE_LOOKS {
        let status = bench.status(false).await?;
        let slots: Vec<_> = status.slots.iter().filter(|slot| slot.state == state).collect();
        let process_ids: Vec<u32> = slots.iter().flat_map(|slot| slot.process_ids.iter().copied()).collect();
        if slots.is_empty() {
            // The clusters were idle for so long that the engine has moved them to another state.
            break;
        }
        percent.extend(percent_of_core(&process_ids).await.map(|percent| percent / slots.len() as f64));
    }
    Ok(percent)
}

async fn percent_of_core(process_ids: &[u32]) -> Option<f64> {
    let start = Instant::now();
    let before = ThreadTimes::of(process_ids)?;
    tokio::time::sleep(IDLE_LOOK).await;
    let used = ThreadTimes::of(process_ids)?.since(&before);
    Some(100.0 * used.as_secs_f64() / start.elapsed().as_secs_f64())
}

/// Adds samples, or a note if the system does not report them.
fn add_known(draft: &mut Draft, name: &str, what: &str, values: &[f64]) -> anyhow::Result<()> {
    if values.is_empty() {
        draft.note(&format!("{name} was not measured: there was none, or this system does not say"));
        return Ok(());
    }
    draft.add(Measurement::of(name, what, values))
}

/// Adds the subject of the measurements.
async fn describe(bench: &Bench, draft: &mut Draft) -> anyhow::Result<()> {
    let status = bench.status(false).await?;
    let kubernetes = status.slots.iter().find_map(|slot| slot.kubernetes.clone()).unwrap_or_default();
    draft.subject(&status.provider, &kubernetes, status.simulated);
    draft.figure("engine_profile", status.engine_profile);
    draft.figure("boots", status.counters.boots);
    draft.figure("rewinds", status.counters.rewinds);
    draft.figure("late_writes", status.counters.late_writes);
    Ok(())
}
