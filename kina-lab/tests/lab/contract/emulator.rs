//! An emulator with separate state.

use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use crate::contract::run::{Run, contract};
use crate::stand_ins::{CONTAINER_CLI, SUPERVISOR, stand_ins, supervisor};

/// An emulator whose containers and service end with this value.
pub struct Emulator {
    directory: tempfile::TempDir,
}

impl Emulator {
    pub fn new() -> Self {
        Self { directory: tempfile::tempdir().expect("a temporary directory") }
    }

    /// Runs the suite on it, with a plan of faults.
    pub fn contract(&self, arguments: &[&str], faults: &str) -> Run {
        let arguments = [&["--provider", "apple"], arguments].concat();
        let variables = self.variables(faults);
        contract(&arguments, &variables.each_ref().map(|(name, value)| (*name, value.as_os_str())))
    }

    /// Returns the variables that lead kina to it, with a plan of faults.
    pub fn variables(&self, faults: &str) -> [(&'static str, OsString); 4] {
        [
            (CONTAINER_CLI, stand_ins().emulator.clone().into()),
            (SUPERVISOR, supervisor().into()),
            ("KINA_EMULATOR_ROOT", self.root().into()),
            ("KINA_EMULATOR_FAULTS", faults.into()),
        ]
    }

    /// Returns the processes of machines that still live.
    pub fn processes(&self) -> Vec<u32> {
        let noted = std::fs::read_to_string(self.root().join("processes")).unwrap_or_default();
        noted.lines().filter_map(living).collect()
    }

    /// Returns the faults so far, as in the emulator's state: the place in the plan, fault and command.
    pub fn faults_that_happened(&self) -> Vec<String> {
        let text = std::fs::read_to_string(self.root().join("service.json")).unwrap_or_default();
        let state: serde_json::Value = serde_json::from_str(&text).expect("the emulator's state");
        state["faults"].as_object().expect("counted by fault").keys().cloned().collect()
    }

    /// Returns the calls so far that began with one of these words, by those words alone.
    pub fn transcript(&self, of: &[&str]) -> Vec<String> {
        let calls = std::fs::read_to_string(self.root().join("calls")).unwrap_or_default();
        let begins = |line: &str, call: &str| line == call || line.starts_with(&format!("{call} "));
        let named = |line: &str| of.iter().find(|call| begins(line, call)).map(|call| (*call).to_owned());
        calls.lines().filter_map(named).collect()
    }

    /// Returns its list of containers, unchanged.
    pub fn containers(&self) -> String {
        self.said(&["list", "-a", "--format", "json"])
    }

    /// Returns the names of its images, one a line.
    pub fn images(&self) -> String {
        self.said(&["image", "list", "-q"])
    }

    fn said(&self, arguments: &[&str]) -> String {
        let answered = self.call(arguments).output().expect("it starts");
        String::from_utf8_lossy(&answered.stdout).trim().to_owned()
    }

    fn call(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new(&stand_ins().emulator);
        command.args(arguments).env("KINA_EMULATOR_ROOT", self.root()).env_remove("KINA_EMULATOR_FAULTS");
        command.stdin(Stdio::null());
        command
    }

    fn root(&self) -> PathBuf {
        self.directory.path().join("root")
    }
}

impl Drop for Emulator {
    fn drop(&mut self) {
        for arguments in [&["delete", "-f", "--all"][..], &["system", "stop"]] {
            // Tests count the processes that are left, so a failure here is noticed.
            let _ = self.call(arguments).output();
        }
    }
}

/// Returns the process of a line `PID START_TIME …`, if it is still the same.
fn living(line: &str) -> Option<u32> {
    let mut words = line.split_whitespace();
    let (process_id, start) = (words.next()?.parse::<u32>().ok()?, words.next()?);
    let stat = std::fs::read_to_string(Path::new("/proc").join(process_id.to_string()).join("stat")).ok()?;
    let fields: Vec<&str> = stat.rsplit_once(") ")?.1.split_whitespace().collect();
    (fields[0] != "Z" && fields[19] == start).then_some(process_id)
}
