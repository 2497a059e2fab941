//! The command line of `cargo lab bench`.

use anyhow::bail;
use cargo_kina::bench::gate::{self, GateArguments};
use cargo_kina::bench::{AcquisitionScenario, Output, some};
use cargo_kina::{Situation, interrupted, runtime};
use clap::{Args, Subcommand};
use kina_engine::ProviderName;

use super::page::{self, PageArguments};
use super::{
    build, build_program, compare, crud, fixtures, flamegraph, gateway, large_template, lifecycle, memory, peers,
    price, probe, rewind, scale, self_test, silent_ports, stress, wear,
};

/// Scenario to measure, or recording to compare with.
#[derive(Debug, Args)]
pub(crate) struct BenchArguments {
    #[command(flatten)]
    gate: GateArguments,
    #[command(subcommand)]
    scenario: Option<Scenario>,
}

#[derive(Debug, Subcommand)]
enum Scenario {
    #[command(flatten)]
    Acquisition(AcquisitionScenario),
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
    Build(build::BuildArguments),
    BuildProgram(build_program::BuildProgramArguments),
    Scale(scale::ScaleArguments),
    Peers(peers::PeersArguments),
    Crud(crud::CrudArguments),
    Stress(stress::StressArguments),
    LargeTemplate(large_template::LargeTemplateArguments),
    Memory(memory::MemoryArguments),
    /// Price of ports that do not answer, as those of macOS that are bound and silent: beside ports that refuse
    ///
    /// Needs the rights to make network namespaces, and says so if they are missing. `KINA_TEST_SILENT_PORTS=required`
    /// makes that a failure.
    SilentPorts {
        /// Number of samples of each
        #[arg(long, default_value_t = 10)]
        samples: usize,
        #[command(flatten)]
        output: Output,
    },
    /// Make the measurements of the page of benchmarks, and write that page
    Report(PageArguments),
    /// Test the gate on this machine: planted slow-downs are caught, unchanged runs raise no alarm
    SelfTest(self_test::SelfTestArguments),
    /// Draw where the engine spends its processor time under load, as a flame graph
    Flamegraph(flamegraph::FlamegraphArguments),
    /// A measured process
    #[command(subcommand, hide = true)]
    Probe(probe::Probe),
}

/// Runs the scenario.
pub(crate) fn run(provider: Option<ProviderName>, arguments: BenchArguments) -> anyhow::Result<()> {
    if let Some(Scenario::Probe(probe)) = &arguments.scenario {
        return probe::run(probe);
    }
    arguments.gate.expect_unused_with(arguments.scenario.is_some())?;
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

async fn measure(provider: ProviderName, arguments: BenchArguments) -> anyhow::Result<()> {
    let Some(scenario) = arguments.scenario else { return gate::run(provider, arguments.gate).await };
    match scenario {
        Scenario::Acquisition(scenario) => scenario.measure(provider).await,
        Scenario::Gateway { runs, output } => gateway::measure(provider, runs, output.format).await,
        Scenario::Fixtures { samples, output } => output.print(fixtures::measure(provider, some(samples)?).await?),
        Scenario::Rewind { objects, samples, output } => {
            output.print(rewind::measure(provider, &objects, some(samples)?).await?)
        }
        Scenario::Price { samples, output } => output.print(price::measure(provider, some(samples)?).await?),
        Scenario::Lifecycle { samples, output } => output.print(lifecycle::measure(provider, some(samples)?).await?),
        Scenario::Compare { runs, output } => compare::measure(provider, runs, output.format).await,
        Scenario::Wear { leases, output } => wear::measure(provider, leases, output.format).await,
        Scenario::Build(arguments) => build::measure(arguments).await,
        Scenario::BuildProgram(arguments) => build_program::measure(arguments).await,
        Scenario::Scale(arguments) => scale::measure(provider, arguments).await,
        Scenario::Peers(arguments) => peers::measure(provider, arguments).await,
        Scenario::Crud(arguments) => crud::measure(provider, arguments).await,
        Scenario::Stress(arguments) => stress::measure(provider, arguments).await,
        Scenario::Memory(arguments) => arguments.output.print(memory::measure(provider, &arguments).await?),
        Scenario::LargeTemplate(arguments) => large_template::measure(provider, arguments).await,
        Scenario::SilentPorts { samples, output } => {
            let (report, missed) = silent_ports::measure(provider, some(samples)?).await?;
            output.print(report)?;
            silent_ports::expect_none_missed(&missed)
        }
        Scenario::SelfTest(arguments) => self_test::run(provider, arguments).await,
        Scenario::Flamegraph(arguments) => flamegraph::run(provider, arguments).await,
        Scenario::Report(_) | Scenario::Probe(_) => Ok(()),
    }
}
