#![doc = include_str!("../README.md")]

mod complaints;
mod expand;
mod function;
mod module;
mod options;
mod other_attributes;
mod paths;
mod render;
#[cfg(test)]
mod tests;

use proc_macro::TokenStream;

/// Gives a function its own pristine Kubernetes cluster and makes it a test.
///
/// ```text
/// #[kina::test]
/// async fn scales_up(client: kube::Client) -> anyhow::Result<()> {
///     …
/// }
/// ```
///
/// The cluster is ready before the body runs. It is released when the test returns, fails, panics or is killed, and no
/// other test ever sees its changes. Tests run in parallel, under `cargo nextest run` and under `cargo test`.
///
/// # Arguments
///
/// One to eight, in any order, by value. kina makes each one by its type:
///
/// | type | value |
/// |---|---|
/// | `kube::Client` | a client with all rights on the test's cluster, its default namespace the test's |
/// | `kube::Api<K>` | the objects of a kind: in the test's namespace, or in the cluster if the kind is not namespaced |
/// | `kube::Config` | the configuration of that client, to make others |
/// | `kina::Namespace` | the test's namespace |
/// | `kina::Cluster` | a cluster: its clients, its kubeconfig, its version, its network |
/// | `kina::Context` | the test's name, its attempt, its directories |
/// | any other | a value that its `kina::FromTest` makes |
///
/// Each `kina::Cluster` is a separate cluster, for controllers that work on several. All other arguments belong to the
/// first one. Tests that take several get all of them at once, and never wait for each other's.
///
/// # Return type
///
/// `()`, or a `Result` whose error implements `Debug`, as for `#[test]`.
///
/// # Plain functions
///
/// A `fn` that is not `async` runs on the test's own thread, and its clients on a runtime beside it. The runtime's
/// context is entered, so `tokio::runtime::Handle::current()` works, and `Handle::block_on` waits for a future.
///
/// ```text
/// #[kina::test]
/// fn lists_pods(pods: kube::Api<Pod>) -> anyhow::Result<()> {
///     let list = tokio::runtime::Handle::current().block_on(pods.list(&ListParams::default()))?;
///     …
/// }
/// ```
///
/// # Options
///
/// Each one at most once, separated by commas. The values of a test come before those of its module ([`macro@tests`]),
/// then come the environment and the workspace's `kina.toml`.
///
/// ## `crds = [Type, "path"]` and `fixtures = ["path"]`
///
/// The content of the cluster when the test starts. CRDs come from types that derive `kube::CustomResource`, or from
/// files; fixtures are any objects, from files in YAML or JSON.
///
/// ```text
/// #[kina::test(crds = [Widget, "crds/*.yaml"], fixtures = ["base/*.yaml", "base/east"])]
/// async fn scales_up(client: kube::Client) { … }
/// ```
///
/// They are applied once and stored by the hash of their content: every other test with the same content starts from
/// there in milliseconds. Each entry of `fixtures` is a layer: a later version of an object replaces an earlier one.
///
/// Paths are relative to the package. A path names a file or a folder (rendered by your own `kustomize` or `helm` if it
/// contains a `kustomization.yaml` or a `Chart.yaml`), or is a pattern with `*`, `?`, `[…]` or `**`. A path without
/// files is a compile error. A test is recompiled if a single file that it names changes; all files are read at run
/// time, from the directory in `CARGO_MANIFEST_DIR`.
///
/// ## `template = function`
///
/// A function without arguments that returns a `kina::Template`: for content that many tests share, or that is
/// generated. `crds` and `fixtures` are added on top.
///
/// ```text
/// #[kina::test(template = crate::testing::shop)]
/// async fn scales_up(client: kube::Client) { … }
/// ```
///
/// ## `kubernetes = "1.NN"`
///
/// The Kubernetes minor of the cluster, one of those that k8s-openapi has types of. The default is the newest of them. A
/// test with another one does not compile. Only the minor can be chosen; kina takes the newest patch available to it.
///
/// ```text
/// #[kina::test(kubernetes = "1.36")]
/// async fn scales_up(client: kube::Client) { … }
/// ```
///
/// ## `profile = "name"`
///
/// The parts of the cluster: `"api"`, the default, for kube-apiserver and etcd, or `"controllers"`, which adds
/// kube-controller-manager, kube-scheduler and simulated nodes.
///
/// ## `provider = "name"`
///
/// The provider of the cluster: `"process"`, plain processes on this machine, or `"apple"`, a virtual machine of
/// Apple's `container` (a feature of kina-test, always there on macOS). The default is `KINA_PROVIDER` or the value in the
/// workspace's `kina.toml`, else `"process"`.
///
/// ```text
/// #[kina::test(provider = "apple")]
/// async fn scales_up(client: kube::Client) { … }
/// ```
///
/// ## `isolation = "name"`
///
/// The part of a cluster that the test has to itself: a whole `"cluster"`, the default, or a `"namespace"` of a shared
/// cluster. With a whole cluster, the test's namespace is `default`. A test that takes several clusters needs whole
/// ones.
///
/// ## `timeout = "30s"`
///
/// The time limit of the test, counted from the moment it has its cluster: a whole number and `ms`, `s`, `m` or `h`. At
/// the limit the test fails with a message, and its lease ends. By default there is no limit. Waiting for the cluster
/// has its own limit: `acquire_timeout_seconds` in the workspace's `kina.toml`.
///
/// An `async fn` is stopped at its next `.await`. A plain function cannot be stopped: at the limit its lease ends, so
/// all its later requests fail, and the test fails when it returns.
///
/// ## `flavor = "name"` and `worker_threads = 4`
///
/// The flavor of the test's tokio runtime: `"current_thread"`, the default, on the test's own thread only, or
/// `"multi_thread"`, with `worker_threads` additional threads (by default one for each processor). The runtime of a
/// plain function is always `"multi_thread"`, by default with one thread.
///
/// There is no `start_paused`: a paused clock jumps to the next timeout whenever the test waits only for the network.
///
/// ## `crate = "path"`
///
/// The path of the crate `kina`, by default `::kina`. For a dependency that is renamed, or re-exported by a crate of
/// your own:
///
/// ```text
/// #[kina::test(crate = "my_test_support::kina")]
/// async fn scales_up(client: kube::Client) { … }
/// ```
///
/// # Other attributes
///
/// Doc comments, `#[should_panic]`, `#[ignore]`, `#[cfg]`, `#[allow]` and others stay on the test, in their order.
///
/// `#[rstest]` works above or below `#[kina::test]`. It must know which arguments are not its own: mark them
/// `#[ignore]` (this is rstest's marker; the test is not ignored).
///
/// ```text
/// #[rstest]
/// #[case(1)]
/// #[case(3)]
/// #[kina::test]
/// async fn scales_to(#[case] replicas: i32, #[ignore] client: kube::Client) { … }
/// ```
///
/// `#[test_log::test]` works above or below it; `#[test_log::test(kina::test)]` is the same as above. Below, it sets up
/// logging before kina's own work begins.
///
/// Any other test attribute, such as `#[tokio::test]`, is refused: kina brings its own runtime.
///
/// # Expansion
///
/// The first example becomes:
///
/// ```text
/// #[::core::prelude::v1::test]
/// fn scales_up() -> anyhow::Result<()> {
///     async fn scales_up(client: kube::Client) -> anyhow::Result<()> {
///         …
///     }
///
///     ::kina::__private::run_test(
///         ::kina::__private::TestCase::new(
///             concat!(module_path!(), "::", "scales_up"),
///             env!("CARGO_MANIFEST_DIR"),
///         ),
///         scales_up as fn(_) -> _,
///         (::kina::__private::argument(),),
///     )
/// }
/// ```
///
/// With `kubernetes = "1.36"` there is `TestCase { kubernetes: Some("1.36"), ..TestCase::new(…) }`; with `crate =
/// "my_test_support::kina"` that path replaces `::kina`. The body is never parsed. Everything else happens in the
/// functions that are called there.
#[proc_macro_attribute]
pub fn test(options: TokenStream, item: TokenStream) -> TokenStream {
    expand::expand(options.into(), item.into()).into()
}

/// Options for all tests of a module, and of the modules in it.
///
/// ```text
/// #[cfg(test)]
/// #[kina::tests(crds = [Widget], timeout = "30s")]
/// mod tests {
///     #[kina::test]
///     async fn scales_up(client: kube::Client) { … }
///
///     #[kina::test(timeout = "2m")]
///     async fn scales_far_up(client: kube::Client) { … }
/// }
/// ```
///
/// The options are those of [`macro@test`]. An option of a test itself takes precedence over the module's. The module
/// must be written with its tests in braces, and the tests need the attribute under its own name: a macro cannot
/// resolve an attribute that is called `#[test]`, or see the output of another macro in the module. Options for all
/// tests of a workspace go into its `kina.toml`.
///
/// A module in a file of its own (`mod tests;`) cannot carry the attribute, but a module with braces in that file can.
#[proc_macro_attribute]
pub fn tests(options: TokenStream, item: TokenStream) -> TokenStream {
    module::expand(options.into(), item.into()).into()
}
