//! Requests of one side of a pair, through the gateway of its lease: raw answers with their headers, no retries.

use std::time::{Duration, Instant};

use anyhow::{Context, bail};
use http::{HeaderMap, Method, Request};
use http_body_util::{BodyExt, Limited};
use kina::__private as kina_private;
use kina_engine::LeaseGrant;
use kube::client::Body;
use serde_json::Value;

/// The bound of each request to an API server that may have little of the processor, or be frozen for a while.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(30);
/// No answer that a pair asks for is larger.
const ANSWER_BYTES_MAX: usize = 16 << 20;
/// The bound of each wait for an effect.
const EFFECT_TIMEOUT: Duration = Duration::from_secs(30);
const EFFECT_INTERVAL: Duration = Duration::from_millis(5);
const JSON: &str = "application/json";
const MERGE_PATCH: &str = "application/merge-patch+json";

/// A client of an API server in JSON.
#[derive(Clone)]
pub(super) struct Api(kube::Client);

/// An answer, whatever its status.
pub(super) struct Answer {
    pub(super) status: u16,
    pub(super) headers: HeaderMap,
    body: Vec<u8>,
}

impl Api {
    /// Connects with the certificate of the lease.
    pub(super) fn of_lease(grant: &LeaseGrant) -> anyhow::Result<Self> {
        Self::connect(grant, kina_private::auth_info(&grant.client_certificate_pem, &grant.client_key_pem))
    }

    /// Connects with a token instead.
    pub(super) fn with_token(grant: &LeaseGrant, token: &str) -> anyhow::Result<Self> {
        let auth_info = kube::config::AuthInfo { token: Some(token.to_owned().into()), ..Default::default() };
        Self::connect(grant, auth_info)
    }

    fn connect(grant: &LeaseGrant, auth_info: kube::config::AuthInfo) -> anyhow::Result<Self> {
        let config = kina_private::config_at(grant.address, &grant.ca_pem, auth_info)?;
        Ok(Self(kube::Client::try_from(config)?))
    }

    pub(super) async fn get(&self, path: &str) -> anyhow::Result<Answer> {
        self.send(Method::GET, path, &[], None).await
    }

    /// Reads as another user; the lease's administrator may impersonate all.
    pub(super) async fn get_as(&self, user: &str, path: &str) -> anyhow::Result<Answer> {
        self.send(Method::GET, path, &[("impersonate-user", user)], None).await
    }

    pub(super) async fn post(&self, path: &str, object: &Value) -> anyhow::Result<Answer> {
        self.send(Method::POST, path, &[("content-type", JSON)], Some(object)).await
    }

    pub(super) async fn put(&self, path: &str, object: &Value) -> anyhow::Result<Answer> {
        self.send(Method::PUT, path, &[("content-type", JSON)], Some(object)).await
    }

    /// Changes the fields that the patch names (RFC 7396).
    pub(super) async fn merge(&self, path: &str, patch: &Value) -> anyhow::Result<Answer> {
        self.send(Method::PATCH, path, &[("content-type", MERGE_PATCH)], Some(patch)).await
    }

    pub(super) async fn delete(&self, path: &str) -> anyhow::Result<Answer> {
        self.send(Method::DELETE, path, &[], None).await
    }

    /// Makes an object, and returns it as it was stored.
    pub(super) async fn create(&self, path: &str, object: &Value) -> anyhow::Result<Value> {
        self.post(path, object).await?.expect_done(&format!("POST {path}"))
    }

    /// Reads an object that has to exist.
    pub(super) async fn read(&self, path: &str) -> anyhow::Result<Value> {
        self.get(path).await?.expect_done(&format!("GET {path}"))
    }

    pub(super) async fn send(
        &self,
        method: Method,
        path: &str,
        headers: &[(&str, &str)],
        body: Option<&Value>,
    ) -> anyhow::Result<Answer> {
        let asked = || format!("{method} {path}");
        let mut request = Request::builder().method(&method).uri(path);
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        let bytes = body.map(serde_json::to_vec).transpose()?.unwrap_or_default();
        let exchange = async {
            let (parts, body) = self.0.send(request.body(Body::from(bytes))?).await?.into_parts();
            let body = Limited::new(body, ANSWER_BYTES_MAX).collect().await;
            let body = body.map_err(|error| anyhow::anyhow!("reading the answer failed: {error}"))?.to_bytes().to_vec();
            anyhow::Ok(Answer { status: parts.status.as_u16(), headers: parts.headers, body })
        };
        tokio::time::timeout(ANSWER_TIMEOUT, exchange)
            .await
            .with_context(|| format!("{}: no answer within {} s", asked(), ANSWER_TIMEOUT.as_secs()))?
            .with_context(asked)
    }
}

impl Answer {
    pub(super) fn is_success(&self) -> bool {
        (200..300).contains(&self.status)
    }

    /// The body as JSON; null if it is none.
    pub(super) fn json(&self) -> Value {
        serde_json::from_slice(&self.body).unwrap_or_default()
    }

    pub(super) fn text(&self) -> String {
        String::from_utf8_lossy(&self.body).into_owned()
    }

    pub(super) fn header(&self, name: &str) -> Option<&str> {
        self.headers.get(name)?.to_str().ok()
    }

    /// Returns the object, or fails if the request did.
    pub(super) fn expect_done(&self, asked: &str) -> anyhow::Result<Value> {
        if !self.is_success() {
            bail!("{asked} was answered by {}: {}", self.status, self.text().trim());
        }
        Ok(self.json())
    }
}

/// Waits until a condition holds; an error names it.
pub(super) async fn wait_for(what: &str, mut is_so: impl AsyncFnMut() -> anyhow::Result<bool>) -> anyhow::Result<()> {
    let start = Instant::now();
    while !is_so().await? {
        if EFFECT_TIMEOUT < start.elapsed() {
            bail!("{what}: not within {} s", EFFECT_TIMEOUT.as_secs());
        }
        tokio::time::sleep(EFFECT_INTERVAL).await;
    }
    Ok(())
}
