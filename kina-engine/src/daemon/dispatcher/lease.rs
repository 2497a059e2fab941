//! The beginning and the end of a lease.

use std::sync::Arc;
use std::time::Instant;

use tokio::task::JoinHandle;

use super::{Dispatcher, Outcome};
use crate::daemon::lease::{Lease, LeaseOwner};
use crate::daemon::lease_files::LeaseFiles;
use crate::daemon::metrics::Verification;
use crate::error_text::with_causes;
use crate::gateway::{Admission, Draining, GatewayCredentials, GatewayError, NetworkControl, OpenGateway};
use crate::lingering::LeftBehind;
use crate::pool::{Event, SlotId, WaiterId};
use crate::protocol::{LeaseStatus, RefusalKind};
use crate::timings::Outcome as TimingOutcome;

/// A lease that lasts.
pub(super) struct ActiveLease {
    pub(super) slot: SlotId,
    pub(super) lease: u64,
    pub(super) gateway: OpenGateway,
}

/// A lease that has ended, on its way to the next.
pub(crate) struct Release {
    pub(super) lease: u64,
    pub(super) since: Instant,
    pub(super) network: NetworkControl,
    /// Ends when nothing of the lease can reach the cluster any more, and its files are gone.
    closing: Option<JoinHandle<Draining>>,
}

impl Dispatcher {
    pub(super) fn opened(
        &mut self,
        slot: SlotId,
        waiter: WaiterId,
        result: Result<(OpenGateway, Admission, GatewayCredentials), GatewayError>,
    ) {
        let (gateway, admission, credentials) = match result {
            Ok(opened) => opened,
            Err(error) => {
                self.refuse(waiter, RefusalKind::Engine, with_causes(&error));
                self.broke(slot, &with_causes(&error));
                return;
            }
        };
        let Some(handle) = self.handles.get(&slot).cloned() else {
            self.refuse(waiter, RefusalKind::Engine, "the cluster ended while it was handed out".to_owned());
            return;
        };
        self.counters.leases += 1;
        let number = self.numbers.next_lease();
        self.timings.granted(slot, number);
        let lease = Lease {
            number,
            owner: LeaseOwner::Dispatcher,
            cluster: Arc::clone(&handle),
            credentials,
            network: gateway.network().clone(),
            directory: self.lease_files.directory_of(number),
        };
        self.traffic.open(gateway.network().traffic_counter());
        self.leases.insert(waiter, ActiveLease { slot, lease: number, gateway });
        let unproven = self.waits.granted(waiter);
        let metrics = Arc::clone(&self.metrics);
        self.spawn(async move {
            let outcome = match handle.prove().await {
                Ok(late_writes) => {
                    admission.admit();
                    metrics.not_pristine(Verification::Rewound, late_writes);
                    if let Some(unproven) = unproven {
                        unproven.proven();
                    }
                    Outcome::Proven { late_writes }
                }
                Err(error) => {
                    metrics.not_pristine(Verification::Replaced, u64::from(error.is_not_pristine()));
                    Outcome::Died { slot, reason: with_causes(&error) }
                }
            };
            if let Err(error) = handle.prepare_gateway().await {
                tracing::warn!(
                    error = with_causes(&error),
                    "the next gateway could not be prepared: tried again later"
                );
            }
            outcome
        });
        let is_taken = self.waiting.remove(&waiter).is_some_and(|reply| reply.send(Ok(lease)).is_ok());
        if !is_taken {
            // The client went while its gateway was being opened.
            self.left(waiter);
        }
    }

    pub(super) fn left(&mut self, waiter: WaiterId) {
        self.timings.left(waiter, TimingOutcome::Left);
        if self.waiting.remove(&waiter).is_some() {
            self.waits.gone(waiter);
            self.feed(Event::WaiterLeft { waiter });
            return;
        }
        let Some(ActiveLease { slot, lease, gateway }) = self.leases.remove(&waiter) else { return };
        self.ended.insert(slot, Release::new(lease, gateway, self.lease_files.clone()));
        self.feed(Event::Released { slot });
    }
}

impl ActiveLease {
    pub(super) fn status(&self) -> LeaseStatus {
        let network = self.gateway.network();
        LeaseStatus { lease: self.lease, network: network.describe(), traffic: network.traffic(), holder: None }
    }
}

impl Release {
    /// Cuts the lease off at once, no matter when its cluster is rewound.
    fn new(lease: u64, gateway: OpenGateway, files: LeaseFiles) -> Self {
        let network = gateway.network().clone();
        let closing = async move { tokio::join!(gateway.close(), files.remove(lease)).0 };
        Self { lease, since: Instant::now(), network, closing: Some(tokio::spawn(closing)) }
    }

    /// Waits until the lease is cut off and its files are gone. Returns its requests that may still run, to the first
    /// caller only.
    pub(super) async fn wait_closed(&mut self) -> LeftBehind {
        let Some(closing) = self.closing.take() else { return LeftBehind::default() };
        // An error means that closing panicked; its connections are gone all the same.
        closing.await.map_or_else(|_| LeftBehind::unknown(), LeftBehind::of_gateway)
    }
}
