//! `cargo kina run`
//!
//! - `environment`: the variables of the command. Pure.
//! - `command`: the command as a child, and its end.
//! - `signals`: signals that this program receives meanwhile.

mod command;
mod environment;
mod signals;

use std::ffi::OsString;
use std::os::unix::process::CommandExt;
use std::process::ExitCode;
use std::time::Duration;

use clap::Args;
use kina_engine::Lease;

use self::command::{Ending, RunningCommand};
use self::environment::Surrounding;
use self::signals::Signals;
use super::lease_file::write_kubeconfig;
use super::output::print_progress;
use super::situation::Situation;
use super::wanted::WantedLease;

/// No cluster could be acquired. Not 1 or 2, which many commands use.
pub(super) const EXIT_NO_CLUSTER: u8 = 125;
const EXIT_NOT_EXECUTABLE: u8 = 126;
const EXIT_NOT_FOUND: u8 = 127;
/// The interval of checks that the engine still runs.
const POLL_INTERVAL: Duration = Duration::from_millis(500);

/// Run any command with a cluster of its own: go test, pytest, helm, kubectl, …
///
/// KUBECONFIG names a file that exists until the command ends, and USE_EXISTING_CLUSTER is set for Go's envtest. When
/// the
/// command or this program ends in any way, the cluster is returned. Your own kubeconfig is neither read nor changed.
///
/// Inside the command, `cargo kina run` uses the same cluster, unless it needs another kind, or one of them has --each.
///
/// Exit codes: that of the command; 128+N if signal N ended it; 127 the command was not found, 126 it cannot be run;
/// 125 no cluster could be acquired. Signals are passed on.
#[derive(Clone, Debug, Args)]
#[command(verbatim_doc_comment)]
pub struct RunArguments {
    /// Each `cargo kina run` inside COMMAND leases a cluster of its own
    #[arg(long)]
    each: bool,
    #[command(flatten)]
    wanted: WantedLease,
    /// The command and its arguments
    #[arg(required = true, trailing_var_arg = true, value_name = "COMMAND")]
    command: Vec<OsString>,
}

/// Runs the command.
pub(super) async fn run(situation: Situation, arguments: RunArguments) -> anyhow::Result<ExitCode> {
    let RunArguments { each, wanted, command } = arguments;
    let variable = |name: &str| std::env::var_os(name).filter(|value| !value.is_empty());
    if !each && wanted == WantedLease::default() && Surrounding::find(&variable).is_some() {
        return Ok(run_in_place(&command));
    }
    let engine = situation.client()?;
    let name = format!("cargo kina run -- {}", words(&command));
    let lease = wanted.request(&name, situation.settings)?.acquire(&engine).await?;
    let kubeconfig = write_kubeconfig(&lease.grant)?;
    let changes = environment::changes(&kubeconfig, &lease.grant.cluster, each, &variable);
    let signals = Signals::listen()?;
    let running = match RunningCommand::start(&command, &changes) {
        Ok(running) => running,
        Err(error) => return Ok(not_started(&command, &error)),
    };
    let ending = wait(running, signals, &lease).await?;
    lease.release();
    ending.follow();
    Ok(ExitCode::from(ending.exit_code()))
}

/// Waits for the command's end, without a time limit, and passes signals on.
async fn wait(mut running: RunningCommand, mut signals: Signals, lease: &Lease) -> anyhow::Result<Ending> {
    let mut is_lost = false;
    loop {
        tokio::select! {
            biased;
            () = running.wait() => return Ok(running.finish().await?),
            arrived = signals.next() => running.pass_on(arrived?),
            () = tokio::time::sleep(POLL_INTERVAL), if !is_lost => {
                is_lost = lease.has_ended();
                if is_lost {
                    print_progress("the engine has ended, and with it the cluster of this command");
                }
            }
        }
    }
}

/// Becomes the command, with the existing cluster.
fn run_in_place(command: &[OsString]) -> ExitCode {
    let error = std::process::Command::new(&command[0]).args(&command[1..]).exec();
    not_started(command, &error)
}

fn not_started(command: &[OsString], error: &std::io::Error) -> ExitCode {
    eprintln!("error: running `{}` failed: {error}", command[0].display());
    ExitCode::from(match error.kind() {
        std::io::ErrorKind::NotFound => EXIT_NOT_FOUND,
        _ => EXIT_NOT_EXECUTABLE,
    })
}

/// The command as a text, for the engine's status.
fn words(command: &[OsString]) -> String {
    command.iter().map(|word| word.to_string_lossy()).collect::<Vec<_>>().join(" ")
}
