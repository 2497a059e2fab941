//! Caches apart from the user's.

use std::path::Path;

use kina_engine::{EnginePaths, ProviderName};
use tempfile::TempDir;

/// An empty cache for a realm, without the templates and journals of others. The bootstrapped states of clusters are
/// shared by all such caches: a cluster that has none takes several seconds more to boot. The binaries are those of this
/// process's own cache, because otherwise controllers would be built anew, for minutes.
pub fn empty_cache() -> TempDir {
    let cache = tempfile::Builder::new().prefix("kina-t").tempdir().expect("a temporary directory");
    let snapshots = Path::new(env!("CARGO_TARGET_TMPDIR")).join("snapshots");
    std::fs::create_dir_all(&snapshots).expect("a directory can be made in the target directory");
    let own = EnginePaths::from_environment(ProviderName::Process).expect("the paths of this process").cache_directory;
    for (shared, name) in [(snapshots, "snapshots"), (own.join("assets"), "assets")] {
        std::os::unix::fs::symlink(shared, cache.path().join(name)).expect("a link in a directory of its own");
    }
    cache
}
