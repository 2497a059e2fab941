use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use once_cell::sync::OnceCell;

use crate::{Cluster, Error, Namespace};

/// A test's identity and its resources, from which the other arguments are made.
///
/// ```rust,test_harness
/// #[kina::test]
/// async fn knows_itself(context: kina::Context) -> Result<(), kina::Error> {
///     assert!(context.test_name().ends_with("::knows_itself"));
///     std::fs::write(context.scratch_directory()?.join("notes"), "gone with the test").expect("written");
///     Ok(())
/// }
/// ```
#[derive(Clone)]
pub struct Context {
    shared: Arc<Shared>,
}

struct Shared {
    test_name: &'static str,
    package_directory: PathBuf,
    /// Never empty.
    clusters: Vec<Cluster>,
    clusters_taken: AtomicUsize,
    scratch_directory: OnceCell<PathBuf>,
}

impl Context {
    /// The test's name with all its modules, such as `my_crate::controller::tests::scales_up`.
    pub fn test_name(&self) -> &'static str {
        self.shared.test_name
    }

    /// The number of this attempt: 1, or more if nextest runs a failed test again.
    pub fn attempt(&self) -> u32 {
        let attempt = std::env::var("NEXTEST_ATTEMPT").ok().and_then(|attempt| attempt.parse().ok());
        attempt.unwrap_or(1)
    }

    /// nextest's identifier of this test run. `None` under `cargo test`, which has none.
    pub fn run_id(&self) -> Option<String> {
        std::env::var("NEXTEST_RUN_ID").ok().filter(|run_id| !run_id.is_empty())
    }

    /// The directory of the test's package: the value of `CARGO_MANIFEST_DIR` at run time or, if that is not set, at
    /// compile time.
    pub fn package_directory(&self) -> &Path {
        &self.shared.package_directory
    }

    /// An empty directory for this test alone, created at the first call. It is removed with its content when the lease
    /// ends.
    ///
    /// # Errors
    /// If the directory cannot be created.
    pub fn scratch_directory(&self) -> Result<&Path, Error> {
        let make = || {
            let path = self.cluster().lease_directory().join("scratch");
            match std::fs::DirBuilder::new().recursive(true).mode(0o700).create(&path) {
                Ok(()) => Ok(path),
                Err(source) => Err(Error::ScratchDirectory { path, source }),
            }
        };
        self.shared.scratch_directory.get_or_try_init(make).map(PathBuf::as_path)
    }

    /// The test's cluster, or the first one if it has several.
    pub fn cluster(&self) -> &Cluster {
        &self.shared.clusters[0]
    }

    /// The test's namespace in that cluster.
    pub fn namespace(&self) -> Namespace {
        Namespace::of(self.cluster())
    }
}

impl Context {
    /// Creates the context of a test with these clusters, at least one.
    pub(crate) fn new(test_name: &'static str, package_directory: PathBuf, clusters: Vec<Cluster>) -> Self {
        assert!(!clusters.is_empty(), "bug in kina: a test without a cluster");
        Self {
            shared: Arc::new(Shared {
                test_name,
                package_directory,
                clusters,
                clusters_taken: AtomicUsize::new(0),
                scratch_directory: OnceCell::new(),
            }),
        }
    }

    /// The next cluster that no argument has taken yet.
    pub(crate) fn next_cluster(&self) -> Result<Cluster, Error> {
        let index = self.shared.clusters_taken.fetch_add(1, Ordering::Relaxed);
        self.shared.clusters.get(index).cloned().ok_or(Error::NoClusterLeft { count: self.shared.clusters.len() })
    }

    /// Ends all leases.
    pub(crate) fn release(&self) {
        for cluster in &self.shared.clusters {
            cluster.release();
        }
    }
}

impl std::fmt::Debug for Context {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter
            .debug_struct("Context")
            .field("test_name", &self.shared.test_name)
            .field("clusters", &self.shared.clusters)
            .finish_non_exhaustive()
    }
}
