//! The pool's temperatures, and clusters that do not boot, on real clusters. The pool itself has unit tests.
#![cfg(target_os = "linux")]

use std::os::unix::fs::PermissionsExt;
use std::path::Path;

use crate::common::children::{Realm, text_of};
use crate::common::wait_until_blocking;
use kina_engine::Status;
use kina_engine::lab::protocol::ClientMessage;

/// The child of the tests below. On its own, it is an ordinary test.
#[kina::test]
async fn visitor(client: kube::Client) -> anyhow::Result<()> {
    client.apiserver_version().await?;
    Ok(())
}

fn states(status: &Status) -> Vec<&str> {
    status.slots.iter().map(|slot| slot.state.as_str()).collect()
}

/// Processor time that a process has used, in ticks of the system's clock.
fn processor_ticks(process_id: u32) -> u64 {
    let stat = std::fs::read_to_string(format!("/proc/{process_id}/stat")).expect("the process runs");
    let fields: Vec<_> = stat.rsplit(')').next().expect("a name in brackets").split_whitespace().collect();
    // The 14th and 15th of all fields; the state, the third of all, is the first here (proc(5)).
    [11, 12].iter().map(|index| fields[*index].parse::<u64>().expect("a number")).sum()
}

#[test]
fn a_frozen_cluster_uses_no_processor_and_serves_again() {
    let realm = Realm::new().with("KINA_FREEZE_AFTER_IDLE_SECONDS", "1").with("KINA_IDLE_EXIT_SECONDS", "120");
    realm.run_well("pool::visitor");
    wait_until_blocking("the cluster freezes", || states(&realm.status_of_running()) == ["frozen"]);
    let processes = realm.status_of_running().slots[0].process_ids.clone();
    let before: Vec<_> = processes.iter().map(|process| processor_ticks(*process)).collect();
    std::thread::sleep(std::time::Duration::from_secs(3));
    let after: Vec<_> = processes.iter().map(|process| processor_ticks(*process)).collect();
    assert_eq!(before, after, "etcd and kube-apiserver");

    realm.run_well("pool::visitor");
    let counters = realm.status_of_running().counters;
    assert_eq!((counters.boots, counters.thaws, counters.hits.frozen), (1, 1, 1), "{counters:?}");
}

#[test]
fn an_unused_cluster_stops_by_itself() {
    let realm = Realm::new()
        .with("KINA_FREEZE_AFTER_IDLE_SECONDS", "1")
        .with("KINA_STOP_AFTER_IDLE_SECONDS", "2")
        .with("KINA_SCALE_DOWN_WINDOW_SECONDS", "2")
        .with("KINA_IDLE_EXIT_SECONDS", "120");
    realm.run_well("pool::visitor");
    wait_until_blocking("the cluster stops", || states(&realm.status_of_running()) == ["stopped"]);
    realm.run_well("pool::visitor");
    let counters = realm.status_of_running().counters;
    assert_eq!((counters.boots, counters.hits.stopped), (1, 1), "{counters:?}");
}

#[test]
fn a_stopped_cluster_serves_again() {
    let realm = Realm::new();
    realm.run_well("pool::visitor");
    wait_until_blocking("the cluster is rewound", || states(&realm.status_of_running()) == ["ready"]);
    assert!(realm.ask(&ClientMessage::StopIdleClusters).is_some());
    let status = realm.status_of_running();
    assert_eq!(states(&status), ["stopped"]);
    assert!(status.slots[0].process_ids.is_empty());
    realm.run_well("pool::visitor");
    let counters = realm.status_of_running().counters;
    assert_eq!((counters.boots, counters.starts, counters.hits.stopped), (1, 1, 1), "{counters:?}");
}

#[test]
fn a_worn_cluster_is_replaced() {
    let realm = Realm::new().with("KINA_SLOT_LEASES_MAX", "2").with("KINA_SLOTS_MAX", "1");
    for _ in 0..3 {
        realm.run_well("pool::visitor");
    }
    let counters = realm.status_of_running().counters;
    assert_eq!((counters.leases, counters.boots, counters.broken), (3, 2, 0), "{counters:?}");
}

#[test]
fn a_client_of_a_cluster_that_does_not_boot_gets_the_cause_before_the_deadline() {
    let assets = tempfile::tempdir().expect("a temporary directory");
    for program in ["etcd", "kube-apiserver"] {
        write_program(&assets.path().join(program), "#!/bin/sh\necho this one never starts >&2\nexit 3\n");
    }
    let realm = Realm::new().with("KINA_ASSETS_DIR", assets.path());
    let output = realm.run("pool::visitor");
    assert!(!output.status.success());
    let text = text_of(&output);
    for words in ["clusters do not start", "this one never starts", "exit code 3"] {
        assert!(text.contains(words), "no `{words}` in: {text}");
    }
    assert_eq!(realm.status_of_running().counters.boots, 0);
}

fn write_program(path: &Path, text: &str) {
    std::fs::write(path, text).expect("written");
    std::fs::set_permissions(path, std::fs::Permissions::from_mode(0o755)).expect("made executable");
}
