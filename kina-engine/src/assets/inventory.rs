//! The content of the stores, and the part of kina's own that can be removed.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::time::Duration;

use super::Progress;
use super::binaries::{COMPONENTS, CONTROLLER_COMPONENTS, KWOK, KWOK_VERSION, problem_of};
use super::error::{AssetSource, AssetsError};
use super::platform::Platform;
use super::request::AssetRequest;
use super::store::{self, StoreLock};
use crate::assets::version::KubernetesVersion;
use crate::kubernetes_minor::KubernetesMinor;

/// A process that holds a lock for longer is at work on something large.
const LOCK_TIMEOUT: Duration = Duration::from_secs(10);
/// Files of one directory that are counted.
const FILES_MAX: usize = 10_000;

/// A directory with binaries.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct StoredAssets {
    /// The store that it is in, or the setting that names it.
    pub source: AssetSource,
    /// The directory.
    pub directory: PathBuf,
    /// The version in its name; `None` for kwok, which goes with every version of Kubernetes.
    pub version: Option<KubernetesVersion>,
    /// The platform in its name.
    pub platform: Option<Platform>,
    /// The programs that are there and complete.
    pub components: Vec<&'static str>,
    /// Its fault, if it has one.
    pub problem: Option<String>,
    /// Its size on the disk.
    pub size_bytes: u64,
}

/// The part of kina's store to remove.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Prune {
    /// Directories that no test would get: patches that are older than another complete one of their minor and
    /// platform, older versions of kwok, and incomplete ones.
    Superseded,
    /// Everything.
    All,
}

/// All directories that may hold the binaries of such a request: those that the user named, and the stores.
pub fn stored_assets(request: &AssetRequest) -> Vec<StoredAssets> {
    let given = [
        (AssetSource::ExplicitDirectory, &request.explicit_directory),
        (AssetSource::KubebuilderAssets, &request.kubebuilder_assets),
    ];
    let mut found: Vec<_> = given
        .into_iter()
        .filter_map(|(source, directory)| Some(look_at(source, directory.as_ref()?, &COMPONENTS)))
        .collect();
    found.extend(own_store(&request.cache_directory));
    if let Some(root) = &request.setup_envtest_root {
        let directories = directories_in(&store::versions_directory(root));
        found.extend(directories.iter().map(|path| look_at(AssetSource::SetupEnvtestStore, path, &COMPONENTS)));
    }
    found
}

/// The directories of kina's store that can be removed.
pub fn prunable(request: &AssetRequest, prune: Prune) -> Vec<StoredAssets> {
    choose(own_store(&request.cache_directory), prune)
}

/// Removes a directory, under the lock of its minor, so that no other process is at work on it meanwhile.
///
/// # Errors
/// If another process is, or it cannot be removed. Directories removed before stay removed.
pub fn remove(request: &AssetRequest, assets: &StoredAssets, report: &dyn Fn(Progress)) -> Result<(), AssetsError> {
    let mut request = request.clone();
    request.limits.lock_timeout = LOCK_TIMEOUT;
    let minor = assets.version.and_then(|version| format!("1.{}", version.minor_number()).parse().ok());
    request.minor = minor.unwrap_or(KubernetesMinor::DEFAULT);
    if let Some(platform) = &assets.platform {
        request.platform = platform.clone();
    }
    let lock = StoreLock::acquire(&request, report)?;
    // By one rename, so that no process finds half of it.
    let staging = lock.staging()?;
    let directory = &assets.directory;
    std::fs::rename(directory, staging.path().join("removed"))
        .and_then(|()| staging.close())
        .map_err(|error| AssetsError::store("remove", directory, error))
}

fn own_store(cache_directory: &Path) -> Vec<StoredAssets> {
    let root = store::root(cache_directory);
    let of_kubernetes = directories_in(&store::versions_directory(&root));
    let of_kwok = directories_in(&root.join(KWOK));
    let of_kubernetes = of_kubernetes.iter().map(|path| look_at(AssetSource::Store, path, &COMPONENTS));
    of_kubernetes.chain(of_kwok.iter().map(|path| look_at(AssetSource::Store, path, &[KWOK]))).collect()
}

/// Looks at a directory that should hold at least the programs `wanted`.
fn look_at(source: AssetSource, directory: &Path, wanted: &[&'static str]) -> StoredAssets {
    let (version, platform) = version_and_platform(directory);
    let is_whole = |component: &&str| problem_of(&directory.join(component), component).is_none();
    let components = COMPONENTS.into_iter().chain(CONTROLLER_COMPONENTS).filter(is_whole).collect();
    let problems: Vec<_> =
        wanted.iter().filter_map(|component| problem_of(&directory.join(component), component)).collect();
    let version = version.filter(|_| wanted != [KWOK]);
    let problem = match (directory.is_dir(), problems.is_empty()) {
        (false, _) => Some("is no directory".to_owned()),
        (true, false) => Some(problems.join(", ")),
        (true, true) => None,
    };
    let size_bytes = size_bytes(directory);
    StoredAssets { source, directory: directory.to_owned(), version, platform, components, problem, size_bytes }
}

fn choose(mut stored: Vec<StoredAssets>, prune: Prune) -> Vec<StoredAssets> {
    if prune == Prune::All {
        return stored;
    }
    let newest: BTreeSet<_> = {
        let complete = stored.iter().filter(|assets| assets.problem.is_none());
        let mut versions: Vec<_> = complete.filter_map(|assets| Some((kind_of(assets)?, assets.version?))).collect();
        versions.sort();
        // The last of each kind stays.
        versions.chunk_by(|one, other| one.0 == other.0).filter_map(|kind| kind.last().cloned()).collect()
    };
    stored.retain(|assets| match (kind_of(assets), assets.version) {
        (Some(kind), Some(version)) => !newest.contains(&(kind, version)),
        _ => !(assets.components == [KWOK] && name_of(&assets.directory).starts_with(&format!("{KWOK_VERSION}-"))),
    });
    stored
}

/// The kind of a directory: those of one kind serve the same tests, and differ by their patch.
fn kind_of(assets: &StoredAssets) -> Option<(u32, String)> {
    Some((assets.version?.minor_number(), assets.platform.as_ref()?.to_string()))
}

/// Of `1.37.1-linux-amd64`.
fn version_and_platform(directory: &Path) -> (Option<KubernetesVersion>, Option<Platform>) {
    let name = name_of(directory);
    let Some((version, platform)) = name.split_once('-') else { return (None, None) };
    let platform = platform.split_once('-').filter(|(_, arch)| !arch.contains('.'));
    let platform = platform.map(|(os, arch)| Platform { os: os.to_owned(), arch: arch.to_owned() });
    // A directory that was set aside has no version: no test gets it.
    (platform.is_some().then(|| version.parse().ok()).flatten(), platform)
}

fn name_of(directory: &Path) -> String {
    directory.file_name().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default()
}

fn directories_in(directory: &Path) -> Vec<PathBuf> {
    let entries = std::fs::read_dir(directory).into_iter().flatten();
    let mut directories: Vec<_> =
        entries.filter_map(|entry| Some(entry.ok()?.path())).filter(|path| path.is_dir()).collect();
    directories.sort();
    directories
}

fn size_bytes(directory: &Path) -> u64 {
    let entries = std::fs::read_dir(directory).into_iter().flatten().take(FILES_MAX);
    entries.filter_map(|entry| Some(entry.ok()?.metadata().ok()?.len())).sum()
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use super::*;

    struct Cache(tempfile::TempDir);

    impl Cache {
        fn with(directories: &[(&str, &[&str])]) -> Self {
            let cache = Self(tempfile::tempdir().expect("a temporary directory"));
            for (directory, programs) in directories {
                let directory = cache.0.path().join("assets").join(directory);
                std::fs::create_dir_all(&directory).expect("made");
                for program in *programs {
                    let path = directory.join(program);
                    std::fs::write(&path, "binary").expect("written");
                    std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o755)).expect("set");
                }
            }
            cache
        }

        fn request(&self) -> AssetRequest {
            AssetRequest::new(KubernetesMinor::DEFAULT, self.0.path().to_owned())
        }

        fn prunable(&self, prune: Prune) -> Vec<String> {
            prunable(&self.request(), prune).iter().map(|assets| name_of(&assets.directory)).collect()
        }
    }

    const BOTH: &[&str] = &["kube-apiserver", "etcd"];

    fn cache() -> Cache {
        Cache::with(&[
            ("k8s/1.37.1-linux-amd64", BOTH),
            ("k8s/1.37.2-linux-amd64", BOTH),
            ("k8s/1.37.10-linux-amd64", &["etcd"]),
            ("k8s/1.37.0-linux-arm64", BOTH),
            ("k8s/1.36.3-linux-amd64", BOTH),
            ("k8s/1.36.2-linux-amd64.set-aside-1", &["etcd"]),
            ("kwok/0.7.0-linux-amd64", &["kwok"]),
            ("kwok/0.8.0-linux-amd64", &["kwok"]),
        ])
    }

    #[test]
    fn what_is_there_is_listed_with_what_is_wrong_with_it() {
        let stored = stored_assets(&cache().request());
        let find = |name: &str| stored.iter().find(|assets| name_of(&assets.directory) == name).expect(name);
        let complete = find("1.37.1-linux-amd64");
        assert_eq!(complete.components, BOTH);
        assert_eq!(complete.version.map(|version| version.to_string()).as_deref(), Some("1.37.1"));
        assert_eq!(complete.platform.as_ref().map(Platform::to_string).as_deref(), Some("linux-amd64"));
        assert_eq!((complete.size_bytes, &complete.problem), (12, &None));
        assert!(find("1.37.10-linux-amd64").problem.as_ref().is_some_and(|text| text.contains("kube-apiserver")));
        assert_eq!(find("0.8.0-linux-amd64").components, [KWOK]);
        assert_eq!(find("1.36.2-linux-amd64.set-aside-1").version, None);
    }

    #[test]
    fn only_what_no_test_would_get_is_superseded() {
        let names = cache().prunable(Prune::Superseded);
        let expected =
            ["1.36.2-linux-amd64.set-aside-1", "1.37.1-linux-amd64", "1.37.10-linux-amd64", "0.7.0-linux-amd64"];
        assert_eq!(names, expected);
        assert_eq!(cache().prunable(Prune::All).len(), 8);
    }

    #[test]
    fn what_is_removed_is_gone_and_nothing_else() {
        let cache = cache();
        let request = cache.request();
        for assets in prunable(&request, Prune::Superseded) {
            remove(&request, &assets, &|_| {}).expect("removed");
            assert!(!assets.directory.exists());
        }
        assert!(cache.prunable(Prune::Superseded).is_empty());
        assert_eq!(stored_assets(&request).len(), 4);
        let staging = std::fs::read_dir(cache.0.path().join("assets/staging")).expect("there");
        assert_eq!(staging.count(), 0);
    }
}
