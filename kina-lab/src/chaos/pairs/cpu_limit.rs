//! kube-apiserver and etcd with little of the processor, as on a busy machine: 20 ms of work take a second there.
//!
//! Each of these processes is held to a share of one core by stopping and continuing it (SIGSTOP, SIGCONT), as the
//! kernel's own count of its processor time demands. This needs no rights beyond those over its own processes, on any
//! Linux. Only processes of the private engines' directories are touched, each known by its number and its start.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use anyhow::Context;
use rustix::process::Signal;

use crate::chaos::processes::{self, Process};

/// Interval between two looks at each process. The kernel counts in ticks of 10 ms.
const LOOK_INTERVAL: Duration = Duration::from_millis(5);
/// Interval between two searches for processes.
const SEARCH_INTERVAL: Duration = Duration::from_millis(200);
/// Processor time that a process may use at once, beyond its share, after it was idle.
const CREDIT_MAX: Duration = Duration::from_millis(20);
const HELD_BACK: [&str; 2] = ["etcd", "kube-apiserver"];
/// A process that lived for a shorter time is no measure of shares.
const MEASURED_MIN: Duration = Duration::from_secs(2);

/// Holds processes back until it is ended or dropped, and lets all of them run then.
pub(super) struct CpuLimit {
    is_over: Arc<AtomicBool>,
    thread: Option<JoinHandle<f64>>,
}

/// A process that is held back.
struct Held {
    since: Instant,
    looked_at: Instant,
    used_before: Duration,
    used: Duration,
    /// Processor time that it may still use, in seconds; negative after a burst.
    credit: f64,
    is_stopped: bool,
}

impl CpuLimit {
    /// Holds back the control planes that work below these directories.
    pub(super) fn start(directories: Vec<PathBuf>, percent: u32) -> anyhow::Result<Self> {
        let is_over = Arc::new(AtomicBool::new(false));
        let share = f64::from(percent) / 100.0;
        let seen_by_thread = Arc::clone(&is_over);
        let thread = std::thread::Builder::new()
            .name("cpu limit".to_owned())
            .spawn(move || hold_back(&directories, share, &seen_by_thread))
            .context("starting a thread failed")?;
        Ok(Self { is_over, thread: Some(thread) })
    }

    /// Lets all run again. Returns the largest share of one core that any of them had on average, in percent.
    pub(super) fn end(mut self) -> f64 {
        self.finish()
    }

    fn finish(&mut self) -> f64 {
        self.is_over.store(true, Ordering::Relaxed);
        self.thread.take().and_then(|thread| thread.join().ok()).unwrap_or(0.0)
    }
}

impl Drop for CpuLimit {
    fn drop(&mut self) {
        self.finish();
    }
}

fn hold_back(directories: &[PathBuf], share: f64, is_over: &AtomicBool) -> f64 {
    let mut held: BTreeMap<Process, Held> = BTreeMap::new();
    let mut largest_percent: f64 = 0.0;
    let mut searched_at: Option<Instant> = None;
    while !is_over.load(Ordering::Relaxed) {
        if searched_at.is_none_or(|at| SEARCH_INTERVAL < at.elapsed()) {
            searched_at = Some(Instant::now());
            held.retain(|process, state| {
                let is_alive = process.is_alive();
                if !is_alive {
                    largest_percent = largest_percent.max(state.percent());
                }
                is_alive
            });
            let found = directories.iter().flat_map(|directory| processes::belonging_to(directory));
            for process in found.filter(|process| HELD_BACK.contains(&process.program().as_str())) {
                if let (false, Some(state)) = (held.contains_key(&process), Held::of(process)) {
                    held.insert(process, state);
                }
            }
        }
        for (process, state) in &mut held {
            let Some(used) = kina_engine::process_time_of(process.process_id) else { continue };
            match state.is_to_stop(used.own, share) {
                Some(true) => process.signal(Signal::STOP),
                Some(false) => process.signal(Signal::CONT),
                None => {}
            }
        }
        std::thread::sleep(LOOK_INTERVAL);
    }
    for (process, state) in held {
        process.signal(Signal::CONT);
        largest_percent = largest_percent.max(state.percent());
    }
    largest_percent
}

impl Held {
    fn of(process: Process) -> Option<Self> {
        let used = kina_engine::process_time_of(process.process_id)?.own;
        Some(Self::new(used, Instant::now()))
    }

    fn new(used: Duration, now: Instant) -> Self {
        Self { since: now, looked_at: now, used_before: used, used, credit: 0.0, is_stopped: false }
    }

    /// Notes the processor time used so far; returns true if the process has to be stopped for it, false if continued.
    fn is_to_stop(&mut self, used: Duration, share: f64) -> Option<bool> {
        let now = Instant::now();
        let earned = now.duration_since(self.looked_at).as_secs_f64() * share;
        let spent = used.saturating_sub(self.used).as_secs_f64();
        self.credit = (self.credit + earned - spent).min(CREDIT_MAX.as_secs_f64());
        (self.looked_at, self.used) = (now, used);
        let is_to_stop = self.credit < 0.0;
        let changes = is_to_stop != self.is_stopped;
        self.is_stopped = is_to_stop;
        changes.then_some(is_to_stop)
    }

    /// Its share of one core since it was found.
    fn percent(&self) -> f64 {
        let lived = self.looked_at.duration_since(self.since);
        if lived < MEASURED_MIN {
            return 0.0;
        }
        100.0 * self.used.saturating_sub(self.used_before).as_secs_f64() / lived.as_secs_f64()
    }
}

#[cfg(all(test, target_os = "linux"))]
mod tests {
    use super::*;

    #[test]
    fn a_process_is_stopped_for_used_time_and_continued_for_earned_time() {
        let start = Instant::now().checked_sub(Duration::from_secs(10)).expect("the machine runs for longer");
        let mut held = Held::new(Duration::ZERO, start);
        // Ten seconds at 30 % earn no more than the credit.
        assert_eq!(held.is_to_stop(Duration::from_millis(10), 0.3), None);
        assert_eq!(held.is_to_stop(Duration::from_millis(500), 0.3), Some(true));
        assert_eq!(held.is_to_stop(Duration::from_millis(500), 0.3), None, "it is stopped already");
        held.looked_at = held.looked_at.checked_sub(Duration::from_secs(5)).expect("the machine runs for longer");
        assert_eq!(held.is_to_stop(Duration::from_millis(500), 0.3), Some(false));
    }

    #[test]
    fn processes_of_other_directories_go_on() {
        let directory = tempfile::tempdir().expect("a temporary directory");
        let mut child = std::process::Command::new("/bin/sleep").arg("1000").spawn().expect("sleep starts");
        let limit = CpuLimit::start(vec![directory.path().to_owned()], 1).expect("a thread starts");
        std::thread::sleep(SEARCH_INTERVAL);
        let stat = std::fs::read_to_string(format!("/proc/{}/stat", child.id())).expect("it lives");
        assert_eq!(limit.end(), 0.0);
        child.kill().expect("it lives");
        child.wait().expect("reaped");
        assert!(!stat.contains(") T "), "{stat}");
    }
}
