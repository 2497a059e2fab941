//! The image commands.

use std::collections::{BTreeMap, BTreeSet};
use std::fs::{self, File};
use std::io;
use std::time::Duration;

use container_command_line::command::Format;
use container_command_line::{Code, Failure, json, messages, qualified};
use serde_json::json;

use super::dispatch::{Call, Outcome};
use super::faults::Fault;
use super::layers::{self, Descriptor};
use super::store::{Store, broken};
use super::tables;

const NAMES: &str = "images.json";
/// The tries of a pull.
const PULL_TRIES: u32 = 4;
/// The name of the image that is damaged on demand.
const DAMAGED: &str = "damaged:1";

/// Returns the images by their full names.
pub(crate) fn names(store: &Store) -> Result<BTreeMap<String, Descriptor>, Failure> {
    Ok(store.read(NAMES)?.unwrap_or_default())
}

/// Returns the manifest for one platform.
pub(crate) fn variant(
    store: &Store,
    reference: &str,
    descriptor: &Descriptor,
    wanted: &str,
) -> Result<Descriptor, Failure> {
    let mut variants = layers::variants(store, descriptor)?.into_iter();
    let fits = |variant: &Descriptor| match &variant.platform {
        Some(platform) => Ok(platform.architecture == wanted && platform.os == "linux"),
        None => layers::configuration(store, &variant.digest).map(|(_, found)| found["architecture"] == wanted),
    };
    variants
        .find_map(|variant| match fits(&variant) {
            Ok(true) => Some(Ok(variant)),
            Ok(false) => None,
            Err(failure) => Some(Err(failure)),
        })
        .unwrap_or_else(|| Err(messages::platform_missing(reference, wanted)))
}

impl Call {
    /// `image load`: prints the names of the loaded images.
    pub(crate) fn image_load(&self, input: Option<&str>) -> Outcome {
        let found = match input {
            Some(path) => {
                let file = File::open(path).map_err(|error| layers::archive(format!("{path}: {error}")))?;
                layers::import(&self.store, io::BufReader::new(file))?
            }
            None => layers::import(&self.store, io::stdin().lock())?,
        };
        let mut printed = String::new();
        for descriptor in found {
            let name = ["io.containerd.image.name", "org.opencontainers.image.ref.name"]
                .iter()
                .find_map(|key| descriptor.annotations.get(*key))
                .map_or_else(|| format!("untagged@{}", descriptor.digest), |name| qualified(name));
            for variant in layers::variants(&self.store, &descriptor)? {
                layers::unpack(&self.store, &variant.digest)?;
            }
            let _lock = self.store.lock()?;
            let mut names = names(&self.store)?;
            names.insert(name.clone(), descriptor);
            self.store.write(NAMES, &names)?;
            printed.push_str(&format!("{name}\n"));
        }
        Ok(printed)
    }

    /// `image pull`, also that of a creation without its image: no registry has any image, and the last of four tries
    /// fails with an error of the network.
    pub(crate) fn pull(&self, reference: &str) -> Outcome {
        if self.decision.has(Fault::PullHangs) {
            loop {
                std::thread::park();
            }
        }
        std::thread::sleep(PULL_TRIES * Duration::from_millis(self.settings.faults.pull_ms));
        Err(messages::pull_failed(reference))
    }

    /// Removes one image, chosen by chance, as a user would.
    pub(crate) fn image_gone(&self) -> Result<(), Failure> {
        let _lock = self.store.lock()?;
        let mut names = names(&self.store)?;
        let mut order: Vec<_> = names.keys().cloned().collect();
        self.decision.shuffle(&mut order);
        if let Some(name) = order.first() {
            names.remove(name);
            self.store.write(NAMES, &names)?;
        }
        self.collect(&names)
    }

    /// Adds a foreign image with a blob that cannot be read.
    pub(crate) fn damage_an_image(&self) -> Result<(), Failure> {
        let _lock = self.store.lock()?;
        let mut names = names(&self.store)?;
        let digest = format!("sha256:{}", "da".repeat(32));
        let path = layers::blob(&self.store, &digest)?;
        fs::write(&path, "damaged").map_err(|error| broken(&path, &error))?;
        let media_type = "application/vnd.oci.image.index.v1+json".to_owned();
        let descriptor = Descriptor { media_type, digest, size: 741, platform: None, annotations: BTreeMap::new() };
        names.insert(qualified(DAMAGED), descriptor);
        self.store.write(NAMES, &names)
    }

    /// `image list`: fails in every form but `-q` if one image has a blob that cannot be read.
    pub(crate) fn image_list(&self, format: Format, quiet: bool) -> Outcome {
        let names = names(&self.store)?;
        let short = |name: &str| name.trim_start_matches("docker.io/").trim_start_matches("library/").to_owned();
        match format {
            Format::Json => {
                let images: Result<Vec<_>, _> = names.iter().map(|(name, found)| self.image(name, found)).collect();
                self.compact(&images?)
            }
            Format::Table if quiet => Ok(names.keys().map(|name| short(name) + "\n").collect()),
            Format::Table => {
                let read = |(name, found): (&String, &Descriptor)| {
                    self.image(name, found).map(|_| vec![short(name), found.digest.clone()])
                };
                Ok(tables::table(&["NAME", "DIGEST"], names.iter().map(read).collect::<Result<_, _>>()?))
            }
            Format::Yaml | Format::Toml => Err(self.not_emulated("yaml and toml")),
        }
    }

    /// `image inspect`.
    pub(crate) fn image_inspect(&self, references: &[String]) -> Outcome {
        let names = names(&self.store)?;
        let one = |reference: &String| {
            let name = qualified(reference);
            let found = names.get(&name).ok_or_else(|| messages::image_inspect_missing(reference))?;
            self.image(&name, found)
        };
        self.pretty(&references.iter().map(one).collect::<Result<Vec<_>, _>>()?)
    }

    fn image(&self, name: &str, descriptor: &Descriptor) -> Result<json::Image, Failure> {
        let mut variants = Vec::new();
        let mut created = None;
        for variant in layers::variants(&self.store, descriptor)? {
            let (manifest, config) = layers::configuration(&self.store, &variant.digest)?;
            created = created.or_else(|| config["created"].as_str().map(str::to_owned));
            let platform = json::Platform {
                architecture: config["architecture"].as_str().unwrap_or_default().to_owned(),
                os: config["os"].as_str().unwrap_or("linux").to_owned(),
                variant: None,
                extra: BTreeMap::new(),
            };
            let size = manifest.layers.iter().map(|layer| layer.size).sum::<u64>() + manifest.config.size;
            variants.push(json::ImageVariant {
                config,
                digest: variant.digest,
                platform,
                size,
                extra: BTreeMap::new(),
            });
        }
        Ok(json::Image {
            configuration: json::ImageConfiguration {
                creation_date: created.unwrap_or_else(|| "1970-01-01T00:00:00Z".to_owned()),
                descriptor: document(descriptor),
                name: name.to_owned(),
                extra: BTreeMap::new(),
            },
            id: descriptor.digest.trim_start_matches("sha256:").to_owned(),
            variants,
            extra: self.unknown_keys(3),
        })
    }

    /// `image tag`.
    pub(crate) fn image_tag(&self, source: &str, target: &str) -> Outcome {
        let _lock = self.store.lock()?;
        let mut names = names(&self.store)?;
        let found = names.get(&qualified(source)).cloned().ok_or_else(|| messages::image_missing(source))?;
        names.insert(qualified(target), found);
        self.store.write(NAMES, &names)?;
        Ok(format!("{}\n", qualified(target)))
    }

    /// `image delete`: `-f` ignores missing images only. Containers keep the files that they were made of.
    pub(crate) fn image_delete(&self, force: bool, references: &[String]) -> Outcome {
        let _lock = self.store.lock()?;
        let mut names = names(&self.store)?;
        let (mut printed, mut missing) = (String::new(), None);
        for reference in references {
            match names.remove(&qualified(reference)) {
                Some(_) => printed.push_str(&format!("{}\n", qualified(reference))),
                None if force => {}
                None => missing = Some(messages::image_missing(reference)),
            }
        }
        self.store.write(NAMES, &names)?;
        self.collect(&names)?;
        missing.map_or(Ok(printed), Err)
    }

    /// `image prune`: without `-a`, removes only images without a name.
    pub(crate) fn image_prune(&self, all: bool) -> Outcome {
        let _lock = self.store.lock()?;
        let mut names = names(&self.store)?;
        let mut printed = String::new();
        if all {
            let records = self.store.containers()?;
            let used: BTreeSet<String> =
                records.into_iter().map(|record| record.configuration.image.reference).collect();
            for name in names.keys().filter(|name| !used.contains(*name)).cloned().collect::<Vec<_>>() {
                names.remove(&name);
                printed.push_str(&format!("{name}\n"));
            }
            self.store.write(NAMES, &names)?;
        }
        self.collect(&names)?;
        Ok(printed)
    }

    /// Removes root file systems and objects that are no longer needed.
    fn collect(&self, names: &BTreeMap<String, Descriptor>) -> Result<(), Failure> {
        let mut snapshots: BTreeSet<_> =
            self.store.containers()?.into_iter().map(|record| record.machine.snapshot).collect();
        let mut blobs = BTreeSet::new();
        for descriptor in names.values() {
            blobs.insert(layers::blob(&self.store, &descriptor.digest)?);
            // An image that cannot be read needs nothing else.
            for variant in layers::variants(&self.store, descriptor).unwrap_or_default() {
                snapshots.insert(self.store.path("snapshots").join(variant.digest.trim_start_matches("sha256:")));
                let (manifest, _) = layers::configuration(&self.store, &variant.digest)?;
                blobs.insert(layers::blob(&self.store, &variant.digest)?);
                for part in manifest.layers.iter().chain([&manifest.config]) {
                    blobs.insert(layers::blob(&self.store, &part.digest)?);
                }
            }
        }
        for (directory, kept) in [("snapshots", &snapshots), ("blobs", &blobs)] {
            let directory = self.store.path(directory);
            for entry in fs::read_dir(&directory).map_err(|error| broken(&directory, &error))? {
                let path = entry.map_err(|error| broken(&directory, &error))?.path();
                // A file with an extension is being written by another call.
                if kept.contains(&path) || path.extension().is_some() {
                    continue;
                }
                let gone = if path.is_dir() { fs::remove_dir_all(&path) } else { fs::remove_file(&path) };
                gone.map_err(|error| broken(&path, &error))?;
            }
        }
        Ok(())
    }

    /// `image save`: writes an OCI layout tar, with an index even for one platform.
    pub(crate) fn image_save(&self, platform: Option<&str>, output: Option<&str>, references: &[String]) -> Outcome {
        let names = names(&self.store)?;
        let (mut manifests, mut blobs, mut saved) = (Vec::new(), BTreeSet::new(), String::new());
        for reference in references {
            let name = qualified(reference);
            let found = names.get(&name).ok_or_else(|| messages::image_missing(reference))?;
            let variants = match platform {
                Some(platform) => {
                    let wanted = platform.trim_start_matches("linux/");
                    vec![variant(&self.store, &name, found, wanted).map_err(|_| {
                        let text = format!("image {name} has no content for platform {platform}");
                        Failure::runtime(Code::NotFound, text)
                    })?]
                }
                None => layers::variants(&self.store, found)?,
            };
            blobs.insert(found.digest.clone());
            for variant in variants {
                let (manifest, _) = layers::configuration(&self.store, &variant.digest)?;
                blobs.insert(variant.digest);
                blobs.extend(manifest.layers.into_iter().chain([manifest.config]).map(|part| part.digest));
            }
            let mut entry = found.clone();
            entry.annotations.insert("org.opencontainers.image.ref.name".to_owned(), name.clone());
            manifests.push(entry);
            saved.push_str(&format!("{name}\n"));
        }
        let index = json!({"schemaVersion": 2, "manifests": manifests}).to_string();
        match output {
            Some(path) => {
                let file = File::create(path).map_err(|error| broken(path.as_ref(), &error))?;
                self.write_layout(file, &index, &blobs)?;
                Ok(saved)
            }
            None => {
                self.write_layout(io::stdout().lock(), &index, &blobs)?;
                eprint!("{saved}");
                Ok(String::new())
            }
        }
    }

    fn write_layout(&self, output: impl io::Write, index: &str, blobs: &BTreeSet<String>) -> Result<(), Failure> {
        let mut archive = tar::Builder::new(output);
        let mut add = |name: String, bytes: &[u8]| {
            let mut header = tar::Header::new_gnu();
            header.set_size(bytes.len() as u64);
            header.set_mode(0o644);
            header.set_uid(0);
            header.set_gid(0);
            header.set_mtime(0);
            archive.append_data(&mut header, name, bytes).map_err(|error| layers::archive(error.to_string()))
        };
        add("oci-layout".to_owned(), br#"{"imageLayoutVersion":"1.0.0"}"#)?;
        add("index.json".to_owned(), index.as_bytes())?;
        for digest in blobs {
            let path = layers::blob(&self.store, digest)?;
            let bytes = fs::read(&path).map_err(|error| broken(&path, &error))?;
            add(format!("blobs/sha256/{}", digest.trim_start_matches("sha256:")), &bytes)?;
        }
        archive.finish().map_err(|error| layers::archive(error.to_string()))
    }
}

/// Returns a descriptor as the CLI shows it.
pub(crate) fn document(descriptor: &Descriptor) -> json::Descriptor {
    json::Descriptor {
        digest: descriptor.digest.clone(),
        media_type: descriptor.media_type.clone(),
        size: descriptor.size,
        extra: BTreeMap::new(),
    }
}

#[cfg(test)]
mod tests {
    #[test]
    fn names_get_their_registry_and_tag() {
        for (name, full) in [
            ("alpine", "docker.io/library/alpine:latest"),
            ("kindest/node:v1", "docker.io/kindest/node:v1"),
            ("kina.local/cluster:1.37.1", "kina.local/cluster:1.37.1"),
            ("localhost/a", "localhost/a:latest"),
            ("localhost:5000/a:b", "localhost:5000/a:b"),
            ("a@sha256:00", "docker.io/library/a@sha256:00"),
        ] {
            assert_eq!(container_command_line::qualified(name), full);
        }
    }
}
