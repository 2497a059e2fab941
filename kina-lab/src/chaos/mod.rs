//! `cargo lab chaos`: many leases that end in all possible ways, while the engine and clusters are disturbed on
//! purpose. In spite of that, no lease may see anything of an earlier one, wait for ever, or leave anything behind.
//!
//! - `plan`: the planned events. Pure, and the same for the same seed.
//! - `supervisor`: starts the workers and notes the outcome of each lease.
//! - `worker`: a client process that takes leases one after the other; this very executable.
//! - `canary`: traces that a lease leaves on purpose, and looks for.
//! - `templates`: the templates that leases start from, and checks of their content.
//! - `old_client`: attempts with the credentials of an earlier lease, and late writes with them.
//! - `disturb`: carries the planned disturbances out.
//! - `strangers`: one of them, silent connections by another user.
//! - `ledger`: the times of all disturbances, and so the failures that they explain. Pure.
//! - `realm`: the private engine's directories and environment.
//! - `containers`: disturbances of clusters in containers, faults of their program, and foreign containers.
//! - `processes`: the private engine's processes, as the system knows them.
//! - `audit`: remains at the end.
//! - `report`: the result, and the parts that failed.
//! - `sabotage`: parts of the engine that a run can switch off.
//! - `queue`: another scenario: more processes than slots.
//! - `pairs`: a third scenario: the effects of one lease that the next one looks for.

mod audit;
mod canary;
mod containers;
mod disturb;
mod ledger;
mod old_client;
mod pairs;
mod plan;
pub(crate) mod processes;
mod queue;
mod realm;
mod report;
mod sabotage;
mod strangers;
mod supervisor;
mod templates;
mod worker;

use cargo_kina::{Format, interrupted};
use clap::{Args, Subcommand};
use kina_engine::ProviderName;
use kina_engine::lab::sabotage::Part;

/// Disturb a private engine on purpose, and check that nothing breaks
#[derive(Clone, Debug, Args)]
#[command(args_conflicts_with_subcommands = true)]
pub(super) struct ChaosArguments {
    #[command(subcommand)]
    scenario: Option<ChaosScenario>,
    /// Number of leases
    #[arg(long, default_value_t = 600)]
    leases: usize,
    /// Number of processes that run at a time
    #[arg(long, default_value_t = 8)]
    processes: usize,
    /// The same seed repeats the same plan
    #[arg(long, default_value_t = 1)]
    seed: u64,
    /// Maximal number of clusters
    #[arg(long, default_value_t = 4)]
    slots: usize,
    /// Switch a part of the engine off, so that the run has to fail: needs `cargo lab`
    #[arg(long, value_parser = sabotage::part, value_delimiter = ',')]
    sabotage: Vec<Part>,
    /// Format of the report
    #[arg(long, value_enum, default_value_t)]
    format: Format,
}

#[derive(Clone, Debug, Subcommand)]
enum ChaosScenario {
    /// More processes than slots: check that each is served or refused with a reason, and that the bounds hold
    Queue(queue::QueueArguments),
    Pairs(pairs::PairsArguments),
    /// A client process
    #[command(hide = true)]
    Worker(worker::WorkerArguments),
    /// A process that a lease leaves behind to go on writing
    #[command(hide = true)]
    LateWriter(old_client::LateWriterArguments),
    /// A process of another user that connects and sends nothing
    #[command(hide = true)]
    SilentStranger(strangers::SilentStrangerArguments),
    /// A client process of the scenario `queue`
    #[command(hide = true)]
    QueueWorker(queue::QueueWorkerArguments),
}

/// Runs the scenario.
pub(super) async fn run(provider: ProviderName, arguments: ChaosArguments) -> anyhow::Result<()> {
    match &arguments.scenario {
        Some(ChaosScenario::Queue(queue)) => queue::run(provider, queue).await,
        Some(ChaosScenario::Pairs(pairs)) => pairs::run(provider, pairs).await,
        Some(ChaosScenario::Worker(worker)) => worker::run(worker).await,
        Some(ChaosScenario::LateWriter(writer)) => old_client::write_late(writer).await,
        Some(ChaosScenario::SilentStranger(stranger)) => strangers::run(stranger),
        Some(ChaosScenario::QueueWorker(worker)) => queue::run_worker(worker).await,
        None => supervisor::run(provider, &arguments).await,
    }
}

fn say(text: &str) {
    eprintln!("chaos: {text}");
}
