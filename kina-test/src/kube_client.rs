//! Clients of kube for a cluster: they read no kubeconfig and no environment.

use std::net::SocketAddr;
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use kina_engine::LeaseGrant;
use kube::config::AuthInfo;
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject;

/// Time limit of a connection, including TLS, on a busy machine.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(30);
/// Time limit of silence on a connection while an answer is due. An API server ends requests other than watches after a
/// minute, and kube's watches last less than five, so this cuts neither; it ends requests that would hang forever.
const READ_TIMEOUT: Duration = Duration::from_secs(300);
/// Time limit for an API server to read what it is sent.
const WRITE_TIMEOUT: Duration = Duration::from_secs(60);

/// A certificate is not valid PEM.
#[derive(Debug, thiserror::Error)]
#[error("the certificate authority of {address} cannot be read")]
pub struct BadCertificate {
    address: SocketAddr,
    #[source]
    source: rustls::pki_types::pem::Error,
}

/// A configuration for `kube::Client` that reads no kubeconfig and no environment.
///
/// It does not retry: a test sees the server's own answers, including 429, 503 and 504. Its timeouts end requests that
/// hang: 30 seconds for a connection, five minutes for an answer, counted from the request.
///
/// # Errors
/// If `ca_pem` is not a certificate.
pub fn config(address: SocketAddr, ca_pem: &str, auth_info: AuthInfo) -> Result<kube::Config, BadCertificate> {
    // With two TLS providers in the graph and none installed, kube's client would panic. A provider that the user
    // installed first stays.
    let _ = rustls::crypto::ring::default_provider().install_default();
    let ca = CertificateDer::from_pem_slice(ca_pem.as_bytes()).map_err(|source| BadCertificate { address, source })?;
    let uri = http::Uri::builder().scheme("https").authority(address.to_string()).path_and_query("/").build();
    let mut config = kube::Config::new(uri.expect("an address is a valid authority"));
    config.root_cert = Some(vec![ca.as_ref().to_vec()]);
    config.auth_info = auth_info;
    config.default_retry = false;
    config.connect_timeout = Some(CONNECT_TIMEOUT);
    config.read_timeout = Some(READ_TIMEOUT);
    config.write_timeout = Some(WRITE_TIMEOUT);
    // Otherwise the connection's idle time before a request would count.
    config.reset_reader_on_write = true;
    // No proxy between a test and loopback.
    config.proxy_url = None;
    Ok(config)
}

/// The same for a lease's cluster, with the lease's credentials, and its namespace if it is limited to one.
///
/// # Errors
/// If the lease's authority is not a certificate.
pub fn config_of_lease(grant: &LeaseGrant) -> Result<kube::Config, BadCertificate> {
    let who = auth_info(&grant.client_certificate_pem, &grant.client_key_pem);
    let mut config = config(grant.address, &grant.ca_pem, who)?;
    if let Some(namespace) = &grant.namespace {
        config.default_namespace.clone_from(namespace);
    }
    Ok(config)
}

/// Client certificate and key, in kube's form.
pub fn auth_info(certificate_pem: &str, key_pem: &str) -> AuthInfo {
    AuthInfo {
        client_certificate_data: Some(STANDARD.encode(certificate_pem)),
        client_key_data: Some(STANDARD.encode(key_pem).into()),
        ..AuthInfo::default()
    }
}
