//! Caches apart from the user's.

use std::path::Path;

use tempfile::TempDir;

/// An empty cache for a realm, without the templates and journals of others. The bootstrapped states of clusters are
/// shared by all such caches: a cluster that has none takes several seconds more to boot.
pub fn empty_cache() -> TempDir {
    let cache = tempfile::Builder::new().prefix("kina-t").tempdir().expect("a temporary directory");
    let shared = Path::new(env!("CARGO_TARGET_TMPDIR")).join("snapshots");
    std::fs::create_dir_all(&shared).expect("a directory can be made in the target directory");
    std::os::unix::fs::symlink(shared, cache.path().join("snapshots")).expect("a link in a directory of its own");
    cache
}
