//! Webhooks that the test itself answers. They begin with [`Cluster::webhook`].

// - `admission`, `conversion`: what is served, and how a handler of it is called.
// - `registration`: telling the API server, and waiting until it has taken notice.
// - `server`: HTTP over TLS on a loopback port.
// - `reviewer`: from a request to the handler and back, whatever the handler does.
// - `journal`: what was asked, and what went wrong.

mod admission;
mod conversion;
mod error;
mod journal;
mod registration;
mod reviewer;
mod server;

use std::time::Duration;

pub use self::admission::{AdmissionOutcome, AdmissionWebhookBuilder};
pub use self::conversion::{ConversionOutcome, ConversionWebhookBuilder};
pub use self::error::{HandlerFailure, WebhookError};
pub use self::journal::WebhookRequest;
use self::registration::{AdmissionKind, Registration};
use self::reviewer::{Handler, Reviewer};
use self::server::Server;
use crate::Cluster;

/// How long a handler may take unless it is said otherwise: what API servers allow admission webhooks by default.
const HANDLER_TIMEOUT: Duration = Duration::from_secs(10);

/// Chooses what kind of webhook it shall be. From [`Cluster::webhook`].
#[derive(Debug)]
#[must_use = "nothing is served until `start`"]
pub struct WebhookBuilder {
    cluster: Cluster,
}

/// A webhook that is being served, by the test's own process.
///
/// When this is dropped nobody answers any more: what the API server would ask it fails, as where a webhook's pod is
/// gone. The registration goes with the lease, or with [`Webhook::stop`].
///
/// # Panics
/// When it is dropped while there are failures that neither [`Webhook::stop`] nor [`Webhook::failures`] has told, since
/// the API server has told the client under test only that something was denied. Not while a panic is under way.
#[derive(Debug)]
pub struct Webhook {
    name: String,
    reviewer: std::sync::Arc<Reviewer>,
    server: Server,
    registration: Registration,
}

impl Cluster {
    /// Serves an admission or conversion webhook from this test, over TLS with a certificate that the cluster trusts.
    ///
    /// When `start` returns, the API server asks it: no test races its own registration. The registration is taken away
    /// with the lease.
    ///
    /// ```rust,test_harness
    /// use k8s_openapi::api::core::v1::ConfigMap;
    /// use kina::kube::api::{Api, ObjectMeta, PostParams};
    /// use kina::kube::core::admission::{AdmissionRequest, AdmissionResponse, Operation};
    ///
    /// #[kina::test]
    /// async fn forbidden_names_are_denied(cluster: kina::Cluster) -> Result<(), Box<dyn std::error::Error>> {
    ///     let webhook = cluster
    ///         .webhook()
    ///         .validating("names.example.com")
    ///         .on::<ConfigMap>([Operation::Create])
    ///         .start(|request: AdmissionRequest<ConfigMap>| async move {
    ///             let response = AdmissionResponse::from(&request);
    ///             if request.name == "forbidden" { response.deny("not this name") } else { response }
    ///         })
    ///         .await?;
    ///
    ///     let config_maps: Api<ConfigMap> = Api::default_namespaced(cluster.client());
    ///     let named = |name: &str| ConfigMap {
    ///         metadata: ObjectMeta { name: Some(name.to_owned()), ..ObjectMeta::default() },
    ///         ..ConfigMap::default()
    ///     };
    ///     config_maps.create(&PostParams::default(), &named("allowed")).await?;
    ///     let error = config_maps.create(&PostParams::default(), &named("forbidden")).await.unwrap_err();
    ///     assert!(error.to_string().contains("not this name"));
    ///     assert_eq!(webhook.request_count(), 2);
    ///     webhook.stop().await?;
    ///     Ok(())
    /// }
    /// ```
    ///
    /// Handlers run on the runtime that called `start`. So a test that blocks its only thread is not answered by its
    /// own webhook, and the API server gives up on it after a while.
    pub fn webhook(&self) -> WebhookBuilder {
        WebhookBuilder { cluster: self.clone() }
    }
}

impl WebhookBuilder {
    /// A webhook that says yes or no to writes. Names have at least three parts, such as `names.example.com`; the
    /// `ValidatingWebhookConfiguration` and the webhook in it are called the same.
    pub fn validating(self, name: &str) -> AdmissionWebhookBuilder {
        AdmissionWebhookBuilder::new(self.cluster, AdmissionKind::Validating, name)
    }

    /// A webhook that may also change what is written ([`with_patch`]). Otherwise like [`Self::validating`].
    ///
    /// [`with_patch`]: kube::core::admission::AdmissionResponse::with_patch
    pub fn mutating(self, name: &str) -> AdmissionWebhookBuilder {
        AdmissionWebhookBuilder::new(self.cluster, AdmissionKind::Mutating, name)
    }

    /// A webhook that converts the custom resources of an established CustomResourceDefinition between its versions.
    /// The CRD's `spec.conversion` is set for it.
    pub fn conversion(self, custom_resource_definition: &str) -> ConversionWebhookBuilder {
        ConversionWebhookBuilder::new(self.cluster, custom_resource_definition)
    }
}

impl Webhook {
    /// Its name: that of the webhook configuration, or of the CustomResourceDefinition.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Where the API server reaches it.
    pub fn url(&self) -> &str {
        self.server.url()
    }

    /// The authority of its certificate, PEM: the `caBundle` of its registration.
    pub fn ca_pem(&self) -> &str {
        self.server.ca_pem()
    }

    /// How many requests there were so far.
    pub fn request_count(&self) -> usize {
        self.reviewer.journal().request_count()
    }

    /// The latest requests and what was answered, oldest first: up to a thousand, or 64 MiB of them.
    pub fn requests(&self) -> Vec<WebhookRequest> {
        self.reviewer.journal().requests()
    }

    /// What went wrong in the handler since this was last asked: panics, errors, answers that took too long.
    pub fn failures(&self) -> Vec<HandlerFailure> {
        self.reviewer.journal().take_failures()
    }

    /// Takes the registration away, waits until the API server has taken notice, and ends.
    ///
    /// What is registered when the lease ends goes with it. But then the API server has to be restarted, to be sure of
    /// it, which takes a second or more before the next test can have the cluster.
    ///
    /// # Errors
    /// If the handler failed since [`Self::failures`] was last asked, or if the API server does not forget it.
    pub async fn stop(self) -> Result<(), WebhookError> {
        let unregistered = self.registration.remove(&self.reviewer).await;
        let failures = self.failures();
        if !failures.is_empty() {
            return Err(WebhookError::Handler { name: self.name.clone(), failures });
        }
        unregistered
    }
}

impl Drop for Webhook {
    fn drop(&mut self) {
        let failures = self.failures();
        if !failures.is_empty() && !std::thread::panicking() {
            let error = WebhookError::Handler { name: self.name.clone(), failures };
            panic!("{error}");
        }
    }
}

/// Serves, then registers: from the first moment on there is an answer.
async fn start(
    cluster: &Cluster,
    name: &str,
    timeout: Duration,
    handler: Handler,
    register: impl AsyncFnOnce(&Server, &Reviewer) -> Result<Registration, WebhookError>,
) -> Result<Webhook, WebhookError> {
    let provider = cluster.provider();
    if !provider.shares_loopback() {
        return Err(WebhookError::OutOfReach { provider });
    }
    let reviewer = std::sync::Arc::new(Reviewer::new(name, timeout, handler));
    let server = Server::start(std::sync::Arc::clone(&reviewer)).await?;
    let registration = register(&server, &reviewer).await?;
    Ok(Webhook { name: name.to_owned(), reviewer, server, registration })
}
