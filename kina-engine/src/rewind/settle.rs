//! Waiting until everything in the API server that follows etcd has seen a rewind.

use std::collections::BTreeSet;
use std::time::{Duration, Instant};

use super::resource::{ApiPaths, StorageResource};
use super::{Fingerprint, RewindError};
use crate::api_client::{Answer, ApiClient};
use crate::sha256::Sha256;

const DISCOVERY_ACCEPT: &str = "application/json;g=apidiscovery.k8s.io;v=v2;as=APIGroupDiscoveryList";
/// Usually 10 to 25 ms, seen: 124 ms. After this the API server is restarted instead.
pub(super) const FOLLOW_TIMEOUT: Duration = Duration::from_secs(5);
/// Seen: 60 ms, on a busy machine.
pub(super) const FOLLOW_TIMEOUT_PER_DEFINITION: Duration = Duration::from_millis(600);
pub(super) const POLL_INTERVAL: Duration = Duration::from_millis(1);
const DISCOVERY_POLL_INTERVAL: Duration = Duration::from_millis(3);
/// The time without a change after which OpenAPI has followed, if its expected content is unknown.
const OPENAPI_QUIET: Duration = Duration::from_secs(3);
/// OpenAPI lags by 0.4 to 0.9 s; no lease waits for it.
pub(super) const OPENAPI_TIMEOUT: Duration = Duration::from_secs(20);
const OPENAPI_POLL_INTERVAL: Duration = Duration::from_millis(25);

/// The API's paths of each resource of an untouched cluster.
pub(super) async fn read_api_paths(client: &ApiClient) -> Result<ApiPaths, RewindError> {
    let mut documents = Vec::new();
    for path in ["/api", "/apis"] {
        let answer = client.get_accepting(path, DISCOVERY_ACCEPT).await?;
        let document = serde_json::from_slice(&answer.body)
            .map_err(|error| unexpected(path, format!("HTTP status {}, not discovery: {error}", answer.status)))?;
        documents.push(document);
    }
    Ok(ApiPaths::from_discovery(&documents))
}

/// The API server's discovery and OpenAPI now.
pub async fn read_fingerprint(client: &ApiClient) -> Result<Fingerprint, RewindError> {
    let (discovery_etag, openapi_index_hash) = (discovery_etag(client).await?, openapi_index_hash(client).await?);
    Ok(Fingerprint { discovery_etag, openapi_index_hash })
}

/// Waits until the watch cache of each resource is at `revision` or later.
///
/// A list "not older than" a revision (`resourceVersionMatch=NotOlderThan`, Kubernetes API concepts) is answered from
/// the watch cache, and only once that has reached it.
pub(super) async fn wait_caches(
    client: &ApiClient,
    api_paths: &ApiPaths,
    touched: &BTreeSet<StorageResource>,
    revision: i64,
) -> Result<(), RewindError> {
    // One after the other, on a connection that is open: together they would each open one, which takes longer.
    for path in touched.iter().filter_map(|resource| api_paths.list_path(resource)) {
        let path = format!("{path}?limit=1&resourceVersion={revision}&resourceVersionMatch=NotOlderThan");
        let answer = get_when_served(client, &path).await?;
        if answer.status != http::StatusCode::OK {
            return Err(unexpected(&path, format!("HTTP status {}", answer.status)));
        }
    }
    Ok(())
}

/// Asks for this path, and again while the API server is not ready for it: the storage of a kind that was defined anew,
/// or whose watch was cut off, is made anew. After a while that answer is returned as well.
pub(super) async fn get_when_served(client: &ApiClient, path: &str) -> Result<Answer, RewindError> {
    let start = Instant::now();
    loop {
        let answer = client.get(path).await?;
        if !is_made_anew(answer.status) || FOLLOW_TIMEOUT < start.elapsed() {
            return Ok(answer);
        }
        tokio::time::sleep(DISCOVERY_POLL_INTERVAL).await;
    }
}

/// Waits until discovery is as at the baseline. `definitions` is the number of CRDs that it has to learn or to forget,
/// one after the other.
pub(super) async fn wait_discovery(
    client: &ApiClient,
    fingerprint: &Fingerprint,
    definitions: usize,
) -> Result<(), RewindError> {
    let start = Instant::now();
    let timeout = FOLLOW_TIMEOUT + FOLLOW_TIMEOUT_PER_DEFINITION * u32::try_from(definitions).unwrap_or(u32::MAX);
    let mut last_etag = fingerprint.discovery_etag.clone();
    // An unchanged document is not sent again: it is long.
    loop {
        let answer = client.get_unless("/apis", DISCOVERY_ACCEPT, &last_etag).await?;
        if answer.status != http::StatusCode::NOT_MODIFIED {
            let status = answer.status;
            last_etag =
                answer.etag.ok_or_else(|| unexpected("/apis", format!("HTTP status {status} without an ETag")))?;
        }
        if last_etag == fingerprint.discovery_etag {
            return Ok(());
        }
        if timeout < start.elapsed() {
            return Err(RewindError::Lagging { what: "discovery".to_owned(), waited_ms: start.elapsed().as_millis() });
        }
        tokio::time::sleep(DISCOVERY_POLL_INTERVAL).await;
    }
}

/// Waits until OpenAPI is as at the baseline.
pub(super) async fn wait_openapi(client: &ApiClient, fingerprint: &Fingerprint) -> Result<(), RewindError> {
    poll("OpenAPI", OPENAPI_TIMEOUT, OPENAPI_POLL_INTERVAL, || async move {
        Ok(openapi_index_hash(client).await? == fingerprint.openapi_index_hash)
    })
    .await
}

/// Waits until OpenAPI has this hash, or has not changed for a while. Returns its hash.
pub(super) async fn wait_openapi_quiet(client: &ApiClient, expected_hash: &str) -> Result<String, RewindError> {
    let start = Instant::now();
    let mut last_hash = String::new();
    let mut quiet_since = Instant::now();
    loop {
        let index_hash = openapi_index_hash(client).await?;
        if index_hash != last_hash {
            quiet_since = Instant::now();
            last_hash = index_hash;
        }
        if last_hash == expected_hash || OPENAPI_QUIET < quiet_since.elapsed() {
            return Ok(last_hash);
        }
        if OPENAPI_TIMEOUT < start.elapsed() {
            return Err(RewindError::Lagging { what: "OpenAPI".to_owned(), waited_ms: start.elapsed().as_millis() });
        }
        tokio::time::sleep(OPENAPI_POLL_INTERVAL).await;
    }
}

/// Waits until each of these lists is served, and shows all writes until `revision`: a template's CRDs are served some
/// milliseconds after they are there.
pub(super) async fn wait_served(
    client: &ApiClient,
    paths: impl Iterator<Item = &str>,
    revision: i64,
) -> Result<(), RewindError> {
    for path in paths {
        let list = format!("{path}?limit=1&resourceVersion={revision}&resourceVersionMatch=NotOlderThan");
        let list = &list;
        poll(path, FOLLOW_TIMEOUT, DISCOVERY_POLL_INTERVAL, || async move {
            match client.get(list).await?.status {
                http::StatusCode::OK => Ok(true),
                http::StatusCode::NOT_FOUND | http::StatusCode::SERVICE_UNAVAILABLE => Ok(false),
                status if is_made_anew(status) => Ok(false),
                status => Err(unexpected(list, format!("HTTP status {status}"))),
            }
        })
        .await?;
    }
    Ok(())
}

pub(super) async fn discovery_etag(client: &ApiClient) -> Result<String, RewindError> {
    let answer = client.get_accepting("/apis", DISCOVERY_ACCEPT).await?;
    answer.etag.ok_or_else(|| unexpected("/apis", format!("HTTP status {} without an ETag", answer.status)))
}

async fn openapi_index_hash(client: &ApiClient) -> Result<String, RewindError> {
    let answer = client.get("/openapi/v3").await?;
    match answer.status {
        http::StatusCode::OK => Ok(crate::hex::encode(&Sha256::digest(&answer.body))),
        status => Err(unexpected("/openapi/v3", format!("HTTP status {status}"))),
    }
}

/// Asks until `what` has followed, up to a time limit.
pub(super) async fn poll<Answer: Future<Output = Result<bool, RewindError>>>(
    what: &str,
    timeout: Duration,
    interval: Duration,
    has_followed: impl Fn() -> Answer,
) -> Result<(), RewindError> {
    let start = Instant::now();
    while !has_followed().await? {
        if timeout < start.elapsed() {
            return Err(RewindError::Lagging { what: what.to_owned(), waited_ms: start.elapsed().as_millis() });
        }
        tokio::time::sleep(interval).await;
    }
    Ok(())
}

/// Returns true if the API server reports that the storage of a kind is being made anew.
fn is_made_anew(status: http::StatusCode) -> bool {
    matches!(status, http::StatusCode::TOO_MANY_REQUESTS | http::StatusCode::GATEWAY_TIMEOUT)
}

pub(super) fn unexpected(asked: &str, answered: String) -> RewindError {
    RewindError::Unexpected { asked: asked.to_owned(), answered }
}
