//! Leases that are just beginning. Work for later leases gives way to them for a moment: it would take the processors
//! from the first request of a test, which is what people wait for.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::watch;

/// Time limit for the first answer of a lease: a test that asks for nothing holds no work up.
const FIRST_ANSWER_TIMEOUT: Duration = Duration::from_millis(10);
/// The time for the client to take that answer in.
const ANSWER_READ_TIME: Duration = Duration::from_millis(3);
/// Time limit for giving way, also to many leases that begin one after another.
const GIVE_WAY_TIMEOUT: Duration = Duration::from_millis(20);

/// The number of leases that are beginning.
#[derive(Clone, Debug, Default)]
pub(super) struct Beginnings(Arc<watch::Sender<usize>>);

/// Counts a lease as beginning for as long as this lives.
#[derive(Debug)]
pub(super) struct Beginning(Beginnings);

impl Beginnings {
    pub(super) fn begin(&self) -> Beginning {
        self.0.send_modify(|count| *count += 1);
        Beginning(self.clone())
    }

    /// Waits until no lease is beginning, but not for long.
    pub(super) async fn give_way(&self) {
        let mut count = self.0.subscribe();
        // The sender lives as long as this.
        let _ = tokio::time::timeout(GIVE_WAY_TIMEOUT, count.wait_for(|count| *count == 0)).await;
    }
}

impl Beginning {
    /// Waits until the lease has had its first answer, but not for long.
    pub(super) async fn wait_answered(self, answered: impl Future<Output = ()>) {
        if tokio::time::timeout(FIRST_ANSWER_TIMEOUT, answered).await.is_ok() {
            tokio::time::sleep(ANSWER_READ_TIME).await;
        }
    }
}

impl Drop for Beginning {
    fn drop(&mut self) {
        self.0.0.send_modify(|count| *count -= 1);
    }
}

#[cfg(test)]
mod tests {
    use tokio::time::Instant;

    use super::*;

    #[tokio::test(start_paused = true)]
    async fn work_gives_way_to_leases_until_their_first_answers() {
        let beginnings = Beginnings::default();
        let start = Instant::now();
        beginnings.give_way().await;
        assert_eq!(start.elapsed(), Duration::ZERO);

        let [first, second] = [beginnings.begin(), beginnings.begin()];
        let answer = |after_ms| tokio::time::sleep(Duration::from_millis(after_ms));
        tokio::join!(first.wait_answered(answer(3)), second.wait_answered(answer(5)), async {
            beginnings.give_way().await;
            assert_eq!(start.elapsed(), Duration::from_millis(5) + ANSWER_READ_TIME);
        });
    }

    #[tokio::test(start_paused = true)]
    async fn work_never_gives_way_for_long() {
        let beginnings = Beginnings::default();
        let start = Instant::now();
        beginnings.begin().wait_answered(std::future::pending()).await;
        assert_eq!(start.elapsed(), FIRST_ANSWER_TIMEOUT);
        let _endless = beginnings.begin();
        beginnings.give_way().await;
        assert_eq!(start.elapsed(), FIRST_ANSWER_TIMEOUT + GIVE_WAY_TIMEOUT);
    }
}
