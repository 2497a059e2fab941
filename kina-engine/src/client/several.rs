//! Several leases at once, without clients that wait for each other's clusters.
//!
//! Two clients that each hold a cluster and wait for another could wait for each other forever. So a client that needs
//! several takes a ticket first, of which there is one: a lock on a file beside the engine's socket, released when its
//! process ends. It holds the ticket until it has all its clusters. Clients that need one cluster never wait while they
//! hold one.

use std::fs::{File, TryLockError};
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;
use std::time::{Duration, Instant};

use super::EngineClient;
use super::connection::{ClientError, Lease};
use crate::fixtures::FixtureSet;
use crate::protocol::AcquireRequest;

/// Contention is rare, and every wait for the ticket takes longer than this.
const POLL_INTERVAL: Duration = Duration::from_millis(10);
/// Time after which a waiting client reports the reason.
const PATIENCE: Duration = Duration::from_secs(10);

impl EngineClient {
    /// Requests `count` leases of the same kind, starting the engine if necessary. All or none.
    ///
    /// # Errors
    /// As for [`Self::acquire_from`]; if the engine never runs so many clusters; and if other clients that request
    /// several take longer than this one's time limit.
    pub async fn acquire_several(
        &self,
        mut request: AcquireRequest,
        count: usize,
        template: &FixtureSet,
        progress: &(dyn Fn(&str) + Send + Sync),
    ) -> Result<Vec<Lease>, ClientError> {
        if count == 0 {
            return Ok(Vec::new());
        }
        if count == 1 {
            return Ok(vec![self.acquire_from(request, template, progress).await?]);
        }
        let was_known = self.expect_room(count).await?;
        let start = Instant::now();
        let timeout = Duration::from_millis(request.timeout_ms);
        let _ticket = self.take_ticket(timeout, progress).await?;
        let waited_ms = u64::try_from(start.elapsed().as_millis()).unwrap_or(u64::MAX);
        request.timeout_ms = request.timeout_ms.saturating_sub(waited_ms).max(1);
        let mut leases = Vec::new();
        while leases.len() < count {
            leases.push(self.acquire_from(request.clone(), template, progress).await?);
            if !was_known && leases.len() == 1 {
                // An engine runs now, so its limit is known.
                self.expect_room(count).await?;
            }
        }
        Ok(leases)
    }

    /// Checks that the engine may run so many clusters. `false` if no engine runs.
    async fn expect_room(&self, count: usize) -> Result<bool, ClientError> {
        let Some(status) = self.status(false).await? else { return Ok(false) };
        let slots_max = status.high_water.slots_max;
        if count <= slots_max {
            return Ok(true);
        }
        Err(ClientError::TooManyClusters { count, slots_max })
    }

    async fn take_ticket(
        &self,
        timeout: Duration,
        progress: &(dyn Fn(&str) + Send + Sync),
    ) -> Result<File, ClientError> {
        let path = &self.paths.ticket_lock;
        let start = Instant::now();
        let mut was_told = false;
        loop {
            if let Some(ticket) = try_take(path).map_err(|source| ClientError::Lock { path: path.clone(), source })? {
                return Ok(ticket);
            }
            if timeout <= start.elapsed() {
                return Err(ClientError::NoTicket { waited_seconds: timeout.as_secs() });
            }
            if !was_told && PATIENCE <= start.elapsed() {
                was_told = true;
                progress("waiting until other tests that take several clusters each have theirs");
            }
            tokio::time::sleep(POLL_INTERVAL).await;
        }
    }
}

fn try_take(path: &Path) -> std::io::Result<Option<File>> {
    let file = std::fs::OpenOptions::new().create(true).truncate(false).write(true).mode(0o600).open(path)?;
    match file.try_lock() {
        Ok(()) => Ok(Some(file)),
        Err(TryLockError::WouldBlock) => Ok(None),
        Err(TryLockError::Error(error)) => Err(error),
    }
}
