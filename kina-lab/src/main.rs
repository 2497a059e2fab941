//! `cargo lab`: the commands of `cargo kina`, and those with which kina's developers look for faults in kina and measure it.
//!
//! - `bench`: all measurements.
//! - `chaos`: disturbs an engine, and looks for traces of one lease in the next.
//! - `contract`: the requirements of a provider, checked against the real thing.
//! - `private_provider`: a provider apart from the user's engines.

mod bench;
mod chaos;
mod contract;
mod kube_client;
mod private_provider;

use std::process::ExitCode;

use cargo_kina::{CommonCommand, Situation, completions, program, runtime};
use clap::{CommandFactory, Parser, Subcommand};
use kina_engine::ProviderName;

/// Everything that `cargo kina` does, and benchmarks, chaos and the contract of providers for kina's own developers
///
/// Results go to standard output, everything else to standard error. Exit codes are those of `cargo kina`.
#[derive(Debug, Parser)]
#[command(name = "kina-lab", bin_name = "cargo lab", version = kina_engine::VERSION)]
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
    Chaos(chaos::ChaosArguments),
    Contract(contract::ContractArguments),
    Completions(completions::CompletionsArguments),
}

fn main() -> ExitCode {
    kina_engine::become_engine_if_asked();
    let Arguments { provider, command } = Arguments::parse_from(program::words());
    match command {
        Command::Common(command) => command.main(provider),
        Command::Bench(arguments) => program::finish(bench::run(provider, arguments)),
        Command::Chaos(arguments) => program::finish(chaos(provider, arguments)),
        Command::Contract(arguments) => program::finish(contract(provider, arguments)),
        Command::Completions(arguments) => program::finish(completions::run(&arguments, Arguments::command())),
    }
}

fn chaos(provider: Option<ProviderName>, arguments: chaos::ChaosArguments) -> anyhow::Result<()> {
    runtime()?.block_on(chaos::run(Situation::of_this_process(provider)?.provider(), arguments))
}

fn contract(provider: Option<ProviderName>, arguments: contract::ContractArguments) -> anyhow::Result<()> {
    runtime()?.block_on(contract::run(Situation::of_this_process(provider)?.provider(), arguments))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_command_line_is_consistent() {
        Arguments::command().debug_assert();
    }

    #[test]
    fn it_has_every_command_of_the_program_of_users() {
        for words in
            [&["status"][..], &["bench", "warm"], &["bench", "--save", "a"], &["run", "--", "ls"], &["metrics"]]
        {
            Arguments::try_parse_from([&["kina-lab"], words].concat()).expect("understood");
        }
    }
}
