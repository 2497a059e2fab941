//! Controllers' binaries, from the hosts where their projects release them.

use super::server::{noise, sha256};
use super::*;

const VERSION: &str = "1.37.4";

/// Makes a scene whose store has a control plane, and whose server is asked for everything else.
fn scene() -> Scene {
    let mut scene = Scene::new();
    scene.request.release_url = scene.server.url("");
    scene.request.kwok_release_url = scene.server.url("/kwok");
    scene.request = scene.request.clone().for_controllers(true);
    for name in ["kube-apiserver", "etcd"] {
        put_program(&scene.version_directory(VERSION), name);
    }
    scene
}

fn release_all(scene: &Scene) {
    for (component, seed) in [("kube-controller-manager", 1), ("kube-scheduler", 2)] {
        let program = noise(400_000, seed);
        // Some checksum files also contain the name of the file.
        let stated = format!("{}  {component}\n", sha256(&program));
        scene.server.release_component(VERSION, component, &program, &stated);
    }
    let program = noise(300_000, 3);
    scene.server.release_kwok(&program, Some(&format!("sha256:{}", sha256(&program))));
}

fn answers_of(error: AssetsError) -> String {
    let AssetsError::NoSource(no_source) = error else { panic!("{error}") };
    no_source.answers.into_iter().map(|answer| format!("{}: {}\n", answer.asked, answer.answer)).collect()
}

#[test]
#[cfg(target_os = "linux")]
fn controllers_are_downloaded_once_for_the_version_that_is_there() {
    let scene = scene();
    release_all(&scene);
    let assets = scene.provide().expect("assets");
    let controllers = assets.controllers.clone().expect("controllers");
    assert_eq!(
        names_in(&scene.version_directory(VERSION)),
        ["etcd", "kube-apiserver", "kube-controller-manager", "kube-scheduler"]
    );
    assert_eq!(std::fs::read(&controllers.kube_scheduler).expect("read"), noise(400_000, 2));
    assert_eq!(std::fs::read(&controllers.kwok).expect("read"), noise(300_000, 3));
    let mode = std::fs::metadata(&controllers.kwok).expect("metadata").permissions().mode();
    assert_ne!(mode & 0o100, 0, "{mode:o}");
    assert_eq!(names_in(&scene.cache.path().join("assets/staging")), [""; 0]);
    assert_eq!(scene.server.requests("/index.yaml"), 0);
    assert_eq!(scene.provide().expect("again"), assets);
    assert_eq!((scene.server.requests("/kwok"), scene.server.requests("/kwok-program")), (1, 1));

    // A control plane of the same version that is downloaded later uses the controllers that are there.
    for name in ["kube-apiserver", "etcd"] {
        std::fs::remove_file(scene.version_directory(VERSION).join(name)).expect("remove");
    }
    scene.server.release(VERSION, &ordinary_archive());
    let after = scene.provide().expect("assets");
    assert_eq!((after.source, &after.controllers), (AssetSource::Download, &assets.controllers));
    assert_eq!(scene.server.requests("/kwok"), 1);
}

#[test]
#[cfg(target_os = "linux")]
fn a_program_with_another_hash_or_without_one_is_refused() {
    let scene = scene();
    release_all(&scene);
    scene.server.release_component(VERSION, "kube-scheduler", b"another", &sha256(b"what was released"));
    scene.server.release_kwok(b"kwok", None);
    let answers = answers_of(scene.provide().expect_err("no controllers"));
    assert!(answers.contains(&format!("has the SHA-256 {}", sha256(b"another"))), "{answers}");
    assert!(answers.contains("does not say what the SHA-256 of kwok-linux-"), "{answers}");
    // The program with the right hash is kept, the others are not.
    assert_eq!(names_in(&scene.version_directory(VERSION)), ["etcd", "kube-apiserver", "kube-controller-manager"]);
    scene.server.release_component(VERSION, "kube-scheduler", b"another", "<html>busy</html>");
    let answers = answers_of(scene.provide().expect_err("no controllers"));
    assert!(answers.contains("does not say what the SHA-256 of kube-scheduler is"), "{answers}");
}

#[test]
fn another_system_than_linux_is_not_asked_for_at_the_release_host() {
    let mut scene = scene();
    release_all(&scene);
    scene.request = scene.request.clone().for_platform(Platform { os: "darwin".to_owned(), arch: "arm64".to_owned() });
    for name in ["kube-apiserver", "etcd"] {
        put_program(&scene.store().join(format!("{VERSION}-darwin-arm64")), name);
    }
    let answers = answers_of(scene.provide().expect_err("no controllers"));
    assert!(answers.contains("kube-scheduler: Kubernetes releases kube-scheduler for Linux only"), "{answers}");
}

#[test]
fn a_named_directory_must_hold_the_controllers_or_show_its_version() {
    let mut scene = scene();
    let named = scene.cache.path().join("named");
    for name in ["kube-apiserver", "etcd"] {
        put_program(&named, name);
    }
    scene.request.explicit_directory = Some(named.clone());
    let error = scene.provide().expect_err("no controllers");
    assert!(error.is_user_error(), "{error}");
    let text = error.to_string();
    assert!(
        text.contains("kube-controller-manager, kube-scheduler, kwok") && text.contains("says no version"),
        "{text}"
    );
    for name in ["kube-controller-manager", "kube-scheduler", "kwok"] {
        put_program(&named, name);
    }
    let controllers = scene.provide().expect("assets").controllers.expect("controllers");
    assert_eq!(controllers.kwok, named.join("kwok"));
}
