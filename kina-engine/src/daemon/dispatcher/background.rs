//! Background work.

use std::sync::Arc;
use std::time::Instant;

use super::{Dispatcher, Message, Outcome, milliseconds};
use crate::daemon::slot::{SlotError, SlotHandle};
use crate::error_text::with_causes;
use crate::pool::{SlotId, SlotState};

impl Dispatcher {
    /// Waits in the background for events that no lease waits for: full readiness, and OpenAPI.
    pub(super) fn follow_up(&mut self, slot: SlotId, lease: Option<u64>, since: Instant) {
        let Some(handle) = self.handles.get(&slot).cloned() else { return };
        let messages = self.messages.clone();
        let follower = self.tasks.spawn(async move {
            let followed = async {
                handle.follow_up_readiness().await?;
                handle.follow_openapi().await?;
                Ok::<_, SlotError>(())
            };
            let outcome = match followed.await {
                Ok(()) => Outcome::OpenApiFollowed { slot, lease, lag_ms: milliseconds(since.elapsed()) },
                Err(error) => Outcome::Died { slot, reason: with_causes(&error) },
            };
            let _ = messages.send(Message::Outcome(outcome)).await;
        });
        if let Some(before) = self.followers.insert(slot, follower) {
            before.abort();
        }
    }

    pub(super) fn watch(&mut self, slot: SlotId, handle: &Arc<SlotHandle>) {
        let cluster = Arc::clone(handle.cluster());
        let watcher = self.spawn(async move { Outcome::Died { slot, reason: cluster.wait_died().await } });
        self.watchers.insert(slot, watcher);
    }

    /// Lets go of a slot's cluster.
    pub(super) fn forget(&mut self, slot: SlotId) -> Option<Arc<SlotHandle>> {
        for task in [self.followers.remove(&slot), self.watchers.remove(&slot)].into_iter().flatten() {
            task.abort();
        }
        self.handles.remove(&slot)
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
        if let Some(handle) = self.handles.get(&slot).cloned() {
            self.tasks.spawn(async move { handle.keep_warm().await });
        }
    }

    /// Begins work before the next lease that this would have to wait for.
    pub(super) fn forget_history(&mut self, slot: SlotId) {
        if let Some(handle) = self.handles.get(&slot).cloned() {
            self.tasks.spawn(async move {
                if let Err(error) = handle.forget_history().await {
                    tracing::warn!(error = with_causes(&error), "a compaction failed: tried again at the next lease");
                }
            });
        }
    }

    pub(super) fn measure(&mut self, slot: SlotId) {
        let Some(handle) = self.handles.get(&slot).cloned() else { return };
        let messages = self.messages.clone();
        self.tasks.spawn(async move {
            // One that ended or was frozen meanwhile is measured another time.
            if let Ok(Some(size)) = handle.measure().await {
                let _ = messages.send(Message::Outcome(Outcome::Measured { slot, size })).await;
            }
        });
    }
}
