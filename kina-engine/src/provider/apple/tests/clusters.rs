//! A cluster's life as far as it needs no real etcd: ports, checks before a start, unexpected ends.

use std::net::TcpListener;
use std::sync::Arc;
use std::time::Duration;

use super::super::apple_error::AppleError;
use super::super::create::{create, create_in};
use super::super::error::ContainerErrorKind as Kind;
use super::super::{AppleProvider, ImageSource, SweepReport};
use super::{Fake, Setup, foreign_labels, kind, request, settings};
use crate::assets::Assets;
use crate::provider::{ProvidedCluster, Provider, ProviderError};

/// A wait this long means that the event never comes.
const NEVER: Duration = Duration::from_secs(60);

#[tokio::test]
async fn a_port_that_was_taken_meanwhile_is_exchanged_for_another() {
    let setup = Setup::new();
    let directory = setup.fake.path("clusters/c1");
    setup.fake.fault("start.once", "fail 'Address already in use (errno: 48)'");
    let cluster = create_in(&setup.shared, Setup::order(&request()), &directory).await.expect("the second time");
    let calls = std::fs::read_to_string(setup.fake.path("calls")).expect("called");
    let creates: Vec<_> = calls.lines().filter(|line| line.starts_with("create ")).collect();
    assert_eq!(creates.len(), 2);
    assert_ne!(creates[0], creates[1]);
    assert!(creates[1].contains(&format!("{}:6443", cluster.access().api_address)), "{}", creates[1]);
    assert_eq!(std::fs::read_dir(setup.fake.path("containers")).expect("listed").count(), 1);
    // The tries are limited, and leave nothing behind.
    setup.fake.fault("start", "fail 'Address already in use (errno: 48)'");
    cluster.destroy().await.expect("destroyed");
    assert!(!directory.exists());
    let error = create_in(&setup.shared, Setup::order(&request()), &directory).await.err().expect("no port");
    assert_eq!(kind(&error), Some(Kind::PortTaken), "{error}");
    assert_eq!(std::fs::read_dir(setup.fake.path("containers")).expect("listed").count(), 0);
}

#[tokio::test]
async fn a_failed_start_is_explained_and_leaves_nothing_but_logs() {
    let setup = Setup::new();
    let directory = setup.fake.path("clusters/c1");
    // The supervisor ends at once, and logs the reason in the shared directory.
    setup.fake.fault("start", "echo 'etcd: no such file' >logs/c1/supervisor.log; exit 0");
    let error = create(&setup.shared, Setup::order(&request())).await.err().expect("it ends");
    let ProviderError::Ended { component: "the supervisor", log_tail, .. } = &error else { panic!("{error}") };
    assert_eq!(log_tail, "etcd: no such file");
    assert!(!error.is_user_error());
    // A component ends at once, with the reason in its own log.
    let ended = r#"{"event":"component_ended","detail":"etcd ended (exit code 1)"}"#;
    let logged = format!("echo '{ended}' >>logs/c1/supervisor.log; echo 'unknown flag' >logs/c1/etcd.log; exit 0");
    setup.fake.fault("start", &logged);
    let error = create(&setup.shared, Setup::order(&request())).await.err().expect("it ends");
    let ProviderError::Ended { component: "etcd", status, log_tail, .. } = &error else { panic!("{error}") };
    assert_eq!((status.as_str(), log_tail.as_str()), ("etcd ended (exit code 1)", "unknown flag"));
    // Without a shared log, the reason is in the container's output.
    std::fs::remove_file(setup.fake.path("logs/c1/supervisor.log")).expect("removed");
    setup.fake.fault("start", "exit 0");
    setup.fake.fault("logs", "echo 'no such directory: /kina/log'; exit 0");
    let error = create(&setup.shared, Setup::order(&request())).await.err().expect("it ends");
    assert!(error.to_string().contains("no such directory: /kina/log"), "{error}");
    setup.fake.fault("start", "fail 'default kernel not configured for architecture arm64'");
    let error = create(&setup.shared, Setup::order(&request())).await.err().expect("no kernel");
    assert!(error.is_user_error() && crate::with_causes(&error).contains("kernel set --recommended"), "{error}");
    assert_eq!(std::fs::read_dir(setup.fake.path("containers")).expect("listed").count(), 0);
    assert!(!directory.exists() && setup.shared.leftovers.is_empty());
}

#[tokio::test]
async fn the_capabilities_are_those_of_virtual_machines() {
    for (version, simulated) in [("1.2.2 (build: release)", false), ("1.4.1 (build: release) an emulator", true)] {
        let fake = Fake::new();
        fake.fault("--version", &format!("echo 'container CLI version {version}'; exit 0"));
        let no_images: Arc<dyn ImageSource> = Arc::new(|_: &Assets| Err("no image".into()));
        let provider = AppleProvider::connect(settings(&fake), no_images).await.expect("it answers");
        let capabilities = provider.capabilities();
        assert_eq!(capabilities.simulated, simulated, "{version}");
        assert!(capabilities.stop && !capabilities.freeze && !capabilities.shares_loopback);
        assert_eq!(capabilities.binaries_platform.os, "linux");
        // The source's error is returned before any container is made.
        let error = provider.create(request()).await.err().expect("no image");
        let ProviderError::Own(own) = &error else { panic!("{error}") };
        let is_image = |error: &AppleError| matches!(error, AppleError::Image(of) if of.to_string() == "no image");
        assert!(own.downcast_ref().is_some_and(is_image), "{error}");
        assert_eq!(fake.count("create"), 0);
        assert_eq!(provider.sweep().await.expect("listed"), Some(SweepReport::default()));
        fake.fault("system-status", "echo '{\"status\":\"unregistered\"}'; exit 1");
        assert_eq!(provider.sweep().await.expect("asked"), None);
    }
}

#[tokio::test]
async fn a_stopped_cluster_keeps_its_ports_to_itself() {
    let setup = Setup::new();
    let cluster = setup.running().await;
    assert_eq!(cluster.memory_bytes().await, Some((1 << 30) + (128 << 20)));
    cluster.stop().await.expect("stopped");
    assert_eq!(cluster.memory_bytes().await, None);
    assert!(TcpListener::bind(cluster.access().api_address).is_err());
    cluster.stop().await.expect("stopped already");
    assert_eq!(setup.fake.count("stop"), 1);
    cluster.destroy().await.expect("destroyed");
    assert!(!setup.fake.exists("a") && setup.shared.leftovers.is_empty());
    cluster.destroy().await.expect("nothing to do");
}

/// Trap 4: after a crash of the service a machine that runs is listed as stopped, and only a delete ends it.
#[tokio::test]
async fn a_cluster_that_is_listed_as_stopped_but_answers_is_deleted() {
    let setup = Setup::new();
    let cluster = setup.running().await;
    let _alive = TcpListener::bind(cluster.access().etcd_address).expect("free");
    setup.fake.fault("stop", "echo stopped >containers/a/state; exit 0");
    let error = cluster.stop().await.expect_err("it still answers");
    assert_eq!(kind(&error), Some(Kind::Mismatch), "{error}");
    assert!(!setup.fake.exists("a"));
}

#[tokio::test]
async fn a_cluster_is_checked_before_it_is_started_again() {
    let foreign = foreign_labels();
    let cases: [(&str, Kind, bool); 5] = [
        ("pruned", Kind::Missing, false),
        ("foreign", Kind::Foreign, true),
        ("image", Kind::OtherImage, false),
        ("runs", Kind::Mismatch, false),
        ("port", Kind::PortTaken, false),
    ];
    for (what, expected, stays) in cases {
        let setup = Setup::new();
        let cluster = setup.running().await;
        cluster.stop().await.expect("stopped");
        let directory = setup.fake.path("containers/a");
        let mut taken = None;
        match what {
            "pruned" => std::fs::remove_dir_all(&directory).expect("removed"),
            "foreign" => {
                std::fs::remove_dir_all(&directory).expect("removed");
                setup.fake.put("a", &foreign, "stopped");
            }
            "image" => std::fs::write(directory.join("image"), "kina.local/cluster:2").expect("written"),
            "runs" => std::fs::write(directory.join("state"), "running").expect("written"),
            _ => {
                cluster.forget_ports();
                taken = Some(TcpListener::bind(cluster.access().api_address).expect("given up"));
            }
        }
        let error = cluster.start().await.expect_err(what);
        assert_eq!(kind(&error), Some(expected), "{what}: {error}");
        assert_eq!((setup.fake.exists("a"), setup.fake.count("start")), (stays, 0), "{what}");
        drop(taken);
    }
}

#[tokio::test]
async fn the_end_of_a_running_cluster_is_noticed_and_no_other() {
    let setup = Setup::new();
    let cluster = setup.running().await;
    // A failed list does not count as an end.
    setup.fake.fault("list.once", "fail busy");
    assert!(tokio::time::timeout(Duration::from_millis(500), cluster.wait_died()).await.is_err());
    std::fs::write(setup.fake.path("containers/a/state"), "stopped").expect("written");
    let how = tokio::time::timeout(NEVER, cluster.wait_died()).await.expect("noticed");
    assert!(how.contains("has stopped"), "{how}");

    let setup = Setup::new();
    let cluster = setup.running().await;
    setup.fake.fault("list", "fail 'XPC connection error: Connection invalid'");
    setup.fake.fault("system-status", "echo '{\"status\":\"not running\"}'; exit 1");
    let how = tokio::time::timeout(NEVER, cluster.wait_died()).await.expect("noticed");
    assert!(how.contains("is down"), "{how}");
}

#[tokio::test]
async fn a_running_cluster_is_recognised_by_a_query_and_not_from_memory() {
    let setup = Setup::new();
    let cluster = setup.running().await;
    assert!(cluster.check_running().await.expect("looked at"));
    std::fs::write(setup.fake.path("containers/a/state"), "stopped").expect("written");
    assert!(!cluster.check_running().await.expect("looked at"));
    std::fs::remove_dir_all(setup.fake.path("containers/a")).expect("removed");
    assert!(!cluster.check_running().await.expect("looked at"));
    setup.fake.fault("inspect", "fail 'failed to find target executable'");
    let error = cluster.check_running().await.expect_err("its state is unknown");
    assert_eq!(kind(&error), Some(Kind::BadExecutable), "{error}");
}

#[tokio::test]
async fn only_containers_of_the_realm_remain() {
    let fake = Fake::new();
    let no_images: Arc<dyn ImageSource> = Arc::new(|_: &Assets| Err("no image".into()));
    let provider = AppleProvider::connect(settings(&fake), no_images).await.expect("it answers");
    assert_eq!(provider.remains().await.expect("listed"), Vec::<String>::new());
    fake.put_ours("of-another-engine", "stopped");
    fake.put("theirs", &foreign_labels(), "running");
    assert_eq!(provider.remains().await.expect("listed"), ["container of-another-engine"]);
    // This program does not report disk space.
    assert_eq!(provider.disk_bytes().await, None);
}

#[tokio::test]
async fn a_cluster_that_is_dropped_is_deleted() {
    let setup = Setup::new();
    let cluster = setup.running().await;
    let directory = setup.fake.path("clusters/c1");
    setup.fake.fault("delete.once", "fail busy");
    drop(cluster);
    setup.shared.leftovers.wait_none().await;
    assert!(!setup.fake.exists("a") && !directory.exists());
    assert!(setup.shared.leftovers.is_empty());
}

#[tokio::test]
async fn unsupported_actions_and_wrong_states_are_errors() {
    let setup = Setup::new();
    let cluster = setup.running().await;
    assert!(matches!(cluster.freeze().await, Err(ProviderError::Unsupported { wanted: "frozen" })));
    assert!(matches!(cluster.thaw().await, Err(ProviderError::Unsupported { .. })));
    assert!(matches!(cluster.start().await, Err(ProviderError::WrongState { .. })));
    assert!(setup.fake.exists("a"), "it still runs");
    assert!(cluster.process_ids().is_empty());
}
