//! Proof that admission has heard of all namespaces.
//!
//! The admission plugins ask an informer if a namespace exists and for its labels. It handles events in their order. So
//! a rewind that touched namespaces is followed by one more of them, the canary, which is being terminated. Nothing may
//! be created in it, and the plugin `NamespaceLifecycle` refuses at once if its informer knows the canary; if not, it
//! sleeps before it looks at storage. So an answer that takes less than that sleep proves that the informer has seen
//! everything before the canary. Nothing is created by asking, and the canary goes before hand-out.

use std::collections::BTreeSet;
use std::time::{Duration, Instant};

use serde_json::json;

use super::resource::StorageResource;
use super::settle::{self, FOLLOW_TIMEOUT, POLL_INTERVAL};
use super::{PREFIX, RewindError};
use crate::api_client::ApiClient;
use crate::etcd::WriteOperation;
use crate::sabotage::{self, Part};

const RESOURCE: &str = "namespaces";
/// The time that the plugin sleeps if its informer does not know a namespace (`missingNamespaceWait`).
const MISSING_NAMESPACE_WAIT: Duration = Duration::from_millis(50);

/// A namespace that is known only if all before it are.
pub(super) struct NamespaceCanary {
    name: String,
}

impl NamespaceCanary {
    /// The canary for a rewind of these resources. `id` differs each time.
    pub(super) fn of_touched(touched: &BTreeSet<StorageResource>, id: &str) -> Option<Self> {
        let is_needed =
            touched.iter().any(|resource| resource.as_str() == RESOURCE) && !sabotage::is_off(Part::Informers);
        is_needed.then(|| Self { name: format!("kina-canary-{id}") })
    }

    /// The write that sets it out.
    pub(super) fn put(&self) -> WriteOperation {
        let namespace = json!({
            "apiVersion": "v1",
            "kind": "Namespace",
            "metadata": {"name": self.name, "uid": self.name, "creationTimestamp": "2020-01-01T00:00:00Z"},
            "status": {"phase": "Terminating"},
        });
        // The API server reads JSON from storage as well as its own encoding.
        WriteOperation::Put { key: self.key(), value: namespace.to_string().into_bytes() }
    }

    /// The write that takes it away.
    pub(super) fn deletion(&self) -> WriteOperation {
        WriteOperation::Delete { key: self.key() }
    }

    /// Waits until admission knows it.
    pub(super) async fn wait(&self, api: &ApiClient) -> Result<(), RewindError> {
        let path = format!("/api/v1/namespaces/{}/configmaps?dryRun=All", self.name);
        let config_map = json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": self.name}});
        let (path, config_map) = (path.as_str(), &config_map);
        settle::poll("admission to namespaces", FOLLOW_TIMEOUT, POLL_INTERVAL, || async move {
            let start = Instant::now();
            let answer = api.post(path, config_map).await?;
            match answer.status {
                http::StatusCode::FORBIDDEN => Ok(start.elapsed() < MISSING_NAMESPACE_WAIT),
                status => Err(settle::unexpected(path, format!("HTTP status {status}"))),
            }
        })
        .await
    }

    fn key(&self) -> Vec<u8> {
        [PREFIX, format!("{RESOURCE}/{}", self.name).as_bytes()].concat()
    }
}
