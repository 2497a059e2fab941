//! Faults of the emulator on purpose: all that it has, at rates drawn from a seed.

use std::collections::BTreeMap;
use std::fmt::Write;

use crate::chaos::plan::Random;

/// Each fault by its name in the emulator's plan, its name in the emulator's counts, the commands that it happens to,
/// and the approximate number of such calls for each fault.
const FAULTS: [(&str, &str, &str, u64); 23] = [
    ("hang", "Hang", "*", 120),
    ("hang", "Hang", "start", 40),
    ("xpc-interrupted-before", "InterruptedBefore", "*", 60),
    ("xpc-interrupted-after", "InterruptedAfter", "*", 60),
    ("xpc-interrupted", "Interrupted", "start", 30),
    ("crash", "Crash", "*", 200),
    ("reboot", "Reboot", "*", 300),
    ("down", "Down", "*", 80),
    ("port-taken", "PortTaken", "start", 12),
    ("pruned", "Pruned", "*", 100),
    ("lie", "Lie", "*", 40),
    ("slow", "Slow", "*", 30),
    ("noise", "Noise", "*", 10),
    ("no-nftables", "NoNftables", "*", 10),
    ("subnet", "Subnet", "*", 2),
    // At the create itself, so that the pull below can follow.
    ("image-gone", "ImageGone", "create", 8),
    ("pull-hangs", "PullHangs", "create", 2),
    ("damaged-image", "DamagedImage", "*", 60),
    ("mount-lag", "MountLag", "start", 8),
    ("mount-never", "MountNever", "start", 8),
    ("network-gone", "NetworkGone", "start", 20),
    ("upgraded", "Upgraded", "*", 60),
    ("lock-held", "LockHeld", "*", 80),
];
/// Times of faults, shorter than by default, so that a run has many of them.
const TIMES: &str = "pull-ms=500,lock-ms=3000";
/// Faults that can cost a lease which is held: machines die, or are taken for dead.
const COSTS_LEASES: [&str; 3] = ["crash", "reboot", "down"];
/// Faults without an effect on leases.
const HARMLESS: [&str; 4] = ["noise", "no-nftables", "subnet", "damaged-image"];

/// The probability of each fault.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct FaultPlan {
    seed: u64,
    /// In parts of a million, in the order of the table.
    probabilities: [u64; FAULTS.len()],
}

impl FaultPlan {
    /// The same for the same seed.
    pub(crate) fn new(seed: u64) -> Self {
        const MILLION: u64 = 1_000_000;
        let mut random = Random::new(seed ^ 0xfa17);
        // From a half to three halves of the rate in the table.
        let probabilities = FAULTS.map(|(_, _, _, calls)| (MILLION / calls / 2) + random.below(MILLION / calls));
        Self { seed, probabilities: probabilities.map(|probability| probability.min(MILLION)) }
    }

    /// The plan in the emulator's format.
    pub(crate) fn text(&self) -> String {
        let mut text = format!("seed={},{TIMES}", self.seed);
        for ((name, _, command, _), probability) in FAULTS.iter().zip(self.probabilities) {
            let _ = write!(text, ",{name}={command}:0.{probability:06}");
        }
        text
    }
}

/// Reads how often each fault has happened from the state of the emulator's service.
pub(super) fn counts(service: &[u8]) -> BTreeMap<&'static str, u64> {
    let service: serde_json::Value = serde_json::from_slice(service).unwrap_or_default();
    let mut counts = BTreeMap::new();
    for (key, count) in service["faults"].as_object().into_iter().flatten() {
        let counted = key.split(':').nth(1).unwrap_or_default();
        if let Some((name, ..)) = FAULTS.iter().find(|(_, known, ..)| *known == counted) {
            *counts.entry(*name).or_default() += count.as_u64().unwrap_or(0);
        }
    }
    counts
}

/// Returns true if a client that has a cluster may lose it to this fault.
pub(crate) fn costs_leases(fault: &str) -> bool {
    COSTS_LEASES.contains(&fault)
}

/// Returns true if a client that waits for a cluster may get none because of this fault.
pub(crate) fn costs_boots(fault: &str) -> bool {
    !HARMLESS.contains(&fault)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_same_seed_gives_the_same_plan_of_all_faults() {
        let text = FaultPlan::new(7).text();
        assert_eq!(text, FaultPlan::new(7).text());
        assert_ne!(text, FaultPlan::new(8).text());
        for (name, _, command, _) in FAULTS {
            assert!(text.contains(&format!(",{name}={command}:0.")), "{text}");
        }
        for seed in 0..100 {
            assert!(FaultPlan::new(seed).probabilities.iter().all(|probability| (1..1_000_000).contains(probability)));
        }
    }

    #[test]
    fn faults_are_counted_by_their_kind() {
        let service = br#"{"calls": 9, "faults": {"0:Hang:*": 2, "1:Hang:start": 1, "5:Crash:*": 4, "9:New:*": 1}}"#;
        assert_eq!(counts(service), BTreeMap::from([("crash", 4), ("hang", 3)]));
        assert_eq!(counts(b"{"), BTreeMap::new());
    }
}
