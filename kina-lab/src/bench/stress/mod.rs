//! `cargo lab bench stress`: leases while other processes take the processor and the memory.
//!
//! The same leases in turns: with the machine as it is, beside processes that use the processor, beside one that holds
//! much memory, beside both; and finally with an engine that may only use the memory of one cluster. Each lease checks
//! that its cluster is pristine and leaves something that the next may not find.
//!
//! - `pressure`: the processes that take the processor and the memory. `lease`: one lease.

mod lease;
mod pressure;

use anyhow::bail;
use cargo_kina::Format;
use clap::Args;
use futures::StreamExt;
use kina_engine::lab::protocol::Counters;
use kina_engine::{ProviderName, Status};
use serde::Serialize;

use self::lease::LeaseReport;
pub(super) use self::lease::run as run_lease;
use self::pressure::Pressure;
pub(super) use self::pressure::{PressArguments, run as run_press};
use super::statistics::{median, percentile};
use super::{Bench, say};

/// The default divisor of the free memory that is taken in the phases with memory pressure.
const MEMORY_SHARE: u64 = 4;
const MEMORY_MAX_MB: u64 = 4096;
/// The memory bound of the last engine: slightly more than one cluster takes.
const SCARCE_MEMORY: &str = "512MiB";
/// Reasons of failed leases that are shown.
const REASONS_MAX: usize = 10;

/// Leases and the work of the pool while other processes take the processor and the memory
#[derive(Debug, Args)]
pub(crate) struct StressArguments {
    /// Number of leases in each phase of each round, each in a process of its own
    #[arg(long, default_value_t = 50)]
    leases: usize,
    /// Number of rounds of all phases
    #[arg(long, default_value_t = 2)]
    rounds: usize,
    /// Number of processes that want a lease at a time [default: one for each core]
    #[arg(long)]
    clients: Option<usize>,
    /// Number of threads that use the processor [default: two for each core]
    #[arg(long)]
    burners: Option<usize>,
    /// Memory to take [default: a quarter of the free memory, 4096 at most]
    #[arg(long)]
    memory_mb: Option<u64>,
    /// Format of the report
    #[arg(long, value_enum, default_value_t)]
    format: Format,
}

/// The result.
#[derive(Debug, Serialize)]
struct Report {
    /// The provider is an emulation of the real thing, so no figure applies to that.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    simulated: bool,
    /// Set if no lease failed, and none found anything of another.
    ok: bool,
    phases: Vec<Phase>,
    /// The first few failures.
    reasons: Vec<String>,
    rounds: usize,
    clients: usize,
    burners: usize,
    memory_mb: u64,
    cores: usize,
    scarce_memory: &'static str,
    engine_profile: String,
    kubernetes: String,
}

/// All rounds of one phase. Milliseconds are from the start of a process to the answer of its first list.
#[derive(Debug, Default, Serialize)]
struct Phase {
    phase: &'static str,
    leases: usize,
    failures: usize,
    /// Leases that found something in their cluster.
    strangers: usize,
    p50_ms: Option<f64>,
    p95_ms: Option<f64>,
    p99_ms: Option<f64>,
    max_ms: Option<f64>,
    /// The ratio to the phase without pressure.
    p50_ratio: Option<f64>,
    p99_ratio: Option<f64>,
    pool: PoolWork,
}

/// The work of the pool in a phase.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
struct PoolWork {
    boots: u64,
    starts: u64,
    freezes: u64,
    thaws: u64,
    rewinds: u64,
    late_writes: u64,
    broken: u64,
    /// Leases that found a cluster ready; the others waited for one.
    found_ready: u64,
    /// The most clusters at a time, and the most memory that they took, since the engine started.
    slots_most: usize,
    memory_most_mb: u64,
    queue_longest: usize,
}

/// The disturbance of a phase.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Disturbance {
    None,
    Processor,
    Memory,
    Both,
    ScarceMemory,
}

/// The findings of leases.
#[derive(Debug, Default)]
struct Tally {
    took_ms: Vec<f64>,
    strangers: usize,
    reasons: Vec<String>,
    failures: usize,
    pool: PoolWork,
}

/// The amounts of everything.
#[derive(Clone, Copy, Debug)]
struct Plan {
    leases: usize,
    rounds: usize,
    clients: usize,
    burners: usize,
    memory_mb: u64,
}

/// Measures and prints. Fails if a lease failed or found anything.
pub(crate) async fn measure(provider: ProviderName, arguments: StressArguments) -> anyhow::Result<()> {
    let plan = Plan::new(&arguments, kina_engine::cores(), kina_engine::available_memory_bytes())?;
    let mut bench = Bench::prepare(provider, kina_engine::cores() * 2).await?;
    let measured = report(&mut bench, plan).await;
    let is_ok = measured.as_ref().is_ok_and(|report| report.ok);
    bench.finish(measured, arguments.format).await?;
    if !is_ok {
        bail!("leases failed or found objects of others: see `reasons` for the first of them");
    }
    Ok(())
}

async fn report(bench: &mut Bench, plan: Plan) -> anyhow::Result<Report> {
    let mut phases = [Disturbance::None, Disturbance::Processor, Disturbance::Memory, Disturbance::Both]
        .map(|disturbance| (disturbance, Tally::default()));
    bench.warm_up().await?;
    bench.wait_all_ready().await?;
    for round in 1..=plan.rounds {
        for (disturbance, tally) in &mut phases {
            say(&format!("round {round} of {}: {}", plan.rounds, disturbance.name()));
            tally.run(bench, plan, *disturbance).await?;
        }
    }
    say("an engine that may use the memory of one cluster alone");
    bench.engine.stop().await?;
    bench.private.set("KINA_MEMORY_MAX", SCARCE_MEMORY);
    let mut scarce = (Disturbance::ScarceMemory, Tally::default());
    scarce.1.run(bench, plan, scarce.0).await?;
    let status = bench.status(false).await?;
    Ok(Report::new(plan, phases.into_iter().chain([scarce]).collect(), &status))
}

impl Plan {
    fn new(arguments: &StressArguments, cores: usize, available_bytes: u64) -> anyhow::Result<Self> {
        let plan = Self {
            leases: arguments.leases,
            rounds: arguments.rounds,
            clients: arguments.clients.unwrap_or(cores),
            burners: arguments.burners.unwrap_or(cores * 2),
            memory_mb: arguments.memory_mb.unwrap_or((available_bytes / MEMORY_SHARE / 1_000_000).min(MEMORY_MAX_MB)),
        };
        if plan.leases == 0 || plan.rounds == 0 || plan.clients == 0 {
            bail!("--leases, --rounds and --clients must be at least 1");
        }
        let most_mb = available_bytes / 2 / 1_000_000;
        if most_mb < plan.memory_mb {
            bail!("--memory-mb must be at most {most_mb}, half of the free memory: the rest belongs to others");
        }
        Ok(plan)
    }
}

impl Disturbance {
    fn name(self) -> &'static str {
        match self {
            Self::None => "calm",
            Self::Processor => "processor",
            Self::Memory => "memory",
            Self::Both => "processor_and_memory",
            Self::ScarceMemory => "scarce_memory",
        }
    }

    fn burners(self, plan: Plan) -> usize {
        if matches!(self, Self::Processor | Self::Both) { plan.burners } else { 0 }
    }

    fn memory_mb(self, plan: Plan) -> u64 {
        if matches!(self, Self::Memory | Self::Both) { plan.memory_mb } else { 0 }
    }
}

impl Tally {
    async fn run(&mut self, bench: &Bench, plan: Plan, disturbance: Disturbance) -> anyhow::Result<()> {
        let before = bench.engine.status(false).await?.map(|status| status.counters).unwrap_or_default();
        let pressure = Pressure::begin(disturbance.burners(plan), disturbance.memory_mb(plan)).await?;
        let leases = futures::stream::iter((0..plan.leases).map(|_| bench.probe::<LeaseReport>(&["stressed-lease"])));
        let reports: Vec<_> = leases.buffer_unordered(plan.clients).collect().await;
        pressure.end().await?;
        // The rewinds after the last leases belong to this phase.
        bench.wait_all_ready().await?;
        self.pool.add(&before, &bench.status(false).await?);
        reports.into_iter().for_each(|report| self.add(report));
        Ok(())
    }

    fn add(&mut self, report: anyhow::Result<LeaseReport>) {
        match report {
            Ok(report) => {
                self.took_ms.push(report.took_ms);
                if let Some(stranger) = report.strangers.first() {
                    self.strangers += 1;
                    self.reasons.push(format!("lease {} found {stranger}", report.lease));
                }
            }
            Err(error) => {
                self.failures += 1;
                self.reasons.push(format!("{error:#}"));
            }
        }
    }
}

impl PoolWork {
    fn add(&mut self, before: &Counters, status: &Status) {
        let after = &status.counters;
        let count = |sum: &mut u64, value: fn(&Counters) -> u64| *sum += value(after).saturating_sub(value(before));
        count(&mut self.boots, |counters| counters.boots);
        count(&mut self.starts, |counters| counters.starts);
        count(&mut self.freezes, |counters| counters.freezes);
        count(&mut self.thaws, |counters| counters.thaws);
        count(&mut self.rewinds, |counters| counters.rewinds);
        count(&mut self.late_writes, |counters| counters.late_writes);
        count(&mut self.broken, |counters| counters.broken);
        count(&mut self.found_ready, |counters| counters.hits.ready);
        self.slots_most = status.high_water.slots_most;
        self.memory_most_mb = status.high_water.memory_most_bytes / 1_000_000;
        self.queue_longest = status.high_water.queue_longest;
    }
}

impl Report {
    fn new(plan: Plan, tallies: Vec<(Disturbance, Tally)>, status: &Status) -> Self {
        let of_calm = |share: f64| tallies.first().and_then(|(_, calm)| percentile(&calm.took_ms, share));
        let (calm_p50_ms, calm_p99_ms) = (of_calm(0.5), of_calm(0.99));
        let ratio = |ms: Option<f64>, calm_ms: Option<f64>| ms.zip(calm_ms).map(|(ms, calm_ms)| ms / calm_ms);
        let phase = |(disturbance, tally): &(Disturbance, Tally)| {
            let (p50_ms, p99_ms) = (median(&tally.took_ms), percentile(&tally.took_ms, 0.99));
            Phase {
                phase: disturbance.name(),
                leases: tally.took_ms.len() + tally.failures,
                failures: tally.failures,
                strangers: tally.strangers,
                p50_ms,
                p95_ms: percentile(&tally.took_ms, 0.95),
                p99_ms,
                max_ms: percentile(&tally.took_ms, 1.0),
                p50_ratio: ratio(p50_ms, calm_p50_ms),
                p99_ratio: ratio(p99_ms, calm_p99_ms),
                pool: tally.pool,
            }
        };
        let phases: Vec<_> = tallies.iter().map(phase).collect();
        Self {
            simulated: status.simulated,
            ok: phases.iter().all(|phase| phase.failures == 0 && phase.strangers == 0 && 0 < phase.leases),
            reasons: tallies.iter().flat_map(|(_, tally)| tally.reasons.iter().cloned()).take(REASONS_MAX).collect(),
            phases,
            rounds: plan.rounds,
            clients: plan.clients,
            burners: plan.burners,
            memory_mb: plan.memory_mb,
            cores: kina_engine::cores(),
            scarce_memory: SCARCE_MEMORY,
            engine_profile: status.engine_profile.clone(),
            kubernetes: status.slots.iter().find_map(|slot| slot.kubernetes.clone()).unwrap_or_default(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn arguments(memory_mb: Option<u64>) -> StressArguments {
        StressArguments { leases: 1, rounds: 1, clients: None, burners: None, memory_mb, format: Format::Json }
    }

    #[test]
    fn the_memory_that_is_taken_is_bounded() {
        let memory_mb = |asked: Option<u64>, available_mb: u64| {
            Plan::new(&arguments(asked), 2, available_mb * 1_000_000).map(|plan| plan.memory_mb).ok()
        };
        assert_eq!(memory_mb(None, 8_000), Some(2_000));
        assert_eq!(memory_mb(None, 800_000), Some(MEMORY_MAX_MB));
        assert_eq!(memory_mb(Some(4_000), 8_000), Some(4_000));
        assert_eq!(memory_mb(Some(4_001), 8_000), None);
    }

    #[test]
    fn a_lease_that_found_a_stranger_or_failed_is_told() {
        let mut tally = Tally::default();
        tally.add(Ok(LeaseReport { took_ms: 5.0, lease: 1, strangers: Vec::new() }));
        tally.add(Ok(LeaseReport { took_ms: 7.0, lease: 2, strangers: vec!["a namespace".to_owned()] }));
        tally.add(Err(anyhow::anyhow!("killed")));
        assert_eq!((tally.took_ms.len(), tally.strangers, tally.failures), (2, 1, 1));
        assert_eq!(tally.reasons, ["lease 2 found a namespace", "killed"]);
    }

    #[test]
    fn each_phase_presses_as_its_name_says() {
        let plan = Plan::new(&arguments(Some(100)), 2, 1_000_000_000).expect("a plan");
        let pressed = |disturbance: Disturbance| (disturbance.burners(plan), disturbance.memory_mb(plan));
        assert_eq!(pressed(Disturbance::None), (0, 0));
        assert_eq!(pressed(Disturbance::Processor), (4, 0));
        assert_eq!(pressed(Disturbance::Memory), (0, 100));
        assert_eq!(pressed(Disturbance::Both), (4, 100));
        assert_eq!(pressed(Disturbance::ScarceMemory), (0, 0));
    }
}
