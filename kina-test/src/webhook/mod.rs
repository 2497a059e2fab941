//! Webhooks that the test itself answers, starting with [`Cluster::webhook`].

// - `admission`, `conversion`: the two sorts of webhooks, and the calls of their handlers.
// - `registration`: registers a webhook with the API server, and waits until that takes effect.
// - `server`: HTTP over TLS on a loopback port.
// - `reviewer`: from a request to the handler and back, even if the handler fails.
// - `journal`: the requests and the failures.

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

/// The default time limit of a handler, the same as API servers' default for admission webhooks.
const HANDLER_TIMEOUT: Duration = Duration::from_secs(10);

/// Chooses the sort of webhook. From [`Cluster::webhook`].
#[derive(Debug)]
#[must_use = "nothing is served until `start`"]
pub struct WebhookBuilder {
    cluster: Cluster,
}

/// A webhook that the test's own process serves.
///
/// Once this is dropped, the webhook no longer answers: the API server's calls fail, as if a webhook's pod were gone.
/// The registration is removed at the end of the lease, or by [`Webhook::stop`].
///
/// # Panics
/// When it is dropped with failures that neither [`Webhook::stop`] nor [`Webhook::failures`] has reported, since the
/// client under test has only seen a denial. Not during another panic.
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
    /// When `start` returns, the API server calls the webhook: no test races its own registration. The registration is
    /// removed at the end of the lease.
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
    /// Handlers run on the runtime that called `start`. So a test that blocks its only thread also blocks its own
    /// webhook, until the API server's timeout.
    pub fn webhook(&self) -> WebhookBuilder {
        WebhookBuilder { cluster: self.clone() }
    }
}

impl WebhookBuilder {
    /// A webhook that allows or denies writes. Names have at least three parts, such as `names.example.com`; the
    /// `ValidatingWebhookConfiguration` and the webhook in it have the same name.
    pub fn validating(self, name: &str) -> AdmissionWebhookBuilder {
        AdmissionWebhookBuilder::new(self.cluster, AdmissionKind::Validating, name)
    }

    /// A webhook that may also change the written object ([`with_patch`]). Otherwise like [`Self::validating`].
    ///
    /// [`with_patch`]: crate::kube::core::admission::AdmissionResponse::with_patch
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
    /// The name of the webhook configuration, or of the CustomResourceDefinition.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// The URL at which the API server reaches it.
    pub fn url(&self) -> &str {
        self.server.url()
    }

    /// The CA of its certificate, PEM: the `caBundle` of its registration.
    pub fn ca_pem(&self) -> &str {
        self.server.ca_pem()
    }

    /// The number of requests so far.
    pub fn request_count(&self) -> usize {
        self.reviewer.journal().request_count()
    }

    /// The latest requests with their answers, oldest first: up to a thousand, or 64 MiB of them.
    pub fn requests(&self) -> Vec<WebhookRequest> {
        self.reviewer.journal().requests()
    }

    /// The failures of the handler since the last call: panics, errors, answers that took too long.
    pub fn failures(&self) -> Vec<HandlerFailure> {
        self.reviewer.journal().take_failures()
    }

    /// Removes the registration, waits until that takes effect, and stops serving.
    ///
    /// A registration that still exists at the end of the lease is removed with it. But then the API server has to be
    /// restarted, which delays the cluster's next lease by a second or more.
    ///
    /// # Errors
    /// If the handler has failed since the last call of [`Self::failures`], or if the API server keeps using the
    /// webhook.
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

/// Serves before registering, so that the first request gets an answer.
async fn start(
    cluster: &Cluster,
    name: &str,
    timeout: Duration,
    handler: Handler,
    register: impl AsyncFnOnce(&Server, &Reviewer) -> Result<Registration, WebhookError>,
) -> Result<Webhook, WebhookError> {
    if !cluster.shares_loopback() {
        return Err(WebhookError::OutOfReach { provider: cluster.provider() });
    }
    let reviewer = std::sync::Arc::new(Reviewer::new(name, timeout, handler));
    let server = Server::start(std::sync::Arc::clone(&reviewer)).await?;
    let registration = register(&server, &reviewer).await?;
    Ok(Webhook { name: name.to_owned(), reviewer, server, registration })
}
