use std::collections::BTreeSet;

use crate::sha256::Sha256;

/// Prefixes below which no API object lives, only messages between API servers.
const PREFIXES: [&[u8]; 2] = [b"/registry/masterleases/", b"/registry/peerserverleases/"];
/// The API server's identity Lease (KEP-1965) is an API object like any other, so only its exact name is exempt.
const IDENTITY_LEASE_PREFIX: &[u8] = b"/registry/leases/kube-system/apiserver-";
/// In each namespace, kube-controller-manager publishes the cluster's own authority under this name.
const ROOT_CERTIFICATE: (&[u8], &[u8]) = (b"/registry/configmaps/", b"/kube-root-ca.crt");

/// The keys that the servers renew by themselves, which therefore prove nothing.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct ServerOwned {
    identity_leases: BTreeSet<Vec<u8>>,
    /// Objects that controllers have made anew since the last rewind, in namespaces of a template.
    root_certificates: BTreeSet<Vec<u8>>,
}

impl ServerOwned {
    /// Finds the exact names among the keys of an untouched cluster.
    pub(crate) fn among<'a>(keys: impl Iterator<Item = &'a [u8]>) -> Self {
        let mut server_owned = Self::default();
        keys.for_each(|key| server_owned.learn(key));
        server_owned
    }

    /// The keys of an API server on a host of this name. On a bootstrapped state it makes its Lease only after the
    /// namespaces are back, up to 200 ms later than that: too late to be found among the keys.
    pub(crate) fn of_host(host_name: &[u8]) -> Self {
        Self { identity_leases: BTreeSet::from([identity_lease_of_host(host_name)]), ..Self::default() }
    }

    /// Notes a key of an untouched cluster.
    pub(crate) fn learn(&mut self, key: &[u8]) {
        if key.starts_with(IDENTITY_LEASE_PREFIX) {
            self.identity_leases.insert(key.to_vec());
        }
    }

    /// Notes all copies of the authority that controllers have made in namespaces of a template.
    pub(super) fn set_root_certificates(&mut self, keys: BTreeSet<Vec<u8>>) {
        self.root_certificates = keys;
    }

    /// The API servers' own Leases.
    pub(super) fn identity_leases(&self) -> impl Iterator<Item = &[u8]> {
        self.identity_leases.iter().map(Vec::as_slice)
    }

    pub(crate) fn contains(&self, key: &[u8]) -> bool {
        PREFIXES.iter().any(|prefix| key.starts_with(prefix))
            || self.identity_leases.contains(key)
            || self.root_certificates.contains(key)
    }
}

/// Returns true if this is the copy of the cluster's authority that controllers put into each namespace.
pub(crate) fn is_root_certificate(key: &[u8]) -> bool {
    let (prefix, suffix) = ROOT_CERTIFICATE;
    key.starts_with(prefix) && key.ends_with(suffix)
}

/// An API server's Lease is named by a hash of its host's name and of its kind of server, each with its length before
/// it (so from Kubernetes 1.27 on). Should that change, its Lease is one that appears late: seen, and rewound around.
fn identity_lease_of_host(host_name: &[u8]) -> Vec<u8> {
    const DIGITS: &[u8; 32] = b"abcdefghijklmnopqrstuvwxyz234567";
    const DIGIT_BITS: usize = 5;
    let mut hash = Sha256::new();
    for part in [host_name, b"kube-apiserver"] {
        hash.update(u16::try_from(part.len()).unwrap_or(u16::MAX).to_be_bytes());
        hash.update(part);
    }
    let hash = &hash.finalize()[..16];
    let bit = |index: usize| hash.get(index / 8).map_or(0, |byte| usize::from(byte >> (7 - index % 8) & 1));
    let digit = |first: usize| (first..first + DIGIT_BITS).fold(0, |digit, index| digit << 1 | bit(index));
    let digits = (0..hash.len() * 8).step_by(DIGIT_BITS).map(|first| DIGITS[digit(first)]);
    IDENTITY_LEASE_PREFIX.iter().copied().chain(digits).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_api_server_names_its_lease_after_its_host() {
        // As a kube-apiserver 1.37.1 on a host of that name did.
        let key = identity_lease_of_host(b"vm");
        assert_eq!(key, b"/registry/leases/kube-system/apiserver-wlv32tlttr4jl3gtroqexyxapa");
        assert!(ServerOwned::of_host(b"vm").contains(&key) && !ServerOwned::of_host(b"other").contains(&key));
    }

    #[test]
    fn only_the_exact_names_of_the_untouched_cluster_are_exempt() {
        let keys: [&[u8]; 2] = [b"/registry/leases/kube-system/apiserver-abc", b"/registry/configmaps/default/a"];
        let owned = ServerOwned::among(keys.into_iter());
        assert!(owned.contains(b"/registry/leases/kube-system/apiserver-abc"));
        assert!(owned.contains(b"/registry/masterleases/10.0.0.1"));
        assert!(!owned.contains(b"/registry/leases/kube-system/apiserver-of-a-test"));
        assert!(!owned.contains(b"/registry/configmaps/default/a"));
    }
}
