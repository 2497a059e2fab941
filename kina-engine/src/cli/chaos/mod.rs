//! `cargo kina chaos`: many leases that end in every way there is, and an engine and clusters that are disturbed on
//! purpose meanwhile. Whatever happens, nobody may see anything of an earlier lease, wait for ever, or leave anything.
//!
//! - `plan`: what shall happen. Pure, and the same for the same seed.
//! - `supervisor`: starts the workers, notes what becomes of each lease.
//! - `worker`: a client process that takes leases one after the other; this very executable.
//! - `canary`: what a lease leaves behind on purpose, and looks for.
//! - `templates`: what a lease starts from, and whether it does.
//! - `old_client`: whether an earlier lease's credentials still get anybody in, and who goes on writing with them.
//! - `disturb`: carries the planned disturbances out.
//! - `strangers`: one of them, silent connections by another user.
//! - `ledger`: what was disturbed when, and so which failures are explained. Pure.
//! - `realm`: the private engine's directories and environment.
//! - `containers`: the same of containers, where clusters are such, faults of what makes them, and those of others.
//! - `processes`: what the system knows of the private engine's processes.
//! - `audit`: what is left at the end.
//! - `report`: the result, and which part failed.
//! - `sabotage`: parts of the engine that a run can switch off.
//! - `queue`: another scenario: more processes than slots.
//! - `pairs`: a third one: what one lease does, and the next one looks for.

mod audit;
mod canary;
mod containers;
mod disturb;
mod ledger;
mod old_client;
mod pairs;
mod plan;
mod processes;
mod queue;
mod realm;
mod report;
mod sabotage;
mod strangers;
mod supervisor;
mod templates;
mod worker;

use clap::{Args, Subcommand};

use super::{Format, interrupted};
use crate::ProviderName;
use crate::sabotage::Part;

/// Disturb a private engine on purpose, and look whether anything breaks
#[derive(Clone, Debug, Args)]
#[command(args_conflicts_with_subcommands = true)]
pub(super) struct ChaosArguments {
    #[command(subcommand)]
    scenario: Option<ChaosScenario>,
    /// How many leases
    #[arg(long, default_value_t = 600)]
    leases: usize,
    /// In how many processes at a time
    #[arg(long, default_value_t = 8)]
    processes: usize,
    /// The same seed repeats the same plan
    #[arg(long, default_value_t = 1)]
    seed: u64,
    /// How many clusters there may be
    #[arg(long, default_value_t = 4)]
    slots: usize,
    /// Switch a part of the engine off, so that the run has to fail: needs `cargo lab`
    #[arg(long, value_parser = sabotage::part, value_delimiter = ',')]
    sabotage: Vec<Part>,
    /// How to print the report
    #[arg(long, value_enum, default_value_t)]
    format: Format,
}

#[derive(Clone, Debug, Subcommand)]
enum ChaosScenario {
    /// More processes than slots: whether each is served or told why not, and whether the bounds hold
    Queue(queue::QueueArguments),
    Pairs(pairs::PairsArguments),
    /// A client process
    #[command(hide = true)]
    Worker(worker::WorkerArguments),
    /// What a lease leaves behind to go on writing
    #[command(hide = true)]
    LateWriter(old_client::LateWriterArguments),
    /// A process of another user, which connects and says nothing
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
