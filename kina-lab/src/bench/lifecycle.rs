//! `cargo lab bench lifecycle`: one cluster's life, straight from its provider: no engine, no pool, no gateway.

use std::collections::BTreeSet;
use std::os::unix::fs::MetadataExt;
use std::path::Path;
use std::sync::Arc;
use std::time::Instant;

use anyhow::{Context, bail};
use kina_engine::lab::image::layout::SUPERVISOR_LOG;
use kina_engine::lab::provider::{CreateRequest, ProvidedCluster, Provider, Readiness};
use kina_engine::lab::snapshot::Snapshot;
use kina_engine::{Assets, Profile, ProviderName};
use serde::{Deserialize, Serialize};

use super::super::contract::writes_allowed;
use super::report::{self, Draft, Measurement};
use super::say;
use super::statistics::median;
use crate::private_provider::{PrivateProvider, binaries_of, bootstrap};

const CREATE_MS_MAX: f64 = 30_000.0;
const START_STOPPED_MS_MAX: f64 = 15_000.0;
const KUBECTL_READY_MS_MAX: f64 = 5_000.0;
const DELETE_MS_MAX: f64 = 10_000.0;
const STATE_CHECK_MS_MAX: f64 = 100.0;

/// Number of checks in each life that a cluster runs.
const STATE_CHECKS: usize = 10;
/// The clock of the caller: since it asked for the cluster.
const ENGINE: &str = "engine";
/// The clock inside the cluster: since its first process ran.
const SUPERVISOR: &str = "supervisor";

/// Medians, in milliseconds and megabytes (10⁶ bytes).
#[derive(Debug, Serialize)]
struct Report {
    provider: &'static str,
    /// The figures say nothing about the real thing.
    simulated: bool,
    samples: usize,
    /// Set if all figures with a limit are below it.
    ok: bool,
    create_ms: Figure,
    start_stopped_ms: Option<Figure>,
    /// Time from the end of the creation, or of the start, until a client may write: the slower of both.
    kubectl_ready_ms: Figure,
    kubectl_ready_after_create_ms: f64,
    kubectl_ready_after_start_ms: Option<f64>,
    delete_ms: Figure,
    state_check_ms: Figure,
    disk_mb: Figure,
    /// The part of `disk_mb` in the cluster's own directory.
    disk_files_mb: f64,
    /// The part of `disk_mb` by which the provider's own figure rose; absent if it has none.
    disk_provider_mb: Option<f64>,
    stop_ms: Option<f64>,
    /// Measured once: time until a client may write to the very first cluster, which starts from nothing.
    first_ever_ms: f64,
    phases: Vec<Phase>,
}

/// A figure beside its limit.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
struct Figure {
    value: f64,
    limit: Option<f64>,
    ok: Option<bool>,
}

/// The time at which a step of the boot ended.
#[derive(Clone, Debug, PartialEq, Serialize)]
struct Phase {
    phase: String,
    /// The clock that it was measured by.
    clock: &'static str,
    ms: f64,
}

/// One life.
#[derive(Debug, Default)]
struct Life {
    create_ms: f64,
    ready_after_create_ms: f64,
    /// Only of providers whose clusters can be stopped: the stop, the start, and the time until a client may write.
    stop_ms: Option<f64>,
    start_ms: Option<f64>,
    ready_after_start_ms: Option<f64>,
    delete_ms: f64,
    state_check_ms: Vec<f64>,
    files_mb: f64,
    provider_mb: Option<f64>,
    phases: Vec<Phase>,
}

#[derive(Deserialize)]
struct SupervisorEvent {
    since_start_ms: f64,
    event: String,
}

/// Measures.
pub(super) async fn measure(provider: ProviderName, samples: usize) -> anyhow::Result<report::Report> {
    let mut draft = Draft::begin("lifecycle", "one cluster's life, straight from its provider");
    let private = PrivateProvider::prepare(provider, "lifecycle")?;
    let maker = private.connect().await?;
    let assets = binaries_of(&maker).await?;
    say("first ever: bootstraps from nothing");
    let start = Instant::now();
    let mut first_ever_ms = 0.0;
    let snapshot = bootstrap(&maker, &assets, async |cluster| {
        writes_allowed(&**cluster).await?;
        first_ever_ms = since(start);
        Ok(())
    })
    .await?;
    let mut lives = Vec::new();
    for sample in 1..=samples {
        say(&format!("life {sample} of {samples}"));
        lives.push(live(&private, &maker, &assets, &snapshot, sample).await?);
    }
    maker.wait_all_ended().await;
    let simulated = maker.capabilities().simulated;
    add_measurements(&mut draft, &lives)?;
    let figures = serde_json::to_value(Report::new(provider, simulated, first_ever_ms, &lives)?)?;
    let kubernetes = assets.version.as_ref().map_or(String::new(), |version| format!("v{version}"));
    draft.subject(provider.as_str(), &kubernetes, simulated);
    let mut report = draft.finish();
    if let serde_json::Value::Object(figures) = figures {
        // Every report has a place for these two.
        let own = figures.into_iter().filter(|(name, _)| name != "provider" && name != "simulated");
        report.figures.extend(own);
    }
    Ok(report)
}

/// Adds every sample, for details beyond medians.
fn add_measurements(draft: &mut Draft, lives: &[Life]) -> anyhow::Result<()> {
    let of = |value: &dyn Fn(&Life) -> Option<f64>| lives.iter().filter_map(value).collect::<Vec<_>>();
    let samples = [
        ("cluster_created_ms", "until the provider has made a cluster", of(&|life| Some(life.create_ms))),
        (
            "writable_after_creation_ms",
            "from then on until a client may write",
            of(&|life| Some(life.ready_after_create_ms)),
        ),
        ("cluster_started_ms", "until a stopped cluster runs again", of(&|life| life.start_ms)),
        ("writable_after_start_ms", "from then on until a client may write", of(&|life| life.ready_after_start_ms)),
        ("cluster_stopped_ms", "until a cluster is stopped", of(&|life| life.stop_ms)),
        ("cluster_deleted_ms", "until nothing is left of a cluster", of(&|life| Some(life.delete_ms))),
        (
            "state_checked_ms",
            "the answer whether a cluster runs",
            lives.iter().flat_map(|life| life.state_check_ms.iter().copied()).collect(),
        ),
    ];
    for (name, what, values) in samples.into_iter().filter(|(_, _, values)| !values.is_empty()) {
        draft.add(Measurement::of(name, what, &values))?;
    }
    Ok(())
}

async fn live(
    private: &PrivateProvider,
    provider: &Arc<dyn Provider>,
    assets: &Assets,
    snapshot: &Snapshot,
    sample: usize,
) -> anyhow::Result<Life> {
    let name = format!("life-{sample}");
    let state_directory = private.state_directory(&name);
    let provider_before_bytes = provider.disk_bytes().await;
    let mut life = Life::default();
    let start = Instant::now();
    let request = CreateRequest {
        name,
        assets: assets.clone(),
        profile: Profile::Api,
        initial_state: Arc::clone(&snapshot.state),
    };
    let cluster = provider.create(request).await?;
    life.create_ms = since(start);
    let lived = async {
        let created = Instant::now();
        cluster.wait_ready(Readiness::Early).await?;
        let early_ms = since(start);
        writes_allowed(&*cluster).await?;
        life.ready_after_create_ms = since(created);
        let writable_ms = since(start);
        life.phases = supervisor_phases(&log_of(&*cluster));
        cluster.wait_ready(Readiness::Full).await?;
        let of_engine = [
            ("created", life.create_ms),
            ("ready_early", early_ms),
            ("writable", writable_ms),
            ("ready", since(start)),
        ];
        life.phases.extend(of_engine.map(|(phase, ms)| Phase { phase: phase.to_owned(), clock: ENGINE, ms }));
        for _ in 0..STATE_CHECKS {
            let asked = Instant::now();
            if !cluster.check_running().await? {
                bail!("the cluster is reported as not running");
            }
            life.state_check_ms.push(since(asked));
        }
        life.files_mb = megabytes(bytes_below(&state_directory));
        let provider_bytes = provider.disk_bytes().await;
        life.provider_mb =
            provider_before_bytes.zip(provider_bytes).map(|(before, after)| megabytes(after.saturating_sub(before)));
        if provider.capabilities().stop {
            let asked = Instant::now();
            cluster.stop().await?;
            life.stop_ms = Some(since(asked));
            let asked = Instant::now();
            cluster.start().await?;
            life.start_ms = Some(since(asked));
            let started = Instant::now();
            writes_allowed(&*cluster).await?;
            life.ready_after_start_ms = Some(since(started));
        }
        anyhow::Ok(())
    };
    let lived = lived.await;
    let asked = Instant::now();
    cluster.destroy().await?;
    life.delete_ms = since(asked);
    lived.map(|()| life)
}

impl Report {
    fn new(provider: ProviderName, simulated: bool, first_ever_ms: f64, lives: &[Life]) -> anyhow::Result<Self> {
        let of = |value: &dyn Fn(&Life) -> f64| {
            median(&lives.iter().map(value).collect::<Vec<_>>()).context("there is no sample")
        };
        let of_some =
            |value: &dyn Fn(&Life) -> Option<f64>| median(&lives.iter().filter_map(value).collect::<Vec<_>>());
        let after_create_ms = of(&|life| life.ready_after_create_ms)?;
        let after_start_ms = of_some(&|life| life.ready_after_start_ms);
        let state_checks: Vec<_> = lives.iter().flat_map(|life| life.state_check_ms.iter().copied()).collect();
        let disk_files_mb = of(&|life| life.files_mb)?;
        let disk_provider_mb = of_some(&|life| life.provider_mb);
        let mut report = Self {
            provider: provider.as_str(),
            simulated,
            samples: lives.len(),
            ok: false,
            create_ms: Figure::limited(of(&|life| life.create_ms)?, CREATE_MS_MAX),
            start_stopped_ms: of_some(&|life| life.start_ms).map(|ms| Figure::limited(ms, START_STOPPED_MS_MAX)),
            kubectl_ready_ms: Figure::limited(
                after_start_ms.map_or(after_create_ms, |ms| ms.max(after_create_ms)),
                KUBECTL_READY_MS_MAX,
            ),
            kubectl_ready_after_create_ms: after_create_ms,
            kubectl_ready_after_start_ms: after_start_ms,
            delete_ms: Figure::limited(of(&|life| life.delete_ms)?, DELETE_MS_MAX),
            state_check_ms: Figure::limited(
                median(&state_checks).context("no check that it runs was made")?,
                STATE_CHECK_MS_MAX,
            ),
            disk_mb: Figure { value: disk_files_mb + disk_provider_mb.unwrap_or_default(), limit: None, ok: None },
            disk_files_mb,
            disk_provider_mb,
            stop_ms: of_some(&|life| life.stop_ms),
            first_ever_ms,
            phases: median_phases(lives),
        };
        let limited = [report.create_ms, report.kubectl_ready_ms, report.delete_ms, report.state_check_ms];
        report.ok = limited.iter().chain(&report.start_stopped_ms).all(|figure| figure.ok != Some(false));
        Ok(report)
    }
}

impl Figure {
    fn limited(value: f64, limit: f64) -> Self {
        Self { value, limit: Some(limit), ok: Some(value <= limit) }
    }
}

/// The steps that the first process inside reports, if it does: each step's first time.
fn supervisor_phases(log: &str) -> Vec<Phase> {
    let mut seen = BTreeSet::new();
    let events = log.lines().filter_map(|line| serde_json::from_str::<SupervisorEvent>(line).ok());
    let firsts = events.filter(|said| seen.insert(said.event.clone()));
    firsts.map(|said| Phase { phase: said.event, clock: SUPERVISOR, ms: said.since_start_ms }).collect()
}

/// The median of each step over all lives, in the order of the first.
fn median_phases(lives: &[Life]) -> Vec<Phase> {
    let order = lives.first().map(|life| life.phases.as_slice()).unwrap_or_default();
    let medians = order.iter().filter_map(|phase| {
        let is_same = |other: &&Phase| (&other.phase, other.clock) == (&phase.phase, phase.clock);
        let all: Vec<_> =
            lives.iter().filter_map(|life| life.phases.iter().find(is_same)).map(|found| found.ms).collect();
        median(&all).map(|ms| Phase { ms, ..phase.clone() })
    });
    medians.collect()
}

/// The supervisor's log; empty if there is none.
fn log_of(cluster: &dyn ProvidedCluster) -> String {
    std::fs::read_to_string(cluster.log_directory().join(SUPERVISOR_LOG)).unwrap_or_default()
}

/// The disk space of a directory and everything below; files that disappear meanwhile do not count.
fn bytes_below(directory: &Path) -> u64 {
    let entries = std::fs::read_dir(directory).into_iter().flatten().flatten();
    let below = entries.map(|entry| match entry.metadata() {
        Ok(metadata) if metadata.is_dir() => metadata.blocks() * 512 + bytes_below(&entry.path()),
        Ok(metadata) => metadata.blocks() * 512,
        Err(_) => 0,
    });
    below.sum()
}

fn megabytes(bytes: u64) -> f64 {
    bytes as f64 / 1e6
}

fn since(start: Instant) -> f64 {
    start.elapsed().as_secs_f64() * 1000.0
}

#[cfg(test)]
mod tests {
    use super::*;

    fn life(create_ms: f64, started: bool) -> Life {
        let phase = Phase { phase: "created".to_owned(), clock: ENGINE, ms: create_ms };
        Life {
            create_ms,
            start_ms: started.then_some(20_000.0),
            ready_after_start_ms: started.then_some(40.0),
            ready_after_create_ms: 7.0,
            state_check_ms: vec![1.0, 3.0],
            phases: vec![phase],
            ..Life::default()
        }
    }

    #[test]
    fn figures_are_medians_beside_their_limits() {
        let lives = [life(10.0, true), life(30.0, true), life(20.0, true)];
        let report = Report::new(ProviderName::Process, false, 5.0, &lives).expect("samples");
        assert_eq!(report.create_ms, Figure { value: 20.0, limit: Some(30_000.0), ok: Some(true) });
        assert_eq!(report.start_stopped_ms.expect("stopped").ok, Some(false));
        assert_eq!(report.kubectl_ready_ms.value, 40.0);
        assert_eq!(report.phases[0].ms, 20.0);
        assert!(!report.ok);
        let report = Report::new(ProviderName::Process, false, 5.0, &[life(10.0, false)]).expect("samples");
        assert_eq!((report.ok, report.start_stopped_ms, report.kubectl_ready_ms.value), (true, None, 7.0));
        assert!(Report::new(ProviderName::Process, false, 5.0, &[]).is_err());
    }

    #[test]
    fn steps_inside_are_those_of_the_first_time() {
        let log = "{\"since_start_ms\":3,\"event\":\"etcd_started\"}\nnoise\n{\"since_start_ms\":9,\"event\":\"etcd_started\"}\n\
                   {\"since_start_ms\":40.5,\"event\":\"etcd_serving\",\"detail\":null}";
        let phases: Vec<_> = supervisor_phases(log).into_iter().map(|phase| (phase.phase, phase.ms)).collect();
        assert_eq!(phases, [("etcd_started".to_owned(), 3.0), ("etcd_serving".to_owned(), 40.5)]);
    }

    #[test]
    fn what_is_below_counts_in_whole_blocks() {
        let directory = tempfile::tempdir().expect("a temporary directory");
        std::fs::create_dir(directory.path().join("inner")).expect("made");
        let before = bytes_below(directory.path());
        std::fs::write(directory.path().join("inner/file"), vec![1; 100_000]).expect("written");
        assert!(before + 100_000 <= bytes_below(directory.path()));
        assert_eq!(bytes_below(&directory.path().join("nothing")), 0);
    }
}
