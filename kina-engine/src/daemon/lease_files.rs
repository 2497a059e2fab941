use std::path::PathBuf;
use std::sync::Arc;

use tokio::sync::Semaphore;

/// The directories that are removed at the same time. A test may have left many files in its own.
const REMOVALS_AT_ONCE_MAX: usize = 4;

/// Removes what leases have left on disk, off the runtime's threads.
#[derive(Clone, Debug)]
pub(super) struct LeaseFiles {
    directory: PathBuf,
    places: Arc<Semaphore>,
}

impl LeaseFiles {
    /// Takes care of the leases whose directories are below `directory`.
    pub(super) fn new(directory: PathBuf) -> Self {
        Self { directory, places: Arc::new(Semaphore::new(REMOVALS_AT_ONCE_MAX)) }
    }

    /// The directory of a lease. It does not exist until the client makes it.
    pub(super) fn directory_of(&self, lease: u64) -> PathBuf {
        self.directory.join(lease.to_string())
    }

    /// Removes the directory of a lease, and returns when it is gone.
    pub(super) async fn remove(self, lease: u64) {
        // The semaphore is never closed; without a place it would only be one more at once.
        let place = self.places.clone().acquire_owned().await;
        let directory = self.directory_of(lease);
        let removing = tokio::task::spawn_blocking(move || {
            let removed = std::fs::remove_dir_all(&directory);
            drop(place);
            match removed {
                Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
                    tracing::warn!(%error, directory = %directory.display(), "a lease's files could not be removed");
                }
                _ => {}
            }
        });
        // An error means that the runtime is ending, and then all directories go.
        let _ = removing.await;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn the_directories_of_many_leases_go_and_no_others() {
        let directory = tempfile::tempdir().expect("a temporary directory");
        let files = LeaseFiles::new(directory.path().to_owned());
        for lease in 0..20 {
            std::fs::create_dir_all(files.directory_of(lease).join("scratch")).expect("made");
            std::fs::write(files.directory_of(lease).join("kubeconfig"), "key").expect("written");
        }
        // The last one was never made, or is gone already.
        futures::future::join_all((1..=20).map(|lease| files.clone().remove(lease))).await;
        let left = std::fs::read_dir(directory.path()).expect("listed").flatten();
        assert_eq!(left.map(|entry| entry.file_name()).collect::<Vec<_>>(), ["0"]);
        assert_eq!(files.places.available_permits(), REMOVALS_AT_ONCE_MAX);
    }

    #[tokio::test]
    async fn only_so_many_are_removed_at_once() {
        let directory = tempfile::tempdir().expect("a temporary directory");
        let files = LeaseFiles::new(directory.path().to_owned());
        std::fs::create_dir_all(files.directory_of(7)).expect("made");
        let all = Arc::clone(&files.places).acquire_many_owned(REMOVALS_AT_ONCE_MAX as u32).await.expect("open");
        let mut removing = Box::pin(files.clone().remove(7));
        assert!(futures::poll!(&mut removing).is_pending());
        assert!(files.directory_of(7).exists());
        drop(all);
        removing.await;
        assert!(!files.directory_of(7).exists());
    }
}
