//! Requests that an earlier lease may have left running in an API server, and their end.
//!
//! A rewind restores the stored state. It proves nothing as long as a request of the lease can still write. So before
//! the last comparison of a rewind, all connections of the lease are read to their end, and if a request may have
//! outlived its connection, the API server is asked for the stacks of all its goroutines. If a request does not end by
//! itself, the API server is restarted, which ends everything.
//!
//! A look costs an API server about ten milliseconds of CPU time, several times the cost of an ordinary rewind. So
//! looks are taken only if the gateway's observers, or the end of controllers, give a reason.
//!
//! - `left_behind`: the remains of earlier users, as known at the end of a lease.
//! - `profile`: the request for the stacks.
//! - `stacks`: their meaning. Pure.

mod left_behind;
mod profile;
mod stacks;

use std::time::{Duration, Instant};

pub(crate) use self::left_behind::LeftBehind;
pub(crate) use self::profile::ProfileError;
use crate::api_client::ApiClient;
use crate::provider::ProvidedCluster;
use crate::sabotage::{self, Part};

/// The time that requests have to end by themselves after the end of their lease.
const END_TIMEOUT: Duration = Duration::from_millis(250);
/// The pause between two looks. Requests of the engine, or of the API server itself, that show in one look are gone in
/// the next.
const LOOK_INTERVAL: Duration = Duration::from_millis(20);
/// The number of consecutive looks that must show something before it counts as not ending.
const LOOKS_BEFORE_RESTART: u32 = 2;
/// The number of looks after which the next one that shows something is the last.
const LOOKS_MAX: u32 = 100;

/// The result of waiting for the remains of a lease.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum End {
    /// Nothing runs any more.
    Come,
    /// Something does not end: the API server has to be restarted.
    NeedsRestart,
}

/// Waits until nothing of it runs any more, or until the time for that is over.
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
        tracing::info!("a connection of an ended lease does not close: restarting the API server");
        return Ok(End::NeedsRestart);
    }
    let (mut clean_looks, mut other_looks, mut all_looks) = (0, 0, 0);
    // Ends with enough clean looks in a row, with enough others in a row after the deadline, or with a restart after too
    // many of either.
    while clean_looks < left_behind.looks() {
        if 0 < all_looks {
            tokio::time::sleep(LOOK_INTERVAL).await;
        }
        all_looks += 1;
        let profile = profile::take(&cluster.goroutine_profile(), api).await?;
        match stacks::at_work(&profile) {
            None => (clean_looks, other_looks) = (clean_looks + 1, 0),
            Some(function) => {
                (clean_looks, other_looks) = (0, other_looks + 1);
                tracing::debug!(function, other_looks, "something still runs in the API server");
                let is_over = LOOKS_BEFORE_RESTART <= other_looks && deadline < Instant::now();
                if is_over || LOOKS_MAX <= all_looks {
                    tracing::info!(function, "work of an ended lease still runs in the API server: restarting it");
                    return Ok(End::NeedsRestart);
                }
            }
        }
    }
    Ok(End::Come)
}
