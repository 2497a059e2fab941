//! Certificate authorities, server certificates and client identities.
//!
//! Keys are ECDSA P-256. Nothing here is shared between clusters: each cluster, and each lease, has its own authority.

use rcgen::{
    BasicConstraints, CertificateParams, CertifiedIssuer, DistinguishedName, DnType, ExtendedKeyUsagePurpose, IsCa,
    KeyPair, KeyUsagePurpose, SanType, SerialNumber, date_time_ymd,
};

use crate::raw_client::ClientCertificate;

/// A certificate authority that exists in memory only.
pub struct CertificateAuthority {
    issuer: CertifiedIssuer<'static, KeyPair>,
}

/// A certificate with its private key, as PEM.
#[derive(Clone)]
pub struct IssuedIdentity {
    /// The certificate.
    pub certificate_pem: String,
    /// Its private key (PKCS#8).
    pub key_pem: String,
}

/// A key pair without a certificate, as PEM, for signing service-account tokens.
pub struct SigningKeyPair {
    /// The private key (PKCS#8).
    pub private_pem: String,
    /// The public key.
    pub public_pem: String,
}

/// A certificate could not be made.
#[derive(Debug, thiserror::Error)]
#[error("making the certificate of `{subject}` failed")]
pub struct CertificateError {
    subject: String,
    #[source]
    source: rcgen::Error,
}

impl CertificateAuthority {
    /// A new authority with a fresh key.
    pub fn generate(common_name: &str) -> Result<Self, CertificateError> {
        let make = || {
            let mut params = parameters(common_name, None);
            params.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
            params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::DigitalSignature];
            CertifiedIssuer::self_signed(params, KeyPair::generate()?)
        };
        Ok(Self { issuer: make().map_err(|source| CertificateError { subject: common_name.to_owned(), source })? })
    }

    /// The authority's own certificate.
    pub fn certificate_pem(&self) -> String {
        self.issuer.pem()
    }

    /// Issues a server certificate for loopback and `dns_names`. It also works as a client certificate, since etcd's
    /// peers are both.
    pub fn issue_server(&self, common_name: &str, dns_names: &[&str]) -> Result<IssuedIdentity, CertificateError> {
        let make = || {
            let mut params = parameters(common_name, None);
            params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth, ExtendedKeyUsagePurpose::ClientAuth];
            params.subject_alt_names = vec![
                SanType::IpAddress(std::net::Ipv4Addr::LOCALHOST.into()),
                SanType::IpAddress(std::net::Ipv6Addr::LOCALHOST.into()),
                SanType::DnsName("localhost".try_into()?),
            ];
            for dns_name in dns_names {
                params.subject_alt_names.push(SanType::DnsName((*dns_name).try_into()?));
            }
            self.sign(params)
        };
        make().map_err(|source| CertificateError { subject: common_name.to_owned(), source })
    }

    /// Issues a client certificate. Kubernetes takes `common_name` as the user and `organization` as the group.
    pub fn issue_client(
        &self,
        common_name: &str,
        organization: Option<&str>,
    ) -> Result<IssuedIdentity, CertificateError> {
        let mut params = parameters(common_name, organization);
        params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ClientAuth];
        self.sign(params).map_err(|source| CertificateError { subject: common_name.to_owned(), source })
    }

    fn sign(&self, mut params: CertificateParams) -> Result<IssuedIdentity, rcgen::Error> {
        params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
        params.use_authority_key_identifier_extension = true;
        let key = KeyPair::generate()?;
        let certificate = params.signed_by(&key, &self.issuer)?;
        Ok(IssuedIdentity { certificate_pem: certificate.pem(), key_pem: key.serialize_pem() })
    }
}

impl SigningKeyPair {
    /// A fresh key pair.
    pub fn generate() -> Result<Self, CertificateError> {
        let key = KeyPair::generate()
            .map_err(|source| CertificateError { subject: "service-account tokens".to_owned(), source })?;
        Ok(Self { private_pem: key.serialize_pem(), public_pem: key.public_key_pem() })
    }
}

impl<'a> From<&'a IssuedIdentity> for ClientCertificate<'a> {
    fn from(identity: &'a IssuedIdentity) -> Self {
        Self { certificate_pem: &identity.certificate_pem, key_pem: &identity.key_pem }
    }
}

/// Never shows the key.
impl std::fmt::Debug for CertificateAuthority {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.debug_struct("CertificateAuthority").finish_non_exhaustive()
    }
}

/// Never shows the key.
impl std::fmt::Debug for IssuedIdentity {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.debug_struct("IssuedIdentity").finish_non_exhaustive()
    }
}

fn parameters(common_name: &str, organization: Option<&str>) -> CertificateParams {
    let mut params = CertificateParams::default();
    let mut subject = DistinguishedName::new();
    if let Some(organization) = organization {
        subject.push(DnType::OrganizationName, organization);
    }
    subject.push(DnType::CommonName, common_name);
    params.distinguished_name = subject;
    params.serial_number = Some(SerialNumber::from(rand_serial()));
    // A stopped cluster can be started much later, and the clock of a VM may be behind: a fixed, wide span.
    params.not_before = date_time_ymd(2020, 1, 1);
    params.not_after = date_time_ymd(2120, 1, 1);
    params
}

/// Serial numbers only have to differ within one authority's few certificates; a hasher's random keys give that.
fn rand_serial() -> u64 {
    use std::hash::{BuildHasher, Hasher};
    std::collections::hash_map::RandomState::new().build_hasher().finish() >> 1
}
