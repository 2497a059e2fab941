//! The processor time of processes.

use std::collections::{BTreeMap, HashMap};

use crate::process_time;

/// The processor time of clusters. Their processes come and go; the time of those that ended, as last seen, stays
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
    /// Looks at the processes of all existing slots; forgets other slots. Returns seconds by slot, if the system tells.
    pub(super) fn update<'a>(&mut self, slots: impl Iterator<Item = (u64, &'a [u32])>) -> HashMap<u64, f64> {
        self.update_with(slots, seconds_of)
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

/// The processor time of one process; `None` if the system does not tell.
pub(super) fn seconds_of(process_id: u32) -> Option<f64> {
    process_time::of_process(process_id).map(|used| used.own.as_secs_f64())
}

#[cfg(test)]
mod tests {
    use super::*;

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
