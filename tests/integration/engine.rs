//! The engine under adverse conditions, each in a realm of its own.

#[cfg(target_os = "linux")]
use std::collections::BTreeSet;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::Duration;

use crate::common;
use crate::common::children::{Realm, output, text_of};
use crate::common::client_path::ClientPath;
use crate::common::server::Server;
use crate::common::system::is_running;
use crate::common::wait_until_blocking;
use kina_engine::AcquireRequest;
use kina_engine::lab::protocol::{ClientMessage, EngineMessage, PROTOCOL, RefusalKind};
use kina_engine::lab::settings::BECOME_ENGINE;

/// Tells the visitor in words what to do beyond its visit.
const WHAT_ELSE: &str = "KINA_TEST_WHAT_ELSE";
const HAS_CLUSTER: &str = "the visitor has cluster ";
const IS_WAITING: &str = "the visitor waits for the end of the engine";
const HAS_CHILD: &str = "the visitor has child ";
/// The time that a visitor stays if told to.
const STAY: Duration = Duration::from_secs(60);

/// The child of the tests below. On its own, it is an ordinary test.
#[kina::test]
async fn visitor(cluster: kina::Cluster) -> anyhow::Result<()> {
    let servers = [Server(ClientPath::Unix.client(&cluster)?), Server(ClientPath::Tls.client(&cluster)?)];
    let namespaces = servers[0].get("/api/v1/namespaces").await?;
    anyhow::ensure!(namespaces["items"].as_array().is_some_and(|items| items.len() == 4), "{namespaces}");
    println!("{HAS_CLUSTER}{}", cluster.name());
    match std::env::var(WHAT_ELSE).as_deref() {
        Ok("stay") => tokio::time::sleep(STAY).await,
        Ok("stay with a child") => {
            let mut child = Command::new("/bin/sleep").arg("180").spawn()?;
            println!("{HAS_CHILD}{}", child.id());
            tokio::time::sleep(STAY).await;
            child.kill()?;
            child.wait()?;
        }
        Ok("until the engine dies") => {
            servers[1].get("/api/v1/namespaces").await?;
            println!("{IS_WAITING}");
            for server in &servers {
                while server.get("/api/v1/namespaces").await.is_ok() {
                    tokio::time::sleep(Duration::from_millis(10)).await;
                }
            }
            // Nor does a connection that begins only now lead anywhere.
            for path in [ClientPath::Unix, ClientPath::Tls] {
                let late = Server(path.as_user(&cluster, "alice", [])?);
                anyhow::ensure!(late.get("/version").await.is_err(), "{path:?}: an answer without an engine");
            }
        }
        _ => {}
    }
    Ok(())
}

fn visitor_that(realm: &Realm, what_else: &str) -> Command {
    let mut command = realm.command("engine::visitor");
    command.env(WHAT_ELSE, what_else);
    command
}

fn expect_words(text: &str, words: &[&str]) {
    for word in words {
        assert!(text.contains(word), "no `{word}` in: {text}");
    }
}

#[test]
fn fifty_processes_at_once_get_one_engine() {
    let realm = Realm::new().with("KINA_SLOTS_MAX", "3");
    let visitors: Vec<_> = (0..50).map(|_| realm.start(realm.command("engine::visitor"))).collect();
    wait_until_blocking("the engine runs", || realm.status().is_some());
    let engine = realm.status_of_running().process_id;
    for visitor in visitors {
        assert!(visitor.wait().success());
    }
    let status = realm.status_of_running();
    assert_eq!((status.process_id, status.counters.leases), (engine, 50));
    assert!(status.counters.boots <= 3, "{:?}", status.counters);
    #[cfg(target_os = "linux")]
    assert_eq!(engines_of(&realm), BTreeSet::from([engine]));
}

/// The engines that run in a realm: processes that were started as one.
#[cfg(target_os = "linux")]
fn engines_of(realm: &Realm) -> BTreeSet<u32> {
    let is_engine = |process_id: &u32| {
        let environment = std::fs::read(format!("/proc/{process_id}/environ")).unwrap_or_default();
        environment.split(|byte| *byte == 0).any(|variable| variable.starts_with(BECOME_ENGINE.as_bytes()))
    };
    common::system::processes_of(&realm.runtime_directory()).into_iter().filter(is_engine).collect()
}

#[test]
fn of_two_racing_engines_one_serves_all() {
    let realm = Realm::new();
    let start_engine = || {
        let mut command = Command::new(std::env::current_exe().expect("this executable"));
        realm.prepare(&mut command);
        command.env(BECOME_ENGINE, "process").stdout(Stdio::null()).stderr(Stdio::null());
        command.spawn().expect("the engine starts")
    };
    let mut engines = [start_engine(), start_engine()];
    wait_until_blocking("one engine runs", || realm.status().is_some());
    realm.run_well("engine::visitor");
    let winner = realm.status_of_running().process_id;
    let (winners, losers): (Vec<_>, Vec<_>) = engines.iter_mut().partition(|engine| engine.id() == winner);
    assert_eq!((winners.len(), losers.len()), (1, 1));
    for loser in losers {
        wait_until_blocking("the other one gives up", || !is_running(loser.id()));
        assert!(!loser.wait().expect("reaped").success());
    }
    realm.run_well("engine::visitor");
    assert_eq!(realm.status_of_running().process_id, winner);
    realm.stop();
    for engine in winners {
        assert!(engine.wait().expect("reaped").success());
    }
}

#[test]
fn clusters_die_with_a_killed_engine_and_the_next_test_gets_a_new_one() {
    let realm = Realm::new();
    let visitor = realm.start(visitor_that(&realm, "until the engine dies"));
    visitor.wait_for(IS_WAITING);
    let status = realm.status_of_running();
    let processes: Vec<_> = status.slots.iter().flat_map(|slot| slot.process_ids.clone()).collect();
    assert_eq!(processes.len(), 2, "etcd and kube-apiserver: {status:?}");
    kill(status.process_id);
    for process in &processes {
        wait_until_blocking("a cluster dies with its engine", || !is_running(*process));
    }
    assert!(visitor.wait().success(), "the visitor sees the end of its cluster");

    realm.run_well("engine::visitor");
    let next = realm.status_of_running();
    assert_ne!(next.process_id, status.process_id);
    assert_eq!(next.counters.leases, 1);
    let directory = realm.runtime_directory();
    let old = format!("cluster-{}-", status.process_id);
    let left = common::system::files_below(&directory);
    assert!(!left.iter().any(|file| file.contains(&old)), "the killed engine's clusters are still there: {left:?}");
}

/// Ends a process that a realm started.
fn kill(process_id: u32) {
    let pid = i32::try_from(process_id).ok().and_then(rustix::process::Pid::from_raw).expect("a process id");
    rustix::process::kill_process(pid, rustix::process::Signal::KILL).expect("killed");
}

#[test]
fn a_lease_ends_with_its_test_though_a_child_of_the_test_lives_on() {
    let realm = Realm::new().with("KINA_SLOTS_MAX", "1").with("KINA_ACQUIRE_TIMEOUT_SECONDS", "60");
    let visitor = realm.start(visitor_that(&realm, "stay with a child"));
    let child = visitor.wait_for(HAS_CHILD).parse().expect("a process id");
    visitor.kill();
    assert!(is_running(child));
    // There is one slot, so the next lease proves that it was returned.
    realm.run_well("engine::visitor");
    assert!(is_running(child));
    kill(child);
    assert_eq!(realm.status_of_running().counters.leases, 2);
}

#[test]
fn a_runtime_directory_that_others_can_write_to_is_refused() {
    let realm = Realm::new();
    let directory = realm.runtime_directory();
    let set_mode = |mode| std::fs::set_permissions(&directory, std::fs::Permissions::from_mode(mode)).expect("changed");
    set_mode(0o777);
    let output = realm.run("engine::visitor");
    set_mode(0o700);
    assert!(!output.status.success());
    expect_words(&text_of(&output), &[&directory.display().to_string(), "777", "chmod 700", "KINA_RUNTIME_DIR"]);
    assert!(realm.status().is_none(), "an engine was started nevertheless");
}

#[test]
fn a_runtime_directory_of_another_user_is_refused() {
    let realm = Realm::new();
    let own;
    // Root can give a directory away. Other users have plenty of directories that belong to root.
    let foreign: &Path = match rustix::process::getuid().is_root() {
        true => {
            own = tempfile::tempdir().expect("a temporary directory");
            std::os::unix::fs::chown(own.path(), Some(65534), None).expect("given away");
            own.path()
        }
        false => Path::new("/usr"),
    };
    let mut command = realm.command("engine::visitor");
    command.env("KINA_RUNTIME_DIR", foreign);
    let output = output(command);
    assert!(!output.status.success());
    let user = format!("not to {}", rustix::process::getuid().as_raw());
    expect_words(&text_of(&output), &[&foreign.display().to_string(), "belongs to user", &user, "KINA_RUNTIME_DIR"]);
}

#[test]
fn a_program_that_does_not_become_the_engine_is_tried_once() {
    let realm = Realm::new();
    let directory = tempfile::tempdir().expect("a temporary directory");
    let (program, record) = (directory.path().join("no-engine"), directory.path().join("started"));
    let script = format!("#!/bin/sh\necho started >> '{}'\n", record.display());
    std::fs::write(&program, script).expect("written");
    std::fs::set_permissions(&program, std::fs::Permissions::from_mode(0o700)).expect("made executable");
    let mut command = realm.command("engine::visitor");
    command.env("KINA_ENGINE", &program);
    let output = output(command);
    assert!(!output.status.success());
    let program = program.display().to_string();
    expect_words(&text_of(&output), &[&program, "exit status: 0", "constructor", "cargo install cargo-kina"]);
    assert_eq!(std::fs::read_to_string(&record).expect("it was started"), "started\n");
}

#[test]
fn if_no_source_has_the_binaries_one_error_lists_all_sources() {
    let nowhere = tempfile::tempdir().expect("a temporary directory");
    let empty = |name: &str| {
        let path = nowhere.path().join(name);
        std::fs::create_dir(&path).expect("made");
        path
    };
    let realm = Realm::new()
        .with("KINA_CACHE_DIR", empty("cache"))
        .with("HOME", empty("home"))
        .with("XDG_DATA_HOME", empty("data"))
        .with("KINA_ASSETS_DIR", "")
        .with("KUBEBUILDER_ASSETS", "")
        // Go finds no module, and the download finds no server.
        .with("PATH", empty("bin"))
        .with("GOPROXY", "off")
        .with("GOFLAGS", "-mod=mod")
        .with("GOMODCACHE", empty("modules"))
        .with("GOCACHE", empty("builds"))
        .with("GOTOOLCHAIN", "local")
        .with("HTTPS_PROXY", "http://127.0.0.1:1")
        .with("https_proxy", "http://127.0.0.1:1")
        .with("NO_PROXY", "")
        .with("no_proxy", "");
    let output = realm.run("engine::visitor");
    assert!(!output.status.success());
    let text = text_of(&output);
    let sources = ["kina's store", "setup-envtest's store", "download", "build from Go modules"];
    expect_words(&text, &["no source has the binaries of Kubernetes 1.37", "do one of these"]);
    for source in sources {
        let line = text.lines().find(|line| line.trim_start().starts_with(&format!("- {source}")));
        let (_, answer) =
            line.and_then(|line| line.split_once(": ")).unwrap_or_else(|| panic!("no {source} in {text}"));
        assert!(!answer.trim().is_empty(), "{source} has no answer in {text}");
    }
    // A failure is not permanent: the engine lives, and serves clients that name the binaries.
    assert!(realm.status().is_some());
}

#[test]
fn a_mistake_in_a_workspaces_settings_is_reported_by_its_tests() {
    let realm = Realm::new();
    let workspace = tempfile::tempdir().expect("a temporary directory");
    let file = workspace.path().join("kina.toml");
    std::fs::write(&file, "# for all tests here\nkubernets = \"1.37\"\n").expect("written");
    let mut command = realm.command("engine::visitor");
    command.env("CARGO_MANIFEST_DIR", workspace.path());
    let output = output(command);
    assert!(!output.status.success());
    expect_words(&text_of(&output), &[&file.display().to_string(), "line 2", "`kubernets`", "`kubernetes`"]);
    assert!(realm.status().is_none(), "an engine was started nevertheless");
}

#[test]
fn a_mistake_in_the_users_settings_is_reported_before_an_engine_starts() {
    let configuration = tempfile::tempdir().expect("a temporary directory");
    let file = configuration.path().join("kina/kina.toml");
    std::fs::create_dir(configuration.path().join("kina")).expect("made");
    std::fs::write(&file, "slots_max = 0\n").expect("written");
    let realm = Realm::new().with("XDG_CONFIG_HOME", configuration.path());
    let output = realm.run("engine::visitor");
    assert!(!output.status.success());
    expect_words(&text_of(&output), &[&file.display().to_string(), "line 1", "`slots_max`", "from 1 to 1000"]);
    assert!(realm.status().is_none(), "an engine was started nevertheless");
}

#[test]
fn a_workspace_sets_the_minor_of_its_tests() {
    let realm = Realm::new();
    let workspace = tempfile::tempdir().expect("a temporary directory");
    // The binaries under test are of a different minor.
    std::fs::write(workspace.path().join("kina.toml"), "kubernetes = \"1.33\"\n").expect("written");
    let assets = common::untouched::assets().expect("the binaries under test");
    let mut command = realm.command("engine::visitor");
    command.env("CARGO_MANIFEST_DIR", workspace.path());
    command.env("KINA_ASSETS_DIR", assets.kube_apiserver.parent().expect("a directory"));
    let output = output(command);
    assert!(!output.status.success());
    expect_words(&text_of(&output), &["1.33", "v1.37"]);
}

#[test]
fn a_different_minor_than_that_of_the_named_binaries_is_refused() {
    let realm = Realm::new();
    let assets = common::untouched::assets().expect("the binaries under test");
    let directory = assets.kube_apiserver.parent().expect("a directory").to_owned();
    realm.run_well("engine::visitor");
    let request = AcquireRequest {
        kubernetes: Some("1.36".to_owned()),
        test: "asks for 1.36".to_owned(),
        timeout_ms: 60_000,
        assets_directory: None,
        kubebuilder_assets: Some(directory.clone()),
        ..AcquireRequest::default()
    };
    let answer = ask_to_the_end(&realm, &ClientMessage::Acquire(request));
    let EngineMessage::Refused(refusal) = answer else { panic!("not refused: {answer:?}") };
    assert_eq!(refusal.kind, RefusalKind::User);
    let directory = directory.display().to_string();
    expect_words(&refusal.message, &["1.36", "v1.37", &directory, "KUBEBUILDER_ASSETS"]);
    realm.run_well("engine::visitor");
}

#[test]
fn a_minor_that_does_not_exist_is_refused() {
    let realm = Realm::new();
    realm.run_well("engine::visitor");
    let request = AcquireRequest { kubernetes: Some("1.2".to_owned()), ..AcquireRequest::default() };
    let answer = ask_to_the_end(&realm, &ClientMessage::Acquire(request));
    let EngineMessage::Refused(refusal) = answer else { panic!("not refused: {answer:?}") };
    assert_eq!(refusal.kind, RefusalKind::User);
    expect_words(&refusal.message, &["1.2"]);
}

/// Reads the answers up to the first one that is neither progress nor, on a busy machine, a heartbeat.
fn ask_to_the_end(realm: &Realm, message: &ClientMessage) -> EngineMessage {
    const PROGRESS_MAX: usize = 100;
    let hello = serde_json::to_string(&ClientMessage::Hello { protocol: PROTOCOL }).expect("plain data");
    let message = serde_json::to_string(message).expect("plain data");
    let answers = realm.say_and_listen(&format!("{hello}\n{message}\n")).expect("an engine runs");
    answers
        .take(PROGRESS_MAX)
        .map(|line| serde_json::from_str(&line).expect("a message"))
        .find(|answer| !matches!(answer, EngineMessage::Progress { .. } | EngineMessage::Alive))
        .expect("an answer")
}

#[test]
fn malformed_messages_are_refused_and_the_engine_lives_on() {
    let realm = Realm::new();
    realm.run_well("engine::visitor");
    let engine = realm.status_of_running().process_id;

    let other = serde_json::to_string(&ClientMessage::Hello { protocol: PROTOCOL + 1 }).expect("plain data");
    let answer = realm.say(&format!("{other}\n")).expect("an engine runs");
    let Ok(EngineMessage::Refused(refusal)) = serde_json::from_str(&answer) else { panic!("not refused: {answer}") };
    assert_eq!(refusal.kind, RefusalKind::User);
    let protocols = format!("protocol {PROTOCOL}, not {}", PROTOCOL + 1);
    expect_words(&refusal.message, &[&protocols]);

    let hello = serde_json::to_string(&ClientMessage::Hello { protocol: PROTOCOL }).expect("plain data");
    let endless = "x".repeat(4 << 20);
    for nonsense in ["", "\n", "nonsense\n", "\"dance\"\n", "{\"hello\":{}}\n", &endless] {
        realm.say_and_leave(nonsense);
        realm.say_and_leave(&format!("{hello}\n{nonsense}"));
        realm.say_and_leave(&format!("{hello}\n{hello}\n{nonsense}"));
        assert_eq!(realm.status_of_running().process_id, engine, "after {:.40}", nonsense);
    }
    realm.run_well("engine::visitor");
    assert_eq!(realm.status_of_running().process_id, engine);
}
