use std::convert::Infallible;
use std::error::Error as StdError;

use crate::{Cluster, Context, Error, Namespace};

/// An argument of a test.
///
/// kina makes each argument by its type. Implement this trait for a type of your own to use it as an argument:
///
/// ```rust,test_harness
/// use k8s_openapi::api::core::v1::ConfigMap;
/// use kube::api::{Api, PostParams};
///
/// /// The test's namespace, with a ConfigMap in it.
/// struct Settings(Api<ConfigMap>);
///
/// impl kina::FromTest for Settings {
///     type Error = kube::Error;
///
///     async fn from_test(context: &kina::Context) -> Result<Self, kube::Error> {
///         let config_maps: Api<ConfigMap> = context.namespace().api();
///         let mut config_map = ConfigMap::default();
///         config_map.metadata.name = Some("settings".to_owned());
///         config_maps.create(&PostParams::default(), &config_map).await?;
///         Ok(Self(config_maps))
///     }
/// }
///
/// #[kina::test]
/// async fn the_settings_are_there(Settings(config_maps): Settings) -> Result<(), kube::Error> {
///     config_maps.get("settings").await?;
///     Ok(())
/// }
/// ```
///
/// Arguments are made one after the other, in order, before the body of the test runs.
#[diagnostic::on_unimplemented(
    message = "a test cannot take an argument of type `{Self}`",
    label = "kina does not know how to make this",
    note = "a #[kina::test] takes `kube::Client`, `kube::Config`, `kube::Api<K>`, `kina::Cluster`, `kina::Namespace` \
            and `kina::Context`, and every type that implements `kina::FromTest`",
    note = "types of kube need the feature of their major in the dependency on kina-test: `kube5`, `kube4` or `kube3`"
)]
pub trait FromTest: Sized {
    /// The error if the argument cannot be made; the test fails with it. Any error type is accepted, also
    /// `anyhow::Error`.
    type Error: Into<Box<dyn StdError + Send + Sync>>;

    /// The number of clusters that the argument takes for itself, each by `Cluster::from_test`. Usually zero: the
    /// test's cluster, [`Context::cluster`], is shared by all arguments.
    const CLUSTER_COUNT: usize = 0;

    /// Makes the argument.
    fn from_test(context: &Context) -> impl Future<Output = Result<Self, Self::Error>>;
}

/// Each `Cluster` that a test takes is a separate cluster. All other arguments belong to the first one.
impl FromTest for Cluster {
    type Error = Error;

    const CLUSTER_COUNT: usize = 1;

    async fn from_test(context: &Context) -> Result<Self, Error> {
        context.next_cluster()
    }
}

impl FromTest for Namespace {
    type Error = Infallible;

    async fn from_test(context: &Context) -> Result<Self, Infallible> {
        Ok(context.namespace())
    }
}

impl FromTest for Context {
    type Error = Infallible;

    async fn from_test(context: &Context) -> Result<Self, Infallible> {
        Ok(context.clone())
    }
}
