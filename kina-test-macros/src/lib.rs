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

/// Gives an `async fn` its own pristine Kubernetes cluster and makes it a test.
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
/// One or both of these, in any order, by value:
///
/// | type | what it is |
/// |---|---|
/// | `kube::Client` | a client with all rights on the test's cluster |
/// | `kina::Cluster` | the cluster itself: more clients, its kubeconfig, its version |
///
/// Two arguments of one test belong to the same cluster.
///
/// # Return type
///
/// `()`, or a `Result` whose error can be printed with `Debug`: what `#[test]` accepts.
///
/// # Options
///
/// Each one at most once, separated by commas.
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
/// Doc comments, `#[should_panic]`, `#[ignore]`, `#[cfg]`, `#[allow]` and all others stay on the test, in their order. A
/// second test attribute, such as `#[tokio::test]`, is refused: kina brings its own runtime.
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
///         ::kina::__private::TestCase {
///             name: concat!(module_path!(), "::", "scales_up"),
///             package_directory: env!("CARGO_MANIFEST_DIR"),
///             kubernetes: None,
///             provider: None,
///         },
///         scales_up as fn(_) -> _,
///     )
/// }
/// ```
///
/// With `kubernetes = "1.36"` the field `kubernetes` is `Some("1.36")`; with `crate = "my_test_support::kina"` that path
/// stands for `::kina`. The body is never looked into. All the rest happens in the function that is called there.
#[proc_macro_attribute]
pub fn test(options: TokenStream, item: TokenStream) -> TokenStream {
    expand::expand(options.into(), item.into()).into()
}

/// Options for all tests of a module.
#[proc_macro_attribute]
pub fn tests(options: TokenStream, item: TokenStream) -> TokenStream {
    module::expand(options.into(), item.into()).into()
}
