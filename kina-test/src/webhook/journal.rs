use std::collections::{HashSet, VecDeque};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use serde_json::Value;

use super::HandlerFailure;

const REQUESTS_KEPT: usize = 1000;
const BYTES_KEPT: usize = 64 << 20;
const FAILURES_KEPT: usize = 100;

/// A request of the API server, with its answer.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct WebhookRequest {
    /// The `request` of the review.
    pub request: Value,
    /// Its `response`.
    pub response: Value,
    /// The time the handler took.
    pub duration: Duration,
}

/// The requests, the failures, and the probes that arrived.
#[derive(Debug, Default)]
pub(super) struct Journal(Mutex<Entries>);

#[derive(Debug, Default)]
struct Entries {
    count: usize,
    requests: VecDeque<(WebhookRequest, usize)>,
    bytes: usize,
    failures: Vec<HandlerFailure>,
    probes: HashSet<String>,
}

impl WebhookRequest {
    /// Returns true if an admission webhook allowed the request, or a conversion webhook converted the objects.
    pub fn succeeded(&self) -> bool {
        self.response["allowed"] == true || self.response["result"]["status"] == "Success"
    }
}

impl Journal {
    pub(super) fn request_count(&self) -> usize {
        self.entries().count
    }

    pub(super) fn requests(&self) -> Vec<WebhookRequest> {
        self.entries().requests.iter().map(|(request, _)| request.clone()).collect()
    }

    pub(super) fn take_failures(&self) -> Vec<HandlerFailure> {
        std::mem::take(&mut self.entries().failures)
    }

    /// Records a request; `bytes` is its length, roughly the cost of keeping it.
    pub(super) fn add(&self, request: WebhookRequest, bytes: usize, failure: Option<HandlerFailure>) {
        let mut entries = self.entries();
        entries.count += 1;
        entries.bytes += bytes;
        entries.requests.push_back((request, bytes));
        while REQUESTS_KEPT < entries.requests.len() || (BYTES_KEPT < entries.bytes && 1 < entries.requests.len()) {
            let Some((_, bytes)) = entries.requests.pop_front() else { break };
            entries.bytes -= bytes;
        }
        if entries.failures.len() < FAILURES_KEPT {
            entries.failures.extend(failure);
        }
    }

    /// Records the arrival of a probe of this name.
    pub(super) fn probed(&self, name: &str) {
        self.entries().probes.insert(name.to_owned());
    }

    /// Returns true if the probe has arrived since the last call.
    pub(super) fn take_probe(&self, name: &str) -> bool {
        self.entries().probes.remove(name)
    }

    fn entries(&self) -> MutexGuard<'_, Entries> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn request(number: usize) -> WebhookRequest {
        WebhookRequest { request: number.into(), response: Value::Null, duration: Duration::ZERO }
    }

    #[test]
    fn the_latest_requests_are_kept_within_bounds() {
        let journal = Journal::default();
        for number in 0..REQUESTS_KEPT + 5 {
            journal.add(request(number), 1, None);
        }
        assert_eq!(journal.request_count(), REQUESTS_KEPT + 5);
        assert_eq!(journal.requests().len(), REQUESTS_KEPT);
        assert_eq!(journal.requests()[0].request, 5);
        for number in 0..3 {
            journal.add(request(number), BYTES_KEPT / 2 + 1, None);
        }
        assert_eq!(journal.requests().len(), 1, "two of them are too large to be kept both");
    }

    #[test]
    fn failures_are_reported_once_and_bounded() {
        let journal = Journal::default();
        let failure = HandlerFailure { request: "CREATE".to_owned(), cause: "panicked".to_owned() };
        for number in 0..FAILURES_KEPT + 1 {
            journal.add(request(number), 1, Some(failure.clone()));
        }
        assert_eq!(journal.take_failures().len(), FAILURES_KEPT);
        assert!(journal.take_failures().is_empty());
    }
}
