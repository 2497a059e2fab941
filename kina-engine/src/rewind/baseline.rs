use std::collections::BTreeMap;

use super::ServerOwned;
use crate::etcd::StoredKey;

/// The exact stored state that every lease of a slot starts from.
#[derive(Clone, Debug)]
pub(crate) struct Baseline {
    /// By key; without what the servers own.
    pub(crate) entries: BTreeMap<Vec<u8>, Entry>,
    /// What is left alone.
    pub(crate) server_owned: ServerOwned,
    /// What discovery and OpenAPI say in this state.
    pub(crate) fingerprint: Fingerprint,
}

/// One key's value, and the revision at which it was last seen to have that value.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Entry {
    pub(crate) value: Vec<u8>,
    pub(crate) mod_revision: i64,
}

/// What an API server says of itself in a given state. Depends on nothing but its binary, its flags and that state.
#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub(crate) struct Fingerprint {
    /// `ETag` of the aggregated discovery document, a hash of its content (KEP-3352).
    pub(crate) discovery_etag: String,
    /// Hash of the index at `/openapi/v3`, which itself holds a hash of each document.
    pub(crate) openapi_index_hash: String,
}

impl Baseline {
    /// Takes the state as it was read. Keys on an etcd lease (events) vanish by themselves, so they are no part of it.
    pub(crate) fn new(stored_keys: Vec<StoredKey>, fingerprint: Fingerprint) -> Self {
        let server_owned = ServerOwned::among(stored_keys.iter().map(|stored| stored.key.as_slice()));
        let entries = stored_keys
            .into_iter()
            .filter(|stored| stored.lease == 0 && !server_owned.contains(&stored.key))
            .map(|stored| (stored.key, Entry { value: stored.value, mod_revision: stored.mod_revision }))
            .collect();
        Self { entries, server_owned, fingerprint }
    }
}
