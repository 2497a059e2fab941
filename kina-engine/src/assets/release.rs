//! The download of single programs from their projects' releases, each checked against a hash that the same place
//! states.

use std::fs::Permissions;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use ring::digest::SHA256;
use serde::Deserialize;

use super::Report;
use super::binaries::{KWOK, KWOK_VERSION};
use super::download::{Transfer, receive};
use super::error::{AssetsError, SourceFailure};
use super::http::{self, HttpError};
use super::request::AssetRequest;
use super::store::StoreLock;
use crate::assets::version::KubernetesVersion;

/// A line with a hash, or GitHub's description of a release.
const STATEMENT_BYTES_MAX: u64 = 4 << 20;
const SHA256_DIGITS: usize = 64;

/// A failed download, which another source may make good.
#[derive(Debug, thiserror::Error)]
enum ReleaseError {
    #[error("Kubernetes releases {component} for Linux only")]
    OnlyLinux { component: String },
    #[error("cannot get {url}")]
    Statement {
        url: String,
        #[source]
        source: HttpError,
    },
    #[error("{url} does not say what the SHA-256 of {name} is")]
    NoHash { url: String, name: String },
    #[error("{url} was got securely, but names the insecure address {address}")]
    InsecureAddress { url: String, address: String },
    #[error("{url} has the SHA-256 {actual}, the release says {expected}")]
    WrongHash { url: String, expected: String, actual: String },
}

#[derive(Deserialize)]
struct GithubRelease {
    #[serde(default)]
    assets: Vec<GithubAsset>,
}

#[derive(Deserialize)]
struct GithubAsset {
    name: String,
    browser_download_url: String,
    digest: Option<String>,
}

/// A program to receive.
struct Program {
    what: String,
    url: String,
    sha256: String,
}

/// Downloads `component` of exactly this version of Kubernetes into the store.
pub(super) fn download_component(
    request: &AssetRequest,
    lock: &StoreLock<'_>,
    version: KubernetesVersion,
    component: &str,
    report: &Report<'_>,
) -> Result<(), SourceFailure> {
    let platform = &request.platform;
    if platform.os != "linux" {
        return Err(answered(ReleaseError::OnlyLinux { component: component.to_owned() }));
    }
    let url = format!("{}/v{version}/bin/{}/{}/{component}", request.release_url, platform.os, platform.arch);
    let stated = statement(request, &format!("{url}.sha256"))?;
    // The line may go on with the name of the file.
    let sha256 = checked_hash(stated.split_whitespace().next().unwrap_or_default(), &url, component)?;
    let what = format!("{component} {version}");
    let (_staging, path) = receive_program(request, lock, component, Program { what, url, sha256 }, report)?;
    Ok(lock.add(&path, component, version)?)
}

/// Downloads the program that simulates nodes into the store.
pub(super) fn download_kwok(
    request: &AssetRequest,
    lock: &StoreLock<'_>,
    report: &Report<'_>,
) -> Result<(), SourceFailure> {
    let url = &request.kwok_release_url;
    let name = format!("{KWOK}-{}", request.platform);
    let no_hash = || answered(ReleaseError::NoHash { url: url.clone(), name: name.clone() });
    let release: GithubRelease = serde_json::from_str(&statement(request, url)?).map_err(|_| no_hash())?;
    let asset = release.assets.into_iter().find(|asset| asset.name == name).ok_or_else(no_hash)?;
    let digest = asset.digest.unwrap_or_default();
    let sha256 = checked_hash(digest.strip_prefix("sha256:").unwrap_or_default(), url, &name)?;
    let address = asset.browser_download_url;
    if url.starts_with("https:") && !address.starts_with("https:") {
        return Err(answered(ReleaseError::InsecureAddress { url: url.clone(), address }));
    }
    let what = format!("{KWOK} {KWOK_VERSION}");
    let (_staging, path) = receive_program(request, lock, KWOK, Program { what, url: address, sha256 }, report)?;
    Ok(lock.add_kwok(&path)?)
}

/// Receives a program into a staging directory, which is removed when the first of the results is dropped.
fn receive_program(
    request: &AssetRequest,
    lock: &StoreLock<'_>,
    name: &str,
    program: Program,
    report: &Report<'_>,
) -> Result<(tempfile::TempDir, PathBuf), SourceFailure> {
    let Program { what, url, sha256: expected } = program;
    let staging = lock.staging()?;
    let path = staging.path().join(name);
    let transfer = Transfer { what: &what, url: &url, path: &path, algorithm: &SHA256 };
    let actual = receive(request, &transfer, report)?;
    if !actual.eq_ignore_ascii_case(&expected) {
        return Err(answered(ReleaseError::WrongHash { url, expected, actual }));
    }
    make_executable(&path)?;
    Ok((staging, path))
}

fn statement(request: &AssetRequest, url: &str) -> Result<String, SourceFailure> {
    http::get(request, url, request.limits.index_timeout, STATEMENT_BYTES_MAX)
        .and_then(http::Body::receive_text)
        .map_err(|source| answered(ReleaseError::Statement { url: url.to_owned(), source }))
}

fn checked_hash(text: &str, url: &str, name: &str) -> Result<String, SourceFailure> {
    let is_hash = text.len() == SHA256_DIGITS && text.bytes().all(|byte| byte.is_ascii_hexdigit());
    let no_hash = || answered(ReleaseError::NoHash { url: url.to_owned(), name: name.to_owned() });
    is_hash.then(|| text.to_owned()).ok_or_else(no_hash)
}

fn make_executable(path: &Path) -> Result<(), AssetsError> {
    std::fs::set_permissions(path, Permissions::from_mode(0o755))
        .map_err(|error| AssetsError::store("make executable", path, error))
}

fn answered(error: ReleaseError) -> SourceFailure {
    SourceFailure::answered(&error)
}
