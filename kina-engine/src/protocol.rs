//! What clients and the engine say to each other: one JSON object a line, over the engine's Unix socket.
//!
//! A client says [`ClientMessage::Hello`] and one request. A lease lives as long as the connection that asked for it:
//! whatever happens to the client, the kernel closes the connection, and that is the release. The socket's name holds
//! [`PROTOCOL`] and kina's version, so a client of another version meets another engine.

use std::collections::BTreeSet;
use std::path::PathBuf;

use serde::{Deserialize, Serialize};

pub use crate::rule_kind::RuleKind;
use crate::timings::TimingLine;

/// Rises with each change of the messages that an older side would not understand.
pub const PROTOCOL: u32 = 7;
/// The version of kina with a hash of its sources, part of the socket's name: another build is another engine.
pub const VERSION: &str = env!("KINA_VERSION");
/// Longest line that either side accepts, in bytes.
pub const LINE_BYTES_MAX: u64 = 1 << 20;

/// From a client to the engine.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ClientMessage {
    /// Always the first line.
    Hello {
        /// The client's [`PROTOCOL`].
        protocol: u32,
    },
    /// Ask for a lease.
    Acquire(AcquireRequest),
    /// Ask for a [`Status`].
    Status {
        /// Whether memory is to be measured, which takes some milliseconds for each cluster.
        with_memory: bool,
    },
    /// Ask for [`MetricsText`].
    Metrics,
    /// Boot clusters until so many exist.
    Warm {
        /// How many.
        count: usize,
        /// Of which kind.
        request: AcquireRequest,
    },
    /// Stop all clusters that nobody has leased, keeping their state.
    StopIdleClusters,
    /// Change how the network between a lease's clients and its cluster behaves. Done when it does.
    Network {
        /// The lease.
        lease: u64,
        /// The name of its cluster. Another engine may have leases of the same number.
        cluster: String,
        /// The change.
        change: NetworkChange,
    },
    /// Wait until rules that a lease has written are in force.
    InForce {
        /// The lease.
        lease: u64,
        /// The name of its cluster. Another engine may have leases of the same number.
        cluster: String,
        /// The kinds of those rules.
        kinds: BTreeSet<RuleKind>,
    },
    /// Ask what the engine did when.
    Timings,
    /// End the engine and everything that belongs to it.
    Stop,
    /// The content of the template, in answer to [`EngineMessage::TemplateWanted`]. It follows the line as it is, without
    /// being escaped or parsed on the way.
    Template {
        /// Its length, as it was announced in [`AcquireRequest::template_bytes`].
        bytes: u64,
    },
}

/// From the engine to a client.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum EngineMessage {
    /// What is being done for a client that waits. Said once of each step.
    Progress {
        /// For people.
        text: String,
    },
    /// A sign of life for a client that waits: the last step goes on.
    Alive,
    /// The engine has no template of that name and asks for its content ([`ClientMessage::Template`]).
    TemplateWanted,
    /// The lease. Nothing follows it.
    Leased(Box<LeaseGrant>),
    /// The request was not met, and will not be.
    Refused(Refusal),
    /// The answer to a status request.
    Status(Box<Status>),
    /// A part of the answer to a request for timings.
    Timings {
        /// First the engine, then its phases.
        lines: Vec<TimingLine>,
        /// Nothing follows.
        is_last: bool,
    },
    /// The answer to a request for metrics.
    Metrics(MetricsText),
    /// The request was carried out.
    Done,
}

/// What kind of cluster a client wants.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct AcquireRequest {
    /// Kubernetes minor, such as `1.36`. `None`: the newest that kina knows, or whatever the named binaries are.
    pub kubernetes: Option<String>,
    /// The test's name, for messages.
    pub test: String,
    /// How long to wait for a cluster once its binaries are there, in milliseconds.
    pub timeout_ms: u64,
    /// Directory of the binaries, named by the user (`KINA_ASSETS_DIR`).
    pub assets_directory: Option<PathBuf>,
    /// The value of `KUBEBUILDER_ASSETS`.
    pub kubebuilder_assets: Option<PathBuf>,
    /// How much of a cluster it shall be.
    #[serde(default)]
    pub profile: Profile,
    /// What the lease holds alone.
    #[serde(default)]
    pub isolation: Isolation,
    /// Name of the template that the cluster starts from: the hash of its content. Who asks for one has the content at
    /// hand, see [`EngineMessage::TemplateWanted`].
    #[serde(default)]
    pub template: Option<String>,
    /// The length of that content, in bytes. The engine asks for it when it has room for so much.
    #[serde(default)]
    pub template_bytes: u64,
    /// The value of `KINA_TIMING_LOG`: a file that the engine appends to what it does while this lease lasts.
    #[serde(default)]
    pub timing_log: Option<PathBuf>,
}

/// How much of a cluster there is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Profile {
    /// kube-apiserver and etcd.
    #[default]
    Api,
    /// And kube-controller-manager, kube-scheduler, and simulated nodes.
    Controllers,
}

/// As users write it.
impl std::fmt::Display for Profile {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.write_str(match self {
            Self::Api => "api",
            Self::Controllers => "controllers",
        })
    }
}

/// What a lease holds alone.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Isolation {
    /// A whole cluster.
    #[default]
    Cluster,
    /// One namespace of a cluster that others use too.
    Namespace,
}

impl Profile {
    /// As users write them.
    pub const NAMES: [&str; 2] = ["api", "controllers"];

    /// The profile of this name.
    pub fn from_name(name: &str) -> Option<Self> {
        match name {
            "api" => Some(Self::Api),
            "controllers" => Some(Self::Controllers),
            _ => None,
        }
    }
}

impl Isolation {
    /// As users write them.
    pub const NAMES: [&str; 2] = ["cluster", "namespace"];

    /// The isolation of this name.
    pub fn from_name(name: &str) -> Option<Self> {
        match name {
            "cluster" => Some(Self::Cluster),
            "namespace" => Some(Self::Namespace),
            _ => None,
        }
    }
}

/// What may happen to the network of a lease.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum NetworkChange {
    /// The API server is gone: connections are closed, new ones are reset.
    Cut,
    /// A partition: what is sent vanishes, in both directions, and nobody is told.
    Drop,
    /// Everything arrives, but later.
    Delay {
        /// By how much, in milliseconds.
        delay_ms: u64,
    },
    /// All is well again.
    Restore,
}

/// A lease: how to reach the cluster through its gateway.
#[derive(Clone, Serialize, Deserialize)]
pub struct LeaseGrant {
    /// Unique in the life of the engine.
    pub lease: u64,
    /// Name of the cluster behind it.
    pub cluster: String,
    /// The gateway's address on loopback.
    pub address: std::net::SocketAddr,
    /// Authority of the gateway's certificate, PEM.
    pub ca_pem: String,
    /// The lease's client certificate, PEM.
    pub client_certificate_pem: String,
    /// Its private key, PEM.
    pub client_key_pem: String,
    /// What the server says its version is, such as `v1.37.1`.
    pub kubernetes: String,
    /// Does not exist until the client makes it; the engine removes it at release.
    pub lease_directory: PathBuf,
    /// Where the cluster's components write their logs.
    pub log_directory: PathBuf,
    /// The namespace that the lease is on, if it is not on the whole cluster.
    #[serde(default)]
    pub namespace: Option<String>,
}

/// Why a request was not met.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Refusal {
    /// Whose turn it is.
    pub kind: RefusalKind,
    /// What was tried, what happened, what to do.
    pub message: String,
}

/// Whose turn it is after a refusal.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum RefusalKind {
    /// The user's: something asked for cannot be had as it was asked for.
    User,
    /// Nobody's in particular: no cluster became free in time.
    Timeout,
    /// The engine's: something that should work did not.
    Engine,
}

/// What the engine counts and measures.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct MetricsText {
    /// OpenMetrics 1.0 text.
    pub text: String,
    /// Where on loopback the same can be had over HTTP, if that was asked for.
    pub address: Option<std::net::SocketAddr>,
}

/// What the engine is doing. Times are milliseconds.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Status {
    /// The engine's version.
    pub version: String,
    /// `debug` or `release`.
    pub engine_profile: String,
    /// What its clusters are made of.
    pub provider: String,
    /// The provider is an emulation of the real thing: no figure from it says anything about that.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub simulated: bool,
    /// The engine's process id.
    pub process_id: u32,
    /// The engine's log file.
    pub log: PathBuf,
    /// Since when it runs.
    pub uptime_ms: u64,
    /// Resident memory of the engine, in bytes; 0 where the system does not say.
    pub engine_rss_bytes: u64,
    /// All slots.
    pub slots: Vec<SlotStatus>,
    /// How many clients wait.
    pub waiting: usize,
    /// Those that have waited longest.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub waiters: Vec<ClientStatus>,
    /// Since the engine started.
    pub counters: Counters,
    /// The most there ever was at a time, and what bounds it.
    pub high_water: HighWater,
    /// What went through all gateways since the engine started.
    pub traffic: Traffic,
    /// The latest releases, oldest first.
    pub releases: Vec<ReleaseStatus>,
    /// Parts that were switched off on purpose, to test the tests. Empty in every engine that can be trusted.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub sabotage: Vec<String>,
}

/// One slot.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct SlotStatus {
    /// Number of the slot.
    pub slot: u64,
    /// Its state, as ARCHITECTURE.md names them.
    pub state: String,
    /// Name of its cluster, once it has one.
    pub cluster: Option<String>,
    /// The server's version, once it has one.
    pub kubernetes: Option<String>,
    /// The processes it consists of.
    pub process_ids: Vec<u32>,
    /// What it takes of this machine's memory, in bytes: the proportional memory of its processes, or what its machine
    /// may take; 0 where nothing of it runs, where that was not asked for, and where the system does not say.
    pub pss_bytes: u64,
    /// How large its database was when it was last measured, in bytes.
    pub database_bytes: u64,
    /// The same as last measured, some seconds ago: also while it is frozen, and where nobody asked for it to be measured
    /// now; 0 where it never was.
    #[serde(default)]
    pub memory_bytes: u64,
    /// How long its processes have been running, the time that it was frozen included; 0 where none does.
    #[serde(default)]
    pub uptime_ms: u64,
    /// How many leases it has served.
    pub leases: u64,
    /// The one that it serves now.
    pub lease: Option<LeaseStatus>,
    /// The leases on namespaces of it.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub namespaces: Vec<NamespaceStatus>,
}

/// A lease on a namespace.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct NamespaceStatus {
    /// Its name.
    pub namespace: String,
    /// The lease.
    pub lease: LeaseStatus,
}

/// A client that waits for a lease, or has one.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct ClientStatus {
    /// What it calls itself: the test's name.
    pub test: String,
    /// Its process; 0 where the system does not say.
    pub process_id: u32,
    /// For how long it has waited, or has had its lease.
    pub duration_ms: u64,
}

/// A lease that has not ended.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct LeaseStatus {
    /// The lease.
    pub lease: u64,
    /// How its network behaves: `normal`, `cut`, `drop` or `delay` and how long.
    pub network: String,
    /// What went through its gateway so far.
    pub traffic: Traffic,
    /// Whose it is; `None` for the engine's own.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub holder: Option<ClientStatus>,
}

/// What went through gateways. Bytes are counted as they are on the wire between clients and gateway, TLS included.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Traffic {
    /// Connections that were accepted.
    pub connections: u64,
    /// Those that are open.
    pub connections_open: u64,
    /// Bytes that clients sent.
    pub bytes_to_cluster: u64,
    /// Bytes that clients were sent.
    pub bytes_from_cluster: u64,
}

/// Counted since the engine started.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Counters {
    /// Clusters created.
    pub boots: u64,
    /// Stopped clusters started again.
    pub starts: u64,
    /// Idle clusters frozen.
    pub freezes: u64,
    /// Frozen clusters thawed.
    pub thaws: u64,
    /// API servers restarted in a rewind.
    pub api_server_restarts: u64,
    /// Leases given out.
    pub leases: u64,
    /// Leases on namespaces given out. The clusters that they are on are leases as well.
    #[serde(default)]
    pub namespace_leases: u64,
    /// Rewinds done.
    pub rewinds: u64,
    /// Clusters given up because they could not be rewound, or died.
    pub broken: u64,
    /// Hand-outs that found a late write, and rewound once more instead.
    pub late_writes: u64,
    /// What leases were served from.
    pub hits: LayerHits,
}

/// How many leases were served from each layer of reuse, the cheapest first.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct LayerHits {
    /// A cluster that was ready when the client asked.
    pub ready: u64,
    /// A cluster that had to be rewound first.
    pub rewound: u64,
    /// A cluster that had another template.
    #[serde(default)]
    pub other_template: u64,
    /// A frozen cluster.
    pub frozen: u64,
    /// A stopped cluster.
    pub stopped: u64,
    /// A new cluster, from the bootstrapped state of an earlier one.
    pub snapshot: u64,
    /// A new cluster that bootstrapped from nothing.
    pub bootstrapped: u64,
}

/// The most there ever was at a time since the engine started, each with its bound.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct HighWater {
    /// Clients that waited for a cluster.
    pub queue_longest: usize,
    /// How many may.
    pub queue_max: usize,
    /// Clusters that were being booted or started.
    pub boots_under_way_most: usize,
    /// How many may be.
    pub boots_under_way_max: usize,
    /// Clusters, in whatever state.
    pub slots_most: usize,
    /// How many there may be.
    pub slots_max: usize,
    /// What all clusters together took, in bytes: as measured, or as reckoned until then.
    pub memory_most_bytes: u64,
    /// How much they may take.
    pub memory_max_bytes: u64,
    /// What one running cluster is reckoned to take, in bytes.
    pub memory_per_cluster_bytes: u64,
}

/// What happened after one lease.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct ReleaseStatus {
    /// The lease.
    pub lease: u64,
    /// Keys put back or removed.
    pub changed_keys: usize,
    /// From the end of the connection until the cluster was proven pristine and ready again.
    pub release_ms: f64,
    /// Until OpenAPI had followed as well, where it had to.
    pub openapi_lag_ms: Option<f64>,
    /// Whether the API server was restarted.
    pub api_server_restarted: bool,
    /// What went through the lease's gateway.
    pub traffic: Traffic,
}

/// Never shows the key.
impl std::fmt::Debug for LeaseGrant {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter
            .debug_struct("LeaseGrant")
            .field("lease", &self.lease)
            .field("cluster", &self.cluster)
            .field("address", &self.address)
            .field("kubernetes", &self.kubernetes)
            .finish_non_exhaustive()
    }
}
