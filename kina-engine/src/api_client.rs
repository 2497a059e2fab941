//! The engine's own client of a cluster's API server, as its administrator.

use std::net::SocketAddr;
use std::time::Duration;

use http::header::{ACCEPT, CONTENT_TYPE, ETAG, HeaderName, IF_NONE_MATCH};
use http::{Method, StatusCode};
use serde_json::Value;

use crate::certificates::IssuedIdentity;
use crate::cluster_access::ClusterAccess;
use crate::loopback::CONNECT_TIMEOUT;
pub use crate::raw_client::{NoAnswer, NoClient};
use crate::raw_client::{RawClient, RequestContent};

/// The time limit of one request.
const REQUEST_TIMEOUT: Duration = Duration::from_secs(10);

/// Sends requests to one API server, as its administrator.
#[derive(Clone)]
pub struct ApiClient {
    client: RawClient,
}

/// An answer, whatever its status.
pub struct Answer {
    pub status: StatusCode,
    pub etag: Option<String>,
    pub body: Vec<u8>,
}

impl ApiClient {
    pub fn new(access: &ClusterAccess) -> Result<Self, NoClient> {
        Self::connecting_within(Some(CONNECT_TIMEOUT), access.api_address, &access.api_ca_pem, &access.admin)
    }

    /// A client through the gateway of a lease, so that no request reaches the cluster before it is proven or after the
    /// lease has ended.
    pub(crate) fn through_gateway(
        address: SocketAddr,
        ca_pem: &str,
        client: &IssuedIdentity,
    ) -> Result<Self, NoClient> {
        // A gateway is silent at no time, but many clients can wait in its queue.
        Self::connecting_within(None, address, ca_pem, client)
    }

    fn connecting_within(
        connect_timeout: Option<Duration>,
        address: SocketAddr,
        ca_pem: &str,
        identity: &IssuedIdentity,
    ) -> Result<Self, NoClient> {
        Ok(Self { client: RawClient::connecting_within(connect_timeout, address, ca_pem, Some(identity.into()))? })
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
        let content = RequestContent { headers, body: body.map(|body| body.to_string().into()).unwrap_or_default() };
        let answer = self.client.exchange(method, path, content, REQUEST_TIMEOUT).await?;
        let etag = answer.header(&ETAG).map(str::to_owned);
        Ok(Answer { status: answer.status, etag, body: answer.body })
    }
}
