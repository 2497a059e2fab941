use std::io;
use std::sync::Arc;

use tokio::sync::{Semaphore, oneshot};

use super::room::Admitted;

/// The large templates that are read at once. A document is several times as large while it is parsed.
const LARGE_AT_ONCE_MAX: usize = 1;
/// The small templates that are read at once.
const SMALL_AT_ONCE_MAX: usize = 2;
/// The niceness of a thread that reads a large template: it takes seconds of a processor, for which leases do not wait.
#[cfg(target_os = "linux")]
const NICENESS_OF_LARGE: i32 = 10;

/// Reads templates on threads of its own, so that the runtime's serve leases meanwhile.
#[derive(Clone, Debug)]
pub(crate) struct TemplateReader {
    small: Arc<Semaphore>,
    large: Arc<Semaphore>,
}

/// The reason for which a template was not read.
#[derive(Debug, thiserror::Error)]
pub(crate) enum NotRead {
    /// No thread for it.
    #[error("starting a thread that reads the template failed")]
    NoThread(#[from] io::Error),
    /// A bug.
    #[error("reading the template panicked")]
    Panicked,
}

impl TemplateReader {
    pub(crate) fn new() -> Self {
        Self { small: Arc::new(Semaphore::new(SMALL_AT_ONCE_MAX)), large: Arc::new(Semaphore::new(LARGE_AT_ONCE_MAX)) }
    }

    /// Does a part of the work on a template. What has begun goes on if this is dropped.
    ///
    /// # Errors
    /// If there is no thread for it, or it panics.
    async fn run<Done: Send + 'static>(
        &self,
        is_large: bool,
        work: impl FnOnce() -> Done + Send + 'static,
    ) -> Result<Done, NotRead> {
        let turns = if is_large { &self.large } else { &self.small };
        // The semaphore is never closed.
        let turn = Arc::clone(turns).acquire_owned().await.map_err(|_| NotRead::Panicked)?;
        let (done, outcome) = oneshot::channel();
        let thread = std::thread::Builder::new().name("kina-template".to_owned());
        thread.spawn(move || {
            if is_large {
                give_way();
            }
            let outcome = work();
            drop(turn);
            // The client may have gone.
            let _ = done.send(outcome);
        })?;
        outcome.await.map_err(|_| NotRead::Panicked)
    }
}

impl<Content: Send + 'static> Admitted<Content> {
    /// Has a part of the work on the template done by the reader.
    ///
    /// # Errors
    /// As for [`TemplateReader::run`].
    pub(crate) async fn read<Done: Send + 'static>(
        self,
        reader: &TemplateReader,
        work: impl FnOnce(Self) -> Done + Send + 'static,
    ) -> Result<Done, NotRead> {
        reader.run(self.reservation.is_large(), move || work(self)).await
    }
}

/// Lowers the priority of this thread.
fn give_way() {
    // On Linux this is about the calling thread, elsewhere about the process. Without it, it only takes more from others.
    #[cfg(target_os = "linux")]
    let _ = rustix::process::setpriority_process(None, NICENESS_OF_LARGE);
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[tokio::test]
    async fn large_templates_are_read_one_at_a_time_and_small_ones_meanwhile() {
        let reader = TemplateReader::new();
        let (go_on, held_back) = std::sync::mpsc::channel::<()>();
        let first = tokio::spawn({
            let reader = reader.clone();
            async move { reader.run(true, move || held_back.recv_timeout(Duration::from_secs(60))).await }
        });
        // It has its turn.
        while 0 < reader.large.available_permits() {
            tokio::task::yield_now().await;
        }
        let mut second = Box::pin(reader.run(true, || "second"));
        assert!(futures::poll!(&mut second).is_pending());
        assert_eq!(reader.run(false, || "small").await.expect("read"), "small");
        go_on.send(()).expect("it waits");
        assert_eq!(first.await.expect("joined").expect("read"), Ok(()));
        assert_eq!(second.await.expect("read"), "second");
    }

    #[tokio::test]
    async fn a_panic_is_told_and_gives_its_turn_back() {
        let reader = TemplateReader::new();
        let panicked = reader.run(true, || panic!("on purpose")).await;
        assert!(matches!(panicked, Err::<(), _>(NotRead::Panicked)));
        assert_eq!(reader.run(true, || 3).await.expect("read"), 3);
    }
}
