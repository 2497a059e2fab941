//! The result: the kinds that were planted, and those that were seen.

use std::collections::BTreeMap;

use serde::Serialize;

use super::kind::{Kind, Planted};

/// Largest number of examples that each kind keeps.
const EXAMPLES_MAX: usize = 3;

/// Counts of a run in progress.
#[derive(Clone, Debug, Default)]
pub(super) struct Tally {
    pub(super) leases: u64,
    rows: BTreeMap<&'static str, Row>,
}

/// Counts of one kind.
#[derive(Clone, Debug, Default, Serialize)]
pub(super) struct Row {
    planted: u64,
    /// Of these, refused by API servers as the engine runs them.
    #[serde(skip_serializing_if = "is_zero")]
    refused: u64,
    seen: u64,
    not_planted: u64,
    other_slot: u64,
    failed_looks: u64,
    /// Leases with this kind after which the API server was restarted.
    restarted: u64,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    examples: Vec<String>,
}

/// The result of a run.
#[derive(Clone, Debug, Default, Serialize)]
pub(super) struct Report {
    pub(super) kinds: usize,
    pub(super) rounds: usize,
    pub(super) restart_rounds: usize,
    /// Looks of B that found something of A.
    pub(super) seen: u64,
    /// Deeds of A without an effect.
    pub(super) not_planted: u64,
    /// Deeds whose B got another cluster.
    pub(super) other_slot: u64,
    /// Looks of B that failed.
    pub(super) failed_looks: u64,
    /// The largest share of one core that an API server or etcd had, on average; absent if they were not held back.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) cpu_percent_measured: Option<f64>,
    pub(super) seconds: u64,
    pub(super) seed: u64,
    pub(super) engines: usize,
    pub(super) leases: u64,
    pub(super) api_server_restarts: u64,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub(super) sabotage: Vec<&'static str>,
    /// The kinds that were seen, with examples.
    pub(super) seen_kinds: BTreeMap<&'static str, Vec<String>>,
    pub(super) table: BTreeMap<&'static str, Row>,
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde asks with a reference")]
fn is_zero(count: &u64) -> bool {
    *count == 0
}

impl Tally {
    pub(super) fn has_seen(&self) -> bool {
        self.rows.values().any(|row| 0 < row.seen)
    }

    pub(super) fn seen(&self) -> u64 {
        self.rows.values().map(|row| row.seen).sum()
    }

    pub(super) fn note_planted(&mut self, kind: &Kind, result: &anyhow::Result<Planted>) {
        let row = self.row(kind);
        match result {
            Ok(planted) => {
                row.planted += 1;
                row.refused += u64::from(planted.is_refused);
            }
            Err(error) => {
                row.not_planted += 1;
                row.note(format!("not planted: {error:#}"));
            }
        }
    }

    pub(super) fn note_other_slot(&mut self, kind: &Kind) {
        self.row(kind).other_slot += 1;
    }

    pub(super) fn note_restart(&mut self, kind: &Kind) {
        self.row(kind).restarted += 1;
    }

    pub(super) fn note_look(&mut self, kind: &Kind, seen: anyhow::Result<Option<String>>) {
        self.note(kind, "seen", seen);
    }

    pub(super) fn note_late_look(&mut self, kind: &Kind, seen: anyhow::Result<Option<String>>) {
        self.note(kind, "seen late", seen);
    }

    fn note(&mut self, kind: &Kind, how: &str, seen: anyhow::Result<Option<String>>) {
        let row = self.row(kind);
        match seen {
            Ok(None) => {}
            Ok(Some(what)) => {
                row.seen += 1;
                row.note(format!("{how}: {what}"));
            }
            Err(error) => {
                row.failed_looks += 1;
                row.note(format!("looking failed: {error:#}"));
            }
        }
    }

    fn row(&mut self, kind: &Kind) -> &mut Row {
        self.rows.entry(kind.name).or_default()
    }
}

impl Row {
    fn note(&mut self, example: String) {
        if self.examples.len() < EXAMPLES_MAX {
            self.examples.push(example);
        }
    }
}

impl Report {
    /// Adds up the counts.
    pub(super) fn judge(mut self, tally: Tally) -> Self {
        for (name, row) in &tally.rows {
            self.seen += row.seen;
            self.not_planted += row.not_planted;
            self.other_slot += row.other_slot;
            self.failed_looks += row.failed_looks;
            if 0 < row.seen {
                let is_sighting = |example: &&String| example.starts_with("seen");
                self.seen_kinds.insert(name, row.examples.iter().filter(is_sighting).cloned().collect());
            }
        }
        self.leases = tally.leases;
        self.table = tally.rows;
        self
    }

    /// Returns the fault that was found, in a few words; `None` if all is well.
    pub(super) fn fault(&self) -> Option<String> {
        let counts = [
            (self.seen, "seen"),
            (self.not_planted, "not planted"),
            (self.other_slot, "in another slot"),
            (self.failed_looks, "looks failed"),
        ];
        let faults: Vec<_> =
            counts.into_iter().filter(|(count, _)| 0 < *count).map(|(count, what)| format!("{count} {what}")).collect();
        (!faults.is_empty()).then(|| faults.join(", "))
    }
}
