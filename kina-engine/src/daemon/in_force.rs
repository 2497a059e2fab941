//! Waiting, for a test, until the rules that it has written are in force.

use std::collections::BTreeSet;

use tokio::sync::oneshot;

use super::lease::HeldLeases;
use crate::error_text::with_causes;
use crate::protocol::{Refusal, RefusalKind, RuleKind};
use crate::rewind::RewindError;

/// Tells when rules of these kinds are in force on the cluster of a lease. Ends with the lease, and goes on when the
/// client has gone: canaries have to be taken away.
pub(super) fn start(
    leases: &HeldLeases,
    lease: u64,
    cluster: String,
    kinds: BTreeSet<RuleKind>,
) -> oneshot::Receiver<Result<(), Refusal>> {
    let (reply, answer) = oneshot::channel();
    let Some((network, handle)) = leases.find(lease, &cluster) else {
        // The receiver is here.
        let _ = reply.send(Err(refusal(lease, &cluster, &RewindError::LeaseEnded)));
        return answer;
    };
    tokio::spawn(async move {
        let result = handle.bring_in_force(&kinds, &|| !network.has_ended()).await;
        // The client may have gone.
        let _ = reply.send(result.map_err(|error| refusal(lease, &cluster, &error)));
    });
    answer
}

fn refusal(lease: u64, cluster: &str, error: &RewindError) -> Refusal {
    let kind = match error {
        RewindError::LeaseEnded | RewindError::NotInForce { .. } => RefusalKind::User,
        _ => RefusalKind::Engine,
    };
    Refusal { kind, message: format!("lease {lease} on {cluster}: {}", with_causes(error)) }
}
