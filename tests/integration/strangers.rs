//! Connections of other users of the machine, an engine that has no more open files, and more clients than it serves. No
//! lease notices any of it.
#![cfg(target_os = "linux")]

mod scene;

use std::collections::BTreeSet;
use std::os::unix::net::UnixStream;

use rustix::process::{Pid, Resource, Rlimit, prlimit};

use self::scene::{HOLDS, LIMIT, STRANGERS, Scene, scrape, start_stranger};
use crate::common::{system, wait_until_blocking};

const ACCEPT_LINE: &str = "cannot accept connections";
/// The clients that an engine under the limit serves at a time.
const SOCKET_SHARE: usize = (LIMIT / 4) as usize;
/// A few more wait in the listener's queue.
const CLIENTS: usize = SOCKET_SHARE + 20;
const GATEWAY_LINE: &str = "other users of this machine connect to gateways";

#[test]
fn two_thousand_silent_connections_of_another_user_disturb_no_lease() {
    if !rustix::process::getuid().is_root() {
        test_support::skip!("only root can start a process of another user");
        return;
    }
    let scene = Scene::start("new");
    let engine = scene.status().process_id;
    let ports: BTreeSet<u16> =
        system::listeners_of(&BTreeSet::from([engine])).into_iter().map(|(port, _)| port).collect();
    let metrics_port = scene.metrics_port();
    assert!(ports.contains(&scene.gateway_port) && ports.contains(&metrics_port), "{ports:?}");

    let strangers: Vec<_> = (0..STRANGERS).map(|_| start_stranger(&scene.realm, &ports)).collect();
    for stranger in &strangers {
        stranger.wait_for(HOLDS);
    }
    scene.expect_tenant_works();
    scene.expect_new_lease();
    let metrics = scrape(metrics_port);
    assert!(metrics.contains("# EOF"), "{metrics}");
    scene.expect_tenant_works();
    assert_eq!(scene.lines_with(GATEWAY_LINE), 1);
    assert_eq!(scene.lines_with(ACCEPT_LINE), 0, "there were open files enough");
    drop(strangers);
    scene.end();
}

#[test]
fn an_engine_without_open_files_serves_the_leases_that_it_has() {
    let scene = Scene::start("kept");
    let status = scene.status();
    let engine = Pid::from_raw(status.process_id.cast_signed());
    let set_limit = |current| {
        let limit = Rlimit { current: Some(current), maximum: Some(LIMIT) };
        prlimit(engine, Resource::Nofile, limit).expect("the limit of this user's process can be set");
    };
    // No new file has a number below.
    set_limit(0);
    let waiting = std::thread::scope(|scope| {
        let realm = &scene.realm;
        let waiting: Vec<_> = (0..20).map(|_| scope.spawn(|| realm.status().is_some())).collect();
        wait_until_blocking("the engine cannot accept", || {
            let log = std::fs::read_to_string(&status.log).expect("the engine has a log");
            log.contains(ACCEPT_LINE)
        });
        scene.expect_tenant_works();
        set_limit(LIMIT);
        waiting.into_iter().map(|waiting| waiting.join().expect("no panic")).collect::<Vec<_>>()
    });
    assert!(waiting.iter().all(|answered| *answered), "all are answered once there are files again");
    scene.expect_tenant_works();
    scene.expect_new_lease();
    assert_eq!(scene.lines_with(ACCEPT_LINE), 1);
    scene.end();
}

#[test]
fn clients_that_fill_the_engines_socket_keep_no_lease_from_its_connections() {
    let scene = Scene::start("watched");
    let files = format!("/proc/{}/fd", scene.status().process_id);
    let open_files = || std::fs::read_dir(&files).expect("the engine runs").count();
    let before = open_files();
    let held: Vec<_> =
        (0..CLIENTS).map(|_| UnixStream::connect(scene.realm.socket()).expect("the engine listens")).collect();
    // A quarter of the limit is for clients, and the tenant is one.
    wait_until_blocking("the socket is full", || before + SOCKET_SHARE - 1 <= open_files());
    for _ in 0..3 {
        scene.expect_tenant_works();
    }
    drop(held);
    scene.expect_new_lease();
    scene.end();
}
