//! The commands for operating kina, through the program, with real clusters if they need any.

#[cfg(target_os = "linux")]
mod giving_up;
#[cfg(target_os = "linux")]
mod long_logs;
mod lookers;
mod scene;

use std::os::unix::process::ExitStatusExt;
use std::path::{Path, PathBuf};

use k8s_openapi::api::core::v1::Namespace;
use rustix::process::Signal;

#[cfg(target_os = "linux")]
use self::scene::wait_until;
use self::scene::{Scene, exported, is_running, text_of};

/// The variable that makes the test below act as a client.
const CLIENT: &str = "KINA_TEST_CLIENT";
const UID: &str = "the cluster is ";

/// The command that `run` runs in these tests: this executable, as a client that knows only KUBECONFIG.
#[tokio::test]
async fn client() {
    if std::env::var_os(CLIENT).is_none() {
        return;
    }
    let kubeconfig = PathBuf::from(std::env::var_os("KUBECONFIG").expect("set"));
    println!("{UID}{}", cluster_of(&kubeconfig).await);
    if namespaces_of(&kubeconfig).await.get("shop").await.is_ok() {
        println!("and has a shop");
    }
}

/// Asks the cluster of a kubeconfig for its identity.
async fn cluster_of(kubeconfig: &Path) -> String {
    let namespace = namespaces_of(kubeconfig).await.get("kube-system").await.expect("the cluster answers");
    namespace.metadata.uid.expect("a UID")
}

async fn namespaces_of(kubeconfig: &Path) -> kube::Api<Namespace> {
    let kubeconfig = kube::config::Kubeconfig::read_from(kubeconfig).expect("a kubeconfig");
    let config = kube::Config::from_custom_kubeconfig(kubeconfig, &Default::default()).await.expect("complete");
    kube::Api::all(kube::Client::try_from(config).expect("a client"))
}

/// Returns a shell command that runs that client.
fn client_command() -> String {
    let this = std::env::current_exe().expect("this executable");
    format!("{CLIENT}=1 '{}' --exact operate::client --nocapture", this.display())
}

fn program() -> &'static str {
    env!("CARGO_BIN_EXE_cargo-kina")
}

fn clusters_in(text: &str) -> Vec<&str> {
    text.lines().filter_map(|line| line.split_once(UID)).map(|(_, uid)| uid.trim()).collect()
}

#[test]
fn a_command_has_a_cluster_and_its_exit_code_is_passed_on() {
    let scene = Scene::with_clusters();
    let code = |words: &[&str]| scene.run(words).status.code();
    assert_eq!(code(&["run", "--", "sh", "-c", "exit 7"]), Some(7));
    assert_eq!(code(&["run", "--", "sh", "-c", "kill -9 $$"]), Some(128 + 9));
    assert_eq!(code(&["run", "--", "/nowhere/program"]), Some(127));
    assert_eq!(code(&["run", "--", "/tmp"]), Some(126));
    assert_eq!(code(&["run", "--kubernetes", "1.2", "--", "true"]), Some(125));

    let printed = scene.printed(["run", "--", "sh", "-c", &client_command()]);
    assert_eq!(clusters_in(&printed).len(), 1, "{printed}");
    let mut elsewhere =
        scene.command(["run", "--", "sh", "-c", "echo $USE_EXISTING_CLUSTER; echo [$KUBERNETES_SERVICE_HOST]"]);
    let output = elsewhere.env("KUBERNETES_SERVICE_HOST", "10.0.0.1").output().expect("it starts");
    assert_eq!(String::from_utf8_lossy(&output.stdout), "true\n[]\n");

    // It starts from the given fixtures.
    let fixture = scene.path().join("shop.yaml");
    std::fs::write(&fixture, "apiVersion: v1\nkind: Namespace\nmetadata: {name: shop}\n").expect("written");
    let printed = scene.printed(["run", "--fixtures", "*.yaml", "--", "sh", "-c", &client_command()]);
    assert!(printed.contains("and has a shop"), "{printed}");
    let nothing = scene.run(["kubeconfig", "--hold", "--fixtures", "*.json"]);
    assert_eq!(nothing.status.code(), Some(2), "{}", text_of(&nothing));

    // An inner command gets the same cluster, unless one of the two has --each.
    let (client, program) = (client_command(), program());
    for (outer, inner, expected) in [("", "", 1), ("", "--each", 2), ("--each", "", 2)] {
        let script = format!("{client}; '{program}' kina run {inner} -- sh -c \"{client}\"");
        let words = ["run", outer, "--", "sh", "-c", &script];
        let printed = scene.printed(words.into_iter().filter(|word| !word.is_empty()));
        let mut clusters = clusters_in(&printed);
        assert_eq!(clusters.len(), 2, "{printed}");
        clusters.dedup();
        assert_eq!(clusters.len(), expected, "{outer}, {inner}: {printed}");
    }
    let status = scene.status();
    assert!(status["counters"]["boots"].as_u64().is_some_and(|boots| boots <= 2), "{status}");
}

#[test]
fn signals_are_passed_on_and_nothing_is_left_behind() {
    let scene = Scene::with_clusters();
    let script = "trap 'exit 33' INT USR1; (trap '' INT USR1; exec sleep 1000) & echo $KUBECONFIG; echo $$ $!; while :; do sleep 0.05; done";
    let start = || {
        let running = scene.start(["run", "--", "sh", "-c", script]);
        let kubeconfig = PathBuf::from(running.line());
        let line = running.line();
        let (shell, sleeper) = line.split_once(' ').expect("two numbers");
        assert!(kubeconfig.is_file() && is_running(shell) && is_running(sleeper));
        (running, kubeconfig, shell.to_owned(), sleeper.to_owned())
    };

    let (running, kubeconfig, _, sleeper) = start();
    assert_eq!(scene.holders().len(), 1);
    assert!(scene.holders()[0].starts_with("cargo kina run -- sh -c trap"), "{:?}", scene.holders());
    // In the background of a script, these tests and their children ignore Ctrl-C.
    running.send(if scene::ignores(Signal::INT) { Signal::USR1 } else { Signal::INT });
    assert_eq!(running.wait().code(), Some(33), "the command decides");
    assert!(!is_running(&sleeper), "the command left it in its group");
    scene.expect_no_lease(&kubeconfig);

    let (running, kubeconfig, shell, sleeper) = start();
    running.send(Signal::TERM);
    assert_eq!(running.wait().signal(), Some(15), "it ends as its command does");
    assert!(!is_running(&shell) && !is_running(&sleeper));
    scene.expect_no_lease(&kubeconfig);

    let (running, kubeconfig, shell, sleeper) = start();
    running.send(Signal::KILL);
    running.wait();
    scene.expect_no_lease(&kubeconfig);
    #[cfg(target_os = "linux")]
    wait_until("the kernel ends the command", || !is_running(&shell));
    for left in [shell, sleeper] {
        let left = rustix::process::Pid::from_raw(left.parse().expect("a number")).expect("a process");
        // It may have ended already.
        let _ = rustix::process::kill_process(left, Signal::KILL);
    }
}

#[tokio::test]
async fn a_kubeconfig_is_valid_as_long_as_it_is_held() {
    let scene = Scene::with_clusters();
    let held = scene.start(["kubeconfig", "--hold"]);
    let kubeconfig = exported(&held.line());
    assert!(!cluster_of(&kubeconfig).await.is_empty());
    assert_eq!(scene.holders(), ["cargo kina kubeconfig"]);

    // Meanwhile, the cluster can be inspected.
    let table = scene.printed(["status"]);
    assert!(table.contains("leased") && table.contains("cargo kina kubeconfig"), "{table}");
    let frame = scene.printed(["top"]);
    assert!(frame.contains("CPU") && !frame.contains('\x1b'), "{frame}");
    let cluster = scene.status()["slots"][0]["cluster"].as_str().expect("a name").to_owned();
    let logs = scene.printed(["logs", &cluster, "--lines", "5"]);
    assert!(logs.contains("etcd") && logs.contains("kube-apiserver | "), "{logs}");
    let following = scene.start(["logs", "--follow"]);
    assert!(following.line().contains("INFO"), "the engine's own log");
    let refused = scene.run(["logs", "cluster-0-0"]);
    assert_eq!(refused.status.code(), Some(2), "{}", text_of(&refused));
    assert!(text_of(&refused).contains(&cluster), "{}", text_of(&refused));

    held.send(Signal::INT);
    assert_eq!(held.wait().code(), Some(0), "that is the regular end");
    scene.expect_no_lease(&kubeconfig);

    let held = scene.start(["kubeconfig", "--hold", "--format", "json"]);
    let report: serde_json::Value = serde_json::from_str(&held.line()).expect("JSON");
    assert!(report["server"].as_str().is_some_and(|server| server.starts_with("https://127.0.0.1:")), "{report}");
    scene.printed(["stop"]);
    assert_eq!(held.wait().code(), Some(1), "the engine has ended");
}
