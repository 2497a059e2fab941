//! From a lease's certificates to the credentials of clients.

use std::fmt::Write;
use std::net::SocketAddr;
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use kube::config::AuthInfo;
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject;

use crate::protocol::LeaseGrant;

/// Time limit of a connection, including TLS, on a busy machine.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(30);
/// Time limit of silence on a connection while an answer is due. An API server ends requests other than watches after a
/// minute, and kube's watches last less than five, so this cuts neither; it ends requests that would hang forever.
const READ_TIMEOUT: Duration = Duration::from_secs(300);
/// Time limit for an API server to read what it is sent.
const WRITE_TIMEOUT: Duration = Duration::from_secs(60);
/// Names of tests are cut to this length: an API server refuses long headers.
const USER_AGENT_NAME_BYTES_MAX: usize = 200;

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
pub fn kube_config(address: SocketAddr, ca_pem: &str, auth_info: AuthInfo) -> Result<kube::Config, BadCertificate> {
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
    let mut config = kube_config(grant.address, &grant.ca_pem, who)?;
    if let Some(namespace) = &grant.namespace {
        config.default_namespace.clone_from(namespace);
    }
    Ok(config)
}

/// The user agent of a test's clients: `kina/<version> (<test>)`. API servers use the part before the slash as the
/// field manager of a client that names none.
pub fn user_agent(test: &str) -> http::HeaderValue {
    // Characters that have a meaning in a header, or are not allowed there, are replaced.
    let is_plain = |character: char| (character.is_ascii_graphic() || character == ' ') && !"()\\".contains(character);
    let name = test.chars().take(USER_AGENT_NAME_BYTES_MAX);
    let name = name.map(|character| if is_plain(character) { character } else { '_' }).collect::<String>();
    let text = format!("kina/{} ({name})", env!("CARGO_PKG_VERSION"));
    http::HeaderValue::try_from(text).unwrap_or_else(|_| http::HeaderValue::from_static("kina"))
}

/// Client certificate and key, in kube's form.
pub fn auth_info(certificate_pem: &str, key_pem: &str) -> AuthInfo {
    AuthInfo {
        client_certificate_data: Some(STANDARD.encode(certificate_pem)),
        client_key_data: Some(STANDARD.encode(key_pem).into()),
        ..AuthInfo::default()
    }
}

/// A self-contained kubeconfig for this lease.
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
             {namespace}\
         current-context: kina\n",
        address = grant.address,
        ca = STANDARD.encode(&grant.ca_pem),
        certificate = STANDARD.encode(&grant.client_certificate_pem),
        key = STANDARD.encode(&grant.client_key_pem),
        namespace = grant.namespace.as_ref().map(|name| format!("    namespace: {name}\n")).unwrap_or_default(),
    );
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_kubeconfig_names_the_namespace_of_a_lease_that_has_one() {
        let grant = |namespace: Option<&str>| LeaseGrant {
            lease: 1,
            cluster: "cluster-1-1".to_owned(),
            address: ([127, 0, 0, 1], 6443).into(),
            ca_pem: String::new(),
            client_certificate_pem: String::new(),
            client_key_pem: String::new(),
            kubernetes: String::new(),
            lease_directory: "lease".into(),
            log_directory: "log".into(),
            namespace: namespace.map(str::to_owned),
            shares_loopback: true,
        };
        let read = |namespace| {
            let text = kubeconfig_text(&grant(namespace));
            let kubeconfig = kube::config::Kubeconfig::from_yaml(&text).expect("a kubeconfig");
            kubeconfig.contexts[0].context.clone().expect("a context")
        };
        assert_eq!(read(None).namespace, None);
        let context = read(Some("kina-7"));
        assert_eq!((context.namespace.as_deref(), context.user.as_deref()), (Some("kina-7"), Some("kina")));
    }

    #[test]
    fn every_test_name_gives_a_valid_user_agent() {
        let version = env!("CARGO_PKG_VERSION");
        for (test, expected) in
            [("scale::up", "scale::up"), ("a (b) \\c\nd: e", "a _b_ _c_d: e"), ("größe", "gr__e"), ("", "")]
        {
            assert_eq!(user_agent(test).to_str().expect("plain"), format!("kina/{version} ({expected})"));
        }
        let long = user_agent(&"x".repeat(10_000));
        assert!(long.len() < USER_AGENT_NAME_BYTES_MAX + 50, "{}", long.len());
    }
}
