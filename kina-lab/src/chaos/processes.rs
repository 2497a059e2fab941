//! The private engine's processes, as the system knows them. A number alone does not identify a process: it may be
//! reused.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::time::{Duration, Instant};

use kina_engine::lab::process_identity;
use rustix::process::Signal;

/// The programs of clusters.
const CLUSTER_PROGRAMS: [&str; 2] = ["etcd", "kube-apiserver"];
const POLL_INTERVAL: Duration = Duration::from_millis(50);

/// A process, for as long as the system runs.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) struct Process {
    pub(crate) process_id: u32,
    started_at: u64,
}

impl Process {
    /// The process of that number now, unless it has ended.
    pub(crate) fn of(process_id: u32) -> Option<Self> {
        // Linux counts the start in ticks since the boot.
        let started_at = process_identity::start_of(process_id)?.parse().ok()?;
        Some(Self { process_id, started_at })
    }

    /// The process of that number, as long as it is the one that started then.
    pub(crate) fn new(process_id: u32, started_at: u64) -> Self {
        Self { process_id, started_at }
    }

    pub(crate) fn is_alive(self) -> bool {
        Self::of(self.process_id) == Some(self)
    }

    /// The name of its program.
    pub(crate) fn program(self) -> String {
        let command_line = std::fs::read(format!("/proc/{}/cmdline", self.process_id)).unwrap_or_default();
        let first = command_line.split(|byte| *byte == 0).next().unwrap_or_default();
        String::from_utf8_lossy(first).rsplit('/').next().unwrap_or_default().to_owned()
    }

    /// Sends it a signal, if it is still the same.
    pub(crate) fn signal(self, signal: Signal) {
        if let Some(process_id) = process_identity::pid(self.process_id).filter(|_| self.is_alive()) {
            let _ = rustix::process::kill_process(process_id, signal);
        }
    }
}

/// All processes except this one that run in the realm of `directory`: by their environment, or by their command line
/// for the clusters' programs, which get none.
pub(crate) fn belonging_to(directory: &Path) -> BTreeSet<Process> {
    let needle = directory.as_os_str().as_encoded_bytes();
    let names_it = |id: u32, file: &str| {
        let bytes = std::fs::read(format!("/proc/{id}/{file}")).unwrap_or_default();
        bytes.windows(needle.len()).any(|window| window == needle)
    };
    let entries = std::fs::read_dir("/proc").into_iter().flatten().filter_map(Result::ok);
    entries
        .filter_map(|entry| entry.file_name().to_str()?.parse().ok())
        .filter(|id| *id != std::process::id())
        .filter_map(Process::of)
        .filter(|process| {
            let is_component = || CLUSTER_PROGRAMS.contains(&process.program().as_str());
            names_it(process.process_id, "environ") || names_it(process.process_id, "cmdline") && is_component()
        })
        .collect()
}

/// These processes and all their descendants, unless an ancestor in between has ended.
pub(crate) fn with_descendants(processes: impl Iterator<Item = Process>) -> BTreeSet<Process> {
    let mut children: BTreeMap<u32, Vec<u32>> = BTreeMap::new();
    for entry in std::fs::read_dir("/proc").into_iter().flatten().filter_map(Result::ok) {
        let Some(id) = entry.file_name().to_str().and_then(|name| name.parse().ok()) else { continue };
        let stat = std::fs::read_to_string(entry.path().join("stat")).unwrap_or_default();
        // The program's name, in parentheses, can hold anything; behind it come the state and the parent.
        let behind_name = stat.rsplit_once(')').map(|(_, behind)| behind).unwrap_or_default();
        if let Some(parent) = behind_name.split_whitespace().nth(1).and_then(|parent| parent.parse().ok()) {
            children.entry(parent).or_default().push(id);
        }
    }
    let mut found = BTreeSet::new();
    let mut unseen: Vec<_> = processes.collect();
    while let Some(process) = unseen.pop() {
        if found.insert(process) {
            unseen.extend(children.get(&process.process_id).into_iter().flatten().filter_map(|id| Process::of(*id)));
        }
    }
    found
}

/// Waits until all have ended; returns those that still run after `timeout`.
pub(crate) async fn wait_ended(processes: impl Fn() -> BTreeSet<Process>, timeout: Duration) -> BTreeSet<Process> {
    let start = Instant::now();
    loop {
        let living: BTreeSet<_> = processes().into_iter().filter(|process| process.is_alive()).collect();
        if living.is_empty() || timeout < start.elapsed() {
            return living;
        }
        tokio::time::sleep(POLL_INTERVAL).await;
    }
}

#[cfg(all(test, target_os = "linux"))]
mod tests {
    use super::*;

    #[test]
    fn descendants_are_found_down_to_the_last() {
        let mut child =
            std::process::Command::new("/bin/sh").args(["-c", "sleep 1000 & wait"]).spawn().expect("a shell starts");
        let shell = Process::of(child.id()).expect("it lives");
        let start = Instant::now();
        let found = loop {
            let found = with_descendants(std::iter::once(shell));
            if found.iter().any(|process| process.program() == "sleep") || Duration::from_secs(10) < start.elapsed() {
                break found;
            }
            std::thread::sleep(POLL_INTERVAL);
        };
        found.iter().for_each(|process| process.signal(Signal::KILL));
        child.wait().expect("reaped");
        assert!(found.contains(&shell), "{found:?}");
        assert_eq!(found.len(), 2, "{found:?}");
    }

    #[tokio::test]
    async fn a_process_is_found_by_what_it_was_started_with_until_it_ends() {
        let directory = tempfile::tempdir().expect("a temporary directory");
        let mut child = std::process::Command::new("/bin/sleep")
            .arg("1000")
            .env("KINA_RUNTIME_DIR", directory.path())
            .spawn()
            .expect("sleep starts");
        // Its environment is its own only once it has become `sleep`.
        let start = Instant::now();
        while belonging_to(directory.path()).is_empty() && start.elapsed() < Duration::from_secs(10) {
            tokio::time::sleep(POLL_INTERVAL).await;
        }
        let found = belonging_to(directory.path());
        let process = *found.first().expect("it is found");
        assert_eq!((found.len(), process.process_id), (1, child.id()));
        assert_eq!(process.program(), "sleep");
        process.signal(Signal::KILL);
        let living = wait_ended(|| found.clone(), Duration::from_secs(10)).await;
        // Not yet waited for, it counts as ended all the same.
        assert!(living.is_empty(), "{living:?}");
        child.wait().expect("reaped");
        assert!(!process.is_alive());
    }
}
