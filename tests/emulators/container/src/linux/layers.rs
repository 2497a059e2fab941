//! From an OCI layout to objects, and from layers to a root file system.

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io::{self, BufReader, Read};
use std::path::{Component, Path, PathBuf};

use container_command_line::{Code, Failure};
use serde::{Deserialize, Serialize};
use serde_json::Value;
use sha2::{Digest, Sha256};

use super::store::{Store, broken};

/// An object of an image, as OCI writes it.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Descriptor {
    /// Its kind.
    pub(crate) media_type: String,
    /// The hash of its content.
    pub(crate) digest: String,
    /// Its length.
    pub(crate) size: u64,
    /// Its platform.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) platform: Option<PlatformOfDescriptor>,
    /// Its name, among others.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub(crate) annotations: BTreeMap<String, String>,
}

/// The platform of an image.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct PlatformOfDescriptor {
    /// The processor.
    pub(crate) architecture: String,
    /// The system.
    pub(crate) os: String,
}

#[derive(Debug, Deserialize)]
struct Index {
    manifests: Vec<Descriptor>,
}

/// An image for one platform.
#[derive(Debug, Deserialize)]
pub(crate) struct Manifest {
    /// The image's configuration.
    pub(crate) config: Descriptor,
    /// The parts of its root file system, the lowest first.
    pub(crate) layers: Vec<Descriptor>,
}

/// Returns the path of an object.
pub(crate) fn blob(store: &Store, digest: &str) -> Result<PathBuf, Failure> {
    let name = digest
        .strip_prefix("sha256:")
        .filter(|name| name.len() == 64 && name.bytes().all(|byte| byte.is_ascii_hexdigit()));
    name.map(|name| store.path("blobs").join(name)).ok_or_else(|| archive(format!("`{digest}` is not a digest")))
}

/// Reads an object that is JSON.
pub(crate) fn document<T: serde::de::DeserializeOwned>(store: &Store, digest: &str) -> Result<T, Failure> {
    let path = blob(store, digest)?;
    let bytes = fs::read(&path).map_err(|error| broken(&path, &error))?;
    serde_json::from_slice(&bytes).map_err(|error| archive(format!("{digest}: {error}")))
}

/// Takes the objects out of an OCI layout tar, checks them, and returns the images that its index names.
pub(crate) fn import(store: &Store, input: impl Read) -> Result<Vec<Descriptor>, Failure> {
    let mut index: Option<Index> = None;
    let mut layout = false;
    let mut reader = tar::Archive::new(input);
    for entry in reader.entries().map_err(|error| archive(error.to_string()))? {
        let mut entry = entry.map_err(|error| archive(error.to_string()))?;
        let path = entry.path().map_err(|error| archive(error.to_string()))?.into_owned();
        let name = path.to_string_lossy().trim_start_matches("./").to_owned();
        if name == "oci-layout" {
            layout = true;
        } else if name == "index.json" {
            index = Some(serde_json::from_reader(&mut entry).map_err(|error| archive(format!("index.json: {error}")))?);
        } else if let Some(hex) = name.strip_prefix("blobs/sha256/").filter(|hex| !hex.is_empty()) {
            // Existing objects were checked when they were imported.
            let there =
                blob(store, &format!("sha256:{hex}"))?.metadata().is_ok_and(|found| found.len() == entry.size());
            if !there {
                keep(store, hex, &mut entry)?;
            }
        }
    }
    match index {
        Some(index) if layout => Ok(index.manifests),
        _ => Err(archive("no OCI layout: oci-layout or index.json is missing".to_owned())),
    }
}

fn keep(store: &Store, hex: &str, entry: &mut impl Read) -> Result<(), Failure> {
    let path = blob(store, &format!("sha256:{hex}"))?;
    let temporary = path.with_extension(format!("new-{}", std::process::id()));
    let mut copy = || -> io::Result<String> {
        let mut file = File::create(&temporary)?;
        let mut digest = Sha256::new();
        let mut buffer = vec![0; 1 << 16];
        loop {
            let length = entry.read(&mut buffer)?;
            if length == 0 {
                break;
            }
            digest.update(&buffer[..length]);
            io::Write::write_all(&mut file, &buffer[..length])?;
        }
        Ok(digest.finalize().iter().map(|byte| format!("{byte:02x}")).collect())
    };
    let found = copy().map_err(|error| broken(&temporary, &error))?;
    if found != hex {
        // Nothing can be done if the file cannot be removed either.
        let _ = fs::remove_file(&temporary);
        return Err(archive(format!("the content of sha256:{hex} has the digest sha256:{found}")));
    }
    fs::rename(&temporary, &path).map_err(|error| broken(&path, &error))
}

/// Returns the images for one platform each: the object itself, or those in its index.
pub(crate) fn variants(store: &Store, descriptor: &Descriptor) -> Result<Vec<Descriptor>, Failure> {
    if !descriptor.media_type.contains("index") && !descriptor.media_type.contains("manifest.list") {
        return Ok(vec![descriptor.clone()]);
    }
    Ok(document::<Index>(store, &descriptor.digest)?.manifests)
}

/// Unpacks the layers of an image, once. The directory is either complete or does not exist.
pub(crate) fn unpack(store: &Store, manifest_digest: &str) -> Result<PathBuf, Failure> {
    let target = store.path("snapshots").join(manifest_digest.trim_start_matches("sha256:"));
    if target.exists() {
        return Ok(target);
    }
    let manifest: Manifest = document(store, manifest_digest)?;
    let temporary = target.with_extension(format!("new-{}", std::process::id()));
    fs::create_dir_all(&temporary).map_err(|error| broken(&temporary, &error))?;
    for layer in &manifest.layers {
        let path = blob(store, &layer.digest)?;
        let file = BufReader::new(File::open(&path).map_err(|error| broken(&path, &error))?);
        let outcome = match layer.media_type.rsplit_once(['+', '.']).map(|(_, end)| end) {
            Some("gzip") => apply(flate2::read::GzDecoder::new(file), &temporary),
            Some("tar") => apply(file, &temporary),
            _ => return Err(archive(format!("layers of {} cannot be read", layer.media_type))),
        };
        // The error of unpacking has its reason as the source.
        let reason = |error: &io::Error| error.get_ref().and_then(std::error::Error::source).map(ToString::to_string);
        outcome
            .map_err(|error| archive(format!("{}: {error}: {}", layer.digest, reason(&error).unwrap_or_default())))?;
    }
    match fs::rename(&temporary, &target) {
        Ok(()) => Ok(target),
        // Another call with the same content was faster.
        Err(_) if target.exists() => {
            let _ = fs::remove_dir_all(&temporary);
            Ok(target)
        }
        Err(error) => Err(broken(&target, &error)),
    }
}

/// Reads the manifest and the configuration of an image.
pub(crate) fn configuration(store: &Store, manifest_digest: &str) -> Result<(Manifest, Value), Failure> {
    let manifest: Manifest = document(store, manifest_digest)?;
    let configuration = document(store, &manifest.config.digest)?;
    Ok((manifest, configuration))
}

fn apply(layer: impl Read, root: &Path) -> io::Result<()> {
    let mut layer = tar::Archive::new(layer);
    layer.set_preserve_permissions(true);
    layer.set_preserve_ownerships(rustix::process::geteuid().is_root());
    layer.set_overwrite(true);
    for entry in layer.entries()? {
        let mut entry = entry?;
        let path: PathBuf = entry.path()?.components().filter(|part| matches!(part, Component::Normal(_))).collect();
        let name = path.file_name().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default();
        let parent = root.join(path.parent().unwrap_or(Path::new("")));
        if name == ".wh..wh..opq" {
            for hidden in fs::read_dir(&parent)? {
                remove(&hidden?.path())?;
            }
        } else if let Some(hidden) = name.strip_prefix(".wh.") {
            remove(&parent.join(hidden))?;
        } else {
            entry.unpack_in(root)?;
        }
    }
    Ok(())
}

fn remove(path: &Path) -> io::Result<()> {
    match path.symlink_metadata() {
        Ok(metadata) if metadata.is_dir() => fs::remove_dir_all(path),
        Ok(_) => fs::remove_file(path),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        Err(error) => Err(error),
    }
}

/// Makes the error of an invalid archive.
pub(crate) fn archive(text: String) -> Failure {
    Failure::runtime(Code::InvalidArgument, format!("failed to load the image archive: {text}"))
}
