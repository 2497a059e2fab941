//! The results of a run of the suite.

use std::fmt;

use kina_engine::ProviderName;
use serde::Serialize;

/// All results.
#[derive(Debug, Serialize)]
pub(super) struct Report {
    provider: &'static str,
    /// The figures say nothing about the real thing.
    simulated: bool,
    pub(super) checks: Vec<CheckReport>,
    passed: usize,
    /// Those among the passed and skipped checks that were repeated.
    repeated: usize,
    pub(super) failed: usize,
    skipped: usize,
}

/// One check.
#[derive(Debug, Serialize)]
pub(super) struct CheckReport {
    pub(super) name: &'static str,
    pub(super) outcome: Outcome,
    /// The reason of a failure or of a skip; a remark on a check that passed.
    pub(super) reason: Option<String>,
    /// Failures after which it was repeated.
    pub(super) passing_failures: Vec<String>,
    pub(super) ms: u64,
}

/// The outcome of a check.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub(super) enum Outcome {
    Passed,
    Failed,
    Skipped,
}

impl Report {
    pub(super) fn new(provider: ProviderName, simulated: bool) -> Self {
        Self {
            provider: provider.as_str(),
            simulated,
            checks: Vec::new(),
            passed: 0,
            repeated: 0,
            failed: 0,
            skipped: 0,
        }
    }

    pub(super) fn add(&mut self, check: CheckReport) {
        let count = match check.outcome {
            Outcome::Passed => &mut self.passed,
            Outcome::Failed => &mut self.failed,
            Outcome::Skipped => &mut self.skipped,
        };
        *count += 1;
        self.repeated += usize::from(check.outcome != Outcome::Failed && !check.passing_failures.is_empty());
        self.checks.push(check);
    }
}

impl fmt::Display for CheckReport {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let outcome = match self.outcome {
            Outcome::Passed => "passed",
            Outcome::Failed => "FAILED",
            Outcome::Skipped => "skipped",
        };
        write!(formatter, "{} {outcome} ({} ms)", self.name, self.ms)?;
        if let Some(reason) = &self.reason {
            write!(formatter, ": {reason}")?;
        }
        match self.passing_failures.as_slice() {
            [] => Ok(()),
            failures => write!(formatter, "; repeated after: {}", failures.join("; and after: ")),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn outcomes_are_counted() {
        let mut report = Report::new(ProviderName::Process, false);
        let once = || vec!["once".to_owned()];
        for (outcome, reason, passing_failures) in [
            (Outcome::Passed, None, Vec::new()),
            (Outcome::Failed, Some("why".to_owned()), once()),
            (Outcome::Passed, None, once()),
        ] {
            report.add(CheckReport { name: "a", outcome, reason, passing_failures, ms: 7 });
        }
        let printed = serde_json::to_value(&report).expect("plain data");
        assert_eq!((&printed["passed"], &printed["failed"], &printed["skipped"]), (&2.into(), &1.into(), &0.into()));
        assert_eq!(printed["repeated"], 1);
        assert_eq!(printed["checks"][1]["outcome"], "failed");
        assert_eq!(report.checks[1].to_string(), "a FAILED (7 ms): why; repeated after: once");
    }
}
