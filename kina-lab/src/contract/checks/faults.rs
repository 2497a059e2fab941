//! Failures are reported and replaced, as an engine does with a provider that does not always work.

use std::time::Duration;

use anyhow::Context;
use kina_engine::lab::api_client::NoAnswer;
use kina_engine::lab::boot::BootError;
use kina_engine::lab::etcd::EtcdError;
use kina_engine::lab::provider::{ProvidedCluster, ProviderError, Readiness};

use super::Verdict;
use crate::contract::client::{must_exist, write};
use crate::contract::scene::Scene;

/// A provider is of no use if this many lives in a row fail.
const LIVES_MAX: usize = 6;
/// Failures that only the user can repair, and which a fault of an emulator ends by itself, as a repair would.
const REPAIRS_MAX: usize = 1;
/// Time limit for the report that a cluster which did not answer has died.
const DEATH_TIMEOUT: Duration = Duration::from_secs(90);

/// Lives are lived until one comes to its end. Each one that does not must give a reason, as a failure of the provider
/// or because the cluster has died, and none may leave anything behind. One of the reasons may be for the user: the life
/// after it shows that the user has repaired it.
pub(super) async fn replaces_what_fails(scene: &Scene<'_>) -> anyhow::Result<Verdict> {
    let mut failures: Vec<String> = Vec::new();
    let mut repairs = 0;
    loop {
        let Err(error) = live(scene).await else { break };
        failures.push(kina_engine::with_causes(error.as_ref()));
        let told = || format!("life {} ended so: {}", failures.len(), failures.join("; before that: "));
        scene.clear().await.with_context(told)?;
        let may_be_repaired = is_for_the_user(&error) && repairs < REPAIRS_MAX;
        repairs += usize::from(may_be_repaired);
        if LIVES_MAX <= failures.len() || !(is_replaced(&error) || may_be_repaired) {
            return Err(error.context(told()));
        }
    }
    Ok(match failures.as_slice() {
        [] => Verdict::Passed,
        _ => Verdict::PassedWith(format!("in life {}, after: {}", failures.len() + 1, failures.join("; "))),
    })
}

/// Returns true if an engine would make another cluster: not if the user has to do something first, and not if kina
/// itself did something wrong.
fn is_replaced(error: &anyhow::Error) -> bool {
    match error.downcast_ref::<ProviderError>() {
        Some(ProviderError::WrongState { .. } | ProviderError::Unsupported { .. }) => false,
        Some(error) => !error.is_user_error(),
        None => error.is::<Died>() || error.is::<BootError>(),
    }
}

/// Returns true if the user has to do something before another cluster can be made.
fn is_for_the_user(error: &anyhow::Error) -> bool {
    error.downcast_ref::<ProviderError>().is_some_and(ProviderError::is_user_error)
}

/// A cluster did not answer, because it had died.
#[derive(Debug, thiserror::Error)]
#[error("it died: {how}")]
struct Died {
    how: String,
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

/// Returns the death of a cluster that does not answer, if it has died, instead of the failure to answer.
async fn explain(cluster: &dyn ProvidedCluster, error: anyhow::Error) -> anyhow::Error {
    let no_answer = error.is::<NoAnswer>() || error.is::<EtcdError>();
    if !no_answer {
        return error;
    }
    match tokio::time::timeout(DEATH_TIMEOUT, cluster.wait_died()).await {
        Ok(how) => Died { how }.into(),
        Err(_) => error,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use kina_engine::doctor::AppleError;

    #[test]
    fn only_failures_that_may_pass_are_replaced() {
        let ended = ProviderError::Ended {
            component: "etcd",
            status: "exit code 1".to_owned(),
            log: "etcd.log".into(),
            log_tail: "why".to_owned(),
        };
        assert!(is_replaced(&anyhow::Error::from(ended).context("waiting failed")));
        assert!(is_replaced(&Died { how: "its container is gone".to_owned() }.into()));
        let wrong = ProviderError::WrongState { state: "running", wanted: "started" };
        assert!(!is_replaced(&wrong.into()));
        let no_program = anyhow::Error::from(ProviderError::from(AppleError::NoProgram));
        assert!(!is_replaced(&no_program) && is_for_the_user(&no_program));
        assert!(!is_replaced(&anyhow::anyhow!("what was written is not there")));
    }
}
