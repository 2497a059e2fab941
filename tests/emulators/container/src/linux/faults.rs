//! Faults on demand, by random numbers that are the same for the same seed and the same number of calls.

use std::fs;

use super::store::Service;

/// The faults, each with the commands that it can hit.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct FaultPlan {
    entries: Vec<Entry>,
    seed: u64,
    /// Time for which a hung call holds the global lock before it only hangs.
    pub(crate) hold_ms: u64,
    /// Time for which a slow call holds the global lock before it goes on.
    pub(crate) slow_ms: u64,
    /// Time for which others hold the global lock.
    pub(crate) lock_ms: u64,
    /// Time of each of the four tries of a pull.
    pub(crate) pull_ms: u64,
    /// Time after which the host sees what a machine appends in a mount that lags.
    pub(crate) mount_lag_ms: u64,
}

#[derive(Debug, Clone, PartialEq)]
struct Entry {
    fault: Fault,
    verb: String,
    probability: f64,
    most: u64,
}

/// A fault.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Fault {
    /// The call never returns, before or after its effect.
    Hang,
    /// The connection breaks before the call has its effect.
    InterruptedBefore,
    /// The connection breaks after the call has had its effect.
    InterruptedAfter,
    /// The connection breaks before or after, at random.
    Interrupted,
    /// The service crashes and comes back: running machines are shown as stopped.
    Crash,
    /// The host restarts: everything is stopped, and the service is down.
    Reboot,
    /// The service does not answer this call.
    Down,
    /// A port to be published is taken.
    PortTaken,
    /// A stopped container vanishes before the call.
    Pruned,
    /// The call has its effect and reports a failure.
    Lie,
    /// The call holds the global lock for a while first.
    Slow,
    /// Unexpected lines on stderr.
    Noise,
    /// The kernel is an old one without nftables.
    NoNftables,
    /// The default network has another subnet after `system start`.
    Subnet,
    /// An image vanishes before the call.
    ImageGone,
    /// A pull, also that of a create without its image, never ends.
    PullHangs,
    /// A foreign image with a blob that cannot be read appears before the call, and stays.
    DamagedImage,
    /// The host sees what the machine appends in its mounts after a while only.
    MountLag,
    /// The host never sees what the machine writes in its mounts.
    MountNever,
    /// The default network is missing.
    NetworkGone,
    /// Another version of the service runs from this call on.
    Upgraded,
    /// Others take the global lock before the call, and hold it for a while.
    LockHeld,
}

const FAULTS: &[(&str, Fault)] = &[
    ("hang", Fault::Hang),
    ("xpc-interrupted-before", Fault::InterruptedBefore),
    ("xpc-interrupted-after", Fault::InterruptedAfter),
    ("xpc-interrupted", Fault::Interrupted),
    ("crash", Fault::Crash),
    ("reboot", Fault::Reboot),
    ("down", Fault::Down),
    ("port-taken", Fault::PortTaken),
    ("pruned", Fault::Pruned),
    ("lie", Fault::Lie),
    ("slow", Fault::Slow),
    ("noise", Fault::Noise),
    ("no-nftables", Fault::NoNftables),
    ("subnet", Fault::Subnet),
    ("image-gone", Fault::ImageGone),
    ("pull-hangs", Fault::PullHangs),
    ("damaged-image", Fault::DamagedImage),
    ("mount-lag", Fault::MountLag),
    ("mount-never", Fault::MountNever),
    ("network-gone", Fault::NetworkGone),
    ("upgraded", Fault::Upgraded),
    ("lock-held", Fault::LockHeld),
];
/// Faults of machines: they happen to starts, unless a plan names another command.
const OF_MACHINES: [Fault; 2] = [Fault::MountLag, Fault::MountNever];

/// The faults of one call.
#[derive(Debug, Clone, Default)]
pub(crate) struct Decision {
    faults: Vec<Fault>,
    roll: u64,
}

impl Default for FaultPlan {
    /// No faults. Others would hold the lock as long as five deletions of ten seconds, and a pull takes as long as the
    /// real one.
    fn default() -> Self {
        Self {
            entries: Vec::new(),
            seed: 0,
            hold_ms: 200,
            slow_ms: 500,
            lock_ms: 50_000,
            pull_ms: 10_000,
            mount_lag_ms: 1_000,
        }
    }
}

impl FaultPlan {
    /// Reads the text of a plan, or of `@FILE`.
    pub(crate) fn read(text: &str) -> Result<Self, String> {
        match text.strip_prefix('@') {
            Some(path) => Self::parse(&fs::read_to_string(path).map_err(|error| format!("{path}: {error}"))?),
            None => Self::parse(text),
        }
    }

    fn parse(text: &str) -> Result<Self, String> {
        let mut plan = Self::default();
        let separators = |letter: char| letter == ',' || letter == ';' || letter.is_whitespace();
        for item in text.split(separators).filter(|item| !item.is_empty()) {
            let (name, value) = item.split_once('=').unwrap_or((item, "*"));
            let number = || value.parse::<u64>().map_err(|_| format!("`{item}`: no number"));
            match name {
                "seed" => plan.seed = number()?,
                "hold-ms" => plan.hold_ms = number()?,
                "slow-ms" => plan.slow_ms = number()?,
                "lock-ms" => plan.lock_ms = number()?,
                "pull-ms" => plan.pull_ms = number()?,
                "mount-lag" => {
                    // The form is mount-lag=MS:COMMAND:PROBABILITY:MOST, and each part may be left out.
                    let (first, rest) = value.split_once(':').unwrap_or((value, "start"));
                    let lag_ms = first.parse().ok();
                    plan.mount_lag_ms = lag_ms.unwrap_or(plan.mount_lag_ms);
                    plan.entries.push(entry(item, name, if lag_ms.is_some() { rest } else { value })?);
                }
                _ => plan.entries.push(entry(item, name, value)?),
            }
        }
        Ok(plan)
    }

    /// Decides on the faults of the next call of this command, and counts the call and its faults. A fault that is not
    /// possible now, given the earlier ones of the same call, does not happen and does not count.
    pub(crate) fn decide(
        &self,
        verb: &str,
        service: &mut Service,
        is_possible: impl Fn(Fault, &[Fault]) -> bool,
    ) -> Decision {
        service.calls += 1;
        let roll = mixed(self.seed ^ service.calls.wrapping_mul(0x9e37_79b9_7f4a_7c15));
        let mut faults = Vec::new();
        for (index, entry) in self.entries.iter().enumerate() {
            let dice = mixed(roll ^ mixed(index as u64 + 1));
            #[expect(clippy::cast_precision_loss, reason = "a probability needs no more than 53 bits")]
            let fraction = (dice >> 11) as f64 / (1_u64 << 53) as f64;
            let key = format!("{index}:{:?}:{}", entry.fault, entry.verb);
            let happened = service.faults.get(&key).copied().unwrap_or(0);
            let hits = entry.verb == "*" || entry.verb == verb;
            if hits && fraction < entry.probability && happened < entry.most && is_possible(entry.fault, &faults) {
                service.faults.insert(key, happened + 1);
                faults.push(entry.fault);
            }
        }
        Decision { faults, roll }
    }

    /// Returns true if the plan has this fault at all.
    pub(crate) fn has(&self, fault: Fault) -> bool {
        self.entries.iter().any(|entry| entry.fault == fault)
    }
}

impl Decision {
    /// Returns true if this fault happens.
    pub(crate) fn has(&self, fault: Fault) -> bool {
        self.faults.contains(&fault)
    }

    /// Returns a random number, different for each purpose.
    pub(crate) fn chance(&self, purpose: u64) -> u64 {
        mixed(self.roll ^ mixed(purpose.wrapping_add(0x5851_f42d)))
    }

    /// Returns true or false at random.
    pub(crate) fn coin(&self, purpose: u64) -> bool {
        self.chance(purpose) & 1 == 1
    }

    /// Puts a list into a random order.
    pub(crate) fn shuffle<T>(&self, items: &mut [T]) {
        for last in (1..items.len()).rev() {
            let other = usize::try_from(self.chance(last as u64) % (last as u64 + 1)).unwrap_or(0);
            items.swap(last, other);
        }
    }
}

fn entry(item: &str, name: &str, value: &str) -> Result<Entry, String> {
    let bad = |why: &str| format!("`{item}`: {why}; the form is FAULT=COMMAND:PROBABILITY:MOST");
    // The reference's own names of the trap are accepted too.
    let name = if ["lie-stop", "lie-rm"].contains(&name) { "lie" } else { name };
    let fault =
        FAULTS.iter().find(|(known, _)| *known == name).map(|(_, fault)| *fault).ok_or_else(|| bad("unknown fault"))?;
    let (mut verb, mut probability, mut most) = ("*", 1.0, u64::MAX);
    let mut parts = value.split(':').peekable();
    // A first part that is not a number is the command.
    if let Some(first) = parts.next_if(|part| part.parse::<f64>().is_err()) {
        verb = first;
    }
    if let Some(part) = parts.next() {
        probability = part.parse().map_err(|_| bad("no probability"))?;
    }
    if let Some(part) = parts.next() {
        most = part.parse().map_err(|_| bad("no number"))?;
    }
    if verb.is_empty() || parts.next().is_some() || !(0.0..=1.0).contains(&probability) {
        return Err(bad("a wrong form"));
    }
    if verb == "*" && OF_MACHINES.contains(&fault) {
        verb = "start";
    }
    Ok(Entry { fault, verb: verb.to_owned(), probability, most })
}

/// Spreads the bits of a number over all of its 64.
fn mixed(number: u64) -> u64 {
    let number = (number ^ (number >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    let number = (number ^ (number >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    number ^ (number >> 31)
}

#[cfg(test)]
mod tests {
    use super::{Fault, FaultPlan, Service};

    fn happened(plan: &str, verb: &str, calls: usize) -> Vec<bool> {
        let plan = FaultPlan::read(plan).expect("the plan is right");
        let mut service = Service::default();
        (0..calls).map(|_| plan.decide(verb, &mut service, |_, _| true).has(Fault::Hang)).collect()
    }

    #[test]
    fn the_same_seed_and_counter_give_the_same_faults() {
        let first = happened("hang=start:0.3;seed=7", "start", 200);
        assert_eq!(first, happened("hang=start:0.3;seed=7", "start", 200));
        assert_ne!(first, happened("hang=start:0.3;seed=8", "start", 200));
        let hits = first.iter().filter(|hit| **hit).count();
        assert!((30..90).contains(&hits), "{hits} of 200 at 0.3");
    }

    #[test]
    fn a_lag_has_a_time_and_machines_have_their_faults_when_they_start() {
        let of = |text: &str, verb: &str| {
            let plan = FaultPlan::read(text).expect("the plan is right");
            let decision = plan.decide(verb, &mut Service::default(), |_, _| true);
            (plan.mount_lag_ms, decision.has(Fault::MountLag), decision.has(Fault::MountNever))
        };
        assert_eq!(of("mount-lag=70", "start"), (70, true, false));
        assert_eq!(of("mount-lag=70", "list"), (70, false, false));
        assert_eq!(of("mount-lag=70:run:1:1", "run"), (70, true, false));
        assert_eq!(of("mount-lag=start:0", "start"), (1_000, false, false));
        assert_eq!(of("mount-never", "start"), (1_000, false, true));
        assert_eq!(of("mount-never", "stop"), (1_000, false, false));
    }

    #[test]
    fn what_is_not_possible_does_not_count() {
        let plan = FaultPlan::read("image-gone=create:1:1,pull-hangs=create").expect("the plan is right");
        let mut service = Service::default();
        assert!(!plan.decide("create", &mut service, |_, _| false).has(Fault::ImageGone));
        let after_another = |fault, faults: &[Fault]| fault == Fault::ImageGone || faults.contains(&Fault::ImageGone);
        let decision = plan.decide("create", &mut service, after_another);
        assert!(decision.has(Fault::ImageGone) && decision.has(Fault::PullHangs));
        assert!(!plan.decide("create", &mut service, after_another).has(Fault::PullHangs));
    }

    #[test]
    fn a_plan_gives_a_command_a_probability_and_a_limit() {
        assert_eq!(happened("hang", "x", 3), [true; 3]);
        assert_eq!(happened("hang=0", "x", 3), [false; 3]);
        assert_eq!(happened("hang=stop", "start", 3), [false; 3]);
        assert_eq!(happened("hang=start:1:2, seed=1", "start", 3), [true, true, false]);
        for bad in [
            "unknown=1",
            "hang=2",
            "hang=a:b",
            "hang=a:1:1:1",
            "seed=x",
            "hold-ms=",
            "mount-lag=7:x:9",
            "@/no/such/file",
        ] {
            assert!(FaultPlan::read(bad).is_err(), "{bad}");
        }
    }
}
