//! What `cargo kina bench` can be asked for.

use std::time::Instant;

use clap::{Args, Subcommand};

use super::super::Format;
use super::super::situation::{Situation, runtime};
use super::{compare, fixtures, gateway, lifecycle, probe, rewind, wear};
use crate::ProviderName;

/// What to measure.
#[derive(Debug, Args)]
pub(in crate::cli) struct BenchArguments {
    #[command(subcommand)]
    scenario: Scenario,
}

#[derive(Debug, Subcommand)]
enum Scenario {
    /// How long a test waits for its cluster: cold, from stopped, warm; beside envtest's recipe in the same run
    Acquire {
        /// How many warm leases, each in a process of its own
        #[arg(long, default_value_t = 100)]
        runs: usize,
        /// How to print it
        #[arg(long, value_enum, default_value_t)]
        format: Format,
    },
    /// What the gateway costs: requests through a lease's gateway, beside the same straight to a cluster
    Gateway {
        /// How often each object is created, read, updated, listed and deleted, each way
        #[arg(long, default_value_t = 500)]
        runs: usize,
        /// How to print it
        #[arg(long, value_enum, default_value_t)]
        format: Format,
    },
    /// How long fixtures take: applied, from a template; their graph, and conditions on objects
    Fixtures {
        /// How often each measurement in a cluster; the figures are their medians
        #[arg(long, default_value_t = 5)]
        samples: usize,
        /// How to print it
        #[arg(long, value_enum, default_value_t)]
        format: Format,
    },
    /// How long a cluster takes to be pristine again, by how many objects a lease made
    Rewind {
        /// Numbers of ConfigMaps
        #[arg(long, value_delimiter = ',', default_value = "10,250,5000")]
        objects: Vec<usize>,
        /// How often each
        #[arg(long, default_value_t = 5)]
        samples: usize,
        /// How to print it
        #[arg(long, value_enum, default_value_t)]
        format: Format,
    },
    /// How long each part of a cluster's life takes, straight from its provider: made, stopped, started, deleted
    Lifecycle {
        /// How many lives; the figures are their medians
        #[arg(long, default_value_t = 3)]
        samples: usize,
        /// How to print it
        #[arg(long, value_enum, default_value_t)]
        format: Format,
    },
    /// How long a test waits for a cluster of this provider, beside one of `process` in the same run
    Compare {
        /// How many warm leases of each, each in a process of its own
        #[arg(long, default_value_t = 100)]
        runs: usize,
        /// How to print it
        #[arg(long, value_enum, default_value_t)]
        format: Format,
    },
    /// What many leases do to one cluster, each with a CRD of a new group
    Wear {
        /// How many
        #[arg(long, default_value_t = 3000)]
        leases: usize,
        /// How to print it
        #[arg(long, value_enum, default_value_t)]
        format: Format,
    },
    /// A measured process
    #[command(subcommand, hide = true)]
    Probe(probe::Probe),
}

/// Measures what was asked for; `start` is when this process came to its first line.
pub(in crate::cli) fn run(
    provider: Option<ProviderName>,
    arguments: BenchArguments,
    start: Instant,
) -> anyhow::Result<()> {
    if let Scenario::Probe(probe) = &arguments.scenario {
        return probe::run(probe, start);
    }
    let provider = Situation::of_this_process(provider)?.provider();
    runtime()?.block_on(measure(provider, arguments.scenario))
}

async fn measure(provider: ProviderName, scenario: Scenario) -> anyhow::Result<()> {
    match scenario {
        Scenario::Acquire { runs, format } => super::acquire(provider, runs, format).await,
        Scenario::Gateway { runs, format } => gateway::measure(provider, runs, format).await,
        Scenario::Fixtures { samples, format } => fixtures::measure(provider, samples, format).await,
        Scenario::Rewind { objects, samples, format } => rewind::measure(provider, &objects, samples, format).await,
        Scenario::Lifecycle { samples, format } => lifecycle::measure(provider, samples, format).await,
        Scenario::Compare { runs, format } => compare::measure(provider, runs, format).await,
        Scenario::Wear { leases, format } => wear::measure(provider, leases, format).await,
        Scenario::Probe(_) => Ok(()),
    }
}
