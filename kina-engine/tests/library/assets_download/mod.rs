//! Assets over real HTTP from a server on loopback, into a real store, with and without faults.

mod controllers;
mod processes;
mod server;
mod sources;

use std::cell::RefCell;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use kina_engine::lab::assets::AssetSource;
use kina_engine::{AssetRequest, Assets, AssetsError, KubernetesMinor, Platform, provide_assets};
use tempfile::TempDir;

use self::server::{Answer, ReleaseServer, archive, ordinary_archive, sha512};

/// A server, a cache, and a request that uses both.
struct Scene {
    server: ReleaseServer,
    cache: TempDir,
    request: AssetRequest,
}

impl Scene {
    fn new() -> Self {
        let server = ReleaseServer::start();
        let cache = tempfile::tempdir().expect("cache");
        let request = request(cache.path(), &server.index_url());
        Self { server, cache, request }
    }

    fn provide(&self) -> Result<Assets, AssetsError> {
        provide_assets(&self.request, &|_| {})
    }

    /// Asks for assets, and returns the download's answer when that fails.
    fn download_answer(&self) -> String {
        let error = self.provide().expect_err("no assets");
        assert!(!error.is_user_error(), "{error}");
        self.assert_nothing_is_in_the_store();
        let AssetsError::NoSource(no_source) = error else { panic!("{error}") };
        let answer = no_source.answers.into_iter().find(|answer| answer.asked == AssetSource::Download);
        answer.expect("download was asked").answer
    }

    fn store(&self) -> PathBuf {
        self.cache.path().join("assets/k8s")
    }

    fn version_directory(&self, version: &str) -> PathBuf {
        self.store().join(format!("{version}-{}", Platform::host()))
    }

    fn assert_nothing_is_in_the_store(&self) {
        assert_eq!(names_in(&self.store()), [""; 0]);
        assert_eq!(names_in(&self.cache.path().join("assets/staging")), [""; 0]);
    }
}

/// Makes a request whose only sources are its store and `index_url`, with short time limits.
fn request(cache: &Path, index_url: &str) -> AssetRequest {
    let mut request = AssetRequest::new(KubernetesMinor::DEFAULT, cache.to_owned());
    request.download_index_url = index_url.to_owned();
    request.limits.idle_timeout = Duration::from_millis(300);
    request
}

fn names_in(directory: &Path) -> Vec<String> {
    let entries = std::fs::read_dir(directory).expect("directory");
    let mut names: Vec<String> =
        entries.map(|entry| entry.expect("entry").file_name().into_string().expect("name")).collect();
    names.sort();
    names
}

/// Puts a file that counts as a program into `directory`.
fn put_program(directory: &Path, name: &str) {
    std::fs::create_dir_all(directory).expect("create");
    let path = directory.join(name);
    std::fs::write(&path, "#!/bin/sh\n").expect("write");
    std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o755)).expect("mode");
}

#[test]
fn an_archive_is_downloaded_once_and_found_in_the_store_from_then_on() {
    let scene = Scene::new();
    scene.server.release("1.37.4", &ordinary_archive());
    let texts = RefCell::new(Vec::new());
    let assets = provide_assets(&scene.request, &|progress| texts.borrow_mut().push(progress.text)).expect("assets");
    assert_eq!(assets.source, AssetSource::Download);
    assert_eq!(assets.version.expect("version").to_string(), "1.37.4");
    assert_eq!(assets.kube_apiserver, scene.version_directory("1.37.4").join("kube-apiserver"));
    assert_eq!(std::fs::read(&assets.etcd).expect("etcd"), server::noise(500_000, 3));
    assert_eq!(names_in(&scene.version_directory("1.37.4")), ["etcd", "kube-apiserver"]);
    assert_eq!(names_in(&scene.cache.path().join("assets/staging")), [""; 0]);
    let mode = std::fs::metadata(&assets.etcd).expect("metadata").permissions().mode();
    assert_ne!(mode & 0o100, 0, "{mode:o}");
    assert!(texts.borrow().iter().any(|text| text.starts_with("downloading Kubernetes 1.37.4: ")), "{texts:?}");

    let again = provide_assets(&scene.request, &|progress| panic!("nothing to wait for: {progress}")).expect("again");
    assert_eq!((again.source, again.identity, again.etcd), (AssetSource::Store, assets.identity, assets.etcd));
    assert_eq!((scene.server.requests("/index.yaml"), scene.server.requests("/archive.tar.gz")), (1, 1));
}

#[test]
fn a_transfer_that_is_always_cut_off_leaves_nothing_behind() {
    let scene = Scene::new();
    let archive = ordinary_archive();
    scene.server.release("1.37.1", &archive);
    let sent_bytes = archive.len() / 2;
    scene.server.answer("/archive.tar.gz", [Answer::CutOff(archive, sent_bytes)]);
    let answer = scene.download_answer();
    assert!(answer.contains("broke off after"), "{answer}");
    assert_eq!(scene.server.requests("/archive.tar.gz"), 1 + scene.request.limits.retries_max);
}

#[test]
fn a_transfer_that_is_cut_off_once_is_repeated_from_the_start() {
    let scene = Scene::new();
    let archive = ordinary_archive();
    scene.server.release("1.37.1", &archive);
    scene.server.answer("/archive.tar.gz", [Answer::CutOff(archive.clone(), 999_999), Answer::Body(archive)]);
    assert_eq!(scene.provide().expect("assets").source, AssetSource::Download);
}

#[test]
fn an_archive_with_another_hash_is_refused_and_not_asked_for_again() {
    let scene = Scene::new();
    scene.server.release("1.37.1", &ordinary_archive());
    scene.server.list("1.37.1", &sha512(b"another archive"));
    let answer = scene.download_answer();
    assert!(answer.contains(&sha512(b"another archive")) && answer.contains(&sha512(&ordinary_archive())), "{answer}");
    assert_eq!(scene.server.requests("/archive.tar.gz"), 1);
}

#[test]
fn an_archive_that_is_damaged_although_its_hash_is_right_is_refused() {
    let scene = Scene::new();
    let whole = ordinary_archive();
    scene.server.release("1.37.1", &whole[..whole.len() / 2]);
    let answer = scene.download_answer();
    assert!(answer.contains("the archive is damaged"), "{answer}");
}

#[test]
fn an_archive_with_a_name_that_climbs_is_refused() {
    let scene = Scene::new();
    let programs: [(&str, &[u8]); 3] = [
        ("controller-tools/envtest/kube-apiserver", b"apiserver"),
        ("controller-tools/envtest/etcd", b"etcd"),
        ("controller-tools/envtest/../../../../escaped/etcd", b"escaped"),
    ];
    scene.server.release("1.37.1", &archive(&programs));
    let answer = scene.download_answer();
    assert!(answer.contains("unsafe name") && answer.contains("escaped/etcd"), "{answer}");
    assert!(!scene.cache.path().join("escaped").exists());
}

#[test]
fn an_archive_without_a_program_is_refused() {
    let scene = Scene::new();
    scene.server.release("1.37.1", &archive(&[("controller-tools/envtest/kube-apiserver", b"apiserver")]));
    let answer = scene.download_answer();
    assert!(answer.contains("holds no file `etcd`"), "{answer}");
}

#[test]
fn an_archive_larger_than_the_bound_is_not_received() {
    let mut scene = Scene::new();
    scene.server.release("1.37.1", &ordinary_archive());
    scene.request.limits.archive_bytes_max = 1000;
    let answer = scene.download_answer();
    assert!(answer.contains("larger than 1000 bytes"), "{answer}");
    scene.request.limits.archive_bytes_max = 1 << 30;
    scene.request.limits.unpacked_bytes_max = 100_000;
    let answer = scene.download_answer();
    assert!(answer.contains("unpacks to more than 100000 bytes"), "{answer}");
}

#[test]
fn a_download_from_a_server_that_falls_silent_is_abandoned() {
    let scene = Scene::new();
    let archive = ordinary_archive();
    scene.server.release("1.37.1", &archive);
    scene.server.answer("/archive.tar.gz", [Answer::Silence(archive, 600_000)]);
    let answer = scene.download_answer();
    assert!(answer.contains("broke off after 600000 bytes"), "{answer}");
}

#[test]
fn a_request_for_an_index_that_never_comes_is_abandoned() {
    let scene = Scene::new();
    for sent_bytes in [0, 20] {
        scene.server.answer("/index.yaml", [Answer::Silence(vec![b' '; 100], sent_bytes)]);
        let answer = scene.download_answer();
        assert!(answer.contains("cannot get the release index"), "{answer}");
    }
}

#[test]
fn a_server_that_is_busy_is_asked_again() {
    let scene = Scene::new();
    let archive = ordinary_archive();
    let index = scene.server.index("1.37.1", &sha512(&archive)).into_bytes();
    scene.server.answer("/index.yaml", [Answer::Status(503), Answer::Status(503), Answer::Body(index)]);
    scene.server.answer("/archive.tar.gz", [Answer::Status(503), Answer::Status(503), Answer::Body(archive)]);
    assert_eq!(scene.provide().expect("assets").source, AssetSource::Download);
    assert_eq!((scene.server.requests("/index.yaml"), scene.server.requests("/archive.tar.gz")), (3, 3));
}

#[test]
fn a_server_without_the_version_is_not_asked_again() {
    let scene = Scene::new();
    let answer = scene.download_answer();
    assert!(answer.contains("status 404"), "{answer}");
    assert_eq!(scene.server.requests("/index.yaml"), 1);
    scene.server.list("1.36.2", "00");
    let answer = scene.download_answer();
    assert!(answer.contains("lists no 1.37") && answer.contains("only 1.36.2 to 1.36.2"), "{answer}");
    assert_eq!(scene.server.requests("/archive.tar.gz"), 0);
}
