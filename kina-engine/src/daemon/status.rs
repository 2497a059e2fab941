//! What the engine tells about itself.

use std::path::PathBuf;
use std::time::Instant;

use tokio::sync::{mpsc, oneshot};

use super::dispatcher::{Inspection, Message};
use crate::protocol::{SlotStatus, Status, VERSION};

/// Everything about the engine that is not the pool's.
pub(super) struct StatusSource {
    pub(super) start: Instant,
    pub(super) log: PathBuf,
}

impl StatusSource {
    /// `None` when the engine is ending. Reading the memory of clusters takes some milliseconds for each.
    pub(super) async fn read(&self, messages: &mpsc::Sender<Message>, with_memory: bool) -> Option<Status> {
        let (reply, inspection) = oneshot::channel();
        messages.send(Message::Inspect { reply }).await.ok()?;
        let Inspection { slots, waiting, counters, high_water, releases } = inspection.await.ok()?;
        let slots = slots.into_iter().map(|(slot, state, handle)| {
            let process_ids = handle.as_ref().map(|handle| handle.cluster().process_ids()).unwrap_or_default();
            SlotStatus {
                slot: slot.0,
                state: state.to_owned(),
                cluster: handle.as_ref().map(|handle| handle.name().to_owned()),
                kubernetes: handle.as_ref().map(|handle| handle.kubernetes().to_owned()),
                pss_bytes: if with_memory { process_ids.iter().map(|id| memory_bytes(*id, "Pss:")).sum() } else { 0 },
                process_ids,
                leases: handle.as_ref().map_or(0, |handle| handle.lease_count()),
            }
        });
        Some(Status {
            version: VERSION.to_owned(),
            engine_profile: if cfg!(debug_assertions) { "debug" } else { "release" }.to_owned(),
            process_id: std::process::id(),
            log: self.log.clone(),
            uptime_ms: u64::try_from(self.start.elapsed().as_millis()).unwrap_or(u64::MAX),
            engine_rss_bytes: if with_memory { memory_bytes(std::process::id(), "Rss:") } else { 0 },
            slots: slots.collect(),
            waiting,
            counters,
            high_water,
            releases,
            sabotage: crate::sabotage::active().names(),
        })
    }
}

/// One line of the kernel's summary of a process's memory; 0 where there is none.
fn memory_bytes(process_id: u32, field: &str) -> u64 {
    let Ok(summary) = std::fs::read_to_string(format!("/proc/{process_id}/smaps_rollup")) else { return 0 };
    let kilobytes = summary.lines().find_map(|line| line.strip_prefix(field));
    kilobytes.and_then(|text| text.trim().trim_end_matches("kB").trim().parse::<u64>().ok()).unwrap_or(0) << 10
}
