//! The beginning and the end of a lease, and the refusal of one.

use std::sync::Arc;

use super::slot_record::ActiveLease;
use super::{Dispatcher, Request};
use crate::daemon::lease::{Lease, LeaseOwner};
use crate::daemon::message::TaskReport;
use crate::daemon::metrics::Verification;
use crate::daemon::slot::Proof;
use crate::error_text::with_causes;
use crate::gateway::{Admission, GatewayCredentials, GatewayError, OpenGateway};
use crate::pool::{Event, SlotId, WaiterId};
use crate::protocol::{Refusal, RefusalKind};
use crate::timings::WaitEnd;

impl Dispatcher {
    pub(super) fn opened(
        &mut self,
        slot: SlotId,
        waiter: WaiterId,
        result: Result<(OpenGateway, Admission, GatewayCredentials), GatewayError>,
        proof: Proof,
    ) {
        let (gateway, admission, credentials) = match result {
            Ok(opened) => opened,
            Err(error) => {
                self.refuse(waiter, RefusalKind::Engine, with_causes(&error));
                self.broke(slot, &with_causes(&error));
                return;
            }
        };
        let Some(record) = self.slots.get_mut(&slot) else {
            self.refuse(waiter, RefusalKind::Engine, "the cluster ended while it was handed out".to_owned());
            return;
        };
        let handle = Arc::clone(&record.handle);
        let (beginning, beginnings) = (self.beginnings.begin(), self.beginnings.clone());
        let answered = gateway.wait_answered();
        self.counters.leases += 1;
        let number = self.numbers.next_lease();
        self.timings.granted(slot, number);
        let lease = Lease {
            number,
            owner: LeaseOwner::Dispatcher,
            cluster: Arc::clone(&handle),
            credentials,
            network: gateway.network().clone(),
            unix_entry: gateway.unix_entry().clone(),
            directory: self.lease_files.directory_of(number),
        };
        self.traffic.open(gateway.network().traffic_counter());
        record.lease = Some(ActiveLease { waiter, number, gateway });
        let unproven = self.waits.granted(waiter);
        let metrics = Arc::clone(&self.metrics);
        self.spawn(async move {
            let report = match proof.wait().await {
                Ok(late_writes) => {
                    admission.admit();
                    metrics.not_pristine(Verification::Rewound, late_writes);
                    if let Some(unproven) = unproven {
                        unproven.proven();
                    }
                    TaskReport::Proven { late_writes }
                }
                Err(error) => {
                    metrics.not_pristine(Verification::Replaced, u64::from(error.is_not_pristine()));
                    TaskReport::Died { slot, reason: with_causes(&error) }
                }
            };
            beginning.wait_answered(answered).await;
            beginnings.give_way().await;
            if let Err(error) = handle.prepare_gateway().await {
                tracing::warn!(
                    error = with_causes(&error),
                    "the next gateway could not be prepared: tried again later"
                );
            }
            report
        });
        let is_taken = match self.requests.insert(waiter, Request::Leased(slot)) {
            Some(Request::Waiting(reply)) => reply.send(Ok(lease)).is_ok(),
            _ => false,
        };
        if !is_taken {
            // The client went while its gateway was being opened.
            self.left(waiter);
        }
    }

    pub(super) fn left(&mut self, waiter: WaiterId) {
        self.timings.left(waiter, WaitEnd::Left);
        match self.requests.remove(&waiter) {
            Some(Request::Waiting(_)) => {
                self.waits.gone(waiter);
                self.feed(Event::WaiterLeft { waiter });
            }
            Some(Request::Leased(slot)) => {
                let record = self.slots.get_mut(&slot);
                let has_ended = record.is_some_and(|record| record.end_lease(&self.lease_files));
                if has_ended {
                    self.feed(Event::Released { slot });
                }
            }
            None => {}
        }
    }

    pub(super) fn refuse(&mut self, waiter: WaiterId, kind: RefusalKind, message: String) {
        self.timings.left(waiter, WaitEnd::Refused);
        if let Some(Request::Waiting(reply)) = self.requests.remove(&waiter) {
            self.waits.refused(waiter, kind);
            // The client may have gone.
            let _ = reply.send(Err(Refusal { kind, message }));
        }
    }
}
