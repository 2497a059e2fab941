//! `cargo kina completions`

use clap::{Args, Command};
use clap_complete::Shell;

use super::output::print_bytes;

/// The program to complete. Shells complete `cargo` with cargo's own completions.
const PROGRAM: &str = "cargo-kina";

/// Print shell completions for `cargo-kina`
///
/// For bash: cargo kina completions bash > ~/.local/share/bash-completion/completions/cargo-kina
#[derive(Clone, Debug, Args)]
pub struct CompletionsArguments {
    /// The shell
    #[arg(value_enum)]
    shell: Shell,
}

/// Runs the command.
pub fn run(arguments: &CompletionsArguments, command: Command) -> anyhow::Result<()> {
    let mut script = Vec::new();
    clap_complete::generate(arguments.shell, &mut command.bin_name(PROGRAM), PROGRAM, &mut script);
    print_bytes(&script)
}
