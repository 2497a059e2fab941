//! From a lease's certificates to what clients want.

use std::fmt::Write;
use std::net::SocketAddr;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use kube::config::AuthInfo;
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject;

use crate::protocol::LeaseGrant;

/// A certificate is no PEM.
#[derive(Debug, thiserror::Error)]
#[error("the certificate authority of {address} cannot be read")]
pub struct BadCertificate {
    address: SocketAddr,
    #[source]
    source: rustls::pki_types::pem::Error,
}

/// A configuration for `kube::Client` that reads no kubeconfig and no environment.
///
/// It does not retry: a test sees what the server answered, also where that is 429, 503 or 504.
///
/// # Errors
/// If `ca_pem` is no certificate.
pub fn kube_config(address: SocketAddr, ca_pem: &str, auth_info: AuthInfo) -> Result<kube::Config, BadCertificate> {
    // With two TLS providers in the graph and none installed, kube's client would panic. One that the user installed
    // first stays.
    let _ = rustls::crypto::ring::default_provider().install_default();
    let ca = CertificateDer::from_pem_slice(ca_pem.as_bytes()).map_err(|source| BadCertificate { address, source })?;
    let uri = http::Uri::builder().scheme("https").authority(address.to_string()).path_and_query("/").build();
    let mut config = kube::Config::new(uri.expect("an address is a valid authority"));
    config.root_cert = Some(vec![ca.as_ref().to_vec()]);
    config.auth_info = auth_info;
    config.default_retry = false;
    // Nothing between a test and loopback.
    config.proxy_url = None;
    Ok(config)
}

/// Client certificate and key, in the form that kube wants.
pub fn auth_info(certificate_pem: &str, key_pem: &str) -> AuthInfo {
    AuthInfo {
        client_certificate_data: Some(STANDARD.encode(certificate_pem)),
        client_key_data: Some(STANDARD.encode(key_pem).into()),
        ..AuthInfo::default()
    }
}

/// A kubeconfig for this lease, with everything it needs inside.
pub fn kubeconfig_text(grant: &LeaseGrant) -> String {
    let mut text = String::new();
    // Writing to a string cannot fail.
    let _ = write!(
        text,
        "apiVersion: v1\n\
         kind: Config\n\
         clusters:\n\
         - name: kina\n  \
           cluster:\n    \
             server: https://{address}\n    \
             certificate-authority-data: {ca}\n\
         users:\n\
         - name: kina\n  \
           user:\n    \
             client-certificate-data: {certificate}\n    \
             client-key-data: {key}\n\
         contexts:\n\
         - name: kina\n  \
           context:\n    \
             cluster: kina\n    \
             user: kina\n\
         current-context: kina\n",
        address = grant.address,
        ca = STANDARD.encode(&grant.ca_pem),
        certificate = STANDARD.encode(&grant.client_certificate_pem),
        key = STANDARD.encode(&grant.client_key_pem),
    );
    text
}
