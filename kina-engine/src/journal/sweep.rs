//! Cleaning up after dead engines: first their processes, then the directories, finally the journal itself.

use std::collections::BTreeSet;
use std::fs::File;
use std::io::Read;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use rustix::process::Signal;

use super::SUFFIX;
use super::record::{Content, ProcessRecord, parse};
use crate::living_file::{Found, files_in, look_at, owner_of};
use crate::process_identity::{numbering, pid, start_of};
use crate::set_aside::{KEPT_MAX, set_aside};

/// A journal that is rewritten every thousand lines stays far below this.
const JOURNAL_BYTES_MAX: u64 = 64 << 20;
/// The time that all killed processes of a journal may take to end.
const KILL_TIMEOUT: Duration = Duration::from_secs(5);
const KILL_POLL_INTERVAL: Duration = Duration::from_millis(5);
/// The name of a directory with the states of clusters.
const CLUSTERS: &str = "clusters";

/// The results of a sweep.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct SweepReport {
    /// The number of journals of living engines, which are left alone.
    pub held: usize,
    /// Processes that outlived their engine.
    pub killed: Vec<u32>,
    /// Directories that dead engines left behind.
    pub removed: Vec<PathBuf>,
    /// Journals that could not be trusted, at least in part.
    pub set_aside: Vec<PathBuf>,
}

/// Examines all journals in `directory` and cleans up after dead engines. Directories are removed only below
/// `state_roots`. No failure is fatal: it is logged and left to the next sweep.
pub fn sweep(directory: &Path, state_roots: &[PathBuf]) -> SweepReport {
    let mut report = SweepReport::default();
    for path in files_in(directory, SUFFIX) {
        match look_at(&path) {
            Ok(Some(Found::Held)) => report.held += 1,
            Ok(Some(Found::Left(file))) => take_up(&path, file, state_roots, &mut report),
            Ok(None) => {}
            Err(error) => tracing::warn!(path = %path.display(), %error, "a journal cannot be opened"),
        }
    }
    report
}

/// The process ids of living engines that have a journal here.
pub fn living_engines(directory: &Path) -> BTreeSet<u32> {
    let held = files_in(directory, SUFFIX).into_iter().filter(|path| matches!(look_at(path), Ok(Some(Found::Held))));
    held.filter_map(|path| owner_of(&path)).collect()
}

/// The number of dead engines that have left a journal. Does not clean up after them.
pub fn count_left(directory: &Path) -> usize {
    files_in(directory, SUFFIX).iter().filter(|path| matches!(look_at(path), Ok(Some(Found::Left(_))))).count()
}

fn take_up(path: &Path, file: File, state_roots: &[PathBuf], report: &mut SweepReport) {
    let mut bytes = Vec::new();
    // `file` holds the lock to the end, so that no other engine handles the same journal.
    if let Err(error) = (&file).take(JOURNAL_BYTES_MAX).read_to_end(&mut bytes) {
        tracing::warn!(path = %path.display(), %error, "a journal cannot be read");
        return;
    }
    let content = match parse(&bytes) {
        Ok(content) => content,
        Err(distrust) => return report.set_aside.extend(set_aside(path, KEPT_MAX, &distrust.to_string())),
    };
    if !end_all(&content, report) {
        tracing::warn!(path = %path.display(), "processes of a dead engine did not end: the next engine tries again");
        return;
    }
    remove_states(&content.records, state_roots, report);
    if content.is_torn {
        report.set_aside.extend(set_aside(path, KEPT_MAX, "its last line is incomplete"));
    } else if let Err(error) = std::fs::remove_file(path) {
        tracing::warn!(path = %path.display(), %error, "a dead engine's journal cannot be removed");
    }
}

/// Kills the processes that still run. Returns true if all of them have ended.
fn end_all(content: &Content, report: &mut SweepReport) -> bool {
    if content.numbering != numbering() {
        // After another boot no process still runs. In another container the ids belong to other processes.
        return true;
    }
    let killed: Vec<_> = content.records.iter().filter(|record| kill(record)).collect();
    report.killed.extend(killed.iter().map(|record| record.process_id));
    let start = Instant::now();
    while killed.iter().any(|record| is_running(record)) {
        if KILL_TIMEOUT < start.elapsed() {
            return false;
        }
        std::thread::sleep(KILL_POLL_INTERVAL);
    }
    true
}

/// Kills the process, and the group that it leads, if it is the recorded one. Returns true if it was running.
fn kill(record: &ProcessRecord) -> bool {
    let Some(process) = pid(record.process_id).filter(|_| is_running(record)) else { return false };
    let leads_its_group = rustix::process::getpgid(Some(process)) == Ok(process);
    let killed = if leads_its_group && record.process_group == record.process_id {
        rustix::process::kill_process_group(process, Signal::KILL)
    } else {
        rustix::process::kill_process(process, Signal::KILL)
    };
    match killed {
        Ok(()) => {
            let ProcessRecord { process_id, component, cluster, .. } = record;
            tracing::warn!(process_id, component, cluster, "killed a process that outlived its engine");
        }
        Err(error) => tracing::warn!(process_id = record.process_id, %error, "a process cannot be killed"),
    }
    true
}

fn is_running(record: &ProcessRecord) -> bool {
    start_of(record.process_id).is_some_and(|start| start == record.start)
}

fn remove_states(records: &[ProcessRecord], state_roots: &[PathBuf], report: &mut SweepReport) {
    let states: BTreeSet<_> =
        records.iter().map(|record| (record.state_directory.as_path(), record.cluster.as_str())).collect();
    for (directory, cluster) in states {
        if std::fs::symlink_metadata(directory).is_err() {
            continue;
        }
        if !is_state_of(directory, cluster, state_roots) {
            tracing::warn!(directory = %directory.display(), "a journal names it, but it is not a cluster's state");
            continue;
        }
        match std::fs::remove_dir_all(directory) {
            Ok(()) => report.removed.push(directory.to_owned()),
            Err(error) => {
                tracing::warn!(directory = %directory.display(), %error, "a dead engine's state cannot be removed")
            }
        }
    }
}

/// Returns true if the directory, after resolving links, is among the states of clusters and has this cluster's name.
fn is_state_of(directory: &Path, cluster: &str, state_roots: &[PathBuf]) -> bool {
    let Ok(real) = std::fs::canonicalize(directory) else { return false };
    let is_named_so = real.file_name().is_some_and(|name| name == cluster);
    let is_among_states = real.parent().and_then(Path::file_name).is_some_and(|name| name == CLUSTERS);
    let mut roots = state_roots.iter().filter_map(|root| std::fs::canonicalize(root).ok());
    is_named_so && is_among_states && roots.any(|root| real != root && real.starts_with(root))
}
