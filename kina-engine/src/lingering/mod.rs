//! Requests that an earlier lease may have left running in an API server, and their end.
//!
//! A rewind puts back what is stored. It proves nothing as long as something that a lease has begun can still write. So
//! before the last comparison of a rewind all connections of the lease are read to their end, and where a request may
//! have outlived its connection, the API server is asked for the stacks of all its goroutines. If something does not end
//! by itself, the API server is restarted, which ends everything.
//!
//! A look takes an API server about ten milliseconds of processor time, several times what an ordinary rewind takes it.
//! So it is taken only where the gateway's observers, or the end of controllers, give a reason.
//!
//! - `left_behind`: what is known when a lease ends.
//! - `profile`: asking for the stacks. `stacks`: what they say. Pure.

mod left_behind;
mod profile;
mod stacks;

use std::time::{Duration, Instant};

pub(crate) use self::left_behind::LeftBehind;
pub(crate) use self::profile::ProfileError;
use crate::api_client::ApiClient;
use crate::provider::ProvidedCluster;
use crate::sabotage::{self, Part};

/// Time that requests have to end by themselves after the end of their lease.
const END_TIMEOUT: Duration = Duration::from_millis(250);
/// Between two looks. What a request of the engine, or of the API server itself, shows in one is gone in the next.
const LOOK_INTERVAL: Duration = Duration::from_millis(20);
/// So many looks in a row have to show something before it counts as not ending.
const LOOKS_BEFORE_RESTART: u32 = 2;

/// The end of what was left behind.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum End {
    /// Nothing runs any more.
    Come,
    /// Something would run on: the API server has to be restarted.
    NeedsRestart,
}

/// Waits until nothing of it runs any more, for as long as it may take.
pub(crate) async fn wait_ended(
    left_behind: &LeftBehind,
    cluster: &dyn ProvidedCluster,
    api: &ApiClient,
) -> Result<End, ProfileError> {
    if sabotage::is_off(Part::Lingering) {
        return Ok(End::Come);
    }
    let deadline = left_behind.since() + END_TIMEOUT;
    if tokio::time::timeout_at(deadline.into(), left_behind.wait_drained()).await.is_err() {
        tracing::info!("a connection of a lease that has ended does not end: the API server is restarted");
        return Ok(End::NeedsRestart);
    }
    let (mut clean_looks, mut other_looks) = (0, 0);
    // Bounded: every other look brings the end nearer, one way or the other.
    while clean_looks < left_behind.looks() {
        if 0 < clean_looks + other_looks {
            tokio::time::sleep(LOOK_INTERVAL).await;
        }
        let profile = profile::take(&cluster.goroutine_profile(), api).await?;
        match stacks::at_work(&profile) {
            None => (clean_looks, other_looks) = (clean_looks + 1, 0),
            Some(function) => {
                (clean_looks, other_looks) = (0, other_looks + 1);
                tracing::debug!(function, other_looks, "something still runs in the API server");
                if LOOKS_BEFORE_RESTART <= other_looks && deadline < Instant::now() {
                    tracing::info!(function, "a lease has left this running: the API server is restarted");
                    return Ok(End::NeedsRestart);
                }
            }
        }
    }
    Ok(End::Come)
}
