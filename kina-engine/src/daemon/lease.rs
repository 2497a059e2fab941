//! Leases inside the engine. `connection` puts them into the form of the protocol.

use std::collections::HashMap;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};

use super::slot::SlotHandle;
use crate::gateway::{ConnectionSecret, GatewayCredentials, NetworkControl, UnixEntry};

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
    /// The way into that gateway by the socket for leases.
    pub(super) unix_entry: UnixEntry,
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
    held: Mutex<Held>,
}

#[derive(Debug, Default)]
struct Held {
    by_number: HashMap<u64, Reach>,
    entries: HashMap<ConnectionSecret, UnixEntry>,
}

/// A lease that can be found for as long as this lives.
#[derive(Debug)]
pub(super) struct HeldLease {
    leases: Arc<HeldLeases>,
    number: u64,
    secret: ConnectionSecret,
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
        let secret = lease.credentials.secret.clone();
        let mut held = self.lock();
        held.by_number.insert(lease.number, reach);
        held.entries.insert(secret.clone(), lease.unix_entry.clone());
        drop(held);
        HeldLease { leases: Arc::clone(self), number: lease.number, secret }
    }

    /// The network of a lease and the cluster of this name behind it; `None` if there is no such lease.
    pub(super) fn find(&self, number: u64, cluster: &str) -> Option<(NetworkControl, Arc<SlotHandle>)> {
        let held = self.lock();
        let Reach { network, cluster: handle } = held.by_number.get(&number)?;
        let handle = handle.upgrade().filter(|handle| handle.name() == cluster)?;
        Some((network.clone(), handle))
    }

    /// The way into the gateway of the lease with this secret.
    pub(super) fn entry(&self, secret: &ConnectionSecret) -> Option<UnixEntry> {
        self.lock().entries.get(secret).cloned()
    }

    fn lock(&self) -> MutexGuard<'_, Held> {
        self.held.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for HeldLease {
    fn drop(&mut self) {
        let mut held = self.leases.lock();
        held.by_number.remove(&self.number);
        held.entries.remove(&self.secret);
    }
}
