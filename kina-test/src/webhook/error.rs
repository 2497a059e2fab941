use std::fmt;
use std::time::Duration;

use kina_engine::ProviderName;

use crate::ApiError;

/// A webhook could not be started or removed, or its handler failed.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum WebhookError {
    /// The cluster cannot reach the test's process.
    #[error(
        "clusters of the provider `{provider}` have a loopback of their own, so they cannot call a webhook in this \
         process: run this test with provider = \"process\""
    )]
    OutOfReach {
        /// The provider of the cluster.
        provider: ProviderName,
    },
    /// A webhook without rules would never be called.
    #[error("the webhook {name} has no rules, so it would never be called: add one with `on` or `rule`")]
    NoRules {
        /// The webhook.
        name: String,
    },
    /// API servers wait for a webhook between one second and thirty seconds.
    #[error(
        "the handler of the webhook {name} cannot have a time limit of {timeout:?}: an API server waits between one \
         and thirty seconds, and kina keeps one of them for its own error message"
    )]
    Timeout {
        /// The webhook.
        name: String,
        /// The requested time limit.
        timeout: Duration,
    },
    /// The certificate or the TLS setup failed.
    #[error("setting up the webhook's TLS failed")]
    Tls(#[source] Box<dyn std::error::Error + Send + Sync>),
    /// No loopback port could be opened.
    #[error("opening a loopback port for the webhook failed")]
    Listen(#[source] std::io::Error),
    /// The API server refused a request.
    #[error("{action} {object} failed")]
    Api {
        /// The action.
        action: &'static str,
        /// The object.
        object: String,
        /// The API server's answer.
        #[source]
        source: Box<ApiError>,
    },
    /// The API server accepted the registration but never acted on it.
    #[error(
        "{waited_seconds} s after {object} was changed the API server still does not act on it; its last answer was: \
         {last_answer}"
    )]
    NotNoticed {
        /// The registration.
        object: String,
        /// The time waited, in seconds.
        waited_seconds: u64,
        /// Its answer to the last probe.
        last_answer: String,
    },
    /// The handler panicked, returned errors, or took too long.
    #[error("the handler of the webhook {name} failed{}", listed(failures))]
    Handler {
        /// The webhook.
        name: String,
        /// Its failures.
        failures: Vec<HandlerFailure>,
    },
}

/// A failure of a handler. The API server got the same message, and denied the request.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct HandlerFailure {
    /// The request, such as `CREATE configmaps default/settings`.
    pub request: String,
    /// The handler's failure.
    pub cause: String,
}

impl fmt::Display for HandlerFailure {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "{}: {}", self.request, self.cause)
    }
}

fn listed(failures: &[HandlerFailure]) -> String {
    failures.iter().map(|failure| format!("\n  {failure}")).collect()
}
