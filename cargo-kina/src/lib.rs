//! The program `cargo-kina`, and what kina's own laboratory (`kina-lab`, `cargo lab`) shares with it.
//!
//! Each command has a module of its own. Nothing but these two programs uses this library: it follows no rules of
//! compatibility.
//!
//! Shared modules:
//! - `program`: exit codes, and the command line. `command`: the commands of both programs.
//! - `situation`: settings, the engine, the runtime; user errors.
//! - `wanted`: options for the kind of cluster. `lease_file`: the kubeconfig of a lease as a file.
//! - `output`, `table`: printing, with or without colours.
//! - `binaries`: for commands that make clusters themselves, apart from the user's engines.
//! - `private_engine`: an engine apart from the user's own.
//! - `assets_notice`: the programs that a workspace makes kina run, said once.
//! - `interrupted`: for commands that have to clean up first.
//! - `bench`: the private engine of all measurements, and those of acquisition.
#![allow(missing_docs, reason = "only kina's own programs use this library")]

mod apple_probe;
mod assets;
mod assets_notice;
pub mod bench;
pub mod binaries;
mod command;
pub mod completions;
mod doctor;
mod image;
pub mod interrupted;
mod kubeconfig;
mod lease_file;
mod logs;
mod metrics;
pub mod output;
pub mod private_engine;
pub mod program;
mod run;
pub mod situation;
mod status;
mod stop;
mod table;
mod timings;
mod top;
mod wanted;
mod warm;

use std::process::ExitCode;

use clap::{CommandFactory, Parser, Subcommand};
use kina_engine::ProviderName;

pub use self::binaries::{find_binaries, find_binaries_for};
pub use self::command::CommonCommand;
pub use self::interrupted::interrupted;
pub use self::output::{Format, print_lines, print_report};
pub use self::private_engine::PrivateEngine;
pub use self::situation::{Situation, UserError, runtime};

/// Real Kubernetes clusters for tests: run a program with one, inspect, warm up, stop and measure the engine
///
/// Results go to standard output, everything else to standard error. Colours are for terminals; NO_COLOR turns them off.
///
/// Exit codes: 0 success; 1 an unexpected failure: see the engine's log (`cargo kina logs`); 2 an error that you can
/// fix, or no cluster became free in time. `run` has codes of its own: `cargo kina run --help`; `bench --compare` exits
/// with 3 if something has become slower.
#[derive(Debug, Parser)]
#[command(name = "cargo-kina", bin_name = "cargo kina", version = kina_engine::VERSION)]
struct Arguments {
    /// Provider of the clusters: process or apple [default: from the workspace's settings]
    #[arg(long, global = true)]
    provider: Option<ProviderName>,
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    #[command(flatten)]
    Common(CommonCommand),
    /// Measure
    Bench(bench::BenchArguments),
    Completions(completions::CompletionsArguments),
}

/// Runs the program.
pub fn main() -> ExitCode {
    let Arguments { provider, command } = Arguments::parse_from(program::words());
    match command {
        Command::Common(command) => command.main(provider),
        Command::Bench(arguments) => program::finish(bench::run(provider, arguments)),
        Command::Completions(arguments) => program::finish(completions::run(&arguments, Arguments::command())),
    }
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
            let command = parse(words).expect("understood").command;
            assert!(matches!(command, Command::Common(CommonCommand::Run(_))), "{words:?}");
        }
        for words in [&["run"][..], &["run", "--unknown", "ls"], &["kubeconfig"], &["logs", "--component", "etcd"]] {
            assert!(parse(words).is_err(), "{words:?}");
        }
    }
}
