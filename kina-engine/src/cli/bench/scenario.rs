//! The command line of `cargo kina bench`.

use std::time::Instant;

use anyhow::bail;
use clap::{Args, Subcommand};

use super::super::situation::{Situation, runtime};
use super::super::{EXIT_REGRESSION, Format, interrupted};
use super::gate::{self, GateArguments, SlowerThanSaved};
use super::page::{self, PageArguments};
use super::report::Report;
use super::{
    acquisition, compare, crud, fixtures, flamegraph, gateway, large_template, lifecycle, peers, price, probe, rewind,
    scale, stress, wear,
};
use crate::ProviderName;

/// Scenario to measure, or recording to compare with.
#[derive(Debug, Args)]
pub(in crate::cli) struct BenchArguments {
    #[command(flatten)]
    gate: GateArguments,
    #[command(subcommand)]
    scenario: Option<Scenario>,
}

#[derive(Debug, Subcommand)]
enum Scenario {
    /// Wait of a test for its cluster: cold, from stopped, warm; beside envtest's recipe in the same run
    Acquire {
        /// Number of warm leases, each in a process of its own
        #[arg(long, default_value_t = 100)]
        runs: usize,
        #[command(flatten)]
        output: Output,
    },
    /// Wait of a test while no engine runs, by turns with envtest's recipe
    Cold {
        /// Number of samples of each
        #[arg(long, default_value_t = 8)]
        samples: usize,
        #[command(flatten)]
        output: Output,
    },
    /// Wait of a test while clusters are ready, by turns with the same client straight to a running cluster; costs of
    /// ready clusters
    Warm {
        /// Number of samples of each, each in a process of its own
        #[arg(long, default_value_t = 300)]
        samples: usize,
        #[command(flatten)]
        output: Output,
    },
    /// Wait of a test while all clusters are stopped
    Stopped {
        /// Number of samples
        #[arg(long, default_value_t = 10)]
        samples: usize,
        #[command(flatten)]
        output: Output,
    },
    /// Wait of a test while all clusters are frozen, and their processor time
    Frozen {
        /// Number of samples
        #[arg(long, default_value_t = 15)]
        samples: usize,
        #[command(flatten)]
        output: Output,
    },
    /// Cost of the gateway: requests through a lease's gateway, beside the same straight to a cluster
    Gateway {
        /// Number of objects that are created, read, updated, listed and deleted each way
        #[arg(long, default_value_t = 500)]
        runs: usize,
        #[command(flatten)]
        output: Output,
    },
    /// Time of fixtures: applied, from a template; their graph, and conditions on objects
    Fixtures {
        /// Number of measurements in a cluster; the figures are their medians
        #[arg(long, default_value_t = 10)]
        samples: usize,
        #[command(flatten)]
        output: Output,
    },
    /// Time until a cluster is pristine again, by the number of objects that a lease made
    Rewind {
        /// Numbers of ConfigMaps
        #[arg(long, value_delimiter = ',', default_value = "10,250,1000,5000,50000")]
        objects: Vec<usize>,
        /// Number of samples of each; smaller for many objects, as the report shows
        #[arg(long, default_value_t = 15)]
        samples: usize,
        #[command(flatten)]
        output: Output,
    },
    /// The price that an ordinary lease pays for the parts that keep leases apart beside their keys
    ///
    /// Needs `cargo lab`, which can switch them off.
    Price {
        /// Number of samples of each, with and without
        #[arg(long, default_value_t = 20)]
        samples: usize,
        #[command(flatten)]
        output: Output,
    },
    /// Time of each part of a cluster's life, straight from its provider: made, stopped, started, deleted
    Lifecycle {
        /// Number of lives; the figures are their medians
        #[arg(long, default_value_t = 3)]
        samples: usize,
        #[command(flatten)]
        output: Output,
    },
    /// Wait of a test for a cluster of this provider, beside one of `process` in the same run
    Compare {
        /// Number of warm leases of each, each in a process of its own
        #[arg(long, default_value_t = 100)]
        runs: usize,
        #[command(flatten)]
        output: Output,
    },
    /// Effects of many leases on one cluster, each with a CRD of a new group
    Wear {
        /// Number of leases
        #[arg(long, default_value_t = 3000)]
        leases: usize,
        #[command(flatten)]
        output: Output,
    },
    Scale(scale::ScaleArguments),
    Peers(peers::PeersArguments),
    Crud(crud::CrudArguments),
    Stress(stress::StressArguments),
    LargeTemplate(large_template::LargeTemplateArguments),
    /// Make the measurements of the page of benchmarks, and write that page
    Report(PageArguments),
    /// Test the gate on this machine: planted slow-downs are caught, unchanged runs raise no alarm
    SelfTest(gate::self_test::SelfTestArguments),
    /// Draw where the engine spends its processor time under load, as a flame graph
    Flamegraph(flamegraph::FlamegraphArguments),
    /// A measured process
    #[command(subcommand, hide = true)]
    Probe(probe::Probe),
}

#[derive(Debug, Args)]
struct Output {
    /// Format of the report
    #[arg(long, value_enum, default_value_t)]
    format: Format,
}

/// Runs the scenario; `start` is the time of the first line of this process.
pub(in crate::cli) fn run(
    provider: Option<ProviderName>,
    arguments: BenchArguments,
    start: Instant,
) -> anyhow::Result<()> {
    if let Some(Scenario::Probe(probe)) = &arguments.scenario {
        return probe::run(probe, start);
    }
    if arguments.scenario.is_some() && arguments.gate.is_used() {
        bail!("--save and --compare measure scenarios of their own: name them with --scenarios, and no other command");
    }
    let provider = Situation::of_this_process(provider)?.provider();
    runtime()?.block_on(async {
        // It runs scenarios as commands, which end themselves.
        if let Some(Scenario::Report(page)) = arguments.scenario {
            return page::run(page).await;
        }
        // An aborted scenario is dropped, and takes down its private engine.
        tokio::select! {
            measured = measure(provider, arguments) => measured,
            () = interrupted() => bail!("interrupted"),
        }
    })
}

/// The exit code of a comparison, if the error is one.
pub(in crate::cli) fn exit_code(error: &anyhow::Error) -> Option<u8> {
    error.downcast_ref::<SlowerThanSaved>().map(|_| EXIT_REGRESSION)
}

async fn measure(provider: ProviderName, arguments: BenchArguments) -> anyhow::Result<()> {
    let Some(scenario) = arguments.scenario else { return gate::run(provider, arguments.gate).await };
    match scenario {
        Scenario::Acquire { runs, output } => super::acquire(provider, runs, output.format).await,
        Scenario::Cold { samples, output } => print(acquisition::cold(provider, some(samples)?).await?, &output),
        Scenario::Warm { samples, output } => print(acquisition::warm(provider, some(samples)?).await?, &output),
        Scenario::Stopped { samples, output } => print(acquisition::stopped(provider, some(samples)?).await?, &output),
        Scenario::Frozen { samples, output } => print(acquisition::frozen(provider, some(samples)?).await?, &output),
        Scenario::Gateway { runs, output } => gateway::measure(provider, runs, output.format).await,
        Scenario::Fixtures { samples, output } => print(fixtures::measure(provider, some(samples)?).await?, &output),
        Scenario::Rewind { objects, samples, output } => {
            print(rewind::measure(provider, &objects, some(samples)?).await?, &output)
        }
        Scenario::Price { samples, output } => print(price::measure(provider, some(samples)?).await?, &output),
        Scenario::Lifecycle { samples, output } => print(lifecycle::measure(provider, some(samples)?).await?, &output),
        Scenario::Compare { runs, output } => compare::measure(provider, runs, output.format).await,
        Scenario::Wear { leases, output } => wear::measure(provider, leases, output.format).await,
        Scenario::Scale(arguments) => scale::measure(provider, arguments).await,
        Scenario::Peers(arguments) => peers::measure(provider, arguments).await,
        Scenario::Crud(arguments) => crud::measure(provider, arguments).await,
        Scenario::Stress(arguments) => stress::measure(provider, arguments).await,
        Scenario::LargeTemplate(arguments) => large_template::measure(provider, arguments).await,
        Scenario::SelfTest(arguments) => gate::self_test::run(provider, arguments).await,
        Scenario::Flamegraph(arguments) => flamegraph::run(provider, arguments).await,
        Scenario::Report(_) | Scenario::Probe(_) => Ok(()),
    }
}

fn print(report: Report, output: &Output) -> anyhow::Result<()> {
    report.print(output.format)
}

fn some(samples: usize) -> anyhow::Result<usize> {
    if samples == 0 {
        bail!("--samples must be at least 1");
    }
    Ok(samples)
}
