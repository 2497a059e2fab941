//! The certificates of one cluster, made anew for each and written to the files that its components read.

use std::net::SocketAddr;
use std::path::Path;
use std::sync::Arc;

use super::arguments::file;
use super::files::write_private_file;
use super::{ProviderError, controllers, tokens};
use crate::certificates::{CertificateAuthority, IssuedIdentity, SigningKeyPair};
use crate::cluster_access::ClusterAccess;
use crate::protocol::Profile;

/// Makes a cluster's authorities and certificates, which are valid for loopback at any port, and writes those that the
/// components need into `directory`.
pub(super) fn issue_certificates(
    directory: &Path,
    api_address: SocketAddr,
    etcd_address: SocketAddr,
    profile: Profile,
) -> Result<ClusterAccess, ProviderError> {
    let api_ca = CertificateAuthority::generate("kina cluster")?;
    let etcd_ca = CertificateAuthority::generate("kina etcd")?;
    let service_names =
        ["kubernetes", "kubernetes.default", "kubernetes.default.svc", "kubernetes.default.svc.cluster.local"];
    let api_server = api_ca.issue_server("kube-apiserver", &service_names)?;
    let etcd_server = etcd_ca.issue_server("etcd", &[])?;
    let etcd_client = etcd_ca.issue_client("kube-apiserver", None)?;
    let service_account = SigningKeyPair::generate()?;
    let write_identity = |name: &str, identity: &IssuedIdentity| {
        write_private_file(&directory.join(format!("{name}.crt")), &identity.certificate_pem)?;
        write_private_file(&directory.join(format!("{name}.key")), &identity.key_pem)
    };
    write_private_file(&directory.join(file::API_CA), &api_ca.certificate_pem())?;
    write_private_file(&directory.join(file::ETCD_CA), &etcd_ca.certificate_pem())?;
    write_identity(file::API_SERVER, &api_server)?;
    write_identity(file::ETCD_SERVER, &etcd_server)?;
    write_identity(file::ETCD_CLIENT, &etcd_client)?;
    write_private_file(&directory.join(file::SERVICE_ACCOUNT_PRIVATE), &service_account.private_pem)?;
    write_private_file(&directory.join(file::SERVICE_ACCOUNT_PUBLIC), &service_account.public_pem)?;
    write_private_file(&directory.join(file::AUDIT_POLICY), &tokens::audit_policy().to_string())?;
    let access = ClusterAccess {
        api_address,
        api_ca_pem: api_ca.certificate_pem(),
        admin: api_ca.issue_client("kina-admin", Some("system:masters"))?,
        client_authority: Arc::new(api_ca),
        etcd_address,
        etcd_ca_pem: etcd_ca.certificate_pem(),
        etcd_client,
    };
    // The authority's key is written nowhere, so the controllers' certificates cannot be made later.
    if profile == Profile::Controllers {
        controllers::write_configuration(directory, &access, &access.client_authority)?;
    }
    Ok(access)
}
