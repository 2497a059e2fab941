//! The download of a release archive: look it up, receive it, check it, unpack it, put it into the store.

use std::fs::{File, OpenOptions};
use std::io::{BufReader, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;
use std::time::{Duration, Instant};

use ring::digest::{Algorithm, Context, SHA512};

use super::binaries::COMPONENTS;
use super::error::{AssetsError, SourceFailure};
use super::http::{self, HttpError};
use super::index::{ListedArchive, ReleaseIndex};
use super::platform::Platform;
use super::request::AssetRequest;
use super::store::StoreLock;
use super::unpack::{UnpackError, unpack};
use super::{Progress, Report};
use crate::assets::version::KubernetesVersion;
use crate::backoff::Backoff;
use crate::kubernetes_minor::KubernetesMinor;

/// The index has 60 KB today.
const INDEX_BYTES_MAX: u64 = 16 << 20;
const TRANSFER_REPORT_INTERVAL: Duration = Duration::from_secs(2);

/// A failed download, which another source may make good.
#[derive(Debug, thiserror::Error)]
enum DownloadError {
    #[error("cannot get the release index")]
    Index(#[source] HttpError),
    #[error("the release index is not understood")]
    MalformedIndex(#[source] Box<serde_saphyr::Error>),
    #[error("the release index lists no {minor} for {platform}{range}")]
    NotListed { minor: KubernetesMinor, platform: Platform, range: String },
    #[error("the release index was got securely, but names the insecure address {0}")]
    InsecureAddress(String),
    #[error("cannot get {url}")]
    Archive {
        url: String,
        #[source]
        source: HttpError,
    },
    #[error("{url} has the SHA-512 {actual}, the release index says {expected}")]
    WrongHash { url: String, expected: String, actual: String },
    #[error("cannot unpack {url}")]
    Unpack {
        url: String,
        #[source]
        source: UnpackError,
    },
}

/// A failure to receive an archive: of the network, or one that ends the whole request.
enum ReceiveError {
    Http(HttpError),
    Fatal(AssetsError),
}

/// Downloads the newest patch of the wanted minor into the store.
pub(super) fn download(
    request: &AssetRequest,
    lock: &StoreLock<'_>,
    report: &Report<'_>,
) -> Result<KubernetesVersion, SourceFailure> {
    let (version, archive) = look_up(request, report).map_err(|error| SourceFailure::answered(&error))?;
    let staging = lock.staging()?;
    let archive_path = staging.path().join("archive.tar.gz");
    let what = format!("Kubernetes {version}");
    let transfer = Transfer { what: &what, url: &archive.url, path: &archive_path, algorithm: &SHA512 };
    let actual = receive(request, &transfer, report)?;
    let url = archive.url;
    if !actual.eq_ignore_ascii_case(&archive.hash) {
        return Err(SourceFailure::answered(&DownloadError::WrongHash { url, expected: archive.hash, actual }));
    }
    report(Progress::new(format!("unpacking Kubernetes {version}")));
    let directory = staging.path().join("binaries");
    unpack_archive(request, &archive_path, &directory, url)?;
    lock.publish(&directory, version)?;
    Ok(version)
}

fn look_up(request: &AssetRequest, report: &Report<'_>) -> Result<(KubernetesVersion, ListedArchive), DownloadError> {
    let limits = &request.limits;
    let url = &request.download_index_url;
    report(Progress::new(format!("looking for Kubernetes {} in the release index", request.minor)));
    let text = retries(request, limits.index_elapsed_max)
        .run_blocking(
            || http::get(request, url, limits.index_timeout, INDEX_BYTES_MAX)?.receive_text(),
            |error| error.is_transient() && !request.is_cancelled(),
            |error, pause| report_retry(report, "the release index", error, pause),
        )
        .map_err(DownloadError::Index)?;
    let index = ReleaseIndex::parse(&text).map_err(|error| DownloadError::MalformedIndex(Box::new(error)))?;
    let found = index.newest(request.minor, &request.platform).ok_or_else(|| DownloadError::NotListed {
        minor: request.minor,
        platform: request.platform.clone(),
        range: index.range().map(|(oldest, newest)| format!(", only {oldest} to {newest}")).unwrap_or_default(),
    })?;
    if url.starts_with("https:") && !found.1.url.starts_with("https:") {
        return Err(DownloadError::InsecureAddress(found.1.url));
    }
    Ok(found)
}

/// Something to receive into a file.
pub(super) struct Transfer<'a> {
    /// Its name in messages to people who wait.
    pub(super) what: &'a str,
    pub(super) url: &'a str,
    pub(super) path: &'a Path,
    /// That of the hash to check.
    pub(super) algorithm: &'static Algorithm,
}

/// Receives a file and returns its hash; starts over as often as that may help.
pub(super) fn receive(
    request: &AssetRequest,
    transfer: &Transfer<'_>,
    report: &Report<'_>,
) -> Result<String, SourceFailure> {
    retries(request, request.limits.archive_timeout)
        .run_blocking(
            || receive_once(request, transfer, report),
            |error| matches!(error, ReceiveError::Http(error) if error.is_transient()),
            |error, pause| {
                if let ReceiveError::Http(error) = error {
                    report_retry(report, transfer.what, error, pause);
                }
            },
        )
        .map_err(|error| match error {
            ReceiveError::Http(source) => {
                SourceFailure::answered(&DownloadError::Archive { url: transfer.url.to_owned(), source })
            }
            ReceiveError::Fatal(error) => SourceFailure::Fatal(error),
        })
}

fn receive_once(request: &AssetRequest, transfer: &Transfer<'_>, report: &Report<'_>) -> Result<String, ReceiveError> {
    let store_error = |error| ReceiveError::Fatal(AssetsError::store("write", transfer.path, error));
    let limits = &request.limits;
    let mut body = http::get(request, transfer.url, limits.archive_timeout, limits.archive_bytes_max)
        .map_err(ReceiveError::Http)?;
    let mut file = File::create(transfer.path).map_err(store_error)?;
    let mut hasher = Context::new(transfer.algorithm);
    let mut buffer = vec![0; 256 * 1024];
    let mut reported: Option<Instant> = None;
    loop {
        if request.is_cancelled() {
            return Err(ReceiveError::Fatal(AssetsError::Cancelled { minor: request.minor }));
        }
        if reported.is_none_or(|reported| reported.elapsed() >= TRANSFER_REPORT_INTERVAL) {
            reported = Some(Instant::now());
            let total = body.announced_bytes.map(|bytes| format!("/{}", megabytes(bytes))).unwrap_or_default();
            let received = megabytes(body.received_bytes);
            report(Progress::new(format!("downloading {}: {received}{total} MB", transfer.what)));
        }
        let length = body.receive(&mut buffer).map_err(ReceiveError::Http)?;
        if length == 0 {
            return Ok(crate::hex::encode(hasher.finish().as_ref()));
        }
        hasher.update(&buffer[..length]);
        file.write_all(&buffer[..length]).map_err(store_error)?;
    }
}

fn unpack_archive(
    request: &AssetRequest,
    archive_path: &Path,
    directory: &Path,
    url: String,
) -> Result<(), SourceFailure> {
    std::fs::create_dir(directory).map_err(|error| AssetsError::store("create", directory, error))?;
    let archive = File::open(archive_path).map_err(|error| AssetsError::store("read", archive_path, error))?;
    let create = |name: &str| OpenOptions::new().write(true).create_new(true).mode(0o755).open(directory.join(name));
    unpack(BufReader::new(archive), &COMPONENTS, request.limits.unpacked_bytes_max, create).map_err(|error| match error
    {
        UnpackError::Write { name, source } => AssetsError::store("write", &directory.join(name), source).into(),
        source => SourceFailure::answered(&DownloadError::Unpack { url, source }),
    })
}

fn retries(request: &AssetRequest, elapsed_max: Duration) -> Backoff {
    Backoff::NETWORK.with_retries_max(request.limits.retries_max).with_elapsed_max(elapsed_max)
}

fn report_retry(report: &Report<'_>, what: &str, error: &HttpError, pause: Duration) {
    let error = crate::error_text::with_causes(error);
    report(Progress::new(format!("cannot get {what} ({error}); trying again in {} ms", pause.as_millis())));
}

fn megabytes(bytes: u64) -> u64 {
    bytes.div_ceil(1_000_000)
}
