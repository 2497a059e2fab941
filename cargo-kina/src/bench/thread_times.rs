//! The processor time of processes, finer than the hundredths of a second in which the kernel counts for whole
//! processes. Only available on Linux.

use std::collections::BTreeMap;
use std::time::Duration;

/// The time of each thread of some processes, so far.
pub struct ThreadTimes(BTreeMap<ThreadId, Duration>);

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct ThreadId {
    process: u32,
    thread: u32,
}

impl ThreadTimes {
    /// The times up to now; `None` if a process is gone, or if the system does not report them.
    pub fn of(process_ids: &[u32]) -> Option<Self> {
        let mut times = BTreeMap::new();
        for process_id in process_ids {
            for entry in std::fs::read_dir(format!("/proc/{process_id}/task")).ok()?.flatten() {
                let thread = entry.file_name().to_str()?.parse().ok()?;
                // A thread may end meanwhile.
                let Ok(text) = std::fs::read_to_string(entry.path().join("schedstat")) else { continue };
                times.insert(ThreadId { process: *process_id, thread }, used(&text)?);
            }
        }
        Some(Self(times))
    }

    /// The time used since `before` by the threads that still run: one that has ended has taken its figure with it.
    pub fn since(&self, before: &Self) -> Duration {
        let each = self.0.iter().map(|(thread, used)| {
            let used_before = before.0.get(thread).copied().unwrap_or_default();
            used.saturating_sub(used_before)
        });
        each.sum()
    }
}

/// The first number of the kernel's line about a thread: nanoseconds on a processor.
fn used(line: &str) -> Option<Duration> {
    Some(Duration::from_nanos(line.split_whitespace().next()?.parse().ok()?))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn times(threads: &[(u32, u64)]) -> ThreadTimes {
        let each =
            threads.iter().map(|(thread, ms)| (ThreadId { process: 1, thread: *thread }, Duration::from_millis(*ms)));
        ThreadTimes(each.collect())
    }

    #[test]
    fn a_thread_that_has_ended_takes_nothing_from_the_others() {
        let before = times(&[(1, 100), (2, 5000)]);
        let after = times(&[(1, 103), (3, 4)]);
        assert_eq!(after.since(&before), Duration::from_millis(7));
        assert_eq!(before.since(&before), Duration::ZERO);
    }

    #[test]
    fn the_kernels_line_is_read() {
        assert_eq!(used("1500 20 3\n"), Some(Duration::from_nanos(1500)));
        assert_eq!(used(""), None);
    }

    #[cfg(target_os = "linux")]
    #[test]
    fn this_process_uses_some() {
        let now = || ThreadTimes::of(&[std::process::id()]).expect("it runs");
        let before = now();
        let mut sum = 0_u64;
        while now().since(&before).is_zero() {
            sum = std::hint::black_box(sum.wrapping_mul(31).wrapping_add(7));
        }
        assert!(ThreadTimes::of(&[u32::MAX]).is_none());
    }
}
