//! The gate's verdict from recordings alone: pure.

use std::collections::BTreeSet;

use serde::{Deserialize, Serialize};

use super::super::statistics::{chance_of_larger, median, typical_quotient};
use super::recording::Recording;

/// The conditions under which a series counts as slower.
#[derive(Clone, Copy, Debug)]
pub struct Rule {
    /// By this many percent at least.
    pub threshold_percent: f64,
    /// Accepted probability that chance alone does it, over all series together.
    pub significance: f64,
}

/// The result for one series.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Comparison {
    pub series: String,
    pub finding: Finding,
    /// Slow-down as a factor, measured on the yardstick.
    pub slowdown: f64,
    /// Probability that chance makes so large a difference.
    pub chance: f64,
    pub before_ratio_p50: f64,
    pub after_ratio_p50: f64,
    pub before_ms_p50: f64,
    pub after_ms_p50: f64,
    pub samples: [usize; 2],
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Finding {
    Unchanged,
    Slower,
    Faster,
}

/// Compares all series that both have. Each of them could raise an alarm by chance, so each gets its share of the
/// accepted probability.
pub fn compare(before: &Recording, after: &Recording, rule: Rule) -> Vec<Comparison> {
    let names: Vec<&String> = before.series.keys().filter(|name| after.series.contains_key(*name)).collect();
    let significance = rule.significance / names.len().max(1) as f64;
    let compared = names.into_iter().filter_map(|name| {
        let (earlier, later) = (before.series.get(name)?, after.series.get(name)?);
        let (earlier_ratios, later_ratios) = (earlier.ratios(), later.ratios());
        let slowdown = typical_quotient(&earlier_ratios, &later_ratios)?;
        let slower = chance_of_larger(&earlier_ratios, &later_ratios);
        let faster = chance_of_larger(&later_ratios, &earlier_ratios);
        let limit = 1.0 + rule.threshold_percent / 100.0;
        let finding = if limit <= slowdown && slower < significance {
            Finding::Slower
        } else if slowdown <= 1.0 / limit && faster < significance {
            Finding::Faster
        } else {
            Finding::Unchanged
        };
        Some(Comparison {
            series: name.clone(),
            finding,
            slowdown,
            chance: slower.min(faster),
            before_ratio_p50: median(&earlier_ratios)?,
            after_ratio_p50: median(&later_ratios)?,
            before_ms_p50: median(&earlier.values())?,
            after_ms_p50: median(&later.values())?,
            samples: [earlier_ratios.len(), later_ratios.len()],
        })
    });
    compared.collect()
}

/// The series that are slower.
pub fn slower(comparisons: &[Comparison]) -> BTreeSet<String> {
    let slower = comparisons.iter().filter(|comparison| comparison.finding == Finding::Slower);
    slower.map(|comparison| comparison.series.clone()).collect()
}
