use std::fmt;
use std::time::Duration;

use kina_engine::ProviderName;

/// A webhook could not be started or taken away, or its handler failed.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum WebhookError {
    /// The cluster cannot reach the test's process.
    #[error(
        "clusters of the provider `{provider}` have a loopback of their own, so they cannot call a webhook in this \
         process: run this test with provider = \"process\""
    )]
    OutOfReach {
        /// What the cluster is made of.
        provider: ProviderName,
    },
    /// A webhook without rules would never be asked.
    #[error("the webhook {name} has no rules, so it would never be asked: say what it is for, with `on` or `rule`")]
    NoRules {
        /// The webhook.
        name: String,
    },
    /// API servers wait for a webhook between one second and half a minute.
    #[error(
        "the handler of the webhook {name} cannot have {timeout:?}: an API server waits between one and thirty seconds, \
         and kina keeps one of them to say what happened"
    )]
    Timeout {
        /// The webhook.
        name: String,
        /// What was asked for.
        timeout: Duration,
    },
    /// No certificate or no TLS for it.
    #[error("setting up the webhook's TLS failed")]
    Tls(#[source] Box<dyn std::error::Error + Send + Sync>),
    /// No port on loopback.
    #[error("opening a loopback port for the webhook failed")]
    Listen(#[source] std::io::Error),
    /// The API server did not do what was asked.
    #[error("{action} {object} failed")]
    Api {
        /// What was tried.
        action: &'static str,
        /// With what.
        object: String,
        /// Its answer.
        #[source]
        source: Box<kube::Error>,
    },
    /// The API server took the registration and then never acted upon it.
    #[error(
        "{waited_seconds} s after {object} was changed the API server still does not act upon it; it answered last: \
         {last_answer}"
    )]
    NotNoticed {
        /// The registration.
        object: String,
        /// How long it was waited for.
        waited_seconds: u64,
        /// What it said to the last probe.
        last_answer: String,
    },
    /// The handler panicked, returned errors, or took too long.
    #[error("the handler of the webhook {name} failed{}", listed(failures))]
    Handler {
        /// The webhook.
        name: String,
        /// Each time.
        failures: Vec<HandlerFailure>,
    },
}

/// Once that a handler failed. The API server was told the same, and denied the request.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct HandlerFailure {
    /// What was asked, such as `CREATE configmaps default/settings`.
    pub request: String,
    /// What the handler did.
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
