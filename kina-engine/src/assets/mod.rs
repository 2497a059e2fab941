//! Assets: the binaries that a provider runs, at one Kubernetes version, from any available source.
//!
//! [`provide`] asks one source after another and stops at the first that has them: a directory that the user named,
//! kina's store, the store of setup-envtest, a download, a build from Go modules. The first three touch no network, and
//! the results of the last two go into kina's store, so they run once. All of it blocks: call it from a thread that
//! may.

mod binaries;
mod controllers;
mod download;
mod error;
mod executable;
mod go_build;
mod http;
mod index;
mod inventory;
mod platform;
mod release;
mod request;
mod store;
mod trusted;
mod unpack;
mod version;

use std::fmt;
use std::path::{Path, PathBuf};
use std::sync::atomic::Ordering;

pub use self::error::{AssetSource, AssetsError, SourceAnswer};
#[cfg(any(feature = "apple", target_os = "macos"))]
pub(crate) use self::executable::program_kind;
pub use self::inventory::{Prune, StoredAssets, prunable, remove, stored_assets};
pub use self::platform::Platform;
pub use self::request::AssetRequest;
pub(crate) use crate::kubernetes_minor::KubernetesMinor;

use self::binaries::Binaries;
use self::error::{NoSource, SourceFailure};
use self::store::StoreLock;
use self::trusted::Trusted;
use self::version::KubernetesVersion;

/// The binaries of a control plane.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Assets {
    /// The program kube-apiserver.
    pub kube_apiserver: PathBuf,
    /// The program etcd.
    pub etcd: PathBuf,
    /// A short name for exactly these binaries: others never have it, and it can be part of a file name.
    pub identity: String,
    /// The version, where the source says it; the server itself always does.
    pub version: Option<KubernetesVersion>,
    /// Where the binaries came from.
    pub source: AssetSource,
    /// The programs of the controllers, if they were asked for.
    pub controllers: Option<ControllerAssets>,
    /// The rule by which they can be run.
    pub(crate) trusted: Trusted,
}

/// The programs that make a control plane act by itself.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct ControllerAssets {
    /// The program kube-controller-manager.
    pub kube_controller_manager: PathBuf,
    /// The program kube-scheduler.
    pub kube_scheduler: PathBuf,
    /// The program kwok, which simulates nodes.
    pub kwok: PathBuf,
}

/// A sign of life from work that takes its time.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Progress {
    /// The work under way, for people to read.
    pub text: String,
}

/// The receiver of signs of life.
type Report<'a> = dyn Fn(Progress) + 'a;

/// Provides the binaries of the wanted minor from the first source that has them.
///
/// `report` receives everything that takes longer than a moment, and at least one sign of life every
/// `report_interval` of the request's limits during a build or a wait for another process.
///
/// # Errors
///
/// If the user named a directory that does not hold the binaries, if another user could have put them there, if the
/// store cannot be written, if the work was cancelled, and, with the answer of each, if no source has them.
pub fn provide(request: &AssetRequest, report: &dyn Fn(Progress)) -> Result<Assets, AssetsError> {
    let assets = provide_control_plane(request, report)?;
    let assets = if request.with_controllers { controllers::add(request, assets, report)? } else { assets };
    assets.expect_all_trusted()?;
    Ok(assets)
}

fn provide_control_plane(request: &AssetRequest, report: &Report<'_>) -> Result<Assets, AssetsError> {
    if let Some(assets) = from_given_directory(request, report)? {
        return Ok(assets);
    }
    let mut answers = Vec::new();
    if let Some(assets) = from_stores(request, &mut answers)? {
        return Ok(assets);
    }
    if request.offline {
        for asked in [AssetSource::Download, AssetSource::GoBuild] {
            answers.push(SourceAnswer {
                asked,
                place: None,
                answer: "not tried, because kina is set offline".to_owned(),
            });
        }
    } else {
        let lock = StoreLock::acquire(request, report)?;
        // The previous holder of the lock may have brought the binaries.
        answers.clear();
        if let Some(assets) = from_stores(request, &mut answers)? {
            return Ok(assets);
        }
        if let Some(assets) = from_network(request, &lock, &mut answers, report)? {
            return Ok(assets);
        }
    }
    let (minor, platform) = (request.minor, request.platform.clone());
    let no_source = NoSource { minor, platform, components: binaries::COMPONENTS.to_vec(), answers };
    Err(AssetsError::NoSource(Box::new(no_source)))
}

fn from_given_directory(request: &AssetRequest, report: &Report<'_>) -> Result<Option<Assets>, AssetsError> {
    let given = [
        (AssetSource::ExplicitDirectory, &request.explicit_directory),
        (AssetSource::KubebuilderAssets, &request.kubebuilder_assets),
    ];
    for (source, directory) in given.into_iter().filter_map(|(source, directory)| Some((source, directory.as_ref()?))) {
        let user_error =
            |problem| AssetsError::GivenDirectory { source_name: source, directory: directory.clone(), problem };
        if !directory.is_absolute() {
            return Err(user_error("is a relative path, where an absolute one is needed".to_owned()));
        }
        let binaries = Binaries::in_directory(directory).map_err(user_error)?;
        // A user who names a directory means this machine. It is no error if the same process also asks for the
        // binaries of a virtual machine.
        if request.platform != Platform::host()
            && let Some(other) = binaries.other_platform_than(&request.platform)
        {
            report(Progress::new(format!(
                "passing over {source}: `{}` is for {other}, wanted is {}",
                directory.display(),
                request.platform
            )));
            continue;
        }
        let version = version_of_directory(directory, &request.platform);
        if let Some(version) = version.filter(|version| !version.is_of(request.minor)) {
            report(Progress::new(format!(
                "using Kubernetes {version}, because {source} names it, where {} was asked for",
                request.minor
            )));
        }
        let fingerprint = binaries.fingerprint(true).map_err(|error| user_error(format!("cannot be read: {error}")))?;
        let trusted = Trusted::new(request.rule(), vec![directory.clone(), request.cache_directory.clone()]);
        return Ok(Some(assets(binaries, format!("given-{fingerprint}"), version, source, trusted)));
    }
    Ok(None)
}

fn from_stores(request: &AssetRequest, answers: &mut Vec<SourceAnswer>) -> Result<Option<Assets>, AssetsError> {
    let stores = [
        (AssetSource::Store, Some(store::root(&request.cache_directory))),
        (AssetSource::SetupEnvtestStore, request.setup_envtest_root.clone()),
    ];
    for (asked, root) in stores {
        let Some(root) = root else {
            answers.push(SourceAnswer { asked, place: None, answer: "no home directory is known".to_owned() });
            continue;
        };
        match store::newest_complete(&root, request.minor, &request.platform) {
            Ok((version, binaries)) => {
                let fingerprint =
                    binaries.fingerprint(false).map_err(|error| AssetsError::store("read", &root, error))?;
                let identity = format!("{version}-{}-{fingerprint}", request.platform);
                let trusted = Trusted::new(request.rule(), vec![request.cache_directory.clone(), root]);
                return Ok(Some(assets(binaries, identity, Some(version), asked, trusted)));
            }
            Err(answer) => answers.push(SourceAnswer {
                asked,
                place: Some(store::versions_directory(&root).display().to_string()),
                answer,
            }),
        }
    }
    Ok(None)
}

fn from_network(
    request: &AssetRequest,
    lock: &StoreLock<'_>,
    answers: &mut Vec<SourceAnswer>,
    report: &Report<'_>,
) -> Result<Option<Assets>, AssetsError> {
    for asked in [AssetSource::Download, AssetSource::GoBuild] {
        if request.is_cancelled() {
            return Err(AssetsError::Cancelled { minor: request.minor });
        }
        let (place, outcome) = match asked {
            AssetSource::Download if request.build_only => continue,
            AssetSource::Download => {
                (Some(request.download_index_url.clone()), download::download(request, lock, report))
            }
            _ => (None, go_build::build(request, lock, report)),
        };
        let answer = match outcome {
            Ok(version) => {
                let mut unread = Vec::new();
                match from_stores(request, &mut unread)? {
                    Some(assets) => return Ok(Some(Assets { source: asked, ..assets })),
                    None => format!("{version} was put into the store, and is gone from it"),
                }
            }
            Err(SourceFailure::Fatal(error)) => return Err(error),
            Err(SourceFailure::Answered(answer)) => answer,
        };
        report(Progress::new(format!("{asked}: {answer}")));
        answers.push(SourceAnswer { asked, place, answer });
    }
    Ok(None)
}

fn assets(
    binaries: Binaries,
    identity: String,
    version: Option<KubernetesVersion>,
    source: AssetSource,
    trusted: Trusted,
) -> Assets {
    Assets {
        kube_apiserver: binaries.kube_apiserver,
        etcd: binaries.etcd,
        identity,
        version,
        source,
        controllers: None,
        trusted,
    }
}

/// The version that the name of a directory in the layout of a store gives away.
fn version_of_directory(directory: &Path, platform: &Platform) -> Option<KubernetesVersion> {
    directory.file_name()?.to_str()?.strip_suffix(&format!("-{platform}"))?.parse().ok()
}

impl AssetRequest {
    fn is_cancelled(&self) -> bool {
        self.cancelled.load(Ordering::Relaxed)
    }
}

impl Assets {
    /// Changes when one of the programs is replaced.
    ///
    /// # Errors
    /// If one is not there any more.
    pub(crate) fn stamp(&self) -> std::io::Result<String> {
        let mut programs: Vec<&Path> = vec![&self.kube_apiserver, &self.etcd];
        if let Some(ControllerAssets { kube_controller_manager, kube_scheduler, kwok }) = &self.controllers {
            programs.extend([kube_controller_manager.as_path(), kube_scheduler, kwok]);
        }
        binaries::fingerprint(&programs, true)
    }
}

#[cfg(test)]
impl Assets {
    /// Binaries that a test made.
    pub(crate) fn for_tests(
        kube_apiserver: PathBuf,
        etcd: PathBuf,
        version: Option<KubernetesVersion>,
        source: AssetSource,
    ) -> Self {
        assets(Binaries { kube_apiserver, etcd }, "test".to_owned(), version, source, Trusted::default())
    }
}

impl Progress {
    fn new(text: String) -> Self {
        Self { text }
    }
}

impl fmt::Display for Progress {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(&self.text)
    }
}
