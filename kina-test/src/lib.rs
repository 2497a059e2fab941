//! A real, pristine Kubernetes cluster for each Rust test, in milliseconds.
//!
//! ```rust,test_harness
//! use k8s_openapi::api::core::v1::ConfigMap;
//! use kube::api::{Api, PostParams};
//!
//! #[kina::test]
//! async fn a_config_map_can_be_created(client: kube::Client) -> Result<(), kube::Error> {
//!     let config_maps: Api<ConfigMap> = Api::default_namespaced(client);
//!     let mut config_map = ConfigMap::default();
//!     config_map.metadata.name = Some("settings".to_owned());
//!     config_maps.create(&PostParams::default(), &config_map).await?;
//!     assert_eq!(config_maps.get("settings").await?.metadata.name.as_deref(), Some("settings"));
//!     Ok(())
//! }
//! ```
//!
//! The first test starts kina's engine, a background process that owns a pool of clusters (kube-apiserver and etcd, as
//! plain processes on loopback). Every test gets a lease on a cluster that nobody else has, proven to be pristine. When
//! the test ends, however it ends, the engine rewinds the cluster and the next test gets it. An engine that nobody
//! uses ends by itself.
//!
//! - [`test`](macro@test): the attribute.
//! - [`Cluster`]: the lease on a cluster; also for code that is no test ([`Cluster::acquire`]).
//! - [`Network`]: takes the API server away, and brings it back ([`Cluster::network`]).
//! - [`FromCluster`]: what a test can take as an argument.
//!
//! # Good to know
//!
//! - The client does not retry: a test sees what the server answered, also where that is 429, 503 or 504. For retries,
//!   build a client of your own from [`Cluster::config`].
//! - A `kube::Client` belongs to the runtime that built it. On another runtime, build one there.
//! - kina installs `ring` as the process's TLS provider unless one is installed already. To use another, install it
//!   first; an `install_default()` that comes later returns an error.
//! - The clusters run no controllers and no nodes: Deployments make no pods, namespaces that are deleted stay
//!   `Terminating`, owner references are not followed.
//! - kina never reads your own kubeconfig.

mod argument;
mod cluster;
#[cfg(feature = "embedded")]
mod engine_constructor;
mod error;
mod harness;
mod namespace_deletion;
mod network;

pub use argument::FromCluster;
pub use cluster::Cluster;
pub use error::Error;
pub use kina_test_macros::test;
pub use kube;
pub use namespace_deletion::DeleteNamespaceError;
pub use network::Network;

/// The program in the README is compiled and run like those in the documentation.
#[cfg(doctest)]
#[doc = include_str!("../README.md")]
struct ReadmeDoctests;

/// What the attribute's expansion needs. Not for use by hand: may change with every version.
#[doc(hidden)]
pub mod __private {
    pub use crate::harness::{TestCase, TestFunction, run_test};
}
