//! The clients that make the requests.

use std::io::Read;

use anyhow::ensure;
use flate2::read::GzDecoder;
use http::header::{ACCEPT_ENCODING, CONTENT_ENCODING};
use http_body_util::BodyExt;
use k8s_openapi::api::core::v1::ConfigMap;
use kube::api::{Api, ListParams, ObjectList, Patch, PatchParams};
use kube::client::Body;

const NAMESPACE: &str = "default";
/// Label of the bench's own objects: the namespace may have ConfigMaps of the server's.
pub(super) const LABEL: &str = "kina-bench=crud";
/// The key that updates write.
pub(super) const SEQUENCE: &str = "sequence";

/// One of the clients that work at the same time, with a connection of its own.
#[derive(Clone)]
pub(super) struct Worker {
    client: kube::Client,
    pub(super) config_maps: Api<ConfigMap>,
}

impl Worker {
    /// One with this client.
    pub(super) fn new(client: kube::Client) -> Self {
        Self { config_maps: Api::namespaced(client.clone(), NAMESPACE), client }
    }

    /// Puts a number into a resource.
    pub(super) async fn update(&self, resource: usize, sequence: usize) -> anyhow::Result<()> {
        let patch = serde_json::json!({"data": {SEQUENCE: sequence.to_string()}});
        self.config_maps.patch(&name(resource), &PatchParams::default(), &Patch::Merge(patch)).await?;
        Ok(())
    }

    /// Reads all resources as a client does. Returns their number and the size of the answer on the wire.
    pub(super) async fn list(&self, compression: bool) -> anyhow::Result<(usize, usize)> {
        let path = kube::api::Request::new(format!("/api/v1/namespaces/{NAMESPACE}/configmaps"));
        let mut request = path.list(&ListParams::default().labels(LABEL))?;
        if compression {
            request.headers_mut().insert(ACCEPT_ENCODING, http::HeaderValue::from_static("gzip"));
        }
        let answer = self.client.send(request.map(Body::from)).await?;
        let is_compressed = answer.headers().get(CONTENT_ENCODING).is_some_and(|encoding| encoding == "gzip");
        ensure!(answer.status().is_success(), "the list was refused ({})", answer.status());
        let bytes = answer.into_body().collect().await?.to_bytes();
        let list: ObjectList<ConfigMap> = if is_compressed {
            let mut text = Vec::new();
            GzDecoder::new(&bytes[..]).read_to_end(&mut text)?;
            serde_json::from_slice(&text)?
        } else {
            serde_json::from_slice(&bytes)?
        };
        Ok((list.items.len(), bytes.len()))
    }
}

/// The name of the resource of this number.
pub(super) fn name(number: usize) -> String {
    format!("resource-{number:06}")
}
