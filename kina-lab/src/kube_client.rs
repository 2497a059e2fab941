//! Clients of kube, as tests have them.

use std::net::SocketAddr;

use kina::__private as kina_private;
use kina_engine::Lease;

/// A client of a lease's cluster, over a Unix socket, like a test's own.
pub fn of_lease(lease: &Lease) -> anyhow::Result<kube::Client> {
    let config = kina_private::config_of_lease(&lease.grant)?;
    Ok(kina_private::client_of_lease(lease.connector(), &config)?)
}

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
