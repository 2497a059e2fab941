use std::net::SocketAddr;
use std::time::Duration;

use http::uri::PathAndQuery;
use tonic::transport::{Certificate, Channel, ClientTlsConfig, Endpoint, Identity};

use super::messages::{
    CompactionRequest, CompactionResponse, DeleteRangeRequest, PutRequest, RangeRequest, RangeResponse, RequestOp,
    StatusRequest, StatusResponse, TxnRequest, TxnResponse, request_op,
};
use super::packed::PackedKeys;
use super::{REQUEST_BYTES_MAX, TRANSACTION_OPERATIONS_MAX};
use crate::certificates::IssuedIdentity;
use crate::loopback::CONNECT_TIMEOUT;

/// The time after which a call to etcd counts as failed.
const CALL_TIMEOUT: Duration = Duration::from_secs(10);
/// Keys of one page when only keys are read: about 1.5 MB at the length of usual keys.
const KEYS_PER_PAGE_MAX: i64 = 10_000;
/// Keys of one page when values are read as well. The first page has as many, whatever their size.
const VALUES_PER_PAGE_MAX: i64 = 128;
/// The bytes that a page of values has, if its values are as large as those of the page before.
const PAGE_BYTES: usize = 4 << 20;
/// Keys that one transaction writes. All its events share a revision, and reach each watcher in one message.
pub const TRANSACTION_KEYS_MAX: usize = 2048;
/// Values can be 1.5 MB each, so a page of values can be large. gRPC's own default of 4 MB is too small.
const MESSAGE_BYTES_MAX: usize = 1 << 30;

/// A connection to the etcd of one cluster, over mutual TLS.
#[derive(Clone, Debug)]
pub struct EtcdClient {
    channel: Channel,
}

/// A key without its value.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct KeyHead<'a> {
    /// The whole key, prefix included.
    pub key: &'a [u8],
    /// The store's revision at which the key was last written.
    pub mod_revision: i64,
}

/// A key with its value.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StoredKey {
    /// The whole key, prefix included.
    pub key: Vec<u8>,
    /// The stored value, as the API server encoded it.
    pub value: Vec<u8>,
    /// The store's revision at which the key was last written.
    pub mod_revision: i64,
    /// The etcd lease the key lives on, 0 for none. Keys on a lease vanish by themselves.
    pub lease: i64,
}

/// The keys under a prefix, at one revision.
#[derive(Clone, Debug, Default)]
pub struct KeyListing {
    keys: PackedKeys,
    mod_revisions: Vec<i64>,
    /// The number of keys under the prefix, including those that a filter left out.
    pub key_count: i64,
    /// The store's revision at which this was read.
    pub revision: i64,
}

/// Keys and values, page by page.
#[derive(Debug)]
pub struct Pages<'a> {
    etcd: &'a EtcdClient,
    /// The request for the next page, if there is one.
    request: Option<RangeRequest>,
    revision: i64,
}

/// One write of a transaction.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum WriteOperation {
    /// Writes a key.
    Put {
        /// The whole key.
        key: Vec<u8>,
        /// The value to store.
        value: Vec<u8>,
    },
    /// Removes a key; no error if it does not exist.
    Delete {
        /// The whole key.
        key: Vec<u8>,
    },
    /// Removes all existing keys from the first to the last, both included.
    DeleteRange {
        /// The first key.
        key: Vec<u8>,
        /// The last key.
        last_key: Vec<u8>,
        /// The approximate number of these keys.
        key_count: usize,
    },
}

/// A failed call to etcd.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum EtcdError {
    /// No connection could be made.
    #[error("connecting to etcd at {address} failed")]
    Connect {
        /// The address that was tried.
        address: SocketAddr,
        /// The transport's own error.
        #[source]
        source: tonic::transport::Error,
    },
    /// A call was answered with an error, or not in time.
    #[error("the etcd call {call} failed")]
    Call {
        /// The gRPC method.
        call: &'static str,
        /// etcd's answer.
        #[source]
        source: Box<tonic::Status>,
    },
}

impl EtcdClient {
    /// Connects to the etcd at `address`, trusting `ca_pem`, as `identity`.
    pub async fn connect(address: SocketAddr, ca_pem: &str, identity: &IssuedIdentity) -> Result<Self, EtcdError> {
        let connect_error = |source| EtcdError::Connect { address, source };
        let tls = ClientTlsConfig::new()
            .ca_certificate(Certificate::from_pem(ca_pem))
            .identity(Identity::from_pem(&identity.certificate_pem, &identity.key_pem))
            .domain_name("localhost");
        let endpoint = Endpoint::from_shared(format!("https://{address}"))
            .map_err(connect_error)?
            .connect_timeout(CONNECT_TIMEOUT)
            .timeout(CALL_TIMEOUT)
            .tcp_nodelay(true)
            .initial_stream_window_size(4 << 20)
            .initial_connection_window_size(8 << 20)
            .tls_config(tls)
            .map_err(connect_error)?;
        Ok(Self { channel: endpoint.connect().await.map_err(connect_error)? })
    }

    /// Lists all keys under `prefix`, without values, at one revision.
    pub async fn list_heads(&self, prefix: &[u8]) -> Result<KeyListing, EtcdError> {
        self.list_changed_heads(prefix, 0).await
    }

    /// Lists the keys under `prefix` last written at `revision_min` or later. `key_count` still counts all keys, so
    /// that it reveals deletions, which no revision of a remaining key shows.
    pub async fn list_changed_heads(&self, prefix: &[u8], revision_min: i64) -> Result<KeyListing, EtcdError> {
        let mut listing = KeyListing::default();
        let mut request = prefix_request(prefix, KEYS_PER_PAGE_MAX);
        request.keys_only = true;
        request.min_mod_revision = revision_min;
        loop {
            let page = self.range(request.clone()).await?;
            if listing.revision == 0 {
                listing.revision = page.revision();
                listing.key_count = page.count;
                request.revision = listing.revision;
            }
            let Some(last) = page.kvs.last() else { return Ok(listing) };
            request.key = key_after(&last.key);
            page.kvs.iter().for_each(|kv| listing.push(&kv.key, kv.mod_revision));
            // With a filter, a page can be short although keys remain, so only `more` counts.
            if !page.more {
                return Ok(listing);
            }
        }
    }

    /// Reads all keys under `prefix` with their values, and the revision at which they were read.
    pub async fn read_all(&self, prefix: &[u8]) -> Result<(Vec<StoredKey>, i64), EtcdError> {
        let mut stored_keys = Vec::new();
        let mut pages = self.pages(prefix);
        while let Some(page) = pages.next().await? {
            stored_keys.extend(page);
        }
        Ok((stored_keys, pages.revision()))
    }

    /// Reads all keys under `prefix` with their values, at one revision, page by page.
    pub fn pages(&self, prefix: &[u8]) -> Pages<'_> {
        Pages { etcd: self, request: Some(prefix_request(prefix, VALUES_PER_PAGE_MAX)), revision: 0 }
    }

    /// The revision of the store, which every write raises.
    pub async fn revision(&self) -> Result<i64, EtcdError> {
        // No key has this name. The answer to any read has the revision.
        let request = RangeRequest { key: b"kina".to_vec(), keys_only: true, ..RangeRequest::default() };
        Ok(self.range(request).await?.revision())
    }

    /// Returns true if `key` exists.
    pub async fn exists(&self, key: &[u8]) -> Result<bool, EtcdError> {
        let request = RangeRequest { key: key.to_vec(), keys_only: true, ..RangeRequest::default() };
        Ok(0 < self.range(request).await?.count)
    }

    /// The revision at which `key` was created, if it exists.
    pub async fn creation_revision(&self, key: &[u8]) -> Result<Option<i64>, EtcdError> {
        let request = RangeRequest { key: key.to_vec(), keys_only: true, ..RangeRequest::default() };
        Ok(self.range(request).await?.kvs.first().map(|kv| kv.create_revision))
    }

    /// Carries out all `operations` in order, in as few transactions as etcd's limits allow. Returns for each
    /// transaction the number of its operations and its revision, which is the `mod_revision` of every key it put.
    pub async fn write(&self, operations: &[WriteOperation]) -> Result<Vec<(usize, i64)>, EtcdError> {
        let mut transactions = Vec::new();
        let mut rest = operations;
        while !rest.is_empty() {
            let batch;
            (batch, rest) = rest.split_at(batch_length(rest));
            transactions.push((batch.len(), self.write_transaction(batch).await?));
        }
        Ok(transactions)
    }

    /// Lets the store drop values that were overwritten or removed before `revision`.
    pub async fn compact(&self, revision: i64) -> Result<(), EtcdError> {
        let request = CompactionRequest { revision };
        let _: CompactionResponse = self.call("Compact", "/etcdserverpb.KV/Compact", request).await?;
        Ok(())
    }

    /// The size of the database file, in bytes. Compaction makes room in it, but does not shrink the file.
    pub async fn database_bytes(&self) -> Result<u64, EtcdError> {
        let status: StatusResponse = self.call("Status", "/etcdserverpb.Maintenance/Status", StatusRequest {}).await?;
        Ok(u64::try_from(status.db_size).unwrap_or_default())
    }

    async fn write_transaction(&self, operations: &[WriteOperation]) -> Result<i64, EtcdError> {
        let success = operations.iter().map(WriteOperation::to_request).collect();
        let response: TxnResponse = self.call("Txn", "/etcdserverpb.KV/Txn", TxnRequest { success }).await?;
        Ok(response.header.map_or(0, |header| header.revision))
    }

    async fn range(&self, mut request: RangeRequest) -> Result<RangeResponse, EtcdError> {
        // These clusters have one member, so its applied state is complete: it contains every write that was answered.
        // A linearizable read would only add a round of leader confirmation.
        request.serializable = true;
        self.call("Range", "/etcdserverpb.KV/Range", request).await
    }

    async fn call<Request, Response>(
        &self,
        call: &'static str,
        path: &'static str,
        request: Request,
    ) -> Result<Response, EtcdError>
    where
        Request: prost::Message + Clone + 'static,
        Response: prost::Message + Default + 'static,
    {
        let call_error = |source: tonic::Status| EtcdError::Call { call, source: Box::new(source) };
        let mut grpc = tonic::client::Grpc::new(self.channel.clone())
            .max_decoding_message_size(MESSAGE_BYTES_MAX)
            .max_encoding_message_size(MESSAGE_BYTES_MAX);
        grpc.ready()
            .await
            .map_err(|source| call_error(tonic::Status::unavailable(format!("the connection is gone: {source}"))))?;
        let codec = tonic_prost::ProstCodec::<Request, Response>::default();
        let path = PathAndQuery::from_static(path);
        let response = grpc.unary(tonic::Request::new(request), path, codec).await.map_err(call_error)?;
        Ok(response.into_inner())
    }
}

impl KeyListing {
    /// Appends a head.
    pub fn push(&mut self, key: &[u8], mod_revision: i64) {
        self.keys.push(key);
        self.mod_revisions.push(mod_revision);
    }

    /// The listed heads, sorted by key.
    pub fn heads(&self) -> impl Iterator<Item = KeyHead<'_>> {
        let heads = self.keys.iter().zip(&self.mod_revisions);
        heads.map(|(key, mod_revision)| KeyHead { key, mod_revision: *mod_revision })
    }

    /// Returns true if this key is listed.
    pub fn contains(&self, key: &[u8]) -> bool {
        self.keys.find(key).is_some()
    }
}

impl Pages<'_> {
    /// Reads the next page; `None` after the last one.
    ///
    /// # Errors
    /// If etcd does not answer; the next call asks again.
    pub async fn next(&mut self) -> Result<Option<Vec<StoredKey>>, EtcdError> {
        let Some(request) = &mut self.request else { return Ok(None) };
        let page = self.etcd.range(request.clone()).await?;
        if self.revision == 0 {
            self.revision = page.revision();
            request.revision = self.revision;
        }
        let value_bytes = page.kvs.iter().map(|kv| kv.value.len()).sum();
        match page.kvs.last() {
            Some(last) if page.more => {
                request.key = key_after(&last.key);
                request.limit = keys_of_next_page(page.kvs.len(), value_bytes);
            }
            _ => self.request = None,
        }
        let stored_keys = page.kvs.into_iter().map(|kv| StoredKey {
            key: kv.key.to_vec(),
            value: kv.value.to_vec(),
            mod_revision: kv.mod_revision,
            lease: kv.lease,
        });
        Ok(Some(stored_keys.collect()))
    }

    /// The revision at which the pages are read; 0 before the first page.
    pub fn revision(&self) -> i64 {
        self.revision
    }
}

impl WriteOperation {
    /// The key it writes, or the first of several.
    pub fn key(&self) -> &[u8] {
        match self {
            Self::Put { key, .. } | Self::Delete { key } | Self::DeleteRange { key, .. } => key,
        }
    }

    /// The approximate number of bytes that this takes in a request.
    pub fn size_bytes(&self) -> usize {
        match self {
            Self::Put { key, value } => key.len() + value.len() + 16,
            Self::Delete { key } => key.len() + 16,
            Self::DeleteRange { key, last_key, .. } => key.len() + last_key.len() + 16,
        }
    }

    /// The approximate number of keys that it writes.
    pub fn key_count(&self) -> usize {
        match self {
            Self::Put { .. } | Self::Delete { .. } => 1,
            Self::DeleteRange { key_count, .. } => *key_count,
        }
    }

    fn to_request(&self) -> RequestOp {
        let request = match self {
            Self::Put { key, value } => request_op::Request::Put(PutRequest { key: key.clone(), value: value.clone() }),
            Self::Delete { key } => {
                request_op::Request::DeleteRange(DeleteRangeRequest { key: key.clone(), range_end: Vec::new() })
            }
            Self::DeleteRange { key, last_key, .. } => {
                let range_end = key_after(last_key);
                request_op::Request::DeleteRange(DeleteRangeRequest { key: key.clone(), range_end })
            }
        };
        RequestOp { request: Some(request) }
    }
}

impl RangeResponse {
    fn revision(&self) -> i64 {
        self.header.as_ref().map_or(0, |header| header.revision)
    }
}

/// The number of `operations` that fit into one transaction; at least one, even if that one is too large, so that etcd
/// reports the error.
fn batch_length(operations: &[WriteOperation]) -> usize {
    let (mut size_bytes, mut keys) = (0, 0);
    let fits = |operation: &&WriteOperation| {
        size_bytes += operation.size_bytes();
        keys += operation.key_count();
        // Half of the limit: the request's overhead for each operation is only estimated.
        size_bytes <= REQUEST_BYTES_MAX / 2 && keys <= TRANSACTION_KEYS_MAX
    };
    operations.iter().take(TRANSACTION_OPERATIONS_MAX).take_while(fits).count().max(1)
}

/// Returns the number of keys that a page may have after one with so many keys and bytes.
fn keys_of_next_page(keys: usize, value_bytes: usize) -> i64 {
    let fitting = keys.saturating_mul(PAGE_BYTES) / value_bytes.max(1);
    i64::try_from(fitting).unwrap_or(VALUES_PER_PAGE_MAX).clamp(1, VALUES_PER_PAGE_MAX)
}

fn prefix_request(prefix: &[u8], limit: i64) -> RangeRequest {
    RangeRequest { key: prefix.to_vec(), range_end: prefix_end(prefix), limit, ..RangeRequest::default() }
}

/// The first key after all keys that start with `prefix`.
fn prefix_end(prefix: &[u8]) -> Vec<u8> {
    let mut end = prefix.to_vec();
    while let Some(last) = end.pop() {
        if last < u8::MAX {
            end.push(last + 1);
            return end;
        }
    }
    // etcd takes a range end of one zero byte as "to the end of the store".
    vec![0]
}

fn key_after(key: &[u8]) -> Vec<u8> {
    let mut next = key.to_vec();
    next.push(0);
    next
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_end_of_a_prefix_is_its_successor() {
        assert_eq!(prefix_end(b"/registry/"), b"/registry0");
        assert_eq!(prefix_end(&[b'a', u8::MAX]), b"b");
        assert_eq!(prefix_end(&[u8::MAX]), [0]);
    }

    #[test]
    fn pages_of_large_values_have_few_of_them() {
        assert_eq!(keys_of_next_page(128, 128 << 10), VALUES_PER_PAGE_MAX);
        assert_eq!(keys_of_next_page(0, 0), 1);
        assert_eq!(keys_of_next_page(128, 128 << 20), 4);
        assert_eq!(keys_of_next_page(4, 4 * PAGE_BYTES), 1);
        assert_eq!(keys_of_next_page(1, 1 << 10), VALUES_PER_PAGE_MAX);
    }

    #[test]
    fn batches_keep_both_limits() {
        let put = |bytes| WriteOperation::Put { key: b"k".to_vec(), value: vec![0; bytes] };
        assert_eq!(batch_length(&vec![put(1); TRANSACTION_OPERATIONS_MAX + 5]), TRANSACTION_OPERATIONS_MAX);
        assert_eq!(batch_length(&vec![put(1 << 20); 100]), REQUEST_BYTES_MAX / 2 / (1 << 20) - 1);
        assert_eq!(batch_length(&[put(REQUEST_BYTES_MAX), put(1)]), 1);
        let range = WriteOperation::DeleteRange { key: b"a".to_vec(), last_key: b"b".to_vec(), key_count: 1000 };
        assert_eq!(batch_length(&vec![range; 5]), 2);
    }

    #[test]
    fn the_next_page_starts_right_after_the_last_key() {
        assert!(b"a".as_slice() < key_after(b"a").as_slice());
        assert!(key_after(b"a").as_slice() < b"a\x01".as_slice());
    }
}
