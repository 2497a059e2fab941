//! Remains after everything has ended. There may be none.

use std::path::{Path, PathBuf};
use std::time::Duration;

use rustix::process::Signal;

use super::containers::Foreign;
use super::processes;
use super::realm::Realm;
use super::say;

/// Time limit for processes that were left behind to go on writing, which they do for a second.
const END_TIMEOUT: Duration = Duration::from_secs(10);

/// Remains.
#[derive(Clone, Debug, Default)]
pub(super) struct Leftovers {
    pub(super) orphans: Vec<String>,
    pub(super) files: Vec<String>,
    /// Changes to foreign containers.
    pub(super) foreign_touched: Vec<String>,
}

/// Looks for remains and ends the processes that still run. `foreign` is not kina's.
pub(super) async fn audit(realm: &Realm, foreign: &Foreign) -> Leftovers {
    let mut orphans = Vec::new();
    let mut foreign_touched = Vec::new();
    if let Some(containers) = realm.containers() {
        let failed = |what: &str, error: anyhow::Error| vec![format!("{what}: {error:#}")];
        // A service that does not run does not list the containers that a reboot has ended.
        if let Err(error) = containers.run(&["system", "start", "--enable-kernel-install"]).await {
            say(&format!("{error:#}"));
        }
        orphans = containers.leftovers(foreign).await.unwrap_or_else(|error| failed("unknown containers", error));
        foreign_touched = foreign.look(containers).await.unwrap_or_else(|error| failed("unknown", error));
        if let Err(error) = containers.end(foreign).await {
            say(&format!("{error:#}"));
        }
    }
    let belonging = || processes::belonging_to(realm.directory());
    let left = processes::wait_ended(belonging, END_TIMEOUT).await;
    orphans.extend(left.iter().map(|process| format!("{} {}", process.program(), process.process_id)));
    let files = realm.transient_directories().iter().flat_map(|directory| files_below(directory)).collect();
    for process in &left {
        process.signal(Signal::KILL);
    }
    processes::wait_ended(|| left.clone(), END_TIMEOUT).await;
    Leftovers { orphans, files, foreign_touched }
}

/// All files, and directories, below a directory.
fn files_below(directory: &Path) -> Vec<String> {
    let mut found = Vec::new();
    let mut directories: Vec<PathBuf> = vec![directory.to_owned()];
    while let Some(next) = directories.pop() {
        for entry in std::fs::read_dir(&next).into_iter().flatten().filter_map(Result::ok) {
            found.push(entry.path().strip_prefix(directory).unwrap_or(&entry.path()).display().to_string());
            if entry.file_type().is_ok_and(|kind| kind.is_dir()) {
                directories.push(entry.path());
            }
        }
    }
    found
}
