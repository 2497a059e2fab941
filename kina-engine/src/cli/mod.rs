//! The program `cargo-kina`. Each command has a module of its own.
//!
//! Shared modules:
//! - `situation`: settings, the engine, the runtime; user errors.
//! - `wanted`: options for the kind of cluster. `lease_file`: the kubeconfig of a lease as a file.
//! - `output`, `table`: printing, with or without colours.
//! - `binaries`, `private_realm`: for commands that make clusters themselves, apart from the user's engines.
//! - `assets_notice`: the programs that a workspace makes kina run, said once.
//! - `interrupted`: for commands that have to clean up first.

mod assets;
mod assets_notice;
mod bench;
mod binaries;
mod chaos;
mod completions;
mod contract;
mod doctor;
mod image;
mod interrupted;
mod kubeconfig;
mod lease_file;
mod logs;
mod metrics;
mod output;
mod private_realm;
mod run;
mod situation;
mod status;
mod stop;
mod table;
mod timings;
mod top;
mod wanted;
mod warm;

use std::process::ExitCode;
use std::time::Instant;

use clap::{CommandFactory, Parser, Subcommand};

use self::binaries::{find_binaries, find_binaries_for};
use self::interrupted::interrupted;
use self::output::{Format, OutputClosed, print_lines, print_report};
use self::situation::{Situation, UserError, runtime};
use crate::ProviderName;
use crate::assets::{AssetsError, UnknownMinor};
use crate::client::ClientError;
use crate::fixtures::ReadError;
use crate::paths::PathsError;

/// Exit code for errors that the user can fix.
const EXIT_USER_ERROR: u8 = 2;
/// Exit code for unexpected failures.
const EXIT_FAILED: u8 = 1;
/// Exit code of `cargo kina bench --compare` if something has become slower.
const EXIT_REGRESSION: u8 = 3;

/// Real Kubernetes clusters for tests: run a program with one, inspect, warm up, stop and measure the engine
///
/// Results go to standard output, everything else to standard error. Colours are for terminals; NO_COLOR turns them off.
///
/// Exit codes: 0 success; 1 an unexpected failure: see the engine's log (`cargo kina logs`); 2 an error that you can
/// fix, or no cluster became free in time. `run` has codes of its own: `cargo kina run --help`; `bench --compare` exits
/// with 3 if something has become slower.
#[derive(Debug, Parser)]
#[command(name = "cargo-kina", bin_name = "cargo kina", version = crate::protocol::VERSION)]
struct Arguments {
    /// Provider of the clusters: process or apple [default: from the workspace's settings]
    #[arg(long, global = true)]
    provider: Option<ProviderName>,
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    Run(run::RunArguments),
    Kubeconfig(kubeconfig::KubeconfigArguments),
    Status(status::StatusArguments),
    Top(top::TopArguments),
    Logs(logs::LogsArguments),
    Warm(warm::WarmArguments),
    Stop(stop::StopArguments),
    /// Print the engine's metrics, as OpenMetrics text
    Metrics,
    Doctor(doctor::DoctorArguments),
    /// The binaries that clusters are made from: list, get, remove them
    #[command(subcommand)]
    Assets(assets::AssetsCommand),
    Timings(timings::TimingsArguments),
    /// The image that clusters in virtual machines and containers boot from
    #[command(subcommand)]
    Image(image::ImageCommand),
    /// Measure
    Bench(bench::BenchArguments),
    Chaos(chaos::ChaosArguments),
    Contract(contract::ContractArguments),
    Completions(completions::CompletionsArguments),
}

/// Runs the program.
pub fn main() -> ExitCode {
    let start = Instant::now();
    // As a subcommand of cargo, the program gets its own name as the first argument.
    let arguments = std::env::args_os().enumerate().filter(|(index, text)| !(*index == 1 && text == "kina"));
    let arguments = Arguments::parse_from(arguments.map(|(_, text)| text));
    let exit_failed = if matches!(arguments.command, Command::Run(_)) { Some(run::EXIT_NO_CLUSTER) } else { None };
    match run(arguments, start) {
        Ok(exit_code) => exit_code,
        // A reader that closes the pipe has read enough.
        Err(error) if error.is::<OutputClosed>() => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("error: {}", crate::with_causes(error.as_ref()));
            let of_kind = if is_user_error(&error) { EXIT_USER_ERROR } else { EXIT_FAILED };
            let of_kind = bench::exit_code(&error).unwrap_or(of_kind);
            ExitCode::from(exit_failed.unwrap_or(of_kind))
        }
    }
}

fn run(arguments: Arguments, start: Instant) -> anyhow::Result<ExitCode> {
    let Arguments { provider, command } = arguments;
    let situation = || Situation::of_this_process(provider);
    let done = match command {
        Command::Run(arguments) => return runtime()?.block_on(run::run(situation()?, arguments)),
        Command::Doctor(arguments) => return Ok(doctor::main(provider, &arguments)),
        Command::Kubeconfig(arguments) => runtime()?.block_on(kubeconfig::run(situation()?, &arguments)),
        Command::Status(arguments) => runtime()?.block_on(status::run(&situation()?, &arguments)),
        Command::Top(arguments) => runtime()?.block_on(top::run(&situation()?, &arguments)),
        Command::Logs(arguments) => logs::run(provider, &arguments),
        Command::Warm(arguments) => runtime()?.block_on(warm::run(situation()?, &arguments)),
        Command::Stop(arguments) => runtime()?.block_on(stop::run(provider, &arguments)),
        Command::Timings(arguments) => runtime()?.block_on(timings::run(provider, arguments)),
        Command::Metrics => runtime()?.block_on(metrics::run(&situation()?)),
        Command::Assets(command) => assets::run(provider, command),
        Command::Image(command) => image::run(command),
        Command::Bench(arguments) => bench::run(provider, arguments, start),
        Command::Chaos(arguments) => runtime()?.block_on(chaos::run(situation()?.provider(), arguments)),
        Command::Contract(arguments) => runtime()?.block_on(contract::run(situation()?.provider(), arguments)),
        Command::Completions(arguments) => completions::run(&arguments, Arguments::command()),
    };
    done.map(|()| ExitCode::SUCCESS)
}

/// Returns true if the user can fix the error.
fn is_user_error(error: &anyhow::Error) -> bool {
    error.downcast_ref::<ClientError>().is_some_and(ClientError::is_user_error)
        || error.downcast_ref::<AssetsError>().is_some_and(AssetsError::is_user_error)
        || error.is::<UserError>()
        || error.is::<UnknownMinor>()
        || error.is::<PathsError>()
        || error.is::<ReadError>()
        || image::is_user_error(error)
        || timings::is_user_error(error)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_command_line_is_consistent() {
        Arguments::command().debug_assert();
    }

    #[test]
    fn the_page_of_commands_has_all_of_them() {
        // The published package does not contain the page.
        let path = concat!(env!("CARGO_MANIFEST_DIR"), "/../docs/commands.md");
        let Ok(page) = std::fs::read_to_string(path) else { return };
        for command in Arguments::command().get_subcommands().filter(|command| !command.is_hide_set()) {
            assert!(page.contains(&format!("`{}", command.get_name())), "no `{}`", command.get_name());
        }
    }

    #[test]
    fn a_commands_arguments_are_not_parsed_as_options() {
        let parse = |words: &[&str]| Arguments::try_parse_from([&["cargo-kina"], words].concat());
        for words in [&["run", "--each", "ls", "--each"][..], &["run", "--", "ls", "--", "-l"]] {
            assert!(matches!(parse(words).expect("understood").command, Command::Run(_)), "{words:?}");
        }
        for words in [&["run"][..], &["run", "--unknown", "ls"], &["kubeconfig"], &["logs", "--component", "etcd"]] {
            assert!(parse(words).is_err(), "{words:?}");
        }
    }
}
