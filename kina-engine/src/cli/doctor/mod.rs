//! `cargo kina doctor`: what can be wrong on this machine.
//!
//! Each check is a pure function from what was found to what that means, so that it can be tested without a machine that
//! is broken in this way; looking is done apart from that. Nothing is repaired, started or downloaded.
//!
//! - `check`: one check, and the report.
//! - `common`: what every provider needs. `process`, `apple`: what one provider needs. `kernel`: what bounds processes.
//! - `ask`: programs of the system that know something about it.

mod apple;
mod ask;
mod check;
mod common;
mod kernel;
mod process;

use std::process::ExitCode;

use clap::Args;

use self::check::Report;
use super::{EXIT_FAILED, Format};
use crate::ProviderName;
use crate::settings::{EngineSettings, WorkspaceSettings};

/// Check each thing that can be wrong on this machine, and say what it means and what repairs it
///
/// Looks at what every provider needs, and at what the provider of this workspace needs, or the one given by --provider.
/// Nothing is repaired, started or downloaded. What `apple` needs for its image is compiled once, as for a first cluster.
///
/// Exit codes: 0 all well (there may be warnings), 1 something is wrong.
#[derive(Clone, Debug, Args)]
#[command(verbatim_doc_comment)]
pub(super) struct DoctorArguments {
    /// How to print it
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
    Report::new(provider.as_str(), simulated, [common, own].concat())
}
