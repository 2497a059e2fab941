//! Runs `go` commands: with a time limit, in a process group of their own, with signs of life, and keeping the end of
//! their output.

use std::ffi::OsString;
use std::fmt;
use std::io::{self, Read};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::mpsc::{Receiver, RecvTimeoutError, SyncSender, sync_channel};
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process_group};

use crate::assets::request::AssetRequest;
use crate::assets::{Progress, Report};

const POLL_INTERVAL: Duration = Duration::from_millis(50);
/// Time limit of the wait for output after the command itself has ended; only a stray grandchild can still hold it
/// open.
const LAST_OUTPUT_TIMEOUT: Duration = Duration::from_secs(2);
const STDOUT_BYTES_MAX: usize = 16 << 20;
const STDERR_BYTES_MAX: usize = 8 << 10;
const STDERR_LINES_MAX: usize = 20;

/// A `go` program in the surroundings that its commands need.
pub(super) struct Go<'a> {
    request: &'a AssetRequest,
    report: &'a Report<'a>,
    program: PathBuf,
    variables: Vec<(String, OsString)>,
}

/// One command to run.
pub(super) struct Step<'a> {
    /// Its purpose, in messages to people who wait.
    pub(super) text: &'a str,
    /// The arguments after `go`.
    pub(super) arguments: &'a [&'a str],
    /// The directory of its module.
    pub(super) directory: &'a Path,
    /// Its time limit.
    pub(super) timeout: Duration,
}

/// The failure of a command.
#[derive(Debug, thiserror::Error)]
pub(super) enum GoError {
    #[error("cannot start `{}`", program.display())]
    Start {
        program: PathBuf,
        #[source]
        source: io::Error,
    },
    #[error("`{command}` failed ({status}){}", Said(said))]
    Failed { command: String, status: ExitStatus, said: String },
    #[error("`{command}` was ended after {} s{}", timeout.as_secs(), Said(said))]
    TimedOut { command: String, timeout: Duration, said: String },
    #[error("`{command}` gave an answer that is not understood")]
    Answer {
        command: String,
        #[source]
        source: serde_json::Error,
    },
    #[error("cancelled")]
    Cancelled,
}

/// The result of a command: its exit status and its output.
pub(super) struct FinishedCommand {
    pub(super) command: String,
    pub(super) status: ExitStatus,
    pub(super) stdout: Vec<u8>,
    pub(super) said: String,
}

impl<'a> Go<'a> {
    /// The program at `program`; `temporary` is where its commands put their own scratch files.
    pub(super) fn new(request: &'a AssetRequest, report: &'a Report<'a>, program: PathBuf, temporary: &Path) -> Self {
        let fixed: [(&str, OsString); 6] = [
            ("CGO_ENABLED", "0".into()),
            ("GO111MODULE", "on".into()),
            ("GOARCH", request.platform.arch.clone().into()),
            ("GOOS", request.platform.os.clone().into()),
            ("GOTMPDIR", temporary.into()),
            ("GOWORK", "off".into()),
        ];
        let mut variables = request.environment.clone();
        variables.extend(fixed.map(|(name, value)| (name.to_owned(), value)));
        Self { request, report, program, variables }
    }

    /// The path of the program.
    pub(super) fn program(&self) -> &Path {
        &self.program
    }

    /// Lets all further commands see `name` as `value`.
    pub(super) fn set(&mut self, name: &str, value: OsString) {
        self.variables.push((name.to_owned(), value));
    }

    /// Runs a command that must succeed, and returns its standard output.
    pub(super) fn run(&self, step: &Step<'_>) -> Result<Vec<u8>, GoError> {
        let FinishedCommand { command, status, stdout, said } = self.outcome(step)?;
        if status.success() { Ok(stdout) } else { Err(GoError::Failed { command, status, said }) }
    }

    /// Runs a command to its end, successful or not.
    pub(super) fn outcome(&self, step: &Step<'_>) -> Result<FinishedCommand, GoError> {
        let command = format!("go {}", step.arguments.join(" "));
        let started = Instant::now();
        let mut reported = started;
        let mut running = Running::start(self, step)?;
        loop {
            let is_silent = running.receive(POLL_INTERVAL);
            let status =
                running.child.try_wait().map_err(|source| GoError::Start { program: self.program.clone(), source })?;
            if let Some(status) = status {
                running.is_reaped = true;
                let ended = Instant::now();
                while ended.elapsed() < LAST_OUTPUT_TIMEOUT && !running.receive(POLL_INTERVAL) {}
                let said = running.said();
                return Ok(FinishedCommand { command, status, stdout: std::mem::take(&mut running.stdout), said });
            }
            if is_silent {
                std::thread::sleep(POLL_INTERVAL);
            }
            if self.request.is_cancelled() {
                return Err(GoError::Cancelled);
            }
            if started.elapsed() >= step.timeout {
                return Err(GoError::TimedOut { command, timeout: step.timeout, said: running.said() });
            }
            if reported.elapsed() >= self.request.limits.report_interval {
                reported = Instant::now();
                (self.report)(Progress::new(format!("{}: {} s so far", step.text, started.elapsed().as_secs())));
            }
        }
    }
}

impl GoError {
    /// Returns true if the same command may succeed a moment later. The words of `go` are the only clue.
    pub(super) fn is_transient(&self) -> bool {
        const SIGNS: [&str; 9] = [
            "i/o timeout",
            "TLS handshake timeout",
            "Client.Timeout",
            "connection reset",
            "unexpected EOF",
            "429 Too Many Requests",
            "502 Bad Gateway",
            "503 Service Unavailable",
            "504 Gateway",
        ];
        matches!(self, Self::Failed { said, .. } if SIGNS.iter().any(|sign| said.contains(sign)))
    }
}

/// A command under way; ended with its whole process group when dropped.
struct Running {
    child: Child,
    is_reaped: bool,
    output: Receiver<Output>,
    stdout: Vec<u8>,
    stderr: Vec<u8>,
}

enum Output {
    Stdout(Vec<u8>),
    Stderr(Vec<u8>),
}

impl Running {
    fn start(go: &Go<'_>, step: &Step<'_>) -> Result<Self, GoError> {
        let mut command = Command::new(&go.program);
        command
            .args(step.arguments)
            .current_dir(step.directory)
            .env_clear()
            .envs(go.variables.iter().map(|(name, value)| (name, value)))
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .process_group(0);
        die_with_this_thread(&mut command);
        let mut child = command.spawn().map_err(|source| GoError::Start { program: go.program.clone(), source })?;
        let (sender, output) = sync_channel(64);
        if let Some(stdout) = child.stdout.take() {
            forward(stdout, sender.clone(), Output::Stdout);
        }
        if let Some(stderr) = child.stderr.take() {
            forward(stderr, sender, Output::Stderr);
        }
        Ok(Self { child, is_reaped: false, output, stdout: Vec::new(), stderr: Vec::new() })
    }

    /// Takes in output for at most `timeout`; returns true once no more can come.
    fn receive(&mut self, timeout: Duration) -> bool {
        match self.output.recv_timeout(timeout) {
            Ok(Output::Stdout(bytes)) => {
                let room_bytes = STDOUT_BYTES_MAX - self.stdout.len();
                self.stdout.extend_from_slice(&bytes[..bytes.len().min(room_bytes)]);
                false
            }
            Ok(Output::Stderr(bytes)) => {
                self.stderr.extend_from_slice(&bytes);
                let surplus_bytes = self.stderr.len().saturating_sub(STDERR_BYTES_MAX);
                self.stderr.drain(..surplus_bytes);
                false
            }
            Err(RecvTimeoutError::Timeout) => false,
            Err(RecvTimeoutError::Disconnected) => true,
        }
    }

    /// The end of the command's standard error, without the noise of a normal download.
    fn said(&self) -> String {
        let text = String::from_utf8_lossy(&self.stderr);
        let lines: Vec<&str> =
            text.lines().filter(|line| !line.trim().is_empty() && !line.starts_with("go: downloading ")).collect();
        lines[lines.len().saturating_sub(STDERR_LINES_MAX)..].join("\n")
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        if self.is_reaped {
            return;
        }
        // The command leads its group and is not reaped yet, so the number cannot belong to another process.
        let group = Pid::from_child(&self.child);
        if let Err(error) = kill_process_group(group, Signal::KILL) {
            tracing::warn!(%error, "cannot end a `go` command");
        }
        if let Err(error) = self.child.wait() {
            tracing::warn!(%error, "cannot wait for a `go` command that was ended");
        }
    }
}

/// Reads `pipe` on a thread of its own, which ends with the pipe or with the receiver.
fn forward(mut pipe: impl Read + Send + 'static, sender: SyncSender<Output>, wrap: fn(Vec<u8>) -> Output) {
    std::thread::spawn(move || {
        let mut buffer = vec![0; 16 << 10];
        loop {
            match pipe.read(&mut buffer) {
                Ok(0) => return,
                Ok(length) if sender.send(wrap(buffer[..length].to_vec())).is_err() => return,
                Err(error) if error.kind() != io::ErrorKind::Interrupted => return,
                Ok(_) | Err(_) => {}
            }
        }
    });
}

/// Has the command killed when this thread ends, which waits for it: so not even a killed engine leaves a build behind.
#[cfg(target_os = "linux")]
fn die_with_this_thread(command: &mut Command) {
    let parent = rustix::process::getpid();
    let arm = move || {
        rustix::process::set_parent_process_death_signal(Some(Signal::KILL))?;
        // A parent that died before the signal was armed would never send it.
        if rustix::process::getppid() == Some(parent) { Ok(()) } else { Err(io::ErrorKind::BrokenPipe.into()) }
    };
    #[expect(unsafe_code, reason = "the death signal has to be armed between fork and exec")]
    // SAFETY: the closure makes two system calls and touches neither memory of the parent nor any lock.
    unsafe {
        command.pre_exec(arm);
    }
}

/// Other systems have no such signal: there, a build whose engine is killed runs to its end, in a directory that the
/// next one removes.
#[cfg(not(target_os = "linux"))]
fn die_with_this_thread(_command: &mut Command) {}

struct Said<'a>(&'a str);

impl fmt::Display for Said<'_> {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.0.is_empty() { Ok(()) } else { write!(formatter, ": {}", self.0) }
    }
}
