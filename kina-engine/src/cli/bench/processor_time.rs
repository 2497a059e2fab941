//! What processes have used of the processor. Known on Linux alone; elsewhere nothing is said.

use std::path::Path;

use serde::{Deserialize, Serialize};

use crate::protocol::Status;

/// What the kernel counts in, whatever its own clock: it tells everybody hundredths of a second.
const MS_PER_TICK: f64 = 10.0;

/// Milliseconds of processor time, in all since each process started.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
pub(super) struct ProcessorTime {
    /// Who makes the requests. Unless said otherwise the programs that this one started and waited for, with all below
    /// them: tests and their runner.
    pub(super) clients_ms: f64,
    pub(super) engine_ms: f64,
    pub(super) api_servers_ms: f64,
    pub(super) etcds_ms: f64,
}

impl ProcessorTime {
    /// Up to now, of the processes of an engine.
    pub(super) fn of_engine(status: &Status) -> Option<Self> {
        let clusters: Vec<_> = status.slots.iter().flat_map(|slot| slot.process_ids.iter().copied()).collect();
        let mut time = Self::of_processes(&clusters)?;
        time.engine_ms = used_ms(status.process_id)?;
        Some(time)
    }

    /// Up to now, of a cluster's processes.
    pub(super) fn of_processes(process_ids: &[u32]) -> Option<Self> {
        let mut time = Self { clients_ms: used_by_ended_children_ms()?, ..Self::default() };
        for process_id in process_ids {
            // One that is gone has taken its figure with it.
            let Some(ms) = used_ms(*process_id) else { continue };
            let name = std::fs::read_to_string(format!("/proc/{process_id}/comm")).unwrap_or_default();
            match name.trim() {
                "etcd" => time.etcds_ms += ms,
                _ => time.api_servers_ms += ms,
            }
        }
        Some(time)
    }

    /// What was used since `before`, for each of so many.
    pub(super) fn since(&self, before: &Self, count: usize) -> Self {
        let each = |after: f64, before: f64| (after - before) / count.max(1) as f64;
        Self {
            clients_ms: each(self.clients_ms, before.clients_ms),
            engine_ms: each(self.engine_ms, before.engine_ms),
            api_servers_ms: each(self.api_servers_ms, before.api_servers_ms),
            etcds_ms: each(self.etcds_ms, before.etcds_ms),
        }
    }

    pub(super) fn sum_ms(&self) -> f64 {
        self.clients_ms + self.engine_ms + self.api_servers_ms + self.etcds_ms
    }
}

/// Of one process with all its threads.
pub(super) fn used_ms(process_id: u32) -> Option<f64> {
    Stat::read(&Path::new("/proc").join(process_id.to_string())).map(|stat| stat.own_ms)
}

fn used_by_ended_children_ms() -> Option<f64> {
    Stat::read(Path::new("/proc/self")).map(|stat| stat.ended_children_ms)
}

/// The kernel's line about a process.
#[derive(Debug, PartialEq)]
struct Stat {
    own_ms: f64,
    ended_children_ms: f64,
}

impl Stat {
    fn read(directory: &Path) -> Option<Self> {
        Self::parse(&std::fs::read_to_string(directory.join("stat")).ok()?)
    }

    /// Number, name in parentheses (which can hold anything), state (third), …, then from the fourteenth: in user space, in
    /// the kernel, and both of the children that were waited for.
    fn parse(line: &str) -> Option<Self> {
        let (_, after_name) = line.rsplit_once(')')?;
        let mut fields = after_name.split_whitespace().skip(11).map(|field| field.parse::<f64>().ok());
        let mut next = || fields.next().flatten();
        let (user, kernel, children_user, children_kernel) = (next()?, next()?, next()?, next()?);
        let ended_children_ms = (children_user + children_kernel) * MS_PER_TICK;
        Some(Self { own_ms: (user + kernel) * MS_PER_TICK, ended_children_ms })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_kernels_line_is_read_behind_the_name() {
        let line = "42 (a) name) (S) S 1 42 42 0 -1 4194560 1 2 3 4 10 20 300 4000 20 0 1 0 99 1 1";
        assert_eq!(Stat::parse(line), Some(Stat { own_ms: 300.0, ended_children_ms: 43_000.0 }));
        assert_eq!(Stat::parse("42 (short) S 1 2"), None);
        assert_eq!(Stat::parse(""), None);
    }

    #[test]
    fn what_was_used_meanwhile_is_shared_out() {
        let before = ProcessorTime { clients_ms: 10.0, engine_ms: 1.0, api_servers_ms: 100.0, etcds_ms: 0.0 };
        let after = ProcessorTime { clients_ms: 30.0, engine_ms: 5.0, api_servers_ms: 300.0, etcds_ms: 8.0 };
        let each = after.since(&before, 4);
        assert_eq!(each, ProcessorTime { clients_ms: 5.0, engine_ms: 1.0, api_servers_ms: 50.0, etcds_ms: 2.0 });
        assert_eq!(each.sum_ms(), 58.0);
    }

    #[cfg(target_os = "linux")]
    #[test]
    fn this_process_has_used_some() {
        let mut sum = 0_u64;
        while used_ms(std::process::id()).expect("it lives") < MS_PER_TICK {
            sum = std::hint::black_box(sum.wrapping_mul(31).wrapping_add(7));
        }
        assert!(ProcessorTime::of_processes(&[]).is_some());
    }
}
