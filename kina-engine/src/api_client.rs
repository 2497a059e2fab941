//! The engine's own client of a cluster's API server: raw requests, no retries.

use std::net::SocketAddr;
use std::time::Duration;

use http::header::{ACCEPT, CONTENT_TYPE, ETAG, HeaderName, IF_NONE_MATCH};
use http::{Method, Request, StatusCode};
use kube::client::Body;
use serde_json::Value;

use crate::certificates::IssuedIdentity;
use crate::cluster_access::ClusterAccess;

/// The time limit of one request.
const REQUEST_TIMEOUT: Duration = Duration::from_secs(10);
/// No answer to the engine's requests is larger.
const ANSWER_BYTES_MAX: usize = 64 << 20;

/// Sends requests to one API server, as its administrator.
#[derive(Clone)]
pub struct ApiClient {
    client: kube::Client,
}

/// An answer, whatever its status.
pub struct Answer {
    pub status: StatusCode,
    pub etag: Option<String>,
    pub body: Vec<u8>,
}

/// The client for an API server could not be made.
#[derive(Debug, thiserror::Error)]
#[error("making a client for the cluster failed")]
pub struct NoClient(#[source] Box<kube::Error>);

/// A request got no answer.
#[derive(Debug, thiserror::Error)]
#[error("{method} {path} got no answer")]
pub struct NoAnswer {
    method: Method,
    path: String,
    #[source]
    source: Box<dyn std::error::Error + Send + Sync>,
}

impl ApiClient {
    pub fn new(access: &ClusterAccess) -> Result<Self, NoClient> {
        Self::connect(access.api_address, &access.api_ca_pem, &access.admin.certificate_pem, &access.admin.key_pem)
    }

    /// A client through the gateway of a lease, so that no request reaches the cluster before it is proven or after the
    /// lease has ended.
    pub(crate) fn through_gateway(
        address: SocketAddr,
        ca_pem: &str,
        client: &IssuedIdentity,
    ) -> Result<Self, NoClient> {
        Self::connect(address, ca_pem, &client.certificate_pem, &client.key_pem)
    }

    fn connect(address: SocketAddr, ca_pem: &str, certificate_pem: &str, key_pem: &str) -> Result<Self, NoClient> {
        let config = crate::client::kube_config(address, ca_pem, crate::client::auth_info(certificate_pem, key_pem))
            .map_err(|error| NoClient(Box::new(kube::Error::Service(error.into()))))?;
        let client = kube::Client::try_from(config).map_err(|error| NoClient(Box::new(error)))?;
        Ok(Self { client })
    }

    pub async fn get(&self, path: &str) -> Result<Answer, NoAnswer> {
        self.send(Method::GET, path, &[], None).await
    }

    pub async fn get_accepting(&self, path: &str, accept: &str) -> Result<Answer, NoAnswer> {
        self.send(Method::GET, path, &[(ACCEPT, accept)], None).await
    }

    /// Gets the content unless it still has this `ETag`: then the answer is 304, without a body.
    pub async fn get_unless(&self, path: &str, accept: &str, etag: &str) -> Result<Answer, NoAnswer> {
        self.send(Method::GET, path, &[(ACCEPT, accept), (IF_NONE_MATCH, etag)], None).await
    }

    pub async fn post(&self, path: &str, body: &Value) -> Result<Answer, NoAnswer> {
        self.send(Method::POST, path, &[(CONTENT_TYPE, "application/json")], Some(body)).await
    }

    /// Changes the fields that the patch names (RFC 7396).
    pub async fn merge(&self, path: &str, patch: &Value) -> Result<Answer, NoAnswer> {
        self.send(Method::PATCH, path, &[(CONTENT_TYPE, "application/merge-patch+json")], Some(patch)).await
    }

    pub async fn delete(&self, path: &str) -> Result<Answer, NoAnswer> {
        self.send(Method::DELETE, path, &[], None).await
    }

    async fn send(
        &self,
        method: Method,
        path: &str,
        headers: &[(HeaderName, &str)],
        body: Option<&Value>,
    ) -> Result<Answer, NoAnswer> {
        let no_answer = |source: Box<dyn std::error::Error + Send + Sync>| NoAnswer {
            method: method.clone(),
            path: path.to_owned(),
            source,
        };
        let mut request = Request::builder().method(method.clone()).uri(path);
        for (name, value) in headers {
            request = request.header(name, *value);
        }
        let bytes = body.map(serde_json::to_vec).transpose().map_err(|error| no_answer(error.into()))?;
        let request = request.body(Body::from(bytes.unwrap_or_default())).map_err(|error| no_answer(error.into()))?;
        let exchange = async {
            let response = self.client.send(request).await?;
            let (parts, body) = response.into_parts();
            let etag = parts.headers.get(ETAG).and_then(|etag| etag.to_str().ok()).map(str::to_owned);
            let body = http_body_util::Limited::new(body, ANSWER_BYTES_MAX);
            let body = http_body_util::BodyExt::collect(body).await?.to_bytes().to_vec();
            Ok::<_, Box<dyn std::error::Error + Send + Sync>>(Answer { status: parts.status, etag, body })
        };
        match tokio::time::timeout(REQUEST_TIMEOUT, exchange).await {
            Ok(answer) => answer.map_err(no_answer),
            Err(elapsed) => Err(no_answer(elapsed.into())),
        }
    }
}
