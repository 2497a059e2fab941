//! The messages between clients and the engine: one JSON object a line, over the engine's Unix socket.
//!
//! A client sends [`ClientMessage::Hello`] and one request. A lease lives as long as the connection that asked for it:
//! whatever happens to the client, the kernel closes the connection, and that is the release. The socket's name holds
//! [`PROTOCOL`] and kina's version, so a client of another version meets another engine.

use std::collections::BTreeSet;
use std::path::PathBuf;

use serde::{Deserialize, Serialize};

use crate::choice::choice;
pub use crate::rule_kind::RuleKind;
use crate::timings::TimingLine;

/// Rises with each change of the messages that an older side would not understand.
pub const PROTOCOL: u32 = 8;
/// The version of kina with a hash of its sources, part of the socket's name: another build is another engine.
pub const VERSION: &str = env!("KINA_VERSION");
/// Longest line that either side accepts, in bytes.
pub const LINE_BYTES_MAX: u64 = 1 << 20;
/// The answer to a secret that a client shows at the socket for leases: it is connected, and speaks HTTP/1.1 from now
/// on. The end of the connection means that no lease has that secret.
pub const CONNECTED: u8 = b'\n';
/// The same answer of a lease that has as many connections as it can have: the client has to come again.
pub const BUSY: u8 = b'!';

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
        /// Measure memory as well, which takes some milliseconds for each cluster.
        with_memory: bool,
    },
    /// Ask for a `MetricsText`.
    Metrics,
    /// Boot clusters until `count` of them exist.
    Warm {
        /// The number of clusters.
        count: usize,
        /// Their kind.
        request: AcquireRequest,
    },
    /// Stop all clusters that are not leased, keeping their state.
    StopIdleClusters,
    /// Change how the network between a lease's clients and its cluster behaves. Answered once the change has taken
    /// effect.
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
    /// Ask for the engine's timings.
    Timings,
    /// End the engine and everything that belongs to it.
    Stop,
    /// The content of the template, in answer to [`EngineMessage::TemplateWanted`]. It follows the line as it is,
    /// without being escaped or parsed on the way.
    Template {
        /// Its length, as it was announced in [`AcquireRequest::template_bytes`].
        bytes: u64,
    },
}

/// From the engine to a client.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum EngineMessage {
    /// The step under way for a waiting client. Sent once for each step.
    Progress {
        /// The step, for people to read.
        text: String,
    },
    /// A sign of life for a waiting client: the last step goes on.
    Alive,
    /// The engine has no template of that name and asks for its content ([`ClientMessage::Template`]).
    TemplateWanted,
    /// The lease. With its first byte comes a descriptor: a connection to the lease's gateway, which speaks HTTP/1.1.
    /// Nothing follows it.
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

/// The kind of cluster that a client asks for.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct AcquireRequest {
    /// Kubernetes minor, such as `1.36`. `None`: the newest that kina knows, or that of the named binaries.
    pub kubernetes: Option<String>,
    /// The test's name, for messages.
    pub test: String,
    /// Time limit of the wait for a cluster once its binaries are there, in milliseconds.
    pub timeout_ms: u64,
    /// Directory of the binaries, named by the user (`KINA_ASSETS_DIR`).
    pub assets_directory: Option<PathBuf>,
    /// The value of `KUBEBUILDER_ASSETS`.
    pub kubebuilder_assets: Option<PathBuf>,
    /// The components of the cluster.
    #[serde(default)]
    pub profile: Profile,
    /// The part of a cluster that the lease has to itself.
    #[serde(default)]
    pub isolation: Isolation,
    /// Name of the template that the cluster starts from: the hash of its content. A client that names one has the
    /// content at hand, see [`EngineMessage::TemplateWanted`].
    #[serde(default)]
    pub template: Option<String>,
    /// The length of that content, in bytes. The engine asks for the content once it has room for that much.
    #[serde(default)]
    pub template_bytes: u64,
    /// The value of `KINA_TIMING_LOG`: a file to which the engine appends what it does while this lease lasts.
    #[serde(default)]
    pub timing_log: Option<PathBuf>,
}

/// The components of a cluster.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Profile {
    /// kube-apiserver and etcd.
    #[default]
    Api,
    /// Also kube-controller-manager, kube-scheduler, and simulated nodes.
    Controllers,
}

choice!(Profile, "profile", [Api = "api", Controllers = "controllers"]);

/// The part of a cluster that a lease has to itself.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Isolation {
    /// A whole cluster.
    #[default]
    Cluster,
    /// One namespace of a cluster that others use too.
    Namespace,
}

choice!(Isolation, "isolation", [Cluster = "cluster", Namespace = "namespace"]);

/// A change of a lease's network.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum NetworkChange {
    /// The API server is gone: connections are closed, new ones are reset.
    Cut,
    /// A partition: data sent in either direction vanishes without an error.
    Drop,
    /// Everything arrives, but later.
    Delay {
        /// The delay, in milliseconds.
        delay_ms: u64,
    },
    /// Back to normal.
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
    /// The version that the server reports, such as `v1.37.1`.
    pub kubernetes: String,
    /// Does not exist until the client makes it; the engine removes it at release.
    pub lease_directory: PathBuf,
    /// The directory of the logs of the cluster's components.
    pub log_directory: PathBuf,
    /// The namespace that the lease is on, if it is not on the whole cluster.
    #[serde(default)]
    pub namespace: Option<String>,
    /// Set if the API server reaches listeners on this machine's loopback, such as the webhooks of a test.
    #[serde(default)]
    pub shares_loopback: bool,
    /// The secret with which further connections come in by the socket for leases.
    pub connection_secret: String,
}

/// A request that was not met.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Refusal {
    /// The party that has to act.
    pub kind: RefusalKind,
    /// The attempt, its outcome, and the remedy.
    pub message: String,
}

/// The party that has to act after a refusal.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum RefusalKind {
    /// The user: something was asked for that cannot be provided as requested.
    User,
    /// None in particular: no cluster became free in time.
    Timeout,
    /// The engine's: something that should work did not.
    Engine,
}

/// The engine's counters and measurements.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct MetricsText {
    /// OpenMetrics 1.0 text.
    pub text: String,
    /// The loopback address that serves the same over HTTP, if a port was asked for.
    pub address: Option<std::net::SocketAddr>,
}

/// The state of the engine. Times are milliseconds.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Status {
    /// The engine's version.
    pub version: String,
    /// `debug` or `release`.
    pub engine_profile: String,
    /// The provider of its clusters.
    pub provider: String,
    /// Set if the provider is an emulation, whose figures say nothing about the real thing.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub simulated: bool,
    /// The engine's process id.
    pub process_id: u32,
    /// The engine's log file.
    pub log: PathBuf,
    /// The time that it has been running.
    pub uptime_ms: u64,
    /// Resident memory of the engine, in bytes; 0 if the system does not tell.
    pub engine_rss_bytes: u64,
    /// All slots.
    pub slots: Vec<SlotStatus>,
    /// The number of waiting clients.
    pub waiting: usize,
    /// Those that have waited longest.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub waiters: Vec<ClientStatus>,
    /// Since the engine started.
    pub counters: Counters,
    /// The peaks so far, with their bounds.
    pub high_water: HighWater,
    /// The traffic of all gateways since the engine started.
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
    /// The processes of its cluster.
    pub process_ids: Vec<u32>,
    /// Its share of this machine's memory, in bytes: the proportional memory of its processes, or the limit of its
    /// virtual machine; 0 if nothing of it runs, if memory was not asked for, and if the system does not tell.
    pub pss_bytes: u64,
    /// The size of its database when last measured, in bytes.
    pub database_bytes: u64,
    /// Its memory when last measured, some seconds ago, in bytes; also known while it is frozen, and if no measurement
    /// was asked for now. 0 if it was never measured.
    #[serde(default)]
    pub memory_bytes: u64,
    /// The time that its processes have been running, including the time that it was frozen; 0 if none runs.
    #[serde(default)]
    pub uptime_ms: u64,
    /// The number of leases that it has served.
    pub leases: u64,
    /// The lease that it serves now.
    pub lease: Option<LeaseStatus>,
    /// The leases on its namespaces.
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
    /// The test's name, as the client gives it.
    pub test: String,
    /// Its process; 0 if the system does not tell.
    pub process_id: u32,
    /// The time that it has waited, or has had its lease.
    pub duration_ms: u64,
}

/// A lease that has not ended.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct LeaseStatus {
    /// The lease.
    pub lease: u64,
    /// The state of its network: `normal`, `cut`, `drop`, or `delay` with its length.
    pub network: String,
    /// The traffic of its gateway so far.
    pub traffic: Traffic,
    /// The client that holds it; `None` for one of the engine's own.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub holder: Option<ClientStatus>,
}

/// The traffic of gateways. Bytes are counted between clients and gateway, TLS included.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Traffic {
    /// Connections that were accepted on loopback, each with TLS.
    pub connections: u64,
    /// Those of them that are open.
    pub connections_open: u64,
    /// Connections over a Unix socket, without TLS.
    #[serde(default)]
    pub unix_connections: u64,
    /// Those of them that are open.
    #[serde(default)]
    pub unix_connections_open: u64,
    /// Bytes that clients sent.
    pub bytes_to_cluster: u64,
    /// Bytes that were sent to clients.
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
    /// The layers of reuse that served the leases.
    pub hits: LayerHits,
}

/// The number of leases served from each layer of reuse, the cheapest first.
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

/// Peaks since the engine started, each with its bound.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct HighWater {
    /// Clients that waited for a cluster.
    pub queue_longest: usize,
    /// Their bound.
    pub queue_max: usize,
    /// Clusters that were being booted or started.
    pub boots_under_way_most: usize,
    /// Their bound.
    pub boots_under_way_max: usize,
    /// Clusters, in any state.
    pub slots_most: usize,
    /// Their bound.
    pub slots_max: usize,
    /// The memory of all clusters together, in bytes: as measured, or as estimated until then.
    pub memory_most_bytes: u64,
    /// Its bound.
    pub memory_max_bytes: u64,
    /// The estimated memory of one running cluster, in bytes.
    pub memory_per_cluster_bytes: u64,
}

/// The release of one lease.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct ReleaseStatus {
    /// The lease.
    pub lease: u64,
    /// Keys put back or removed.
    pub changed_keys: usize,
    /// The time from the end of the connection until the cluster was proven pristine and ready again.
    pub release_ms: f64,
    /// The time until OpenAPI had followed as well, if it had to.
    pub openapi_lag_ms: Option<f64>,
    /// Set if the API server was restarted.
    pub api_server_restarted: bool,
    /// The traffic of the lease's gateway.
    pub traffic: Traffic,
}

impl ClientMessage {
    /// Appends the message in the form in which it is sent.
    pub(crate) fn append_line(&self, lines: &mut Vec<u8>) {
        // Messages are plain data with string keys, so this cannot fail.
        serde_json::to_writer(&mut *lines, self).expect("client messages can be written as JSON");
        lines.push(b'\n');
    }
}

/// Never shows the key and the secret.
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
