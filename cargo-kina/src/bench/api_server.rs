//! Requests to the API servers that are measured.

use std::net::SocketAddr;
use std::pin::Pin;
use std::time::Duration;

use anyhow::{Context, bail, ensure};
use futures::Stream;
use http::Method;
use http::header::{CONTENT_TYPE, HeaderValue};
use kina_engine::{ClientCertificate, Lease, NoAnswer, RawAnswer, RawClient, RequestContent, client_of_lease};
use serde_json::Value;

use super::change::Change;

/// Time limit of one request, as for the client of a test.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(300);
const USER_AGENT: HeaderValue = HeaderValue::from_static("cargo-kina");
/// Bytes of a refusal that a message shows.
const REFUSAL_BYTES_SHOWN: usize = 500;

/// The events of a watch, each on a line. The watch is open until this is dropped.
pub type Events = Pin<Box<dyn Stream<Item = Result<Vec<u8>, NoAnswer>> + Send>>;

/// A client of an API server, or of the gateway in front of it.
#[derive(Clone, Debug)]
pub struct ApiServer(RawClient);

impl ApiServer {
    /// Connects with the first request.
    pub fn new(address: SocketAddr, ca_pem: &str, certificate_pem: &str, key_pem: &str) -> anyhow::Result<Self> {
        let certificate = ClientCertificate { certificate_pem, key_pem };
        Ok(Self(RawClient::new(address, ca_pem, Some(certificate))?.with_user_agent(USER_AGENT)))
    }

    /// A client of a lease's cluster, like that of a test.
    pub fn of_lease(lease: &Lease) -> Self {
        Self(client_of_lease(lease, USER_AGENT))
    }

    /// A client without a certificate.
    pub fn anonymous(address: SocketAddr, ca_pem: &str) -> anyhow::Result<Self> {
        Ok(Self(RawClient::new(address, ca_pem, None)?.with_user_agent(USER_AGENT)))
    }

    /// Returns the body of the answer to a GET.
    pub async fn get(&self, path: &str) -> anyhow::Result<Vec<u8>> {
        let answer = self.0.exchange(Method::GET, path, RequestContent::default(), ANSWER_TIMEOUT).await?;
        accepted(&Method::GET, path, &answer)?;
        Ok(answer.body)
    }

    /// Returns the number of objects in a list.
    pub async fn count(&self, path: &str) -> anyhow::Result<usize> {
        let list: Value =
            serde_json::from_slice(&self.get(path).await?).with_context(|| format!("{path} is no JSON"))?;
        Ok(list["items"].as_array().with_context(|| format!("{path} is no list"))?.len())
    }

    /// Makes a change.
    pub async fn send(&self, change: &Change) -> anyhow::Result<()> {
        let Change { method, path, object } = change;
        let body = object.as_ref().map(serde_json::to_vec).transpose()?.unwrap_or_default();
        let content = RequestContent { headers: &[(CONTENT_TYPE, change.content_type())], body };
        accepted(method, path, &self.0.exchange(method.clone(), path, content, ANSWER_TIMEOUT).await?)
    }

    /// Opens a watch.
    pub async fn watch(&self, path: &str) -> anyhow::Result<Events> {
        let (status, events) = self.0.lines(path, &[]).await?;
        ensure!(status.is_success(), "the watch {path} was answered by {status}");
        Ok(Box::pin(events))
    }
}

fn accepted(method: &Method, path: &str, answer: &RawAnswer) -> anyhow::Result<()> {
    if !answer.status.is_success() {
        let shown = &answer.body[..answer.body.len().min(REFUSAL_BYTES_SHOWN)];
        bail!("{method} {path} was answered by {}: {}", answer.status, String::from_utf8_lossy(shown));
    }
    Ok(())
}
