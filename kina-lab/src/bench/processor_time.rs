//! The processor time of processes. Only available on Linux.

use kina_engine::Status;
use kina_engine::lab::process_time;
use serde::{Deserialize, Serialize};

/// Milliseconds of processor time, in all since each process started.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
pub(super) struct ProcessorTime {
    /// The clients. Unless stated otherwise the programs that this one started and waited for, with all below them:
    /// tests and their runner.
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
            // A process that is gone has taken its figure with it.
            let Some(ms) = used_ms(*process_id) else { continue };
            let name = std::fs::read_to_string(format!("/proc/{process_id}/comm")).unwrap_or_default();
            match name.trim() {
                "etcd" => time.etcds_ms += ms,
                _ => time.api_servers_ms += ms,
            }
        }
        Some(time)
    }

    /// The time used since `before`, for each of `count`.
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
    kina_engine::process_time_of(process_id).map(|used| used.own.as_secs_f64() * 1e3)
}

fn used_by_ended_children_ms() -> Option<f64> {
    process_time::of_this_process().map(|used| used.ended_children.as_secs_f64() * 1e3)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_used_meanwhile_is_shared_out() {
        let before = ProcessorTime { clients_ms: 10.0, engine_ms: 1.0, api_servers_ms: 100.0, etcds_ms: 0.0 };
        let after = ProcessorTime { clients_ms: 30.0, engine_ms: 5.0, api_servers_ms: 300.0, etcds_ms: 8.0 };
        let each = after.since(&before, 4);
        assert_eq!(each, ProcessorTime { clients_ms: 5.0, engine_ms: 1.0, api_servers_ms: 50.0, etcds_ms: 2.0 });
        assert_eq!(each.sum_ms(), 58.0);
    }
}
