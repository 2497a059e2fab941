//! The leftovers of a killed engine, and their removal by the next one.
#![cfg(target_os = "linux")]

use std::fs::File;
use std::os::unix::process::{CommandExt, ExitStatusExt};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use crate::common;
use crate::common::cache::empty_cache;
use crate::common::children::Realm;
use crate::common::system::is_running;
use crate::common::wait_until_blocking;
use kina_engine::lab::settings::BECOME_ENGINE;
use rustix::process::{Pid, Signal};
use serde_json::json;

/// The child of the test below. On its own, it is an ordinary test.
#[kina::test]
async fn visitor(client: kube::Client) -> anyhow::Result<()> {
    client.apiserver_version().await?;
    Ok(())
}

/// A realm with a cache of its own.
struct Crashed {
    realm: Realm,
    cache: tempfile::TempDir,
}

/// A process that outlived its engine. Killed when this value is dropped.
struct Orphan(Child);

impl Crashed {
    fn new() -> Self {
        let cache = empty_cache();
        std::fs::create_dir(cache.path().join("journals")).expect("made");
        Self { realm: Realm::new().with("KINA_CACHE_DIR", cache.path()), cache }
    }

    fn journals(&self) -> Vec<String> {
        let entries = std::fs::read_dir(self.cache.path().join("journals")).expect("listed");
        let mut names: Vec<_> =
            entries.map(|entry| entry.expect("listed").file_name().to_string_lossy().into_owned()).collect();
        names.sort();
        names
    }

    /// A directory with content, among the states of clusters.
    fn state(&self, cluster: &str) -> PathBuf {
        let directory = self.cache.path().join("run/0123456789abcdef/engine-1-0.0.1/clusters").join(cluster);
        std::fs::create_dir_all(&directory).expect("made");
        std::fs::write(directory.join("db"), "keys").expect("written");
        directory
    }

    /// A journal that names one process.
    fn journal(&self, name: &str, orphan: &Orphan, start: &str, state: &Path) -> PathBuf {
        let head = json!({"kina_journal": 1, "numbering": numbering()});
        let record = json!({
            "process_id": orphan.0.id(),
            "start": start,
            "process_group": orphan.0.id(),
            "component": "etcd",
            "cluster": state.file_name().expect("a name").to_str(),
            "state_directory": state,
        });
        self.write(name, &format!("{head}\n{record}\n"))
    }

    fn write(&self, name: &str, text: &str) -> PathBuf {
        let path = self.cache.path().join("journals").join(name);
        std::fs::write(&path, text).expect("written");
        path
    }

    /// Starts an engine and waits until it answers.
    fn start_engine(&self) -> Child {
        let mut command = Command::new(std::env::current_exe().expect("this executable"));
        self.realm.prepare(&mut command);
        command.env(BECOME_ENGINE, "process").stdout(Stdio::null()).stderr(Stdio::null());
        let engine = command.spawn().expect("the engine starts");
        wait_until_blocking("the engine runs", || self.realm.status().is_some());
        engine
    }
}

impl Orphan {
    fn new() -> Self {
        Self(Command::new("/bin/sleep").arg("1000").process_group(0).spawn().expect("sleep starts"))
    }

    fn start(&self) -> String {
        let stat = std::fs::read_to_string(format!("/proc/{}/stat", self.0.id())).expect("it runs");
        let (_, after_name) = stat.rsplit_once(')').expect("a name in parentheses");
        after_name.split_whitespace().nth(19).expect("a start").to_owned()
    }
}

impl Drop for Orphan {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// The scope of process numbers: the boot, and the namespace.
fn numbering() -> String {
    let boot = std::fs::read_to_string("/proc/sys/kernel/random/boot_id").expect("readable");
    format!("{} {}", boot.trim(), std::fs::read_link("/proc/self/ns/pid").expect("readable").display())
}

#[test]
fn an_engine_kills_the_processes_of_a_dead_one_and_no_others() {
    let crashed = Crashed::new();
    let [mut left, recycled, held] = [Orphan::new(), Orphan::new(), Orphan::new()];
    let states = ["cluster-1", "cluster-2", "cluster-3"].map(|name| crashed.state(name));
    let outside = crashed.cache.path().join("elsewhere/clusters/cluster-4");
    std::fs::create_dir_all(&outside).expect("made");

    crashed.journal("1.journal", &left, &left.start(), &states[0]);
    crashed.journal("2.journal", &recycled, "1", &states[1]);
    let of_living = crashed.journal("3.journal", &held, &held.start(), &states[2]);
    let lock = File::open(&of_living).expect("opened");
    lock.lock().expect("locked");
    crashed.journal("4.journal", &recycled, "1", &outside);
    crashed.write("5.journal", "what is this?\n");
    crashed.write("6.journal", "{\"kina_journal\":99}\n");

    let mut engine = crashed.start_engine();
    assert_eq!(left.0.wait().expect("reaped").signal(), Some(9), "it outlived its engine");
    assert!(is_running(recycled.0.id()), "it only has the number of a process that did");
    assert!(is_running(held.0.id()), "its engine lives");
    assert_eq!(states.map(|state| state.exists()), [false, false, true]);
    assert!(outside.exists(), "a directory outside the states was removed");
    crashed.realm.stop();
    assert!(engine.wait().expect("reaped").success());
    assert_eq!(crashed.journals(), ["3.journal", "5.journal.set-aside-1", "6.journal.set-aside-2"]);
    drop(lock);
}

#[test]
fn the_next_engine_processes_the_journal_of_a_killed_one() {
    let mut crashed = Crashed::new();
    let assets = common::untouched::assets().expect("the binaries under test");
    let directory = assets.kube_apiserver.parent().expect("a directory").to_owned();
    crashed.realm = crashed.realm.with("KINA_ASSETS_DIR", directory);
    crashed.realm.run_well("crashes::visitor");
    let status = crashed.realm.status_of_running();
    let processes: Vec<_> = status.slots.iter().flat_map(|slot| slot.process_ids.clone()).collect();
    let [journal] = &crashed.journals()[..] else { panic!("one engine has one journal: {:?}", crashed.journals()) };
    let text = std::fs::read_to_string(crashed.cache.path().join("journals").join(journal)).expect("readable");
    for process_id in &processes {
        assert!(text.contains(&format!("\"process_id\":{process_id},")), "{process_id} is not in the journal:\n{text}");
    }
    let engine = i32::try_from(status.process_id).ok().and_then(Pid::from_raw).expect("a process id");
    rustix::process::kill_process(engine, Signal::KILL).expect("killed");
    wait_until_blocking("the engine dies", || !is_running(status.process_id));
    assert_eq!(crashed.journals(), std::slice::from_ref(journal), "the killed engine could not remove it");

    let mut next = crashed.start_engine();
    let journals = crashed.journals();
    assert!(journals.len() == 1 && journals[0] != *journal, "{journals:?}");
    crashed.realm.stop();
    assert!(next.wait().expect("reaped").success());
    assert!(crashed.journals().is_empty(), "{:?}", crashed.journals());
}
