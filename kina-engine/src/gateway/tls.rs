//! The two sides' TLS settings.

use std::sync::Arc;

use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::server::WebPkiClientVerifier;
use rustls::{ClientConfig, RootCertStore, ServerConfig};
use tokio_rustls::{TlsAcceptor, TlsConnector};

use super::GatewayError;
use crate::certificates::{CertificateAuthority, IssuedIdentity};

pub(super) const HTTP_2: &[u8] = b"h2";
pub(super) const HTTP_1: &[u8] = b"http/1.1";

/// Accepts the lease's own client certificate, or none; anything else fails the handshake.
pub(super) fn acceptor(authority: &CertificateAuthority, server: &IssuedIdentity) -> Result<TlsAcceptor, GatewayError> {
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let roots = Arc::new(roots(&authority.certificate_pem())?);
    let verifier = WebPkiClientVerifier::builder_with_provider(roots, Arc::clone(&provider))
        .allow_unauthenticated()
        .build()
        .map_err(tls_error)?;
    let (chain, key) = chain_and_key(server)?;
    let mut config = ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .map_err(tls_error)?
        .with_client_cert_verifier(verifier)
        .with_single_cert(chain, key)
        .map_err(tls_error)?;
    config.alpn_protocols = vec![HTTP_2.to_vec(), HTTP_1.to_vec()];
    // No client comes back with a ticket. But one sent right after the handshake acknowledges the client's last part of
    // it: a client without `TCP_NODELAY`, such as kube's, would otherwise hold back its first request for 40 ms.
    config.send_tls13_tickets = 1;
    Ok(TlsAcceptor::from(Arc::new(config)))
}

/// Connects to a server of `ca_pem`, speaking `protocol`, as `identity` or without a certificate.
pub(super) fn connector(
    ca_pem: &str,
    identity: Option<&IssuedIdentity>,
    protocol: &[u8],
) -> Result<TlsConnector, GatewayError> {
    let builder = ClientConfig::builder_with_provider(Arc::new(rustls::crypto::ring::default_provider()))
        .with_safe_default_protocol_versions()
        .map_err(tls_error)?
        .with_root_certificates(roots(ca_pem)?);
    let mut config = match identity {
        Some(identity) => {
            let (chain, key) = chain_and_key(identity)?;
            builder.with_client_auth_cert(chain, key).map_err(tls_error)?
        }
        None => builder.with_no_client_auth(),
    };
    config.alpn_protocols = vec![protocol.to_vec()];
    Ok(TlsConnector::from(Arc::new(config)))
}

fn roots(ca_pem: &str) -> Result<RootCertStore, GatewayError> {
    let mut roots = RootCertStore::empty();
    roots.add(CertificateDer::from_pem_slice(ca_pem.as_bytes()).map_err(tls_error)?).map_err(tls_error)?;
    Ok(roots)
}

fn chain_and_key(
    identity: &IssuedIdentity,
) -> Result<(Vec<CertificateDer<'static>>, PrivateKeyDer<'static>), GatewayError> {
    let certificate = CertificateDer::from_pem_slice(identity.certificate_pem.as_bytes()).map_err(tls_error)?;
    let key = PrivateKeyDer::from_pem_slice(identity.key_pem.as_bytes()).map_err(tls_error)?;
    Ok((vec![certificate], key))
}

fn tls_error(error: impl std::error::Error + Send + Sync + 'static) -> GatewayError {
    GatewayError::Tls(Box::new(error))
}
