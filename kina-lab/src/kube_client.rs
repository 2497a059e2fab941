//! Clients of kube, as tests have them.

use std::net::SocketAddr;

use kina::__private::kube_client;

/// A client with this certificate.
pub fn connect(
    address: SocketAddr,
    ca_pem: &str,
    certificate_pem: &str,
    key_pem: &str,
) -> anyhow::Result<kube::Client> {
    let config = kube_client::config(address, ca_pem, kube_client::auth_info(certificate_pem, key_pem))?;
    Ok(kube::Client::try_from(config)?)
}
