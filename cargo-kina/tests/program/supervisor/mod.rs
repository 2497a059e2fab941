//! The supervisor of images: packed by kina, unpacked, and run with emulated components. The suite that boots the image
//! uses the real ones.
//!
//! It is compiled for this machine. Tests of the supervisor that kina itself compiles are skipped if the compiler
//! cannot do that.

mod command_line;
mod scene;

use std::os::unix::process::ExitStatusExt;
use std::process::Command;

use kina_engine::lab::image::layout;
use rustix::process::Signal;

use self::scene::{Scene, children_of, has_ended};

const LOADED: [&str; 4] = ["etcd_started", "etcd_serving", "state_complete", "kube_apiserver_started"];

/// Makes a scene with ordinary components.
fn loaded() -> Scene {
    Scene::new(&["--data=ROOT/kina/state/etcd", "--ready"], &["--port=6443"])
}

/// Waits until both components of a first start run.
fn load(scene: &Scene, supervisor: &scene::Supervisor<'_>) {
    scene.wait_event("etcd_serving");
    supervisor.send(Signal::USR1);
    // The component may log its start before the supervisor does.
    scene.wait_event("kube_apiserver_started");
    scene.wait_log("kube-apiserver.log", "waiting");
}

/// Returns from the test, with a notice, if the compiler has no standard library for programs in images.
macro_rules! skip_unless_images_can_be_made {
    () => {
        if !test_support::can_compile_for_images() {
            test_support::skip!("the compiler has no standard library for {}", test_support::image_target());
            return;
        }
    };
}
pub(crate) use skip_unless_images_can_be_made;

#[test]
fn the_same_compiler_makes_the_same_image_in_any_directory() {
    skip_unless_images_can_be_made!();
    let directories = [(); 2].map(|()| tempfile::tempdir().expect("directory"));
    let [one, other] = directories.each_ref().map(|directory| scene::build_image(directory.path()));
    assert!(one.reference.starts_with(&format!("kina.local/cluster:unknown-{}-", scene::host())), "{}", one.reference);
    assert_eq!(one.reference, other.reference);
    assert!(std::fs::read(one.archive).expect("read") == std::fs::read(other.archive).expect("read"));
}

#[test]
fn a_first_start_waits_until_the_state_is_loaded() {
    let scene = loaded();
    let supervisor = scene.start();
    scene.wait_event("etcd_serving");
    // A restart of kube-apiserver, which does not run yet, is ignored. The event shows that the supervisor has decided
    // not to start it.
    supervisor.send(Signal::HUP);
    scene.wait_event("signal_ignored");
    assert_eq!(scene.event_names(), ["etcd_started", "etcd_serving", "signal_ignored"]);
    assert!(!scene.path(layout::COMPLETE_MARKER).exists());
    assert_eq!(scene.log("kube-apiserver.log"), "");

    load(&scene, &supervisor);
    assert_eq!(scene.event_names()[3..], LOADED[2..]);
    assert!(scene.path(layout::COMPLETE_MARKER).exists());
    for (log, started) in [("kube-apiserver.log", "started --port=6443\n"), ("etcd.log", "started --data=")] {
        let text = scene.log(log);
        assert!(text.starts_with(started), "{text}");
        // The signals that the supervisor blocks must not be blocked in its components.
        assert!(text.contains("SigBlk:\t0000000000000000\n"), "{text}");
    }
    assert!(scene.log("etcd.log").contains("ready: true"));
}

#[test]
fn the_signal_that_the_state_is_loaded_may_come_before_etcd_reports_that_it_serves() {
    let scene = Scene::new(&["--wait-ms=300", "--ready"], &[]);
    let supervisor = scene.start();
    scene.wait_event("etcd_started");
    supervisor.send(Signal::USR1);
    scene.wait_event("kube_apiserver_started");
    assert_eq!(scene.event_names(), LOADED);
}

#[test]
fn a_cluster_whose_state_is_complete_starts_by_itself_and_keeps_its_data() {
    let scene = loaded();
    let supervisor = scene.start();
    load(&scene, &supervisor);
    supervisor.send(Signal::TERM);
    assert!(supervisor.wait_ended().success());
    assert_eq!(scene.event_names()[4..], ["stopping", "stopped"]);
    let kept = scene.path(layout::ETCD_DIRECTORY).join("kept");
    std::fs::write(&kept, "").expect("write");

    scene.forget_log();
    let supervisor = scene.start();
    scene.wait_event("etcd_serving");
    assert_eq!(scene.event_names(), ["etcd_started", "kube_apiserver_started", "etcd_serving"]);
    assert!(kept.exists());
    supervisor.send(Signal::USR1);
    scene.wait_event("signal_ignored");
}

#[test]
fn a_state_that_was_not_completely_loaded_is_not_kept() {
    let scene = loaded();
    let supervisor = scene.start();
    scene.wait_event("etcd_serving");
    let left = scene.path(layout::ETCD_DIRECTORY).join("left");
    std::fs::write(&left, "").expect("write");
    supervisor.send(Signal::INT);
    assert!(supervisor.wait_ended().success());
    assert!(left.exists());

    scene.forget_log();
    let supervisor = scene.start();
    scene.wait_event("etcd_serving");
    assert!(!left.exists());
    assert!(scene.path(layout::ETCD_DIRECTORY).join("db").exists());
    drop(supervisor);
}

#[test]
fn a_restart_affects_kube_apiserver_alone_and_uses_the_current_arguments() {
    let scene = loaded();
    let supervisor = scene.start();
    load(&scene, &supervisor);
    scene.set_arguments(layout::API_SERVER_ARGUMENTS, &["--port=7443", "", "--two words"]);
    supervisor.send(Signal::HUP);
    scene.wait_event("kube_apiserver_restarted");
    scene.wait_log("kube-apiserver.log", "started --port=7443 --two words\n");
    assert!(has_ended(scene.process("kube_apiserver_started", 0)));
    let mut children: Vec<u32> = children_of(supervisor.process()).into_iter().map(|(process, _)| process).collect();
    children.sort_unstable();
    let mut expected = [scene.process("etcd_started", 0), scene.process("kube_apiserver_restarted", 0)];
    expected.sort_unstable();
    assert_eq!(children, expected);
}

#[test]
fn when_a_component_ends_the_supervisor_logs_it_ends_the_other_and_fails() {
    for (event, component) in [("etcd_started", "etcd"), ("kube_apiserver_started", "kube-apiserver")] {
        let scene = loaded();
        let supervisor = scene.start();
        load(&scene, &supervisor);
        let processes = [scene.process("etcd_started", 0), scene.process("kube_apiserver_started", 0)];
        let victim = rustix::process::Pid::from_raw(scene.process(event, 0).cast_signed()).expect("a process");
        rustix::process::kill_process(victim, Signal::KILL).expect("killed");
        assert_eq!(supervisor.wait_ended().code(), Some(1));
        let detail = format!("{component} ended (signal 9)");
        let told = |event: &str, detail: &str| (event.to_owned(), detail.to_owned());
        let expected = [told("component_ended", &detail), told("stopping", &detail), told("stopped", "")];
        assert_eq!(scene.events()[4..], expected);
        // The host may never see the component's own log.
        let output = scene.output();
        let printed = output.lines().find(|line| line.contains("component_log")).expect(&output);
        let last = scene.log(&format!("{component}.log")).lines().last().expect("a line").to_owned();
        assert!(printed.contains(&last), "{printed}: {last}");
        assert!(processes.into_iter().all(has_ended));
    }
}

#[test]
fn an_etcd_that_ends_before_it_serves_is_logged_with_its_exit_code() {
    let scene = Scene::new(&["--exit=3"], &[]);
    assert_eq!(scene.start().wait_ended().code(), Some(1));
    let (event, detail) = scene.events().swap_remove(1);
    assert_eq!((event.as_str(), detail.as_str()), ("component_ended", "etcd ended (exit code 3)"));
    assert!(!scene.path(layout::COMPLETE_MARKER).exists());
}

#[test]
fn a_component_that_cannot_be_started_is_named() {
    let scene = loaded();
    std::fs::remove_file(scene.path(layout::KUBE_API_SERVER)).expect("remove");
    let supervisor = scene.start();
    scene.wait_event("etcd_serving");
    supervisor.send(Signal::USR1);
    assert_eq!(supervisor.wait_ended().code(), Some(1));
    let (event, detail) = scene.events().swap_remove(3);
    assert_eq!(event, "stopping");
    assert!(detail.contains(&scene.path(layout::KUBE_API_SERVER).display().to_string()), "{detail}");
    assert!(has_ended(scene.process("etcd_started", 0)));

    let scene = loaded();
    let arguments = scene.path(layout::CLUSTER_DIRECTORY).join(layout::ETCD_ARGUMENTS);
    std::fs::remove_file(&arguments).expect("remove");
    assert_eq!(scene.start().wait_ended().code(), Some(1));
    assert!(scene.events()[0].1.contains(&arguments.display().to_string()), "{:?}", scene.events());
}

#[test]
fn an_etcd_that_does_not_end_when_asked_to_is_killed() {
    let scene = Scene::new(&["--ignore-term", "--ready"], &[]);
    let supervisor = scene.start();
    load(&scene, &supervisor);
    supervisor.send(Signal::TERM);
    assert!(supervisor.wait_ended().success());
    assert_eq!(scene.events().last().expect("events").1, "etcd was killed after 3 s");
    assert!(has_ended(scene.process("etcd_started", 0)));
}

#[test]
fn a_supervisor_that_is_killed_takes_its_components_along() {
    let scene = loaded();
    let supervisor = scene.start();
    load(&scene, &supervisor);
    supervisor.send(Signal::KILL);
    assert_eq!(supervisor.wait_ended().signal(), Some(9));
    for event in ["etcd_started", "kube_apiserver_started"] {
        scene.wait(event, || has_ended(scene.process(event, 0)));
    }
}

#[test]
fn an_orphan_is_adopted_and_reaped() {
    let scene = Scene::new(&["--leave-orphan", "--ready"], &[]);
    let supervisor = scene.start();
    let process = supervisor.process();
    scene.wait_event("etcd_serving");
    scene.wait_log("etcd.log", &format!("adopted by {process}\n"));
    let etcd = scene.process("etcd_started", 0);
    let are_reaped = || children_of(process).iter().all(|(child, _)| *child == etcd);
    scene.wait("the orphan is reaped", are_reaped);
}

/// Tests a whole life as the first process, which gets all orphans and ignores signals without a handler.
#[test]
fn it_is_a_good_first_process() {
    let Some(unshare) = own_namespace() else {
        // The tests above do without a namespace.
        test_support::skip!("this machine permits no PID namespace");
        return;
    };
    is_a_good_first_process(&Scene::new(&["--leave-orphan", "--ready"], &[]), &unshare);
}

/// The same with the supervisor in the images of users.
#[test]
fn the_supervisor_that_kina_compiles_is_a_good_first_process() {
    skip_unless_images_can_be_made!();
    let Some(unshare) = own_namespace() else {
        test_support::skip!("this machine permits no PID namespace");
        return;
    };
    is_a_good_first_process(&Scene::of_kinas_own_image(&["--leave-orphan", "--ready"], &[]), &unshare);
}

/// Returns the words before a command that give it a PID namespace, if this machine permits one.
fn own_namespace() -> Option<Vec<&'static str>> {
    let namespace = ["--pid", "--fork", "--kill-child"];
    let as_root = [&["unshare"], &namespace[..]].concat();
    let as_any_user = [&["unshare", "--user", "--map-root-user"], &namespace[..]].concat();
    [as_root, as_any_user].into_iter().find(|words| {
        Command::new(words[0]).args(&words[1..]).arg("true").output().is_ok_and(|output| output.status.success())
    })
}

fn is_a_good_first_process(scene: &Scene, unshare: &[&str]) {
    let supervisor = scene.start_as_first_process(unshare);
    load(scene, &supervisor);
    scene.wait_log("etcd.log", "adopted by 1\n");
    let process = supervisor.process();
    scene.wait("the orphan is reaped", || children_of(process).len() == 2);
    supervisor.send(Signal::HUP);
    scene.wait_event("kube_apiserver_restarted");
    supervisor.send(Signal::TERM);
    assert!(supervisor.wait_ended().success());
    assert_eq!(scene.event_names()[4..], ["kube_apiserver_restarted", "stopping", "stopped"]);
}
