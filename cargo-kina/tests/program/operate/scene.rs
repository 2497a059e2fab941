//! The program in separate directories, with a separate engine that ends with the scene.

use std::ffi::OsStr;
use std::io::{BufRead, BufReader};
use std::os::unix::fs::PermissionsExt;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Output, Stdio};
use std::sync::mpsc;
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal};
use serde_json::Value;

/// Time limit of any wait: the first cluster may have to be bootstrapped, on a busy machine.
const PATIENCE: Duration = Duration::from_secs(120);
const POLL_INTERVAL: Duration = Duration::from_millis(10);

pub struct Scene {
    directory: tempfile::TempDir,
    /// Set if an engine may have been started.
    has_engine: bool,
}

/// The program, running. Killed with this value.
pub struct Running {
    child: Child,
    lines: mpsc::Receiver<String>,
}

impl Scene {
    /// Makes a scene whose clusters use the binaries and bootstrapped states in the user's cache.
    pub fn with_clusters() -> Self {
        let mut scene = Self::without_engine();
        scene.has_engine = true;
        scene
    }

    pub fn without_engine() -> Self {
        // The length of a socket's path is limited.
        let only_mine = std::fs::Permissions::from_mode(0o700);
        let directory = tempfile::Builder::new().prefix("ko").permissions(only_mine).tempdir_in("/tmp");
        Self { directory: directory.expect("a temporary directory"), has_engine: false }
    }

    pub fn path(&self) -> &Path {
        self.directory.path()
    }

    /// Returns the program's command, without a terminal, as in a CI job.
    pub fn command<Word: AsRef<OsStr>>(&self, words: impl IntoIterator<Item = Word>) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_cargo-kina"));
        command
            .arg("kina")
            .args(words)
            .current_dir(self.path())
            .env_remove("CARGO_MANIFEST_DIR")
            .env_remove("KINA_ENGINE")
            .env_remove("KUBECONFIG")
            .env("KINA_RUNTIME_DIR", self.path().join("run"))
            .env("XDG_CONFIG_HOME", self.path())
            .env("KINA_SLOTS_MAX", "2")
            .env("KINA_TARGET_UTILISATION_PERCENT", "100")
            // If this process is killed, its engine ends soon.
            .env("KINA_IDLE_EXIT_SECONDS", "30")
            .stdin(Stdio::null());
        if !self.has_engine {
            command.env("KINA_CACHE_DIR", self.path().join("cache"));
        }
        #[expect(unsafe_code, reason = "a session has to begin between fork and exec")]
        // SAFETY: one system call, which touches no memory.
        unsafe {
            command.pre_exec(|| Ok(rustix::process::setsid().map(drop)?));
        }
        command
    }

    pub fn run<Word: AsRef<OsStr>>(&self, words: impl IntoIterator<Item = Word>) -> Output {
        self.command(words).output().expect("it starts")
    }

    /// Runs a command that must succeed, and returns its output.
    pub fn printed<Word: AsRef<OsStr>>(&self, words: impl IntoIterator<Item = Word>) -> String {
        let output = self.run(words);
        assert!(output.status.success(), "{}", text_of(&output));
        String::from_utf8(output.stdout).expect("text")
    }

    pub fn start<Word: AsRef<OsStr>>(&self, words: impl IntoIterator<Item = Word>) -> Running {
        let mut child = self.command(words).stdout(Stdio::piped()).spawn().expect("it starts");
        let stdout = BufReader::new(child.stdout.take().expect("piped"));
        let (sender, lines) = mpsc::channel();
        std::thread::spawn(move || stdout.lines().map_while(Result::ok).try_for_each(|line| sender.send(line)));
        Running { child, lines }
    }

    pub fn status(&self) -> Value {
        serde_json::from_str(&self.printed(["status", "--format", "json"])).expect("JSON")
    }

    /// Returns the names of the holders of leases.
    pub fn holders(&self) -> Vec<String> {
        let status = self.status();
        let slots = status["slots"].as_array().cloned().unwrap_or_default();
        slots
            .iter()
            .filter(|slot| !slot["lease"].is_null())
            .map(|slot| slot["lease"]["holder"]["test"].as_str().unwrap_or_default().to_owned())
            .collect()
    }

    /// Asserts that no lease is left, nor its kubeconfig.
    #[track_caller]
    pub fn expect_no_lease(&self, kubeconfig: &Path) {
        wait_until("the lease ends", || self.holders().is_empty());
        wait_until("its kubeconfig goes", || !kubeconfig.exists());
    }
}

impl Drop for Scene {
    fn drop(&mut self) {
        if self.has_engine {
            let output = self.run(["stop"]);
            assert!(output.status.success() || std::thread::panicking(), "{}", text_of(&output));
        }
    }
}

impl Running {
    /// Returns the next line that it prints.
    #[track_caller]
    pub fn line(&self) -> String {
        self.lines.recv_timeout(PATIENCE).expect("it prints a line")
    }

    pub fn send(&self, signal: Signal) {
        rustix::process::kill_process(Pid::from_child(&self.child), signal).expect("sent");
    }

    #[track_caller]
    pub fn wait(mut self) -> ExitStatus {
        let start = Instant::now();
        loop {
            if let Some(status) = self.child.try_wait().expect("asked") {
                return status;
            }
            assert!(start.elapsed() < PATIENCE, "it does not end");
            std::thread::sleep(POLL_INTERVAL);
        }
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        // It may have ended already.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

#[track_caller]
pub fn wait_until(what: &str, is_true: impl Fn() -> bool) {
    let start = Instant::now();
    while !is_true() {
        assert!(start.elapsed() < PATIENCE, "never: {what}");
        std::thread::sleep(POLL_INTERVAL);
    }
}

/// Returns true if a process of this number exists.
pub fn is_running(process_id: &str) -> bool {
    let number = process_id.trim().parse().expect("a number");
    let process_id = Pid::from_raw(number).expect("a number of a process");
    rustix::process::test_kill_process(process_id).is_ok()
}

/// Returns true if this process was started with a signal ignored.
pub fn ignores(signal: Signal) -> bool {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let mask = status.lines().find_map(|line| line.strip_prefix("SigIgn:")).map(str::trim);
    mask.and_then(|mask| u64::from_str_radix(mask, 16).ok()).is_some_and(|mask| mask >> (signal.as_raw() - 1) & 1 == 1)
}

pub fn text_of(output: &Output) -> String {
    format!("{}: {}{}", output.status, String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr))
}

/// Returns the path in a line `export KUBECONFIG=…`.
pub fn exported(line: &str) -> PathBuf {
    PathBuf::from(line.strip_prefix("export KUBECONFIG=").expect("an export").trim_matches('\''))
}
