//! One call of the program `container`.
//!
//! A call can hang for ever and block others until it is killed. So each has a deadline, after which its whole group is
//! killed. The signal is never a milder one, because `container` would pass it on.

use std::ffi::OsString;
use std::fmt;
use std::io;
use std::os::unix::process::ExitStatusExt;
use std::path::PathBuf;
use std::process::{ExitStatus, Stdio};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use rustix::process::{Pid, Signal, WaitId, WaitIdOptions};
use tokio::io::{AsyncRead, AsyncReadExt};
use tokio::process::Command;
use tokio::sync::Semaphore;

use crate::provider::group_watcher::Watcher;
use crate::trust::search_path;

/// Limit of a call's output. A list of a thousand containers takes two megabytes.
const OUTPUT_BYTES_MAX: usize = 16 << 20;
/// The length of the end of the messages that is kept.
const MESSAGES_BYTES_MAX: usize = 64 << 10;
/// Time that processes left behind by a call may hold its output open after the call itself has ended.
const STRAGGLER_TIMEOUT: Duration = Duration::from_millis(500);
const EXIT_POLL_INTERVAL: Duration = Duration::from_millis(20);
/// Shorter, because a process that has closed its output is gone in no time.
const EXIT_POLL_INTERVAL_AFTER_OUTPUT: Duration = Duration::from_millis(1);
/// Time for the kernel to end a process after SIGKILL.
const KILL_TIMEOUT: Duration = Duration::from_secs(10);
/// Calls at a time. The service was seen to hang with ten.
const CALLS_MAX: usize = 8;
/// Variables that would change what a call does or prints.
pub(super) const UNWANTED_VARIABLES: [&str; 2] = ["CONTAINER_DEFAULT_PLATFORM", "CONTAINER_DEBUG"];

/// The program, with the watcher that lets no call outlive this process.
#[derive(Clone)]
pub(super) struct Caller {
    program: PathBuf,
    turns: Arc<Semaphore>,
    watcher: Arc<Mutex<Watcher>>,
}

/// A call that ended by itself.
#[derive(Debug)]
pub(super) struct Answer {
    pub(super) outcome: CallOutcome,
    pub(super) output: Vec<u8>,
    /// The end of its error output, with replacements for invalid UTF-8.
    pub(super) messages: String,
}

/// The end of a call.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum CallOutcome {
    Exited(i32),
    Killed(i32),
}

/// The failure of a call that gave no answer.
#[derive(Debug)]
pub(super) enum CallFailure {
    Spawn(io::Error),
    TimedOut { deadline: Duration, messages: String },
    TooMuchOutput { bytes_max: usize },
    Io(io::Error),
}

impl Answer {
    pub(super) fn is_success(&self) -> bool {
        self.outcome == CallOutcome::Exited(0)
    }
}

impl fmt::Display for CallOutcome {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Exited(code) => write!(formatter, "ended with exit code {code}"),
            Self::Killed(signal) => write!(formatter, "was killed by signal {signal}"),
        }
    }
}

impl Caller {
    pub(super) fn new(program: PathBuf) -> io::Result<Self> {
        let watcher = Arc::new(Mutex::new(Watcher::start()?));
        Ok(Self { program, turns: Arc::new(Semaphore::new(CALLS_MAX)), watcher })
    }

    pub(super) fn program(&self) -> &std::path::Path {
        &self.program
    }

    /// Runs the program. Dropping the future kills it.
    pub(super) async fn call(&self, arguments: &[OsString], deadline: Duration) -> Result<Answer, CallFailure> {
        // Each call in front ends by its own deadline, so the wait is bounded by theirs.
        let _turn = self.turns.acquire().await.map_err(|error| CallFailure::Io(io::Error::other(error)))?;
        let mut child = self.command(arguments).spawn().map_err(CallFailure::Spawn)?;
        let id = child.id().and_then(|id| Pid::from_raw(id.cast_signed()));
        let id = id.ok_or_else(|| CallFailure::Io(io::Error::other("it has no process id")))?;
        // Declared after the child, so dropped, and its group killed, before the child can be reaped.
        let mut group = Group::watch(id, Arc::clone(&self.watcher)).map_err(CallFailure::Io)?;
        let (Some(output), Some(messages)) = (child.stdout.take(), child.stderr.take()) else {
            return Err(CallFailure::Io(io::Error::other("its output was not piped")));
        };
        let mut kept_output = Kept { bytes: Vec::new(), bytes_max: OUTPUT_BYTES_MAX, end_only: false };
        let mut kept_messages = Kept { bytes: Vec::new(), bytes_max: MESSAGES_BYTES_MAX, end_only: true };
        let read = async {
            tokio::try_join!(kept_output.read(output), kept_messages.read(messages))?;
            Ok::<(), ReadFailure>(())
        };
        let read = tokio::select! {
            read = tokio::time::timeout(deadline, read) => read.map_err(|_| ()),
            () = group.wait_stragglers() => Ok(Ok(())),
        };
        let status = match read {
            Ok(Ok(())) => group.end(&mut child, deadline).await,
            Ok(Err(ReadFailure::TooMuch)) => {
                return Err(CallFailure::TooMuchOutput { bytes_max: OUTPUT_BYTES_MAX });
            }
            Ok(Err(ReadFailure::Io(error))) => return Err(CallFailure::Io(error)),
            Err(()) => None,
        };
        let messages = String::from_utf8_lossy(&kept_messages.bytes).into_owned();
        match status {
            Some(status) => Ok(Answer { outcome: outcome(status), output: kept_output.bytes, messages }),
            None => {
                group.kill();
                let _ = tokio::time::timeout(KILL_TIMEOUT, group.reap(&mut child)).await;
                Err(CallFailure::TimedOut { deadline, messages })
            }
        }
    }
}

impl Caller {
    fn command(&self, arguments: &[OsString]) -> Command {
        let mut command = Command::new(&self.program);
        command
            .args(arguments)
            .env("PATH", search_path::without_relative_entries(&search_path::of_this_process()))
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .current_dir("/")
            .process_group(0);
        for variable in UNWANTED_VARIABLES {
            command.env_remove(variable);
        }
        command
    }
}

/// The group of one call, killed with this value unless it has been reaped.
struct Group {
    id: Pid,
    watcher: Arc<Mutex<Watcher>>,
    is_reaped: bool,
}

impl Group {
    fn watch(id: Pid, watcher: Arc<Mutex<Watcher>>) -> io::Result<Self> {
        let group = Self { id, watcher, is_reaped: false };
        group.watcher.lock().unwrap_or_else(PoisonError::into_inner).watch(id)?;
        Ok(group)
    }

    fn kill(&self) {
        let _ = rustix::process::kill_process_group(self.id, Signal::KILL);
    }

    /// Kills processes that still hold the call's output open after the call itself has ended, and then resolves.
    async fn wait_stragglers(&self) {
        self.wait_ended(EXIT_POLL_INTERVAL).await;
        tokio::time::sleep(STRAGGLER_TIMEOUT).await;
        self.kill();
    }

    async fn wait_ended(&self, poll_interval: Duration) {
        let look_only = WaitIdOptions::EXITED | WaitIdOptions::NOWAIT | WaitIdOptions::NOHANG;
        loop {
            match rustix::process::waitid(WaitId::Pid(self.id), look_only) {
                Ok(None) | Err(rustix::io::Errno::INTR) => tokio::time::sleep(poll_interval).await,
                _ => return,
            }
        }
    }

    /// Waits for the end of a call whose output has ended; `None` if the call does not end in time.
    async fn end(&mut self, child: &mut tokio::process::Child, deadline: Duration) -> Option<ExitStatus> {
        tokio::time::timeout(deadline, self.wait_ended(EXIT_POLL_INTERVAL_AFTER_OUTPUT)).await.ok()?;
        self.reap(child).await
    }

    /// Gives the process's number back to the system, which does not use it again before that.
    async fn reap(&mut self, child: &mut tokio::process::Child) -> Option<ExitStatus> {
        self.wait_ended(EXIT_POLL_INTERVAL_AFTER_OUTPUT).await;
        self.watcher.lock().unwrap_or_else(PoisonError::into_inner).forget(self.id);
        self.is_reaped = true;
        child.wait().await.ok()
    }
}

impl Drop for Group {
    fn drop(&mut self) {
        if !self.is_reaped {
            self.kill();
            self.watcher.lock().unwrap_or_else(PoisonError::into_inner).forget(self.id);
        }
    }
}

struct Kept {
    bytes: Vec<u8>,
    bytes_max: usize,
    /// Set if only the end is kept. Otherwise more than fits is an error.
    end_only: bool,
}

enum ReadFailure {
    TooMuch,
    Io(io::Error),
}

impl Kept {
    async fn read(&mut self, mut from: impl AsyncRead + Unpin) -> Result<(), ReadFailure> {
        let mut part = vec![0; 16 << 10];
        loop {
            let length = from.read(&mut part).await.map_err(ReadFailure::Io)?;
            if length == 0 {
                return Ok(());
            }
            self.bytes.extend_from_slice(&part[..length]);
            let surplus = self.bytes.len().saturating_sub(self.bytes_max);
            if 0 < surplus && self.end_only {
                self.bytes.drain(..surplus);
            } else if 0 < surplus {
                return Err(ReadFailure::TooMuch);
            }
        }
    }
}

fn outcome(status: ExitStatus) -> CallOutcome {
    match (status.code(), status.signal()) {
        (Some(code), _) => CallOutcome::Exited(code),
        (None, signal) => CallOutcome::Killed(signal.unwrap_or_default()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn variables_that_would_change_a_call_are_not_passed_on() {
        let caller = Caller::new("/bin/true".into()).expect("a shell starts");
        let command = caller.command(&[]);
        let removed: Vec<_> = command.as_std().get_envs().filter(|(_, value)| value.is_none()).collect();
        for variable in ["CONTAINER_DEFAULT_PLATFORM", "CONTAINER_DEBUG"] {
            assert!(removed.iter().any(|(name, _)| *name == variable), "{variable}");
        }
    }
}
