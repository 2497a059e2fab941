//! From a lease's certificates to the credentials of clients.

use std::fmt::Write;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;

use super::connection::Lease;
use crate::protocol::LeaseGrant;
use crate::raw_client::RawClient;

/// Names of tests are cut to this length: an API server refuses long headers.
const USER_AGENT_NAME_BYTES_MAX: usize = 200;

/// A client with all rights of a lease. API servers call it by this user agent.
pub fn client_of_lease(lease: &Lease, user_agent: http::HeaderValue) -> RawClient {
    RawClient::over(lease.connector().clone(), lease.grant.address).with_user_agent(user_agent)
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
    use serde_json::json;

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
            connection_secret: String::new(),
        };
        let read = |namespace| {
            let text = kubeconfig_text(&grant(namespace));
            let kubeconfig: serde_json::Value = serde_saphyr::from_str(&text).expect("a kubeconfig");
            kubeconfig["contexts"][0]["context"].clone()
        };
        assert_eq!(read(None), json!({"cluster": "kina", "user": "kina"}));
        assert_eq!(read(Some("kina-7")), json!({"cluster": "kina", "user": "kina", "namespace": "kina-7"}));
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
