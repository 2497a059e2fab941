//! Calls that boot something, one at a time.
//!
//! The service holds one lock during a create, during the whole boot of a virtual machine and during the start of any
//! process. Some of its time limits count the wait for that lock. So calls wait here instead, in order.

use std::time::Duration;

use tokio::sync::{Semaphore, SemaphorePermit};

/// The queue of calls that boot.
#[derive(Debug)]
pub(super) struct BootQueue {
    turns: Semaphore,
    wait_max: Duration,
}

/// The permission to boot, held during the call.
pub(super) type Turn<'a> = SemaphorePermit<'a>;

/// The calls in front took too long.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct TooSlow {
    pub(super) waited: Duration,
}

impl BootQueue {
    pub(super) fn new(wait_max: Duration) -> Self {
        Self { turns: Semaphore::new(1), wait_max }
    }

    /// Waits for a turn, which lasts until it is dropped. First come, first served.
    pub(super) async fn turn(&self) -> Result<Turn<'_>, TooSlow> {
        match tokio::time::timeout(self.wait_max, self.turns.acquire()).await {
            // The semaphore is never closed.
            Ok(Ok(turn)) => Ok(turn),
            Ok(Err(_)) | Err(_) => Err(TooSlow { waited: self.wait_max }),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::{Arc, Mutex};

    use super::*;

    #[tokio::test(start_paused = true)]
    async fn one_at_a_time_in_order_and_not_for_ever() {
        let queue = Arc::new(BootQueue::new(Duration::from_secs(10)));
        let order = Arc::new(Mutex::new(Vec::new()));
        let callers = (0..3).map(|number| {
            let (queue, order) = (Arc::clone(&queue), Arc::clone(&order));
            async move {
                let _turn = queue.turn().await?;
                order.lock().expect("not poisoned").push(("begins", number));
                tokio::time::sleep(Duration::from_secs(6)).await;
                order.lock().expect("not poisoned").push(("ends", number));
                Ok::<_, TooSlow>(())
            }
        });
        let outcomes = futures::future::join_all(callers).await;
        // The third would have begun after twelve seconds.
        assert_eq!(outcomes, [Ok(()), Ok(()), Err(TooSlow { waited: Duration::from_secs(10) })]);
        assert_eq!(*order.lock().expect("not poisoned"), [("begins", 0), ("ends", 0), ("begins", 1), ("ends", 1)]);
        drop(queue.turn().await.expect("free again"));
    }
}
