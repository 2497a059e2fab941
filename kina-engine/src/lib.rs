//! The engine behind kina: pools real Kubernetes control planes and leases them to Rust tests.
//!
//! Users depend on the package `kina-test`; this one is for the program `cargo-kina`, and for whoever reads on. See
//! ARCHITECTURE.md in the repository for the whole picture. Dependencies point one way: `daemon` knows everything,
//! `pool` knows nothing.
//!
//! - [`client`]: find or start the engine, ask it for a lease.
//! - [`protocol`]: what both say.
//! - [`paths`]: where things are.
//! - [`settings`]: what users can choose, and where they say it.
//! - [`timings`]: what the engine did when.
//! - [`fixtures`]: CRDs and other objects that a test starts from, and how they get into a cluster.
//! - `rule_kind`: which objects an API server judges other requests by.
//! - [`backoff`]: every retry.
//!
//! With the feature `cel`:
//!
//! - `cel`: conditions on objects.
//!
//! With the feature `engine`:
//!
//! - `daemon`: the background process.
//! - `pool`: who gets which cluster, and when. Pure.
//! - `provider`: what clusters are made of.
//! - `rewind`: putting a used cluster back to its baseline.
//! - `gateway`: what a test sees of its cluster.
//! - `assets`: the binaries, wherever they come from.
//! - `image`: the image that clusters in virtual machines and containers boot from.
//! - `journal`, `living_file`, `process_identity`, `set_aside`: what survives a crash, and what is done about it.
//! - `budget`, `machine`, `process_memory`: how much memory there is, for this engine and for all engines of the user.
//! - `cluster_name`: what clusters are called.
//! - `earlier_logs`: what clusters logged before the lease that has them.
//! - `process_time`: how much of the processors a process has used.
//! - `etcd`, `certificates`, `snapshot`, `state_file`: what those need.

#[cfg(feature = "engine")]
mod api_client;
#[cfg(feature = "engine")]
pub mod assets;
pub mod backoff;
#[cfg(feature = "engine")]
mod budget;
#[cfg(feature = "cel")]
pub mod cel;
#[cfg(feature = "certificates")]
pub mod certificates;
#[cfg(feature = "cli")]
pub mod cli;
pub mod client;
#[cfg(feature = "engine")]
mod cluster_name;
#[cfg(feature = "engine")]
mod daemon;
#[cfg(feature = "engine")]
mod earlier_logs;
mod error_text;
#[cfg(feature = "engine")]
mod etcd;
pub mod fixtures;
#[cfg(feature = "engine")]
mod gateway;
mod hex;
#[cfg(feature = "engine")]
pub mod image;
#[cfg(feature = "engine")]
mod journal;
#[cfg(feature = "engine")]
mod lingering;
#[cfg(feature = "engine")]
mod living_file;
mod log_tail;
#[cfg(feature = "engine")]
mod machine;
pub mod paths;
#[cfg(feature = "engine")]
pub mod pool;
#[cfg(feature = "engine")]
mod process_identity;
#[cfg(feature = "engine")]
mod process_memory;
#[cfg(feature = "engine")]
mod process_time;
pub mod protocol;
#[cfg(feature = "engine")]
mod provider;
mod provider_name;
#[cfg(feature = "engine")]
mod rewind;
mod rule_kind;
#[cfg(feature = "engine")]
mod sabotage;
#[cfg(feature = "engine")]
mod set_aside;
pub mod settings;
#[cfg(feature = "engine")]
mod snapshot;
#[cfg(feature = "engine")]
mod state_file;
pub mod timings;

#[cfg(feature = "engine")]
pub use daemon::become_engine_if_asked;
pub use error_text::with_causes;
pub use provider_name::{ProviderName, UnknownProvider};
