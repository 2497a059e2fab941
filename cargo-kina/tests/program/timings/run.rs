//! A made-up log of a run of tests: two hundred leases on four slots, for eight clients.

use kina_engine::{EngineLine, Phase, PhaseLine, ServedFrom, TimingLine, WaitEnd};

const ENGINE: &str = "process-4711-1790000000";
const START_UNIX_MS: f64 = 1_790_000_000_000.0;
const LEASES: u64 = 200;
const SLOTS: u64 = 4;
const CLIENTS: usize = 8;
const MEBIBYTE: u64 = 1 << 20;
/// The subjects of the suite's tests.
const SUBJECTS: [&str; 8] = ["scaling", "quota", "webhook", "status", "finalizer", "rbac", "leader", "cache"];
/// The expectations of the suite's tests.
const CLAIMS: [&str; 7] =
    ["is_kept", "follows_its_spec", "survives_a_restart", "is_refused", "comes_back", "is_reported_once", "converges"];

struct Slot {
    number: u64,
    free_at_ms: f64,
    origin: ServedFrom,
}

struct Run {
    lines: Vec<TimingLine>,
    random: u64,
}

/// Makes the log, in which one of the tests is called `name`.
pub fn two_hundred_leases(name: &str) -> Vec<TimingLine> {
    let engine = EngineLine {
        engine: ENGINE.to_owned(),
        version: "0.1.0+00000000".to_owned(),
        provider: "process".to_owned(),
        start_unix_ms: START_UNIX_MS,
        slots_max: 4,
        memory_max_bytes: 2048 * MEBIBYTE,
        ..EngineLine::default()
    };
    let mut run = Run { lines: vec![TimingLine::Engine(engine)], random: 1815 };
    let mut slots: Vec<Slot> = (1..=SLOTS).map(|number| run.boot(number, 40.0 + (number - 1) as f64 * 950.0)).collect();
    let mut clients = [20.0; CLIENTS];
    for lease in 1..=LEASES {
        let client = earliest(&clients);
        let asked_ms = clients[client] + run.between(1.0, 6.0);
        let frees: Vec<_> = slots.iter().map(|slot| slot.free_at_ms).collect();
        let slot = &mut slots[earliest(&frees)];
        let granted_ms = asked_ms.max(slot.free_at_ms) + run.between(0.4, 2.5);
        run.push(slot.number, Phase::Ready, slot.free_at_ms, granted_ms, |line| line);
        let test = test_name(lease, name);
        let held_ms = run.between(15.0, 120.0) * if run.between(0.0, 1.0) < 0.08 { 6.0 } else { 1.0 };
        let end_ms = granted_ms + held_ms;
        let (origin, wait_ms, number) = (slot.origin, micro(granted_ms - asked_ms), slot.number);
        run.push(number, Phase::Leased, granted_ms, end_ms, |line| PhaseLine {
            test: Some(test.clone()),
            lease: Some(lease),
            wait_ms: Some(wait_ms),
            served_from: Some(origin),
            template: lease.is_multiple_of(3).then(|| "5f2b9c0d41ae".to_owned()),
            ..line
        });
        clients[client] = end_ms;
        if lease == 120 {
            // Its API server died, so another cluster replaces it.
            run.push(number, Phase::Broken, end_ms, end_ms + 60.0, |line| line);
            *slot = run.boot(SLOTS + 1, end_ms + 60.0);
            continue;
        }
        let is_restarted = lease.is_multiple_of(41);
        let changed_keys = 3 + (run.between(0.0, 1.0).powi(4) * 400.0) as u64;
        let rewind_ms = run.between(6.0, 22.0) + changed_keys as f64 * 0.12 + if is_restarted { 900.0 } else { 0.0 };
        run.push(number, Phase::Rewinding, end_ms, end_ms + rewind_ms, |line| PhaseLine {
            test: Some(test),
            lease: Some(lease),
            changed_keys: Some(changed_keys),
            api_server_restarted: is_restarted,
            ..line
        });
        (slot.free_at_ms, slot.origin) = (end_ms + rewind_ms, ServedFrom::Rewound);
    }
    let end_ms = slots.iter().map(|slot| slot.free_at_ms).fold(0.0, f64::max);
    run.refuse("suite::impatient", 300.0, 1700.0);
    for slot in &slots {
        let frozen_at_ms = end_ms + 600.0;
        run.push(slot.number, Phase::Ready, slot.free_at_ms, frozen_at_ms, |line| line);
        run.push(slot.number, Phase::Freezing, frozen_at_ms, frozen_at_ms + 8.0, |line| line);
        run.push(slot.number, Phase::Frozen, frozen_at_ms + 8.0, end_ms + 1600.0, |line| line);
    }
    run.lines
}

impl Run {
    fn boot(&mut self, number: u64, start_ms: f64) -> Slot {
        let end_ms = start_ms + self.between(850.0, 1000.0);
        self.push(number, Phase::Booting, start_ms, end_ms, |line| PhaseLine {
            kubernetes: None,
            cluster: None,
            ..line
        });
        Slot { number, free_at_ms: end_ms, origin: ServedFrom::Snapshot }
    }

    fn push(&mut self, slot: u64, phase: Phase, start_ms: f64, end_ms: f64, more: impl FnOnce(PhaseLine) -> PhaseLine) {
        let line = PhaseLine {
            engine: ENGINE.to_owned(),
            phase,
            start_unix_ms: START_UNIX_MS + micro(start_ms),
            duration_ms: Some(micro(micro(end_ms) - micro(start_ms))),
            slot: Some(slot),
            cluster: Some(format!("cluster-4711-{slot}")),
            kubernetes: Some("v1.37.1".to_owned()),
            memory_bytes: (205 + slot * 7 + (start_ms / 1000.0) as u64) * MEBIBYTE,
            ..PhaseLine::default()
        };
        self.lines.push(TimingLine::Phase(more(line)));
    }

    fn refuse(&mut self, test: &str, start_ms: f64, end_ms: f64) {
        self.lines.push(TimingLine::Phase(PhaseLine {
            engine: ENGINE.to_owned(),
            phase: Phase::Waiting,
            start_unix_ms: START_UNIX_MS + start_ms,
            duration_ms: Some(end_ms - start_ms),
            test: Some(test.to_owned()),
            outcome: Some(WaitEnd::Refused),
            ..PhaseLine::default()
        }));
    }

    /// Returns a pseudo-random number, the same in every run: the upper bits of Knuth's generator.
    fn between(&mut self, least: f64, most: f64) -> f64 {
        self.random = self.random.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        least + (most - least) * ((self.random >> 40) as f64 / (1 << 24) as f64)
    }
}

fn test_name(lease: u64, other: &str) -> String {
    if lease == 77 {
        return other.to_owned();
    }
    let index = usize::try_from(lease).expect("small");
    let (subject, claim) = (SUBJECTS[index % SUBJECTS.len()], CLAIMS[index / SUBJECTS.len() % CLAIMS.len()]);
    let round = index / (SUBJECTS.len() * CLAIMS.len());
    format!("suite::{subject}::the_{subject}_{claim}_{round}")
}

fn earliest(moments: &[f64]) -> usize {
    (0..moments.len()).min_by(|one, other| moments[*one].total_cmp(&moments[*other])).expect("some")
}

fn micro(milliseconds: f64) -> f64 {
    (milliseconds * 1e3).round() / 1e3
}
