//! The result of a run, and the parts that failed.

use std::collections::BTreeMap;

use serde::Serialize;

use super::audit::Leftovers;
use super::canary::Sighting;

/// Largest number of examples of each thing in a report.
const EXAMPLES_MAX: usize = 20;
/// Largest number of reasons for each cause in a report.
const REASONS_MAX: usize = 3;
/// Fewer rewinds for each served lease mean that clusters were replaced instead.
const REWINDS_PER_SERVED_MIN: f64 = 0.8;

/// Counts of a run in progress.
#[derive(Clone, Debug, Default)]
pub(super) struct Tally {
    pub(super) served: usize,
    pub(super) refused: BTreeMap<&'static str, usize>,
    pub(super) lost: BTreeMap<&'static str, usize>,
    pub(super) failures: Vec<String>,
    pub(super) hung: Vec<String>,
    pub(super) sightings: Vec<(usize, Sighting)>,
    pub(super) old_clients_let_in: usize,
    pub(super) disturbances: BTreeMap<&'static str, usize>,
    pub(super) came_too_late: usize,
    pub(super) skipped: Vec<String>,
    /// Some of the messages that refused and lost leases got.
    pub(super) reasons: Vec<String>,
}

/// The result.
#[derive(Clone, Debug, Default, Serialize)]
pub(super) struct Report {
    pub(super) provider: &'static str,
    /// The provider is an emulation of the real thing, so no figure applies to that.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub(super) simulated: bool,
    pub(super) leases: usize,
    /// Given a cluster, and ended as planned.
    pub(super) served: usize,
    /// Given none, while the disk was full or the engine was being ended.
    pub(super) refused_with_reason: usize,
    /// Cut off by a planned disturbance of their engine, cluster or disk.
    pub(super) lost_with_reason: usize,
    /// Anything else.
    pub(super) failed_without_reason: usize,
    pub(super) rewinds: u64,
    pub(super) hung: usize,
    pub(super) canaries_seen: usize,
    pub(super) old_clients_let_in: usize,
    pub(super) orphans: usize,
    pub(super) leaked_files: usize,
    /// Number of foreign containers, and of changes to them.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) foreign: Option<usize>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) foreign_touched: Option<usize>,
    pub(super) seed: u64,
    /// The same for the same plan.
    pub(super) plan: String,
    /// The causes of lost leases.
    pub(super) lost_to: BTreeMap<&'static str, usize>,
    pub(super) refused_for: BTreeMap<&'static str, usize>,
    /// Disturbances that were carried out, by kind.
    pub(super) disturbances: BTreeMap<&'static str, usize>,
    /// Faults injected into the machinery below clusters.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub(super) faults: BTreeMap<&'static str, u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) fault_plan: Option<String>,
    /// Of the planned disturbances, those whose cluster was lost to another one first.
    pub(super) came_too_late: usize,
    /// Disturbances that this machine does not allow.
    pub(super) skipped: Vec<String>,
    pub(super) processes: usize,
    pub(super) engines: usize,
    pub(super) boots: u64,
    pub(super) api_server_restarts: u64,
    pub(super) broken: u64,
    pub(super) late_writes: u64,
    pub(super) queue_longest: usize,
    pub(super) boots_under_way_most: usize,
    pub(super) boots_under_way_max: usize,
    pub(super) slots_most: usize,
    pub(super) slots_max: usize,
    pub(super) seconds: u64,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub(super) sabotage: Vec<&'static str>,
    /// Empty if all is well.
    pub(super) failed_parts: Vec<&'static str>,
    /// Examples of failures.
    pub(super) examples: Vec<String>,
    /// Some of the messages that refused and lost leases got.
    pub(super) reasons: Vec<String>,
}

impl Tally {
    /// Notes the message that a client got when it lost a lease, or got none, for this cause.
    pub(super) fn note_reason(&mut self, cause: &'static str, is_lost: bool, told: &str) {
        let prefix = format!("{} {cause}: ", if is_lost { "lost to" } else { "refused for" });
        if self.reasons.iter().filter(|known| known.starts_with(&prefix)).count() < REASONS_MAX {
            self.reasons.push(prefix + told);
        }
    }
}

impl Report {
    /// Takes over the counts and the remains, and judges.
    pub(super) fn judge(mut self, tally: &Tally, left: &Leftovers) -> Self {
        let Leftovers { orphans, files, foreign_touched } = left;
        self.served = tally.served;
        self.refused_with_reason = tally.refused.values().sum();
        self.lost_with_reason = tally.lost.values().sum();
        self.failed_without_reason = tally.failures.len();
        self.hung = tally.hung.len();
        self.canaries_seen = tally.sightings.len();
        self.old_clients_let_in = tally.old_clients_let_in;
        self.orphans = orphans.len();
        self.leaked_files = files.len();
        self.lost_to.clone_from(&tally.lost);
        self.refused_for.clone_from(&tally.refused);
        self.disturbances.clone_from(&tally.disturbances);
        self.came_too_late = tally.came_too_late;
        self.skipped.extend(tally.skipped.iter().cloned());
        self.reasons.clone_from(&tally.reasons);
        self.foreign_touched = self.foreign.map(|_| foreign_touched.len());
        self.failed_parts = self.find_failed_parts(tally);

        let examples = |what: &'static str, texts: &[String]| {
            Vec::from_iter(texts.iter().take(EXAMPLES_MAX).map(|text| format!("{what}: {text}")))
        };
        let sightings: Vec<_> = tally.sightings.iter().map(|(lease, sighting)| describe(*lease, sighting)).collect();
        self.examples = [
            examples("hung", &tally.hung),
            examples("failed", &tally.failures),
            examples("canary", &sightings),
            examples("orphan", orphans),
            examples("file", files),
            examples("foreign", foreign_touched),
        ]
        .concat();
        self
    }

    fn find_failed_parts(&self, tally: &Tally) -> Vec<&'static str> {
        let any = |matches: &dyn Fn(&Sighting) -> bool| tally.sightings.iter().any(|(_, sighting)| matches(sighting));
        let never_taken_away = any(&|sighting| sighting.persists && !sighting.is_late);
        let seen_too_long = any(&|sighting| !sighting.persists && !sighting.is_late);
        let written_late = any(&|sighting| sighting.is_late);
        let let_in = 0 < self.old_clients_let_in;
        let is_bound_exceeded =
            self.slots_max < self.slots_most || self.boots_under_way_max < self.boots_under_way_most;
        let parts = [
            ("rewind", never_taken_away),
            // A write after the proof, or one that came to light after it. A gateway that stays open, or a rewind that
            // does not rewind, would explain it as well.
            ("verify", seen_too_long || written_late && !let_in && !never_taken_away),
            ("reap", 0 < self.orphans),
            ("gateway", let_in),
            ("hung", 0 < self.hung),
            ("unexplained", 0 < self.failed_without_reason),
            ("reuse", (self.rewinds as f64) < REWINDS_PER_SERVED_MIN * self.served as f64),
            ("files", 0 < self.leaked_files && self.orphans == 0),
            ("bounds", is_bound_exceeded),
            ("foreign", self.foreign_touched.is_some_and(|touched| 0 < touched)),
        ];
        parts.into_iter().filter(|(_, has_failed)| *has_failed).map(|(part, _)| part).collect()
    }
}

fn describe(lease: usize, sighting: &Sighting) -> String {
    let when = if sighting.is_late { ", written late" } else { "" };
    let how_long = if sighting.persists { "to stay" } else { "for a moment" };
    format!("lease {lease} saw {} {how_long}{when}", sighting.what)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn judged(tally: &Tally, orphans: &[String]) -> Vec<&'static str> {
        let left = Leftovers { orphans: orphans.to_vec(), ..Leftovers::default() };
        Report { rewinds: 100, ..Report::default() }.judge(tally, &left).failed_parts
    }

    fn seen(is_late: bool, persists: bool) -> Tally {
        let sighting = Sighting { what: "ConfigMap default/canary-1".to_owned(), is_late, persists };
        Tally { served: 100, sightings: vec![(2, sighting)], ..Tally::default() }
    }

    #[test]
    fn a_good_run_names_nothing() {
        assert!(judged(&Tally { served: 100, ..Tally::default() }, &[]).is_empty());
    }

    #[test]
    fn each_part_is_named_by_what_its_failure_looks_like() {
        assert_eq!(judged(&seen(false, true), &[]), ["rewind"]);
        assert_eq!(judged(&seen(false, false), &[]), ["verify"]);
        assert_eq!(judged(&seen(true, true), &[]), ["verify"]);
        let gateway = Tally { old_clients_let_in: 1, ..seen(true, true) };
        assert_eq!(judged(&gateway, &[]), ["gateway"]);
        assert_eq!(judged(&Tally::default(), &["etcd 7".to_owned()]), ["reap"]);
    }

    #[test]
    fn replacing_instead_of_rewinding_is_named() {
        let report = Report { rewinds: 79, ..Report::default() };
        let tally = Tally { served: 100, ..Tally::default() };
        assert_eq!(report.judge(&tally, &Leftovers::default()).failed_parts, ["reuse"]);
    }

    #[test]
    fn a_touched_foreign_container_is_named() {
        let report = Report { foreign: Some(6), ..Report::default() };
        let left = Leftovers { foreign_touched: vec!["`stop foreign-runs`".to_owned()], ..Leftovers::default() };
        let report = report.judge(&Tally::default(), &left);
        assert_eq!((report.foreign_touched, report.failed_parts), (Some(1), vec!["foreign"]));
    }
}
