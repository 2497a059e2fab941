//! The first requests after fixtures were applied.

use anyhow::ensure;
use kina::Cluster;
use serde_json::json;

use super::rules;
use super::scene::realm;
use crate::common::cache::empty_cache;
use crate::common::repetitions;

#[kina::test]
async fn every_rule_that_was_applied_is_in_force_at_once(cluster: Cluster) -> anyhow::Result<()> {
    cluster.apply_fixtures(rules::of_every_kind("a")).await?;
    let violations = rules::violations(&cluster.client(), &cluster.config(), "a").await?;
    ensure!(violations.is_empty(), "{violations:#?}");
    rules::expect_no_canary(&cluster.client()).await
}

#[kina::test]
async fn a_policy_that_was_applied_beside_large_definitions_is_in_force_at_once(
    cluster: Cluster,
) -> anyhow::Result<()> {
    cluster.apply_fixtures(format!("{}{}", rules::of_a_policy("a"), rules::large_definitions("a"))).await?;
    rules::expect_forbidden(&cluster.client(), "a").await
}

/// Each in a lease of its own.
#[test]
fn every_rule_is_in_force_each_time_it_is_applied() -> anyhow::Result<()> {
    let cache = empty_cache();
    let realm = realm(&cache, 2)?;
    for _ in 0..repetitions(20, 1) {
        realm.run_well("in_force::fixtures::every_rule_that_was_applied_is_in_force_at_once");
    }
    for _ in 0..repetitions(20, 1) {
        realm.run_well("in_force::fixtures::a_policy_that_was_applied_beside_large_definitions_is_in_force_at_once");
    }
    let status = realm.status_of_running();
    ensure!(status.counters.broken == 0, "{status:#?}");
    Ok(())
}

/// Without controllers a quota limits nothing: nothing counts the objects.
#[kina::test(profile = "controllers")]
async fn a_quota_that_was_applied_is_in_force_at_once(cluster: Cluster) -> anyhow::Result<()> {
    for round in 0..repetitions(20, 2) {
        cluster.apply_fixtures(rules::of_a_quota(&format!("n{round}"))).await?;
        rules::expect_quota(&cluster.client(), &format!("n{round}")).await?;
    }
    rules::expect_no_canary(&cluster.client()).await
}

#[kina::test]
async fn parameters_of_a_policy_are_known_at_once(cluster: Cluster) -> anyhow::Result<()> {
    cluster.apply_fixtures(rules::of_a_policy_with_parameters("a")).await?;
    rules::expect_limited(&cluster.client(), "a").await?;
    rules::expect_no_canary(&cluster.client()).await
}

/// Then there is no sign of a policy's being in force.
#[kina::test]
async fn a_webhook_that_refuses_every_probe_is_named(cluster: Cluster) -> anyhow::Result<()> {
    let error = match cluster.apply_fixtures(rules::of_a_policy_behind_a_webhook("a")).await {
        Ok(report) => anyhow::bail!("in force: {report:?}"),
        Err(error) => error,
    };
    let text = format!("{:#}", anyhow::Error::from(error));
    ensure!(text.contains("catches-all-a.example.com") && text.contains("kube-public"), "{text}");
    rules::expect_no_canary(&cluster.client()).await
}

#[kina::test(isolation = "namespace")]
async fn a_limit_is_in_force_at_once_in_a_namespace_that_is_leased_alone(cluster: Cluster) -> anyhow::Result<()> {
    let namespace = cluster.client().default_namespace().to_owned();
    let limits = json!({"limits": [{"type": "PersistentVolumeClaim", "max": {"storage": "1Gi"}}]});
    let range = json!({"apiVersion": "v1", "kind": "LimitRange", "metadata": {"name": "limits"}, "spec": limits});
    let claim = json!({
        "apiVersion": "v1", "kind": "PersistentVolumeClaim", "metadata": {"name": "large"},
        "spec": {"accessModes": ["ReadWriteOnce"], "resources": {"requests": {"storage": "2Gi"}}},
    });
    let path = format!("/api/v1/namespaces/{namespace}/persistentvolumeclaims");
    // With this request the API server caches that the namespace has no limits.
    let config_map = json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "any"}});
    rules::ask(&cluster.client(), &format!("/api/v1/namespaces/{namespace}/configmaps"), Some(config_map)).await?;
    cluster.apply_fixtures(range.to_string()).await?;
    let answer = rules::ask(&cluster.client(), &path, Some(claim)).await?;
    ensure!(answer.contains("maximum storage usage"), "{answer}");
    Ok(())
}
