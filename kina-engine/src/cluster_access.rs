//! Addresses and credentials of a cluster, for the parts of the engine that talk to it.

use std::net::SocketAddr;
use std::sync::Arc;

use crate::certificates::{CertificateAuthority, IssuedIdentity};

/// Addresses and credentials of a cluster. None of this ever leaves the engine.
#[derive(Clone, Debug)]
pub struct ClusterAccess {
    /// The API server's own address.
    pub api_address: SocketAddr,
    /// Authority of the API server's certificate.
    pub api_ca_pem: String,
    /// Signs certificates of clients that the API server accepts.
    pub client_authority: Arc<CertificateAuthority>,
    /// A member of `system:masters`.
    pub admin: IssuedIdentity,
    /// etcd's address.
    pub etcd_address: SocketAddr,
    /// Authority of etcd's certificate.
    pub etcd_ca_pem: String,
    /// A client that etcd accepts.
    pub etcd_client: IssuedIdentity,
}
