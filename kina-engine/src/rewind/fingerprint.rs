/// Discovery and OpenAPI of an API server in a given state. Depends on nothing but its binary, its flags and that
/// state.
#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct Fingerprint {
    /// `ETag` of the aggregated discovery document, a hash of its content (KEP-3352).
    pub(crate) discovery_etag: String,
    /// Hash of the index at `/openapi/v3`, which itself holds a hash of each document.
    pub(crate) openapi_index_hash: String,
}
