//! The first requests to a new template.

use anyhow::{Context, ensure};
use kina_engine::Profile;

use super::rules;
use super::scene::{Scene, client};
use crate::common::repetitions;

/// Each with a template that no engine has seen. The second lease has another cluster, to which the template was
/// applied by a rewind.
#[tokio::test(flavor = "multi_thread")]
async fn every_rule_of_a_new_template_is_in_force_at_once() -> anyhow::Result<()> {
    let scene = Scene::new(2)?;
    for round in 0..repetitions(20, 1) {
        let unique = format!("t{round}");
        let text = rules::of_every_kind(&unique);
        let first = scene.lease(&text, Profile::Api).await?;
        let (first_client, config) = client(&first)?;
        let violations = rules::violations(&first_client, &config, &unique).await?;
        ensure!(violations.is_empty(), "round {round}: {violations:#?}");
        rules::expect_no_canary(&first_client).await?;
        let second = scene.lease(&text, Profile::Api).await?;
        ensure!(first.grant.cluster != second.grant.cluster);
        let (second_client, config) = client(&second)?;
        let violations = rules::violations(&second_client, &config, &unique).await?;
        ensure!(violations.is_empty(), "round {round}, another cluster: {violations:#?}");
    }
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn rules_beside_admission_are_in_force_at_once() -> anyhow::Result<()> {
    let scene = Scene::new(2)?;
    for round in 0..repetitions(20, 1) {
        let unique = format!("d{round}");
        let text = rules::of_no_admission(&unique);
        let leases = [scene.lease(&text, Profile::Api).await?, scene.lease(&text, Profile::Api).await?];
        for lease in &leases {
            let (client, config) = client(lease)?;
            let mut violations = rules::violations(&client, &config, &unique).await?;
            violations.retain(|violation| rules::NO_ADMISSION.iter().any(|kind| violation.starts_with(kind)));
            ensure!(violations.is_empty(), "round {round}, {}: {violations:#?}", lease.grant.cluster);
        }
    }
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_policy_beside_large_definitions_is_in_force_at_once() -> anyhow::Result<()> {
    let scene = Scene::new(1)?;
    for round in 0..repetitions(20, 1) {
        let unique = format!("p{round}");
        let text = format!("{}{}", rules::of_a_policy(&unique), rules::large_definitions(&unique));
        let lease = scene.lease(&text, Profile::Api).await?;
        let (client, _) = client(&lease)?;
        rules::expect_forbidden(&client, &unique).await.with_context(|| format!("round {round}"))?;
    }
    Ok(())
}

/// The API server knows the parameters at once, regardless of its state between two templates.
#[tokio::test(flavor = "multi_thread")]
async fn parameters_of_a_policy_are_known_at_once() -> anyhow::Result<()> {
    let scene = Scene::new(2)?;
    for round in 0..repetitions(20, 1) {
        let unique = format!("q{round}");
        let text = rules::of_a_policy_with_parameters(&unique);
        let first = scene.lease(&text, Profile::Api).await?;
        rules::expect_limited(&client(&first)?.0, &unique).await.with_context(|| format!("round {round}"))?;
        let second = scene.lease(&text, Profile::Api).await?;
        rules::expect_limited(&client(&second)?.0, &unique).await.with_context(|| format!("round {round}, another"))?;
    }
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_policy_behind_a_webhook_that_refuses_every_probe_is_in_force_at_once() -> anyhow::Result<()> {
    let scene = Scene::new(1)?;
    let lease = scene.lease(&rules::of_a_policy_behind_a_webhook("a"), Profile::Api).await?;
    let (client, _) = client(&lease)?;
    rules::expect_forbidden_in(&client, "a", "free-a").await?;
    rules::expect_no_canary(&client).await
}

/// Without controllers a quota limits nothing: nothing counts the objects.
#[tokio::test(flavor = "multi_thread")]
async fn a_quota_of_a_new_template_is_in_force_at_once() -> anyhow::Result<()> {
    let scene = Scene::new(1)?;
    for round in 0..repetitions(20, 1) {
        let unique = format!("k{round}");
        let lease = scene.lease(&rules::of_a_quota(&unique), Profile::Controllers).await?;
        rules::expect_quota(&client(&lease)?.0, &unique).await.with_context(|| format!("round {round}"))?;
    }
    Ok(())
}
