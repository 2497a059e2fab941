//! Waiting for etcd and for kube-apiserver.

use std::path::Path;
use std::time::Duration;

use super::{ProviderError, Readiness};
use crate::api_client::ApiClient;
use crate::cluster_access::ClusterAccess;
use crate::etcd::{EtcdClient, PackedState, TRANSACTION_OPERATIONS_MAX, WriteOperation};
use crate::log_tail::log_tail;

/// etcd answers after 40 to 130 ms; the limit allows for a busy machine.
const ETCD_READY_TIMEOUT: Duration = Duration::from_secs(30);
/// The API server takes 0.7 to 3.5 s on an idle machine.
const API_SERVER_READY_TIMEOUT: Duration = Duration::from_secs(90);
const ETCD_POLL_INTERVAL: Duration = Duration::from_millis(3);
/// Each answer costs the API server about a millisecond of the processor time that it needs to become ready.
const EARLY_POLL_INTERVAL: Duration = Duration::from_millis(8);
const FULL_POLL_INTERVAL: Duration = Duration::from_millis(25);
/// An attempt can take seconds, in which its component may end.
const ENDED_POLL_INTERVAL: Duration = Duration::from_millis(50);

/// A component that may end while its readiness is awaited.
pub(super) trait Awaited: Sync {
    /// Returns `etcd` or `kube-apiserver`.
    fn component(&self) -> &'static str;

    /// Returns the path of its log.
    fn log(&self) -> &Path;

    /// Returns its exit status in words, if it has ended.
    fn ended(&self) -> Option<String>;

    /// Returns the end of its log.
    fn log_tail(&self) -> impl Future<Output = String> + Send {
        async { log_tail(self.log()) }
    }

    /// Waits until it has ended, and returns its exit status in words.
    fn wait_ended(&self) -> impl Future<Output = String> + Send {
        async {
            loop {
                if let Some(status) = self.ended() {
                    return status;
                }
                tokio::time::sleep(ENDED_POLL_INTERVAL).await;
            }
        }
    }
}

/// Connects to etcd as soon as it answers.
pub(super) async fn wait_etcd(etcd: &impl Awaited, access: &ClusterAccess) -> Result<EtcdClient, ProviderError> {
    poll(etcd, ETCD_READY_TIMEOUT, ETCD_POLL_INTERVAL, || async move {
        let client = EtcdClient::connect(access.etcd_address, &access.etcd_ca_pem, &access.etcd_client).await;
        match client {
            Ok(client) => match client.exists(b"kina").await {
                Ok(_) => Ok(client),
                Err(error) => Err(crate::error_text::with_causes(&error)),
            },
            Err(error) => Err(crate::error_text::with_causes(&error)),
        }
    })
    .await
}

/// Writes the initial content of a cluster's store, before its API server starts.
pub(super) async fn write_initial_state(etcd: &EtcdClient, initial_state: &PackedState) -> Result<(), ProviderError> {
    let mut puts = Vec::new();
    let mut entries = initial_state.iter().peekable();
    // A part at a time: a template can be large.
    while let Some((key, value)) = entries.next() {
        puts.push(WriteOperation::Put { key: key.to_vec(), value: value.to_vec() });
        if puts.len() == TRANSACTION_OPERATIONS_MAX || entries.peek().is_none() {
            etcd.write(&puts).await.map_err(ProviderError::InitialState)?;
            puts.clear();
        }
    }
    Ok(())
}

/// Waits until the API server reports that it is ready.
pub(super) async fn wait_api_server(
    api_server: &impl Awaited,
    client: &ApiClient,
    readiness: Readiness,
) -> Result<(), ProviderError> {
    let (path, poll_interval) = match readiness {
        Readiness::Early => (
            "/readyz?exclude=poststarthook/rbac/bootstrap-roles\
             &exclude=poststarthook/scheduling/bootstrap-system-priority-classes",
            EARLY_POLL_INTERVAL,
        ),
        Readiness::Full => ("/readyz", FULL_POLL_INTERVAL),
    };
    poll(api_server, API_SERVER_READY_TIMEOUT, poll_interval, || async move {
        match client.get(path).await {
            Ok(answer) if answer.status == http::StatusCode::OK => Ok(()),
            Ok(answer) => Err(format!("HTTP status {}", answer.status.as_u16())),
            Err(error) => Err(crate::error_text::with_causes(&error)),
        }
    })
    .await
}

/// Waits until a component beside the awaited one has ended, and returns the error to give up with.
pub(super) async fn wait_ended(component: &impl Awaited) -> ProviderError {
    let status = component.wait_ended().await;
    ended(component, status).await
}

async fn poll<Output, Answer: Future<Output = Result<Output, String>>>(
    awaited: &impl Awaited,
    timeout: Duration,
    interval: Duration,
    attempt: impl Fn() -> Answer,
) -> Result<Output, ProviderError> {
    let mut last_answer = "no answer".to_owned();
    let mut overdue = std::pin::pin!(tokio::time::sleep(timeout));
    let mut awaited_end = std::pin::pin!(awaited.wait_ended());
    loop {
        tokio::select! {
            biased;
            status = &mut awaited_end => return Err(ended(awaited, status).await),
            answer = attempt() => match answer {
                Ok(output) => return Ok(output),
                Err(answer) => last_answer = answer,
            },
            () = &mut overdue => {
                return Err(ProviderError::NotReady {
                    component: awaited.component(),
                    waited_seconds: timeout.as_secs(),
                    last_answer,
                    log: awaited.log().to_owned(),
                    log_tail: awaited.log_tail().await,
                });
            }
        }
        tokio::time::sleep(interval).await;
    }
}

async fn ended(component: &impl Awaited, status: String) -> ProviderError {
    ProviderError::Ended {
        component: component.component(),
        status,
        log: component.log().to_owned(),
        log_tail: component.log_tail().await,
    }
}

#[cfg(test)]
mod tests {
    use std::path::PathBuf;
    use std::sync::{Mutex, PoisonError};

    use super::*;

    #[derive(Default)]
    struct Component {
        end: Mutex<Option<String>>,
        log: PathBuf,
    }

    impl Component {
        fn end(&self, status: &str) {
            *self.end.lock().unwrap_or_else(PoisonError::into_inner) = Some(status.to_owned());
        }
    }

    impl Awaited for Component {
        fn component(&self) -> &'static str {
            "etcd"
        }

        fn log(&self) -> &Path {
            &self.log
        }

        fn ended(&self) -> Option<String> {
            self.end.lock().unwrap_or_else(PoisonError::into_inner).clone()
        }
    }

    async fn never() -> Result<(), String> {
        std::future::pending().await
    }

    #[tokio::test(start_paused = true)]
    async fn an_end_is_noticed_while_an_attempt_hangs() {
        let component = Component::default();
        let end = async {
            tokio::time::sleep(Duration::from_secs(1)).await;
            component.end("exit code 1");
        };
        let (waited, ()) = tokio::join!(poll(&component, ETCD_READY_TIMEOUT, ETCD_POLL_INTERVAL, never), end);
        let Err(ProviderError::Ended { component, status, .. }) = waited else { panic!("{waited:?}") };
        assert_eq!((component, status.as_str()), ("etcd", "exit code 1"));
    }

    #[tokio::test(start_paused = true)]
    async fn a_wait_is_over_in_time_whatever_its_last_attempt_does() {
        let component = Component::default();
        let attempts = Mutex::new(0);
        let attempt = || async {
            let number = {
                let mut attempts = attempts.lock().unwrap_or_else(PoisonError::into_inner);
                *attempts += 1;
                *attempts
            };
            if number < 3 { Err(format!("refused {number}")) } else { never().await }
        };
        let waited = poll(&component, ETCD_READY_TIMEOUT, ETCD_POLL_INTERVAL, attempt).await;
        let Err(ProviderError::NotReady { last_answer, .. }) = waited else { panic!("{waited:?}") };
        assert_eq!(last_answer, "refused 2");
    }

    #[tokio::test(start_paused = true)]
    async fn an_answer_counts_as_long_as_the_component_lives() {
        let component = Component::default();
        let answered = || async { Ok::<_, String>(7) };
        assert!(matches!(poll(&component, ETCD_READY_TIMEOUT, ETCD_POLL_INTERVAL, answered).await, Ok(7)));
        component.end("killed by signal 9");
        let waited = poll(&component, ETCD_READY_TIMEOUT, ETCD_POLL_INTERVAL, answered).await;
        assert!(matches!(waited, Err(ProviderError::Ended { .. })), "{waited:?}");
    }
}
