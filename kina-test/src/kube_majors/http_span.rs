//! The span of each request, with the name and the fields that kube's own clients give it.

use std::pin::Pin;
use std::task::{Context, Poll};

use http::{Request, Response};
use tower::Service;
use tracing::field::Empty;
use tracing::{Instrument, Span};

/// A client whose requests have a span.
#[derive(Clone, Debug)]
pub(crate) struct HttpSpan<S>(pub(crate) S);

impl<S, B, R> Service<Request<B>> for HttpSpan<S>
where
    S: Service<Request<B>, Response = Response<R>, Error: std::fmt::Display, Future: Send + 'static>,
{
    type Response = Response<R>;
    type Error = S::Error;
    type Future = Pin<Box<dyn Future<Output = Result<Response<R>, S::Error>> + Send>>;

    fn poll_ready(&mut self, context: &mut Context<'_>) -> Poll<Result<(), S::Error>> {
        self.0.poll_ready(context)
    }

    fn call(&mut self, request: Request<B>) -> Self::Future {
        let span = tracing::debug_span!(
            "HTTP",
            http.method = %request.method(),
            http.url = %request.uri(),
            http.status_code = Empty,
            otel.name = request.extensions().get::<&'static str>().unwrap_or(&"HTTP"),
            otel.kind = "client",
            otel.status_code = Empty,
        );
        let answering = span.in_scope(|| {
            tracing::debug!("requesting");
            self.0.call(request)
        });
        let answered = async move {
            let answered = answering.await;
            note(&Span::current(), &answered);
            answered
        };
        Box::pin(answered.instrument(span))
    }
}

fn note<R, E: std::fmt::Display>(span: &Span, answered: &Result<Response<R>, E>) {
    match answered {
        Ok(response) => {
            let status = response.status();
            span.record("http.status_code", status.as_u16());
            if status.is_client_error() || status.is_server_error() {
                span.record("otel.status_code", "ERROR");
            }
            if status.is_server_error() {
                tracing::error!("failed with status {status}");
            }
        }
        Err(error) => {
            span.record("otel.status_code", "ERROR");
            tracing::error!("failed with error {error}");
        }
    }
}
