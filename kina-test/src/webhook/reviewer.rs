use std::fmt;
use std::pin::Pin;
use std::sync::Arc;
use std::time::{Duration, Instant};

use serde_json::{Value, json};

use super::HandlerFailure;
use super::journal::{Journal, WebhookRequest};

/// The label that distinguishes a probe from a test's own objects.
pub(super) const PROBE_LABEL: &str = "kina.local/webhook-probe";

/// The error of a failed handler.
pub(super) type HandlerError = Box<dyn std::error::Error + Send + Sync>;

/// A handler with its types erased: from a review with a request to the response.
pub(super) type Handler =
    Box<dyn Fn(Value) -> Pin<Box<dyn Future<Output = Result<Value, HandlerError>> + Send>> + Send + Sync>;

/// Calls the handler, and answers in any case.
pub(super) struct Reviewer {
    name: String,
    timeout: Duration,
    handler: Arc<Handler>,
    journal: Journal,
}

impl Reviewer {
    pub(super) fn new(name: &str, timeout: Duration, handler: Handler) -> Self {
        Self { name: name.to_owned(), timeout, handler: Arc::new(handler), journal: Journal::default() }
    }

    pub(super) fn journal(&self) -> &Journal {
        &self.journal
    }

    /// The answer to a review of `bytes` bytes; `None` if the document is not a review.
    pub(super) async fn review(&self, mut review: Value, bytes: usize) -> Option<Value> {
        let request = review.get("request")?.clone();
        let uid = request["uid"].clone();
        let is_conversion = review["kind"] == "ConversionReview";
        let mut answer = json!({"apiVersion": review["apiVersion"].take(), "kind": review["kind"].take()});
        if let Some(probe) = request.pointer("/object/metadata/labels").and_then(|labels| labels.get(PROBE_LABEL)) {
            self.journal.probed(probe.as_str().unwrap_or_default());
            answer["response"] = json!({"uid": uid, "allowed": true});
            return Some(answer);
        }
        review["apiVersion"] = answer["apiVersion"].clone();
        review["kind"] = answer["kind"].clone();
        let start = Instant::now();
        let called = self.call(review).await;
        let duration = start.elapsed();
        let failure = called.as_ref().err().map(|cause| {
            let request = if is_conversion { conversion_text(&request) } else { admission_text(&request) };
            HandlerFailure { request, cause: cause.clone() }
        });
        let mut response = called.unwrap_or_else(|cause| {
            let message = format!("the handler of the webhook {} {cause}", self.name);
            let status = json!({"status": "Failure", "message": message, "code": 500});
            if is_conversion {
                json!({"result": status, "convertedObjects": []})
            } else {
                json!({"allowed": false, "status": status})
            }
        });
        // No answer counts without it, and a response that was not made from its request lacks it.
        response["uid"] = uid;
        answer["response"] = response.clone();
        self.journal.add(WebhookRequest { request, response, duration }, bytes, failure);
        Some(answer)
    }

    /// The handler's response, or a description of its failure.
    async fn call(&self, review: Value) -> Result<Value, String> {
        let handler = Arc::clone(&self.handler);
        // A task of its own, so that a panic ends only this call.
        let mut task = AbortedWhenDropped(tokio::spawn(async move { handler(review).await }));
        match tokio::time::timeout(self.timeout, &mut task.0).await {
            Ok(Ok(Ok(response))) => Ok(response),
            Ok(Ok(Err(error))) => Err(format!("returned an error: {}", kina_engine::with_causes(error.as_ref()))),
            Ok(Err(join_error)) => Err(match join_error.try_into_panic() {
                Ok(panic) => format!("panicked: {}", panic_text(panic.as_ref())),
                Err(_) => "was ended with its runtime".to_owned(),
            }),
            Err(_) => Err(format!("gave no answer within {:?}", self.timeout)),
        }
    }
}

impl fmt::Debug for Reviewer {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.debug_struct("Reviewer").field("name", &self.name).finish_non_exhaustive()
    }
}

struct AbortedWhenDropped<Output>(tokio::task::JoinHandle<Output>);

impl<Output> Drop for AbortedWhenDropped<Output> {
    fn drop(&mut self) {
        self.0.abort();
    }
}

fn panic_text(panic: &(dyn std::any::Any + Send)) -> String {
    let text = panic.downcast_ref::<&str>().map(|text| (*text).to_owned());
    text.or_else(|| panic.downcast_ref::<String>().cloned()).unwrap_or_else(|| "with no text".to_owned())
}

fn admission_text(request: &Value) -> String {
    let text = |pointer: &str| request.pointer(pointer).and_then(Value::as_str).unwrap_or_default();
    let separator = if text("/namespace").is_empty() { "" } else { "/" };
    let (operation, resource, namespace) = (text("/operation"), text("/resource/resource"), text("/namespace"));
    format!("{operation} {resource} {namespace}{separator}{}", text("/name"))
}

fn conversion_text(request: &Value) -> String {
    let count = request["objects"].as_array().map_or(0, Vec::len);
    format!("conversion of {count} objects to {}", request["desiredAPIVersion"].as_str().unwrap_or_default())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn reviewer(timeout: Duration, handler: Handler) -> Reviewer {
        Reviewer::new("names.example.com", timeout, handler)
    }

    fn review() -> Value {
        json!({
            "apiVersion": "admission.k8s.io/v1",
            "kind": "AdmissionReview",
            "request": {
                "uid": "1-2-3",
                "operation": "CREATE",
                "resource": {"resource": "configmaps"},
                "namespace": "default",
                "name": "settings",
            },
        })
    }

    async fn denial(reviewer: &Reviewer) -> String {
        let answer = reviewer.review(review(), 100).await.expect("a review is answered");
        assert_eq!(answer["kind"], "AdmissionReview");
        assert_eq!(answer["response"]["uid"], "1-2-3");
        assert_eq!(answer["response"]["allowed"], false);
        answer["response"]["status"]["message"].as_str().expect("a message").to_owned()
    }

    #[tokio::test]
    async fn a_panic_is_a_denial_and_is_reported() {
        let reviewer = reviewer(Duration::from_secs(60), Box::new(|_| Box::pin(async { panic!("on purpose {}", 1) })));
        assert_eq!(denial(&reviewer).await, "the handler of the webhook names.example.com panicked: on purpose 1");
        let failures = reviewer.journal().take_failures();
        assert_eq!(failures.len(), 1);
        assert_eq!(failures[0].to_string(), "CREATE configmaps default/settings: panicked: on purpose 1");
        assert_eq!(reviewer.journal().request_count(), 1);
    }

    #[tokio::test]
    async fn an_error_is_a_denial_with_its_causes() {
        let handler: Handler = Box::new(|_| Box::pin(async { Err(std::io::Error::other("no idea").into()) }));
        let text = denial(&reviewer(Duration::from_secs(60), handler)).await;
        assert_eq!(text, "the handler of the webhook names.example.com returned an error: no idea");
    }

    #[tokio::test]
    async fn a_handler_that_hangs_is_a_denial() {
        let handler: Handler = Box::new(|_| Box::pin(std::future::pending()));
        let text = denial(&reviewer(Duration::from_millis(5), handler)).await;
        assert_eq!(text, "the handler of the webhook names.example.com gave no answer within 5ms");
    }

    #[tokio::test]
    async fn a_failed_conversion_has_its_own_form() {
        let handler: Handler = Box::new(|_| Box::pin(async { Err("no such field".into()) }));
        let review = json!({
            "apiVersion": "apiextensions.k8s.io/v1",
            "kind": "ConversionReview",
            "request": {"uid": "7", "desiredAPIVersion": "example.com/v2", "objects": [{}, {}]},
        });
        let reviewer = reviewer(Duration::from_secs(60), handler);
        let answer = reviewer.review(review, 100).await.expect("a review is answered");
        assert_eq!(answer["response"]["result"]["status"], "Failure");
        assert_eq!(answer["response"]["convertedObjects"], json!([]));
        let failures = reviewer.journal().take_failures();
        assert_eq!(failures[0].request, "conversion of 2 objects to example.com/v2");
    }

    #[tokio::test]
    async fn probes_are_answered_without_the_handler() {
        let reviewer =
            reviewer(Duration::from_secs(60), Box::new(|_| Box::pin(async { Err("not to be asked".into()) })));
        let mut probe = review();
        probe["request"]["object"] = json!({"metadata": {"labels": {PROBE_LABEL: "x"}}});
        let answer = reviewer.review(probe, 100).await.expect("a review is answered");
        assert_eq!(answer["response"], json!({"uid": "1-2-3", "allowed": true}));
        assert_eq!(reviewer.journal().request_count(), 0);
        assert!(reviewer.journal().take_probe("x"));
        assert!(!reviewer.journal().take_probe("x"));
    }

    #[tokio::test]
    async fn a_document_that_is_not_a_review_gets_no_answer() {
        let reviewer = reviewer(Duration::from_secs(60), Box::new(|_| Box::pin(async { Ok(Value::Null) })));
        assert!(reviewer.review(json!({"kind": "AdmissionReview"}), 10).await.is_none());
        assert!(reviewer.review(json!([]), 10).await.is_none());
    }
}
