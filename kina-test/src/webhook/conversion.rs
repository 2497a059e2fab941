use std::fmt;
use std::time::Duration;

use kube::core::conversion::{ConversionRequest, ConversionResponse, ConversionReview};
use serde_json::Value;

use super::registration::Registration;
use super::reviewer::{Handler, HandlerError};
use super::{HANDLER_TIMEOUT, Webhook, WebhookError};
use crate::Cluster;

/// A conversion webhook to be. From [`WebhookBuilder`](super::WebhookBuilder).
#[must_use = "nothing is served until `start`"]
pub struct ConversionWebhookBuilder {
    cluster: Cluster,
    custom_resource_definition: String,
}

/// What the handler of a conversion webhook may return: a response, or a result with one. An error is a failed
/// conversion, and a failure of the handler.
pub trait ConversionOutcome {
    /// As a result.
    fn into_result(self) -> Result<ConversionResponse, Box<dyn std::error::Error + Send + Sync>>;
}

impl ConversionWebhookBuilder {
    pub(super) fn new(cluster: Cluster, custom_resource_definition: &str) -> Self {
        Self { cluster, custom_resource_definition: custom_resource_definition.to_owned() }
    }

    /// Serves it, makes it the conversion of its CustomResourceDefinition, and waits until the API server acts upon
    /// that. To find out when, a printer column is added to the definition for a moment.
    ///
    /// # Errors
    /// If there is no such CustomResourceDefinition, or the API server does not act upon its change; and for a cluster
    /// that cannot reach this process.
    ///
    /// # Panics
    /// Outside a tokio runtime.
    pub async fn start<Answer>(
        self,
        handler: impl Fn(ConversionRequest) -> Answer + Send + Sync + 'static,
    ) -> Result<Webhook, WebhookError>
    where
        Answer: Future<Output: ConversionOutcome> + Send + 'static,
    {
        let Self { cluster, custom_resource_definition } = self;
        let timeout: Duration = HANDLER_TIMEOUT;
        super::start(&cluster, &custom_resource_definition, timeout, erased(handler), async |server, _| {
            Registration::create_conversion(cluster.client(), &custom_resource_definition, server).await
        })
        .await
    }
}

impl ConversionOutcome for ConversionResponse {
    fn into_result(self) -> Result<ConversionResponse, HandlerError> {
        Ok(self)
    }
}

impl<E: Into<HandlerError>> ConversionOutcome for Result<ConversionResponse, E> {
    fn into_result(self) -> Result<ConversionResponse, HandlerError> {
        self.map_err(Into::into)
    }
}

impl fmt::Debug for ConversionWebhookBuilder {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let name = &self.custom_resource_definition;
        formatter.debug_struct("ConversionWebhookBuilder").field("name", name).finish_non_exhaustive()
    }
}

fn erased<Answer>(handler: impl Fn(ConversionRequest) -> Answer + Send + Sync + 'static) -> Handler
where
    Answer: Future<Output: ConversionOutcome> + Send + 'static,
{
    Box::new(move |review: Value| {
        let request = serde_json::from_value::<ConversionReview>(review)
            .map_err(HandlerError::from)
            .and_then(|review| ConversionRequest::from_review(review).map_err(HandlerError::from));
        match request {
            Ok(request) => {
                let answer = handler(request);
                Box::pin(async move { Ok(serde_json::to_value(answer.await.into_result()?)?) })
            }
            Err(error) => Box::pin(async move { Err(error) }),
        }
    })
}
