//! The build of assets from Go modules: its decisions against an emulated `go` program, and the whole of it against the real one.

#![cfg(feature = "engine")]

use std::cell::RefCell;

use kina_engine::assets::{AssetRequest, AssetSource, KubernetesMinor, provide};

/// Builds kube-apiserver and etcd for real. It takes minutes, a gigabyte of memory and a module proxy, so it runs where it is asked for.
#[test]
fn the_real_go_builds_binaries_that_run() {
    if std::env::var_os("KINA_TEST_GO_BUILD").is_none() {
        eprintln!("not asked for: set KINA_TEST_GO_BUILD=1 to build for real");
        return;
    }
    let cache = tempfile::tempdir().expect("cache");
    let mut request = AssetRequest::from_environment(KubernetesMinor::DEFAULT, cache.path().to_owned(), &|name| {
        std::env::var_os(name)
    });
    request.kubebuilder_assets = None;
    request.setup_envtest_root = None;
    // Nothing listens on the discard port, so the download fails at once.
    request.download_index_url = "http://127.0.0.1:9/index.yaml".to_owned();
    let started = std::time::Instant::now();
    let texts = RefCell::new(Vec::new());
    let assets = provide(&request, &|progress| {
        eprintln!("{:>4} s {progress}", started.elapsed().as_secs());
        texts.borrow_mut().push(progress.text);
    })
    .expect("assets");
    eprintln!("built {assets:?} in {} s", started.elapsed().as_secs());
    assert_eq!(assets.source, AssetSource::GoBuild);
    let version = assets.version.expect("version");
    let says = |program: &std::path::Path| {
        let output = std::process::Command::new(program).arg("--version").output().expect("run");
        String::from_utf8(output.stdout).expect("text")
    };
    assert_eq!(says(&assets.kube_apiserver).trim(), format!("Kubernetes v{version}"));
    assert!(says(&assets.etcd).starts_with("etcd Version: 3."), "{}", says(&assets.etcd));
    let leftovers = std::fs::read_dir(cache.path().join("assets/staging")).expect("staging").count();
    assert_eq!(leftovers, 0);
    assert!(texts.borrow().iter().any(|text| text.contains("building kube-apiserver")));
    let again = provide(&request, &|progress| panic!("nothing to wait for: {progress}")).expect("again");
    assert_eq!((again.source, again.identity), (AssetSource::Store, assets.identity));
}
