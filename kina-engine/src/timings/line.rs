use serde::{Deserialize, Serialize};

/// One line of a log. Times are milliseconds.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "snake_case")]
pub enum TimingLine {
    /// An engine begins to write, or answers.
    Engine(EngineLine),
    /// Something that a slot, or a client that waited, was in for a time.
    Phase(PhaseLine),
}

/// Whose phases follow.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct EngineLine {
    /// Tells engines apart, also those of other days: provider, process id, and the second of its start.
    pub engine: String,
    /// Its version.
    pub version: String,
    /// What its clusters are made of.
    pub provider: String,
    /// The provider is an emulation of the real thing: no figure from it says anything about that.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub simulated: bool,
    /// When it started, since 1970.
    pub start_unix_ms: f64,
    /// When it answered, where this is an answer: what is under way has lasted until then.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub asked_unix_ms: Option<f64>,
    /// How many clusters there may be.
    pub slots_max: usize,
    /// How much memory they may take, in bytes.
    pub memory_max_bytes: u64,
    /// Phases that it has forgotten, because it remembers only the latest.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub forgotten_phases: u64,
}

/// A phase.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct PhaseLine {
    /// Which engine's.
    pub engine: String,
    /// What it is.
    pub phase: Phase,
    /// When it began, since 1970.
    pub start_unix_ms: f64,
    /// How long it lasted. `None`: it is under way.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub duration_ms: Option<f64>,
    /// The slot, where it is a slot's.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub slot: Option<u64>,
    /// Name of its cluster, once it has one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cluster: Option<String>,
    /// The server's version, once it has one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub kubernetes: Option<String>,
    /// What the slot took of the memory when the phase ended, in bytes: as measured last, or as reckoned until then.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub memory_bytes: u64,
    /// The test that waited or had the cluster, or had it before a rewind.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub test: Option<String>,
    /// The lease, or the one before a rewind.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub lease: Option<u64>,
    /// From the client's request to its lease.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub wait_ms: Option<f64>,
    /// What the lease was served from.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub served_from: Option<ServedFrom>,
    /// Name of the template that the slot is at.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub template: Option<String>,
    /// Keys that a rewind put back or removed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub changed_keys: Option<u64>,
    /// The API server was restarted in the rewind.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub api_server_restarted: bool,
    /// Why nothing came of a client's wait.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub outcome: Option<Outcome>,
    /// The provider is an emulation of the real thing.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub simulated: bool,
}

/// What phases there are: the states of slots, as ARCHITECTURE.md names them, and two more.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Phase {
    /// A client waited and got nothing. For those that got something, the lease says how long they waited.
    #[default]
    Waiting,
    /// A cluster is being created.
    Booting,
    /// Pristine, and nobody wants it.
    Ready,
    /// A test has it.
    Leased,
    /// A test has one namespace of it.
    Namespace,
    /// Waits until it may be rewound.
    Released,
    /// Is being put back to its baseline.
    Rewinding,
    /// Is being frozen.
    Freezing,
    /// In memory, without a processor.
    Frozen,
    /// Is being thawed.
    Thawing,
    /// Is being stopped.
    Stopping,
    /// On disk.
    Stopped,
    /// Is being started from there.
    Starting,
    /// Is being removed.
    Broken,
}

/// What a lease was served from, as the status counts it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ServedFrom {
    /// A cluster that was ready.
    Ready,
    /// One that had to be rewound first.
    Rewound,
    /// One that had another template.
    OtherTemplate,
    /// A frozen one.
    Frozen,
    /// A stopped one.
    Stopped,
    /// A new one, from a bootstrapped state.
    Snapshot,
    /// A new one, from nothing.
    Bootstrapped,
}

/// How a wait ended that ended without a lease.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Outcome {
    /// The engine said why not.
    Refused,
    /// The client went.
    Left,
}

impl TimingLine {
    /// Reads a line. `None` if it is none, or one of a kind that only a newer kina knows.
    pub fn parse(line: &str) -> Option<Self> {
        serde_json::from_str(line).ok()
    }

    /// Writes it, with its end of line.
    pub fn to_text(&self) -> String {
        // Plain data: there is no map with keys that are no strings, nothing else can fail.
        let mut text = serde_json::to_string(self).expect("timings can be written as JSON");
        text.push('\n');
        text
    }
}

fn is_zero(number: &u64) -> bool {
    *number == 0
}
