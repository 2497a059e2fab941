//! Tests of this same binary as processes of their own, with an engine of their own.

use std::ffi::OsStr;
use std::io::{BufRead, BufReader, Write};
use std::os::unix::net::UnixStream;
use std::path::PathBuf;
use std::process::{Child, Command, ExitStatus, Output, Stdio};
use std::sync::mpsc;
use std::time::{Duration, Instant};

use cargo_kina::PrivateEngine;
use kina_engine::lab::protocol::{ClientMessage, EngineMessage, PROTOCOL};
use kina_engine::{Status, VERSION};

use super::wait_until_blocking;

/// Time limit of a child: the first one may wait for a boot from nothing, on a busy machine.
const CHILD_TIMEOUT: Duration = Duration::from_secs(120);
const POLL_INTERVAL: Duration = Duration::from_millis(5);

/// A private engine of the tests' children. It ends when this value is dropped.
pub struct Realm(PrivateEngine);

/// A running child. It is killed when this value is dropped.
pub struct RunningTest {
    child: Child,
    lines: mpsc::Receiver<String>,
}

impl Realm {
    pub fn new() -> Self {
        let mut private = PrivateEngine::prepare_in(&std::env::temp_dir(), "t").expect("temporary directories");
        // No boots ahead of demand, so that tests can count clusters.
        private.set("KINA_TARGET_UTILISATION_PERCENT", "100");
        Self(private)
    }

    /// Sets a variable for all children, and thus for the engine that one of them starts.
    pub fn with(mut self, name: &str, value: impl AsRef<OsStr>) -> Self {
        self.0.set(name, value);
        self
    }

    /// The engine's directory; empty if none runs.
    pub fn runtime_directory(&self) -> PathBuf {
        self.0.runtime_directory()
    }

    /// The directory for temporary files of children and engine.
    pub fn temporary_directory(&self) -> PathBuf {
        self.0.temporary_directory()
    }

    pub fn socket(&self) -> PathBuf {
        self.runtime_directory().join(format!("engine-{PROTOCOL}-{VERSION}.sock"))
    }

    /// A client of its engine. It starts none: a child does.
    #[cfg(target_os = "linux")]
    pub fn client(&self) -> kina_engine::EngineClient {
        self.0.client(kina_engine::ProviderName::Process).expect("paths of the directories made for it")
    }

    /// The command that runs one test of this binary.
    pub fn command(&self, test: &str) -> Command {
        let mut command = Command::new(std::env::current_exe().expect("this executable"));
        command.args(["--exact", test, "--include-ignored", "--nocapture", "--test-threads=1"]);
        self.prepare(&mut command);
        command
    }

    /// Gives a command this realm's environment.
    pub fn prepare(&self, command: &mut Command) {
        self.0.prepare_command(command);
        command.stdin(Stdio::null());
    }

    /// Runs a test to its end.
    pub fn run(&self, test: &str) -> Output {
        output(self.command(test))
    }

    /// Runs a test that must succeed.
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

    /// The engine's status; `None` if no engine runs.
    pub fn status(&self) -> Option<Status> {
        match self.ask(&ClientMessage::Status { with_memory: false })? {
            EngineMessage::Status(status) => Some(*status),
            other => panic!("no status: {other:?}"),
        }
    }

    /// The engine's status; there must be an engine.
    pub fn status_of_running(&self) -> Status {
        self.status().expect("an engine runs")
    }

    /// Ends the engine and waits until it is gone.
    pub fn stop(&self) {
        let Some(status) = self.status() else { return };
        self.ask(&ClientMessage::Stop);
        wait_until_blocking("the engine ends", || !super::system::is_running(status.process_id));
    }

    /// Sends the engine one message; `None` if there is no engine.
    pub fn ask(&self, message: &ClientMessage) -> Option<EngineMessage> {
        let hello = serde_json::to_string(&ClientMessage::Hello { protocol: PROTOCOL }).expect("plain data");
        let message = serde_json::to_string(message).expect("plain data");
        let answer = self.say(&format!("{hello}\n{message}\n"))?;
        // An engine that is just ending does not answer.
        (!answer.is_empty()).then(|| serde_json::from_str(&answer).expect("a message"))
    }

    /// Sends text unchanged, returns the first line of the answer; `None` if there is no engine.
    pub fn say(&self, text: &str) -> Option<String> {
        Some(self.say_and_listen(text)?.next().unwrap_or_default())
    }

    /// Sends text unchanged, returns all lines of the answer; `None` if there is no engine.
    pub fn say_and_listen(&self, text: &str) -> Option<impl Iterator<Item = String> + use<>> {
        Some(BufReader::new(self.send(text)?).lines().map_while(Result::ok))
    }

    /// Sends text unchanged and closes the connection.
    pub fn say_and_leave(&self, text: &str) {
        self.send(text).expect("an engine runs");
    }

    fn send(&self, text: &str) -> Option<UnixStream> {
        let mut stream = UnixStream::connect(self.socket()).ok()?;
        stream.set_read_timeout(Some(CHILD_TIMEOUT)).expect("a timeout");
        stream.set_write_timeout(Some(CHILD_TIMEOUT)).expect("a timeout");
        // The engine may close the connection before it has read everything.
        let _ = stream.write_all(text.as_bytes());
        Some(stream)
    }
}

impl Drop for Realm {
    fn drop(&mut self) {
        if std::thread::panicking() {
            // Only children of this realm end here; a second panic would hide the first.
            self.ask(&ClientMessage::Stop);
        } else {
            self.stop();
        }
    }
}

impl RunningTest {
    /// Waits for a line that contains this mark, and returns the text after it.
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

    /// Kills it with SIGKILL, and waits until it is gone.
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

/// Runs a command to its end, with the time limit of a child.
pub fn output(mut command: Command) -> Output {
    let directory = tempfile::tempdir().expect("a temporary directory");
    let file = |name: &str| std::fs::File::create(directory.path().join(name)).expect("a file");
    let mut child = command.stdout(file("stdout")).stderr(file("stderr")).spawn().expect("the child starts");
    let status = wait_bounded(&mut child);
    let read = |name: &str| std::fs::read(directory.path().join(name)).expect("readable");
    Output { status, stdout: read("stdout"), stderr: read("stderr") }
}

/// The whole output of a child.
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
