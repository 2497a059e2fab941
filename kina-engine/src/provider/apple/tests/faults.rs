//! One test for each fault that the emulator has since the driver was compared with the sources of `container`. Each
//! counts calls.

use std::sync::Arc;
use std::time::Duration;

use super::super::command::GuestSignal;
use super::super::create::create_in;
use super::super::error::ContainerErrorKind as Kind;
use super::super::guest_events::GuestEvents;
use super::super::image::ClusterImage;
use super::super::make::make;
use super::super::{AppleProvider, ImageSource};
use super::{Fake, PATIENCE, Patience, Setup, kind, request, settings};
use crate::assets::Assets;
use crate::provider::{ProvidedCluster, Provider};

/// The image is there.
fn with_image() -> Setup {
    let setup = Setup::new();
    std::fs::write(setup.fake.path("images"), "kina.local/cluster:1 d1\n").expect("written");
    setup
}

async fn create(setup: &Setup, cluster: &str) -> Result<(), super::ProviderError> {
    let mut request = request();
    request.name = cluster.to_owned();
    let directory = setup.fake.path("clusters").join(cluster);
    create_in(&setup.shared, Setup::order(&request), &directory).await.map(drop)
}

/// A create without its image would only end when it is killed.
const PULLS: &str = "[ -s images ] || exec sleep 1000";
const OF_IMAGES: [&str; 3] = ["image inspect", "image load", "create"];

#[tokio::test]
async fn image_gone() {
    let setup = with_image();
    setup.fake.fault("create", PULLS);
    create(&setup, "c1").await.expect("made");
    assert_eq!(setup.fake.transcript(&OF_IMAGES), ["image inspect", "create"]);
    std::fs::remove_file(setup.fake.path("images")).expect("removed");
    create(&setup, "c2").await.expect("made");
    assert_eq!(setup.fake.transcript(&OF_IMAGES)[2..], ["image inspect", "image load", "create"]);
}

/// The image vanishes between the question and the create, which then pulls for ever, or fails in unknown words.
#[tokio::test]
async fn pull_hangs() {
    for fault in ["rm images; exec sleep 1000", "rm images; fail 'failed to resolve either repository hostname'"] {
        let setup = with_image();
        setup.fake.fault("create", PULLS);
        setup.fake.fault("create.once", fault);
        create(&setup, "c1").await.expect("made");
        assert_eq!((setup.fake.count("create"), setup.fake.count("image load")), (2, 1), "{fault}");
        let transcript = setup.fake.transcript(&OF_IMAGES);
        assert_eq!(transcript[transcript.len() - 3..], ["image inspect", "image load", "create"], "{fault}");
    }
}

#[tokio::test]
async fn an_image_is_loaded_while_others_boot() {
    let setup = Setup::new();
    setup.fake.fault("image-load", "until [ -f booted ]; do sleep 0.01; done");
    setup.fake.fault("start", "[ \"$name\" != other ] || touch booted");
    setup.fake.put_ours("other", "stopped");
    let (made, started) = tokio::join!(create(&setup, "c1"), setup.shared.cli.start("other"));
    made.expect("made");
    started.expect("started");
}

/// `image list --format json` fails, as it does in the program of these tests.
#[tokio::test]
async fn damaged_image() {
    let fake = Fake::new();
    std::fs::write(fake.path("images"), "kina.local/cluster:1 d1\nalpine broken\n").expect("written");
    fake.fault("system-version", "echo '[]'; exit 0");
    let made = Setup::image();
    let source: Arc<dyn ImageSource> = Arc::new(move |_: &Assets| Ok(made.clone()));
    let provider = AppleProvider::connect(settings(&fake), source).await.expect("it answers");
    let order = request();
    create_in(&provider.shared, Setup::order(&order), &fake.path("clusters/c1")).await.expect("made");
    let asked: ClusterImage = Setup::image();
    let inside = provider.examine(Some(&asked), false).await.expect("examined").inside.expect("it runs");
    assert!(inside.image_is_loaded.expect("asked").expect("answered"));
    assert_eq!(inside.image_names.expect("listed"), ["kina.local/cluster:1", "alpine"]);
    assert!(inside.disk_usage.is_none());
    assert_eq!((fake.count("image list --format"), fake.count("image load"), fake.count("system df")), (0, 0, 0));
}

#[tokio::test]
async fn a_path_with_an_equals_sign_is_refused_before_any_call() {
    for (of_states, variable) in [(true, "KINA_RUNTIME_DIR"), (false, "KINA_CACHE_DIR")] {
        let fake = Fake::new();
        let mut settings = settings(&fake);
        settings.state_variable = "KINA_RUNTIME_DIR";
        let bad = fake.path("a=").join("below");
        *(if of_states { &mut settings.cluster_directory } else { &mut settings.log_directory }) = bad.clone();
        let no_images: Arc<dyn ImageSource> = Arc::new(|_: &Assets| Err("no image".into()));
        let provider = AppleProvider::connect(settings, no_images).await.expect("it answers");
        let error = provider.create(request()).await.err().expect("refused");
        assert_eq!((kind(&error), error.is_user_error()), (Some(Kind::BadMount), true), "{error}");
        let text = crate::with_causes(&error);
        assert!(text.contains(variable) && text.contains(&*bad.to_string_lossy()), "{text}");
        assert_eq!(std::fs::read_to_string(fake.path("calls")).expect("called"), "--version\n");
    }
}

#[tokio::test]
async fn network_gone() {
    let texts = [
        ("create", "builtin network is not present"),
        ("start", "failed to get plugin for network default"),
        ("start", "failed to create vmnet network with status vmnet_return_t(rawValue: 1001)"),
    ];
    for (call, text) in texts {
        let setup = with_image();
        setup.fake.fault(call, &format!("fail 'internalError: \"{text}\"'"));
        let error = create(&setup, "c1").await.expect_err("no network");
        assert_eq!((kind(&error), error.is_user_error()), (Some(Kind::NetworkMissing), true), "{text}: {error}");
        assert_eq!(setup.fake.count(call), 1, "{text}");
    }
}

#[tokio::test]
async fn an_unknown_error_is_tried_a_third_time_only_if_it_changes() {
    for (fault, count) in [("fail surprise", 2), ("fail surprise $$", 3)] {
        let setup = with_image();
        setup.fake.fault("create", fault);
        create(&setup, "c1").await.expect_err("each time");
        assert_eq!(setup.fake.count("create"), count, "{fault}");
        setup.fake.put_ours("a", "stopped");
        setup.fake.fault("start", fault);
        setup.shared.cli.start("a").await.expect_err("each time");
        assert_eq!(setup.fake.count("start"), count, "{fault}");
        setup.fake.fault("list", fault);
        setup.shared.cli.list().await.expect_err("each time");
    }
}

/// Other calls hold the service's lock for longer than a call usually takes.
#[tokio::test]
async fn lock_held() {
    let setup = with_image();
    let waits = "sleep 1.5";
    setup.fake.fault("create", waits);
    setup.fake.fault("start", waits);
    create(&setup, "c1").await.expect("made");
    assert_eq!((setup.fake.count("create"), setup.fake.count("start")), (1, 1));
}

#[tokio::test]
async fn a_call_that_hangs_after_its_effect_is_given_up_before_its_deadline() {
    let setup = with_image();
    for call in ["create", "start"] {
        setup.fake.fault(call, "perform \"$@\"; exec sleep 1000");
    }
    create(&setup, "c1").await.expect("made");
    assert_eq!((setup.fake.count("create"), setup.fake.count("start")), (1, 1));
}

#[tokio::test]
async fn upgraded() {
    for (version, starts, expected) in [("2", 0, Kind::OtherVersion), ("1", 1, Kind::BadExecutable)] {
        let setup = Setup::new();
        let cluster = setup.running().await;
        cluster.stop().await.expect("stopped");
        let status = format!("{{\"status\":\"running\",\"server\":{{\"version\":\"{version}\"}}}}");
        std::fs::write(setup.fake.path("status"), status).expect("written");
        // Nothing answers in these machines, so a start that is tried has to fail.
        setup.fake.fault("start", "fail 'failed to find target executable'");
        let error = cluster.start().await.expect_err("not started");
        assert_eq!((kind(&error), setup.fake.count("start")), (Some(expected), starts), "{error}");
        assert!(!setup.fake.exists("a"), "it is deleted");
        assert!(!error.is_user_error());
    }
}

/// Waits for as long as the machine needs.
fn patient() -> Setup {
    let setup = Setup::with(Patience { signal_acted_max: Duration::from_secs(60), ..PATIENCE });
    setup.fake.put_ours("a", "running");
    setup
}

const RESTARTED: &str = "{\"event\":\"kube_apiserver_restarted\",\"detail\":\"\"}";

#[tokio::test]
async fn mount_never() {
    let setup = patient();
    let events = GuestEvents::of_next_start("a", &setup.fake.path(""), false);
    setup.fake.fault("kill", &format!("echo '{RESTARTED}' >>containers/a/output"));
    for signals in 1..=3 {
        events.signal(&setup.shared.cli, GuestSignal::RestartApiServer).await.expect("told by the output");
        assert_eq!(setup.fake.count("kill"), signals);
        assert!(events.lag());
    }
    assert_eq!(events.end(&setup.shared.cli).await, None);
    let ended = "{\"event\":\"component_ended\",\"detail\":\"etcd ended (signal 9)\"}";
    std::fs::write(setup.fake.path("containers/a/output"), ended).expect("written");
    let end = events.end(&setup.shared.cli).await.expect("told by the output");
    assert_eq!(end, (Some("etcd"), "etcd ended (signal 9)".to_owned()));
}

/// The supervisor prints the end of a log that is never seen, and messages name the file, so it is written.
#[tokio::test]
async fn the_log_of_a_component_that_has_ended_is_kept_although_it_is_never_seen() {
    let setup = patient();
    let log = setup.fake.path("etcd.log");
    let events = GuestEvents::of_next_start("a", &setup.fake.path(""), false);
    assert!(events.log_tail(&setup.shared.cli, &log).await.contains("cannot be read"));
    assert!(!log.exists());
    let printed = r#"{"event":"component_log","detail":"unknown flag\nsee --help"}"#;
    std::fs::write(setup.fake.path("containers/a/output"), printed).expect("written");
    let told = "unknown flag\nsee --help";
    assert_eq!(events.log_tail(&setup.shared.cli, &log).await, told);
    assert_eq!(std::fs::read_to_string(&log).expect("written"), format!("{told}\n"));
    // A file that is seen says more, and costs no call.
    std::fs::write(&log, "seen").expect("written");
    let calls = setup.fake.count("logs");
    assert_eq!(events.log_tail(&setup.shared.cli, &log).await, "seen");
    assert_eq!(setup.fake.count("logs"), calls);
}

#[tokio::test]
async fn mount_lag() {
    let setup = patient();
    let events = GuestEvents::of_next_start("a", &setup.fake.path(""), false);
    let late = format!(
        "echo '{RESTARTED}' >>containers/a/output; \
         (sleep 2; echo '{RESTARTED}' >>supervisor.log) >/dev/null 2>&1 &"
    );
    setup.fake.fault("kill", &late);
    events.signal(&setup.shared.cli, GuestSignal::RestartApiServer).await.expect("told by the output");
    assert_eq!((setup.fake.count("kill"), events.lag()), (1, true));
}

#[tokio::test]
async fn a_file_that_changes_at_once_costs_no_call() {
    let setup = patient();
    let events = GuestEvents::of_next_start("a", &setup.fake.path(""), false);
    setup.fake.fault("kill", &format!("echo '{RESTARTED}' >>supervisor.log"));
    for _ in 0..3 {
        events.signal(&setup.shared.cli, GuestSignal::RestartApiServer).await.expect("told by the file");
    }
    assert_eq!((setup.fake.count("kill"), setup.fake.count("logs"), events.lag()), (3, 0, false));
}

#[tokio::test]
async fn an_event_that_was_told_twice_does_not_pass_for_a_later_one() {
    let setup = Setup::new();
    setup.fake.put_ours("a", "running");
    let events = GuestEvents::of_next_start("a", &setup.fake.path(""), true);
    std::fs::write(setup.fake.path("containers/a/output"), format!("{RESTARTED}\n{RESTARTED}\n")).expect("written");
    let error = events.signal(&setup.shared.cli, GuestSignal::RestartApiServer).await.expect_err("it does not act");
    assert_eq!((error.kind, setup.fake.count("kill")), (Kind::TimedOut, 3));
}

#[tokio::test]
async fn unsynced_lines_that_are_not_seen_show_that_requests_for_tokens_are_not_either() {
    let setup = Setup::new();
    let directory = setup.fake.path("");
    let log = directory.join("etcd.log");
    for text in ["of an earlier start", "of an earlier start, and of this one"] {
        let events = GuestEvents::of_next_start("a", &directory, false);
        std::fs::write(&log, text).expect("written");
        events.examine_etcd_log();
        assert!(!events.lag(), "{text}");
    }
    let events = GuestEvents::of_next_start("a", &directory, false);
    events.examine_etcd_log();
    assert!(events.lag());
    let cluster = setup.running().await;
    assert!(cluster.notices_tokens());
    drop(cluster);
}

#[tokio::test]
async fn a_container_is_made_by_one_call_in_one_turn() {
    let setup = with_image();
    make(&setup.shared, &setup.spec("a"), &Setup::image(), "c1").await.expect("made");
    assert_eq!(setup.fake.transcript(&["image", "create", "list", "start"]), ["image", "create"]);
}
