//! The clients that wait for a lease or have one. Only for people who look at the engine: the pool does not know of it.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Instant;

use crate::pool::{ClientId, WaiterId};
use crate::protocol::{ClientStatus, SlotStatus};

/// The number of waiting clients that the status names.
const NAMED_MAX: usize = 20;
/// Names of tests are cut to this.
const NAME_CHARACTERS_MAX: usize = 120;

/// All clients that want or have a lease.
#[derive(Debug, Default)]
pub(super) struct Clients {
    /// In the order of their arrival.
    present: Mutex<BTreeMap<WaiterId, Client>>,
}

/// One of them, for as long as it is there.
#[derive(Debug)]
pub(super) struct Visit {
    clients: Arc<Clients>,
    waiter: WaiterId,
}

#[derive(Debug)]
struct Client {
    test: String,
    process_id: u32,
    lease: Option<u64>,
    /// The time at which it came, or got its lease.
    since: Instant,
}

impl Clients {
    /// Registers a client until the returned visit is dropped.
    pub(super) fn enter(self: &Arc<Self>, waiter: WaiterId, client: ClientId, test: &str) -> Visit {
        let test = test.chars().take(NAME_CHARACTERS_MAX).collect();
        let process_id = u32::try_from(client.0).unwrap_or_default();
        self.lock().insert(waiter, Client { test, process_id, lease: None, since: Instant::now() });
        Visit { clients: Arc::clone(self), waiter }
    }

    /// The first of the clients that wait.
    pub(super) fn waiting(&self) -> Vec<ClientStatus> {
        self.lock().values().filter(|client| client.lease.is_none()).take(NAMED_MAX).map(Client::status).collect()
    }

    /// Sets the holder of each lease.
    pub(super) fn name_holders(&self, slots: &mut [SlotStatus]) {
        let present = self.lock();
        let holders: BTreeMap<u64, &Client> =
            present.values().filter_map(|client| Some((client.lease?, client))).collect();
        for slot in slots {
            let namespaces = slot.namespaces.iter_mut().map(|namespace| &mut namespace.lease);
            for lease in slot.lease.iter_mut().chain(namespaces) {
                lease.holder = holders.get(&lease.lease).map(|client| client.status());
            }
        }
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, BTreeMap<WaiterId, Client>> {
        self.present.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Visit {
    /// Notes that it has its lease.
    pub(super) fn leased(&self, lease: u64) {
        if let Some(client) = self.clients.lock().get_mut(&self.waiter) {
            (client.lease, client.since) = (Some(lease), Instant::now());
        }
    }
}

impl Drop for Visit {
    fn drop(&mut self) {
        self.clients.lock().remove(&self.waiter);
    }
}

impl Client {
    fn status(&self) -> ClientStatus {
        ClientStatus {
            test: self.test.clone(),
            process_id: self.process_id,
            duration_ms: u64::try_from(self.since.elapsed().as_millis()).unwrap_or(u64::MAX),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_client_waits_then_has_a_lease_and_is_forgotten_when_it_goes() {
        let clients = Arc::new(Clients::default());
        let waiting = || clients.waiting().into_iter().map(|client| client.test).collect::<Vec<_>>();
        let first = clients.enter(WaiterId(1), ClientId(11), "first");
        let second = clients.enter(WaiterId(2), ClientId(12), &"x".repeat(1000));
        assert_eq!(waiting(), ["first".to_owned(), "x".repeat(NAME_CHARACTERS_MAX)]);
        first.leased(7);
        assert_eq!(waiting().len(), 1);
        drop(second);
        assert!(waiting().is_empty());
        assert_eq!(clients.lock().len(), 1);
        drop(first);
        assert!(clients.lock().is_empty());
    }
}
