//! What the gate decides, of samples that were recorded on two shared cores: alone, and beside programs that took all of the
//! processor they could get.

use super::recording::Recording;
use super::verdict::{Finding, Rule, compare, slower};

/// What the command uses.
const RULE: Rule = Rule { threshold_percent: 15.0, significance: 0.01 };

const SAVED: &str = include_str!("recorded/saved.json");
const UNCHANGED: &str = include_str!("recorded/unchanged.json");
const UNDER_LOAD: &str = include_str!("recorded/under_load.json");
const PLANTED: &str = include_str!("recorded/planted.json");
const PLANTED_UNDER_LOAD: &str = include_str!("recorded/planted_under_load.json");

fn recording(text: &str) -> Recording {
    serde_json::from_str(text).expect("a recording")
}

#[test]
fn another_load_is_no_slow_down() {
    let saved = recording(SAVED);
    for text in [SAVED, UNCHANGED, UNDER_LOAD] {
        let comparisons = compare(&saved, &recording(text), RULE);
        assert_eq!(comparisons.len(), 2, "warm and rewind");
        assert!(slower(&comparisons).is_empty(), "{comparisons:#?}");
    }
    // The load was one: without the yardstick it would have been taken for a slow-down.
    let loaded = compare(&saved, &recording(UNDER_LOAD), RULE);
    assert!(loaded.iter().all(|comparison| 1.3 * comparison.before_ms_p50 < comparison.after_ms_p50), "{loaded:#?}");
}

#[test]
fn a_planted_slow_down_is_found_under_any_load() {
    for text in [PLANTED, PLANTED_UNDER_LOAD] {
        let comparisons = compare(&recording(SAVED), &recording(text), RULE);
        assert!(comparisons.iter().all(|comparison| comparison.finding == Finding::Slower), "{comparisons:#?}");
    }
    let back = compare(&recording(PLANTED), &recording(SAVED), RULE);
    assert!(back.iter().all(|comparison| comparison.finding == Finding::Faster), "{back:#?}");
}

#[test]
fn what_is_slower_by_less_is_not_slower() {
    let lax = Rule { threshold_percent: 60.0, ..RULE };
    assert!(slower(&compare(&recording(SAVED), &recording(PLANTED), lax)).is_empty());
}

#[test]
fn only_what_both_have_is_compared_and_only_of_the_same_build() {
    let (saved, mut other) = (recording(SAVED), recording(UNCHANGED));
    assert_eq!(saved.why_not_comparable(&other), None);
    other.series.retain(|name, _| name == "warm");
    assert_eq!(compare(&saved, &other, RULE).len(), 1);
    other.machine.build = "other".to_owned();
    assert!(saved.why_not_comparable(&other).is_some_and(|reason| reason.contains("build")));
}
