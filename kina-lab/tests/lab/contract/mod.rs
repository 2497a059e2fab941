//! `cargo lab contract` on all providers that work here: processes, the emulator of Apple's `container` with each of
//! its faults in turn, and podman behind the same command line.
mod emulator;
mod faults;
mod podman;
mod run;

pub use self::emulator::Emulator;
use self::run::{Run, contract};

/// Returns true if long runs are requested. Otherwise only a selection is run.
fn is_long() -> bool {
    std::env::var_os("KINA_LONG_TESTS").is_some()
}

/// Asserts that every check passed, except for those that may be skipped.
fn passed(run: &Run, simulated: bool, may_skip: &[&str]) {
    passed_repeating(run, simulated, may_skip, 0);
}

fn passed_repeating(run: &Run, simulated: bool, may_skip: &[&str], repeated: usize) {
    let Run { report, is_success, stderr } = run;
    assert_eq!(report["simulated"], simulated, "{report}");
    let checks = report["checks"].as_array().expect("checks");
    for check in checks {
        let skipped = check["outcome"] == "skipped" && may_skip.iter().any(|name| check["name"] == **name);
        assert!(check["outcome"] == "passed" || skipped, "{check}\n{stderr}");
    }
    let count = |name: &str| usize::try_from(report[name].as_u64().expect("a number")).expect("small");
    assert_eq!(count("passed") + count("failed") + count("skipped"), checks.len(), "{report}");
    assert_eq!(count("repeated"), repeated, "{report}\n{stderr}");
    assert!(*is_success, "{report}\n{stderr}");
}

#[test]
fn processes_keep_the_contract() {
    let run = contract(&["--provider", "process"], &[]);
    passed(&run, false, &[]);
    assert_eq!(run.report["provider"], "process");
    assert!(15 < run.report["passed"].as_u64().expect("a number"), "{}", run.report);
}

#[test]
fn the_emulator_keeps_the_contract() {
    let emulator = Emulator::new();
    let run = emulator.contract(&[], "");
    passed(&run, true, &[]);
    assert!(15 < run.report["passed"].as_u64().expect("a number"), "{}", run.report);
    assert_eq!(emulator.containers(), "[]");
    assert_eq!(emulator.processes(), [0_u32; 0]);
}

#[test]
fn containers_of_podman_keep_the_contract() {
    let Some(podman) = podman::Podman::find() else {
        test_support::skip!("there is no podman here: install it, or set KINA_PODMAN to its path");
        return;
    };
    // This uses the image that users get, with the first process that kina compiles for it.
    if !test_support::can_compile_for_images() {
        test_support::skip!("the compiler has no standard library for {}", test_support::image_target());
        return;
    }
    // podman is several times as slow as the others.
    let in_short =
        ["--only", "boots-from-nothing,keeps-state-when-stopped,keeps-strangers-out-of-etcd,tells-of-deaths"];
    let run = podman.contract(if is_long() { &[] } else { &in_short });
    passed(&run, true, &[]);
    assert!(if is_long() { 15 } else { 3 } < run.report["passed"].as_u64().expect("a number"), "{}", run.report);
}

#[test]
fn a_provider_that_breaks_the_contract_fails_the_run() {
    // The crashed service reports every stop as done and does nothing, so a stopped cluster still runs.
    let run = Emulator::new().contract(&["--only", "keeps-state-when-stopped,reports-memory"], "crash=stop:1");
    assert!(!run.is_success, "{}", run.report);
    assert_eq!((&run.report["failed"], &run.report["passed"]), (&2.into(), &0.into()), "{}", run.report);
    for check in run.report["checks"].as_array().expect("checks") {
        assert!(check["reason"].as_str().is_some_and(|reason| reason.contains("stop")), "{check}");
    }
}

#[test]
fn an_unknown_check_is_an_error_that_lists_the_known_ones() {
    let output = std::process::Command::new(env!("CARGO_BIN_EXE_kina-lab"))
        .args(["contract", "--provider", "process", "--only", "nonsense"])
        .output()
        .expect("it starts");
    let stderr = String::from_utf8_lossy(&output.stderr).into_owned();
    assert_eq!(output.status.code(), Some(1), "{stderr}");
    assert!(stderr.contains("`nonsense`") && stderr.contains("boots-from-nothing"), "{stderr}");
}
