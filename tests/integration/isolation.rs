//! Every test gets a pristine cluster, regardless of the tests before it.
//!
//! Each test proves its cluster pristine and then pollutes it as badly as it can. Meant to run with many more tests than
//! slots: `KINA_SLOTS_MAX=2 KINA_LONG_TESTS=1 cargo nextest run --profile ci --test integration isolation::`, with a `KINA_RUNTIME_DIR` of its own.

use crate::common::behaviour;
use crate::common::pollution::Pollution;
use crate::common::repetitions;
use crate::common::server::Server;
use crate::common::state::ClusterState;
use crate::common::untouched::untouched;
use kina_engine::{EngineClient, EngineProgram};

/// Admission comes last, since it refuses everything after it; a policy refuses even webhooks.
const EVERYTHING: &[Pollution] = &[
    Pollution::CustomResources,
    Pollution::ClusterRbac,
    Pollution::NamespacedRbac,
    Pollution::SystemNamespaces,
    Pollution::NodePort,
    Pollution::Events,
    Pollution::ManyObjects,
    Pollution::SystemObjects,
    Pollution::DeadApiService,
    Pollution::Quota,
    Pollution::Webhook,
    Pollution::Policy,
];

async fn ordeal(client: kube::Client, pollution: &[Pollution]) -> anyhow::Result<()> {
    let server = Server(client);
    let state = ClusterState::read(&server).await?;
    state.expect_equal(untouched().await?)?;
    behaviour::expect_untouched(&server).await?;
    expect_few_boots().await?;
    for kind in pollution {
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
    ($pollution_of:expr; $($name:ident: $pollution:expr;)*) => {
        $(
            #[kina::test]
            async fn $name(client: kube::Client) -> anyhow::Result<()> {
                ordeal(client, $pollution_of($pollution)).await
            }
        )*
    };
}

isolation_tests! {
    std::convert::identity;
    t01_everything: EVERYTHING;
    t02_nothing: &[];
    t03_everything: EVERYTHING;
    t04_custom_resources: &[Pollution::CustomResources];
    t05_everything: EVERYTHING;
    t06_cluster_rbac: &[Pollution::ClusterRbac];
    t07_node_port: &[Pollution::NodePort];
    t08_definition_being_deleted: &[Pollution::DefinitionBeingDeleted];
    t09_cluster_rbac: &[Pollution::ClusterRbac];
    t10_namespaced_rbac: &[Pollution::NamespacedRbac];
    t11_node_port: &[Pollution::NodePort];
    t12_everything: EVERYTHING;
    t13_system_namespaces: &[Pollution::SystemNamespaces];
    t14_events: &[Pollution::Events];
    t15_many_objects: &[Pollution::ManyObjects];
    t16_system_objects: &[Pollution::SystemObjects];
    t17_dead_api_service: &[Pollution::DeadApiService];
    t18_quota: &[Pollution::Quota];
    t19_everything: EVERYTHING;
    t20_policy: &[Pollution::Policy];
    t21_webhook: &[Pollution::Webhook];
    t22_definition_being_deleted: &[Pollution::DefinitionBeingDeleted];
    t23_custom_resources: &[Pollution::CustomResources];
    t24_all_but_admission: &EVERYTHING[..9];
}

// The same again, after more and other tests. In short runs these leave nothing behind, and only look.
isolation_tests! {
    |pollution| repetitions(pollution, &[][..]);
    t25_everything: EVERYTHING;
    t26_all_but_admission: &EVERYTHING[..9];
    t27_nothing: &[];
    t28_all_but_admission: &EVERYTHING[..9];
    t29_everything: EVERYTHING;
    t30_system_objects: &[Pollution::SystemObjects];
    t31_dead_api_service: &[Pollution::DeadApiService];
    t32_system_namespaces: &[Pollution::SystemNamespaces];
    t33_everything: EVERYTHING;
    t34_policy_and_quota: &[Pollution::Quota, Pollution::Policy];
    t35_webhook: &[Pollution::Webhook];
    t36_quota: &[Pollution::Quota];
    t37_everything: EVERYTHING;
    t38_node_port: &[Pollution::NodePort, Pollution::Events];
    t39_rbac: &[Pollution::ClusterRbac, Pollution::NamespacedRbac];
    t40_custom_resources: &[Pollution::CustomResources, Pollution::DeadApiService];
    t41_everything: EVERYTHING;
    t42_many_objects: &[Pollution::ManyObjects, Pollution::Events];
    t43_definition_being_deleted: &[Pollution::DefinitionBeingDeleted, Pollution::ClusterRbac];
    t44_everything: EVERYTHING;
    t45_nothing: &[];
    t46_everything: EVERYTHING;
    t47_all_but_admission: &EVERYTHING[..9];
    t48_everything: EVERYTHING;
}
