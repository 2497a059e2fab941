//! The content of an image, and its metadata.

use std::collections::BTreeMap;
use std::fs::File;
use std::path::Path;

use serde::Serialize;

use super::architecture::Architecture;
use super::archive::{ArchiveError, ArchiveWriter, Descriptor, LayerEntry};
use super::layout;

const MANIFEST: &str = "application/vnd.oci.image.manifest.v1+json";
const INDEX: &str = "application/vnd.oci.image.index.v1+json";
const CONFIG: &str = "application/vnd.oci.image.config.v1+json";
/// Images have no date of creation, so that the same content is the same image.
const CREATED: &str = "1970-01-01T00:00:00Z";
const HASH_DIGITS: usize = 12;

/// The sources of an image.
#[derive(Clone, Debug)]
pub(super) struct Content<'a> {
    pub(super) architecture: Architecture,
    /// The version of Kubernetes, or a placeholder if it is not known.
    pub(super) kubernetes: &'a str,
    pub(super) supervisor: Program<'a>,
    pub(super) etcd: Program<'a>,
    pub(super) kube_api_server: Program<'a>,
}

/// The sources of an image in which no cluster runs: the supervisor alone, which answers questions about the machine.
#[derive(Clone, Debug)]
pub(super) struct ProbeContent<'a> {
    pub(super) architecture: Architecture,
    pub(super) supervisor: Program<'a>,
}

/// A program on the host.
#[derive(Clone, Copy, Debug)]
pub(super) struct Program<'a> {
    pub(super) path: &'a Path,
    pub(super) size_bytes: u64,
}

/// An archive that was written.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Written {
    pub(super) reference: String,
    pub(super) digest: String,
    pub(super) size_bytes: u64,
}

/// An error, with the program that it is about, if any.
#[derive(Debug)]
pub(super) struct WriteError<'a> {
    pub(super) error: ArchiveError,
    pub(super) program: Option<&'a Path>,
}

/// An image in general.
struct Description<'a> {
    architecture: Architecture,
    /// The first part of its name: `kina.local/<repository>:<version>`.
    repository: &'static str,
    version: &'a str,
    /// The paths in the image, the programs, and their descriptions for people. Those that change least often come first.
    programs: Vec<(&'static str, Program<'a>, &'static str)>,
    entry_point: Vec<&'static str>,
    ports: Vec<u16>,
    labels: BTreeMap<&'static str, &'a str>,
}

impl<'a> Content<'a> {
    /// Writes the archive into `file`, which is empty.
    pub(super) fn write(&self, file: File) -> Result<Written, WriteError<'a>> {
        let description = Description {
            architecture: self.architecture,
            repository: "cluster",
            version: self.kubernetes,
            programs: vec![
                (layout::ETCD, self.etcd, "etcd"),
                (layout::KUBE_API_SERVER, self.kube_api_server, "kube-apiserver"),
                (layout::SUPERVISOR, self.supervisor, "kina's supervisor"),
            ],
            entry_point: vec![layout::SUPERVISOR],
            ports: vec![layout::API_PORT, layout::ETCD_PORT],
            labels: [("dev.kina.kubernetes", self.kubernetes)].into(),
        };
        description.write(file)
    }
}

impl<'a> ProbeContent<'a> {
    /// Writes the archive into `file`, which is empty.
    pub(super) fn write(&self, file: File) -> Result<Written, WriteError<'a>> {
        let description = Description {
            architecture: self.architecture,
            repository: "probe",
            version: crate::protocol::VERSION,
            programs: vec![(layout::SUPERVISOR, self.supervisor, "kina's supervisor")],
            entry_point: vec![layout::SUPERVISOR, layout::PROBE_ARGUMENT],
            ports: vec![layout::API_PORT],
            labels: BTreeMap::new(),
        };
        description.write(file)
    }
}

impl<'a> Description<'a> {
    fn write(&self, file: File) -> Result<Written, WriteError<'a>> {
        let mut archive = ArchiveWriter::begin(file)?;
        let mut layers = vec![archive.layer(&base())?];
        // Each program is a layer of its own, so that images can share it.
        for (path, program, _) in &self.programs {
            let entries = [
                LayerEntry::Directory { path: "/kina", mode: 0o755 },
                LayerEntry::Program { path, source: program.path, size_bytes: program.size_bytes },
            ];
            layers.push(archive.layer(&entries).map_err(|error| WriteError { error, program: Some(program.path) })?);
        }
        let config = archive.blob(CONFIG, &json(&self.config(&layers))?)?;
        let manifest = Manifest { schema_version: 2, media_type: MANIFEST, config, layers };
        let manifest = archive.blob(MANIFEST, &json(&manifest)?)?;
        let digest = manifest.digest.clone();
        let hash = &digest["sha256:".len()..][..HASH_DIGITS];
        let Self { repository, version, architecture, .. } = self;
        let reference = format!("kina.local/{repository}:{version}-{architecture}-{hash}");
        let index = self.index(manifest, &reference);
        archive.document("index.json", &json(&index)?)?;
        archive.document("oci-layout", br#"{"imageLayoutVersion":"1.0.0"}"#)?;
        Ok(Written { reference, digest, size_bytes: archive.finish()? })
    }

    fn config(&self, layers: &[Descriptor]) -> ImageConfig<'_> {
        ImageConfig {
            architecture: self.architecture.name(),
            os: "linux",
            created: CREATED,
            config: RuntimeConfig {
                entrypoint: &self.entry_point,
                environment: ["PATH=/kina", "HOME=/root"],
                working_directory: "/",
                exposed_ports: self.ports.iter().map(|port| (format!("{port}/tcp"), Empty {})).collect(),
                labels: &self.labels,
                stop_signal: "SIGTERM",
            },
            root_file_system: RootFileSystem {
                kind: "layers",
                // For an uncompressed layer both digests are the same.
                digests: layers.iter().map(|layer| layer.digest.clone()).collect(),
            },
            history: std::iter::once("directories")
                .chain(self.programs.iter().map(|(_, _, comment)| *comment))
                .map(|comment| History { created: CREATED, created_by: "kina", comment })
                .collect(),
        }
    }

    fn index(&self, manifest: Descriptor, reference: &str) -> Index {
        let names =
            ["com.apple.containerization.image.name", "io.containerd.image.name", "org.opencontainers.image.ref.name"];
        Index {
            schema_version: 2,
            media_type: INDEX,
            manifests: [IndexEntry {
                descriptor: manifest,
                platform: Platform { architecture: self.architecture.name(), os: "linux" },
                annotations: names.map(|name| (name, reference.to_owned())).into(),
            }],
        }
    }
}

/// The layer with everything except the programs.
fn base() -> Vec<LayerEntry<'static>> {
    let directories = layout::DIRECTORIES.iter().map(|(path, mode)| LayerEntry::Directory { path, mode: *mode });
    directories.chain(layout::FILES.iter().map(|(path, text)| LayerEntry::Text { path, text })).collect()
}

fn json(document: &impl Serialize) -> Result<Vec<u8>, ArchiveError> {
    serde_json::to_vec(document).map_err(|error| ArchiveError::Write(error.into()))
}

impl From<ArchiveError> for WriteError<'_> {
    fn from(error: ArchiveError) -> Self {
        Self { error, program: None }
    }
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Manifest {
    schema_version: u32,
    media_type: &'static str,
    config: Descriptor,
    layers: Vec<Descriptor>,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Index {
    schema_version: u32,
    media_type: &'static str,
    manifests: [IndexEntry; 1],
}

#[derive(Serialize)]
struct IndexEntry {
    #[serde(flatten)]
    descriptor: Descriptor,
    platform: Platform,
    annotations: BTreeMap<&'static str, String>,
}

#[derive(Serialize)]
struct Platform {
    architecture: &'static str,
    os: &'static str,
}

#[derive(Serialize)]
struct ImageConfig<'a> {
    architecture: &'static str,
    os: &'static str,
    created: &'static str,
    config: RuntimeConfig<'a>,
    #[serde(rename = "rootfs")]
    root_file_system: RootFileSystem,
    history: Vec<History>,
}

#[derive(Serialize)]
#[serde(rename_all = "PascalCase")]
struct RuntimeConfig<'a> {
    entrypoint: &'a [&'static str],
    #[serde(rename = "Env")]
    environment: [&'static str; 2],
    #[serde(rename = "WorkingDir")]
    working_directory: &'static str,
    exposed_ports: BTreeMap<String, Empty>,
    labels: &'a BTreeMap<&'static str, &'a str>,
    stop_signal: &'static str,
}

#[derive(Serialize)]
struct Empty {}

#[derive(Serialize)]
struct RootFileSystem {
    #[serde(rename = "type")]
    kind: &'static str,
    #[serde(rename = "diff_ids")]
    digests: Vec<String>,
}

#[derive(Serialize)]
struct History {
    created: &'static str,
    created_by: &'static str,
    comment: &'static str,
}
