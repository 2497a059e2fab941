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
//! - [`test`](macro@test): the attribute, with all its options. [`tests`](macro@tests) says them for a whole module.
//! - [`FromTest`]: what a test can take as an argument, and how a type of your own becomes one.
//! - [`Cluster`]: the lease on a cluster; also for code that is no test ([`Cluster::acquire`]).
//! - [`Namespace`] and [`Context`]: where a test works, and what it is called.
//! - [`Template`]: what a test's cluster has in it at the start.
//! - [`Network`]: takes the API server away, and brings it back ([`Cluster::network`]).
//! - [`Cluster::install_crds`], [`Cluster::apply_fixtures`]: objects that a test starts from.
//! - [`webhook`]: admission and conversion webhooks that the test itself answers ([`Cluster::webhook`]).
//! - [`wait`]: until an object is as it should be ([`Cluster::wait_for`] and its like).
//!
//! # Arguments
//!
//! A test takes what it needs, by type, up to eight arguments in any order:
//!
//! ```rust,test_harness
//! use k8s_openapi::api::core::v1::{ConfigMap, Namespace};
//! use kube::api::{Api, PostParams};
//!
//! #[kina::test]
//! async fn what_one_cluster_has_the_other_has_not(
//!     config_maps: Api<ConfigMap>, // in the test's namespace
//!     namespaces: Api<Namespace>,  // in the cluster: a Namespace is in none
//!     here: kina::Cluster,         // the cluster of all other arguments
//!     there: kina::Cluster,        // another one
//!     context: kina::Context,
//! ) -> Result<(), kube::Error> {
//!     let mut config_map = ConfigMap::default();
//!     config_map.metadata.name = Some("settings".to_owned());
//!     config_map.data = Some([("test".to_owned(), context.test_name().to_owned())].into());
//!     config_maps.create(&PostParams::default(), &config_map).await?;
//!
//!     assert!(namespaces.get_opt("default").await?.is_some());
//!     let in_cluster = |cluster: &kina::Cluster| Api::<ConfigMap>::default_namespaced(cluster.client());
//!     assert!(in_cluster(&here).get_opt("settings").await?.is_some());
//!     assert!(in_cluster(&there).get_opt("settings").await?.is_none());
//!     Ok(())
//! }
//! ```
//!
//! A test that is no `async fn` is a test too:
//!
//! ```rust,test_harness
//! # use k8s_openapi::api::core::v1::ConfigMap;
//! # use kube::api::{Api, ListParams};
//! #[kina::test]
//! fn nothing_is_there(config_maps: Api<ConfigMap>) -> Result<(), kube::Error> {
//!     let list = tokio::runtime::Handle::current().block_on(config_maps.list(&ListParams::default()))?;
//!     assert!(list.items.is_empty());
//!     Ok(())
//! }
//! ```
//!
//! # Good to know
//!
//! - The client does not retry: a test sees what the server answered, also where that is 429, 503 or 504. For retries,
//!   build a client of your own from [`Cluster::config`] with `default_retry` set.
//! - Its timeouts end what hangs and cut no watch: half a minute for a connection, five minutes for an answer. It has no
//!   rate limit of its own. It calls itself `kina/<version> (<name of the test>)`, so what it writes without naming a
//!   field manager has `kina` as one.
//! - [`Cluster::client`] may do everything. For what others may, there is [`Cluster::as_user`].
//! - A `kube::Client` belongs to the runtime that built it. On another runtime, build one there.
//! - kina installs `ring` as the process's TLS provider unless one is installed already. To use another, install it
//!   first; an `install_default()` that comes later returns an error.
//! - Without `profile = "controllers"` a cluster runs no controllers: Deployments make no pods, namespaces that are
//!   deleted stay `Terminating`, owner references are not followed. Nodes are only simulated with it.
//! - kina never reads your own kubeconfig.

mod argument;
mod cluster;
mod context;
#[cfg(feature = "embedded")]
mod engine_constructor;
mod error;
mod fixtures;
mod harness;
mod namespace;
mod namespace_deletion;
mod network;
mod template;
mod user;
pub mod wait;
#[cfg(feature = "webhook")]
pub mod webhook;

pub use argument::{FromTest, ScopeInTest};
pub use cluster::Cluster;
pub use context::Context;
pub use error::Error;
pub use fixtures::{ApplyOptions, ApplyReport, Fixtures, IntoFixtures};
pub use kina_test_macros::{test, tests};
pub use kube;
pub use namespace::Namespace;
pub use namespace_deletion::DeleteNamespaceError;
pub use network::Network;
pub use template::Template;
pub use wait::{AsObjectRef, ObjectRef, WaitError, object};

/// The program in the README is compiled and run like those in the documentation.
#[cfg(doctest)]
#[doc = include_str!("../README.md")]
struct ReadmeDoctests;

/// What only the compiler can find, and only where tests are compiled, so that the UI tests cannot show it. Each of these is
/// an error of its kind:
///
/// ```rust,compile_fail,E0277,test_harness
/// #[kina::test]
/// async fn an_argument_that_nobody_can_make(client: kube::Client, number: u32) {}
/// ```
///
/// ```rust,compile_fail,E0277,test_harness
/// #[kina::test]
/// fn the_same_of_a_plain_function(number: u32) {}
/// ```
///
/// ```rust,compile_fail,E0277,test_harness
/// #[kina::test(crds = [String])]
/// async fn a_type_without_a_crd(client: kube::Client) {}
/// ```
///
/// ```rust,compile_fail,E0308,test_harness
/// fn number() -> u8 {
///     3
/// }
///
/// #[kina::test(template = number)]
/// async fn a_function_that_gives_no_template(client: kube::Client) {}
/// ```
///
/// ```rust,compile_fail,E0308,test_harness
/// #[kina::test]
/// async fn a_mistake_in_the_body(client: kube::Client) {
///     let number: u32 = "no number";
/// }
/// ```
#[cfg(doctest)]
struct CompilerErrors;

/// What the attribute's expansion needs. Not for use by hand: may change with every version.
#[doc(hidden)]
pub mod __private {
    pub use kina_engine::protocol::{Isolation, Profile};

    pub use crate::harness::{Argument, Arguments, Flavor, TestCase, TestFunction, argument};
    pub use crate::harness::{run_plain_test, run_test};
}
