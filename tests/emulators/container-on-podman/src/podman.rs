//! Calls of podman.

use std::ffi::OsString;
use std::process::{Command, Output, Stdio};

use container_command_line::{Code, Failure};
use serde_json::Value;

/// Makes a call of podman with these arguments.
pub(crate) fn command(arguments: &[&str]) -> Command {
    let program = std::env::var_os("KINA_PODMAN").unwrap_or_else(|| OsString::from("podman"));
    let mut command = Command::new(program);
    command.args(arguments).stdin(Stdio::null());
    command
}

/// Runs podman and returns its stdout.
pub(crate) fn run(arguments: &[&str]) -> Result<String, Failure> {
    let output = output(command(arguments))?;
    if output.status.success() {
        return Ok(String::from_utf8_lossy(&output.stdout).into_owned());
    }
    Err(failed(arguments.first().copied().unwrap_or_default(), &output))
}

/// Runs podman and returns the JSON on its stdout.
pub(crate) fn json(arguments: &[&str]) -> Result<Value, Failure> {
    let text = run(arguments)?;
    serde_json::from_str(&text).map_err(|error| {
        let text = format!("podman {} printed no JSON: {error}", arguments.join(" "));
        Failure::runtime(Code::InternalError, text)
    })
}

/// Runs a call to its end.
pub(crate) fn output(mut command: Command) -> Result<Output, Failure> {
    command.output().map_err(|error| {
        let text = format!("podman could not be started: {error}; install it, or set KINA_PODMAN to its path");
        Failure::runtime(Code::InternalError, text)
    })
}

/// Makes the failure of a call that ended with a code other than 0.
pub(crate) fn failed(verb: &str, output: &Output) -> Failure {
    let said = String::from_utf8_lossy(&output.stderr);
    Failure::runtime(Code::InternalError, format!("podman {verb}: {}", said.trim()))
}
