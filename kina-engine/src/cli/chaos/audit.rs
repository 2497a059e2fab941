//! What is left when everything has ended. Nothing may be.

use std::path::{Path, PathBuf};
use std::time::Duration;

use rustix::process::Signal;

use super::processes;
use super::realm::Realm;

/// What was left behind to go on writing does so for a second.
const END_TIMEOUT: Duration = Duration::from_secs(10);

/// What is left.
#[derive(Clone, Debug, Default)]
pub(super) struct Leftovers {
    pub(super) orphans: Vec<String>,
    pub(super) files: Vec<String>,
}

/// Looks for what is left, and ends what still runs.
pub(super) async fn audit(realm: &Realm) -> Leftovers {
    let belonging = || processes::belonging_to(realm.directory());
    let left = processes::wait_ended(belonging, END_TIMEOUT).await;
    let orphans = left.iter().map(|process| format!("{} {}", process.program(), process.process_id)).collect();
    let files = realm.transient_directories().iter().flat_map(|directory| files_below(directory)).collect();
    for process in &left {
        process.signal(Signal::KILL);
    }
    processes::wait_ended(|| left.clone(), END_TIMEOUT).await;
    Leftovers { orphans, files }
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
