//! One sample of each way to a cluster, for the scenarios and for the gate.

use std::time::{Duration, Instant};

use anyhow::{Context, bail};
use kina_engine::ReleaseStatus;

use super::probe::ProbeReport;
use super::{Bench, envtest_recipe};

/// Interval and duration of checks of the slots' state.
const LOOK_INTERVAL: Duration = Duration::from_millis(10);
const LOOKS_MAX: u32 = 6000;

impl Bench {
    /// A test process with no engine running, from its first line to the answer of its first list; the binaries and a
    /// bootstrapped state exist.
    pub async fn sample_cold(&self) -> anyhow::Result<f64> {
        self.engine.stop().await?;
        self.sample_warm().await
    }

    /// The boot recipe of controller-runtime's envtest with the same binaries, alone on the machine as the other was.
    pub async fn sample_envtest_recipe(&self) -> anyhow::Result<f64> {
        self.engine.stop().await?;
        envtest_recipe::boot(&self.assets).await
    }

    /// The same with an engine whose clusters are all stopped, their state kept.
    pub async fn sample_stopped(&self) -> anyhow::Result<f64> {
        self.probe::<ProbeReport>(&["lease"]).await?;
        self.wait_all_ready().await?;
        self.engine.stop_idle_clusters().await?;
        self.wait_states(&["stopped"]).await?;
        self.sample_warm().await
    }

    /// The same with clusters that are ready.
    pub async fn sample_warm(&self) -> anyhow::Result<f64> {
        let slowed_percent = self.slowed_percent.to_string();
        Ok(self.probe::<ProbeReport>(&["lease", "--slowed-percent", &slowed_percent]).await?.took_ms)
    }

    /// The same with clusters that are frozen. The engine freezes idle clusters by itself.
    pub async fn sample_frozen(&self) -> anyhow::Result<f64> {
        self.wait_states(&["frozen"]).await?;
        self.sample_warm().await
    }

    /// Has a lease change the cluster, and returns the release after its end.
    pub async fn sample_release(&self, probe: &[&str]) -> anyhow::Result<ReleaseStatus> {
        let lease = self.probe::<ProbeReport>(probe).await?.lease.context("the probe had no lease")?;
        self.wait_all_ready().await?;
        let status = self.status(false).await?;
        let broken = status.counters.broken;
        let release = status.releases.into_iter().find(|release| release.lease == lease);
        release.with_context(|| format!("the engine reports no release of lease {lease} ({broken} clusters broke)"))
    }

    /// Times `cargo kina status`, a whole process.
    pub async fn sample_status_command(&self) -> anyhow::Result<f64> {
        let mut command = self.private.command(&["status", "--format", "json"])?;
        command.stdin(std::process::Stdio::null()).stdout(std::process::Stdio::piped());
        let start = Instant::now();
        let output = command.output().await?;
        let took_ms = start.elapsed().as_secs_f64() * 1e3;
        if !output.status.success() {
            bail!("`cargo kina status` failed ({})", output.status);
        }
        Ok(took_ms)
    }

    /// Waits until there is at least one slot, and all are in one of these states.
    pub async fn wait_states(&self, states: &[&str]) -> anyhow::Result<()> {
        for _ in 0..LOOKS_MAX {
            let status = self.status(false).await?;
            if !status.slots.is_empty() && status.slots.iter().all(|slot| states.contains(&slot.state.as_str())) {
                return Ok(());
            }
            tokio::time::sleep(LOOK_INTERVAL).await;
        }
        bail!("the clusters were not {} after a minute", states.join(" or "))
    }
}
