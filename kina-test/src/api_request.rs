//! kina's own requests to the API server of a test, in JSON.

use std::time::Duration;

use http::Method;
use http::header::{ACCEPT, CONTENT_TYPE};
use kina_engine::{RawAnswer, RawClient, RequestContent};
use serde_json::Value;

/// The default time limit. An API server ends requests other than watches after a minute.
const TIME_LIMIT: Duration = Duration::from_secs(90);
const JSON: &str = "application/json";
const MERGE_PATCH: &str = "application/merge-patch+json";
/// Characters that are shown of an answer that is no JSON.
const MESSAGE_CHARACTERS_MAX: usize = 300;

/// The reason that an API server did not do what kina asked for.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ApiError {
    /// The server refused.
    #[error("{message} ({}status {code})", if reason.is_empty() { String::new() } else { format!("{reason}, ") })]
    Refused {
        /// The status of HTTP.
        code: u16,
        /// The reason in one word, such as `NotFound`; empty if the server gave none.
        reason: String,
        /// The message for people.
        message: String,
    },
    /// The server gave no complete answer.
    #[error("the API server gave no answer")]
    NoAnswer(#[source] Box<dyn std::error::Error + Send + Sync>),
    /// The answer is no JSON.
    #[error("the answer to {request} cannot be read")]
    Unreadable {
        /// The request.
        request: String,
        /// The first part that cannot be read.
        #[source]
        source: serde_json::Error,
    },
}

/// A request that is sent with [`Self::send`].
#[derive(Debug)]
pub(crate) struct ApiRequest<'a> {
    method: Method,
    path: &'a str,
    accept: &'a str,
    body: Option<(&'static str, &'a Value)>,
    time_limit: Duration,
}

impl<'a> ApiRequest<'a> {
    pub(crate) fn get(path: &'a str) -> Self {
        Self { method: Method::GET, path, accept: JSON, body: None, time_limit: TIME_LIMIT }
    }

    pub(crate) fn delete(path: &'a str) -> Self {
        Self { method: Method::DELETE, ..Self::get(path) }
    }

    pub(crate) fn post(path: &'a str, object: &'a Value) -> Self {
        Self { method: Method::POST, body: Some((JSON, object)), ..Self::get(path) }
    }

    pub(crate) fn put(path: &'a str, object: &'a Value) -> Self {
        Self { method: Method::PUT, ..Self::post(path, object) }
    }

    /// A patch that is merged into an object (RFC 7386).
    pub(crate) fn merge(path: &'a str, patch: &'a Value) -> Self {
        Self { method: Method::PATCH, body: Some((MERGE_PATCH, patch)), ..Self::get(path) }
    }

    /// Asks for another form of the answer.
    pub(crate) fn accepting(self, accept: &'a str) -> Self {
        Self { accept, ..self }
    }

    pub(crate) fn within(self, time_limit: Duration) -> Self {
        Self { time_limit, ..self }
    }

    /// The request in a message.
    pub(crate) fn describe(&self) -> String {
        format!("{} {}", self.method, self.path)
    }

    pub(crate) async fn send(self, client: &RawClient) -> Result<Value, ApiError> {
        let described = self.describe();
        let mut headers = vec![(ACCEPT, self.accept)];
        let mut body = Vec::new();
        if let Some((content_type, value)) = self.body {
            headers.push((CONTENT_TYPE, content_type));
            body = value.to_string().into_bytes();
        }
        let content = RequestContent { headers: &headers, body };
        let answer = client.exchange(self.method, self.path, content, self.time_limit).await;
        let answer = answer.map_err(|error| ApiError::NoAnswer(Box::new(error)))?;
        if !answer.status.is_success() {
            return Err(ApiError::of_answer(&answer));
        }
        serde_json::from_slice(&answer.body).map_err(|source| ApiError::Unreadable { request: described, source })
    }
}

impl ApiError {
    /// Returns the status of HTTP, if the server refused.
    pub fn code(&self) -> Option<u16> {
        match self {
            Self::Refused { code, .. } => Some(*code),
            _ => None,
        }
    }

    /// The refusal in a `Status` of the API.
    pub(crate) fn of_status(status: &Value, code: u16) -> Self {
        let text = |field: &str| status[field].as_str().unwrap_or_default().to_owned();
        let code = status["code"].as_u64().and_then(|code| u16::try_from(code).ok()).unwrap_or(code);
        Self::Refused { code, reason: text("reason"), message: text("message") }
    }

    fn of_answer(answer: &RawAnswer) -> Self {
        let code = answer.status.as_u16();
        match serde_json::from_slice::<Value>(&answer.body) {
            Ok(status) if status["kind"] == "Status" => Self::of_status(&status, code),
            _ => {
                let text = String::from_utf8_lossy(&answer.body);
                let message = text.trim().chars().take(MESSAGE_CHARACTERS_MAX).collect();
                Self::Refused { code, reason: String::new(), message }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use http::{HeaderMap, StatusCode};

    use super::*;

    #[test]
    fn refusals_are_shown_with_all_that_the_server_says() {
        let refusal = |body: &str| {
            let status = StatusCode::NOT_FOUND;
            let error = ApiError::of_answer(&RawAnswer { status, headers: HeaderMap::new(), body: body.into() });
            assert_eq!(error.code(), Some(404));
            error.to_string()
        };
        let status = r#"{"kind":"Status","code":404,"reason":"NotFound","message":"pods \"web\" not found"}"#;
        assert_eq!(refusal(status), "pods \"web\" not found (NotFound, status 404)");
        assert_eq!(refusal("404 page not found\n"), "404 page not found (status 404)");
        assert_eq!(refusal(&"ü".repeat(1000)).chars().filter(|letter| *letter == 'ü').count(), MESSAGE_CHARACTERS_MAX);
    }
}
