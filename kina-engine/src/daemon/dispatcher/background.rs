//! Background work.

use std::sync::Arc;
use std::time::Instant;

use tokio::task::AbortHandle;

use super::{Dispatcher, milliseconds};
use crate::daemon::message::{Message, TaskReport};
use crate::daemon::slot::{SlotError, SlotHandle};
use crate::error_text::with_causes;
use crate::pool::{SlotId, SlotState};

impl Dispatcher {
    /// Waits in the background for events that no lease waits for: full readiness, and OpenAPI.
    pub(super) fn follow_up(&mut self, slot: SlotId, lease: Option<u64>, since: Instant) {
        let Some(record) = self.slots.get_mut(&slot) else { return };
        let handle = Arc::clone(&record.handle);
        let sender = self.sender.clone();
        let beginnings = self.beginnings.clone();
        let follower = self.tasks.spawn(async move {
            beginnings.give_way().await;
            let followed = async {
                handle.follow_up_readiness().await?;
                handle.follow_openapi().await?;
                Ok::<_, SlotError>(())
            };
            let report = match followed.await {
                Ok(()) => TaskReport::OpenApiFollowed { slot, lease, lag_ms: milliseconds(since.elapsed()) },
                Err(error) => TaskReport::Died { slot, reason: with_causes(&error) },
            };
            let _ = sender.tell(Message::Report(report)).await;
        });
        record.follow(follower);
    }

    /// Waits in the background for the death of a cluster.
    pub(super) fn watch(&mut self, slot: SlotId, handle: &Arc<SlotHandle>) -> AbortHandle {
        let cluster = Arc::clone(handle.cluster());
        self.spawn(async move { TaskReport::Died { slot, reason: cluster.wait_died().await } })
    }

    /// Renews connections, and measures clusters. Frozen ones are left alone: they could not answer, and do not
    /// grow.
    pub(super) fn look_after_all(&mut self) {
        let slots: Vec<_> = self.pool.slots().collect();
        for (slot, state) in slots {
            if state == SlotState::Ready {
                self.keep_warm(slot);
            }
            if matches!(state, SlotState::Ready | SlotState::Leased(_)) {
                self.measure(slot);
            }
        }
    }

    pub(super) fn keep_warm(&mut self, slot: SlotId) {
        if let Some(handle) = self.handle_of(slot) {
            let beginnings = self.beginnings.clone();
            self.tasks.spawn(async move {
                beginnings.give_way().await;
                handle.keep_warm().await;
            });
        }
    }

    /// Begins work before the next lease that this would have to wait for.
    pub(super) fn forget_history(&mut self, slot: SlotId) {
        if let Some(handle) = self.handle_of(slot) {
            let beginnings = self.beginnings.clone();
            self.tasks.spawn(async move {
                beginnings.give_way().await;
                if let Err(error) = handle.forget_history().await {
                    tracing::warn!(error = with_causes(&error), "a compaction failed: tried again at the next lease");
                }
            });
        }
    }

    pub(super) fn measure(&mut self, slot: SlotId) {
        let Some(handle) = self.handle_of(slot) else { return };
        let sender = self.sender.clone();
        self.tasks.spawn(async move {
            // One that ended or was frozen meanwhile is measured another time.
            if let Ok(Some(size)) = handle.measure().await {
                let _ = sender.tell(Message::Report(TaskReport::Measured { slot, size })).await;
            }
        });
    }
}
