//! The engine's timings, in a realm of its own: in a file named by a test's environment, and on request.

use std::path::Path;

use crate::common::children::{Realm, output, text_of};
use k8s_openapi::api::core::v1::ConfigMap;
use kina_engine::lab::protocol::{ClientMessage, EngineMessage, PROTOCOL};
use kina_engine::lab::timings::LOG_VARIABLE;
use kina_engine::{Phase, PhaseLine, TimingLine};
use kube::api::PostParams;

const VISITOR: &str = "integration::timings::visitor";
const TENANT: &str = "integration::timings::tenant";

/// The children of the tests below. On their own, they are ordinary tests.
#[kina::test]
async fn visitor(config_maps: kube::Api<ConfigMap>) -> Result<(), kube::Error> {
    let mut config_map = ConfigMap::default();
    config_map.metadata.name = Some("mark".to_owned());
    config_maps.create(&PostParams::default(), &config_map).await.map(drop)
}

#[kina::test(isolation = "namespace")]
async fn tenant(client: kube::Client) -> Result<(), kube::Error> {
    client.apiserver_version().await.map(drop)
}

fn run(realm: &Realm, test: &str, log: Option<&Path>) {
    let mut command = realm.command(test);
    command.env_remove(LOG_VARIABLE);
    command.envs(log.map(|log| (LOG_VARIABLE, log)));
    let output = output(command);
    assert!(output.status.success(), "{}", text_of(&output));
}

fn phases(lines: impl IntoIterator<Item = TimingLine>) -> Vec<PhaseLine> {
    let phases = lines.into_iter().filter_map(|line| match line {
        TimingLine::Phase(phase) => Some(phase),
        TimingLine::Engine(_) => None,
    });
    phases.collect()
}

fn ask(realm: &Realm) -> Vec<PhaseLine> {
    let hello = serde_json::to_string(&ClientMessage::Hello { protocol: PROTOCOL }).expect("plain data");
    let question = serde_json::to_string(&ClientMessage::Timings).expect("plain data");
    let answers = realm.say_and_listen(&format!("{hello}\n{question}\n")).expect("an engine runs");
    let lines = answers.flat_map(|answer| match serde_json::from_str(&answer).expect("a message") {
        EngineMessage::Timings { lines, .. } => lines,
        other => panic!("no timings: {other:?}"),
    });
    phases(lines)
}

fn read(log: &Path) -> Vec<PhaseLine> {
    let text = std::fs::read_to_string(log).expect("written");
    phases(text.lines().map(|line| TimingLine::parse(line).unwrap_or_else(|| panic!("not a line of a log: {line}"))))
}

fn leases(phases: &[PhaseLine], phase: Phase) -> Vec<(Option<u64>, &str)> {
    let those = phases.iter().filter(|line| line.phase == phase && line.test.is_some());
    those.map(|line| (line.lease, line.test.as_deref().unwrap_or_default())).collect()
}

#[test]
fn a_run_is_recorded_phase_by_phase() {
    let realm = Realm::new().with("KINA_SLOTS_MAX", "1");
    let log = realm.temporary_directory().join("timings.jsonl");
    run(&realm, "timings::visitor", Some(&log));
    run(&realm, "timings::visitor", Some(&log));
    // Not recorded for another run, nor because of the engine's own environment.
    run(&realm, "timings::visitor", None);
    run(&realm, "timings::tenant", None);
    let told = ask(&realm);
    realm.stop();
    let logged = read(&log);

    let three = [(Some(1), VISITOR), (Some(2), VISITOR), (Some(3), VISITOR)];
    assert_eq!(leases(&logged, Phase::Leased), three[..2], "{logged:?}");
    assert_eq!(leases(&told, Phase::Leased)[..3], three, "{told:?}");
    assert_eq!(leases(&told, Phase::Rewinding)[..3], three, "{told:?}");
    for rewind in told.iter().filter(|line| line.phase == Phase::Rewinding && line.test.as_deref() == Some(VISITOR)) {
        assert!(rewind.changed_keys.is_some_and(|count| 0 < count), "{rewind:?}");
    }
    let namespaces: Vec<_> = told.iter().filter(|line| line.phase == Phase::Namespace).collect();
    assert!(matches!(namespaces.as_slice(), [only] if only.test.as_deref() == Some(TENANT) && only.slot == Some(1)));
    let boot = told.iter().find(|line| line.phase == Phase::Booting).expect("a boot");
    let first = told.iter().find(|line| line.lease == Some(1)).expect("a lease");
    let booted_for_ms = boot.duration_ms.expect("over");
    assert!(
        first.wait_ms.is_some_and(|wait_ms| booted_for_ms < wait_ms),
        "the first test waits for the boot: {first:?} {boot:?}"
    );
    for line in &told {
        assert!(0 == line.memory_bytes || line.slot == Some(1), "{line:?}");
    }
}

#[test]
fn a_log_that_cannot_be_written_is_reported() {
    let realm = Realm::new();
    let log = realm.temporary_directory().join("no/such/directory/timings.jsonl");
    let mut command = realm.command("timings::visitor");
    command.env(LOG_VARIABLE, &log);
    let output = output(command);
    assert!(!output.status.success());
    let text = text_of(&output);
    assert!(text.contains(LOG_VARIABLE) && text.contains("no/such/directory"), "{text}");
}
