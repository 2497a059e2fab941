use std::path::Path;

use super::recorder::PHASES_MAX;
use super::*;
use crate::pool::{ClientId, Event, Limits, Pool, SlotId, SlotKey, WaiterId};

const SLOT_BYTES: u64 = 100 << 20;

fn pool() -> Pool {
    Pool::new(Limits::unhurried(1, SLOT_BYTES, 10 * SLOT_BYTES))
}

fn recorder() -> Recorder {
    Recorder::new(EngineLine { provider: "process".to_owned(), slots_max: 1, ..EngineLine::default() })
}

fn asker(test: &str, log: Option<&Path>) -> Asker {
    Asker::client(test, log)
}

/// A pool and its recorder, as in the dispatcher.
struct Scene {
    pool: Pool,
    recorder: Recorder,
}

impl Scene {
    fn new() -> Self {
        Self { pool: pool(), recorder: recorder() }
    }

    fn feed(&mut self, event: Event) {
        self.pool.handle(event, 0);
        self.recorder.note(&self.pool);
    }

    fn acquire(&mut self, waiter: u64, test: &str, log: Option<&Path>) {
        let waiter = WaiterId(waiter);
        self.recorder.asked(waiter, asker(test, log));
        let key = SlotKey("kind".into());
        self.feed(Event::Acquire { waiter, client: ClientId(1), key, template: None, deadline: 1000 });
    }

    /// Plays a lease from the hand-out to the end of the rewind.
    fn lease(&mut self, waiter: u64, lease: u64) {
        let slot = SlotId(1);
        self.recorder.handed_out(slot, ServedFrom::Ready);
        self.recorder.granted(slot, lease);
        self.recorder.left(WaiterId(waiter), WaitEnd::Left);
        self.feed(Event::Released { slot });
        self.recorder.rewound(slot, 5, true);
        self.feed(Event::Rewound { slot, is_settled: true });
    }

    fn boot(&mut self) {
        self.recorder.booted(SlotId(1), "cluster-1-1", "v1.37.1");
        self.feed(Event::Started { slot: SlotId(1) });
    }

    fn phases(&self) -> Vec<PhaseLine> {
        phases(self.recorder.notes().lines().collect())
    }
}

fn phases(lines: Vec<TimingLine>) -> Vec<PhaseLine> {
    let phases = lines.into_iter().filter_map(|line| match line {
        TimingLine::Phase(phase) => Some(phase),
        TimingLine::Engine(_) => None,
    });
    phases.collect()
}

fn read(log: &Path) -> Vec<TimingLine> {
    let text = std::fs::read_to_string(log).expect("written");
    text.lines().map(|line| TimingLine::parse(line).expect("a line of a log")).collect()
}

/// The same phases, rounded to microseconds: writing and reading a number may change its last bit.
fn rounded(phases: Vec<PhaseLine>) -> Vec<PhaseLine> {
    let round = |ms: f64| (ms * 1e3).round();
    let rounded = phases.into_iter().map(|phase| PhaseLine {
        start_unix_ms: round(phase.start_unix_ms),
        duration_ms: phase.duration_ms.map(round),
        wait_ms: phase.wait_ms.map(round),
        ..phase
    });
    rounded.collect()
}

#[test]
fn a_lease_is_followed_from_its_wait_to_its_rewind() {
    let mut scene = Scene::new();
    scene.acquire(1, "first", None);
    scene.acquire(2, "second", None);
    scene.boot();
    scene.lease(1, 1);
    let phases = scene.phases();
    let names: Vec<_> = phases.iter().map(|phase| (phase.phase, phase.duration_ms.is_some())).collect();
    let expected = [(Phase::Booting, true), (Phase::Leased, true), (Phase::Rewinding, true), (Phase::Leased, false)];
    assert_eq!(names, expected, "{phases:?}");
    for pair in phases.windows(2) {
        let end_ms = pair[0].start_unix_ms + pair[0].duration_ms.expect("over");
        assert!((pair[1].start_unix_ms - end_ms).abs() < 0.002, "one after the other: {pair:?}");
    }
    let lease = &phases[1];
    assert_eq!((lease.test.as_deref(), lease.lease, lease.slot), (Some("first"), Some(1), Some(1)));
    assert_eq!((lease.cluster.as_deref(), lease.kubernetes.as_deref()), (Some("cluster-1-1"), Some("v1.37.1")));
    assert_eq!((lease.served_from, lease.memory_bytes), (Some(ServedFrom::Ready), SLOT_BYTES));
    assert!(lease.wait_ms.is_some());
    let rewind = &phases[2];
    assert_eq!((rewind.lease, rewind.test.as_deref()), (Some(1), Some("first")));
    assert_eq!((rewind.changed_keys, rewind.api_server_restarted), (Some(5), true));
    assert_eq!((phases[3].test.as_deref(), phases[3].lease), (Some("second"), None));
}

#[test]
fn a_client_without_a_lease_is_recorded_as_waiting() {
    let mut scene = Scene::new();
    scene.acquire(1, "refused", None);
    scene.recorder.left(WaiterId(1), WaitEnd::Refused);
    scene.acquire(2, "still waits", None);
    let phases = scene.phases();
    let waits: Vec<_> = phases.iter().filter(|phase| phase.phase == Phase::Waiting).collect();
    let told: Vec<_> =
        waits.iter().map(|wait| (wait.test.as_deref(), wait.outcome, wait.duration_ms.is_some())).collect();
    assert_eq!(told, [(Some("refused"), Some(WaitEnd::Refused), true), (Some("still waits"), None, false)]);
}

#[test]
fn a_namespace_is_a_phase_of_its_cluster() {
    let mut scene = Scene::new();
    scene.acquire(1, "host", None);
    scene.boot();
    let waiter = WaiterId(7);
    scene.recorder.namespace(waiter, NamespaceNews::Asked(asker("tenant", None)));
    scene.recorder.namespace(waiter, NamespaceNews::Granted { lease: 99, cluster: "cluster-1-1".to_owned() });
    scene.recorder.namespace(waiter, NamespaceNews::Left(WaitEnd::Left));
    let phases = scene.phases();
    let namespace = phases.iter().find(|phase| phase.phase == Phase::Namespace).expect("there");
    assert_eq!((namespace.slot, namespace.lease, namespace.test.as_deref()), (Some(1), Some(99), Some("tenant")));
    assert!(namespace.duration_ms.is_some() && namespace.wait_ms.is_some());
    assert!(!phases.iter().any(|phase| phase.phase == Phase::Waiting), "{phases:?}");
}

#[test]
fn only_the_latest_phases_are_kept() {
    let mut scene = Scene::new();
    for waiter in 0..u64::try_from(PHASES_MAX).expect("small") + 3 {
        scene.recorder.asked(WaiterId(waiter), asker("impatient", None));
        scene.recorder.left(WaiterId(waiter), WaitEnd::Left);
    }
    let lines: Vec<_> = scene.recorder.notes().lines().collect();
    assert_eq!(lines.len(), PHASES_MAX + 1);
    assert!(matches!(&lines[0], TimingLine::Engine(engine) if engine.forgotten_phases == 3));
}

#[test]
fn a_log_contains_the_same_phases() {
    let directory = tempfile::tempdir().expect("a temporary directory");
    let log = directory.path().join("log");
    let mut scene = Scene::new();
    scene.acquire(1, "first \"of\" all\n<b>", Some(&log));
    scene.boot();
    scene.lease(1, 1);
    scene.recorder.finish();
    let lines = read(&log);
    assert!(matches!(&lines[0], TimingLine::Engine(engine) if engine.slots_max == 1));
    // Phases under way have ended with the engine.
    assert_eq!(rounded(phases(lines)), rounded(scene.phases()));
}

#[test]
fn a_log_ends_where_the_next_run_begins() {
    let directory = tempfile::tempdir().expect("a temporary directory");
    let (one, other) = (directory.path().join("one"), directory.path().join("other"));
    let mut scene = Scene::new();
    scene.acquire(1, "first", Some(&one));
    scene.boot();
    scene.lease(1, 1);
    scene.acquire(2, "second", Some(&other));
    scene.lease(2, 2);
    scene.acquire(3, "third", None);
    scene.lease(3, 3);
    scene.recorder.finish();
    let tests = |log: &Path| {
        let mut tests: Vec<_> = phases(read(log)).into_iter().filter_map(|phase| phase.test).collect();
        tests.dedup();
        tests
    };
    assert_eq!(tests(&one), ["first"]);
    assert_eq!(tests(&other), ["second"]);
}

#[test]
fn the_size_of_a_log_is_bounded() {
    let directory = tempfile::tempdir().expect("a temporary directory");
    let log = directory.path().join("log");
    let file = std::fs::File::create(&log).expect("made");
    file.set_len(log::LOG_BYTES_MAX - 1).expect("a sparse file");
    let mut scene = Scene::new();
    scene.acquire(1, "first", Some(&log));
    scene.recorder.finish();
    assert_eq!(file.metadata().expect("there").len(), log::LOG_BYTES_MAX - 1);
}
