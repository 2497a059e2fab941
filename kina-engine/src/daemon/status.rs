//! The engine's report on itself.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Instant;

use tokio::sync::oneshot;

use super::clients::Clients;
use super::message::{DispatcherSender, Ending, InspectedSlot, Inspection, Message};
use super::namespaces::Namespaces;
use crate::ProviderName;
use crate::pool::SlotState;
use crate::process_memory as memory;
use crate::protocol::{SlotStatus, Status, VERSION};

/// The pool's name for a slot without running processes.
const STOPPED: &str = SlotState::Stopped.name();

/// All parts of the status that are not the pool's.
pub(super) struct StatusSource {
    pub(super) start: Instant,
    pub(super) log: PathBuf,
    pub(super) provider: ProviderName,
    pub(super) simulated: bool,
    pub(super) clients: Arc<Clients>,
}

impl StatusSource {
    /// The status. Reading the memory of clusters takes some milliseconds for each.
    pub(super) async fn read(
        &self,
        dispatcher: &DispatcherSender,
        namespaces: &Namespaces,
        with_memory: bool,
    ) -> Result<Status, Ending> {
        let (reply, inspection) = oneshot::channel();
        dispatcher.tell(Message::Inspect { reply }).await?;
        let mut of_namespaces = namespaces.inspect().await;
        let Inspection { slots, waiting, mut counters, high_water, mut traffic, releases } =
            inspection.await.map_err(|_| Ending)?;
        traffic += of_namespaces.traffic;
        counters.namespace_leases = of_namespaces.leases;
        let mut slot_statuses = Vec::with_capacity(slots.len());
        for InspectedSlot { slot, state, handle, lease } in slots {
            let memory_bytes = match handle.as_ref().filter(|_| with_memory) {
                Some(handle) => handle.cluster().memory_bytes().await,
                None => None,
            };
            slot_statuses.push(SlotStatus {
                slot: slot.0,
                state: state.to_owned(),
                cluster: handle.as_ref().map(|handle| handle.name().to_owned()),
                kubernetes: handle.as_ref().map(|handle| handle.kubernetes().to_owned()),
                pss_bytes: memory_bytes.unwrap_or(0),
                process_ids: handle.as_ref().map(|handle| handle.cluster().process_ids()).unwrap_or_default(),
                database_bytes: handle.as_ref().map_or(0, |handle| handle.database_bytes()),
                leases: handle.as_ref().map_or(0, |handle| handle.lease_count()),
                memory_bytes: handle.as_ref().map_or(0, |handle| handle.memory_bytes()),
                uptime_ms: handle.as_ref().filter(|_| state != STOPPED).map_or(0, |handle| handle.uptime_ms()),
                lease,
                namespaces: handle
                    .as_ref()
                    .and_then(|handle| of_namespaces.by_cluster.remove(handle.name()))
                    .unwrap_or_default(),
            });
        }
        self.clients.name_holders(&mut slot_statuses);
        Ok(Status {
            version: VERSION.to_owned(),
            engine_profile: if cfg!(debug_assertions) { "debug" } else { "release" }.to_owned(),
            provider: self.provider.to_string(),
            simulated: self.simulated,
            process_id: std::process::id(),
            log: self.log.clone(),
            uptime_ms: u64::try_from(self.start.elapsed().as_millis()).unwrap_or(u64::MAX),
            engine_rss_bytes: if with_memory { memory::resident_bytes(std::process::id()) } else { 0 },
            slots: slot_statuses,
            waiting: waiting + of_namespaces.waiting,
            waiters: self.clients.waiting(),
            counters,
            high_water,
            traffic,
            releases,
            sabotage: crate::sabotage::active().names(),
        })
    }
}
