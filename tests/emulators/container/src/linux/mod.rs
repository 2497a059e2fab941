//! The program: a command line, or one of the hidden processes of a machine.

mod containers;
mod copy;
mod create;
mod disk;
mod dispatch;
mod exec;
mod faults;
mod hold;
mod images;
mod inspect;
mod late;
mod layers;
mod lifecycle;
mod logs;
mod networks;
mod processes;
mod runtime;
mod settings;
mod stats;
mod store;
mod system;
mod tables;
mod volumes;

use std::process::ExitCode;

/// The first argument of the runtime helper. The grammar of the command line has none of these words.
pub(crate) const RUNTIME: &str = "__runtime";
/// The process that becomes PID 1 of a machine.
pub(crate) const INIT: &str = "__init";
/// The process that runs a command inside of a machine.
pub(crate) const EXEC: &str = "__exec";
/// The process that reads the root file system of a stopped machine.
pub(crate) const EXPORT: &str = "__export";
/// The process that holds the global lock for others.
pub(crate) const HOLD: &str = "__hold";

/// Runs the program.
pub(crate) fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args_os().skip(1).map(|word| word.to_string_lossy().into_owned()).collect();
    let code = match arguments.first().map(String::as_str) {
        Some(RUNTIME) => runtime::main(&arguments[1..]),
        Some(INIT) => runtime::init(&arguments[1..]),
        Some(EXEC) => exec::inside(&arguments[1..]),
        Some(EXPORT) => copy::export_stopped(&arguments[1..]),
        Some(HOLD) => hold::main(&arguments[1..]),
        _ => dispatch::main(&arguments),
    };
    ExitCode::from(code)
}
