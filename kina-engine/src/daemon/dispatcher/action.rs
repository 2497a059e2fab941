//! The pool's actions, each carried out by a task that reports.

use std::sync::Arc;
use std::time::Instant;

use super::Dispatcher;
use super::refusal::to_refusal;
use super::slot_record::SlotRecord;
use crate::cluster_name::cluster_name;
use crate::daemon::message::TaskReport;
use crate::daemon::metrics::{Metrics, StartedFrom};
use crate::daemon::slot::{SlotError, SlotHandle};
use crate::pool::{Action, DestroyCause, Layer, SlotId, SlotKey};
use crate::protocol::Refusal;
use crate::timings::ServedFrom;

impl Dispatcher {
    pub(super) fn carry_out(&mut self, action: Action) {
        match action {
            Action::Boot { slot, key } => self.boot(slot, &key),
            Action::Start { slot } => {
                let metrics = Arc::clone(&self.metrics);
                self.with_handle(slot, async move |handle| {
                    let result = timed(&metrics, StartedFrom::Stopped, handle.start()).await;
                    TaskReport::Restarted { slot, result }
                })
            }
            Action::Thaw { slot } => {
                let metrics = Arc::clone(&self.metrics);
                self.with_handle(slot, async move |handle| {
                    let result = timed(&metrics, StartedFrom::Frozen, handle.thaw()).await;
                    TaskReport::Thawed { slot, result }
                })
            }
            Action::HandOut { slot, waiter, layer } => {
                let from = self.count_hit(slot, layer);
                self.waits.chosen(waiter, from);
                self.stop_following(slot);
                self.with_handle(slot, async move |handle| {
                    // Before the gateway, although it is awaited later: it takes longest.
                    let proof = handle.begin_proof();
                    TaskReport::Opened { slot, waiter, result: handle.open_gateway().await, proof }
                });
            }
            Action::Rewind { slot, template } => self.rewind(slot, template),
            Action::Freeze { slot } => {
                self.with_handle(slot, async move |handle| TaskReport::Frozen { slot, result: handle.freeze().await })
            }
            Action::Stop { slot } => {
                // Its requests would get no answer, which is no fault of the cluster.
                self.stop_following(slot);
                self.with_handle(slot, async move |handle| TaskReport::Stopped { slot, result: handle.stop().await })
            }
            Action::Destroy { slot, cause } => self.destroy(slot, cause),
            Action::Refuse { waiter, refusal } => {
                let Refusal { kind, message } = to_refusal(refusal);
                self.refuse(waiter, kind, message);
            }
        }
    }

    pub(super) fn with_handle<Work>(&mut self, slot: SlotId, work: impl FnOnce(Arc<SlotHandle>) -> Work)
    where
        Work: Future<Output = TaskReport> + Send + 'static,
    {
        match self.handle_of(slot) {
            Some(handle) => self.spawn(work(handle)),
            None => self.spawn(async move { TaskReport::Died { slot, reason: "it has no cluster".to_owned() } }),
        };
    }

    fn boot(&mut self, slot: SlotId, key: &SlotKey) {
        let Some(spec) = self.specs.get(key).cloned() else {
            tracing::error!(?key, "bug: the pool wants a cluster of a kind that was never asked for");
            return;
        };
        self.cluster_count += 1;
        let name = cluster_name(std::process::id(), self.cluster_count);
        let booter = Arc::clone(&self.booter);
        let metrics = Arc::clone(&self.metrics);
        self.spawn(async move {
            let start = Instant::now();
            let result = booter.boot(name, &spec).await.map(Arc::new);
            match &result {
                Ok(handle) if handle.is_from_snapshot() => metrics.started(StartedFrom::Snapshot, start.elapsed()),
                Ok(_) => metrics.started(StartedFrom::Nothing, start.elapsed()),
                Err(_) => metrics.start_failed(StartedFrom::Nothing),
            }
            TaskReport::Booted { slot, result }
        });
    }

    fn destroy(&mut self, slot: SlotId, cause: DestroyCause) {
        tracing::debug!(?slot, ?cause, "a cluster is removed");
        self.metrics.evicted(cause);
        let remains = self.slots.remove(&slot).map(SlotRecord::into_remains);
        if let Some(lease) = remains.as_ref().and_then(|remains| remains.lease.as_ref()) {
            self.requests.remove(&lease.waiter);
        }
        self.spawn(async move {
            if let Some(mut remains) = remains {
                remains.close().await;
                remains.destroy().await;
            }
            TaskReport::Destroyed { slot }
        });
    }

    fn count_hit(&mut self, slot: SlotId, layer: Layer) -> ServedFrom {
        let hits = &mut self.counters.hits;
        let is_from_snapshot = self.slots.get(&slot).is_some_and(|record| record.handle.is_from_snapshot());
        let from = ServedFrom::new(layer, is_from_snapshot);
        let count = match from {
            ServedFrom::Ready => &mut hits.ready,
            ServedFrom::Rewound => &mut hits.rewound,
            ServedFrom::OtherTemplate => &mut hits.other_template,
            ServedFrom::Frozen => &mut hits.frozen,
            ServedFrom::Stopped => &mut hits.stopped,
            ServedFrom::Snapshot => &mut hits.snapshot,
            ServedFrom::Bootstrapped => &mut hits.bootstrapped,
        };
        *count += 1;
        self.timings.handed_out(slot, from);
        from
    }
}

/// Measures how long a cluster takes to become ready.
async fn timed(
    metrics: &Metrics,
    from: StartedFrom,
    starting: impl Future<Output = Result<(), SlotError>>,
) -> Result<(), SlotError> {
    let start = Instant::now();
    let result = starting.await;
    match &result {
        Ok(()) => metrics.started(from, start.elapsed()),
        Err(_) => metrics.start_failed(from),
    }
    result
}
