//! `cargo kina bench --save NAME` and `--compare NAME`: whether something has become slower.
//!
//! Every value is divided by a yardstick that was measured around it. Something counts as slower if it is so by a threshold,
//! if chance alone would hardly do that, and if both are so again when it is measured again, for longer.
//!
//! - `recording`: what is saved.
//! - `measure`, `yardstick`: taking samples.
//! - `verdict`: what is decided, of recordings alone.
//! - `history`: every run as a line, and the trend as a page.
//! - `self_test`: whether all of this works here.

mod history;
mod measure;
mod recording;
pub(super) mod self_test;
#[cfg(test)]
mod tests;
mod verdict;
mod yardstick;

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use anyhow::Context;
use clap::Args;
use serde_json::json;

use self::measure::{GateScenario, Planted, record};
use self::recording::Recording;
use self::verdict::{Comparison, Finding, Rule, compare, slower};
use super::super::Format;
use super::super::situation::UserError;
use super::report::readable;
use super::say;
use crate::ProviderName;

/// Where recordings are, if nobody says otherwise.
const DIRECTORY: &str = "target/kina-bench";
/// How often a run is measured that others will be compared with, and what looks slower again: each time with a new
/// engine, and judged together.
const ROUNDS: usize = 2;

/// Whether something has become slower
#[derive(Debug, Args)]
pub(super) struct GateArguments {
    /// Measure, and save it under this name
    #[arg(long, value_name = "NAME")]
    save: Option<String>,
    /// Measure, and compare with what was saved: exit code 3 if something has become slower
    #[arg(long, value_name = "NAME")]
    compare: Option<String>,
    /// With --save or --compare: what to measure
    #[arg(long, value_enum, value_delimiter = ',', default_values = ["warm", "rewind", "stopped", "cold"])]
    scenarios: Vec<GateScenario>,
    /// With --compare: what is slower by less is not slower
    #[arg(long, default_value_t = 15.0)]
    threshold_percent: f64,
    /// With --compare: how often chance alone may look like that
    #[arg(long, default_value_t = 0.01)]
    significance: f64,
    /// With --save or --compare: where recordings, history and trend are
    #[arg(long, default_value = DIRECTORY)]
    directory: PathBuf,
    /// How to print it
    #[arg(long, value_enum, default_value_t)]
    format: Format,
}

/// Something takes longer than when it was saved.
#[derive(Debug, thiserror::Error)]
#[error(
    "slower than `{name}`: {slower}, and so again when measured again; look at {trend}, and if this is how it shall be, \
     save it anew with `cargo kina bench --save {name}`"
)]
pub(super) struct SlowerThanSaved {
    name: String,
    slower: String,
    trend: String,
}

impl GateArguments {
    /// Whether anything was asked of the gate.
    pub(super) fn is_used(&self) -> bool {
        self.save.is_some() || self.compare.is_some()
    }
}

/// Saves or compares.
pub(super) async fn run(provider: ProviderName, arguments: GateArguments) -> anyhow::Result<()> {
    if !arguments.is_used() {
        return Err(UserError("nothing to measure was named: see `cargo kina bench --help`".to_owned()).into());
    }
    // What is saved is named before it is measured, so that a typo costs no minute.
    for name in arguments.save.iter().chain(&arguments.compare) {
        check_name(name)?;
    }
    let saved = match &arguments.compare {
        Some(name) => Some((name, Recording::load(&arguments.path(name))?)),
        None => None,
    };
    let mut recording = record(provider, &arguments.scenarios, Planted::Nothing).await?;
    let compared = match saved {
        Some((name, saved)) => Some((name, judge(provider, &arguments, &saved, &recording).await?)),
        None => None,
    };
    let judgement = compared.as_ref().map(|(name, judgement)| (name.as_str(), judgement));
    history::append(&arguments.directory, &recording, arguments.save.as_deref(), judgement)?;
    let trend = history::draw(&arguments.directory)?;
    if let Some(name) = &arguments.save {
        for _ in 1..ROUNDS {
            recording.append(record(provider, &arguments.scenarios, Planted::Nothing).await?);
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

/// What came of a comparison.
struct Judgement {
    comparisons: Vec<Comparison>,
    /// What is slower, also when it was measured again.
    slower: BTreeSet<String>,
    /// What looked slower the first time.
    suspected: BTreeSet<String>,
    /// How often it was measured.
    measured: usize,
}

/// Compares, and measures again what looks slower.
async fn judge(
    provider: ProviderName,
    arguments: &GateArguments,
    saved: &Recording,
    recording: &Recording,
) -> anyhow::Result<Judgement> {
    if let Some(reason) = saved.why_not_comparable(recording) {
        return Err(UserError(format!("what was saved cannot be compared with: {reason}; save anew")).into());
    }
    if saved.machine.cpu != recording.machine.cpu || saved.machine.cores != recording.machine.cores {
        say(&format!(
            "CAUTION: saved on another machine ({} × {}); the yardstick evens out only part of that",
            saved.machine.cores, saved.machine.cpu
        ));
    }
    let rule = Rule { threshold_percent: arguments.threshold_percent, significance: arguments.significance };
    confirm(provider, &arguments.scenarios, saved, recording, rule, Planted::Nothing).await
}

/// Measures as long as what is saved is measured.
async fn record_rounds(
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

/// Looks at a recording, and measures again what looks slower in it: only what is slower both times is slower.
async fn confirm(
    provider: ProviderName,
    scenarios: &[GateScenario],
    saved: &Recording,
    recording: &Recording,
    rule: Rule,
    planted: Planted,
) -> anyhow::Result<Judgement> {
    let comparisons = compare(saved, recording, rule);
    if comparisons.is_empty() {
        let text = "nothing that was measured was saved: save anew, or name other --scenarios";
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
            "a name may have letters, digits, `-`, `_` and `.`, and begins with another than `.`: `{name}` does not"
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
