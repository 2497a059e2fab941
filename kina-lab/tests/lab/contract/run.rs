//! Runs of `cargo lab contract`.

use std::ffi::OsStr;
use std::process::{Command, Output, Stdio};

use serde_json::Value;

/// The result of a run of the suite.
pub struct Run {
    /// Its report.
    pub report: Value,
    /// Set if its exit code reported success.
    pub is_success: bool,
    /// Its error output.
    pub stderr: String,
}

/// Runs `cargo lab contract` with these arguments and variables.
pub fn contract(arguments: &[&str], variables: &[(&str, &OsStr)]) -> Run {
    let mut command = Command::new(env!("CARGO_BIN_EXE_kina-lab"));
    command.arg("contract").args(arguments).args(["--format", "json"]).stdin(Stdio::null());
    let Output { status, stdout, stderr } = command.envs(variables.iter().copied()).output().expect("it starts");
    let stderr = String::from_utf8_lossy(&stderr).into_owned();
    let report = serde_json::from_slice(&stdout)
        .unwrap_or_else(|error| panic!("no report ({error}): {}{stderr}", String::from_utf8_lossy(&stdout)));
    Run { report, is_success: status.success(), stderr }
}
