//! Failures are reported and replaced, as an engine does with a provider that does not always work.

use anyhow::{Context, bail};
use kina_engine::lab::provider::Readiness;

use super::Verdict;
use crate::contract::client::{must_exist, write};
use crate::contract::failures::{explain, is_for_the_user, is_replaced};
use crate::contract::scene::Scene;

/// A provider is of no use if this many lives in a row fail.
const LIVES_MAX: usize = 6;

/// Lives are lived until one comes to its end. Each one that does not must give a reason, as a failure of the provider
/// or because the cluster has died, and none may leave anything behind. A reason may also be for the user to repair: a
/// fault of an emulator ends by itself, as if that had been done.
pub(super) async fn replaces_what_fails(scene: &Scene<'_>) -> anyhow::Result<Verdict> {
    let mut failures: Vec<String> = Vec::new();
    loop {
        let Err(error) = live(scene).await else { break };
        failures.push(kina_engine::with_causes(error.as_ref()));
        let told = || format!("life {} ended so: {}", failures.len(), failures.join("; before that: "));
        scene.clear().await.with_context(told)?;
        if LIVES_MAX <= failures.len() || !(is_replaced(&error) || is_for_the_user(&error)) {
            // Without its type: this is the last word on the provider.
            bail!("{}", told());
        }
    }
    Ok(match failures.as_slice() {
        [] => Verdict::Passed,
        _ => Verdict::PassedWith(format!("in life {}, after: {}", failures.len() + 1, failures.join("; "))),
    })
}

/// Everything an engine does with a cluster, once.
async fn live(scene: &Scene<'_>) -> anyhow::Result<()> {
    let capabilities = scene.stage.provider().capabilities();
    let cluster = scene.create(scene.request().await?).await?;
    let lived = async {
        cluster.wait_ready(Readiness::Early).await?;
        scene.wait_usable(&*cluster).await?;
        write(&*cluster, "of-a-life").await?;
        if capabilities.stop {
            cluster.stop().await?;
            cluster.start().await?;
            scene.wait_usable(&*cluster).await?;
            must_exist(&*cluster, "of-a-life").await?;
        }
        cluster.restart_api_server().await?;
        scene.wait_usable(&*cluster).await?;
        must_exist(&*cluster, "of-a-life").await?;
        cluster.check_running().await?;
        anyhow::Ok(())
    };
    match lived.await {
        Ok(()) => cluster.destroy().await.map_err(anyhow::Error::from),
        Err(error) => Err(explain(&*cluster, error).await),
    }
}
