//! The logs of clusters, each in a directory of its cluster's name. They outlast it, for whoever wants to know why it ended.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::time::SystemTime;

use crate::cluster_name::engine_of;
use crate::journal::living_engines;

/// Directories that are kept, beside those of engines that live.
const KEPT_MAX: usize = 40;

/// Removes the oldest ones. All engines of a cache have theirs in one place: those whose engine has a journal here and
/// lives are spared, because their clusters still write there, or will when they are started again.
pub(super) fn prune(directory: &Path, journal_directory: &Path) {
    let found = directories_by_age(directory);
    // After the directories: so the engine of whatever was found there is seen to live.
    for path in surplus(found, &living_engines(journal_directory)) {
        if let Err(error) = std::fs::remove_dir_all(&path) {
            tracing::warn!(path = %path.display(), %error, "old logs cannot be removed");
        }
    }
}

fn directories_by_age(directory: &Path) -> Vec<PathBuf> {
    let entries = std::fs::read_dir(directory).into_iter().flatten().flatten();
    let mut by_age: Vec<(SystemTime, PathBuf)> =
        entries.filter_map(|entry| Some((entry.metadata().ok()?.modified().ok()?, entry.path()))).collect();
    by_age.sort();
    by_age.into_iter().map(|(_, path)| path).collect()
}

fn surplus(oldest_first: Vec<PathBuf>, living_engines: &BTreeSet<u32>) -> Vec<PathBuf> {
    let is_of_living = |path: &PathBuf| {
        let name = path.file_name().and_then(|name| name.to_str());
        name.and_then(engine_of).is_some_and(|engine| living_engines.contains(&engine))
    };
    let mut left: Vec<_> = oldest_first.into_iter().filter(|path| !is_of_living(path)).collect();
    left.truncate(left.len().saturating_sub(KEPT_MAX));
    left
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cluster_name::cluster_name;
    use crate::journal::Journal;

    #[test]
    fn an_engine_that_lives_keeps_its_logs_whatever_others_leave() {
        let scene = tempfile::tempdir().expect("a temporary directory");
        let (logs, journals) = (scene.path().join("logs"), scene.path().join("journals"));
        let put = |engine, number| {
            let path = logs.join(cluster_name(engine, number));
            std::fs::create_dir_all(&path).expect("made");
            std::fs::write(path.join("etcd.log"), "text").expect("written");
            path
        };
        let (this_engine, gone) = (std::process::id(), u32::MAX);
        let own = put(this_engine, 1);
        let others: Vec<_> = (0..KEPT_MAX + 2).map(|number| put(gone, number as u64)).collect();
        let age = |path: &PathBuf, seconds| {
            let then = SystemTime::now() - std::time::Duration::from_secs(seconds);
            std::fs::File::open(path).and_then(|file| file.set_modified(then)).expect("set");
        };
        age(&own, 9000);
        others.iter().enumerate().for_each(|(index, path)| age(path, 8000 - index as u64));
        let journal = Journal::start(&journals).expect("begun");
        prune(&logs, &journals);
        assert!(own.join("etcd.log").exists(), "it is the oldest, but its engine lives");
        let left: Vec<_> = others.iter().map(|path| path.exists()).collect();
        assert!(!left[0] && !left[1] && left[2..].iter().all(|exists| *exists), "{left:?}");
        journal.close().expect("closed");
        drop(journal);
        prune(&logs, &journals);
        assert!(!own.exists(), "now it is as old as it looks");
        assert!(others[2..].iter().all(|path| path.exists()));
    }

    #[test]
    fn where_nothing_is_nothing_happens() {
        let scene = tempfile::tempdir().expect("a temporary directory");
        prune(&scene.path().join("logs"), &scene.path().join("journals"));
    }
}
