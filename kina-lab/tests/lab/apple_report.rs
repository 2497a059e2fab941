//! `cargo kina apple-probe` and `docs/apple-report.sh` on the emulator of Apple's `container`.

use std::collections::BTreeMap;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal};
use serde_json::Value;

use crate::contract::Emulator;

const QUESTIONS: [&str; 8] = [
    "append_visible_ms",
    "synced_append_visible_ms",
    "start_ms",
    "stop_ms",
    "memory_returned_mb",
    "port_reachable",
    "open_files_max",
    "silent_port_ms",
];
/// Far longer than the answers ever take.
const PATIENCE: Duration = Duration::from_secs(300);
const POLL_INTERVAL: Duration = Duration::from_millis(20);

/// The script at work. Ends with this value.
struct Report {
    script: Child,
    directory: PathBuf,
    home: tempfile::TempDir,
}

impl Report {
    fn start(emulator: &Emulator) -> Self {
        let home = tempfile::tempdir().expect("a temporary directory");
        let directory = home.path().join("report");
        let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs/apple-report.sh");
        let mut command = Command::new("bash");
        command.arg(script).arg(&directory).env("HOME", home.path()).env_remove("XDG_CACHE_HOME");
        command.env("KINA_REPORT_PROGRAM", env!("CARGO_BIN_EXE_kina-lab")).envs(emulator.variables(""));
        command.env_remove("KINA_CACHE_DIR").stdin(Stdio::null()).process_group(0);
        Self { script: command.spawn().expect("bash starts"), directory, home }
    }

    /// Waits until the report has a file, and returns the names of all that it has then.
    fn wait_first(&mut self, name: &str) -> Vec<String> {
        let start = Instant::now();
        while !self.directory.join(name).exists() {
            let ended = self.script.try_wait().expect("its state");
            assert!(ended.is_none(), "the script ended without {name}: {ended:?}");
            assert!(start.elapsed() < PATIENCE, "no {name} within {} s", PATIENCE.as_secs());
            std::thread::sleep(POLL_INTERVAL);
        }
        let entries = std::fs::read_dir(&self.directory).expect("it exists");
        entries.map(|entry| entry.expect("listed").file_name().to_string_lossy().into_owned()).collect()
    }

    /// Asks the script to end, as Ctrl-C does, and waits until it has cleaned up.
    fn end(&mut self) -> ExitStatus {
        let _ = rustix::process::kill_process(self.id(), Signal::TERM);
        let start = Instant::now();
        loop {
            if let Some(status) = self.script.try_wait().expect("its state") {
                return status;
            }
            assert!(start.elapsed() < PATIENCE, "the script does not end");
            std::thread::sleep(POLL_INTERVAL);
        }
    }

    fn id(&self) -> Pid {
        Pid::from_child(&self.script)
    }
}

impl Drop for Report {
    fn drop(&mut self) {
        if self.script.try_wait().is_ok_and(|ended| ended.is_none()) {
            let _ = rustix::process::kill_process_group(self.id(), Signal::KILL);
            let _ = self.script.wait();
        }
    }
}

#[test]
fn the_first_result_of_the_report_is_the_answers() {
    let emulator = Emulator::new();
    let mut report = Report::start(&emulator);
    assert_eq!(report.wait_first("answers.tsv"), ["answers.tsv"]);
    let text = std::fs::read_to_string(report.directory.join("answers.tsv")).expect("readable");
    let mut lines = text.lines().map(|line| line.split('\t').collect::<Vec<_>>());
    assert_eq!(lines.next().expect("headings"), ["question", "answer", "consequence"]);
    let answers: BTreeMap<_, _> = lines.map(|line| (line[0], line[1..].to_vec())).collect();
    for question in QUESTIONS {
        let [answer, consequence] = answers[question][..] else { panic!("{question}: {text}") };
        assert!(answer.ends_with(" (simulated)"), "{question} is not marked: {text}");
        assert!(!consequence.trim().is_empty(), "{question} has no consequence: {text}");
    }
    assert_eq!(answers.len(), QUESTIONS.len(), "{text}");
    assert!(answers["port_reachable"][0].starts_with("true"), "{text}");
    assert_eq!(report.end().code(), Some(143));
    let left = std::fs::read_dir(report.home.path()).expect("it exists");
    let left: Vec<_> = left.map(|entry| entry.expect("listed").file_name()).collect();
    assert!(left.iter().all(|name| name == "report" || name == ".cache"), "{left:?}");
    assert_eq!(emulator.containers(), "[]");
}

#[test]
fn a_probe_of_the_emulator_answers_everything_and_leaves_nothing() {
    let emulator = Emulator::new();
    let cache = tempfile::tempdir().expect("a temporary directory");
    let answers = cache.path().join("answers.tsv");
    let mut probe = Command::new(env!("CARGO_BIN_EXE_kina-lab"));
    probe.args(["apple-probe", "--format", "json", "--answers"]).arg(&answers);
    probe.envs(emulator.variables("")).env("KINA_CACHE_DIR", cache.path()).stdin(Stdio::null());
    let output = probe.output().expect("it starts");
    let told = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{told}");
    let document: Value = serde_json::from_slice(&output.stdout).expect("JSON");
    assert_eq!(document["simulated"], true);
    assert!(document["container"].as_str().is_some_and(|version| version.contains("emulator")), "{document}");
    for question in QUESTIONS {
        let found = &document[question];
        assert_eq!(found["simulated"], true, "{question}: {document}");
        assert!(found["consequence"].as_str().is_some_and(|text| !text.is_empty()), "{question}: {document}");
    }
    // Its machines are processes of this one: all of this is known of them.
    for question in ["append_visible_ms", "synced_append_visible_ms", "start_ms", "stop_ms", "silent_port_ms"] {
        assert!(document[question]["answer"].is_number(), "{question}: {document}\n{told}");
    }
    assert_eq!(document["port_reachable"]["answer"], true);
    let lines = std::fs::read_to_string(&answers).expect("readable").lines().count();
    assert_eq!(lines, 1 + QUESTIONS.len());
    assert_eq!(emulator.containers(), "[]");
    assert_eq!(emulator.images(), "");
}

#[test]
fn a_machine_that_does_not_start_has_consequences_too() {
    let emulator = Emulator::new();
    let cache = tempfile::tempdir().expect("a temporary directory");
    let mut probe = Command::new(env!("CARGO_BIN_EXE_kina-lab"));
    probe.args(["apple-probe", "--format", "json"]).envs(emulator.variables("port-taken=start"));
    let output = probe.env("KINA_CACHE_DIR", cache.path()).stdin(Stdio::null()).output().expect("it starts");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let document: Value = serde_json::from_slice(&output.stdout).expect("JSON");
    for question in QUESTIONS {
        let found = &document[question];
        assert!(found["consequence"].as_str().is_some_and(|text| !text.is_empty()), "{question}: {document}");
    }
    assert!(document["start_ms"]["answer"].is_null(), "{document}");
    let consequence = document["start_ms"]["consequence"].as_str().expect("text");
    assert!(consequence.contains("Address already in use"), "{consequence}");
    assert!(document["stop_ms"]["answer"].is_null(), "{document}");
    assert_eq!(emulator.containers(), "[]");
    assert_eq!(emulator.images(), "");
}
