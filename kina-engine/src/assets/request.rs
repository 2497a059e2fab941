//! Requests for assets: everything that decides where binaries come from, as plain values.
//!
//! Nothing below this module looks at the process environment. The caller collects the values once, where they are true
//! (the engine serves many clients, each with an environment of its own).

use std::ffi::OsString;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::time::Duration;

use super::platform::Platform;
use crate::kubernetes_minor::KubernetesMinor;
use crate::trust::{Rule, TRUSTED_DIRECTORY, search_path};

/// The release index that is asked unless the request names another one.
const DEFAULT_INDEX_URL: &str =
    "https://raw.githubusercontent.com/kubernetes-sigs/controller-tools/HEAD/envtest-releases.yaml";

/// Where the Kubernetes project releases single programs, unless the request names another place.
const DEFAULT_RELEASE_URL: &str = "https://dl.k8s.io";
/// Where the release of the simulated nodes is described, unless the request names another place.
const DEFAULT_KWOK_RELEASE_URL: &str = "https://api.github.com/repos/kubernetes-sigs/kwok/releases/tags/v0.8.0";

/// The environment variables that decide where assets come from and how the network is reached.
///
/// They have to travel from a client to the engine, and are the only ones that a `go` command run by kina sees.
const ENVIRONMENT: [&str; 34] = [
    "ALL_PROXY",
    "GIT_SSL_CAINFO",
    "GOAUTH",
    "GOCACHE",
    "GOENV",
    "GOFLAGS",
    "GOINSECURE",
    "GOMODCACHE",
    "GONOPROXY",
    "GONOSUMDB",
    "GOPATH",
    "GOPRIVATE",
    "GOPROXY",
    "GOROOT",
    "GOSUMDB",
    "GOTOOLCHAIN",
    "GOVCS",
    "HOME",
    "HTTPS_PROXY",
    "HTTP_PROXY",
    "KUBEBUILDER_ASSETS",
    "NETRC",
    "NO_PROXY",
    "PATH",
    "SSL_CERT_DIR",
    "SSL_CERT_FILE",
    "USER",
    "XDG_CACHE_HOME",
    "XDG_CONFIG_HOME",
    "XDG_DATA_HOME",
    "all_proxy",
    "http_proxy",
    "https_proxy",
    "no_proxy",
];

/// A request for the binaries of one Kubernetes minor.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct AssetRequest {
    /// The wanted minor; any patch of it will do.
    pub minor: KubernetesMinor,
    /// The platform that the binaries are to run on.
    pub platform: Platform,
    /// A directory that the user named in kina's own settings; an absolute path.
    pub explicit_directory: Option<PathBuf>,
    /// The value of `KUBEBUILDER_ASSETS`; an absolute path.
    pub kubebuilder_assets: Option<PathBuf>,
    /// The root of kina's cache; its store of assets lies below it.
    pub cache_directory: PathBuf,
    /// The root of setup-envtest's store, which holds a directory `k8s`.
    pub setup_envtest_root: Option<PathBuf>,
    /// Set if kube-controller-manager, kube-scheduler and simulated nodes are wanted as well.
    pub with_controllers: bool,
    /// The release index to download by.
    pub download_index_url: String,
    /// The address below which the Kubernetes project's own releases are.
    pub release_url: String,
    /// The address of the description of the release of the simulated nodes.
    pub kwok_release_url: String,
    /// Set if the network may not be used: neither a download nor a build is tried.
    pub offline: bool,
    /// Set if missing binaries are to be built, even if they could be downloaded.
    pub build_only: bool,
    /// The value of `KINA_TRUSTED_DIRECTORY`.
    pub trusted_directory: Option<OsString>,
    /// Where a `go` program may be, in order of preference.
    pub go_programs: Vec<PathBuf>,
    /// The environment variables that decide where assets come from and how the network is reached, those that are set.
    pub environment: Vec<(String, OsString)>,
    /// The bounds on time and size.
    pub limits: AssetLimits,
    /// Set to true by another thread to end the work at its next step.
    pub cancelled: Arc<AtomicBool>,
}

/// The bounds on waits and sizes.
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub struct AssetLimits {
    /// Time limit of a name resolution, and then of a connect.
    pub connect_timeout: Duration,
    /// Time limit of one request of the index in all.
    pub index_timeout: Duration,
    /// The time after which no further try to get an index begins.
    pub index_elapsed_max: Duration,
    /// The longest pause in a transfer.
    pub idle_timeout: Duration,
    /// Time limit of one transfer of an archive in all.
    pub archive_timeout: Duration,
    /// The number of repetitions of a request that failed in passing.
    pub retries_max: usize,
    /// The largest archive that is read.
    pub archive_bytes_max: u64,
    /// The most that an archive may unpack to.
    pub unpacked_bytes_max: u64,
    /// Time limit of a question to the Go module proxy.
    pub go_query_timeout: Duration,
    /// Time limit of one build.
    pub go_build_timeout: Duration,
    /// The longest time for which another process may hold the lock of the wanted minor.
    pub lock_timeout: Duration,
    /// The interval of progress reports while nothing else happens.
    pub report_interval: Duration,
}

impl AssetRequest {
    /// A request that knows nothing of its surroundings: only kina's store and the download can answer it.
    pub fn new(minor: KubernetesMinor, cache_directory: PathBuf) -> Self {
        Self {
            minor,
            platform: Platform::host(),
            explicit_directory: None,
            kubebuilder_assets: None,
            cache_directory,
            setup_envtest_root: None,
            with_controllers: false,
            download_index_url: DEFAULT_INDEX_URL.to_owned(),
            release_url: DEFAULT_RELEASE_URL.to_owned(),
            kwok_release_url: DEFAULT_KWOK_RELEASE_URL.to_owned(),
            offline: false,
            build_only: false,
            trusted_directory: None,
            go_programs: Vec::new(),
            environment: Vec::new(),
            limits: AssetLimits::default(),
            cancelled: Arc::default(),
        }
    }

    /// A request in the surroundings that `variable` describes: the value of an environment variable, if it is set.
    pub fn from_environment(
        minor: KubernetesMinor,
        cache_directory: PathBuf,
        variable: &impl Fn(&str) -> Option<OsString>,
    ) -> Self {
        let path = |name: &str| variable(name).filter(|value| !value.is_empty()).map(PathBuf::from);
        let mut request = Self::new(minor, cache_directory);
        request.kubebuilder_assets = path("KUBEBUILDER_ASSETS");
        request.setup_envtest_root = match request.platform.os.as_str() {
            "darwin" => path("HOME").map(|home| home.join("Library/Application Support/io.kubebuilder.envtest")),
            _ => path("XDG_DATA_HOME")
                .or_else(|| path("HOME").map(|home| home.join(".local/share")))
                .map(|data| data.join("kubebuilder-envtest")),
        };
        request.trusted_directory = variable(TRUSTED_DIRECTORY);
        request.go_programs = go_programs(variable);
        request.environment =
            ENVIRONMENT.iter().filter_map(|name| Some(((*name).to_owned(), variable(name)?))).collect();
        for (_, search_path) in request.environment.iter_mut().filter(|(name, _)| name == "PATH") {
            *search_path = search_path::without_relative_entries(search_path);
        }
        request
    }

    /// The same request for binaries that are to run on `platform`, such as that of a virtual machine.
    ///
    /// A directory that the user named is passed over if its binaries are for another platform. The rest of the request
    /// stays the same: this machine decides where the stores are.
    #[must_use]
    pub fn for_platform(self, platform: Platform) -> Self {
        Self { platform, ..self }
    }
}

impl AssetRequest {
    /// The rule by which binaries are judged before they are run.
    pub(super) fn rule(&self) -> Rule {
        Rule::new(self.trusted_directory.clone())
    }

    /// The same request for a cluster with or without controllers.
    #[must_use]
    pub fn for_controllers(self, with_controllers: bool) -> Self {
        Self { with_controllers, ..self }
    }
}

impl Default for AssetLimits {
    fn default() -> Self {
        Self {
            connect_timeout: Duration::from_secs(5),
            index_timeout: Duration::from_secs(10),
            index_elapsed_max: Duration::from_secs(15),
            idle_timeout: Duration::from_secs(15),
            archive_timeout: Duration::from_secs(30 * 60),
            retries_max: 2,
            archive_bytes_max: 1 << 30,
            unpacked_bytes_max: 4 << 30,
            go_query_timeout: Duration::from_secs(10 * 60),
            go_build_timeout: Duration::from_secs(60 * 60),
            lock_timeout: Duration::from_secs(100 * 60),
            report_interval: Duration::from_secs(10),
        }
    }
}

/// Every place where a `go` program may be: the search path, `GOROOT`, and where the installers put it.
fn go_programs(variable: &impl Fn(&str) -> Option<OsString>) -> Vec<PathBuf> {
    let mut directories: Vec<PathBuf> = search_path::directories(&variable("PATH").unwrap_or_default()).collect();
    directories.extend(variable("GOROOT").map(|root| PathBuf::from(root).join("bin")));
    directories
        .extend(["/usr/local/go/bin", "/opt/homebrew/bin", "/usr/local/bin", "/usr/lib/go/bin"].map(PathBuf::from));
    // A relative one would mean the directory where the engine runs.
    directories.retain(|directory| directory.is_absolute());
    directories.into_iter().map(|directory| directory.join("go")).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn request(variables: &[(&str, &str)]) -> AssetRequest {
        AssetRequest::from_environment(KubernetesMinor::DEFAULT, "/cache".into(), &|name: &str| {
            variables.iter().find(|(known, _)| *known == name).map(|(_, value)| OsString::from(value))
        })
    }

    #[test]
    fn an_empty_environment_names_no_directory() {
        let request = request(&[]);
        assert_eq!(request.kubebuilder_assets, None);
        assert_eq!(request.setup_envtest_root, None);
        assert!(request.environment.is_empty());
    }

    #[test]
    fn an_empty_variable_is_an_unset_one() {
        assert_eq!(request(&[("KUBEBUILDER_ASSETS", "")]).kubebuilder_assets, None);
        assert_eq!(request(&[("KUBEBUILDER_ASSETS", "/a")]).kubebuilder_assets, Some("/a".into()));
    }

    #[test]
    #[cfg(target_os = "linux")]
    fn the_store_of_setup_envtest_is_found_by_the_rules_of_its_platform() {
        assert_eq!(
            request(&[("HOME", "/home/u")]).setup_envtest_root,
            Some("/home/u/.local/share/kubebuilder-envtest".into())
        );
        assert_eq!(
            request(&[("HOME", "/home/u"), ("XDG_DATA_HOME", "/data")]).setup_envtest_root,
            Some("/data/kubebuilder-envtest".into())
        );
    }

    #[test]
    fn go_is_looked_for_on_the_search_path_first_and_never_in_a_relative_directory() {
        let programs = request(&[("PATH", "/one:bin::/two"), ("GOROOT", "/goroot")]).go_programs;
        assert_eq!(programs[..3], ["/one/go", "/two/go", "/goroot/bin/go"].map(PathBuf::from));
        assert!(programs.iter().all(|program| program.is_absolute()));
    }

    #[test]
    fn only_the_variables_that_matter_are_carried_along() {
        let environment = request(&[("HOME", "/h"), ("GOPROXY", "off"), ("SECRET", "s")]).environment;
        assert_eq!(environment, [("GOPROXY".to_owned(), "off".into()), ("HOME".to_owned(), "/h".into())]);
        assert!(ENVIRONMENT.is_sorted());
    }
}
