//! The image that a cluster in a virtual machine or in a container boots from.
//!
//! An archive in the OCI layout with three programs: etcd and kube-apiserver from the assets, and kina's supervisor,
//! which is the first process and watches over both. kina assembles it by itself: no builder, no registry, no root. The
//! same inputs make the same bytes, and the image's name contains a digest of its content.
//!
//! [`layout`] is the contract that all users of the image rely on; `supervisor` provides the one program that is not an
//! asset.

mod architecture;
mod archive;
mod content;
mod error;
#[cfg_attr(
    not(test),
    allow(dead_code, reason = "the supervisor alone uses some of these, and a test compares its list")
)]
pub(crate) mod layout;
mod rustc;
mod store;
mod supervisor;
#[cfg(test)]
mod tests;

use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

pub use self::architecture::{Architecture, UnknownArchitecture};
pub use self::error::{ImageError, SupervisorError};

use self::archive::ArchiveError;
use self::content::{Content, ProbeContent, Program, WriteError};
use self::store::{ImageStore, Record};
use self::supervisor::{Supervisor, SupervisorSource};
use crate::assets::{Assets, KubernetesMinor};
use crate::hex;
use crate::sha256::Sha256;
use crate::trust::{Rule, TRUSTED_DIRECTORY, expect_directory};

/// The placeholder for the version of binaries that do not report it.
const UNKNOWN_VERSION: &str = "unknown";

/// An image in a file that container runtimes load.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Image {
    /// Its name once it is loaded: `kina.local/cluster:<kubernetes>-<architecture>-<digest>`.
    pub reference: String,
    /// The archive.
    pub archive: PathBuf,
    /// The digest of its manifest: `sha256:…`.
    pub digest: String,
    /// The size of the archive.
    pub size_bytes: u64,
}

/// An image with its sources.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BuiltImage {
    /// The image itself.
    pub image: Image,
    /// The processors that it is for, as Go names them.
    pub architecture: String,
    /// The version of Kubernetes.
    pub kubernetes: String,
    /// The SHA-256 of the supervisor: `sha256:…`.
    pub supervisor: String,
}

/// The directory for images, below the root of kina's cache.
pub fn directory(cache_directory: &Path) -> PathBuf {
    cache_directory.join("images")
}

/// Provides the image with `assets` for `architecture`: the one in `directory`, or a new one.
///
/// Blocks for a second or two if there is none yet, else for the moment in which the compiler prints its version. Any
/// number of processes may ask for the same image at once; one of them works, the others wait. Few images are kept; the
/// least recently used ones go first.
///
/// `KINA_SUPERVISOR` and `RUSTC` are read from the environment; see [`SupervisorError`].
///
/// # Errors
/// If the binaries are not static Linux programs for `architecture`, if there is no supervisor, or if `directory`
/// cannot be used.
pub fn build(assets: &Assets, architecture: Architecture, directory: &Path) -> Result<Image, ImageError> {
    build_and_describe(assets, architecture, directory).map(|built| built.image)
}

/// Like [`build`], but returns the image's sources as well.
pub fn build_and_describe(
    assets: &Assets,
    architecture: Architecture,
    directory: &Path,
) -> Result<BuiltImage, ImageError> {
    let source = SupervisorSource::from_environment(&|name| std::env::var_os(name));
    build_with(assets, architecture, directory, &source)
}

/// Makes an image with the supervisor alone, which answers questions about the machine, and writes it to `archive`. The
/// supervisor is the one that the next image for a cluster in `directory` would have.
///
/// # Errors
/// If there is no supervisor, or if a file cannot be written.
pub fn build_probe(architecture: Architecture, directory: &Path, archive: &Path) -> Result<Image, ImageError> {
    let source = SupervisorSource::from_environment(&|name| std::env::var_os(name));
    let directory = directory.join("supervisors");
    let rule = Rule::new(std::env::var_os(TRUSTED_DIRECTORY));
    expect_directory(&rule, &directory).map_err(|distrust| ImageError::Distrusted { distrust })?;
    let supervisor = source.provide(architecture, &directory).map_err(ImageError::Supervisor)?;
    let supervisor = Program { path: &supervisor.path, size_bytes: supervisor.size_bytes };
    let file = std::fs::File::create(archive).map_err(|error| ImageError::store("create", archive, error))?;
    let written = ProbeContent { architecture, supervisor }.write(file);
    let written = written.map_err(|failed| failed_write(archive, failed))?;
    let (archive, size_bytes) = (archive.to_owned(), written.size_bytes);
    Ok(Image { reference: written.reference, archive, digest: written.digest, size_bytes })
}

/// Provides the supervisor that the next image for `architecture` in `directory` would have.
pub fn provide_supervisor(architecture: Architecture, directory: &Path) -> Result<PathBuf, SupervisorError> {
    let source = SupervisorSource::from_environment(&|name| std::env::var_os(name));
    source.provide(architecture, &directory.join("supervisors")).map(|supervisor| supervisor.path)
}

/// The most recently used image in `directory` for `architecture` and, if given, for a minor version.
pub fn last_used(architecture: Architecture, minor: Option<KubernetesMinor>, directory: &Path) -> Option<Image> {
    let store = ImageStore::new(directory);
    store.last_used(architecture, minor).map(|record| described(&store, record).image)
}

fn build_with(
    assets: &Assets,
    architecture: Architecture,
    directory: &Path,
    source: &SupervisorSource,
) -> Result<BuiltImage, ImageError> {
    assets.expect_all_trusted().map_err(|distrust| ImageError::Distrusted { distrust })?;
    let rule = Rule::new(std::env::var_os(TRUSTED_DIRECTORY));
    // Before the first time it is not there, and then it is made so that no other user can write to it.
    for directory in [directory, &directory.join("supervisors")] {
        expect_directory(&rule, directory).map_err(|distrust| ImageError::Distrusted { distrust })?;
    }
    let etcd = checked_program(&assets.etcd, architecture)?;
    let kube_api_server = checked_program(&assets.kube_apiserver, architecture)?;
    let supervisor = source.provide(architecture, &directory.join("supervisors")).map_err(ImageError::Supervisor)?;
    let kubernetes = assets.version.map_or_else(|| UNKNOWN_VERSION.to_owned(), |version| version.to_string());
    let content = Content {
        architecture,
        kubernetes: &kubernetes,
        supervisor: Program { path: &supervisor.path, size_bytes: supervisor.size_bytes },
        etcd,
        kube_api_server,
    };
    let key = key(&content, &supervisor)?;
    let store = ImageStore::new(directory);
    if let Some(record) = store.find(&key) {
        return Ok(described(&store, record));
    }
    let lock = store.lock()?;
    // The previous holder of the lock may have made this image.
    if let Some(record) = store.find(&key) {
        return Ok(described(&store, record));
    }
    let (file, staged) = lock.stage()?;
    let written = content.write(file).map_err(|failed| failed_write(&staged, failed))?;
    let tag = written.reference.rsplit(':').next().unwrap_or_default();
    let record = Record {
        archive_name: format!("{tag}.tar"),
        reference: written.reference,
        digest: written.digest,
        size_bytes: written.size_bytes,
        architecture: architecture.name().to_owned(),
        kubernetes: kubernetes.clone(),
        supervisor: format!("sha256:{}", supervisor.digest),
    };
    lock.publish(&staged, &key, &record)?;
    Ok(described(&store, record))
}

fn described(store: &ImageStore<'_>, record: Record) -> BuiltImage {
    let archive = store.archive(&record);
    let Record { reference, digest, size_bytes, architecture, kubernetes, supervisor, .. } = record;
    BuiltImage { image: Image { reference, archive, digest, size_bytes }, architecture, kubernetes, supervisor }
}

fn failed_write(archive: &Path, failed: WriteError<'_>) -> ImageError {
    match failed.error {
        ArchiveError::Write(error) => ImageError::store("write", archive, error),
        ArchiveError::Read(error) => ImageError::store("read", failed.program.unwrap_or(archive), error),
        ArchiveError::Changed => ImageError::InputChanged { path: failed.program.unwrap_or(archive).to_owned() },
    }
}

fn checked_program(path: &Path, architecture: Architecture) -> Result<Program<'_>, ImageError> {
    let read_error = |error| ImageError::store("read", path, error);
    if let Some(problem) = supervisor::problem_of_program(path, architecture).map_err(read_error)? {
        return Err(ImageError::WrongBinary { path: path.to_owned(), problem, architecture });
    }
    let size_bytes = std::fs::metadata(path).map_err(read_error)?.len();
    Ok(Program { path, size_bytes })
}

/// A hash of all inputs of an image.
///
/// Path, size, times and inode stand for the binaries' content: reading that takes longer than all the rest. An image
/// made anew from the same content is the same image.
fn key(content: &Content<'_>, supervisor: &Supervisor) -> Result<String, ImageError> {
    let mut hasher = Sha256::new();
    for text in [crate::protocol::VERSION, content.architecture.name(), content.kubernetes, &supervisor.digest] {
        hasher.update(text);
        hasher.update([0]);
    }
    for Program { path, size_bytes } in [content.etcd, content.kube_api_server] {
        let metadata = std::fs::metadata(path).map_err(|error| ImageError::store("read", path, error))?;
        hasher.update(path.as_os_str().as_encoded_bytes());
        hasher.update(size_bytes.to_be_bytes());
        for number in [metadata.mtime(), metadata.mtime_nsec(), metadata.ctime(), metadata.ctime_nsec()] {
            hasher.update(number.to_be_bytes());
        }
        hasher.update(metadata.ino().to_be_bytes());
    }
    Ok(hex::encode(&hasher.finalize()[..16]))
}
