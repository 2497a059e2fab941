//! Clients of kube, as tests have them.

use std::net::SocketAddr;

use kina::__private as kina_private;

/// A client with this certificate.
pub fn connect(
    address: SocketAddr,
    ca_pem: &str,
    certificate_pem: &str,
    key_pem: &str,
) -> anyhow::Result<kube::Client> {
    let config = kina_private::config_at(address, ca_pem, kina_private::auth_info(certificate_pem, key_pem))?;
    Ok(kube::Client::try_from(config)?)
}
