//! Leases inside the engine. `connection` puts them into the form of the protocol.

use std::collections::HashMap;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};

use super::slot::SlotHandle;
use crate::gateway::{GatewayCredentials, NetworkControl};

/// A lease as given to a client's connection or to a part of the engine.
pub(super) struct Lease {
    /// Unique in the life of the engine.
    pub(super) number: u64,
    pub(super) owner: LeaseOwner,
    pub(super) cluster: Arc<SlotHandle>,
    /// The way through the lease's gateway.
    pub(super) credentials: GatewayCredentials,
    /// The network of that gateway.
    pub(super) network: NetworkControl,
    /// Does not exist until the client makes it.
    pub(super) directory: PathBuf,
}

/// The part of the engine that gave a lease, and ends it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum LeaseOwner {
    /// The dispatcher: the lease has the whole cluster.
    Dispatcher,
    /// The namespaces: the lease has this one.
    Namespaces { namespace: String },
}

/// The leases that clients hold. Requests about a lease come on other connections than its own.
#[derive(Debug, Default)]
pub(super) struct HeldLeases {
    by_number: Mutex<HashMap<u64, Reach>>,
}

/// A lease that can be found for as long as this lives.
#[derive(Debug)]
pub(super) struct HeldLease {
    leases: Arc<HeldLeases>,
    number: u64,
}

#[derive(Debug)]
struct Reach {
    network: NetworkControl,
    /// A cluster that has ended is not kept by its lease.
    cluster: Weak<SlotHandle>,
}

impl HeldLeases {
    /// Lets a lease be found.
    pub(super) fn hold(self: &Arc<Self>, lease: &Lease) -> HeldLease {
        let reach = Reach { network: lease.network.clone(), cluster: Arc::downgrade(&lease.cluster) };
        self.lock().insert(lease.number, reach);
        HeldLease { leases: Arc::clone(self), number: lease.number }
    }

    /// The network of a lease and the cluster of this name behind it; `None` if there is no such lease.
    pub(super) fn find(&self, number: u64, cluster: &str) -> Option<(NetworkControl, Arc<SlotHandle>)> {
        let held = self.lock();
        let Reach { network, cluster: handle } = held.get(&number)?;
        let handle = handle.upgrade().filter(|handle| handle.name() == cluster)?;
        Some((network.clone(), handle))
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<u64, Reach>> {
        self.by_number.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for HeldLease {
    fn drop(&mut self) {
        self.leases.lock().remove(&self.number);
    }
}
