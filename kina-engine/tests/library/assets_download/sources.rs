//! The order in which sources are asked, and the error if none has the binaries.

use std::sync::atomic::Ordering;

use super::*;

#[test]
fn a_half_written_directory_in_the_store_is_never_used_and_gives_way() {
    let scene = Scene::new();
    scene.server.release("1.37.4", &ordinary_archive());
    // A newer version than the complete one, but without its etcd.
    put_program(&scene.version_directory("1.37.9"), "kube-apiserver");
    put_program(&scene.version_directory("1.37.4"), "kube-apiserver");
    let assets = scene.provide().expect("assets");
    assert_eq!(assets.source, AssetSource::Download);
    assert_eq!(assets.etcd, scene.version_directory("1.37.4").join("etcd"));
    assert_eq!(names_in(&scene.version_directory("1.37.4")), ["etcd", "kube-apiserver"]);
    // The incomplete directory is set aside for inspection, and never used.
    let aside = format!("1.37.4-{}.set-aside-1", Platform::host());
    assert_eq!(names_in(&scene.cache.path().join("assets/k8s").join(aside)), ["kube-apiserver"]);
    assert_eq!(scene.provide().expect("assets").source, AssetSource::Store);
}

#[test]
fn foreign_files_in_the_store_do_no_harm() {
    let scene = Scene::new();
    scene.server.release("1.37.4", &ordinary_archive());
    let store = scene.cache.path().join("assets/k8s");
    std::fs::create_dir_all(&store).expect("create");
    // A file in the place of a version, names that are not versions, and one that no version of kina has written yet.
    std::fs::write(scene.version_directory("1.37.4"), "what is this?").expect("write");
    std::fs::write(store.join("index"), "what is this?").expect("write");
    std::os::unix::fs::symlink("/nowhere", scene.version_directory("1.37.8")).expect("link");
    put_program(&store.join(format!("2.0.0-next.1-{}", Platform::host())), "kube-apiserver");
    let assets = scene.provide().expect("assets");
    assert_eq!(
        (assets.source, assets.version.expect("version").to_string()),
        (AssetSource::Download, "1.37.4".to_owned())
    );
    assert_eq!(std::fs::read_to_string(store.join("index")).expect("read"), "what is this?");
}

#[test]
fn any_patch_in_the_store_suffices_and_the_newest_is_taken() {
    let mut scene = Scene::new();
    for version in ["1.37.2", "1.37.10", "1.36.99", "1.38.0"] {
        put_program(&scene.version_directory(version), "kube-apiserver");
        put_program(&scene.version_directory(version), "etcd");
    }
    assert_eq!(scene.provide().expect("assets").version.expect("version").to_string(), "1.37.10");
    let identity = scene.provide().expect("assets").identity;
    assert!(identity.starts_with(&format!("1.37.10-{}-", Platform::host())), "{identity}");
    scene.request.minor = "1.36".parse().expect("minor");
    assert_eq!(scene.provide().expect("assets").version.expect("version").to_string(), "1.36.99");
    assert_eq!(scene.server.requests("/index.yaml"), 0);
}

#[test]
fn the_store_of_setup_envtest_is_used_if_kinas_own_is_empty() {
    let mut scene = Scene::new();
    let root = scene.cache.path().join("setup-envtest");
    let directory = root.join(format!("k8s/1.37.0-{}", Platform::host()));
    put_program(&directory, "kube-apiserver");
    put_program(&directory, "etcd");
    scene.request.setup_envtest_root = Some(root);
    let assets = scene.provide().expect("assets");
    assert_eq!((assets.source, assets.etcd), (AssetSource::SetupEnvtestStore, directory.join("etcd")));
    put_program(&scene.version_directory("1.37.0"), "kube-apiserver");
    put_program(&scene.version_directory("1.37.0"), "etcd");
    assert_eq!(scene.provide().expect("assets").source, AssetSource::Store);
}

#[test]
fn a_directory_that_the_user_names_comes_before_everything_else() {
    let mut scene = Scene::new();
    let directory = |name: &str| {
        let directory = scene.cache.path().join(name);
        put_program(&directory, "kube-apiserver");
        put_program(&directory, "etcd");
        directory
    };
    let (explicit, kubebuilder) = (directory("explicit"), directory(&format!("1.36.2-{}", Platform::host())));
    directory(&format!("assets/k8s/1.37.1-{}", Platform::host()));
    scene.request.kubebuilder_assets = Some(kubebuilder.clone());
    let texts = RefCell::new(Vec::new());
    let assets = provide_assets(&scene.request, &|progress| texts.borrow_mut().push(progress.text)).expect("assets");
    assert_eq!((assets.source, assets.etcd), (AssetSource::KubebuilderAssets, kubebuilder.join("etcd")));
    assert_eq!(assets.version.expect("version").to_string(), "1.36.2");
    let mismatch = "using Kubernetes 1.36.2, because KUBEBUILDER_ASSETS names it, where 1.37 was asked for";
    assert_eq!(*texts.borrow(), [mismatch]);

    scene.request.explicit_directory = Some(explicit.clone());
    let assets = scene.provide().expect("assets");
    assert_eq!(
        (assets.source, assets.etcd, assets.version),
        (AssetSource::ExplicitDirectory, explicit.join("etcd"), None)
    );
}

#[test]
#[cfg(any(target_os = "linux", target_os = "macos"))]
fn a_directory_for_this_machine_is_passed_over_if_another_platform_is_requested() {
    let scene = Scene::new();
    let named = tempfile::tempdir().expect("directory");
    let this_program = std::env::current_exe().expect("path");
    for name in ["kube-apiserver", "etcd"] {
        std::fs::copy(&this_program, named.path().join(name)).expect("copy");
    }
    let mut request = scene.request.clone();
    request.explicit_directory = Some(named.path().to_owned());
    assert_eq!(provide_assets(&request, &|_| {}).expect("assets").source, AssetSource::ExplicitDirectory);

    let other = Platform { os: "linux".to_owned(), arch: "riscv64".to_owned() };
    let archive = ordinary_archive();
    scene.server.release("1.37.1", &archive);
    let index = scene.server.index("1.37.1", &sha512(&archive));
    let index = index.replace(&Platform::host().to_string(), &other.to_string());
    scene.server.answer("/index.yaml", [Answer::Body(index.into_bytes())]);
    let texts = RefCell::new(Vec::new());
    let request = request.for_platform(other);
    let assets = provide_assets(&request, &|progress| texts.borrow_mut().push(progress.text)).expect("assets");
    assert_eq!(assets.source, AssetSource::Download);
    assert!(assets.etcd.ends_with("k8s/1.37.1-linux-riscv64/etcd"), "{:?}", assets.etcd);
    assert_eq!(scene.server.requests("/archive.tar.gz"), 1);
    let told = |text: &String| text.starts_with("passing over kina's setting") && text.contains("linux-riscv64");
    assert!(texts.take().iter().any(told));

    // Files that do not show their platform are used.
    for name in ["kube-apiserver", "etcd"] {
        std::fs::write(named.path().join(name), "#!/bin/sh\n").expect("write");
    }
    assert_eq!(provide_assets(&request, &|_| {}).expect("assets").source, AssetSource::ExplicitDirectory);
}

#[test]
fn a_directory_that_the_user_names_is_never_silently_passed_over() {
    let mut scene = Scene::new();
    scene.server.release("1.37.1", &ordinary_archive());
    let directory = scene.cache.path().join("named");
    let complaint = |request: &AssetRequest| {
        let error = provide_assets(request, &|_| {}).expect_err("incomplete");
        assert!(error.is_user_error(), "{error}");
        error.to_string()
    };
    scene.request.kubebuilder_assets = Some(directory.clone());
    let text = complaint(&scene.request);
    assert!(text.starts_with(&format!("KUBEBUILDER_ASSETS names `{}`, which does not exist;", directory.display())));
    put_program(&directory, "kube-apiserver");
    let text = complaint(&scene.request);
    assert!(text.contains("which is incomplete: `etcd` is missing; put executables"), "{text}");
    scene.request.kubebuilder_assets = Some("relative/directory".into());
    let text = complaint(&scene.request);
    assert!(text.contains("which is a relative path"), "{text}");
    scene.request.explicit_directory = Some(directory);
    let text = complaint(&scene.request);
    assert!(text.starts_with("kina's setting for the assets directory names"), "{text}");
    assert_eq!(scene.server.requests("/index.yaml"), 0);
}

#[test]
fn when_no_source_has_the_binaries_each_is_listed_with_its_answer_and_the_remedies() {
    let mut scene = Scene::new();
    scene.request.setup_envtest_root = Some(scene.cache.path().join("none"));
    scene.request.go_programs = vec!["/nowhere/go".into()];
    let error = scene.provide().expect_err("no source");
    let AssetsError::NoSource(no_source) = &error else { panic!("{error}") };
    let asked: Vec<AssetSource> = no_source.answers.iter().map(|answer| answer.asked).collect();
    let expected = [AssetSource::Store, AssetSource::SetupEnvtestStore, AssetSource::Download, AssetSource::GoBuild];
    assert_eq!(asked, expected);
    let text = error.to_string();
    let store = scene.store();
    for part in [
        format!("no source has the binaries of Kubernetes 1.37 for {}", Platform::host()),
        format!("- kina's store ({}): holds no 1.37", store.display()),
        "none/k8s): the store does not exist".to_owned(),
        format!("- download ({}): cannot get the release index: the server answered with", scene.server.index_url()),
        "- build from Go modules: there is no `go` program".to_owned(),
        "do one of these: install Go".to_owned(),
        "set KUBEBUILDER_ASSETS to".to_owned(),
    ] {
        assert!(text.contains(&part), "`{part}` is not in:\n{text}");
    }
}

#[test]
fn offline_no_request_is_made_and_nothing_is_created() {
    let mut scene = Scene::new();
    scene.server.release("1.37.1", &ordinary_archive());
    scene.request.offline = true;
    scene.request.go_programs = vec!["/bin/false".into()];
    let text = scene.provide().expect_err("offline").to_string();
    assert_eq!(text.matches("not tried, because kina is set offline").count(), 2, "{text}");
    assert_eq!(scene.server.requests("/index.yaml"), 0);
    assert_eq!(names_in(scene.cache.path()), [""; 0]);
}

#[test]
fn a_request_can_be_cancelled_while_it_waits_for_the_lock() {
    let scene = Scene::new();
    let archive = ordinary_archive();
    scene.server.release("1.37.1", &archive);
    let locks = scene.cache.path().join("assets/locks");
    std::fs::create_dir_all(&locks).expect("create");
    let lock = std::fs::File::create(locks.join(format!("1.37-{}.lock", Platform::host()))).expect("lock file");
    lock.lock().expect("lock");
    let cancelled = scene.request.cancelled.clone();
    let error = provide_assets(&scene.request, &|progress| {
        assert!(progress.text.starts_with("waiting for another process"), "{progress}");
        cancelled.store(true, Ordering::Relaxed);
    })
    .expect_err("cancelled");
    assert!(matches!(error, AssetsError::Cancelled { .. }), "{error}");
}

#[test]
fn a_lock_that_is_never_free_is_named() {
    let mut scene = Scene::new();
    scene.request.limits.lock_timeout = Duration::from_millis(1);
    let locks = scene.cache.path().join("assets/locks");
    std::fs::create_dir_all(&locks).expect("create");
    let path = locks.join(format!("1.37-{}.lock", Platform::host()));
    let lock = std::fs::File::create(&path).expect("lock file");
    lock.lock().expect("lock");
    let error = scene.provide().expect_err("locked");
    assert!(error.to_string().contains(&path.display().to_string()), "{error}");
    drop(lock);
    assert!(matches!(scene.provide(), Err(AssetsError::NoSource(_))));
}

#[test]
fn a_store_that_cannot_be_written_is_named() {
    let scene = Scene::new();
    scene.server.release("1.37.1", &ordinary_archive());
    std::fs::write(scene.cache.path().join("assets"), "a file in the way").expect("write");
    let error = scene.provide().expect_err("no store");
    assert!(matches!(error, AssetsError::Store { .. }), "{error}");
    assert!(error.to_string().starts_with(&format!("cannot create `{}", scene.cache.path().display())), "{error}");
}
