//! `cargo kina bench`: measurements of a test's way to its cluster. This module holds the private engine of all scenarios,
//! those of `cargo lab bench` included, and `cargo kina bench acquire`.
//!
//! - `scenario`: the command line.
//! - `report`, `statistics`, `machine_description`: the one form of all reports, and the statistics of samples.
//! - `acquisition`: the scenarios.
//! - `gate`: detection of slow-downs. `plot`: pictures.
//! - `sampler`, `probe`, `dirt`, `envtest_recipe`: single samples. `api_server`: their requests.
//! - `change`: single changes of a cluster, shared with the tests of the workspace.
//!
//! Everything that is compared is measured in one run, so that ratios are meaningful on any machine: kina's own ways to
//! a cluster, a client straight to a running cluster, and the boot recipe of controller-runtime's envtest with the same
//! binaries. The engine is a private one, of this very executable.

mod acquisition;
pub mod api_server;
pub mod change;
pub mod dirt;
pub mod envtest_recipe;
pub mod gate;
pub mod machine_description;
pub mod plot;
pub mod probe;
pub mod report;
mod sampler;
mod scenario;
pub mod statistics;
mod thread_times;

use std::path::PathBuf;
use std::process::Stdio;

use anyhow::{Context, bail};
use kina_engine::{
    AcquireRequest, AssetRequest, Assets, DirectCluster, EngineClient, KubernetesMinor, ProviderName, Status,
};
use serde::Serialize;
use serde::de::DeserializeOwned;

use self::probe::{DirectAccess, ProbeReport};
use self::statistics::{median, percentile};
use super::{Format, PrivateEngine, find_binaries, print_report};

pub use self::scenario::{AcquisitionScenario, BenchArguments, Output, exit_code, run, some};

/// Samples of operations that take about a second each.
const BOOT_SAMPLES: usize = 5;
/// Samples of a release, each of which takes a probe of some seconds to prepare.
const RELEASE_SAMPLES: usize = 20;
/// Slots of the private engine: one that is leased and one that is being rewound meanwhile.
pub const SLOTS: usize = 2;

/// The result, in milliseconds and megabytes (10⁶ bytes).
#[derive(Debug, Serialize)]
struct Report {
    /// The provider is an emulation of the real thing, so no figure applies to that.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    simulated: bool,
    cold_ms: f64,
    first_ever_ms: f64,
    stopped_ms: f64,
    warm_p50_ms: f64,
    warm_p99_ms: f64,
    release_p50_ms: f64,
    openapi_lag_p50_ms: Option<f64>,
    boots: u64,
    rewinds: u64,
    engine_rss_mb: f64,
    cluster_pss_mb: f64,
    engine_profile: String,
    kubernetes: String,
    direct_p50_ms: f64,
    envtest_recipe_cold_ms: f64,
    /// Not measured itself, but the purpose of the figures above.
    warm_to_direct_ratio: f64,
    cold_to_envtest_ratio: f64,
    release_p99_ms: f64,
    release_keys_p50: f64,
    api_server_restarts: u64,
    late_writes: u64,
    runs: usize,
}

/// A private engine that is measured. It ends with this value, even if the measurement is aborted.
pub struct Bench {
    pub private: PrivateEngine,
    pub assets: Assets,
    pub engine: EngineClient,
    pub slots: usize,
    /// Time that leases waste on purpose, in percent; see `gate::Planted`.
    pub slowed_percent: u32,
    has_ended: bool,
}

/// Measures and prints.
async fn acquire(provider: ProviderName, runs: usize, format: Format) -> anyhow::Result<()> {
    if runs == 0 {
        bail!("--runs must be at least 1");
    }
    let bench = Bench::prepare(provider, SLOTS).await?;
    let measured = bench.measure(runs).await;
    bench.finish(measured, format).await
}

impl Bench {
    pub async fn prepare(provider: ProviderName, slots: usize) -> anyhow::Result<Self> {
        Self::prepare_with(provider, slots, &[]).await
    }

    /// The same, with further settings of the engine.
    pub async fn prepare_with(
        provider: ProviderName,
        slots: usize,
        settings: &[(&'static str, &str)],
    ) -> anyhow::Result<Self> {
        let assets = find_binaries().await?;
        let mut private = PrivateEngine::prepare("bench")?.with_own_cache().with_this_executable()?;
        private.set("KINA_ASSETS_DIR", assets.kube_apiserver.parent().context("the binaries have a directory")?);
        private.set("KINA_PROVIDER", provider.as_str());
        private.set("KINA_SLOTS_MAX", slots.to_string());
        for (name, value) in settings {
            private.set(name, value);
        }
        let engine = private.client(provider)?;
        Ok(Self { private, assets, engine, slots, slowed_percent: 0, has_ended: false })
    }

    /// Sets the number of slots of the next engine.
    pub fn set_slots(&mut self, slots: usize) {
        self.slots = slots;
        self.private.set("KINA_SLOTS_MAX", slots.to_string());
    }

    /// Ends the private engine, even after a failed measurement.
    pub async fn end<T>(mut self, measured: anyhow::Result<T>) -> anyhow::Result<T> {
        let ended = self.engine.stop().await;
        self.has_ended = ended.is_ok();
        let measured = measured?;
        ended?;
        Ok(measured)
    }

    /// The same, and prints the result.
    pub async fn finish(self, measured: anyhow::Result<impl Serialize>, format: Format) -> anyhow::Result<()> {
        print_report(&self.end(measured).await?, format)
    }

    async fn measure(&self, runs: usize) -> anyhow::Result<Report> {
        say("first ever: bootstraps from nothing");
        let first: ProbeReport = self.probe(&["lease"]).await?;
        say("cold boots, and envtest's recipe beside them");
        let (mut cold, mut recipe) = (Vec::new(), Vec::new());
        for _ in 0..BOOT_SAMPLES {
            self.engine.stop().await?;
            cold.push(self.probe::<ProbeReport>(&["lease"]).await?.took_ms);
            // Alone on the machine, as the other was.
            self.engine.stop().await?;
            recipe.push(envtest_recipe::boot(&self.assets).await?);
        }
        say("from stopped");
        let mut stopped = Vec::new();
        for _ in 0..BOOT_SAMPLES {
            self.probe::<ProbeReport>(&["lease"]).await?;
            self.wait_all_ready().await?;
            self.engine.stop_idle_clusters().await?;
            stopped.push(self.probe::<ProbeReport>(&["lease"]).await?.took_ms);
        }
        say("warm, and straight to a running cluster beside it");
        self.warm_up().await?;
        let (warm, direct) = self.warm_and_direct(runs).await?;
        say("releases");
        let mut release_leases = Vec::new();
        for _ in 0..RELEASE_SAMPLES {
            release_leases.extend(self.probe::<ProbeReport>(&["dirty"]).await?.lease);
            self.wait_all_ready().await?;
        }
        // OpenAPI follows up to a second later.
        tokio::time::sleep(std::time::Duration::from_secs(2)).await;
        let status = self.status(true).await?;
        self.report(runs, &first, &cold, &recipe, &stopped, &warm, &direct, &release_leases, &status)
    }

    #[expect(clippy::too_many_arguments, reason = "a plain list of what was measured")]
    fn report(
        &self,
        runs: usize,
        first: &ProbeReport,
        cold: &[f64],
        recipe: &[f64],
        stopped: &[f64],
        warm: &[f64],
        direct: &[f64],
        release_leases: &[u64],
        status: &Status,
    ) -> anyhow::Result<Report> {
        let of = |samples: &[f64], what: &str| median(samples).with_context(|| format!("no sample of {what}"));
        let releases: Vec<_> =
            status.releases.iter().filter(|release| release_leases.contains(&release.lease)).collect();
        let release_ms: Vec<f64> = releases.iter().map(|release| release.release_ms).collect();
        let release_keys: Vec<f64> = releases.iter().map(|release| release.changed_keys as f64).collect();
        let openapi_lags: Vec<f64> = releases.iter().filter_map(|release| release.openapi_lag_ms).collect();
        let running: Vec<u64> = status.slots.iter().map(|slot| slot.pss_bytes).filter(|bytes| 0 < *bytes).collect();
        let (cold_ms, recipe_ms) = (of(cold, "cold boots")?, of(recipe, "envtest's recipe")?);
        let (warm_p50_ms, direct_p50_ms) = (of(warm, "warm leases")?, of(direct, "direct lists")?);
        Ok(Report {
            simulated: status.simulated,
            cold_ms,
            first_ever_ms: first.took_ms,
            stopped_ms: of(stopped, "starts")?,
            warm_p50_ms,
            warm_p99_ms: percentile(warm, 0.99).context("no sample of warm leases")?,
            release_p50_ms: of(&release_ms, "releases")?,
            openapi_lag_p50_ms: median(&openapi_lags),
            boots: status.counters.boots,
            rewinds: status.counters.rewinds,
            engine_rss_mb: status.engine_rss_bytes as f64 / 1e6,
            cluster_pss_mb: running.iter().sum::<u64>() as f64 / 1e6 / running.len().max(1) as f64,
            engine_profile: status.engine_profile.clone(),
            kubernetes: first.kubernetes.clone().unwrap_or_default(),
            direct_p50_ms,
            envtest_recipe_cold_ms: recipe_ms,
            warm_to_direct_ratio: warm_p50_ms / direct_p50_ms,
            cold_to_envtest_ratio: cold_ms / recipe_ms,
            release_p99_ms: percentile(&release_ms, 0.99).context("no sample of releases")?,
            release_keys_p50: of(&release_keys, "releases")?,
            api_server_restarts: status.counters.api_server_restarts,
            late_writes: status.counters.late_writes,
            runs,
        })
    }

    /// Takes both by turns, so that both see the same machine.
    async fn warm_and_direct(&self, runs: usize) -> anyhow::Result<(Vec<f64>, Vec<f64>)> {
        let (cluster, access_path) = self.boot_direct_cluster().await?;
        let access_path = access_path.display().to_string();
        let (mut warm, mut direct) = (Vec::new(), Vec::new());
        for _ in 0..runs {
            warm.push(self.probe::<ProbeReport>(&["lease"]).await?.took_ms);
            direct.push(self.probe::<ProbeReport>(&["direct", &access_path]).await?.took_ms);
        }
        cluster.destroy().await?;
        Ok((warm, direct))
    }

    /// A cluster of this process, whose own credentials are available to the probes.
    pub async fn boot_direct_cluster(&self) -> anyhow::Result<(DirectCluster, PathBuf)> {
        let cache_directory = self.private.cache_directory();
        // The engine identifies the binaries by the directory that it was given.
        let mut request = AssetRequest::new(KubernetesMinor::DEFAULT, cache_directory.clone());
        request.explicit_directory = self.assets.kube_apiserver.parent().map(PathBuf::from);
        let assets = tokio::task::spawn_blocking(move || kina_engine::provide_assets(&request, &|_| {})).await??;
        let cluster = DirectCluster::boot(self.private.directory(), &cache_directory, assets).await?;
        let access = cluster.access();
        let access = DirectAccess {
            address: access.api_address,
            ca_pem: access.api_ca_pem.clone(),
            certificate_pem: access.admin.certificate_pem.clone(),
            key_pem: access.admin.key_pem.clone(),
        };
        let path = self.private.directory().join("direct.json");
        std::fs::write(&path, serde_json::to_vec(&access)?)?;
        Ok((cluster, path))
    }

    pub async fn warm_up(&self) -> anyhow::Result<()> {
        let mut warm = self.private.command(&["warm", &self.slots.to_string()])?;
        let status = warm.stdin(Stdio::null()).stdout(Stdio::null()).status().await?;
        if !status.success() {
            // The log itself is removed with this run.
            let log_tail = kina_engine::log_tail(&self.engine.paths().log);
            bail!("warming up the private engine failed ({status}); its log ends with:\n{log_tail}");
        }
        Ok(())
    }

    /// Runs a probe in a process of its own.
    pub async fn probe<Report: DeserializeOwned>(&self, arguments: &[&str]) -> anyhow::Result<Report> {
        let mut probe = self.private.command(&["bench", "probe"])?;
        let output = probe.args(arguments).stdin(Stdio::null()).stderr(Stdio::inherit()).output().await?;
        if !output.status.success() {
            bail!("a probe failed ({})", output.status);
        }
        Ok(serde_json::from_slice(&output.stdout)?)
    }

    pub async fn wait_all_ready(&self) -> anyhow::Result<()> {
        const ATTEMPTS_MAX: u32 = 6000;
        for _ in 0..ATTEMPTS_MAX {
            let status = self.status(false).await?;
            if status.slots.iter().all(|slot| matches!(slot.state.as_str(), "ready" | "frozen" | "stopped")) {
                return Ok(());
            }
            tokio::time::sleep(std::time::Duration::from_millis(10)).await;
        }
        bail!("the clusters were not ready again after a minute")
    }

    /// The request of a lease that this process takes itself, not a probe.
    pub fn request_settings(&self) -> anyhow::Result<AcquireRequest> {
        let assets_directory = self.assets.kube_apiserver.parent().context("the binaries have a directory")?;
        Ok(AcquireRequest { assets_directory: Some(assets_directory.to_owned()), ..AcquireRequest::default() })
    }

    pub async fn status(&self, with_memory: bool) -> anyhow::Result<Status> {
        self.engine.status(with_memory).await?.context("the private engine has ended")
    }
}

impl Drop for Bench {
    fn drop(&mut self) {
        if self.has_ended {
            return;
        }
        // The engine's directory is removed next. Should this fail, the engine ends by itself once it is idle.
        let Ok(program) = std::env::current_exe() else { return };
        let mut stop = std::process::Command::new(program);
        stop.arg("stop");
        self.private.prepare_command(&mut stop);
        let _ = stop.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null()).status();
    }
}

pub fn say(text: &str) {
    eprintln!("bench: {text}");
}
