//! The differences between providers, as far as the rest of the engine has to know them.

use crate::assets::Platform;
use crate::protocol::Profile;

/// Capabilities of a provider's clusters.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Capabilities {
    /// A cluster can be stopped and started again with its state. If not, a cluster that is not needed is removed. The
    /// memory of a stopped cluster is free for others.
    pub stop: bool,
    /// A cluster can be frozen and thawed.
    pub freeze: bool,
    /// The number of clusters that can boot at the same time without starving each other.
    pub parallel_boots_max: usize,
    /// Memory of one running cluster, for admission.
    pub memory_per_cluster_bytes: u64,
    /// Its clusters reach listeners on the loopback of this machine.
    pub shares_loopback: bool,
    /// The platform that the binaries must have been built for.
    pub binaries_platform: Platform,
    /// The profiles that it can make.
    pub profiles: &'static [Profile],
    /// The provider is an emulation: its figures mean nothing for the real one.
    pub simulated: bool,
}

#[cfg(test)]
impl Capabilities {
    /// Capabilities for tests of the code around providers: everything is possible, one cluster at a time.
    pub(crate) fn for_tests() -> Self {
        Self {
            stop: true,
            freeze: true,
            parallel_boots_max: 1,
            memory_per_cluster_bytes: 1,
            shares_loopback: true,
            binaries_platform: Platform::host(),
            profiles: &[Profile::Api, Profile::Controllers],
            simulated: false,
        }
    }
}
