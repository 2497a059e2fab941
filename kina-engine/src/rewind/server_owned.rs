use std::collections::BTreeSet;

/// Prefixes below which no API object lives, only what API servers tell each other.
const PREFIXES: [&[u8]; 2] = [b"/registry/masterleases/", b"/registry/peerserverleases/"];
/// The API server's identity Lease (KEP-1965) is an API object like any other, so only its exact name is exempt.
const IDENTITY_LEASE_PREFIX: &[u8] = b"/registry/leases/kube-system/apiserver-";

/// The keys that the servers renew by themselves, which therefore prove nothing.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct ServerOwned {
    identity_leases: BTreeSet<Vec<u8>>,
}

impl ServerOwned {
    /// Finds the exact names among the keys of an untouched cluster.
    pub(crate) fn among<'a>(keys: impl Iterator<Item = &'a [u8]>) -> Self {
        Self { identity_leases: keys.filter(|key| key.starts_with(IDENTITY_LEASE_PREFIX)).map(<[u8]>::to_vec).collect() }
    }

    pub(crate) fn contains(&self, key: &[u8]) -> bool {
        PREFIXES.iter().any(|prefix| key.starts_with(prefix)) || self.identity_leases.contains(key)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

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
