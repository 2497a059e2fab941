//! The alert rules, checked by `promtool`.

use std::path::PathBuf;
use std::process::{Command, Output};

use super::prometheus::{MISSING, find};

/// Returns the directory of dashboard and rules.
pub(super) fn operations() -> PathBuf {
    PathBuf::from(concat!(env!("CARGO_MANIFEST_DIR"), "/../operations"))
}

/// Returns a program's output, for messages.
pub(super) fn said(output: &Output) -> String {
    format!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr))
}

fn promtool(arguments: &[&str], change: impl FnOnce(String) -> String) -> Option<Output> {
    let promtool = find("promtool")?;
    let operations = operations();
    // In a separate directory, so that a copy can be changed.
    let directory = tempfile::tempdir().expect("a temporary directory");
    let rules = std::fs::read_to_string(operations.join("alerts.yaml")).expect("read");
    std::fs::write(directory.path().join("alerts.yaml"), change(rules)).expect("written");
    std::fs::copy(operations.join("alerts-test.yaml"), directory.path().join("alerts-test.yaml")).expect("copied");
    Some(Command::new(promtool).args(arguments).current_dir(directory.path()).output().expect("promtool runs"))
}

#[test]
fn the_alert_rules_are_well_formed() {
    let Some(output) = promtool(&["check", "rules", "alerts.yaml"], |rules| rules) else {
        test_support::skip!("{MISSING}");
        return;
    };
    assert!(output.status.success() && !said(&output).contains("lint error"), "{}", said(&output));
}

#[test]
fn each_alert_fires_when_it_should_and_only_then() {
    let Some(output) = promtool(&["test", "rules", "alerts-test.yaml"], |rules| rules) else {
        test_support::skip!("{MISSING}");
        return;
    };
    assert!(output.status.success(), "{}", said(&output));
    // Each alert has a case of either kind.
    let read = |name: &str| std::fs::read_to_string(operations().join(name)).expect("read");
    let (rules, cases) = (read("alerts.yaml"), read("alerts-test.yaml"));
    for alert in rules.lines().filter_map(|line| line.trim().strip_prefix("- alert: ")) {
        let cases = cases.split("- alertname: ").filter_map(|case| case.strip_prefix(alert)?.strip_prefix('\n'));
        let (quiet, firing): (Vec<_>, Vec<_>) = cases.partition(|case| case.contains("exp_alerts: []"));
        assert!(!quiet.is_empty() && !firing.is_empty(), "{alert} needs a case in which it fires, and a quiet one");
    }
}

/// Shows that the test above can fail.
#[test]
fn a_rule_that_is_off_does_not_pass() {
    let other = |rules: String| rules.replace("> 0.025", "> 0.05");
    let Some(output) = promtool(&["test", "rules", "alerts-test.yaml"], other) else {
        test_support::skip!("{MISSING}");
        return;
    };
    assert!(!output.status.success(), "{}", said(&output));
}
