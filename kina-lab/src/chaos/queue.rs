//! `cargo lab chaos queue`: more processes than slots, all at once. Each is served or refused with a reason, and no
//! bound is exceeded meanwhile.

use std::process::Stdio;
use std::time::{Duration, Instant};

use anyhow::{Context, bail};
use cargo_kina::{Format, print_report};
use clap::Args;
use kina_engine::{AcquireRequest, EngineClient, EngineProgram, ProviderName};
use serde::{Deserialize, Serialize};

use super::containers::Foreign;
use super::realm::Realm;
use super::{audit, interrupted, old_client, say};

const LOOK_INTERVAL: Duration = Duration::from_millis(300);
/// Time beyond its deadline that a process may take for everything else.
const GRACE: Duration = Duration::from_secs(60);

const MEMORY_PER_SLOT_MIB: u64 = 320;

/// Arguments of the scenario.
#[derive(Clone, Debug, Args)]
pub(super) struct QueueArguments {
    /// Number of processes, each with one lease
    #[arg(long, default_value_t = 64)]
    processes: usize,
    /// Maximal number of clusters
    #[arg(long, default_value_t = 4)]
    slots: usize,
    /// Time for which each holds its lease
    #[arg(long, default_value_t = 200)]
    hold_ms: u64,
    /// Time for which each waits for its cluster
    #[arg(long, default_value_t = 120)]
    deadline_seconds: u64,
    /// Maximal memory of all clusters together, in MiB [default: 320 for each of them]
    #[arg(long)]
    memory_max_mib: Option<u64>,
    /// Format of the report
    #[arg(long, value_enum, default_value_t)]
    format: Format,
}

/// Arguments of one process.
#[derive(Clone, Debug, Args)]
pub(super) struct QueueWorkerArguments {
    #[arg(long)]
    hold_ms: u64,
}

/// The outcome of one process.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
enum Outcome {
    Served { waited_ms: u64 },
    Refused { reason: String },
}

#[derive(Debug, Default, Serialize)]
struct QueueReport {
    processes: usize,
    served: usize,
    refused_with_reason: usize,
    failed_without_reason: usize,
    hung: usize,
    waited_most_ms: u64,
    queue_longest: usize,
    queue_max: usize,
    boots_under_way_most: usize,
    boots_under_way_max: usize,
    slots_most: usize,
    slots_max: usize,
    /// Proportional memory of all clusters together and of the engine, as sampled.
    memory_most_mb: f64,
    /// The engine's bound for all clusters together.
    memory_max_mb: f64,
    orphans: usize,
    leaked_files: usize,
    seconds: f64,
    failed_parts: Vec<&'static str>,
    examples: Vec<String>,
}

/// Starts all processes and prints their outcomes.
pub(super) async fn run(provider: ProviderName, arguments: &QueueArguments) -> anyhow::Result<()> {
    if !cfg!(target_os = "linux") {
        bail!("`cargo lab chaos` needs details of processes that only Linux has");
    }
    if arguments.processes == 0 || arguments.slots == 0 {
        bail!("--processes and --slots must be at least 1");
    }
    let mut realm = Realm::prepare(provider, arguments.slots, arguments.deadline_seconds, &[], false).await?;
    let memory_max_mib = arguments.memory_max_mib.unwrap_or(arguments.slots as u64 * MEMORY_PER_SLOT_MIB);
    realm.set("KINA_MEMORY_MAX", format!("{memory_max_mib}MiB"));
    let mut report = QueueReport { processes: arguments.processes, ..QueueReport::default() };
    let start = Instant::now();
    let processes = (0..arguments.processes).map(|_| run_process(&realm, arguments));
    let all = futures::future::join_all(processes);
    let mut memory_most = 0;
    let outcomes = tokio::select! {
        outcomes = all => Some(outcomes),
        () = watch_memory(&realm, &mut memory_most) => None,
        () = interrupted() => None,
    };
    let Some(outcomes) = outcomes else {
        realm.engine().stop().await?;
        bail!("interrupted");
    };
    report.seconds = start.elapsed().as_secs_f64();
    for outcome in outcomes {
        match outcome {
            Ok(Some(Outcome::Served { waited_ms })) => {
                report.served += 1;
                report.waited_most_ms = report.waited_most_ms.max(waited_ms);
            }
            Ok(Some(Outcome::Refused { reason })) if !reason.trim().is_empty() => {
                report.refused_with_reason += 1;
                if report.refused_with_reason == 1 {
                    report.examples.push(format!("refused: {reason}"));
                }
            }
            Ok(Some(Outcome::Refused { .. })) => report.failed_without_reason += 1,
            Ok(None) => report.hung += 1,
            Err(error) => {
                report.failed_without_reason += 1;
                report.examples.push(format!("failed: {error:#}"));
            }
        }
    }
    if let Some(status) = realm.status(false).await {
        let high_water = status.high_water;
        report.queue_longest = high_water.queue_longest;
        report.queue_max = high_water.queue_max;
        report.boots_under_way_most = high_water.boots_under_way_most;
        report.boots_under_way_max = high_water.boots_under_way_max;
        report.slots_most = high_water.slots_most;
        report.slots_max = high_water.slots_max;
        report.memory_max_mb = high_water.memory_max_bytes as f64 / 1e6;
    }
    report.memory_most_mb = memory_most as f64 / 1e6;
    realm.engine().stop().await?;
    let leftovers = audit::audit(&realm, &Foreign::default()).await;
    report.orphans = leftovers.orphans.len();
    report.leaked_files = leftovers.files.len();
    report.examples.extend(leftovers.orphans.into_iter().chain(leftovers.files));
    report.judge();
    print_report(&report, arguments.format)?;
    if !report.failed_parts.is_empty() {
        bail!("chaos found failures of: {}", report.failed_parts.join(", "));
    }
    Ok(())
}

/// Asks for one lease, holds it, and prints the outcome.
pub(super) async fn run_worker(arguments: &QueueWorkerArguments) -> anyhow::Result<()> {
    let engine = EngineClient::from_environment(EngineProgram::ThisExecutable)?;
    let request = AcquireRequest::from_environment("chaos queue", None)?;
    let start = Instant::now();
    let outcome = match engine.acquire(request, &|_| {}).await {
        Ok(lease) => {
            let waited_ms = u64::try_from(start.elapsed().as_millis()).unwrap_or(u64::MAX);
            let credentials = old_client::Credentials::of(&lease.grant, &engine.paths().lease_socket, true);
            credentials.connect_first(lease.connector())?.get("/api/v1/namespaces").await?;
            tokio::time::sleep(Duration::from_millis(arguments.hold_ms)).await;
            Outcome::Served { waited_ms }
        }
        Err(error) => Outcome::Refused { reason: kina_engine::with_causes(&error) },
    };
    println!("{}", serde_json::to_string(&outcome)?);
    Ok(())
}

/// `None` for a process that did not end in time.
async fn run_process(realm: &Realm, arguments: &QueueArguments) -> anyhow::Result<Option<Outcome>> {
    let mut command = realm.command(&["chaos", "queue-worker", "--hold-ms", &arguments.hold_ms.to_string()])?;
    let output = command.stdin(Stdio::null()).stderr(Stdio::piped()).output();
    let timeout = Duration::from_secs(arguments.deadline_seconds) + GRACE;
    let Ok(output) = tokio::time::timeout(timeout, output).await else { return Ok(None) };
    let output = output.context("running a process failed")?;
    if !output.status.success() {
        bail!("a process failed ({}): {}", output.status, String::from_utf8_lossy(&output.stderr).trim());
    }
    Ok(Some(serde_json::from_slice(&output.stdout)?))
}

async fn watch_memory(realm: &Realm, most_bytes: &mut u64) {
    loop {
        if let Some(status) = realm.status(true).await {
            let clusters: u64 = status.slots.iter().map(|slot| slot.pss_bytes).sum();
            *most_bytes = (*most_bytes).max(clusters + status.engine_rss_bytes);
            if 0 < status.waiting {
                say(&format!("{} wait", status.waiting));
            }
        }
        tokio::time::sleep(LOOK_INTERVAL).await;
    }
}

impl QueueReport {
    fn judge(&mut self) {
        let parts = [
            ("queue", self.queue_max < self.queue_longest),
            ("boots", self.boots_under_way_max < self.boots_under_way_most),
            ("slots", self.slots_max < self.slots_most),
            ("memory", self.memory_max_mb < self.memory_most_mb),
            ("unexplained", 0 < self.failed_without_reason),
            ("hung", 0 < self.hung),
            ("reap", 0 < self.orphans),
            ("files", 0 < self.leaked_files),
        ];
        self.failed_parts = parts.into_iter().filter(|(_, has_failed)| *has_failed).map(|(part, _)| part).collect();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_bound_that_was_exceeded_is_named() {
        let mut report = QueueReport { slots_most: 4, slots_max: 4, ..QueueReport::default() };
        report.judge();
        assert!(report.failed_parts.is_empty());
        report.slots_most = 5;
        report.judge();
        assert_eq!(report.failed_parts, ["slots"]);
    }
}
