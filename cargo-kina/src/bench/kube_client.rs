//! Clients of kube, which measured processes have in common with tests.

use std::net::SocketAddr;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject;

/// A client with this certificate.
pub fn connect(
    address: SocketAddr,
    ca_pem: &str,
    certificate_pem: &str,
    key_pem: &str,
) -> anyhow::Result<kube::Client> {
    let mut config = config(address, ca_pem)?;
    config.auth_info.client_certificate_data = Some(STANDARD.encode(certificate_pem));
    config.auth_info.client_key_data = Some(STANDARD.encode(key_pem).into());
    Ok(kube::Client::try_from(config)?)
}

/// A configuration without credentials, which reads no kubeconfig and no environment.
pub fn config(address: SocketAddr, ca_pem: &str) -> anyhow::Result<kube::Config> {
    // With two TLS providers in the graph and none installed, kube's client would panic.
    let _ = rustls::crypto::ring::default_provider().install_default();
    let uri = http::Uri::builder().scheme("https").authority(address.to_string()).path_and_query("/").build()?;
    let mut config = kube::Config::new(uri);
    config.root_cert = Some(vec![CertificateDer::from_pem_slice(ca_pem.as_bytes())?.as_ref().to_vec()]);
    config.default_retry = false;
    // No proxy between a test and loopback.
    config.proxy_url = None;
    Ok(config)
}
