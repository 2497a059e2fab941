//! Tests of this same binary as processes of their own, with an engine of their own.

use std::ffi::OsStr;
use std::io::{BufRead, BufReader, Write};
use std::os::unix::fs::PermissionsExt;
use std::os::unix::net::UnixStream;
use std::path::PathBuf;
use std::process::{Child, Command, ExitStatus, Output, Stdio};
use std::sync::mpsc;
use std::time::{Duration, Instant};

use kina_engine::protocol::{ClientMessage, EngineMessage, PROTOCOL, Status, VERSION};
use tempfile::TempDir;

use super::wait_until_blocking;

/// How long a child may take in all: the first one may wait for a boot from nothing, on a busy machine.
const CHILD_TIMEOUT: Duration = Duration::from_secs(120);
const POLL_INTERVAL: Duration = Duration::from_millis(5);

/// Private directories, and the engine that runs in them. It ends with this value.
pub struct Realm {
    runtime: TempDir,
    temporary: TempDir,
    variables: Vec<(String, String)>,
}

/// A running child. It is killed with this value.
pub struct RunningTest {
    child: Child,
    lines: mpsc::Receiver<String>,
}

impl Realm {
    pub fn new() -> Self {
        let only_mine = std::fs::Permissions::from_mode(0o700);
        let builder = || tempfile::Builder::new().prefix("kina-t").permissions(only_mine.clone()).tempdir();
        let directory = || builder().expect("a temporary directory");
        Self { runtime: directory(), temporary: directory(), variables: Vec::new() }
    }

    /// Sets a variable for all children, and so for the engine that one of them starts.
    pub fn with(mut self, name: &str, value: impl AsRef<OsStr>) -> Self {
        self.variables.push((name.to_owned(), value.as_ref().to_string_lossy().into_owned()));
        self
    }

    /// The engine's directory; empty when none runs.
    pub fn runtime_directory(&self) -> PathBuf {
        self.runtime.path().to_owned()
    }

    /// What children and engine take for the directory of temporary files.
    pub fn temporary_directory(&self) -> PathBuf {
        self.temporary.path().to_owned()
    }

    pub fn socket(&self) -> PathBuf {
        self.runtime.path().join(format!("engine-{PROTOCOL}-{VERSION}.sock"))
    }

    /// The command that runs one test of this binary.
    pub fn command(&self, test: &str) -> Command {
        let mut command = Command::new(std::env::current_exe().expect("this executable"));
        command.args(["--exact", test, "--nocapture", "--test-threads=1"]);
        self.prepare(&mut command);
        command
    }

    /// Gives a command this realm's environment.
    pub fn prepare(&self, command: &mut Command) {
        command
            .env_remove("KINA_ENGINE")
            .env_remove("KINA_SLOTS_MAX")
            // Should whoever holds this realm be killed, its engine does not stay for long.
            .env("KINA_IDLE_EXIT_SECONDS", "30")
            .env("KINA_RUNTIME_DIR", self.runtime.path())
            .env("TMPDIR", self.temporary.path())
            // What the user says about engines is not about this one.
            .env("XDG_CONFIG_HOME", self.temporary.path())
            // Nothing is booted ahead of demand, so that tests can count clusters.
            .env("KINA_TARGET_UTILISATION_PERCENT", "100")
            .env("RUST_BACKTRACE", "0")
            .envs(self.variables.iter().map(|(name, value)| (name, value)))
            .stdin(Stdio::null());
    }

    /// Runs a test to its end.
    pub fn run(&self, test: &str) -> Output {
        output(self.command(test))
    }

    /// Runs a test that has to succeed.
    pub fn run_well(&self, test: &str) {
        let output = self.run(test);
        assert!(output.status.success(), "{test} failed: {}", text_of(&output));
    }

    /// Starts a test.
    pub fn start(&self, mut command: Command) -> RunningTest {
        let mut child = command.stdout(Stdio::piped()).spawn().expect("the child starts");
        let stdout = BufReader::new(child.stdout.take().expect("piped"));
        let (sender, lines) = mpsc::channel();
        std::thread::spawn(move || stdout.lines().map_while(Result::ok).try_for_each(|line| sender.send(line)));
        RunningTest { child, lines }
    }

    /// What the engine says of itself; `None` where none runs.
    pub fn status(&self) -> Option<Status> {
        match self.ask(&ClientMessage::Status { with_memory: false })? {
            EngineMessage::Status(status) => Some(*status),
            other => panic!("no status: {other:?}"),
        }
    }

    /// What the engine says of itself; there must be one.
    pub fn status_of_running(&self) -> Status {
        self.status().expect("an engine runs")
    }

    /// Ends the engine and waits until it is gone.
    pub fn stop(&self) {
        let Some(status) = self.status() else { return };
        self.ask(&ClientMessage::Stop);
        wait_until_blocking("the engine ends", || !super::system::is_running(status.process_id));
    }

    /// Asks the engine one thing; `None` where there is no engine.
    pub fn ask(&self, message: &ClientMessage) -> Option<EngineMessage> {
        let hello = serde_json::to_string(&ClientMessage::Hello { protocol: PROTOCOL }).expect("plain data");
        let message = serde_json::to_string(message).expect("plain data");
        let answer = self.say(&format!("{hello}\n{message}\n"))?;
        // An engine that is just ending says nothing.
        (!answer.is_empty()).then(|| serde_json::from_str(&answer).expect("a message"))
    }

    /// Sends text as it is, returns the first line of the answer; `None` where there is no engine.
    pub fn say(&self, text: &str) -> Option<String> {
        Some(self.say_and_listen(text)?.next().unwrap_or_default())
    }

    /// Sends text as it is, returns all lines that come back; `None` where there is no engine.
    pub fn say_and_listen(&self, text: &str) -> Option<impl Iterator<Item = String> + use<>> {
        Some(BufReader::new(self.send(text)?).lines().map_while(Result::ok))
    }

    /// Sends text as it is and hangs up.
    pub fn say_and_leave(&self, text: &str) {
        self.send(text).expect("an engine runs");
    }

    fn send(&self, text: &str) -> Option<UnixStream> {
        let mut stream = UnixStream::connect(self.socket()).ok()?;
        stream.set_read_timeout(Some(CHILD_TIMEOUT)).expect("a timeout");
        stream.set_write_timeout(Some(CHILD_TIMEOUT)).expect("a timeout");
        // It may have heard enough before all is said.
        let _ = stream.write_all(text.as_bytes());
        Some(stream)
    }
}

impl Drop for Realm {
    fn drop(&mut self) {
        if std::thread::panicking() {
            // What ends here is only what runs here; a second panic would hide the first.
            self.ask(&ClientMessage::Stop);
        } else {
            self.stop();
        }
    }
}

impl RunningTest {
    pub fn process_id(&self) -> u32 {
        self.child.id()
    }

    /// Waits for a line with this mark in it, and returns what follows the mark.
    pub fn wait_for(&self, mark: &str) -> String {
        let start = Instant::now();
        loop {
            let left = CHILD_TIMEOUT.saturating_sub(start.elapsed());
            let line = self.lines.recv_timeout(left).unwrap_or_else(|error| panic!("no `{mark}`: {error}"));
            if let Some((_, rest)) = line.split_once(mark) {
                return rest.trim().to_owned();
            }
        }
    }

    /// Kills it, without a chance to do anything, and waits until it is gone.
    pub fn kill(mut self) {
        self.child.kill().expect("killed");
        self.child.wait().expect("reaped");
    }

    /// Waits for its end.
    pub fn wait(mut self) -> ExitStatus {
        wait_bounded(&mut self.child)
    }
}

impl Drop for RunningTest {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Runs a command to its end, and no longer than a child may take.
pub fn output(mut command: Command) -> Output {
    let directory = tempfile::tempdir().expect("a temporary directory");
    let file = |name: &str| std::fs::File::create(directory.path().join(name)).expect("a file");
    let mut child = command.stdout(file("stdout")).stderr(file("stderr")).spawn().expect("the child starts");
    let status = wait_bounded(&mut child);
    let read = |name: &str| std::fs::read(directory.path().join(name)).expect("readable");
    Output { status, stdout: read("stdout"), stderr: read("stderr") }
}

/// All that a child wrote.
pub fn text_of(output: &Output) -> String {
    format!("{}\n{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr))
}

fn wait_bounded(child: &mut Child) -> ExitStatus {
    let start = Instant::now();
    loop {
        if let Some(status) = child.try_wait().expect("a child can be waited for") {
            return status;
        }
        if CHILD_TIMEOUT < start.elapsed() {
            let _ = child.kill();
            let _ = child.wait();
            panic!("a child took more than {} s", CHILD_TIMEOUT.as_secs());
        }
        std::thread::sleep(POLL_INTERVAL);
    }
}
