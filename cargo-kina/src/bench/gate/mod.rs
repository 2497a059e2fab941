//! `cargo kina bench --save NAME` and `--compare NAME`: detection of slow-downs.
//!
//! Every value is divided by a yardstick that was measured around it. A series counts as slower if it is so by a
//! threshold, if chance alone would hardly do that, and if both hold again in a second, longer measurement.
//!
//! - `recording`: the saved form.
//! - `measure`, `yardstick`: taking samples.
//! - `verdict`: the decision, from recordings alone.
//! - `history`: every run as a line, and the trend as a page.

mod history;
mod measure;
mod recording;
#[cfg(test)]
mod tests;
mod verdict;
mod yardstick;

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use anyhow::{Context, bail};
use clap::Args;
use kina_engine::ProviderName;
use serde_json::json;

use self::verdict::{Finding, compare, slower};
use super::super::Format;
use super::super::situation::UserError;
use super::report::readable;
use super::say;

pub use self::measure::{GateScenario, Planted, record};
pub use self::recording::Recording;
pub use self::verdict::{Comparison, Rule};

/// Default directory of recordings.
const DIRECTORY: &str = "target/kina-bench";
/// Number of measurements of a run that others will be compared with, and of a series that looks slower: each time with
/// a new engine, and judged together.
const ROUNDS: usize = 2;

/// Detect slow-downs
#[derive(Debug, Args)]
pub struct GateArguments {
    /// Measure, and save it under this name
    #[arg(long, value_name = "NAME")]
    save: Option<String>,
    /// Measure, and compare with this recording: exit code 3 if a scenario has become slower
    #[arg(long, value_name = "NAME")]
    compare: Option<String>,
    /// With --save or --compare: scenarios to measure
    #[arg(long, value_enum, value_delimiter = ',', default_values = ["warm", "rewind", "stopped", "cold"])]
    scenarios: Vec<GateScenario>,
    /// With --compare: smallest slow-down that counts, in percent
    #[arg(long, default_value_t = 15.0)]
    threshold_percent: f64,
    /// With --compare: accepted probability that chance alone looks like that
    #[arg(long, default_value_t = 0.01)]
    significance: f64,
    /// With --save or --compare: directory of recordings, history and trend
    #[arg(long, default_value = DIRECTORY)]
    directory: PathBuf,
    /// Format of the report
    #[arg(long, value_enum, default_value_t)]
    format: Format,
}

/// A scenario takes longer than when it was saved.
#[derive(Debug, thiserror::Error)]
#[error(
    "slower than `{name}`, in a second measurement too: {slower}; see {trend}, and if this is intended, save it anew \
     with `cargo kina bench --save {name}`"
)]
pub struct SlowerThanSaved {
    name: String,
    slower: String,
    trend: String,
}

impl GateArguments {
    /// Fails if an option of the gate was given beside a scenario.
    pub fn expect_unused_with(&self, has_scenario: bool) -> anyhow::Result<()> {
        if has_scenario && self.is_used() {
            bail!(
                "--save and --compare measure scenarios of their own: name them with --scenarios, and no other command"
            );
        }
        Ok(())
    }

    /// Returns true if an option of the gate was given.
    fn is_used(&self) -> bool {
        self.save.is_some() || self.compare.is_some()
    }
}

/// Saves or compares.
pub async fn run(provider: ProviderName, arguments: GateArguments) -> anyhow::Result<()> {
    if !arguments.is_used() {
        return Err(UserError("nothing to measure was named: see `cargo kina bench --help`".to_owned()).into());
    }
    // Names are checked before anything is measured, so that a typo costs no minute.
    for name in arguments.save.iter().chain(&arguments.compare) {
        check_name(name)?;
    }
    let saved = match &arguments.compare {
        Some(name) => Some((name, Recording::load(&arguments.path(name))?)),
        None => None,
    };
    let mut recording = record(provider, &arguments.scenarios, Planted::NOTHING).await?;
    let compared = match saved {
        Some((name, saved)) => Some((name, judge(provider, &arguments, &saved, &recording).await?)),
        None => None,
    };
    let judgement = compared.as_ref().map(|(name, judgement)| (name.as_str(), judgement));
    history::append(&arguments.directory, &recording, arguments.save.as_deref(), judgement)?;
    let trend = history::draw(&arguments.directory)?;
    if let Some(name) = &arguments.save {
        for _ in 1..ROUNDS {
            recording.append(record(provider, &arguments.scenarios, Planted::NOTHING).await?);
        }
        recording.save(&arguments.path(name))?;
    }
    print(&arguments, &recording, judgement, &trend)?;
    if let Some((name, judgement)) = &compared
        && !judgement.slower.is_empty()
    {
        return Err(SlowerThanSaved {
            name: (*name).clone(),
            slower: judgement.slower.iter().cloned().collect::<Vec<_>>().join(", "),
            trend: trend.display().to_string(),
        }
        .into());
    }
    Ok(())
}

/// The result of a comparison.
pub struct Judgement {
    pub comparisons: Vec<Comparison>,
    /// Series that were slower in each measurement.
    pub slower: BTreeSet<String>,
    /// Series that looked slower the first time.
    pub suspected: BTreeSet<String>,
    /// Number of measurements.
    pub measured: usize,
}

/// Compares, and repeats the measurement of series that look slower.
async fn judge(
    provider: ProviderName,
    arguments: &GateArguments,
    saved: &Recording,
    recording: &Recording,
) -> anyhow::Result<Judgement> {
    if let Some(reason) = saved.why_not_comparable(recording) {
        return Err(UserError(format!("the saved recording cannot be compared with: {reason}; save anew")).into());
    }
    if saved.machine.cpu != recording.machine.cpu || saved.machine.cores != recording.machine.cores {
        say(&format!(
            "CAUTION: saved on another machine ({} × {}); the yardstick evens out only part of that",
            saved.machine.cores, saved.machine.cpu
        ));
    }
    let rule = Rule { threshold_percent: arguments.threshold_percent, significance: arguments.significance };
    confirm(provider, &arguments.scenarios, saved, recording, rule, Planted::NOTHING).await
}

/// Measures as often as for a saved recording.
pub async fn record_rounds(
    provider: ProviderName,
    scenarios: &[GateScenario],
    planted: Planted,
) -> anyhow::Result<Recording> {
    let mut recording = record(provider, scenarios, planted).await?;
    for _ in 1..ROUNDS {
        recording.append(record(provider, scenarios, planted).await?);
    }
    Ok(recording)
}

/// Repeats the measurement of series that look slower in a recording: only those that are slower both times count.
pub async fn confirm(
    provider: ProviderName,
    scenarios: &[GateScenario],
    saved: &Recording,
    recording: &Recording,
    rule: Rule,
    planted: Planted,
) -> anyhow::Result<Judgement> {
    let comparisons = compare(saved, recording, rule);
    if comparisons.is_empty() {
        let text = "the saved recording has none of the measured scenarios: save anew, or name other --scenarios";
        return Err(UserError(text.to_owned()).into());
    }
    let suspected = slower(&comparisons);
    let mut judgement = Judgement { comparisons, slower: suspected.clone(), suspected, measured: 1 };
    if !judgement.slower.is_empty() {
        let names: Vec<_> = judgement.slower.iter().cloned().collect();
        say(&format!("{} may be slower: measured again", names.join(", ")));
        let suspected: Vec<_> =
            scenarios.iter().copied().filter(|scenario| judgement.slower.contains(scenario.name())).collect();
        let again = record_rounds(provider, &suspected, planted).await?;
        let still = slower(&compare(saved, &again, rule));
        judgement.slower.retain(|name| still.contains(name));
        judgement.measured += ROUNDS;
    }
    for comparison in &mut judgement.comparisons {
        if comparison.finding == Finding::Slower && !judgement.slower.contains(&comparison.series) {
            comparison.finding = Finding::Unchanged;
        }
    }
    Ok(judgement)
}

impl GateArguments {
    fn path(&self, name: &str) -> PathBuf {
        self.directory.join(format!("{name}.json"))
    }
}

fn check_name(name: &str) -> anyhow::Result<()> {
    let is_plain = |character: char| character.is_ascii_alphanumeric() || "-_.".contains(character);
    if name.is_empty() || name.starts_with('.') || !name.chars().all(is_plain) {
        return Err(UserError(format!(
            "a name may have letters, digits, `-`, `_` and `.`, and may not begin with `.`: `{name}` is refused"
        ))
        .into());
    }
    Ok(())
}

fn print(
    arguments: &GateArguments,
    recording: &Recording,
    judgement: Option<(&str, &Judgement)>,
    trend: &Path,
) -> anyhow::Result<()> {
    if let Format::Json = arguments.format {
        let json = json!({
            "saved": arguments.save,
            "compared_with": arguments.compare,
            "slower": judgement.map(|(_, judgement)| &judgement.slower),
            "suspected": judgement.map(|(_, judgement)| &judgement.suspected),
            "measured_times": judgement.map(|(_, judgement)| judgement.measured),
            "comparisons": judgement.map(|(_, judgement)| &judgement.comparisons),
            "threshold_percent": arguments.threshold_percent,
            "significance": arguments.significance,
            "series": recording.series.iter().map(history::point).collect::<Vec<_>>(),
            "machine": recording.machine,
            "trend": trend,
        });
        println!("{}", serde_json::to_string(&json)?);
        return Ok(());
    }
    println!("{}\n", recording.machine.sentence());
    if let Some((_, judgement)) = judgement {
        println!("{:8} {:>10} {:>10} {:>9} {:>9} {:>9}", "", "saved ms", "now ms", "times", "chance", "");
        for comparison in &judgement.comparisons {
            let finding = match comparison.finding {
                Finding::Unchanged => "unchanged",
                Finding::Slower => "SLOWER",
                Finding::Faster => "faster",
            };
            println!(
                "{:8} {:>10} {:>10} {:>9} {:>9.4} {finding:>9}",
                comparison.series,
                readable(comparison.before_ms_p50),
                readable(comparison.after_ms_p50),
                format!("{:.3}", comparison.slowdown),
                comparison.chance,
            );
        }
        println!("\n`times`: how much longer than saved, both divided by their yardsticks.");
    } else {
        println!("{:8} {:>10} {:>13} {:>10}", "", "p50 ms", "yardstick ms", "quotient");
        for (name, series) in &recording.series {
            let of = |values: &[f64]| super::statistics::median(values).map_or("-".to_owned(), readable);
            let (value, yardstick, ratio) = (of(&series.values()), of(&series.yardsticks()), of(&series.ratios()));
            println!("{name:8} {value:>10} {yardstick:>13} {ratio:>10}");
        }
    }
    if let Some(name) = &arguments.save {
        println!("saved as `{name}`");
    }
    println!("trend: {}", trend.display());
    Ok(())
}

fn create(directory: &Path) -> anyhow::Result<()> {
    std::fs::create_dir_all(directory).with_context(|| format!("making {} failed", directory.display()))
}
