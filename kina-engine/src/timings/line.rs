use serde::{Deserialize, Serialize};

/// One line of a log. Times are milliseconds.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "snake_case")]
pub enum TimingLine {
    /// An engine begins a log or an answer.
    Engine(EngineLine),
    /// A phase of a slot, or of a waiting client.
    Phase(PhaseLine),
}

/// The engine of the phases that follow.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct EngineLine {
    /// Its unique name, even across days: provider, process id, and the second of its start.
    pub engine: String,
    /// Its version.
    pub version: String,
    /// The name of its provider.
    pub provider: String,
    /// Set if the provider is an emulation: its figures say nothing about the real provider.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub simulated: bool,
    /// The time of its start, since 1970.
    pub start_unix_ms: f64,
    /// The time of the answer, if this is one: phases under way have lasted until then.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub asked_unix_ms: Option<f64>,
    /// The number of clusters that may exist.
    pub slots_max: usize,
    /// The memory that they may take, in bytes.
    pub memory_max_bytes: u64,
    /// The number of phases that it has dropped, because it keeps only the latest.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub forgotten_phases: u64,
}

/// A phase.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct PhaseLine {
    /// The name of its engine.
    pub engine: String,
    /// The kind of phase.
    pub phase: Phase,
    /// The time of its beginning, since 1970.
    pub start_unix_ms: f64,
    /// Its length; `None` while it is under way.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub duration_ms: Option<f64>,
    /// The slot, if it is a phase of a slot.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub slot: Option<u64>,
    /// The name of the slot's cluster, once it has one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cluster: Option<String>,
    /// The version of the cluster's API server, once it has one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub kubernetes: Option<String>,
    /// The slot's memory at the end of the phase, in bytes: the last measurement, or an estimate before the first one.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub memory_bytes: u64,
    /// The test that waited for the cluster or had it, or had it before a rewind.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub test: Option<String>,
    /// The lease, or the one before a rewind.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub lease: Option<u64>,
    /// The time from the client's request to its lease.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub wait_ms: Option<f64>,
    /// The source of the lease.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub served_from: Option<ServedFrom>,
    /// The name of the slot's template.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub template: Option<String>,
    /// The number of keys that a rewind put back or removed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub changed_keys: Option<u64>,
    /// Set if the API server was restarted in the rewind.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub api_server_restarted: bool,
    /// The reason why a client's wait ended without a lease.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub outcome: Option<WaitEnd>,
    /// Set if the provider is an emulation.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub simulated: bool,
}

/// The kinds of phases: the states of slots, as ARCHITECTURE.md names them, and two more.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Phase {
    /// A client waited and got no lease. The wait of a client that got one is part of the lease's phase.
    #[default]
    Waiting,
    /// A cluster is being created.
    Booting,
    /// Pristine, and no client needs it.
    Ready,
    /// A test has it.
    Leased,
    /// A test has one namespace of it.
    Namespace,
    /// Waits until it may be rewound.
    Released,
    /// Being put back to its baseline.
    Rewinding,
    /// Being frozen.
    Freezing,
    /// In memory, without CPU time.
    Frozen,
    /// Being thawed.
    Thawing,
    /// Being stopped.
    Stopping,
    /// On disk.
    Stopped,
    /// Being started from stopped.
    Starting,
    /// Being removed.
    Broken,
}

/// The source of a lease, with the same distinctions as in the status.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ServedFrom {
    /// A cluster that was ready.
    Ready,
    /// A cluster that had to be rewound first.
    Rewound,
    /// A cluster that had another template.
    OtherTemplate,
    /// A frozen cluster.
    Frozen,
    /// A stopped cluster.
    Stopped,
    /// A new cluster, from a bootstrapped state.
    Snapshot,
    /// A new cluster, from nothing.
    Bootstrapped,
}

/// The end of a wait without a lease.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum WaitEnd {
    /// The engine refused the request.
    Refused,
    /// The client left.
    Left,
}

impl TimingLine {
    /// Reads a line; `None` if it is not one, or is of a kind that only a newer kina knows.
    pub fn parse(line: &str) -> Option<Self> {
        serde_json::from_str(line).ok()
    }

    /// The line as text, with its line feed.
    pub fn to_text(&self) -> String {
        // Plain data without maps, so it can always be written.
        let mut text = serde_json::to_string(self).expect("timings can be written as JSON");
        text.push('\n');
        text
    }
}

fn is_zero(number: &u64) -> bool {
    *number == 0
}
