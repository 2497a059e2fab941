use std::os::unix::process::{CommandExt, ExitStatusExt};
use std::process::{Child, Command};
use std::time::Duration;

use super::*;
use crate::backoff::Backoff;
use crate::process_identity::{numbering, start_of};

/// A cache with the leftovers of engines.
struct Cache {
    root: tempfile::TempDir,
}

/// A process that outlived its engine, in a group of its own. Killed with this value.
struct Orphan(Child);

impl Cache {
    fn new() -> Self {
        Self { root: tempfile::tempdir().expect("a temporary directory") }
    }

    fn journals(&self) -> PathBuf {
        self.root.path().join("journals")
    }

    fn run(&self) -> PathBuf {
        self.root.path().join("run")
    }

    /// Makes a cluster's state directory with something in it.
    fn state(&self, cluster: &str) -> PathBuf {
        let directory = self.run().join("0123/engine/clusters").join(cluster);
        std::fs::create_dir_all(directory.join("etcd")).expect("made");
        std::fs::write(directory.join("etcd/db"), "keys").expect("written");
        directory
    }

    /// Sweeps while one engine lives.
    fn sweep_beside_living(&self) -> SweepReport {
        sweep(&self.journals(), &[self.run()])
    }

    /// Sweeps once all engines are gone. A process that another test is just starting has its parent's open files until
    /// its `exec`, so a lock can outlive its journal for a moment.
    fn sweep(&self) -> SweepReport {
        let left = Backoff::poll(Duration::from_millis(5), Duration::from_secs(10));
        let is_left =
            || Some(self.sweep_beside_living()).filter(|report| report.held == 0).ok_or("a journal is still held");
        left.run_blocking(is_left, |_| true, |_, _| {}).expect("left")
    }

    /// Makes a journal with these lines, whose engine is gone.
    fn left(&self, lines: &[Vec<u8>]) -> PathBuf {
        let file = LivingFile::create(&self.journals(), SUFFIX, &lines.concat()).expect("made");
        file.path().to_owned()
    }

    fn files(&self) -> Vec<String> {
        let entries = std::fs::read_dir(self.journals()).expect("listed");
        entries.map(|entry| entry.expect("listed").file_name().to_string_lossy().into_owned()).collect()
    }
}

impl Orphan {
    fn new() -> Self {
        Self(Command::new("/bin/sleep").arg("1000").process_group(0).spawn().expect("sleep starts"))
    }

    fn record(&self, cluster: &str, state_directory: &Path) -> ProcessRecord {
        ProcessRecord {
            process_id: self.0.id(),
            start: start_of(self.0.id()).expect("it runs"),
            process_group: self.0.id(),
            component: "etcd".to_owned(),
            cluster: cluster.to_owned(),
            state_directory: state_directory.to_owned(),
        }
    }

    fn is_running(&mut self) -> bool {
        self.0.try_wait().expect("can be waited for").is_none()
    }
}

impl Drop for Orphan {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

fn head() -> Vec<u8> {
    line(&Head { kina_journal: FORMAT, numbering: numbering() }).expect("plain data")
}

fn line_of(record: &ProcessRecord) -> Vec<u8> {
    line(record).expect("plain data")
}

#[test]
fn a_living_engines_journal_is_left_alone() {
    let cache = Cache::new();
    let (mut orphan, state) = (Orphan::new(), cache.state("cluster-1"));
    let journal = Journal::start(&cache.journals()).expect("begun");
    journal.started(orphan.0.id(), "etcd", "cluster-1", &state).expect("written");
    assert_eq!(cache.sweep_beside_living(), SweepReport { held: 1, ..SweepReport::default() });
    assert!(orphan.is_running() && state.exists() && journal.path().exists());

    // The same journal, once its engine is gone.
    let path = journal.path();
    drop(journal);
    let expected = SweepReport { killed: vec![orphan.0.id()], removed: vec![state.clone()], ..SweepReport::default() };
    assert_eq!(cache.sweep(), expected);
    assert_eq!(orphan.0.wait().expect("reaped").signal(), Some(9));
    assert!(!state.exists() && !path.exists());
    assert_eq!(cache.sweep(), SweepReport::default());
}

#[test]
fn the_whole_group_is_killed_even_if_frozen() {
    let cache = Cache::new();
    let state = cache.state("cluster-1");
    let mut child = Command::new("/bin/sh");
    child.args(["-c", "sleep 1000 & echo $!; kill -STOP $!; wait"]).process_group(0);
    let mut orphan = Orphan(child.stdout(std::process::Stdio::piped()).spawn().expect("a shell starts"));
    let mut member = String::new();
    let stdout = orphan.0.stdout.take().expect("piped");
    io::BufRead::read_line(&mut io::BufReader::new(stdout), &mut member).expect("a line");
    let member: u32 = member.trim().parse().expect("a process id");
    let start = start_of(member).expect("it runs");
    cache.left(&[head(), line_of(&orphan.record("cluster-1", &state))]);
    assert_eq!(cache.sweep().killed, [orphan.0.id()]);
    orphan.0.wait().expect("reaped");
    // The process that inherits it reaps it.
    let patience = std::time::Instant::now();
    while start_of(member).as_ref() == Some(&start) {
        assert!(patience.elapsed().as_secs() < 30, "the group's other process still runs");
        std::thread::sleep(Duration::from_millis(5));
    }
}

#[test]
fn another_process_with_the_same_id_is_not_killed() {
    let cache = Cache::new();
    let (mut orphan, state) = (Orphan::new(), cache.state("cluster-1"));
    let earlier = ProcessRecord { start: "1".to_owned(), ..orphan.record("cluster-1", &state) };
    let path = cache.left(&[head(), line_of(&earlier)]);
    let expected = SweepReport { removed: vec![state], ..SweepReport::default() };
    assert_eq!(cache.sweep(), expected);
    assert!(orphan.is_running() && !path.exists());
}

#[test]
fn processes_of_another_boot_are_not_killed() {
    let cache = Cache::new();
    let (mut orphan, state) = (Orphan::new(), cache.state("cluster-1"));
    let elsewhere = line(&Head { kina_journal: FORMAT, numbering: "another boot".to_owned() }).expect("plain data");
    cache.left(&[elsewhere, line_of(&orphan.record("cluster-1", &state))]);
    assert_eq!(cache.sweep(), SweepReport { removed: vec![state], ..SweepReport::default() });
    assert!(orphan.is_running());
}

#[test]
fn a_process_that_leads_no_group_is_killed_alone() {
    let cache = Cache::new();
    let state = cache.state("cluster-1");
    // In this test's own group, which must survive.
    let mut orphan = Orphan(Command::new("/bin/sleep").arg("1000").spawn().expect("sleep starts"));
    cache.left(&[head(), line_of(&orphan.record("cluster-1", &state))]);
    assert_eq!(cache.sweep().killed, [orphan.0.id()]);
    assert_eq!(orphan.0.wait().expect("reaped").signal(), Some(9));
}

#[test]
fn only_states_of_clusters_are_removed() {
    let cache = Cache::new();
    let orphan = Orphan::new();
    let state = cache.state("cluster-1");
    let outside = cache.root.path().join("elsewhere/clusters/cluster-1");
    let not_among_states = cache.run().join("0123/engine/leases/cluster-1");
    let link = cache.run().join("0123/engine/clusters/cluster-2");
    for directory in [&outside, &not_among_states] {
        std::fs::create_dir_all(directory).expect("made");
    }
    std::os::unix::fs::symlink(&outside, &link).expect("linked");
    let around = state.join("../../clusters/cluster-1/../../../../../elsewhere/clusters/cluster-1");
    let named =
        [("cluster-1", &outside), ("cluster-1", &not_among_states), ("cluster-2", &link), ("cluster-1", &around)];
    let also = [("cluster-9", &state), ("clusters", &cache.run().join("0123/engine/clusters")), ("run", &cache.run())];
    let mut lines = vec![head()];
    for (cluster, directory) in named.into_iter().chain(also) {
        lines.push(line_of(&ProcessRecord { start: "1".to_owned(), ..orphan.record(cluster, directory) }));
    }
    cache.left(&lines);
    assert_eq!(cache.sweep(), SweepReport::default());
    assert!(outside.exists() && not_among_states.exists() && link.exists() && state.exists());
}

#[test]
fn whole_lines_count_although_the_last_line_is_torn() {
    let cache = Cache::new();
    let (mut orphan, mut other) = (Orphan::new(), Orphan::new());
    let state = cache.state("cluster-1");
    let torn = line_of(&other.record("cluster-1", &state));
    let path = cache.left(&[head(), line_of(&orphan.record("cluster-1", &state)), torn[..torn.len() - 1].to_vec()]);
    let report = cache.sweep();
    assert_eq!((report.killed, report.removed), (vec![orphan.0.id()], vec![state]));
    assert_eq!(report.set_aside.len(), 1);
    assert!(!path.exists() && report.set_aside[0].exists());
    orphan.0.wait().expect("reaped");
    assert!(other.is_running(), "half a line was trusted");
    assert_eq!(cache.sweep(), SweepReport::default(), "a journal that was set aside is not examined again");
}

#[test]
fn an_untrusted_journal_is_set_aside_and_has_no_effect() {
    let newer = line(&Head { kina_journal: FORMAT + 1, numbering: numbering() }).expect("plain data");
    for lines in [vec![newer], vec![], vec![b"hello\n".to_vec()], vec![head(), b"nonsense\n".to_vec()]] {
        let cache = Cache::new();
        let (mut orphan, state) = (Orphan::new(), cache.state("cluster-1"));
        let mut lines = lines;
        if !lines.is_empty() {
            lines.push(line_of(&orphan.record("cluster-1", &state)));
        }
        let path = cache.left(&lines);
        let report = cache.sweep();
        assert_eq!((report.killed.len(), report.removed.len(), report.set_aside.len()), (0, 0, 1));
        assert!(orphan.is_running() && state.exists() && !path.exists());
    }
}

#[test]
fn an_absent_directory_has_no_journals() {
    assert_eq!(sweep(Path::new("/nowhere"), &[]), SweepReport::default());
}

#[test]
fn a_closed_journal_is_removed_unless_a_process_runs() {
    let cache = Cache::new();
    let (mut orphan, state) = (Orphan::new(), cache.state("cluster-1"));
    let journal = Journal::start(&cache.journals()).expect("begun");
    journal.started(orphan.0.id(), "etcd", "cluster-1", &state).expect("written");
    let path = journal.path();
    journal.close().expect("closed");
    assert!(path.exists(), "no engine would end the process");

    let journal = Journal::start(&cache.journals()).expect("begun");
    journal.started(orphan.0.id(), "etcd", "cluster-1", &state).expect("written");
    journal.ended(orphan.0.id());
    let path = journal.path();
    journal.close().expect("closed");
    assert!(!path.exists());
    assert!(orphan.is_running(), "closing a journal does not end processes");
}

#[test]
fn a_long_journal_is_rewritten_without_ended_processes() {
    let cache = Cache::new();
    let (mut orphan, gone) = (Orphan::new(), Orphan::new());
    let (state, state_of_gone) = (cache.state("cluster-1"), cache.state("cluster-2"));
    let journal = Journal::start(&cache.journals()).expect("begun");
    journal.started(orphan.0.id(), "etcd", "cluster-1", &state).expect("written");
    let first = journal.path();
    for _ in 0..LINES_MAX {
        journal.started(gone.0.id(), "etcd", "cluster-2", &state_of_gone).expect("written");
        journal.ended(gone.0.id());
        std::fs::remove_dir_all(&state_of_gone).ok();
    }
    assert_ne!(journal.path(), first);
    assert_eq!(cache.files().len(), 1, "{:?}", cache.files());
    let lines = std::fs::read_to_string(journal.path()).expect("readable").lines().count();
    assert_eq!(lines, 3, "its head, the running process, the process recorded last");
    drop(journal);
    drop(gone);
    assert_eq!(cache.sweep().killed, [orphan.0.id()]);
    orphan.0.wait().expect("reaped");
}
