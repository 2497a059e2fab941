//! The program `cargo-kina`.

mod bench;
mod chaos;
mod contract;
mod doctor;
mod image;
mod private_realm;
mod status;

use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Instant;

use anyhow::Context;
use clap::{Parser, Subcommand, ValueEnum};
use serde::Serialize;

use crate::ProviderName;
use crate::assets::{self, AssetRequest, Assets, KubernetesMinor, Platform};
use crate::client::{ClientError, EngineClient, EngineProgram};
use crate::paths::EnginePaths;
use crate::protocol::AcquireRequest;
use crate::settings::WorkspaceSettings;

/// Exit code where the user has to do something.
const EXIT_USER_ERROR: u8 = 2;
/// Exit code where something failed that should not.
const EXIT_FAILED: u8 = 1;

/// Real Kubernetes clusters for Rust tests: look at the engine, warm it up, stop it, measure it
#[derive(Debug, Parser)]
#[command(name = "cargo-kina", bin_name = "cargo kina", version = crate::protocol::VERSION)]
struct Arguments {
    /// What clusters are made of: process or apple [default: as the workspace's settings say]
    #[arg(long, global = true)]
    provider: Option<ProviderName>,
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Show the engine and its clusters
    Status {
        /// How to print it
        #[arg(long, value_enum, default_value_t)]
        format: Format,
    },
    /// End the engine and everything that belongs to it
    Stop,
    /// Boot clusters until so many are ready
    Warm {
        /// How many
        count: usize,
        /// Kubernetes minor, such as 1.36
        #[arg(long)]
        kubernetes: Option<String>,
    },
    Chaos(chaos::ChaosArguments),
    Contract(contract::ContractArguments),
    Doctor(doctor::DoctorArguments),
    /// The image that clusters in virtual machines and containers boot from
    #[command(subcommand)]
    Image(image::ImageCommand),
    /// Measure
    Bench {
        #[command(subcommand)]
        scenario: Scenario,
    },
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
    Probe(bench::probe::Probe),
}

#[derive(Clone, Copy, Debug, Default, ValueEnum)]
enum Format {
    /// For people
    #[default]
    Text,
    /// For programs
    Json,
}

/// Runs the program.
pub fn main() -> ExitCode {
    let start = Instant::now();
    // As a subcommand of cargo, the program gets its own name as first argument.
    let arguments = std::env::args_os().enumerate().filter(|(index, text)| !(*index == 1 && text == "kina"));
    let arguments = Arguments::parse_from(arguments.map(|(_, text)| text));
    if let Command::Doctor(doctor) = &arguments.command {
        return doctor::main(arguments.provider, doctor);
    }
    match run(arguments, start) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("error: {}", crate::with_causes(error.as_ref()));
            let is_user_error = error.downcast_ref::<ClientError>().is_some_and(ClientError::is_user_error)
                || image::is_user_error(&error);
            ExitCode::from(if is_user_error { EXIT_USER_ERROR } else { EXIT_FAILED })
        }
    }
}

/// Prints the result of a measurement.
fn print_report(report: &impl Serialize, format: Format) -> anyhow::Result<()> {
    match format {
        Format::Json => println!("{}", serde_json::to_string(report)?),
        Format::Text => println!("{}", serde_json::to_string_pretty(report)?),
    }
    Ok(())
}

/// The binaries that the user's tests would have, for a private engine with a cache of its own.
async fn find_binaries() -> anyhow::Result<Assets> {
    find_binaries_for(Platform::host()).await
}

/// The same, for clusters that run on `platform`.
async fn find_binaries_for(platform: Platform) -> anyhow::Result<Assets> {
    let user_paths = EnginePaths::from_environment(ProviderName::Process)?;
    let mut request = AssetRequest::from_environment(KubernetesMinor::DEFAULT, user_paths.cache_directory, &|name| {
        std::env::var_os(name)
    });
    request.explicit_directory = std::env::var_os("KINA_ASSETS_DIR").map(PathBuf::from);
    let request = request.for_platform(platform);
    let assets = tokio::task::spawn_blocking(move || {
        assets::provide(&request, &|progress| eprintln!("kina: {}", progress.text))
    })
    .await??;
    Ok(assets)
}

fn run(arguments: Arguments, start: Instant) -> anyhow::Result<()> {
    if let Command::Bench { scenario: Scenario::Probe(probe) } = &arguments.command {
        return bench::probe::run(probe, start);
    }
    if let Command::Image(command) = arguments.command {
        return image::run(command);
    }
    let runtime =
        tokio::runtime::Builder::new_current_thread().enable_all().build().context("starting the runtime failed")?;
    let settings = WorkspaceSettings::of_this_process().map_err(ClientError::from)?;
    let provider = arguments.provider.unwrap_or(settings.provider);
    if let Command::Chaos(arguments) = arguments.command {
        return runtime.block_on(chaos::run(provider, arguments));
    }
    if let Command::Contract(arguments) = arguments.command {
        return runtime.block_on(contract::run(provider, arguments));
    }
    if let Command::Bench { scenario: Scenario::Lifecycle { samples, format } } = arguments.command {
        return runtime.block_on(bench::lifecycle::measure(provider, samples, format));
    }
    let client = EngineClient::for_provider(provider, EngineProgram::ThisExecutable)?;
    runtime.block_on(async {
        match arguments.command {
            Command::Bench { scenario: Scenario::Acquire { runs, format } } => {
                bench::acquire(provider, runs, format).await
            }
            Command::Bench { scenario: Scenario::Gateway { runs, format } } => {
                bench::gateway::measure(provider, runs, format).await
            }
            Command::Bench { scenario: Scenario::Fixtures { samples, format } } => {
                bench::fixtures::measure(provider, samples, format).await
            }
            Command::Bench { scenario: Scenario::Rewind { objects, samples, format } } => {
                bench::rewind::measure(provider, &objects, samples, format).await
            }
            Command::Bench { scenario: Scenario::Compare { runs, format } } => {
                bench::compare::measure(provider, runs, format).await
            }
            Command::Bench { scenario: Scenario::Wear { leases, format } } => {
                bench::wear::measure(provider, leases, format).await
            }
            Command::Bench { scenario: Scenario::Probe(_) | Scenario::Lifecycle { .. } }
            | Command::Chaos(_)
            | Command::Contract(_)
            | Command::Doctor(_)
            | Command::Image(_) => Ok(()),
            Command::Status { format } => status::print(&client, format).await,
            Command::Stop => {
                // Without a name, all of them.
                let providers = arguments.provider.map_or(ProviderName::ALL.to_vec(), |provider| vec![provider]);
                let mut was_running = false;
                for provider in providers {
                    let client = EngineClient::for_provider(provider, EngineProgram::ThisExecutable)?;
                    was_running |= client.stop().await?;
                }
                println!("{}", if was_running { "the engine has ended" } else { "no engine is running" });
                Ok(())
            }
            Command::Warm { count, kubernetes } => {
                let request = AcquireRequest::from_environment("cargo kina warm", kubernetes.as_deref())?;
                client.warm(count, request, &print_progress).await?;
                status::print(&client, Format::Text).await
            }
        }
    })
}

fn print_progress(text: &str) {
    eprintln!("kina: {text}");
}
