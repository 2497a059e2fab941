//! The gate's verdicts on samples that were recorded on two shared cores, under varying load from other programs.

use super::super::statistics::{chance_of_larger, median};
use super::recording::Recording;
use super::verdict::{Finding, Rule, compare, slower};

/// The command's defaults.
const RULE: Rule = Rule { threshold_percent: 15.0, significance: 0.01 };

/// Two rounds; the machine was half as fast again in the second.
const SAVED: &str = include_str!("recorded/saved.json");
const UNCHANGED: &str = include_str!("recorded/unchanged.json");
/// With a planted slow-down of 30 %, in an hour that was quieter than those before.
const PLANTED: &str = include_str!("recorded/planted.json");

fn recording(text: &str) -> Recording {
    serde_json::from_str(text).expect("a recording")
}

#[test]
fn another_load_is_no_slow_down() {
    for (before, after, series) in [(SAVED, UNCHANGED, "warm"), (UNCHANGED, SAVED, "rewind")] {
        let (before, after) = (recording(before), recording(after));
        let comparisons = compare(&before, &after, RULE);
        assert_eq!(comparisons.len(), 2, "warm and rewind");
        assert!(slower(&comparisons).is_empty(), "{comparisons:#?}");
        // Bare times would have shown a slow-down, and one that chance hardly explains.
        let times = |recording: &Recording| recording.series[series].values();
        let (before, after) = (times(&before), times(&after));
        assert!(median(&before).map(|time| 1.2 * time) < median(&after), "{series}");
        assert!(chance_of_larger(&before, &after) < RULE.significance, "{series}");
    }
}

#[test]
fn a_planted_slow_down_is_found_under_any_load() {
    for before in [SAVED, UNCHANGED] {
        let comparisons = compare(&recording(before), &recording(PLANTED), RULE);
        assert!(comparisons.iter().all(|comparison| comparison.finding == Finding::Slower), "{comparisons:#?}");
    }
    // Bare times would have hidden one of them.
    let comparisons = compare(&recording(SAVED), &recording(PLANTED), RULE);
    assert!(comparisons.iter().any(|comparison| comparison.after_ms_p50 < comparison.before_ms_p50));
    let back = compare(&recording(PLANTED), &recording(SAVED), RULE);
    assert!(back.iter().all(|comparison| comparison.finding == Finding::Faster), "{back:#?}");
}

#[test]
fn a_slow_down_below_the_threshold_does_not_count() {
    let lax = Rule { threshold_percent: 60.0, ..RULE };
    assert!(slower(&compare(&recording(SAVED), &recording(PLANTED), lax)).is_empty());
}

#[test]
fn only_common_series_of_the_same_build_are_compared() {
    let (saved, mut other) = (recording(SAVED), recording(UNCHANGED));
    assert_eq!(saved.why_not_comparable(&other), None);
    other.series.retain(|name, _| name == "warm");
    assert_eq!(compare(&saved, &other, RULE).len(), 1);
    other.machine.build = "other".to_owned();
    assert!(saved.why_not_comparable(&other).is_some_and(|reason| reason.contains("build")));
}
