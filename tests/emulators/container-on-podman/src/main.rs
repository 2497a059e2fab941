//! The command line of Apple's `container`, answered by podman, for kina's tests: the same grammar and JSON as the
//! emulator's, with a real container runtime behind it. `README.md` lists the commands that it maps.

mod commands;
mod create;
mod documents;
mod host;
mod images;
mod lifecycle;
mod podman;

use std::io::Write;
use std::process::ExitCode;

use container_command_line::{Failure, Version, parse};

/// The emulated version of the CLI.
const VERSION: Version = Version::NEWEST;

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args_os().skip(1).map(|word| word.to_string_lossy().into_owned()).collect();
    let outcome = if arguments == ["--version"] {
        Ok(version_line("container CLI") + "\n")
    } else {
        parse(&arguments, VERSION).map_err(Failure::from).and_then(commands::perform)
    };
    let (text, code) = match outcome {
        Ok(text) => (text, 0),
        Err(failure) => {
            if let Some(message) = failure.text() {
                eprintln!("{message}");
            }
            (String::new(), failure.exit_code())
        }
    };
    let mut stdout = std::io::stdout().lock();
    // The reader may be gone.
    let _ = stdout.write_all(text.as_bytes()).and_then(|()| stdout.flush());
    ExitCode::from(code)
}

/// Returns `NAME version V (build: …, commit: …)`, followed by a hint that this is not the real program.
fn version_line(name: &str) -> String {
    format!("{name} version {VERSION} (build: release, commit: unspeci) kina on podman, simulated")
}
