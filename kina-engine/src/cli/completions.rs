//! `cargo kina completions`

use clap::{Args, Command};
use clap_complete::Shell;

use super::output::print_bytes;

/// What is completed: the program. A shell that completes `cargo` does so by cargo's own completions.
const PROGRAM: &str = "cargo-kina";

/// Print what a shell needs to complete the arguments of `cargo-kina`
///
/// For bash: cargo kina completions bash > ~/.local/share/bash-completion/completions/cargo-kina
#[derive(Clone, Debug, Args)]
pub(super) struct CompletionsArguments {
    /// For which shell
    #[arg(value_enum)]
    shell: Shell,
}

/// Runs the command.
pub(super) fn run(arguments: &CompletionsArguments, command: Command) -> anyhow::Result<()> {
    let mut script = Vec::new();
    clap_complete::generate(arguments.shell, &mut command.bin_name(PROGRAM), PROGRAM, &mut script);
    print_bytes(&script)
}
