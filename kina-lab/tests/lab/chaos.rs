//! `cargo lab chaos`, in short: no lease sees anything of an earlier one, no client waits for ever, nothing is left.
//! If a part of the engine is switched off, the run has to notice. The same for clusters in containers, on an emulator
//! with all its faults.
use std::path::Path;
use std::process::{Command, Output, Stdio};

use serde_json::Value;

use crate::stand_ins::{CONTAINER_CLI, SUPERVISOR, stand_ins, supervisor};

/// Returns the report, the program's success, and its error output.
fn chaos(arguments: &[&str]) -> (Value, bool, String) {
    chaos_with(&[], arguments)
}

fn chaos_with(variables: &[(&str, &Path)], arguments: &[&str]) -> (Value, bool, String) {
    let Output { status, stdout, stderr } = Command::new(env!("CARGO_BIN_EXE_kina-lab"))
        .arg("chaos")
        .args(arguments)
        .args(["--format", "json"])
        .envs(variables.iter().copied())
        .stdin(Stdio::null())
        .output()
        .expect("it starts");
    let stderr = String::from_utf8_lossy(&stderr).into_owned();
    let report = serde_json::from_slice(&stdout)
        .unwrap_or_else(|error| panic!("no report ({error}): {}{stderr}", String::from_utf8_lossy(&stdout)));
    (report, status.success(), stderr)
}

fn number(report: &Value, name: &str) -> u64 {
    report[name].as_u64().unwrap_or_else(|| panic!("no number {name} in {report}"))
}

#[test]
fn nothing_breaks_whatever_happens() {
    let (report, is_success, stderr) = chaos(&["--leases", "60", "--processes", "4", "--seed", "7"]);
    for name in ["hung", "canaries_seen", "old_clients_let_in", "orphans", "leaked_files", "failed_without_reason"] {
        assert_eq!(number(&report, name), 0, "{name}: {report}\n{stderr}");
    }
    let told = ["served", "refused_with_reason", "lost_with_reason"].map(|name| number(&report, name));
    assert_eq!(told.iter().sum::<u64>(), 60, "{report}");
    assert!(30 < told[0], "most leases are served: {report}");
    assert!(told[0] * 8 <= number(&report, "rewinds") * 10, "clusters are used again: {report}");
    // Each lease whose own engine or cluster was killed is lost, and the report names that kill.
    for kind in ["engine_stop", "engine_kill", "etcd_kill", "api_server_kill"] {
        let kills = report["disturbances"][kind].as_u64().unwrap_or(0);
        let lost = report["lost_to"][kind].as_u64().unwrap_or(0);
        assert!(kills <= lost, "{kind}: {report}");
    }
    assert!(number(&report, "slots_most") <= number(&report, "slots_max"), "{report}");
    assert!(number(&report, "boots_under_way_most") <= number(&report, "boots_under_way_max"), "{report}");
    assert!(is_success, "{report}\n{stderr}");
}

#[test]
fn nothing_breaks_in_containers_whatever_happens() {
    // Each lease of the emulator's machines takes several seconds of a processor.
    let leases: u64 = if std::env::var_os("KINA_LONG_TESTS").is_some() { 40 } else { 20 };
    let count = leases.to_string();
    let arguments = ["--provider", "apple", "--leases", &count, "--processes", "4", "--seed", "7"];
    let supervisor = supervisor();
    let variables: [(&str, &Path); 2] = [(CONTAINER_CLI, &stand_ins().emulator), (SUPERVISOR, &supervisor)];
    let (report, is_success, stderr) = chaos_with(&variables, &arguments);
    let zeros = ["hung", "canaries_seen", "old_clients_let_in", "orphans", "leaked_files", "failed_without_reason"];
    for name in zeros.into_iter().chain(["foreign_touched"]) {
        assert_eq!(number(&report, name), 0, "{name}: {report}\n{stderr}");
    }
    let told = ["served", "refused_with_reason", "lost_with_reason"].map(|name| number(&report, name));
    assert_eq!(told.iter().sum::<u64>(), leases, "{report}");
    assert!(leases / 2 < told[0], "most leases are served: {report}");
    assert_eq!((&report["provider"], &report["simulated"]), (&"apple".into(), &true.into()), "{report}");
    assert!(0 < number(&report, "foreign"), "{report}");
    let faults = report["faults"].as_object().into_iter().flatten().filter_map(|(_, count)| count.as_u64());
    assert!(0 < faults.sum::<u64>(), "calls go wrong: {report}");
    for kind in ["engine_stop", "engine_kill", "etcd_kill", "container_kill", "container_stop", "container_delete"] {
        let kills = report["disturbances"][kind].as_u64().unwrap_or(0);
        let lost = report["lost_to"][kind].as_u64().unwrap_or(0);
        assert!(kills <= lost, "{kind}: {report}");
    }
    assert!(is_success, "{report}\n{stderr}");
}

/// Runs on one slot, so that each lease gets the cluster of the one before.
fn sabotage_is_noticed(part: &str, leases: usize) {
    let leases = leases.to_string();
    let arguments = ["--leases", &leases, "--processes", "2", "--slots", "1", "--seed", "1815", "--sabotage", part];
    let (report, is_success, stderr) = chaos(&arguments);
    let named = report["failed_parts"].as_array().into_iter().flatten().any(|name| name == part);
    assert!(named, "{part} is off, but the run did not notice: {report}\n{stderr}");
    assert!(!is_success, "{report}");
    assert!(stderr.contains("chaos found failures of") && stderr.contains(part), "{stderr}");
}

#[test]
fn a_rewind_that_does_nothing_is_noticed() {
    sabotage_is_noticed("rewind", 6);
}

#[test]
fn a_missing_proof_is_noticed() {
    sabotage_is_noticed("verify", 16);
}

#[test]
fn processes_that_are_not_ended_are_noticed() {
    sabotage_is_noticed("reap", 6);
}

#[test]
fn a_gateway_that_stays_open_is_noticed() {
    sabotage_is_noticed("gateway", 6);
}

#[test]
fn every_request_in_the_queue_is_served_or_refused_with_a_reason() {
    let arguments = ["queue", "--processes", "16", "--slots", "2", "--hold-ms", "100"];
    let (report, is_success, stderr) = chaos(&[&arguments[..], &["--deadline-seconds", "120"]].concat());
    assert_eq!(number(&report, "served"), 16, "{report}\n{stderr}");
    assert!(2 <= number(&report, "queue_longest"), "{report}");
    for (most, max) in
        [("queue_longest", "queue_max"), ("boots_under_way_most", "boots_under_way_max"), ("slots_most", "slots_max")]
    {
        assert!(number(&report, most) <= number(&report, max), "{most}: {report}");
    }
    assert!(is_success, "{report}\n{stderr}");

    let (report, is_success, stderr) = chaos(&[&arguments[..], &["--deadline-seconds", "1"]].concat());
    let (served, refused) = (number(&report, "served"), number(&report, "refused_with_reason"));
    assert_eq!(served + refused, 16, "{report}\n{stderr}");
    assert!(0 < refused, "a boot from nothing takes longer than a second: {report}");
    let reason = report["examples"][0].as_str().unwrap_or_default();
    assert!(reason.contains("no cluster became free in time"), "{report}");
    assert!(is_success, "{report}\n{stderr}");
}
