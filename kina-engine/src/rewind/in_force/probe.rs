//! Requests that would change something, asked as dry runs: their answers tell which rules are in force.

use http::StatusCode;
use serde_json::{Value, json};

use super::LABEL;
use crate::api_client::{Answer, ApiClient, NoAnswer};

/// No server lets it be deleted, and tests have no objects there.
pub(super) const NAMESPACE: &str = "kube-public";
/// The length of an answer's part in a message.
const EXCERPT_BYTES_MAX: usize = 400;

/// A dry run.
#[derive(Clone, Debug)]
pub(super) struct Probe {
    path: String,
    body: Value,
    /// True if an existing object is patched.
    is_patch: bool,
}

/// The meaning of an answer for a canary.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Sighting {
    /// It had its effect.
    Seen,
    /// It would have had its effect by then.
    Unseen,
    /// Another rule answered first.
    Hidden(String),
}

impl Probe {
    /// The same request of several kinds: a user's rules seldom stand before all of them. Rules for all resources do
    /// not match subresources, and rules for one scope do not match the other.
    pub(super) fn of_any_object(label: &str) -> Vec<Self> {
        let labels = json!({LABEL: label});
        let lease = json!({
            "apiVersion": "coordination.k8s.io/v1", "kind": "Lease",
            "metadata": {"name": "kina-canary", "labels": labels}, "spec": {},
        });
        let runtime_class = json!({
            "apiVersion": "node.k8s.io/v1", "kind": "RuntimeClass",
            "metadata": {"name": "kina-canary", "labels": labels}, "handler": "kina-canary",
        });
        vec![
            Self::create(&format!("/apis/coordination.k8s.io/v1/namespaces/{NAMESPACE}/leases"), lease),
            Self {
                path: format!("/api/v1/namespaces/{NAMESPACE}/status"),
                body: json!({"metadata": {"labels": labels}}),
                is_patch: true,
            },
            Self::create("/apis/node.k8s.io/v1/runtimeclasses", runtime_class),
        ]
    }

    /// The resources that a rule has to match to meet [`Self::of_any_object`].
    pub(super) fn any_object_rules() -> Value {
        let rule = |group: &str, operation: &str, resource: &str| {
            json!({
                "apiGroups": [group], "apiVersions": ["v1"], "operations": [operation], "resources": [resource],
                "scope": "*",
            })
        };
        json!([
            rule("coordination.k8s.io", "CREATE", "leases"),
            rule("", "UPDATE", "namespaces/status"),
            rule("node.k8s.io", "CREATE", "runtimeclasses"),
        ])
    }

    pub(super) fn create(path: &str, body: Value) -> Self {
        Self { path: path.to_owned(), body, is_patch: false }
    }

    pub(super) async fn ask(&self, api: &ApiClient) -> Result<Answer, NoAnswer> {
        let path = format!("{}?dryRun=All", self.path);
        match self.is_patch {
            true => api.merge(&path, &self.body).await,
            false => api.post(&path, &self.body).await,
        }
    }
}

/// Describes an answer for messages.
pub(super) fn describe(answer: &Answer) -> String {
    let text = match serde_json::from_slice::<Value>(&answer.body) {
        Ok(status) if status["message"].is_string() => status["message"].as_str().unwrap_or_default().to_owned(),
        _ => String::from_utf8_lossy(&answer.body).into_owned(),
    };
    let excerpt: String = text.trim().chars().take(EXCERPT_BYTES_MAX).collect();
    format!("HTTP status {}: {excerpt}", answer.status)
}

/// Judges an answer that an effective canary would have marked, regardless of later rules.
pub(super) fn sighting(answer: &Answer, mark: &str, unseen_mark: Option<&str>) -> Sighting {
    let text = String::from_utf8_lossy(&answer.body);
    if text.contains(mark) {
        return Sighting::Seen;
    }
    let is_unseen = match unseen_mark {
        Some(unseen_mark) => text.contains(unseen_mark),
        None => matches!(answer.status, StatusCode::OK | StatusCode::CREATED),
    };
    if is_unseen { Sighting::Unseen } else { Sighting::Hidden(describe(answer)) }
}
