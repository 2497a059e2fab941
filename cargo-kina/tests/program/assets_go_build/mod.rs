//! The build of assets from Go modules: its decisions with an emulated `go` program, and all of it with the real one.

mod emulated_go;
mod progress;

use std::cell::RefCell;
use std::path::Path;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use kina_engine::lab::assets::{AssetSource, SourceAnswer};
use kina_engine::{AssetRequest, AssetsError, KubernetesMinor, Platform, provide_assets};
use rustix::process::{Pid, test_kill_process};

use self::emulated_go::EmulatedGo;

/// Asks for assets, and returns the build's answer when that fails.
fn build_answer(go: &EmulatedGo) -> String {
    let error = provide_assets(&go.request, &|_| {}).expect_err("no assets");
    go.assert_nothing_is_left();
    let AssetsError::NoSource(no_source) = error else { panic!("{error}") };
    let is_build = |answer: &SourceAnswer| answer.asked == AssetSource::GoBuild;
    no_source.answers.into_iter().find(is_build).expect("the build was asked").answer
}

#[test]
fn the_newest_listed_patch_is_built_without_the_users_other_variables() {
    let mut go = EmulatedGo::new("");
    go.request.environment.push(("GOPROXY".to_owned(), "http://proxy.example".into()));
    let assets = provide_assets(&go.request, &|_| {}).expect("assets");
    assert_eq!(assets.source, AssetSource::GoBuild);
    assert_eq!(assets.version.expect("version").to_string(), "1.37.2");
    let said = std::fs::read_to_string(&assets.kube_apiserver).expect("built");
    assert!(said.contains("emulated k8s.io/kubernetes/cmd/kube-apiserver"), "{said}");

    let commands = go.text("commands");
    let builds: Vec<&str> = commands.lines().filter(|command| command.starts_with("build ")).collect();
    assert_eq!(builds.len(), 2, "{commands}");
    assert!(builds[0].ends_with("etcd go.etcd.io/etcd/server/v3"), "{commands}");
    assert!(builds[1].contains("version.gitVersion=v1.37.2 "), "{commands}");
    assert!(builds[1].contains("version.buildDate=2026-09-23T17:06:22Z "), "{commands}");
    let go_mods = go.text("go.mods");
    assert!(go_mods.contains("require k8s.io/kubernetes v1.37.2\n"), "{go_mods}");
    assert!(go_mods.contains("replace k8s.io/api => k8s.io/api v0.37.2\n"), "{go_mods}");
    assert!(go_mods.contains("go 1.26.1\n\nrequire go.etcd.io/etcd/server/v3 v3.7.3\n"), "{go_mods}");

    let environment = go.text("environment");
    for line in ["CGO_ENABLED=0", "GOFLAGS=-modcacherw -mod=mod", "GOPROXY=http://proxy.example", "GOWORK=off"] {
        assert!(environment.lines().any(|known| known == line), "{line} is not in\n{environment}");
    }
    let is_the_shells_own = |name: &str| ["PWD", "OLDPWD", "SHLVL", "_"].contains(&name);
    let is_wanted = |name: &str| name == "PATH" || name.starts_with("GO") || name == "CGO_ENABLED";
    let mut names = environment.lines().filter_map(|line| Some(line.split_once('=')?.0));
    assert!(names.all(|name| is_wanted(name) || is_the_shells_own(name)), "{environment}");
    assert_eq!(provide_assets(&go.request, &|_| {}).expect("again").source, AssetSource::Store);
}

#[test]
fn binaries_for_another_platform_are_built_as_such_and_kept_apart() {
    let go = EmulatedGo::new("");
    let other = Platform { os: "linux".to_owned(), arch: "riscv64".to_owned() };
    let request = go.request.clone().for_platform(other);
    let assets = provide_assets(&request, &|_| {}).expect("assets");
    assert!(assets.etcd.ends_with("k8s/1.37.2-linux-riscv64/etcd"), "{:?}", assets.etcd);
    let environment = go.text("environment");
    for line in ["GOARCH=riscv64", "GOOS=linux"] {
        assert!(environment.lines().any(|known| known == line), "{line} is not in\n{environment}");
    }
    // Those for this machine are built separately, and both are kept.
    assert_eq!(provide_assets(&go.request, &|_| {}).expect("assets").source, AssetSource::GoBuild);
    assert_eq!(provide_assets(&request, &|_| {}).expect("assets").etcd, assets.etcd);
}

#[test]
fn controllers_of_the_same_version_are_built_and_added_to_the_control_plane() {
    let go = EmulatedGo::new("");
    let control_plane = provide_assets(&go.request, &|_| {}).expect("assets");
    assert_eq!(control_plane.controllers, None);
    let request = go.request.clone().for_controllers(true);
    let assets = provide_assets(&request, &|_| {}).expect("assets");
    assert_eq!((&assets.kube_apiserver, assets.version), (&control_plane.kube_apiserver, control_plane.version));
    assert_ne!(assets.identity, control_plane.identity, "templates of one are not valid for the other");
    let controllers = assets.controllers.clone().expect("controllers");
    let manager = &controllers.kube_controller_manager;
    assert!(manager.ends_with(format!("k8s/1.37.2-{}/kube-controller-manager", Platform::host())), "{manager:?}");
    assert!(controllers.kwok.ends_with(format!("kwok/0.8.0-{}/kwok", Platform::host())), "{:?}", controllers.kwok);
    for (program, package) in [
        (manager, "k8s.io/kubernetes/cmd/kube-controller-manager"),
        (&controllers.kube_scheduler, "k8s.io/kubernetes/cmd/kube-scheduler"),
        (&controllers.kwok, "sigs.k8s.io/kwok/cmd/kwok"),
    ] {
        let said = std::fs::read_to_string(program).expect("built");
        assert!(said.contains(&format!("emulated {package}\n")), "{said}");
    }
    let go_mods = go.text("go.mods");
    assert!(go_mods.contains("go 1.25.0\n\nrequire sigs.k8s.io/kwok v0.8.0\n"), "{go_mods}");
    let builds = |go: &EmulatedGo| go.text("commands").lines().filter(|line| line.starts_with("build ")).count();
    assert_eq!(builds(&go), 5);
    assert_eq!(go.text("commands").matches("mod tidy").count(), 4, "etcd, Kubernetes twice, kwok");

    // From now on they are found, and only one that gets lost is built anew.
    let again = provide_assets(&request, &|progress| panic!("nothing to wait for: {progress}")).expect("again");
    assert_eq!(again, assets);
    std::fs::remove_file(&controllers.kube_scheduler).expect("remove");
    assert_eq!(provide_assets(&request, &|_| {}).expect("assets").controllers, Some(controllers));
    assert_eq!(builds(&go), 6);
    assert_eq!(std::fs::read_dir(go.request.cache_directory.join("assets/staging")).expect("staging").count(), 0);
}

#[test]
fn when_no_source_has_the_controllers_each_is_listed_for_each_component() {
    let go = EmulatedGo::new(r#"case "$*" in *kube-scheduler|*kwok) echo "link: out of memory" >&2; exit 1 ;; esac"#);
    let request = go.request.clone().for_controllers(true);
    let error = provide_assets(&request, &|_| {}).expect_err("no controllers");
    assert!(!error.is_user_error(), "{error}");
    let text = error.to_string();
    assert!(text.starts_with("no source has kube-scheduler, kwok of Kubernetes 1.37 for "), "{text}");
    for part in [
        "download (http://127.0.0.1:9): kube-controller-manager: ",
        "download (http://127.0.0.1:9): kube-scheduler: ",
        "download (http://127.0.0.1:9/kwok): kwok: ",
        "build from Go modules: kube-controller-manager, kube-scheduler: ",
        "build from Go modules: kwok: ",
        "link: out of memory",
        "a directory with `kube-apiserver`, `etcd` and `kube-scheduler`, `kwok`",
        "profile `api`",
    ] {
        assert!(text.contains(part), "no `{part}` in {text}");
    }
    let mut offline = request;
    offline.offline = true;
    let text = provide_assets(&offline, &|_| {}).expect_err("no controllers").to_string();
    assert!(text.contains("kube-scheduler") && text.contains("kina is set offline"), "{text}");
}

#[test]
fn a_patch_that_is_listed_but_refused_is_reported_and_gives_way_to_an_older_one() {
    let go = EmulatedGo::new(
        r#"case "$*" in *kubernetes@v1.37.2) echo '{"Error":"v1.37.2.zip: 403 Forbidden"}'; exit 1 ;; esac"#,
    );
    let texts = RefCell::new(Vec::new());
    let assets = provide_assets(&go.request, &|progress| texts.borrow_mut().push(progress.text)).expect("assets");
    assert_eq!(assets.version.expect("version").to_string(), "1.37.1");
    let texts = texts.take();
    let told = |text: &String| text.contains("Kubernetes 1.37.2 cannot be had") && text.contains("403 Forbidden");
    assert!(texts.iter().any(told), "{texts:?}");
    assert_eq!(go.text("commands").matches("kubernetes@v1.37.2").count(), 1, "a refusal is not retried");
}

#[test]
fn a_proxy_that_lists_nothing_may_still_serve_the_patch_that_is_known_to_build() {
    let go = EmulatedGo::new(r#"case "$*" in list*) echo "no such list: 404 Not Found" >&2; exit 1 ;; esac"#);
    assert_eq!(provide_assets(&go.request, &|_| {}).expect("assets").version.expect("version").to_string(), "1.37.1");
}

#[test]
fn when_every_patch_is_refused_each_is_listed() {
    let go = EmulatedGo::new(r#"case "$*" in *kubernetes@*) echo '{"Error":"410 Gone"}'; exit 1 ;; esac"#);
    let answer = build_answer(&go);
    assert!(answer.contains("1.37.2: ") && answer.contains("1.37.1: ") && answer.contains("410 Gone"), "{answer}");
}

#[test]
fn a_temporary_failure_is_retried() {
    let go = EmulatedGo::new(
        r#"case "$*" in "mod tidy") [ -e "$here/seen" ] || { : > "$here/seen"; echo "503 Service Unavailable" >&2; exit 1; } ;; esac"#,
    );
    assert_eq!(provide_assets(&go.request, &|_| {}).expect("assets").version.expect("version").to_string(), "1.37.2");
    assert_eq!(go.text("commands").matches("mod tidy").count(), 3, "etcd twice, Kubernetes once");
}

#[test]
fn a_build_that_fails_is_quoted() {
    let go = EmulatedGo::new(
        r#"case "$*" in build*) echo "go: downloading noise" >&2; echo "link: out of memory" >&2; exit 1 ;; esac"#,
    );
    let answer = build_answer(&go);
    assert!(answer.ends_with("failed (exit status: 1): link: out of memory"), "{answer}");
}

#[test]
fn a_go_that_is_too_old_or_missing_is_named() {
    let mut go = EmulatedGo::new(r#"case "$*" in env*) echo '{"GOVERSION":"go1.19.8"}'; exit ;; esac"#);
    let answer = build_answer(&go);
    assert!(answer.contains("/go` is go1.19.8, which is too old; Kubernetes 1.37 needs Go 1.26"), "{answer}");
    go.request.go_programs.truncate(1);
    let answer = build_answer(&go);
    assert!(answer.contains("no `go` program"), "{answer}");
}

#[test]
fn a_build_that_takes_its_time_gives_signs_of_life() {
    let mut go = EmulatedGo::new(r#"case "$*" in build*) while [ ! -e "$here/go-on" ]; do sleep 0.05; done ;; esac"#);
    go.request.limits.report_interval = Duration::from_millis(20);
    // The build ends only because a sign of life was received.
    let assets = provide_assets(&go.request, &|progress| {
        if progress.text.starts_with("building etcd") && progress.text.ends_with(" s so far") {
            std::fs::write(go.file("go-on"), "").expect("write");
        }
    });
    assert_eq!(assets.expect("assets").source, AssetSource::GoBuild);
}

/// A build that never ends, with a child that never ends either.
const ENDLESS_BUILD: &str = r#"case "$*" in build*) sleep 600 & echo "$$ $!" > "$here/pids.new"; mv "$here/pids.new" "$here/pids"; wait ;; esac"#;

/// Waits until the processes that the endless build recorded are gone.
fn assert_all_are_gone(go: &EmulatedGo) {
    for number in go.text("pids").split_whitespace() {
        let pid = Pid::from_raw(number.parse().expect("number")).expect("pid");
        let started = Instant::now();
        // A killed process whose parent is gone too stays visible until init has reaped it.
        while test_kill_process(pid).is_ok() && !is_zombie(number) {
            assert!(started.elapsed() < Duration::from_secs(60), "process {number} still lives");
            std::thread::sleep(Duration::from_millis(10));
        }
    }
}

fn is_zombie(number: &str) -> bool {
    let stat = std::fs::read_to_string(Path::new("/proc").join(number).join("stat")).unwrap_or_default();
    stat.rsplit_once(") ").is_some_and(|(_, state)| state.starts_with('Z'))
}

#[test]
fn a_build_that_does_not_end_is_ended_with_all_its_processes() {
    let mut go = EmulatedGo::new(ENDLESS_BUILD);
    go.request.limits.go_build_timeout = Duration::from_secs(1);
    let answer = build_answer(&go);
    assert!(answer.contains("was ended after 1 s"), "{answer}");
    assert_all_are_gone(&go);
}

#[test]
fn a_build_that_is_cancelled_is_ended_with_all_its_processes() {
    let mut go = EmulatedGo::new(ENDLESS_BUILD);
    go.request.limits.report_interval = Duration::from_millis(20);
    let error = provide_assets(&go.request, &|_| {
        if go.file("pids").exists() {
            go.request.cancelled.store(true, Ordering::Relaxed);
        }
    })
    .expect_err("cancelled");
    assert!(matches!(error, AssetsError::Cancelled { .. }), "{error}");
    go.assert_nothing_is_left();
    assert_all_are_gone(&go);
}

/// Runs itself again as a child that builds for ever, and kills the child.
#[test]
#[cfg(target_os = "linux")]
fn a_build_does_not_outlive_a_process_that_is_killed() {
    const CHILD_GO: &str = "KINA_TEST_CHILD_GO";
    const NAME: &str = "assets_go_build::a_build_does_not_outlive_a_process_that_is_killed";
    let mut go = EmulatedGo::new(
        r#"case "$*" in build*) echo "$$" > "$here/pids.new"; mv "$here/pids.new" "$here/pids"; exec sleep 600 ;; esac"#,
    );
    if let Some(program) = std::env::var_os(CHILD_GO) {
        go.request.go_programs = vec![program.into()];
        let outcome = provide_assets(&go.request, &|_| {});
        panic!("the endless build has ended: {outcome:?}");
    }
    let mut child = std::process::Command::new(std::env::current_exe().expect("executable"))
        .args(["--exact", NAME])
        .env(CHILD_GO, go.file("go"))
        // The child leaves its directories behind when it is killed, so they are made in this test's.
        .env("TMPDIR", go.directory.path())
        .stdout(std::process::Stdio::null())
        .spawn()
        .expect("child");
    let started = Instant::now();
    while !go.file("pids").exists() {
        assert!(started.elapsed() < Duration::from_secs(60), "the build does not begin");
        std::thread::sleep(Duration::from_millis(10));
    }
    child.kill().expect("kill");
    child.wait().expect("wait");
    assert_all_are_gone(&go);
}

/// Builds kube-apiserver and etcd for real. That takes minutes, a gigabyte of memory and a module proxy, so it runs
/// only on request.
#[test]
fn the_real_go_builds_binaries_that_run() {
    if std::env::var_os("KINA_TEST_GO_BUILD").is_none() {
        eprintln!("not requested: set KINA_TEST_GO_BUILD=1 to build for real");
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
    let started = Instant::now();
    let texts = RefCell::new(Vec::new());
    let assets = provide_assets(&request, &|progress| {
        eprintln!("{:>4} s {progress}", started.elapsed().as_secs());
        texts.borrow_mut().push(progress.text);
    })
    .expect("assets");
    eprintln!("built {assets:?} in {} s", started.elapsed().as_secs());
    assert_eq!(assets.source, AssetSource::GoBuild);
    let version = assets.version.expect("version");
    let says = |program: &Path| {
        let output = std::process::Command::new(program).arg("--version").output().expect("run");
        String::from_utf8(output.stdout).expect("text")
    };
    assert_eq!(says(&assets.kube_apiserver).trim(), format!("Kubernetes v{version}"));
    assert!(says(&assets.etcd).starts_with("etcd Version: 3."), "{}", says(&assets.etcd));
    let leftovers = std::fs::read_dir(cache.path().join("assets/staging")).expect("staging").count();
    assert_eq!(leftovers, 0);
    assert!(texts.borrow().iter().any(|text| text.contains("building kube-apiserver")));
    let again = provide_assets(&request, &|progress| panic!("nothing to wait for: {progress}")).expect("again");
    assert_eq!((again.source, again.identity), (AssetSource::Store, assets.identity));
}
