//! Verified calls: their reported outcome is not trusted, and they are repeated only if that is harmless.

use super::super::command::GuestSignal;
use super::super::error::ContainerErrorKind as Kind;
use super::super::guest_events::GuestEvents;
use super::super::json::ContainerState;
use super::super::make::make;
use super::{Fake, INTERRUPTED, Setup, foreign_labels};

#[tokio::test]
async fn an_interrupted_query_is_repeated_and_not_for_ever() {
    let fake = Fake::new();
    let cli = fake.cli();
    fake.put_ours("a", "running");
    fake.fault("list.once", INTERRUPTED);
    assert_eq!(cli.list().await.expect("the second time").len(), 1);
    fake.fault("list", INTERRUPTED);
    assert_eq!(cli.list().await.expect_err("each time").kind, Kind::ServiceInterrupted);
    assert_eq!(fake.count("list"), 2 + 3);
}

#[tokio::test]
async fn a_call_that_fails_for_a_known_reason_is_not_repeated() {
    let fake = Fake::new();
    fake.fault("list", "fail 'default kernel not configured for architecture arm64'");
    assert_eq!(fake.cli().list().await.expect_err("no kernel").kind, Kind::NoKernel);
    assert_eq!(fake.count("list"), 1);
    assert_eq!(fake.cli().inspect("missing").await.expect_err("not there").kind, Kind::Missing);
    fake.fault("inspect", "echo '[]'; exit 0");
    assert_eq!(fake.cli().inspect("missing").await.expect_err("not listed").kind, Kind::Missing);
    fake.fault("inspect", "echo 'Error'; exit 0");
    assert_eq!(fake.cli().inspect("missing").await.expect_err("nonsense").kind, Kind::Unreadable);
}

#[tokio::test]
async fn the_outcome_of_an_interrupted_create_is_looked_up_before_it_is_repeated() {
    for (fault, creates) in [
        (format!("perform \"$@\"; {INTERRUPTED}"), 1),
        ("fail 'XPC connection error: Connection invalid'".to_owned(), 2),
        (INTERRUPTED.to_owned(), 2),
    ] {
        let setup = Setup::new();
        setup.fake.fault("create.once", &fault);
        make(&setup.shared, &setup.spec("a"), &Setup::image(), "c1").await.expect("there is one");
        assert_eq!(setup.fake.count("create"), creates, "{fault}");
        assert!(setup.fake.exists("a"));
    }
}

#[tokio::test]
async fn a_foreign_container_of_the_same_name_is_not_taken_over() {
    let setup = Setup::new();
    setup.fake.put("a", &foreign_labels(), "running");
    let error = make(&setup.shared, &setup.spec("a"), &Setup::image(), "c1").await.expect_err("taken");
    assert_eq!(error.kind, Kind::Exists);
    setup.fake.fault("create", INTERRUPTED);
    let error = make(&setup.shared, &setup.spec("a"), &Setup::image(), "c1").await.expect_err("taken");
    assert_eq!(error.kind, Kind::Foreign);
}

#[tokio::test]
async fn a_start_is_over_when_the_container_runs() {
    for (fault, starts) in [
        ("true", 1),
        (INTERRUPTED, 2),
        ("perform \"$@\"; fail surprise", 1),
        ("perform \"$@\"; fail 'XPC timeout for request to x'", 1),
    ] {
        let fake = Fake::new();
        fake.put_ours("a", "stopped");
        fake.fault("start.once", fault);
        let container = fake.cli().start("a").await.expect("started");
        assert_eq!((container.state, fake.count("start")), (ContainerState::Running, starts), "{fault}");
    }
    for (fault, kind) in [
        ("fail 'bind: Address already in use (errno: 48)'", Kind::PortTaken),
        ("fail 'default kernel not configured for architecture arm64'", Kind::NoKernel),
        ("exit 0", Kind::NotRunning),
        ("rm -r containers/a; exit 0", Kind::Missing),
    ] {
        let fake = Fake::new();
        fake.put_ours("a", "stopped");
        fake.fault("start", fault);
        assert_eq!(fake.cli().start("a").await.expect_err(fault).kind, kind, "{fault}");
        assert_eq!(fake.count("start"), 1, "{fault}");
    }
}

/// Trap 17: a stop or a delete can report a failure although it is done, and the other way round.
#[tokio::test]
async fn the_list_counts_more_than_the_outcome_of_a_stop() {
    let done_but = "perform \"$@\"; fail 'internalError: \"stop failed\"'";
    for (fault, stops) in [("true", 1), (done_but, 1), ("fail busy", 2), ("exit 0", 2), (INTERRUPTED, 2)] {
        let fake = Fake::new();
        fake.put_ours("a", "running");
        fake.fault("stop.once", fault);
        fake.cli().stop("a").await.expect(fault);
        assert_eq!((fake.state("a").as_str(), fake.count("stop")), ("stopped", stops), "{fault}");
    }
    let fake = Fake::new();
    fake.put_ours("a", "running");
    fake.fault("stop", "exit 0");
    assert_eq!(fake.cli().stop("a").await.expect_err("no effect").kind, Kind::Mismatch);
    fake.fault("stop", "rm -r containers/a; exit 0");
    assert_eq!(fake.cli().stop("a").await.expect_err("pruned").kind, Kind::Missing);
}

#[tokio::test]
async fn the_list_counts_more_than_the_outcome_of_a_delete() {
    let done_but = "perform \"$@\"; fail 'container with ID a not found'";
    for (fault, deletes) in [("true", 1), (done_but, 1), ("fail busy", 2), ("exit 0", 2)] {
        let fake = Fake::new();
        fake.put_ours("a", "running");
        fake.fault("delete.once", fault);
        fake.cli().delete("a", &fake.owner()).await.expect(fault);
        assert_eq!((fake.exists("a"), fake.count("delete")), (false, deletes), "{fault}");
    }
    let fake = Fake::new();
    fake.cli().delete("a", &fake.owner()).await.expect("nothing to do");
    fake.put("a", &foreign_labels(), "running");
    fake.cli().delete("a", &fake.owner()).await.expect("nothing of ours");
    assert!(fake.exists("a"), "it is not ours");
    assert_eq!(fake.count("delete"), 0);
    let fake = Fake::new();
    fake.put_ours("a", "running");
    fake.fault("delete", "exit 0");
    assert_eq!(fake.cli().delete("a", &fake.owner()).await.expect_err("no effect").kind, Kind::Mismatch);
}

#[tokio::test]
async fn a_signal_is_sent_until_it_has_an_effect() {
    let fake = Fake::new();
    fake.put_ours("a", "running");
    let events = GuestEvents::of_next_start("a", &fake.path(""), false);
    // The first call exits with 0 and has no effect, the second one works.
    fake.fault("kill", "echo '{\"event\":\"state_complete\"}' >>supervisor.log");
    fake.fault("kill.once", "rm supervisor.log; exit 0");
    events.signal(&fake.cli(), GuestSignal::StateLoaded).await.expect("acted");
    assert_eq!(std::fs::read_to_string(fake.path("signals")).expect("sent"), "10\n");
    assert_eq!(fake.count("kill"), 2);
    // It acts on another signal than the one that is sent, which is tried three times.
    let error = events.signal(&fake.cli(), GuestSignal::RestartApiServer).await.expect_err("never");
    assert_eq!((error.kind, fake.count("kill")), (Kind::TimedOut, 5));
    fake.fault("kill", "echo stopped >containers/a/state; exit 0");
    let error = events.signal(&fake.cli(), GuestSignal::RestartApiServer).await.expect_err("it stopped");
    assert_eq!(error.kind, Kind::NotRunning);
}
