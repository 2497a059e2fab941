//! The removal of old logs. Logs outlast the engine or the cluster that they are about, so that its end can be
//! explained. Their size is the matter of `bounded_log`.
//!
//! All engines of a cache have theirs in one place, those of clusters each in a directory of its cluster's name.

use std::collections::BTreeSet;
use std::fs::{DirEntry, Metadata};
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use crate::cluster_name::engine_of;
use crate::earlier_logs;
use crate::journal::living_engines;
use crate::paths::EnginePaths;

/// The number of logs kept: of clusters, beside those of living engines, and of engines.
const KEPT_MAX: usize = 40;
/// An engine that has written nothing for so long has ended after its idle time, unless its user made that longer.
const ENGINE_LOG_AGE_MIN: Duration = Duration::from_secs(24 * 60 * 60);

/// Removes the oldest.
pub(super) fn prune(paths: &EnginePaths) {
    prune_cluster_logs(&paths.cluster_log_directory, &paths.journal_directory);
    if let Some(directory) = paths.log.parent() {
        for directory in [directory.to_owned(), directory.join(earlier_logs::DIRECTORY)] {
            prune_engine_logs(&directory, SystemTime::now());
        }
    }
}

/// Spares those of engines that have a journal here and live: their clusters still write there, or will when they are
/// started again.
fn prune_cluster_logs(directory: &Path, journal_directory: &Path) {
    let found = oldest_first(directory, |_, metadata| metadata.is_dir());
    // After the directories: so the engine of each directory that was found is seen to live.
    for path in surplus(found, &living_engines(journal_directory)) {
        removed(&path, std::fs::remove_dir_all(&path));
    }
}

fn prune_engine_logs(directory: &Path, now: SystemTime) {
    let is_log = |entry: &DirEntry, metadata: &Metadata| {
        metadata.is_file() && entry.path().extension().is_some_and(|extension| extension == "log")
    };
    let mut found = oldest_first(directory, is_log);
    found.truncate(found.len().saturating_sub(KEPT_MAX));
    let is_old = |written: &SystemTime| now.duration_since(*written).is_ok_and(|age| ENGINE_LOG_AGE_MIN < age);
    for (_, path) in found.into_iter().filter(|(written, _)| is_old(written)) {
        removed(&path, std::fs::remove_file(&path));
    }
}

fn oldest_first(directory: &Path, counts: impl Fn(&DirEntry, &Metadata) -> bool) -> Vec<(SystemTime, PathBuf)> {
    let entries = std::fs::read_dir(directory).into_iter().flatten().flatten();
    let mut found: Vec<_> = entries
        .filter_map(|entry| {
            let metadata = entry.metadata().ok().filter(|metadata| counts(&entry, metadata))?;
            Some((metadata.modified().ok()?, entry.path()))
        })
        .collect();
    found.sort();
    found
}

fn surplus(oldest_first: Vec<(SystemTime, PathBuf)>, living_engines: &BTreeSet<u32>) -> Vec<PathBuf> {
    let is_of_living = |path: &PathBuf| {
        let name = path.file_name().and_then(|name| name.to_str());
        name.and_then(engine_of).is_some_and(|engine| living_engines.contains(&engine))
    };
    let mut left: Vec<_> = oldest_first.into_iter().map(|(_, path)| path).filter(|path| !is_of_living(path)).collect();
    left.truncate(left.len().saturating_sub(KEPT_MAX));
    left
}

fn removed(path: &Path, outcome: std::io::Result<()>) {
    match outcome {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
            tracing::warn!(path = %path.display(), %error, "an old log cannot be removed");
        }
        _ => {}
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cluster_name::cluster_name;
    use crate::journal::Journal;

    fn age(path: &Path, seconds: usize) {
        let then = SystemTime::now() - Duration::from_secs(seconds as u64);
        std::fs::File::open(path).and_then(|file| file.set_modified(then)).expect("set");
    }

    #[test]
    fn an_engine_that_lives_keeps_its_clusters_logs_whatever_others_leave() {
        let scene = tempfile::tempdir().expect("a temporary directory");
        let (logs, journals) = (scene.path().join("logs"), scene.path().join("journals"));
        let put = |engine, number, seconds| {
            let path = logs.join(cluster_name(engine, number));
            std::fs::create_dir_all(&path).expect("made");
            std::fs::write(path.join("etcd.log"), "text").expect("written");
            age(&path, seconds);
            path
        };
        let (this_engine, gone) = (std::process::id(), u32::MAX);
        let own = put(this_engine, 1, 9000);
        let others: Vec<_> = (0..KEPT_MAX + 2).map(|number| put(gone, number as u64, 8000 - number)).collect();
        let journal = Journal::start(&journals).expect("begun");
        prune_cluster_logs(&logs, &journals);
        assert!(own.join("etcd.log").exists(), "it is the oldest, but its engine lives");
        let left: Vec<_> = others.iter().map(|path| path.exists()).collect();
        assert!(!left[0] && !left[1] && left[2..].iter().all(|exists| *exists), "{left:?}");
        journal.close().expect("closed");
        drop(journal);
        prune_cluster_logs(&logs, &journals);
        assert!(!own.exists(), "now it is as old as it looks");
        assert!(others[2..].iter().all(|path| path.exists()));
    }

    #[test]
    fn logs_of_engines_go_when_there_are_many_and_none_was_written_to_for_a_day() {
        let logs = tempfile::tempdir().expect("a temporary directory");
        let day = 24 * 60 * 60;
        let put = |name: &str, seconds| {
            let path = logs.path().join(name);
            std::fs::write(&path, "text").expect("written");
            age(&path, seconds);
            path
        };
        let other = put("notes.txt", 9 * day);
        let old: Vec<_> = (0..3).map(|number| put(&format!("engine-old-{number}.log"), 3 * day - number)).collect();
        let young: Vec<_> = (0..KEPT_MAX - 1).map(|number| put(&format!("engine-{number}.log"), 60)).collect();
        prune_engine_logs(logs.path(), SystemTime::now());
        let left: Vec<_> = old.iter().map(|path| path.exists()).collect();
        assert_eq!(left, [false, false, true]);
        put("engine-more.log", 60);
        prune_engine_logs(logs.path(), SystemTime::now() - Duration::from_secs(60 * 60));
        assert!(young.iter().all(|path| path.exists()) && !old[2].exists() && other.exists());
        put("engine-most.log", 60);
        prune_engine_logs(logs.path(), SystemTime::now());
        assert!(young.iter().all(|path| path.exists()), "they are not a day old");
    }

    #[test]
    fn where_nothing_is_nothing_happens() {
        let scene = tempfile::tempdir().expect("a temporary directory");
        prune_cluster_logs(&scene.path().join("logs"), &scene.path().join("journals"));
        prune_engine_logs(&scene.path().join("logs"), SystemTime::now());
    }
}
