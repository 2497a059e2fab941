//! Failures of checks that an engine would answer with another cluster, or with a message to the user.

use std::time::Duration;

use kina_engine::lab::api_client::NoAnswer;
use kina_engine::lab::boot::BootError;
use kina_engine::lab::etcd::EtcdError;
use kina_engine::lab::provider::{ProvidedCluster, ProviderError};

/// Time limit for the report that a cluster which did not answer has died.
const DEATH_TIMEOUT: Duration = Duration::from_secs(90);

/// A cluster did not answer, because it had died.
#[derive(Debug, thiserror::Error)]
#[error("it died: {how}")]
struct Died {
    how: String,
}

/// Returns true if an engine would make another cluster: not if the user has to do something first, and not if kina
/// itself did something wrong.
pub(super) fn is_replaced(error: &anyhow::Error) -> bool {
    match error.downcast_ref::<ProviderError>() {
        Some(ProviderError::WrongState { .. } | ProviderError::Unsupported { .. }) => false,
        Some(error) => !error.is_user_error(),
        None => error.is::<Died>() || error.is::<BootError>(),
    }
}

/// Returns true if the user has to do something before another cluster can be made.
pub(super) fn is_for_the_user(error: &anyhow::Error) -> bool {
    error.downcast_ref::<ProviderError>().is_some_and(ProviderError::is_user_error)
}

/// Returns the death of a cluster that does not answer, if it has died, instead of the failure to answer.
pub(super) async fn explain(cluster: &dyn ProvidedCluster, error: anyhow::Error) -> anyhow::Error {
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
