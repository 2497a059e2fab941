//! The arguments that a test can take, each with the right value.

use std::os::unix::fs::PermissionsExt;
use std::path::Path;

use k8s_openapi::api::core::v1::{ConfigMap, Namespace};
use kina::{Cluster, Context, FromTest};
use kube::api::{Api, ListParams, ObjectMeta, PostParams};
use kube::{Client, Config, ResourceExt};
use tokio::runtime::{Handle, RuntimeFlavor};

const NAME: &str = "argument";

fn metadata() -> ObjectMeta {
    ObjectMeta { name: Some(NAME.to_owned()), ..ObjectMeta::default() }
}

/// A user's own type, made from kina's types and from the cluster.
struct Prepared {
    config_map: ConfigMap,
    test_name: &'static str,
}

impl FromTest for Prepared {
    type Error = anyhow::Error;

    async fn from_test(context: &Context) -> anyhow::Result<Self> {
        let config_maps = Api::<ConfigMap>::from_test(context).await?;
        let config_map = ConfigMap { metadata: metadata(), ..ConfigMap::default() };
        let config_map = config_maps.create(&PostParams::default(), &config_map).await?;
        Ok(Self { config_map, test_name: context.test_name() })
    }
}

#[kina::test]
async fn all_kinds_belong_to_one_cluster(
    prepared: Prepared,
    client: Client,
    config: Config,
    namespace: kina::Namespace,
    config_maps: Api<ConfigMap>,
    namespaces: Api<Namespace>,
    cluster: Cluster,
    context: Context,
) -> anyhow::Result<()> {
    assert_eq!(prepared.test_name, "integration::arguments::all_kinds_belong_to_one_cluster");
    assert_eq!((namespace.name(), client.default_namespace()), ("default", "default"));
    assert_eq!(prepared.config_map.namespace().as_deref(), Some("default"));
    assert_eq!(config.cluster_url, cluster.config().cluster_url);
    assert_eq!(context.cluster().name(), cluster.name());
    for config_maps in [
        config_maps,
        namespace.api(),
        Api::default_namespaced(client),
        Api::default_namespaced(namespace.client()),
        Api::default_namespaced(cluster.client()),
        Api::default_namespaced(Client::try_from(config)?),
        context.namespace().api(),
    ] {
        assert_eq!(config_maps.get(NAME).await?.uid(), prepared.config_map.uid());
    }
    assert!(namespaces.list(&ListParams::default()).await?.items.iter().any(|one| one.name_any() == "default"));
    Ok(())
}

#[kina::test]
async fn several_clusters_are_different_clusters(
    first: Cluster,
    namespaces: Api<Namespace>,
    second: Cluster,
    context: Context,
) -> anyhow::Result<()> {
    assert_ne!(first.name(), second.name());
    assert_eq!(context.cluster().name(), first.name());
    let namespace = Namespace { metadata: metadata(), ..Namespace::default() };
    namespaces.create(&PostParams::default(), &namespace).await?;
    assert!(Api::<Namespace>::all(first.client()).get_opt(NAME).await?.is_some());
    assert!(Api::<Namespace>::all(second.client()).get_opt(NAME).await?.is_none());
    Ok(())
}

/// Two clusters that belong together, as a user's own type.
struct Pair(Cluster, Cluster);

impl FromTest for Pair {
    type Error = kina::Error;

    const CLUSTER_COUNT: usize = 2;

    async fn from_test(context: &Context) -> Result<Self, kina::Error> {
        Ok(Self(Cluster::from_test(context).await?, Cluster::from_test(context).await?))
    }
}

#[kina::test]
async fn a_users_own_type_can_take_several(Pair(first, second): Pair, context: Context) -> anyhow::Result<()> {
    assert_ne!(first.name(), second.name());
    let error = Cluster::from_test(&context).await.expect_err("both are taken");
    assert!(error.to_string().starts_with("all of the test's clusters (2) are taken: "), "{error}");
    Ok(())
}

#[kina::test]
async fn the_context_knows_the_test(context: Context) -> anyhow::Result<()> {
    assert_eq!(context.test_name(), "integration::arguments::the_context_knows_the_test");
    assert_eq!(context.package_directory(), Path::new(&std::env::var("CARGO_MANIFEST_DIR")?));
    assert_eq!(context.run_id(), std::env::var("NEXTEST_RUN_ID").ok());
    assert_eq!(context.attempt(), std::env::var("NEXTEST_ATTEMPT").map_or(Ok(1), |attempt| attempt.parse())?);
    let scratch = context.scratch_directory()?;
    assert_eq!(std::fs::metadata(scratch)?.permissions().mode() & 0o777, 0o700);
    assert_eq!(std::fs::read_dir(scratch)?.count(), 0);
    assert_eq!(context.clone().scratch_directory()?, scratch);
    Ok(())
}

#[kina::test]
fn a_plain_function_can_wait_for_futures(client: Client, config_maps: Api<ConfigMap>) -> Result<(), kube::Error> {
    // Runs even before it is awaited.
    let version = Handle::current().spawn(async move { client.apiserver_version().await });
    let list = Handle::current().block_on(config_maps.list(&ListParams::default()))?;
    assert_eq!(list.items.len(), 0);
    let version = Handle::current().block_on(version).expect("no panic")?;
    assert!(version.git_version.starts_with("v1."), "{version:?}");
    Ok(())
}

#[kina::test]
async fn a_runtime_is_the_tests_own_thread_by_default(_context: Context) {
    assert_eq!(Handle::current().runtime_flavor(), RuntimeFlavor::CurrentThread);
}

#[kina::test(flavor = "multi_thread", worker_threads = 3)]
async fn a_runtime_can_have_additional_threads(client: Client) -> anyhow::Result<()> {
    assert_eq!(Handle::current().runtime_flavor(), RuntimeFlavor::MultiThread);
    assert_eq!(Handle::current().metrics().num_workers(), 3);
    let here = std::thread::current().id();
    let elsewhere = tokio::spawn(async move {
        client.apiserver_version().await?;
        Ok::<_, kube::Error>(std::thread::current().id())
    });
    assert_ne!(elsewhere.await??, here);
    Ok(())
}

#[kina::tests(flavor = "multi_thread", worker_threads = 2)]
mod options_of_a_module {
    use super::*;

    #[kina::test]
    async fn apply_to_its_tests(_context: Context) {
        assert_eq!(Handle::current().metrics().num_workers(), 2);
    }

    #[kina::test(flavor = "current_thread")]
    async fn are_overridden_by_a_tests_own(_context: Context) {
        assert_eq!(Handle::current().runtime_flavor(), RuntimeFlavor::CurrentThread);
    }

    mod and_of_modules_in_it {
        use super::*;

        #[kina::test]
        fn apply_to_plain_functions(_context: Context) {
            assert_eq!(Handle::current().metrics().num_workers(), 2);
        }
    }
}
