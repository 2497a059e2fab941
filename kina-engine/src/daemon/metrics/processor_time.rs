//! What processes have used of the processors.

use std::collections::{BTreeMap, HashMap};

/// How the kernel counts towards user space, on every machine that kina runs on.
const TICKS_PER_SECOND: u64 = 100;

/// What clusters have used. Their processes come and go; what those that ended had used when they were last seen stays
/// counted, so that the sum of a slot never falls.
#[derive(Debug, Default)]
pub(super) struct ProcessorTimes {
    slots: HashMap<u64, SlotTime>,
}

#[derive(Debug, Default)]
struct SlotTime {
    ended_seconds: f64,
    processes: BTreeMap<u32, f64>,
}

impl ProcessorTimes {
    /// Looks at the processes of all slots there are; forgets the other slots. Seconds by slot, where the system tells.
    pub(super) fn update<'a>(&mut self, slots: impl Iterator<Item = (u64, &'a [u32])>) -> HashMap<u64, f64> {
        self.update_with(slots, of_process)
    }

    fn update_with<'a>(
        &mut self,
        slots: impl Iterator<Item = (u64, &'a [u32])>,
        seconds_of: impl Fn(u32) -> Option<f64>,
    ) -> HashMap<u64, f64> {
        let mut before = std::mem::take(&mut self.slots);
        let mut sums = HashMap::new();
        for (slot, process_ids) in slots {
            let mut time = before.remove(&slot).unwrap_or_default();
            let mut last_seen = std::mem::take(&mut time.processes);
            for process_id in process_ids {
                let Some(seconds) = seconds_of(*process_id) else { continue };
                // A number can have come back as another process's.
                if let Some(last_seconds) = last_seen.remove(process_id).filter(|last| seconds < *last) {
                    time.ended_seconds += last_seconds;
                }
                time.processes.insert(*process_id, seconds);
            }
            time.ended_seconds += last_seen.values().sum::<f64>();
            let sum = time.ended_seconds + time.processes.values().sum::<f64>();
            if 0.0 < sum {
                sums.insert(slot, sum);
            }
            self.slots.insert(slot, time);
        }
        sums
    }
}

/// What one process has used; `None` where the system does not say.
pub(super) fn of_process(process_id: u32) -> Option<f64> {
    seconds_in_stat(&std::fs::read_to_string(format!("/proc/{process_id}/stat")).ok()?)
}

/// Reads the kernel's line about a process: number, name in parentheses, state (third), …, ticks in user mode (fourteenth)
/// and in the kernel (fifteenth). The name can hold anything, parentheses too.
fn seconds_in_stat(stat: &str) -> Option<f64> {
    let (_, after_name) = stat.rsplit_once(')')?;
    let mut fields = after_name.split_whitespace().skip(11);
    let mut ticks = || fields.next()?.parse::<u64>().ok();
    let ticks = ticks()?.saturating_add(ticks()?);
    let hundredths = f64::from(u32::try_from(ticks % TICKS_PER_SECOND).unwrap_or_default());
    let seconds = f64::from(u32::try_from(ticks / TICKS_PER_SECOND).unwrap_or(u32::MAX));
    Some(seconds + hundredths / 100.0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_kernels_line_is_read_whatever_the_name() {
        let line = "77 (a) b (c) S 1 77 77 0 -1 4194560 1 2 3 4 250 75 0 0 20 0 1 0 4711 1000 100 0";
        assert_eq!(seconds_in_stat(line), Some(3.25));
        assert_eq!(seconds_in_stat("77 (a) S 1 2"), None);
    }

    #[test]
    fn a_sum_never_falls_though_processes_end_and_numbers_come_back() {
        let mut times = ProcessorTimes::default();
        let mut look = |processes: &[(u32, f64)]| {
            let ids: Vec<_> = processes.iter().map(|(id, _)| *id).collect();
            let seconds = |id| processes.iter().find(|(other, _)| *other == id).map(|(_, seconds)| *seconds);
            times.update_with([(1, ids.as_slice())].into_iter(), seconds).get(&1).copied()
        };
        assert_eq!(look(&[]), None);
        assert_eq!(look(&[(10, 1.0), (11, 2.0)]), Some(3.0));
        assert_eq!(look(&[(10, 1.5), (11, 2.0)]), Some(3.5));
        assert_eq!(look(&[(10, 1.5)]), Some(3.5), "one has ended");
        assert_eq!(look(&[(10, 1.5), (11, 0.5)]), Some(4.0), "its number has come back");
        assert_eq!(look(&[(10, 0.25), (11, 0.5)]), Some(4.25), "both at once");
        assert_eq!(look(&[]), Some(4.25), "the cluster is stopped");
    }

    #[test]
    fn a_slot_that_is_gone_is_forgotten() {
        let mut times = ProcessorTimes::default();
        times.update_with([(1, [10].as_slice()), (2, [11].as_slice())].into_iter(), |_| Some(1.0));
        assert_eq!(times.slots.len(), 2);
        times.update_with([(2, [11].as_slice())].into_iter(), |_| Some(1.0));
        assert_eq!(times.slots.len(), 1);
    }
}
