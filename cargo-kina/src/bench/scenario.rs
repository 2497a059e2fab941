//! The command line of `cargo kina bench`.

use anyhow::bail;
use clap::{Args, Subcommand};
use kina_engine::ProviderName;

use super::super::situation::{Situation, runtime};
use super::super::{Format, interrupted};
use super::gate::{self, GateArguments, SlowerThanSaved};
use super::report::Report;
use super::{acquisition, probe};

/// Exit code of `cargo kina bench --compare` if something has become slower.
const EXIT_REGRESSION: u8 = 3;

/// Scenario to measure, or recording to compare with.
#[derive(Debug, Args)]
pub struct BenchArguments {
    #[command(flatten)]
    gate: GateArguments,
    #[command(subcommand)]
    scenario: Option<Scenario>,
}

#[derive(Debug, Subcommand)]
enum Scenario {
    #[command(flatten)]
    Acquisition(AcquisitionScenario),
    /// A measured process
    #[command(subcommand, hide = true)]
    Probe(probe::LeaseProbe),
}

/// A measurement of a test's way to its cluster.
#[derive(Debug, Subcommand)]
pub enum AcquisitionScenario {
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
}

#[derive(Clone, Debug, Args)]
pub struct Output {
    /// Format of the report
    #[arg(long, value_enum, default_value_t)]
    pub format: Format,
}

/// Runs the scenario.
pub fn run(provider: Option<ProviderName>, arguments: BenchArguments) -> anyhow::Result<()> {
    let BenchArguments { gate, scenario } = arguments;
    if let Some(Scenario::Probe(probe)) = &scenario {
        return probe::run(probe);
    }
    gate.expect_unused_with(scenario.is_some())?;
    let provider = Situation::of_this_process(provider)?.provider();
    runtime()?.block_on(async {
        let measured = async {
            match scenario {
                Some(Scenario::Acquisition(scenario)) => scenario.measure(provider).await,
                Some(Scenario::Probe(_)) => Ok(()),
                None => gate::run(provider, gate).await,
            }
        };
        // An aborted scenario is dropped, and takes down its private engine.
        tokio::select! {
            measured = measured => measured,
            () = interrupted() => bail!("interrupted"),
        }
    })
}

/// The exit code of a comparison, if the error is one.
pub fn exit_code(error: &anyhow::Error) -> Option<u8> {
    error.downcast_ref::<SlowerThanSaved>().map(|_| EXIT_REGRESSION)
}

impl AcquisitionScenario {
    /// Measures and prints.
    pub async fn measure(self, provider: ProviderName) -> anyhow::Result<()> {
        match self {
            Self::Acquire { runs, output } => super::acquire(provider, runs, output.format).await,
            Self::Cold { samples, output } => output.print(acquisition::cold(provider, some(samples)?).await?),
            Self::Warm { samples, output } => output.print(acquisition::warm(provider, some(samples)?).await?),
            Self::Stopped { samples, output } => output.print(acquisition::stopped(provider, some(samples)?).await?),
            Self::Frozen { samples, output } => output.print(acquisition::frozen(provider, some(samples)?).await?),
        }
    }
}

impl Output {
    pub fn print(&self, report: Report) -> anyhow::Result<()> {
        report.print(self.format)
    }
}

/// The number of samples, unless it is zero.
pub fn some(samples: usize) -> anyhow::Result<usize> {
    if samples == 0 {
        bail!("--samples must be at least 1");
    }
    Ok(samples)
}
