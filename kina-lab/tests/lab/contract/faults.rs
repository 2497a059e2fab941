//! The emulator with each of its faults in turn. A cluster's life may fail under some of them. Then the failure must be
//! reported, nothing may be left, and the next life must succeed.

use crate::contract::emulator::Emulator;

/// The expected outcome of a fault.
enum Outcome {
    /// The driver overcomes it: the first life succeeds.
    Unnoticed,
    /// The first life fails, with one of these phrases in its error.
    Told(&'static [&'static str]),
    /// Either, as the fault's time is random.
    Either,
}

/// Runs the lives of clusters under a plan of faults, and returns the emulator, whose calls can be counted.
fn lives_under(faults: &str, outcome: &Outcome) -> Emulator {
    let emulator = Emulator::new();
    let run = emulator.contract(&["--only", "replaces-what-fails"], faults);
    let check = &run.report["checks"][0];
    assert_eq!((&check["outcome"], run.is_success), (&"passed".into(), true), "{check}\n{}", run.stderr);
    let happened = emulator.faults_that_happened();
    for fault in faults.split(',') {
        let name = fault.split(['=', ';']).next().unwrap_or(fault);
        // `lie-stop` and `lie-rm` are lies, at the command that the plan names.
        let name = if name.starts_with("lie") { "lie".to_owned() } else { name.replace("xpc-", "").replace('-', "") };
        let is_found = happened.iter().any(|entry| entry.to_lowercase().contains(&name));
        assert!(is_found, "`{fault}` has not happened: {happened:?}");
    }
    let told = check["reason"].as_str();
    match outcome {
        Outcome::Unnoticed => assert_eq!(told, None, "{}", run.stderr),
        Outcome::Told(phrases) => {
            let told = told.unwrap_or_else(|| panic!("no failure was reported: {}", run.stderr));
            assert!(phrases.iter().any(|phrase| told.contains(phrase)), "{told}");
        }
        Outcome::Either => {}
    }
    assert_eq!(emulator.containers(), "[]");
    assert_eq!(emulator.processes(), [0_u32; 0]);
    emulator
}

/// The calls that an image which is gone matters to.
const OF_IMAGES: [&str; 3] = ["image inspect", "image load", "create"];

/// The image vanishes before the question that precedes the second create: it is loaded again before that.
#[test]
fn an_image_that_is_gone_before_a_create() {
    let emulator = lives_under("image-gone=image-inspect:1:1", &Outcome::Unnoticed);
    let transcript = emulator.transcript(&OF_IMAGES);
    assert_eq!(transcript, ["image inspect", "image load", "create", "image inspect", "image load", "create"]);
}

/// The image vanishes between the question and the create, whose pull never ends: that costs one killed create.
#[test]
fn an_image_whose_pull_hangs() {
    if is_left_to_long_runs() {
        return;
    }
    let emulator = lives_under("image-gone=create:1:1,pull-hangs=create:1:1", &Outcome::Unnoticed);
    let transcript = emulator.transcript(&OF_IMAGES);
    let count = |call: &str| transcript.iter().filter(|other| *other == call).count();
    // One for the common state, which the fault hits, one for the life.
    assert_eq!((count("create"), count("image load")), (3, 2), "{transcript:?}");
    let second = transcript.iter().position(|call| call == "create").expect("a create") + 1;
    let after: Vec<_> = transcript[second..].iter().skip_while(|call| *call == "image inspect").collect();
    assert_eq!(after[..2], ["image load", "create"], "{transcript:?}");
}

/// No question is about all images.
#[test]
fn an_image_of_another_user_that_is_damaged() {
    if is_left_to_long_runs() {
        return;
    }
    let emulator = lives_under("damaged-image=image-load:1:1", &Outcome::Unnoticed);
    assert_eq!(emulator.transcript(&["image list"]), [""; 0]);
    assert_eq!(emulator.transcript(&["image load"]).len(), 1);
}

/// The signals to the guest are each sent once: its events are learned from the log of the machine.
#[test]
fn mounts_whose_changes_are_seen_late() {
    if is_left_to_long_runs() {
        return;
    }
    let emulator = lives_under("mount-lag=20000", &Outcome::Unnoticed);
    // The state of the common cluster and of the life, and one restart.
    assert_eq!(emulator.transcript(&["kill"]).len(), 3);
}

#[test]
fn mounts_whose_changes_are_never_seen() {
    if is_left_to_long_runs() {
        return;
    }
    let emulator = lives_under("mount-never", &Outcome::Unnoticed);
    assert_eq!(emulator.transcript(&["kill"]).len(), 3);
}

/// A cluster boots and restarts its API server, and its death is noticed although no file tells of it.
#[test]
fn clusters_with_mounts_whose_changes_are_never_seen() {
    let emulator = Emulator::new();
    let in_short = ["--only", "keeps-state-when-restarted,tells-of-deaths,explains-failed-boots"];
    let checks = if crate::contract::is_long() { &[] } else { &in_short[..] };
    let run = emulator.contract(checks, "mount-never");
    crate::contract::passed(&run, true, &[]);
    assert_eq!(emulator.containers(), "[]");
}

/// The checks that such a failure hits are repeated, and the report tells why.
#[test]
fn the_whole_suite_with_failures_that_pass() {
    let in_short = ["--only", "boots-from-nothing"];
    let checks = if crate::contract::is_long() { &[] } else { &in_short[..] };
    for (faults, reason) in [
        ("network-gone=create:1:1", "run `container system stop` and `container system start`"),
        ("upgraded=stop:1:1", "made by another version"),
    ] {
        if !crate::contract::is_long() && faults.starts_with("upgraded") {
            continue;
        }
        let emulator = Emulator::new();
        let run = emulator.contract(checks, faults);
        crate::contract::passed_repeating(&run, true, &[], 1);
        let checks = run.report["checks"].as_array().expect("checks");
        let mut failures = checks.iter().filter_map(|check| check["passing_failures"][0].as_str());
        assert!(failures.next().is_some_and(|failure| failure.contains(reason)), "{}", run.report);
        assert_eq!(emulator.containers(), "[]");
    }
}

/// The error is one for the user, so nothing is tried again before the repair, after which the next life succeeds.
#[test]
fn a_network_that_is_gone() {
    if is_left_to_long_runs() {
        return;
    }
    // The call that failed, then those of the common state and of the life, which is started twice.
    for (call, expected) in [("create", 3), ("start", 4)] {
        let told = Outcome::Told(&["run `container system stop` and `container system start`"]);
        let emulator = lives_under(&format!("network-gone={call}:1:1"), &told);
        assert_eq!(emulator.transcript(&[call]).len(), expected, "{call}");
    }
}

/// A container that another version has made is not started again. Another one is made.
#[test]
fn a_service_that_is_upgraded_while_a_cluster_is_stopped() {
    let emulator = lives_under("upgraded=stop:1:1", &Outcome::Told(&["made by another version"]));
    // Of the common state, of the life that ends, and of the next one, which is started twice.
    assert_eq!((emulator.transcript(&["create"]).len(), emulator.transcript(&["start"]).len()), (3, 4));
}

/// Another client holds the service's lock as long as five deletions of ten seconds.
#[test]
fn a_lock_that_others_hold() {
    if is_left_to_long_runs() {
        return;
    }
    // Each of the common state and of the life, which is started twice.
    for (call, expected) in [("create", 2), ("start", 3)] {
        let emulator = lives_under(&format!("lock-held={call}:1:1"), &Outcome::Unnoticed);
        assert_eq!(emulator.transcript(&[call]).len(), expected, "{call}");
    }
}

/// Returns true, and says so, if this is a short run. The driver's own tests have each fault, without a machine.
fn is_left_to_long_runs() -> bool {
    let is_left = !crate::contract::is_long();
    if is_left {
        eprintln!("left to long runs: KINA_LONG_TESTS=1");
    }
    is_left
}

/// Defines a test for each plan, so that each has its own name and time.
macro_rules! faults {
    ($is_always_tried:expr; $($name:ident: $faults:literal => $outcome:expr;)*) => {
        $(
            #[test]
            fn $name() {
                use Outcome::{Either, Told, Unnoticed};
                // Each row uses only one of them.
                let _ = (Told(&[]), Unnoticed, Either);
                if $is_always_tried || !is_left_to_long_runs() {
                    lives_under($faults, &$outcome);
                }
            }
        )*
    };
}

faults! { true;
    a_list_that_hangs: "hang=list:1:1" => Unnoticed;
    a_container_that_is_pruned: "pruned=inspect:1:1" => Told(&["pruned or deleted outside of kina"]);
    calls_that_lie: "lie=create:1:1,lie-stop=stop:1:1,lie-rm=delete:1:1" => Unnoticed;
}

faults! { false;
    a_port_that_is_taken: "port-taken=start:1:1" => Unnoticed;
    a_service_that_crashes: "crash=stop:1:1" => Told(&["stop"]);
    a_start_that_hangs: "hang=start:1:1" => Either;
    a_stop_that_hangs: "hang=stop:1:1" => Either;
    a_connection_that_breaks: "xpc-interrupted=*:0.08:6" => Either;
    a_machine_that_reboots: "reboot=inspect:1:1" => Either;
    a_service_that_is_down: "down=create:1:1" => Either;
    calls_that_are_slow_and_noisy: "slow=*:0.1:20,noise=*:0.5" => Unnoticed;
    an_old_kernel: "no-nftables" => Unnoticed;
    another_subnet: "subnet" => Unnoticed;
}
