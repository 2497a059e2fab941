use std::fmt;
use std::time::Duration;

use serde_json::Value;

use super::registration::Registration;
use super::reviewer::{Handler, HandlerError};
use super::{HANDLER_TIMEOUT, Webhook, WebhookError};
use crate::Cluster;
use crate::kube_majors::main::kube::core::conversion::{ConversionRequest, ConversionResponse, ConversionReview};

/// The builder of a conversion webhook. From [`WebhookBuilder`](super::WebhookBuilder).
#[must_use = "nothing is served until `start`"]
pub struct ConversionWebhookBuilder {
    cluster: Cluster,
    custom_resource_definition: String,
}

/// The return type of a conversion webhook's handler: a response, or a result with one. An error fails the conversion
/// and counts as a failure of the handler.
pub trait ConversionOutcome {
    /// As a result.
    fn into_result(self) -> Result<ConversionResponse, Box<dyn std::error::Error + Send + Sync>>;
}

impl ConversionWebhookBuilder {
    pub(super) fn new(cluster: Cluster, custom_resource_definition: &str) -> Self {
        Self { cluster, custom_resource_definition: custom_resource_definition.to_owned() }
    }

    /// Serves the webhook, sets it in its CustomResourceDefinition, and waits until the API server uses it. To detect
    /// this, kina briefly adds a printer column to the definition.
    ///
    /// # Errors
    /// If the CustomResourceDefinition does not exist, if the API server does not act on the change, or if the cluster
    /// cannot reach this process.
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
            Registration::create_conversion(cluster.raw_client().clone(), &custom_resource_definition, server).await
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
