//! One check, and the report of all of them.

use serde::Serialize;

/// The outcome of a check.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum CheckOutcome {
    /// All well.
    Ok,
    /// Clusters work nevertheless.
    Warning,
    /// Clusters do not work, or not for long.
    Wrong,
    /// Not checked, for the reason in `found`.
    Skipped,
}

/// One thing that can be wrong.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub(super) struct Check {
    pub(super) section: &'static str,
    pub(super) name: &'static str,
    pub(super) outcome: CheckOutcome,
    /// The finding; of a skipped check, the reason to skip it.
    pub(super) found: String,
    /// The consequences of the finding.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) meaning: Option<String>,
    /// The command or action that repairs it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) repair: Option<String>,
}

/// Makes the checks of one section.
#[derive(Clone, Copy, Debug)]
pub(super) struct Section(pub(super) &'static str);

/// The report of all checks.
#[derive(Debug, Serialize)]
pub(super) struct Report {
    pub(super) kina: &'static str,
    pub(super) platform: String,
    pub(super) provider: &'static str,
    /// Set if the provider is an emulation.
    pub(super) simulated: bool,
    /// Set if nothing is wrong.
    pub(super) well: bool,
    pub(super) checks: Vec<Check>,
}

impl Section {
    pub(super) fn ok(self, name: &'static str, found: impl Into<String>) -> Check {
        self.check(name, CheckOutcome::Ok, found.into(), None)
    }

    pub(super) fn warning(
        self,
        name: &'static str,
        found: impl Into<String>,
        meaning: impl Into<String>,
        repair: impl Into<String>,
    ) -> Check {
        self.check(name, CheckOutcome::Warning, found.into(), Some((meaning.into(), repair.into())))
    }

    pub(super) fn wrong(
        self,
        name: &'static str,
        found: impl Into<String>,
        meaning: impl Into<String>,
        repair: impl Into<String>,
    ) -> Check {
        self.check(name, CheckOutcome::Wrong, found.into(), Some((meaning.into(), repair.into())))
    }

    pub(super) fn skipped(self, name: &'static str, why: impl Into<String>) -> Check {
        self.check(name, CheckOutcome::Skipped, why.into(), None)
    }

    fn check(
        self,
        name: &'static str,
        outcome: CheckOutcome,
        found: String,
        advice: Option<(String, String)>,
    ) -> Check {
        let (meaning, repair) = advice.unzip();
        Check { section: self.0, name, outcome, found, meaning, repair }
    }
}

impl Report {
    pub(super) fn new(provider: &'static str, simulated: bool, checks: Vec<Check>) -> Self {
        let well = checks.iter().all(|check| check.outcome != CheckOutcome::Wrong);
        let platform = kina_engine::Platform::host().to_string();
        Self { kina: kina_engine::VERSION, platform, provider, simulated, well, checks }
    }

    /// Renders the report as text for people.
    pub(super) fn text(&self) -> String {
        let width = self.checks.iter().map(|check| check.name.len()).max().unwrap_or_default();
        let mut lines = Vec::new();
        let mut section = "";
        for check in &self.checks {
            if check.section != section {
                section = check.section;
                lines.push(section.to_owned());
            }
            let Check { name, found, .. } = check;
            lines.push(format!("  {:<8} {name:<width$}  {}", check.outcome.word(), one_line(found)));
            for (title, text) in [("means", &check.meaning), ("repair", &check.repair)] {
                if let Some(text) = text {
                    lines.push(format!("           {title}: {}", one_line(text)));
                }
            }
        }
        lines.push(self.summary());
        lines.join("\n")
    }

    fn summary(&self) -> String {
        let count = |outcome| self.checks.iter().filter(|check| check.outcome == outcome).count();
        let [wrong, warnings, skipped] = [CheckOutcome::Wrong, CheckOutcome::Warning, CheckOutcome::Skipped].map(count);
        let of = self.checks.len();
        format!("{of} checks of `{}`: {wrong} wrong, {warnings} warnings, {skipped} skipped", self.provider)
    }
}

impl CheckOutcome {
    fn word(self) -> &'static str {
        match self {
            Self::Ok => "ok",
            Self::Warning => "warning",
            Self::Wrong => "WRONG",
            Self::Skipped => "skipped",
        }
    }
}

fn one_line(text: &str) -> String {
    text.split_whitespace().collect::<Vec<_>>().join(" ")
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECTION: Section = Section("made-up");

    #[test]
    fn only_wrong_checks_make_a_report_unwell() {
        let good = vec![SECTION.ok("a", "b"), SECTION.warning("c", "d", "e", "f"), SECTION.skipped("g", "h")];
        assert!(Report::new("process", false, good.clone()).well);
        let bad = [good, vec![SECTION.wrong("i", "j", "k", "l")]].concat();
        assert!(!Report::new("process", false, bad).well);
    }

    #[test]
    fn the_text_shows_meaning_and_repair() {
        let checks =
            vec![SECTION.ok("first", "all\nwell"), SECTION.wrong("second", "it broke", "no cluster", "`mend`")];
        let text = Report::new("process", false, checks).text();
        let lines: Vec<_> = text.lines().collect();
        assert_eq!(lines[0], "made-up");
        assert_eq!(lines[1], "  ok       first   all well");
        assert_eq!(lines[2], "  WRONG    second  it broke");
        assert_eq!(lines[3..5], ["           means: no cluster", "           repair: `mend`"]);
        assert_eq!(lines[5], "2 checks of `process`: 1 wrong, 0 warnings, 0 skipped");
    }
}
