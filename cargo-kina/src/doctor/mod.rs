//! `cargo kina doctor`: a diagnosis of this machine.
//!
//! Each check is a pure function from a finding to its meaning, so that it can be tested without a machine that is
//! broken in this way. The findings are made separately. Nothing is repaired, started or downloaded.
//!
//! - `check`: one check, and the report.
//! - `common`: requirements of every provider. `process`, `apple`: requirements of one provider. `kernel`: limits
//! - `kube_major`: the kube of the workspace.
//! - `ask`: queries to the system and its programs.

mod apple;
mod ask;
mod check;
mod common;
mod kernel;
mod kube_major;
mod process;

use std::process::ExitCode;

use clap::Args;
use kina_engine::{EngineSettings, ProviderName, WorkspaceSettings};

pub(super) use self::apple::connect as connect_apple;
pub(super) use self::ask::program;
use self::check::Report;
use super::Format;
use super::program::EXIT_FAILED;

/// Find problems of this machine, and show their consequences and repairs
///
/// Checks the requirements of every provider, and those of the workspace's provider or the one given by --provider.
/// Nothing is repaired, started or downloaded. The supervisor for images of `apple` is compiled once, as for a first
/// cluster.
///
/// Exit codes: 0 all well (there may be warnings), 1 something is wrong.
#[derive(Clone, Debug, Args)]
#[command(verbatim_doc_comment)]
pub struct DoctorArguments {
    /// Output format
    #[arg(long, value_enum, default_value_t)]
    format: Format,
}

/// Runs the command.
pub(super) fn main(provider: Option<ProviderName>, arguments: &DoctorArguments) -> ExitCode {
    let runtime = match tokio::runtime::Builder::new_current_thread().enable_all().build() {
        Ok(runtime) => runtime,
        Err(error) => {
            eprintln!("error: starting the runtime failed: {error}");
            return ExitCode::from(EXIT_FAILED);
        }
    };
    let report = runtime.block_on(examine(provider));
    match arguments.format {
        Format::Text => println!("{}", report.text()),
        Format::Json => match serde_json::to_string(&report) {
            Ok(json) => println!("{json}"),
            Err(error) => {
                eprintln!("error: bug: the report cannot be printed: {error}");
                return ExitCode::from(EXIT_FAILED);
            }
        },
    }
    if report.well { ExitCode::SUCCESS } else { ExitCode::from(EXIT_FAILED) }
}

async fn examine(provider: Option<ProviderName>) -> Report {
    let (workspace, engine) = (WorkspaceSettings::of_this_process(), EngineSettings::of_this_process());
    let settings = vec![common::settings("workspace_settings", &workspace), common::settings("user_settings", &engine)];
    let (workspace, engine) = (workspace.unwrap_or_default(), engine.unwrap_or_default());
    let provider = provider.unwrap_or(workspace.provider);
    let common = common::examine(provider, &workspace, settings).await;
    let (simulated, own) = match provider {
        ProviderName::Process => (false, process::examine(&engine)),
        ProviderName::Apple => apple::examine(&engine).await,
    };
    let workspace = std::env::current_dir().map(|directory| kube_major::examine(&directory)).unwrap_or_default();
    Report::new(provider.as_str(), simulated, [common, own, workspace].concat())
}
