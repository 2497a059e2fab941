//! A bounded number of open files.

use std::sync::Arc;

use tokio::sync::{OwnedSemaphorePermit, Semaphore};

/// The least share: a connection of a gateway takes two.
const FILES_MIN: u64 = 2;

/// The open files that one kind of connections may have at a time.
#[derive(Clone, Debug)]
pub(crate) struct Share(Arc<Semaphore>);

/// Open files that count as taken until this is dropped.
#[derive(Debug)]
pub(crate) struct Files(Option<OwnedSemaphorePermit>);

impl Share {
    pub(super) fn new(files: u64) -> Self {
        let files = usize::try_from(files.max(FILES_MIN)).unwrap_or(Semaphore::MAX_PERMITS);
        Self(Arc::new(Semaphore::new(files.min(Semaphore::MAX_PERMITS))))
    }

    /// Takes files if so many are free, and if no earlier one waits for any.
    pub(crate) fn try_take(&self, files: u32) -> Option<Files> {
        Arc::clone(&self.0).try_acquire_many_owned(files).ok().map(|permit| Files(Some(permit)))
    }

    /// Takes files when so many are free, in the order of the calls.
    pub(crate) fn take(&self, files: u32) -> impl Future<Output = Files> + Send + 'static {
        let semaphore = Arc::clone(&self.0);
        // An error means that it is closed, which it never is.
        async move { Files(semaphore.acquire_many_owned(files).await.ok()) }
    }

    /// Returns how many files are free.
    #[cfg(test)]
    pub(crate) fn free(&self) -> usize {
        self.0.available_permits()
    }
}

impl Files {
    /// Takes some of these apart, so that they can be given back at another time.
    pub(crate) fn split(&mut self, files: usize) -> Self {
        Self(self.0.as_mut().and_then(|permit| permit.split(files)))
    }
}

#[cfg(test)]
mod tests {
    use futures::FutureExt;

    use super::*;

    #[test]
    fn a_share_is_never_exceeded_and_comes_back() {
        let share = Share::new(5);
        let mut first = share.try_take(2).expect("free");
        let second = share.try_take(2).expect("free");
        assert!(share.try_take(2).is_none());
        let mut waiting = Box::pin(share.take(2));
        assert!(waiting.as_mut().now_or_never().is_none());
        let half = first.split(1);
        drop(first);
        assert!(waiting.as_mut().now_or_never().is_some(), "one was free, and one came back");
        drop((half, second));
        assert_eq!(share.free(), 5);
    }
}
