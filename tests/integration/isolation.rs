//! Every test gets a pristine cluster, regardless of the tests before it.
//!
//! Each test proves its cluster pristine and then dirties it as badly as it can. Meant to run with many more tests than
//! slots: `KINA_SLOTS_MAX=2 cargo nextest run --profile ci --test integration isolation::`, with a `KINA_RUNTIME_DIR` of its own.

use crate::common::dirt::{self, Dirt};
use crate::common::server::Server;
use crate::common::state::ClusterState;
use crate::common::untouched::untouched;
use kina_engine::client::{EngineClient, EngineProgram};

/// Admission comes last, since it refuses everything after it; a policy refuses even webhooks.
const EVERYTHING: &[Dirt] = &[
    Dirt::CustomResources,
    Dirt::ClusterRbac,
    Dirt::NamespacedRbac,
    Dirt::SystemNamespaces,
    Dirt::NodePort,
    Dirt::Events,
    Dirt::ManyObjects,
    Dirt::SystemObjects,
    Dirt::DeadApiService,
    Dirt::Quota,
    Dirt::Webhook,
    Dirt::Policy,
];

async fn ordeal(client: kube::Client, dirt: &[Dirt]) -> anyhow::Result<()> {
    let server = Server(client);
    let state = ClusterState::read(&server).await?;
    state.expect_equal(untouched().await?)?;
    dirt::expect_untouched_behaviour(&server).await?;
    expect_few_boots().await?;
    for kind in dirt {
        kind.make(&server).await.map_err(|error| error.context(format!("{kind:?} could not be made")))?;
    }
    Ok(())
}

/// A pool whose size is set for this suite reuses its clusters: one that cannot be rewound is replaced, which would be
/// noticed only by the time it takes.
async fn expect_few_boots() -> anyhow::Result<()> {
    let Ok(slots_max) = std::env::var("KINA_SLOTS_MAX") else { return Ok(()) };
    let status = EngineClient::from_environment(EngineProgram::InstalledOnly)?.status(false).await?;
    let counters = status.ok_or_else(|| anyhow::anyhow!("the engine that leased this cluster has gone"))?.counters;
    anyhow::ensure!(counters.boots <= slots_max.parse::<u64>()? + 1, "clusters are not reused: {counters:?}");
    Ok(())
}

/// Makes a test of each line. The numbers mix them: runners order tests by name.
macro_rules! isolation_tests {
    ($($name:ident: $dirt:expr;)*) => {
        $(
            #[kina::test]
            async fn $name(client: kube::Client) -> anyhow::Result<()> {
                ordeal(client, $dirt).await
            }
        )*
    };
}

isolation_tests! {
    t01_everything: EVERYTHING;
    t02_nothing: &[];
    t03_everything: EVERYTHING;
    t04_custom_resources: &[Dirt::CustomResources];
    t05_everything: EVERYTHING;
    t06_cluster_rbac: &[Dirt::ClusterRbac];
    t07_node_port: &[Dirt::NodePort];
    t08_definition_being_deleted: &[Dirt::DefinitionBeingDeleted];
    t09_cluster_rbac: &[Dirt::ClusterRbac];
    t10_namespaced_rbac: &[Dirt::NamespacedRbac];
    t11_node_port: &[Dirt::NodePort];
    t12_everything: EVERYTHING;
    t13_system_namespaces: &[Dirt::SystemNamespaces];
    t14_events: &[Dirt::Events];
    t15_many_objects: &[Dirt::ManyObjects];
    t16_system_objects: &[Dirt::SystemObjects];
    t17_dead_api_service: &[Dirt::DeadApiService];
    t18_quota: &[Dirt::Quota];
    t19_everything: EVERYTHING;
    t20_policy: &[Dirt::Policy];
    t21_webhook: &[Dirt::Webhook];
    t22_definition_being_deleted: &[Dirt::DefinitionBeingDeleted];
    t23_custom_resources: &[Dirt::CustomResources];
    t24_all_but_admission: &EVERYTHING[..9];
    t25_everything: EVERYTHING;
    t26_all_but_admission: &EVERYTHING[..9];
    t27_nothing: &[];
    t28_all_but_admission: &EVERYTHING[..9];
    t29_everything: EVERYTHING;
    t30_system_objects: &[Dirt::SystemObjects];
    t31_dead_api_service: &[Dirt::DeadApiService];
    t32_system_namespaces: &[Dirt::SystemNamespaces];
    t33_everything: EVERYTHING;
    t34_policy_and_quota: &[Dirt::Quota, Dirt::Policy];
    t35_webhook: &[Dirt::Webhook];
    t36_quota: &[Dirt::Quota];
    t37_everything: EVERYTHING;
    t38_node_port: &[Dirt::NodePort, Dirt::Events];
    t39_rbac: &[Dirt::ClusterRbac, Dirt::NamespacedRbac];
    t40_custom_resources: &[Dirt::CustomResources, Dirt::DeadApiService];
    t41_everything: EVERYTHING;
    t42_many_objects: &[Dirt::ManyObjects, Dirt::Events];
    t43_definition_being_deleted: &[Dirt::DefinitionBeingDeleted, Dirt::ClusterRbac];
    t44_everything: EVERYTHING;
    t45_nothing: &[];
    t46_everything: EVERYTHING;
    t47_all_but_admission: &EVERYTHING[..9];
    t48_everything: EVERYTHING;
}
