use std::time::Instant;

use crate::gateway::Draining;

/// The number of consecutive looks that must show nothing once every connection was read to its end.
const LOOKS_AFTER_DRAINING: u32 = 1;
/// The same after controllers were killed. Their connections are not read to the end, so the API server may handle the
/// last requests in its buffers a moment after the senders are gone.
const LOOKS_AFTER_KILLING: u32 = 2;

/// Requests of earlier users that may still run in an API server.
#[derive(Clone, Debug, Default)]
pub(crate) struct LeftBehind {
    gateways: Vec<Draining>,
    /// The number of looks to take even if the gateways give no reason.
    looks: u32,
    /// The time at which the last of these users had to stop.
    since: Option<Instant>,
}

impl LeftBehind {
    /// The remains of the clients of a gateway that was closed just now.
    pub(crate) fn of_gateway(draining: Draining) -> Self {
        Self { gateways: vec![draining], looks: 0, since: Some(Instant::now()) }
    }

    /// The remains of a lease that nothing is known about.
    pub(crate) fn unknown() -> Self {
        Self { gateways: Vec::new(), looks: LOOKS_AFTER_DRAINING, since: Some(Instant::now()) }
    }

    /// The remains of controllers that were killed just now.
    pub(crate) fn of_killed_controllers() -> Self {
        Self { gateways: Vec::new(), looks: LOOKS_AFTER_KILLING, since: Some(Instant::now()) }
    }

    /// Adds the remains of other users.
    pub(crate) fn add(&mut self, more: Self) {
        self.gateways.extend(more.gateways);
        self.looks = self.looks.max(more.looks);
        self.since = self.since.max(more.since);
    }

    /// Returns true if nothing was left behind at all.
    pub(crate) fn is_nothing(&self) -> bool {
        self.gateways.is_empty() && self.looks == 0
    }

    /// Returns true if something of it may have written since.
    pub(crate) fn may_have_written(&self) -> bool {
        0 < self.looks || self.gateways.iter().any(Draining::may_have_written)
    }

    pub(super) fn since(&self) -> Instant {
        self.since.unwrap_or_else(Instant::now)
    }

    /// Waits until every connection was read to its end.
    pub(super) async fn wait_drained(&self) {
        for draining in &self.gateways {
            draining.wait_ended().await;
        }
    }

    /// Returns the number of consecutive looks that must show nothing, now that every connection was read to its end.
    pub(super) fn looks(&self) -> u32 {
        let may_still_run = self.gateways.iter().any(Draining::may_still_run);
        self.looks.max(if may_still_run { LOOKS_AFTER_DRAINING } else { 0 })
    }
}
