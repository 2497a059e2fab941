//! One life of a container on podman. The test is skipped on a host without podman.
#![cfg(target_os = "linux")]

use std::path::Path;
use std::process::{Command, Output};

/// The image, whose only content is a program that is compiled here.
const IMAGE: Own = Own("kina.local/on-podman-probe:");
const NAME: Own = Own("kina-on-podman-test-");

/// A name that is unique to this run of the test, because all runs share one podman.
struct Own(&'static str);

impl std::fmt::Display for Own {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(formatter, "{}{}", self.0, std::process::id())
    }
}

fn call(line: &str) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_container-on-podman"));
    command.args(line.split_whitespace()).output().expect("it starts")
}

fn good(line: &str) -> String {
    let output = call(line);
    assert!(output.status.success(), "`{line}`: {}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).expect("UTF-8")
}

fn bad(line: &str, code: i32) -> String {
    let output = call(line);
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    assert_eq!(output.status.code(), Some(code), "`{line}`: {said}");
    said
}

/// Removes the test's container and image in any case.
struct Cleaned;

impl Drop for Cleaned {
    fn drop(&mut self) {
        call(&format!("delete -f {NAME}"));
        call(&format!("image delete -f {IMAGE}"));
    }
}

#[test]
fn forms_that_the_reference_does_not_list_are_refused() {
    assert!(good("--version").contains("kina on podman"));
    bad("create --privileged x", 64);
    bad("stop --time 5 x", 64);
    bad("network list --format table", 1);
}

#[test]
fn a_container_lives_through_stop_and_start() {
    if call("system status").status.code() != Some(0) {
        test_support::skip!("podman does not answer: install it, or set KINA_PODMAN to its path");
        return;
    }
    let _cleaned = Cleaned;
    import_image();
    let shared = tempfile::tempdir().expect("a directory");
    let mount = format!("--mount type=bind,source={},target=/shared", shared.path().display());
    assert_eq!(
        good(&format!("create --name {NAME} -l dev.kina.realm=x -m 300m {mount} {IMAGE} /probe")),
        format!("{NAME}\n")
    );
    assert!(bad(&format!("create --name {NAME} {IMAGE}"), 1).contains("already exists"));
    assert_eq!(state(), "stopped");
    good(&format!("start {NAME}"));
    good(&format!("start {NAME}"));
    assert_eq!(state(), "running");
    let inspected: serde_json::Value = serde_json::from_str(&good(&format!("inspect {NAME}"))).expect("JSON");
    let configuration = &inspected[0]["configuration"];
    assert_eq!(configuration["labels"]["dev.kina.realm"], "x");
    assert_eq!(configuration["resources"]["memoryInBytes"], 300 << 20);
    assert_eq!(configuration["image"]["reference"], IMAGE.to_string());
    bad(&format!("exec {NAME} /probe 7"), 7);
    assert!(bad(&format!("exec {NAME} /no/such/program"), 1).contains("failed to find target executable"));
    assert!(bad(&format!("delete {NAME}"), 1).contains("is running and can not be deleted"));
    for _ in 0..2 {
        assert_eq!(good(&format!("stop -t 0 {NAME}")), format!("{NAME}\n"));
    }
    assert!(bad(&format!("kill {NAME}"), 1).contains("no runtime client exists"));
    good(&format!("start {NAME}"));
    assert_eq!(good(&format!("logs {NAME}")), "started\n", "the log was truncated");
    good(&format!("kill {NAME}"));
    assert_eq!(state(), "stopped");
    good(&format!("delete -f {NAME}"));
    assert!(bad(&format!("inspect {NAME}"), 1).contains("container not found"));
}

fn state() -> String {
    let list: serde_json::Value = serde_json::from_str(&good("list -a --format json")).expect("JSON");
    let found = list.as_array().into_iter().flatten().find(|one| one["id"] == NAME.to_string()).expect("the container");
    found["status"]["state"].as_str().unwrap_or_default().to_owned()
}

/// Lets podman make the image. Loading is tested with kina's own images.
fn import_image() {
    let source = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/programs/probe.rs");
    let program = test_support::static_program(Path::new(env!("CARGO_TARGET_TMPDIR")), &source);
    let directory = tempfile::tempdir().expect("a directory");
    let archive = directory.path().join("image.tar");
    let mut builder = tar::Builder::new(std::fs::File::create(&archive).expect("a file"));
    builder.append_path_with_name(program, "probe").expect("a file");
    builder.finish().expect("a file");
    podman(&["import", "--quiet", &archive.display().to_string(), &IMAGE.to_string()]);
}

fn podman(arguments: &[&str]) {
    let program = std::env::var_os("KINA_PODMAN").unwrap_or_else(|| "podman".into());
    let output = Command::new(program).args(arguments).output().expect("podman starts");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
}
