//! `cargo kina doctor`, through the program: on this machine, and with an emulated `container` with deliberate faults.

use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};

use serde_json::Value;

/// Separate directories for each run.
struct Machine {
    directory: tempfile::TempDir,
    variables: Vec<(&'static str, String)>,
}

struct Report {
    report: Value,
    is_success: bool,
}

impl Machine {
    fn new() -> Self {
        // The length of a socket's path is limited.
        let directory = tempfile::Builder::new().prefix("kd").tempdir_in("/tmp").expect("a temporary directory");
        let path = |name: &str| directory.path().join(name).display().to_string();
        let variables = vec![
            ("KINA_RUNTIME_DIR", path("run")),
            ("KINA_CACHE_DIR", path("cache")),
            ("XDG_CONFIG_HOME", path("config")),
            ("KINA_MEMORY_MAX", "4GiB".to_owned()),
        ];
        Self { directory, variables }
    }

    fn with(mut self, name: &'static str, value: impl Into<String>) -> Self {
        self.variables.push((name, value.into()));
        self
    }

    fn path(&self) -> &Path {
        self.directory.path()
    }

    /// Adds a program that answers its arguments like `container`.
    fn with_container(self, version: &str, status: &str) -> Self {
        let program = self.path().join("emulated-container");
        let text = format!(
            "#!/bin/sh\n\
             case \"$*\" in\n\
             --version) echo '{version}' ;;\n\
             'system status --format json') {status} ;;\n\
             'system version --format json') echo '[{{\"appName\":\"container\",\"version\":\"1.4.1\"}},\
             {{\"appName\":\"container-apiserver\",\"version\":\"container-apiserver version 1.2.2 (build: release)\"}}]' ;;\n\
             'system df --format json') echo '{{\"containers\":{{\"sizeInBytes\":7000000}}}}' ;;\n\
             'list -a --format json') echo '[{{\"id\":\"a\",\"configuration\":{{\"labels\":{{\"dev.kina.realm\":\"x\"}}}}}},\
             {{\"id\":\"b\"}}]' ;;\n\
             'image list -q') ;;\n\
             *) echo \"Error: never asked: $*\" >&2; echo \"$*\" >>'{unexpected}'; exit 64 ;;\n\
             esac\n",
            unexpected = self.unexpected_calls().display(),
        );
        std::fs::write(&program, text).expect("written");
        std::fs::set_permissions(&program, std::fs::Permissions::from_mode(0o755)).expect("set");
        let program = program.display().to_string();
        self.with("KINA_CONTAINER_CLI", program)
    }

    fn unexpected_calls(&self) -> PathBuf {
        self.path().join("unexpected")
    }

    fn doctor(&self, provider: &str) -> Report {
        let Output { status, stdout, stderr } = Command::new(env!("CARGO_BIN_EXE_cargo-kina"))
            .args(["doctor", "--provider", provider, "--format", "json"])
            .envs(self.variables.iter().map(|(name, value)| (name, value)))
            .current_dir(self.path())
            .env_remove("CARGO_MANIFEST_DIR")
            .stdin(Stdio::null())
            .output()
            .expect("it starts");
        let report: Value = serde_json::from_slice(&stdout)
            .unwrap_or_else(|error| panic!("no report ({error}): {}", String::from_utf8_lossy(&stderr)));
        let is_success = status.success();
        assert_eq!(report["well"], is_success, "{report}");
        assert!(is_success || status.code() == Some(1), "{status}");
        Report { report, is_success }
    }
}

impl Report {
    fn check(&self, name: &str) -> &Value {
        let checks = self.report["checks"].as_array().expect("checks");
        checks.iter().find(|check| check["name"] == name).unwrap_or_else(|| panic!("no {name}: {}", self.report))
    }

    #[track_caller]
    fn expect(&self, name: &str, outcome: &str, found: &str) {
        let check = self.check(name);
        assert_eq!(check["outcome"], outcome, "{check}");
        assert!(check["found"].as_str().is_some_and(|text| text.contains(found)), "{found}: {check}");
        let has_advice = check["meaning"].is_string() && check["repair"].is_string();
        assert_eq!(has_advice, matches!(outcome, "warning" | "wrong"), "{check}");
    }
}

#[test]
fn a_machine_in_order_is_well() {
    let report = Machine::new().doctor("process");
    assert!(report.is_success, "{}", report.report);
    assert_eq!(report.report["simulated"], false);
    for name in ["workspace_settings", "user_settings", "runtime_directory", "cache", "engine", "loopback"] {
        assert_eq!(report.check(name)["outcome"], "ok", "{}", report.check(name));
    }
    let of_apple = report.report["checks"].as_array().into_iter().flatten().any(|check| check["section"] == "apple");
    assert!(!of_apple, "{}", report.report);
}

#[test]
fn a_runtime_directory_that_others_can_enter_is_wrong() {
    let machine = Machine::new();
    let run = machine.path().join("run");
    std::fs::create_dir(&run).expect("made");
    std::fs::set_permissions(&run, std::fs::Permissions::from_mode(0o755)).expect("set");
    let report = machine.doctor("process");
    report.expect("runtime_directory", "wrong", "open to other users");
    assert_eq!(report.check("runtime_directory")["repair"], format!("chmod 700 {}", run.display()));
}

#[test]
fn settings_of_user_or_workspace_that_cannot_be_understood_are_wrong() {
    Machine::new().with("KINA_SLOTS_MAX", "some").doctor("process").expect("user_settings", "wrong", "KINA_SLOTS_MAX");
    let machine = Machine::new();
    std::fs::write(machine.path().join("kina.toml"), "provder = \"apple\"\n").expect("written");
    machine.doctor("process").expect("workspace_settings", "wrong", "provder");
}

#[test]
fn without_the_program_there_is_no_provider_apple() {
    let machine = Machine::new();
    let empty = machine.path().join("empty");
    std::fs::create_dir(&empty).expect("made");
    let report = machine.with("PATH", empty.display().to_string()).with("KINA_CONTAINER_CLI", "").doctor("apple");
    assert!(!report.is_success);
    report.expect("program", "wrong", "no `container` on PATH");
    report.expect("version", "skipped", "no usable program");
    report.expect("service", "skipped", "no usable program");
}

#[test]
fn a_service_of_another_version_is_reported_and_no_container_is_touched() {
    let version = "container CLI version 1.4.1 (build: emulated for a test, an emulator)";
    let machine =
        Machine::new().with_container(version, r#"echo '{"status":"running","paths":{"appRoot":"/nowhere"}}'"#);
    let report = machine.doctor("apple");
    assert_eq!(report.report["simulated"], true);
    report.expect("reality", "warning", "emulator");
    report.expect("service", "ok", "runs");
    report.expect("version_skew", "warning", "the program is 1.4.1, the service 1.2.2");
    report.expect("disk", "ok", "containers 7 MB");
    report.expect("leftovers", "ok", "1 of kina with another cache directory, 1 that are not kina's");
    report.expect("kernel", "skipped", "emulator");
    report.expect("ports", "skipped", "no engine");
    let unexpected = std::fs::read_to_string(machine.unexpected_calls()).unwrap_or_default();
    assert_eq!(unexpected, "", "it changes nothing");
}

#[test]
fn a_service_that_is_down_is_not_started_and_one_that_hangs_is_asked_no_more() {
    let version = "container CLI version 1.4.1 (build: emulated for a test, an emulator)";
    let down = Machine::new().with_container(version, r#"echo '{"status":"unregistered"}'; exit 1"#);
    let report = down.doctor("apple");
    report.expect("service", "warning", "unregistered");
    report.expect("disk", "skipped", "does not run");
    assert!(!down.unexpected_calls().exists());
    let hung = Machine::new().with_container(version, "echo 'Error: XPC timeout for request to ping' >&2; exit 1");
    let report = hung.doctor("apple");
    report.expect("service", "wrong", "it hangs");
    report.expect("leftovers", "skipped", "does not answer");
    assert!(!report.is_success);
}

#[test]
fn a_program_that_is_too_old_is_wrong() {
    let machine =
        Machine::new().with_container("container CLI version 0.12.3 (build: release, commit: abcdef1)", "exit 1");
    let report = machine.doctor("apple");
    report.expect("version", "wrong", "too old for kina");
    report.expect("service", "skipped", "no usable program");
}
