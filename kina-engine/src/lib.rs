//! The engine behind kina: pools real Kubernetes control planes and leases them to Rust tests.
//!
//! Users depend on the package `kina-test`; this one is also for the program `cargo-kina`, and for readers of the code. See
//! ARCHITECTURE.md in the repository for the whole picture. Dependencies point one way: `daemon` knows everything,
//! `pool` knows nothing.
//!
//! All modules are private. The public names, listed below the modules, are those that `kina-test` and `cargo-kina` need:
//! a name that stands for itself under its own, any other with its module's word in front.
//!
//! - `client`: finding or starting the engine, and asking it for a lease.
//! - `protocol`: the messages between them.
//! - `passed_descriptor`: descriptors that go along with messages.
//! - `paths`: the places of files.
//! - `settings`: the users' choices, and where they are read from.
//! - `timings`: the record of the engine's work.
//! - `trust`: files and programs that no other user can have put there.
//! - `fixtures`: CRDs and other objects that a test starts from, and their way into a cluster.
//! - `lease_connector`: the way to a lease's API server for clients in the same process.
//! - `raw_client`: requests to an API server, without any types of Kubernetes.
//! - `rule_kind`: the kinds of objects that an API server applies to other requests.
//! - `kubernetes_minor`: the Kubernetes minors that kina supports.
//! - `choice`: choices that users write as one word.
//! - `backoff`: all retry policies.
//!
//! With the feature `cel`:
//!
//! - `cel`: conditions on objects.
//!
//! With the feature `engine`:
//!
//! - `daemon`: the background process.
//! - `pool`: the assignment of clusters to clients. Pure.
//! - `provider`: the making of clusters.
//! - `template_intake`: templates on their way into the engine, bounded in memory.
//! - `rewind`: putting a used cluster back to its baseline.
//! - `gateway`: a test's access to its cluster.
//! - `assets`: the binaries, from any source.
//! - `image`: the image that clusters in virtual machines and containers boot from.
//! - `journal`, `living_file`, `process_identity`, `set_aside`: the leftovers of crashes, and their removal.
//! - `budget`, `machine_resources`, `process_memory`: the memory of this engine and of all engines of the user.
//! - `sysctl`: values that macOS tells of itself.
//! - `cluster_access`: addresses and credentials of a cluster.
//! - `cluster_name`: the names of clusters.
//! - `loopback`: connections to ports of this machine.
//! - `open_files`, `peer_user`: the bounds of connections, and the user that each comes from.
//! - `bounded_log`: logs within a bound, of the engine and of components.
//! - `earlier_logs`: the logs of clusters from before the current lease.
//! - `process_time`: the CPU time of a process.
//! - `etcd`, `certificates`, `snapshot`, `state_file`: the foundations of the above.
//! - `direct_cluster`: a cluster without an engine. [`doctor`]: findings about this machine and its providers.
//!
//! With the feature `lab`, `lab` has parts of the inside for kina's own laboratory. It is exempt from semantic versioning.

#![cfg_attr(
    feature = "lab",
    allow(missing_docs, private_interfaces, reason = "the module `lab` shows parts of the inside that no user sees")
)]
#![cfg_attr(docsrs, feature(doc_cfg))]

#[cfg(feature = "engine")]
mod api_client;
#[cfg(feature = "engine")]
mod assets;
mod backoff;
#[cfg(feature = "engine")]
mod bounded_log;
#[cfg(feature = "engine")]
mod budget;
#[cfg(feature = "cel")]
mod cel;
#[cfg(feature = "certificates")]
mod certificates;
mod choice;
mod client;
#[cfg(feature = "engine")]
mod cluster_access;
#[cfg(feature = "engine")]
mod cluster_name;
#[cfg(feature = "engine")]
mod daemon;
#[cfg(feature = "engine")]
mod direct_cluster;
#[cfg(feature = "engine")]
mod earlier_logs;
mod error_text;
#[cfg(feature = "engine")]
mod etcd;
mod fixtures;
#[cfg(feature = "engine")]
mod gateway;
mod hex;
#[cfg(all(feature = "engine", any(feature = "apple", target_os = "macos")))]
mod image;
#[cfg(feature = "engine")]
mod journal;
mod kubernetes_minor;
#[cfg(feature = "lab")]
#[doc(hidden)]
pub mod lab;
mod lease_connector;
#[cfg(feature = "engine")]
mod lingering;
#[cfg(feature = "engine")]
mod living_file;
mod log_tail;
#[cfg(feature = "engine")]
mod loopback;
#[cfg(feature = "engine")]
mod machine_resources;
#[cfg(feature = "engine")]
mod open_files;
mod passed_descriptor;
mod paths;
#[cfg(feature = "engine")]
mod peer_user;
#[cfg(feature = "engine")]
mod pool;
#[cfg(feature = "engine")]
mod process_identity;
#[cfg(feature = "engine")]
mod process_memory;
#[cfg(feature = "engine")]
mod process_time;
mod protocol;
#[cfg(feature = "engine")]
mod provider;
mod provider_name;
mod raw_client;
#[cfg(feature = "engine")]
mod rewind;
mod rule_kind;
#[cfg(feature = "engine")]
mod sabotage;
#[cfg(feature = "engine")]
mod set_aside;
mod settings;
mod sha256;
#[cfg(feature = "engine")]
mod snapshot;
#[cfg(feature = "engine")]
mod state_file;
#[cfg(all(feature = "engine", not(target_os = "linux")))]
mod sysctl;
#[cfg(feature = "engine")]
mod template_intake;
mod timings;
mod trust;

pub use client::{ClientError, EngineClient, EngineProgram, Lease, News, client_of_lease, kubeconfig_text, user_agent};
pub use error_text::with_causes;
pub use fixtures::apply::{ApplyError, ApplyOptions, ApplyPhase, ApplyReport, ApplyWarning, apply as apply_fixtures};
pub use fixtures::{
    FixtureSet, Graph as FixtureGraph, Overlay as FixtureOverlay, Place as FixturePlace, ReadError as FixtureReadError,
    Source as FixtureSource, read_glob as read_fixtures,
};
pub use kubernetes_minor::{KubernetesMinor, UnknownMinor, expect_known_minor};
pub use lease_connector::LeaseConnector;
pub use log_tail::log_tail;
pub use paths::{EnginePaths, PathsError};
pub use protocol::{
    AcquireRequest, ClientStatus, Isolation, LeaseGrant, NamespaceStatus, NetworkChange, Profile, ReleaseStatus,
    SlotStatus, Status, VERSION,
};
pub use provider_name::ProviderName;
pub use raw_client::{ClientCertificate, NoAnswer, RawAnswer, RawClient, RequestContent};
pub use rule_kind::RuleKind;
pub use settings::{EngineSettings, WorkspaceSettings};
pub use timings::{EngineLine, Phase, PhaseLine, ServedFrom, TimingLine, WaitEnd};
pub use trust::search_path::directories as search_path_directories;

#[cfg(feature = "cel")]
pub use cel::Expression as CelExpression;
#[cfg(feature = "certificates")]
pub use certificates::{CertificateAuthority, IssuedIdentity, SigningKeyPair};

#[cfg(feature = "engine")]
pub use assets::{
    AssetRequest, Assets, AssetsError, Platform, Prune as AssetPruning, StoredAssets, provide as provide_assets,
    prunable as prunable_assets, remove as remove_assets, stored_assets,
};
#[cfg(feature = "engine")]
pub use daemon::become_engine_if_asked;
#[cfg(feature = "engine")]
pub use direct_cluster::DirectCluster;
#[cfg(feature = "engine")]
pub use earlier_logs::DIRECTORY as EARLIER_LOG_DIRECTORY;
#[cfg(all(feature = "engine", any(feature = "apple", target_os = "macos")))]
pub use image::{
    Architecture, BuiltImage, ImageError, SupervisorError, UnknownArchitecture,
    build_and_describe as build_and_describe_image, build_probe as build_probe_image, directory as image_directory,
    last_used as last_used_image, provide_supervisor,
};
#[cfg(feature = "engine")]
pub use machine_resources::{available_memory_bytes, cores};
#[cfg(feature = "engine")]
pub use process_time::of_process as process_time_of;

/// Findings about this machine and its providers, for `cargo kina doctor`.
#[cfg(feature = "engine")]
pub mod doctor {
    pub use crate::journal::count_left;
    #[cfg(any(feature = "apple", target_os = "macos"))]
    pub use crate::provider::apple::{
        AppleError, AppleProvider, AppleSettings, ClusterImage, ContainerCount, ContainerError, ContainerErrorKind,
        DiskUsage, Examination, Inside, PROGRAM_VARIABLE, find_program,
    };
    pub use crate::provider::process::MEMORY_PER_CLUSTER_BYTES;
    pub use crate::provider::{Provider, ProviderError, binaries_platform, silent_port_refusal};
}
