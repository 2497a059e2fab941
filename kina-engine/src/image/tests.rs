use std::collections::BTreeMap;
use std::io::Read;
use std::os::unix::fs::{MetadataExt, PermissionsExt};

use serde_json::Value;
use tempfile::TempDir;

use super::rustc::Rustc;
use super::*;
use crate::assets::AssetSource;

/// Binaries that consist of little more than headers, a supervisor of the same kind, and a directory for images.
struct Scene {
    directory: TempDir,
    source: SupervisorSource,
}

impl Scene {
    fn new() -> Self {
        let directory = tempfile::tempdir().expect("directory");
        let supervisor = directory.path().join("supervisor");
        std::fs::write(&supervisor, elf(62, b"supervisor")).expect("write");
        std::fs::write(directory.path().join("etcd"), elf(62, b"etcd")).expect("write");
        std::fs::write(directory.path().join("kube-apiserver"), elf(62, &[7; 300_000])).expect("write");
        let source = SupervisorSource { given: Some(supervisor), rustc: Rustc::new("/nowhere/rustc".into()) };
        Self { directory, source }
    }

    fn path(&self, name: &str) -> PathBuf {
        self.directory.path().join(name)
    }

    fn assets(&self) -> Assets {
        Assets::for_tests(self.path("kube-apiserver"), self.path("etcd"), "1.37.1".parse().ok(), AssetSource::Store)
    }

    fn build(&self) -> Result<BuiltImage, ImageError> {
        build_with(&self.assets(), Architecture::Amd64, &self.path("images"), &self.source)
    }

    fn built(&self) -> Image {
        self.build().expect("image").image
    }

    /// The names of the archives, sorted.
    fn archives(&self) -> Vec<String> {
        let entries = std::fs::read_dir(self.path("images")).expect("directory");
        let names = entries.map(|entry| entry.expect("entry").file_name().into_string().expect("UTF-8"));
        let mut names: Vec<_> = names.filter(|name| name.ends_with(".tar")).collect();
        names.sort();
        names
    }
}

/// A static Linux program without code, for the processor with this number.
fn elf(processor: u8, content: &[u8]) -> Vec<u8> {
    let mut program = vec![0; 120];
    program[..6].copy_from_slice(&[0x7f, b'E', b'L', b'F', 2, 1]);
    program[18] = processor;
    program[0x20] = 64;
    program[0x36] = 56;
    program[0x38] = 1;
    program[64] = 1;
    program.extend_from_slice(content);
    program
}

/// The entries of a tar file, by path, with their content.
fn entries_of(tar: &[u8]) -> BTreeMap<String, Vec<u8>> {
    let mut archive = tar::Archive::new(tar);
    let entries = archive.entries().expect("entries").map(|entry| {
        let mut entry = entry.expect("entry");
        let header = entry.header();
        let numbers = [header.uid(), header.gid(), header.mtime()].map(|number| number.expect("number"));
        assert_eq!(numbers, [0, 0, 0], "owner and time of {:?}", entry.path());
        let mut content = Vec::new();
        entry.read_to_end(&mut content).expect("content");
        (entry.path().expect("path").display().to_string(), content)
    });
    entries.collect()
}

fn parsed(content: &[u8]) -> Value {
    serde_json::from_slice(content).expect("JSON")
}

#[test]
fn the_same_content_always_makes_the_same_bytes() {
    let (one, other) = (Scene::new(), Scene::new());
    let long_ago = std::time::SystemTime::UNIX_EPOCH + std::time::Duration::from_secs(1_000_000);
    let etcd = std::fs::File::options().write(true).open(other.path("etcd")).expect("open");
    etcd.set_modified(long_ago).expect("time");
    std::fs::set_permissions(other.path("etcd"), std::fs::Permissions::from_mode(0o700)).expect("mode");
    let (one, other) = (one.built(), other.built());
    assert_ne!(one.archive, other.archive);
    assert_eq!(one.reference, other.reference);
    assert_eq!(one.digest, other.digest);
    assert!(std::fs::read(&one.archive).expect("read") == std::fs::read(&other.archive).expect("read"));
}

#[test]
fn the_archive_is_a_complete_oci_layout_of_its_sources() {
    let scene = Scene::new();
    let image = scene.built();
    let archive = std::fs::read(&image.archive).expect("read");
    assert_eq!(archive.len() as u64, image.size_bytes);
    let files = entries_of(&archive);
    assert_eq!(files["oci-layout"], br#"{"imageLayoutVersion":"1.0.0"}"#);
    let blob = |descriptor: &Value| {
        let digest = descriptor["digest"].as_str().expect("digest").strip_prefix("sha256:").expect("SHA-256");
        let content = &files[&format!("blobs/sha256/{digest}")];
        assert_eq!(hex::encode(&Sha256::digest(content)), digest);
        assert_eq!(descriptor["size"], content.len());
        content
    };

    let index = parsed(&files["index.json"]);
    assert_eq!(index["mediaType"], "application/vnd.oci.image.index.v1+json");
    let [entry] = index["manifests"].as_array().expect("manifests").as_slice() else { panic!("{index}") };
    assert_eq!(entry["digest"], *image.digest);
    assert_eq!(entry["platform"], serde_json::json!({"architecture": "amd64", "os": "linux"}));
    for name in
        ["com.apple.containerization.image.name", "io.containerd.image.name", "org.opencontainers.image.ref.name"]
    {
        assert_eq!(entry["annotations"][name], *image.reference);
    }
    assert_eq!(image.reference, format!("kina.local/cluster:1.37.1-amd64-{}", &image.digest[7..19]));

    let manifest = parsed(blob(entry));
    assert_eq!(manifest["mediaType"], "application/vnd.oci.image.manifest.v1+json");
    let config = parsed(blob(&manifest["config"]));
    assert_eq!(config["config"]["Entrypoint"], serde_json::json!([layout::SUPERVISOR]));
    assert_eq!(config["config"]["StopSignal"], "SIGTERM");
    assert_eq!(config["architecture"], "amd64");
    let layers = manifest["layers"].as_array().expect("layers");
    let digests: Vec<&Value> = layers.iter().map(|layer| &layer["digest"]).collect();
    assert_eq!(config["rootfs"]["diff_ids"].as_array().expect("digests").iter().collect::<Vec<_>>(), digests);
    assert_eq!(config["history"].as_array().expect("history").len(), layers.len());

    let layers: Vec<_> = layers.iter().map(|layer| entries_of(blob(layer))).collect();
    for (path, _) in layout::DIRECTORIES {
        assert!(layers[0].contains_key(&format!("{}/", &path[1..])), "{path} is missing");
    }
    for (layer, path, name) in
        [(1, "kina/etcd", "etcd"), (2, "kina/kube-apiserver", "kube-apiserver"), (3, "kina/supervisor", "supervisor")]
    {
        assert_eq!(layers[layer].keys().collect::<Vec<_>>(), ["kina/", path]);
        assert!(layers[layer][path] == std::fs::read(scene.path(name)).expect("read"), "{path}");
    }
    // The archive contains nothing else.
    assert_eq!(files.len(), 2 + 4 + 2 + 2, "{:?}", files.keys());
}

#[test]
fn an_image_is_reused_until_its_sources_change() {
    let scene = Scene::new();
    let first = scene.built();
    let identity = |image: &Image| std::fs::metadata(&image.archive).expect("archive").ino();
    let inode = identity(&first);
    assert_eq!(scene.built(), first);
    assert_eq!(identity(&first), inode, "it was written again");

    std::fs::write(scene.path("etcd"), elf(62, b"etcd, the next")).expect("write");
    let second = scene.built();
    assert_ne!(second.reference, first.reference);
    assert_eq!(scene.archives().len(), 2);

    std::fs::write(scene.path("supervisor"), elf(62, b"another supervisor")).expect("write");
    assert_ne!(scene.built().reference, second.reference);
    let last = last_used(Architecture::Amd64, None, &scene.path("images")).expect("used");
    assert_eq!(last, scene.built());
    assert_eq!(last_used(Architecture::Amd64, "1.37".parse().ok(), &scene.path("images")), Some(last));
    assert_eq!(last_used(Architecture::Amd64, "1.36".parse().ok(), &scene.path("images")), None);
    assert_eq!(last_used(Architecture::Arm64, None, &scene.path("images")), None);
}

#[test]
fn leftovers_of_a_killed_run_are_never_taken_for_an_image() {
    let scene = Scene::new();
    let image = scene.built();
    let whole = std::fs::read(&image.archive).expect("read");
    let cut_off = &whole[..whole.len() / 2];
    let record = std::fs::read_dir(scene.path("images/records")).expect("records").next().expect("one").expect("entry");
    let assert_made_anew = |what: &str| {
        assert_eq!(scene.built(), image, "{what}");
        assert!(std::fs::read(&image.archive).expect("read") == whole, "{what}");
        assert_eq!(std::fs::read_dir(scene.path("images/staging")).expect("staging").count(), 0, "{what}");
    };

    std::fs::write(&image.archive, cut_off).expect("write");
    assert_made_anew("an archive shorter than its record says");
    std::fs::remove_file(record.path()).expect("remove");
    std::fs::write(&image.archive, cut_off).expect("write");
    std::fs::write(scene.path("images/staging/archive.tar"), cut_off).expect("write");
    std::fs::write(scene.path("images/staging/record.json"), "{").expect("write");
    assert_made_anew("killed before the record was written");
    std::fs::write(record.path(), "{\"reference\":").expect("write");
    assert_made_anew("a record that is cut off");
    std::fs::remove_file(&image.archive).expect("remove");
    assert_made_anew("a record without its archive");
}

#[test]
fn only_the_most_recently_used_images_are_kept() {
    let scene = Scene::new();
    let first = scene.built();
    let mut images = Vec::new();
    for number in 0..6_u8 {
        std::fs::write(scene.path("etcd"), elf(62, &[number])).expect("write");
        images.push(scene.built().archive);
        // Simulates a file system with coarse time stamps.
        let age = std::time::SystemTime::UNIX_EPOCH + std::time::Duration::from_secs(1000 + u64::from(number));
        for entry in std::fs::read_dir(scene.path("images/records")).expect("records") {
            let file = std::fs::File::options().write(true).open(entry.expect("entry").path()).expect("open");
            if file.metadata().expect("metadata").modified().expect("time") > age + std::time::Duration::from_secs(9) {
                file.set_modified(age).expect("time");
            }
        }
    }
    assert!(!first.archive.exists());
    let kept: Vec<_> =
        images[2..].iter().map(|path| path.file_name().expect("name").to_str().expect("UTF-8")).collect();
    let mut kept: Vec<String> = kept.into_iter().map(str::to_owned).collect();
    kept.sort();
    assert_eq!(scene.archives(), kept);
    assert_eq!(std::fs::read_dir(scene.path("images/records")).expect("records").count(), 4);
}

#[test]
fn concurrent_requests_get_the_same_image() {
    let scene = Scene::new();
    let images: Vec<Image> = std::thread::scope(|scope| {
        let asking: Vec<_> = (0..8).map(|_| scope.spawn(|| scene.built())).collect();
        asking.into_iter().map(|thread| thread.join().expect("image")).collect()
    });
    assert!(images.iter().all(|image| *image == images[0]), "{images:?}");
    assert_eq!(scene.archives().len(), 1);
}

#[test]
fn binaries_that_cannot_run_in_the_image_are_refused_with_the_reason() {
    let scene = Scene::new();
    let refused = |content: &[u8]| {
        std::fs::write(scene.path("etcd"), content).expect("write");
        let error = scene.build().expect_err("refused");
        assert!(error.is_user_error(), "{error}");
        assert!(!scene.path("images").exists(), "nothing is made of it");
        error.to_string()
    };
    let mut dynamic = elf(62, b"etcd");
    dynamic[64] = 3;
    let mut darwin = vec![0; 64];
    darwin[..8].copy_from_slice(&[0xcf, 0xfa, 0xed, 0xfe, 0x0c, 0, 0, 1]);
    for (content, problem) in [
        (elf(183, b"etcd"), "is a program for linux-arm64"),
        (darwin, "is a program for darwin-arm64"),
        (dynamic, "is linked dynamically"),
        (b"#!/bin/sh\n".to_vec(), "is not a program in a known format"),
    ] {
        let message = refused(&content);
        assert!(message.starts_with(&format!("`{}` {problem}, but", scene.path("etcd").display())), "{message}");
        assert!(message.ends_with("ask for assets of linux-amd64"), "{message}");
    }
    std::fs::remove_file(scene.path("etcd")).expect("remove");
    assert!(matches!(scene.build(), Err(ImageError::Store { action: "read", .. })));
}

#[test]
fn the_error_names_an_unusable_directory() {
    let scene = Scene::new();
    std::fs::write(scene.path("images"), "in the way").expect("write");
    let message = scene.build().expect_err("no directory").to_string();
    assert!(message.contains(&scene.path("images").display().to_string()), "{message}");
}
