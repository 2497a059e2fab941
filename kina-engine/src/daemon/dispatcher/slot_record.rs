//! All that the dispatcher has of one slot, from the boot of its cluster until this is destroyed.

use std::sync::Arc;
use std::time::Instant;

use tokio::task::{AbortHandle, JoinHandle};

use crate::daemon::lease_files::LeaseFiles;
use crate::daemon::slot::SlotHandle;
use crate::error_text::with_causes;
use crate::gateway::{Draining, NetworkControl, OpenGateway};
use crate::lingering::LeftBehind;
use crate::pool::WaiterId;
use crate::protocol::LeaseStatus;

/// A slot with a cluster.
pub(super) struct SlotRecord {
    pub(super) handle: Arc<SlotHandle>,
    /// The lease that it has.
    pub(super) lease: Option<ActiveLease>,
    /// The lease that has ended, until the slot is rewound.
    pub(super) release: Option<Release>,
    /// Waits for events that no lease waits for.
    follower: Option<AbortHandle>,
    /// Waits for the death of the cluster, and holds it for as long.
    watcher: AbortHandle,
}

/// A lease that lasts.
pub(super) struct ActiveLease {
    pub(super) waiter: WaiterId,
    pub(super) number: u64,
    pub(super) gateway: OpenGateway,
}

/// A lease that has ended.
pub(super) struct Release {
    pub(super) lease: u64,
    pub(super) since: Instant,
    pub(super) network: NetworkControl,
    /// Present until the rewind waits for it.
    pub(super) closing: Option<Closing>,
}

/// A slot that is given up.
pub(super) struct Remains {
    handle: Arc<SlotHandle>,
    pub(super) lease: Option<ActiveLease>,
    release: Option<Release>,
}

/// The end of a lease: nothing of it can reach the cluster any more, and its files are gone.
pub(super) struct Closing(JoinHandle<Draining>);

impl SlotRecord {
    pub(super) fn new(handle: Arc<SlotHandle>, watcher: AbortHandle) -> Self {
        Self { handle, lease: None, release: None, follower: None, watcher }
    }

    /// Has events followed up by this task, and no longer by the one before.
    pub(super) fn follow(&mut self, follower: AbortHandle) {
        if let Some(before) = self.follower.replace(follower) {
            before.abort();
        }
    }

    pub(super) fn stop_following(&mut self) {
        if let Some(follower) = self.follower.take() {
            follower.abort();
        }
    }

    pub(super) fn lease_status(&self) -> Option<LeaseStatus> {
        let ActiveLease { number, gateway, .. } = self.lease.as_ref()?;
        let network = gateway.network();
        Some(LeaseStatus { lease: *number, network: network.describe(), traffic: network.traffic(), holder: None })
    }

    /// Cuts the lease off at once, no matter when its cluster is rewound. Returns false if there is none.
    pub(super) fn end_lease(&mut self, files: &LeaseFiles) -> bool {
        let Some(lease) = self.lease.take() else { return false };
        self.release = Some(Release::new(lease, files.clone()));
        true
    }

    /// Ends the work for the cluster. What is left is the cluster itself, and its lease.
    pub(super) fn into_remains(self) -> Remains {
        for task in self.follower.into_iter().chain([self.watcher]) {
            task.abort();
        }
        Remains { handle: self.handle, lease: self.lease, release: self.release }
    }
}

impl Remains {
    /// Cuts off the lease, if one lasts or has just ended.
    pub(super) async fn close(&mut self) {
        if let Some(closing) = self.release.take().and_then(|release| release.closing) {
            closing.wait().await;
        }
        if let Some(lease) = self.lease.take() {
            lease.gateway.close().await;
        }
    }

    /// Ends the cluster.
    pub(super) async fn destroy(&self) {
        let Self { handle, .. } = self;
        if let Err(error) = handle.cluster().destroy().await {
            tracing::warn!(cluster = handle.name(), error = with_causes(&error), "destroying a cluster left something");
        }
    }
}

impl Release {
    fn new(lease: ActiveLease, files: LeaseFiles) -> Self {
        let ActiveLease { number, gateway, .. } = lease;
        let network = gateway.network().clone();
        let closing = async move { tokio::join!(gateway.close(), files.remove(number)).0 };
        let closing = Some(Closing(tokio::spawn(closing)));
        Self { lease: number, since: Instant::now(), network, closing }
    }
}

impl Closing {
    /// Waits for it. Returns the lease's requests that may still run.
    pub(super) async fn wait(self) -> LeftBehind {
        // An error means that closing panicked; its connections are gone all the same.
        self.0.await.map_or_else(|_| LeftBehind::unknown(), LeftBehind::of_gateway)
    }
}
