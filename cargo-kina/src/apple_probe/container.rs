//! Calls of the program `container`, each with a time limit.

use std::ffi::OsStr;
use std::path::PathBuf;
use std::process::Stdio;
use std::time::Duration;

use kina_engine::EngineSettings;
use kina_engine::doctor::{self, PROGRAM_VARIABLE, Provider};
use rustix::process::Pid;
use tokio::process::Command;

use super::super::doctor::connect_apple;

/// Time limit of a call that only looks, or sends a signal.
const LOOK_TIMEOUT: Duration = Duration::from_secs(15);
/// Characters of a failed call's messages that are kept.
const MESSAGE_CHARACTERS_MAX: usize = 300;
/// Variables that would change what a call does or prints.
const UNWANTED_VARIABLES: [&str; 2] = ["CONTAINER_DEFAULT_PLATFORM", "CONTAINER_DEBUG"];

/// The program.
pub(super) struct Container {
    program: PathBuf,
    version: String,
    is_emulator: bool,
}

/// A signal to the program in a machine, by its number on Linux.
#[derive(Clone, Copy, Debug)]
pub(super) enum Signal {
    Hangup = 1,
    User1 = 10,
}

/// The group of a call's processes, killed with this value unless the call has ended.
struct Group(Option<Pid>);

impl Container {
    /// Finds the program, and asks for its version.
    ///
    /// # Errors
    /// If there is none, or it is too old, in words.
    pub(super) async fn find(settings: &EngineSettings) -> Result<Self, String> {
        let variable = |name| std::env::var_os(name).filter(|value| !value.is_empty());
        let program = doctor::find_program(variable(PROGRAM_VARIABLE).as_deref(), variable("PATH").as_deref());
        let program = program.ok_or("there is no program `container`: install Apple's container, see docs/apple.md")?;
        let provider = connect_apple(program.clone(), settings).await;
        let provider = provider.map_err(|error| kina_engine::with_causes(&error))?;
        let is_emulator = provider.capabilities().simulated;
        Ok(Self { program, version: provider.program_version().trim().to_owned(), is_emulator })
    }

    pub(super) fn is_emulator(&self) -> bool {
        self.is_emulator
    }

    /// The output of `--version`.
    pub(super) fn version(&self) -> &str {
        &self.version
    }

    /// Runs a call that only looks.
    pub(super) async fn look<Word: AsRef<OsStr>>(&self, words: &[Word]) -> Result<String, String> {
        self.call(LOOK_TIMEOUT, words).await
    }

    /// Sends a signal to the first process of a machine.
    pub(super) async fn signal(&self, machine: &str, signal: Signal) -> Result<(), String> {
        let number = (signal as u32).to_string();
        self.call(LOOK_TIMEOUT, &["kill", "-s", &number, machine]).await.map(drop)
    }

    /// Runs a call and returns its output. A call that exceeds the limit is killed with its whole group.
    ///
    /// # Errors
    /// If it fails or takes too long, in words.
    pub(super) async fn call<Word: AsRef<OsStr>>(
        &self,
        time_limit: Duration,
        words: &[Word],
    ) -> Result<String, String> {
        let said: Vec<_> = words.iter().map(|word| word.as_ref().to_string_lossy()).collect();
        let said = format!("`container {}`", said.join(" "));
        let mut command = Command::new(&self.program);
        command.args(words).stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped()).current_dir("/");
        command.process_group(0).kill_on_drop(true);
        for variable in UNWANTED_VARIABLES {
            command.env_remove(variable);
        }
        let child = command.spawn().map_err(|error| format!("{said} cannot be started: {error}"))?;
        let mut group = Group(child.id().and_then(|id| Pid::from_raw(id.cast_signed())));
        let output = match tokio::time::timeout(time_limit, child.wait_with_output()).await {
            Ok(output) => output.map_err(|error| format!("{said} has failed: {error}"))?,
            Err(_) => return Err(format!("{said} took longer than {} s", time_limit.as_secs())),
        };
        group.0 = None;
        if !output.status.success() {
            let messages: String =
                String::from_utf8_lossy(&output.stderr).trim().chars().take(MESSAGE_CHARACTERS_MAX).collect();
            return Err(format!("{said} has failed ({}): {messages}", output.status));
        }
        Ok(String::from_utf8_lossy(&output.stdout).into_owned())
    }
}

impl Drop for Group {
    fn drop(&mut self) {
        if let Some(group) = self.0 {
            // A gentler signal would be passed on into the machine.
            let _ = rustix::process::kill_process_group(group, rustix::process::Signal::KILL);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shell() -> Container {
        Container { program: "/bin/sh".into(), version: String::new(), is_emulator: true }
    }

    #[tokio::test]
    async fn a_call_answers_fails_or_is_killed_with_its_group() {
        let seconds = Duration::from_secs(20);
        assert_eq!(shell().call(seconds, &["-c", "echo a"]).await.as_deref(), Ok("a\n"));
        let error = shell().call(seconds, &["-c", "echo no >&2; exit 3"]).await.expect_err("it fails");
        assert!(error.contains("(exit status: 3): no"), "{error}");
        let directory = tempfile::tempdir().expect("a temporary directory");
        let path = directory.path().join("id");
        let script = format!("sleep 1000 & echo $! > {}; wait", path.display());
        let error = shell().call(Duration::from_millis(500), &["-c", &script]).await.expect_err("it takes too long");
        assert!(error.contains("took longer than"), "{error}");
        let id = std::fs::read_to_string(&path).expect("started").trim().parse().expect("a number");
        let id = Pid::from_raw(id).expect("a process");
        // Killed at once, and reaped by the system some time later.
        for _ in 0..2000 {
            if rustix::process::test_kill_process(id).is_err() || is_zombie(id) {
                return;
            }
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        panic!("the call's own child still runs");
    }

    fn is_zombie(id: Pid) -> bool {
        let stat = std::fs::read_to_string(format!("/proc/{}/stat", id.as_raw_nonzero())).unwrap_or_default();
        stat.rsplit_once(')').is_some_and(|(_, state)| state.trim_start().starts_with('Z'))
    }
}
