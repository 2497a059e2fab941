use std::fmt;
use std::time::Duration;

use serde::de::DeserializeOwned;
use serde_json::{Map, Value, json};

use super::registration::{AdmissionKind, Registration};
use super::reviewer::{Handler, HandlerError};
use super::{HANDLER_TIMEOUT, Webhook, WebhookError};
use crate::Cluster;
use crate::kube_majors::main::k8s_openapi::api::admissionregistration::v1::RuleWithOperations;
use crate::kube_majors::main::kube::Resource;
use crate::kube_majors::main::kube::core::admission::{
    AdmissionRequest, AdmissionResponse, AdmissionReview, Operation,
};

/// The longest time that an API server waits for a webhook.
const API_SERVER_TIMEOUT_MAX: Duration = Duration::from_secs(30);

/// The builder of an admission webhook. From [`WebhookBuilder`](super::WebhookBuilder).
#[must_use = "nothing is served until `start`"]
pub struct AdmissionWebhookBuilder {
    cluster: Cluster,
    kind: AdmissionKind,
    name: String,
    rules: Vec<Value>,
    timeout: Duration,
    fields: Map<String, Value>,
}

/// The return type of an admission webhook's handler: a response, or a result with one. An error denies the request and
/// counts as a failure of the handler; a denial in a response does not.
pub trait AdmissionOutcome {
    /// As a result.
    fn into_result(self) -> Result<AdmissionResponse, Box<dyn std::error::Error + Send + Sync>>;
}

impl AdmissionWebhookBuilder {
    pub(super) fn new(cluster: Cluster, kind: AdmissionKind, name: &str) -> Self {
        let (rules, fields) = (Vec::new(), Map::new());
        Self { cluster, kind, name: name.to_owned(), rules, timeout: HANDLER_TIMEOUT, fields }
    }

    /// Registers the webhook for these operations on objects of this type. Can be called several times.
    pub fn on<K: Resource<DynamicType = ()>>(mut self, operations: impl IntoIterator<Item = Operation>) -> Self {
        self.rules.push(json!({
            "apiGroups": [K::group(&())],
            "apiVersions": [K::version(&())],
            "resources": [K::plural(&())],
            "operations": operations.into_iter().collect::<Vec<_>>(),
        }));
        self
    }

    /// Registers the webhook for this rule: subresources, say, or all resources of a group. Can be called several
    /// times.
    pub fn rule(mut self, rule: RuleWithOperations) -> Self {
        // A rule is plain data. The API server would report it as missing.
        self.rules.push(serde_json::to_value(rule).unwrap_or_default());
        self
    }

    /// The time limit of the handler, 10 s by default. After that the request is denied.
    pub fn timeout(mut self, timeout: Duration) -> Self {
        self.timeout = timeout;
        self
    }

    /// Sets any other field of the webhook in its registration, such as `matchConditions`, `objectSelector` or
    /// `reinvocationPolicy`. Without it, `failurePolicy` is `Fail` and `sideEffects` is `None`.
    pub fn field(mut self, name: &str, value: impl Into<Value>) -> Self {
        self.fields.insert(name.to_owned(), value.into());
        self
    }

    /// Serves and registers the webhook, and waits until the API server calls it.
    ///
    /// `K` is the type of the objects, or [`DynamicObject`](crate::kube::api::DynamicObject) for any.
    ///
    /// # Errors
    /// If the API server refuses the registration or does not act on it, or if the cluster cannot reach this process.
    ///
    /// # Panics
    /// Outside a tokio runtime.
    pub async fn start<K, Answer>(
        self,
        handler: impl Fn(AdmissionRequest<K>) -> Answer + Send + Sync + 'static,
    ) -> Result<Webhook, WebhookError>
    where
        K: Resource + DeserializeOwned + Send + 'static,
        Answer: Future<Output: AdmissionOutcome> + Send + 'static,
    {
        let Self { cluster, kind, name, rules, timeout, fields } = self;
        if rules.is_empty() {
            return Err(WebhookError::NoRules { name });
        }
        // The API server waits a little longer, so that it gets kina's error message.
        let api_server_seconds = timeout.as_secs() + 1 + u64::from(timeout.subsec_nanos() != 0);
        if timeout.is_zero() || API_SERVER_TIMEOUT_MAX.as_secs() < api_server_seconds {
            return Err(WebhookError::Timeout { name, timeout });
        }
        let mut webhook = json!({
            "name": name,
            "rules": rules,
            "admissionReviewVersions": ["v1"],
            "sideEffects": "None",
            "failurePolicy": "Fail",
            "timeoutSeconds": api_server_seconds,
        });
        for (field, value) in fields {
            webhook[field] = value;
        }
        super::start(&cluster, &name, timeout, erased(handler), async |server, reviewer| {
            let registration = Registration::admission(cluster.raw_client().clone(), kind, &name, server);
            registration.create_admission(webhook, reviewer).await?;
            Ok(registration)
        })
        .await
    }
}

impl AdmissionOutcome for AdmissionResponse {
    fn into_result(self) -> Result<AdmissionResponse, HandlerError> {
        Ok(self)
    }
}

impl<E: Into<HandlerError>> AdmissionOutcome for Result<AdmissionResponse, E> {
    fn into_result(self) -> Result<AdmissionResponse, HandlerError> {
        self.map_err(Into::into)
    }
}

impl fmt::Debug for AdmissionWebhookBuilder {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.debug_struct("AdmissionWebhookBuilder").field("name", &self.name).finish_non_exhaustive()
    }
}

fn erased<K, Answer>(handler: impl Fn(AdmissionRequest<K>) -> Answer + Send + Sync + 'static) -> Handler
where
    K: Resource + DeserializeOwned + Send + 'static,
    Answer: Future<Output: AdmissionOutcome> + Send + 'static,
{
    Box::new(move |review| {
        let request: Result<AdmissionRequest<K>, _> = serde_json::from_value::<AdmissionReview<K>>(review)
            .map_err(HandlerError::from)
            .and_then(|review| review.try_into().map_err(HandlerError::from));
        match request {
            Ok(request) => {
                let answer = handler(request);
                Box::pin(async move { Ok(serde_json::to_value(answer.await.into_result()?)?) })
            }
            Err(error) => {
                Box::pin(async move { Err(Unreadable { type_name: std::any::type_name::<K>(), source: error }.into()) })
            }
        }
    })
}

#[derive(Debug, thiserror::Error)]
#[error("was not called: the request's object cannot be read as {type_name}")]
struct Unreadable {
    type_name: &'static str,
    #[source]
    source: HandlerError,
}
