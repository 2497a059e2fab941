//! A command with a private engine ends it even if the command is interrupted.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use rustix::process::Signal;

use crate::operate::scene::{Scene, ignores, wait_until};

/// The directory in which benches work.
const TEMPORARY: &str = "/tmp";
/// The beginning of their directories' names.
const PREFIX: &str = "kina-bench-";

fn bench_directories() -> BTreeSet<PathBuf> {
    let entries = std::fs::read_dir(TEMPORARY).expect("listed").flatten();
    entries.filter(|entry| entry.file_name().to_string_lossy().starts_with(PREFIX)).map(|entry| entry.path()).collect()
}

/// Returns the command lines of all processes with this path in them or in their environment.
fn processes_of(directory: &Path) -> Vec<String> {
    let directory = directory.to_str().expect("text");
    let read = |path: PathBuf| String::from_utf8_lossy(&std::fs::read(path).unwrap_or_default()).replace('\0', " ");
    let processes = std::fs::read_dir("/proc").expect("listed").flatten().filter_map(|process| {
        let command_line = read(process.path().join("cmdline"));
        let is_of_it = command_line.contains(directory) || read(process.path().join("environ")).contains(directory);
        is_of_it.then_some(command_line)
    });
    processes.collect()
}

#[test]
fn a_bench_that_is_interrupted_leaves_nothing() {
    let before = bench_directories();
    let scene = Scene::with_clusters();
    let bench = scene.start(["bench", "warm", "--samples", "100000"]);
    let own = || bench_directories().difference(&before).next().cloned();
    wait_until("it has a directory", || own().is_some());
    let directory = own().expect("it has one");
    let has = |name: &str| processes_of(&directory).iter().any(|command_line| command_line.contains(name));
    wait_until("its engine has a cluster", || has("kube-apiserver"));
    // Under `nohup` it has to ignore the end of the terminal.
    bench.send(if ignores(Signal::HUP) { Signal::TERM } else { Signal::HUP });
    assert_eq!(bench.wait().code(), Some(1));
    assert!(!directory.exists());
    assert!(!has("kina-engine"), "{:?}", processes_of(&directory));
    wait_until("the rest ends", || processes_of(&directory).is_empty());
}
