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
/// The cluster is there before the first line of the body runs. It is released when the test returns, fails, panics or
/// is killed, and no other test ever sees what was done to it. Tests run in parallel, under `cargo nextest run` and
/// under `cargo test`.
///
/// # Arguments
///
/// One to eight, in any order, by value. Each is made by its type:
///
/// | type | what it is |
/// |---|---|
/// | `kube::Client` | a client with all rights on the test's cluster, its default namespace the test's |
/// | `kube::Api<K>` | the objects of a kind: in the test's namespace, or in the cluster where the kind has no namespaces |
/// | `kube::Config` | what the client is made from, to make others |
/// | `kina::Namespace` | the test's namespace |
/// | `kina::Cluster` | a cluster: its clients, its kubeconfig, its version, its network |
/// | `kina::Context` | what the test is called, which attempt it is, its directories |
/// | any other | whatever implements `kina::FromTest` |
///
/// Each `kina::Cluster` is another cluster, for controllers that work on several. All other arguments belong to the first
/// one. Tests that take several get all of them or none, and never wait for each other's.
///
/// # Return type
///
/// `()`, or a `Result` whose error can be printed with `Debug`: what `#[test]` accepts.
///
/// # Plain functions
///
/// A `fn` that is not `async` runs on the test's own thread, and its clients on a runtime beside it. The runtime's context
/// is entered, so that `tokio::runtime::Handle::current()` is there, and `Handle::block_on` waits for a future.
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
/// Each one at most once, separated by commas. What a test does not say, its module says with [`macro@tests`]; what that
/// does not say, the environment, and then the workspace's `kina.toml`.
///
/// ## `crds = [Type, "path"]` and `fixtures = ["path"]`
///
/// What the cluster has in it when the test starts. CRDs come from types that derive `kube::CustomResource`, or from files;
/// fixtures are any objects, from files in YAML or JSON.
///
/// ```text
/// #[kina::test(crds = [Widget, "crds/*.yaml"], fixtures = ["base/*.yaml", "base/east"])]
/// async fn scales_up(client: kube::Client) { … }
/// ```
///
/// They are applied once, and stored by the hash of their content: every other test with the same content starts from
/// there in milliseconds. Each entry of `fixtures` is a layer: what a later one says of an object replaces what an earlier
/// one said.
///
/// Paths are relative to the package. One names a file, or a folder (rendered by your own `kustomize` or `helm` where there
/// is a `kustomization.yaml` or a `Chart.yaml` in it), or is a pattern with `*`, `?`, `[…]` or `**`. A path that names
/// nothing is an error of compilation. A test is compiled anew when a single file that it names changes; all files are read
/// when it runs, from where `CARGO_MANIFEST_DIR` says that the package is then.
///
/// ## `template = function`
///
/// The same from a function without arguments that returns a `kina::Template`: for what many tests share, or what is
/// generated. `crds` and `fixtures` beside it come on top.
///
/// ```text
/// #[kina::test(template = crate::testing::shop)]
/// async fn scales_up(client: kube::Client) { … }
/// ```
///
/// ## `kubernetes = "1.NN"`
///
/// The Kubernetes minor of the cluster: `"1.33"`, `"1.34"`, `"1.35"`, `"1.36"` or `"1.37"`. Without it the test gets
/// kina's default, the newest of them. Only the minor is chosen; kina takes its newest patch that it can get.
///
/// ```text
/// #[kina::test(kubernetes = "1.36")]
/// async fn scales_up(client: kube::Client) { … }
/// ```
///
/// ## `profile = "name"`
///
/// How much of a cluster it is: `"api"`, kube-apiserver and etcd, or `"controllers"`, with kube-controller-manager,
/// kube-scheduler and simulated nodes too. Without it, `"api"`.
///
/// ## `provider = "name"`
///
/// What the cluster is made of: `"process"`, plain processes on this machine, or `"apple"`, a virtual machine of Apple's
/// `container`. Without it the test gets what the workspace's `kina.toml` or `KINA_PROVIDER` says, else `"process"`.
///
/// ```text
/// #[kina::test(provider = "apple")]
/// async fn scales_up(client: kube::Client) { … }
/// ```
///
/// ## `isolation = "name"`
///
/// What the test holds alone: a whole `"cluster"`, or a `"namespace"` of a cluster that others use too. Without it,
/// `"cluster"`; the test's namespace is then `default`. A test that takes several clusters gets whole ones only.
///
/// ## `timeout = "30s"`
///
/// How long the test may take, from when it has its cluster: a whole number and `ms`, `s`, `m` or `h`. Then it fails with
/// a message, and its lease ends. Without it the test may take as long as it likes. How long it waits for its cluster is
/// not counted: that is `acquire_timeout_seconds` in the workspace's `kina.toml`.
///
/// A test can be stopped where it waits for something asynchronous. A plain function cannot: at the limit its lease ends,
/// so that all it asks of its cluster fails, and it fails when it returns.
///
/// ## `flavor = "name"` and `worker_threads = 4`
///
/// What the test's tokio runtime is like: `"current_thread"`, the test's own thread does it all, or `"multi_thread"`, with
/// so many threads beside it, one for each processor unless said otherwise. Without it, `"current_thread"`. A plain
/// function always has a `"multi_thread"` one, with one thread unless said otherwise.
///
/// There is no `start_paused`: a paused clock jumps to the next timeout whenever nothing but the network is waited for.
///
/// ## `crate = "path"`
///
/// Where the crate `kina` is found, `::kina` unless said otherwise. For those who renamed the dependency or hand it on
/// from a crate of their own:
///
/// ```text
/// #[kina::test(crate = "my_test_support::kina")]
/// async fn scales_up(client: kube::Client) { … }
/// ```
///
/// # Other attributes
///
/// Doc comments, `#[should_panic]`, `#[ignore]`, `#[cfg]`, `#[allow]` and all others stay on the test, in their order.
///
/// `#[rstest]` goes together with it, above or below. It has to know which arguments are not its own: they are marked
/// `#[ignore]` (that is rstest's word for it; the test is not ignored).
///
/// ```text
/// #[rstest]
/// #[case(1)]
/// #[case(3)]
/// #[kina::test]
/// async fn scales_to(#[case] replicas: i32, #[ignore] client: kube::Client) { … }
/// ```
///
/// `#[test_log::test]` goes together with it, above or below; above, `#[test_log::test(kina::test)]` is the same. Below, it
/// is ready before kina's own work begins.
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
/// With `kubernetes = "1.36"` there is `TestCase { kubernetes: Some("1.36"), ..TestCase::new(…) }`; with
/// `crate = "my_test_support::kina"` that path stands for `::kina`. The body is never looked into. All the rest happens in
/// the functions that are called there.
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
/// The options are those of [`macro@test`]. One that a test names itself counts instead of the module's. The module has to be
/// written with its tests in braces, and they need the attribute under its own name: what an attribute called `#[test]`
/// means, a macro cannot know, nor what another macro in the module makes. For all tests of a workspace there is its `kina.toml`.
///
/// A module that is a file of its own (`mod tests;`) cannot carry it, but there can be one with braces in that file.
#[proc_macro_attribute]
pub fn tests(options: TokenStream, item: TokenStream) -> TokenStream {
    module::expand(options.into(), item.into()).into()
}
