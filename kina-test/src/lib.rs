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
//! plain processes on loopback). Every test gets an exclusive lease on a cluster that is proven to be pristine. When
//! the test ends, for whatever reason, the engine rewinds the cluster and gives it to the next test. An engine that is
//! no longer used exits by itself.
//!
//! - [`test`](macro@test): the attribute, with all its options. [`tests`](macro@tests) sets them for a whole module.
//! - [`FromTest`]: the types that a test can take as arguments, and the way to add your own.
//! - [`Cluster`]: the lease on a cluster, also outside tests ([`Cluster::acquire`]).
//! - [`Namespace`] and [`Context`]: the test's namespace, its name and its directories.
//! - [`Template`]: the objects that a test's cluster contains at the start.
//! - [`Network`]: cuts off the API server and restores it ([`Cluster::network`]).
//! - [`Cluster::install_crds`], [`Cluster::apply_fixtures`]: objects that a test starts from.
//! - [`webhook`]: admission and conversion webhooks that the test itself answers ([`Cluster::webhook`]).
//! - [`wait`]: waits until an object meets a condition ([`Cluster::wait_for`] and others).
//!
//! # Arguments
//!
//! A test declares up to eight arguments, in any order; kina makes each one by its type:
//!
//! ```rust,test_harness
//! use k8s_openapi::api::core::v1::{ConfigMap, Namespace};
//! use kube::api::{Api, PostParams};
//!
//! #[kina::test]
//! async fn two_clusters_share_nothing(
//!     config_maps: Api<ConfigMap>, // in the test's namespace
//!     namespaces: Api<Namespace>,  // cluster-wide: a Namespace has no namespace
//!     here: kina::Cluster,         // the cluster of all other arguments
//!     there: kina::Cluster,        // a second cluster
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
//! A test does not have to be an `async fn`:
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
//! # Majors of kube
//!
//! The features `kube5` (the default), `kube4` and `kube3` choose the types of the interface, and [`kube`] is that major.
//! Without any of them there is no kube in the build; objects are then named by their kind ([`object_of_kind`]). With
//! several, the newest is the main one, and the types of the others are accepted as arguments and by their modules, such
//! as [`kube5`].
//!
//! # Good to know
//!
//! - The client does not retry: a test sees the server's own answers, including 429, 503 and 504. For retries, build a
//!   client from [`Cluster::config`] with `default_retry` set.
//! - Its timeouts end requests that hang, but cut no watch: 30 seconds for a connection, five minutes for an answer. It
//!   has no rate limit of its own. Its user agent is `kina/<version> (<name of the test>)`, so writes that name no
//!   field manager get the field manager `kina`.
//! - [`Cluster::client`] has all rights. For a client with fewer, use [`Cluster::as_user`].
//! - A `kube::Client` belongs to the runtime that built it. On another runtime, build a new one.
//! - kina installs `ring` as the process's TLS provider unless one is installed already. To use another, install it
//!   first; a later `install_default()` returns an error.
//! - Without `profile = "controllers"` a cluster runs no controllers: Deployments create no pods, deleted namespaces
//!   stay `Terminating`, owner references are not followed. Nodes are simulated only with that profile.
//! - kina never reads your own kubeconfig.

#![cfg_attr(docsrs, feature(doc_cfg))]

mod acquisition;
mod api_request;
mod argument;
mod cluster;
mod context;
#[cfg(feature = "embedded")]
mod engine_constructor;
mod error;
mod fixtures;
mod harness;
#[cfg(any(feature = "kube3", feature = "kube4", feature = "kube5"))]
mod kube_majors;
mod namespace;
mod namespace_deletion;
mod network;
mod template;
pub mod wait;
#[cfg(all(feature = "webhook", any(feature = "kube3", feature = "kube4", feature = "kube5")))]
pub mod webhook;

pub use api_request::ApiError;
pub use argument::FromTest;
pub use cluster::Cluster;
pub use context::Context;
pub use error::Error;
pub use fixtures::{ApplyOptions, ApplyPhase, ApplyReport, ApplyWarning, FixturePlace, Fixtures, IntoFixtures};
pub use kina_test_macros::{test, tests};
pub use namespace::Namespace;
pub use namespace_deletion::DeleteNamespaceError;
pub use network::Network;
pub use template::Template;
pub use wait::{AsObjectRef, ObjectRef, WaitError, object_of_kind};

#[cfg(feature = "kube3")]
pub use kube_majors::kube3;
#[cfg(feature = "kube4")]
pub use kube_majors::kube4;
#[cfg(feature = "kube5")]
pub use kube_majors::kube5;
#[cfg(any(feature = "kube3", feature = "kube4", feature = "kube5"))]
pub use kube_majors::main::{ScopeInTest, kube, object, object_of_dynamic_type};

/// The program in the README is compiled and run like those in the documentation.
#[cfg(doctest)]
#[doc = include_str!("../README.md")]
struct ReadmeDoctests;

/// Errors that only the compiler finds, and only when tests are compiled, so `tests/messages` cannot cover them:
///
/// ```rust,compile_fail,E0277,test_harness
/// #[kina::test]
/// async fn an_argument_of_an_unsupported_type(client: kube::Client, number: u32) {}
/// ```
///
/// ```rust,compile_fail,E0277,test_harness
/// #[kina::test]
/// fn an_unsupported_argument_of_a_plain_function(number: u32) {}
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
/// async fn a_function_that_returns_no_template(client: kube::Client) {}
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

/// Items for the code that the attribute generates. Not for use by hand: they may change with every version.
#[doc(hidden)]
pub mod __private {
    pub use kina_engine::{Isolation, Profile, expect_known_minor};

    pub use crate::harness::{Argument, Arguments, Flavor, TestCase, TestFunction, argument};
    pub use crate::harness::{run_plain_test, run_test};
    #[cfg(any(feature = "kube3", feature = "kube4", feature = "kube5"))]
    pub use crate::kube_majors::main::{auth_info, client_of_lease, config_at, config_of_lease};
}
