use std::collections::BTreeMap;

use super::{ClientId, SlotKey, TemplateName, TimeMs, WaiterId};

/// The waiting clients, in the order in which they are served: in turns by client process, and by arrival within a
/// turn. A process that asks for a hundred clusters does not get its second before another process gets its first.
///
/// Each request gets the turn after that of the previous request of its process, but never a turn that has passed
/// already (start-time fair queueing).
#[derive(Clone, Debug, Default)]
pub(super) struct Queue {
    waiters: BTreeMap<Place, Waiter>,
    /// The turn that was served last.
    turn: u64,
    /// The last turn of each process that has a turn to come.
    last_turns: BTreeMap<ClientId, u64>,
    arrivals: u64,
}

#[derive(Clone, Debug)]
pub(super) struct Waiter {
    pub(super) id: WaiterId,
    pub(super) client: ClientId,
    pub(super) key: SlotKey,
    pub(super) template: Option<TemplateName>,
    pub(super) since: TimeMs,
    pub(super) deadline: TimeMs,
}

/// Turn first, then order of arrival.
type Place = (u64, u64);

impl Queue {
    pub(super) fn len(&self) -> usize {
        self.waiters.len()
    }

    pub(super) fn push(&mut self, waiter: Waiter) {
        let turn = self.last_turns.get(&waiter.client).copied().unwrap_or(0).max(self.turn) + 1;
        self.last_turns.insert(waiter.client, turn);
        self.arrivals += 1;
        self.waiters.insert((turn, self.arrivals), waiter);
    }

    pub(super) fn remove(&mut self, id: WaiterId) -> Option<Waiter> {
        let place = *self.waiters.iter().find(|(_, waiter)| waiter.id == id)?.0;
        self.take(place)
    }

    /// The waiting clients, the next first.
    pub(super) fn iter(&self) -> impl Iterator<Item = &Waiter> {
        self.waiters.values()
    }

    /// Takes the next client that waits for this kind at this template.
    pub(super) fn pop_for(&mut self, key: &SlotKey, template: Option<&TemplateName>) -> Option<Waiter> {
        let fits = |waiter: &Waiter| waiter.key == *key && waiter.template.as_ref() == template;
        let place = *self.waiters.iter().find(|(_, waiter)| fits(waiter))?.0;
        self.turn = self.turn.max(place.0);
        self.take(place)
    }

    pub(super) fn remove_all_for(&mut self, key: &SlotKey) -> Vec<Waiter> {
        self.remove_where(|waiter| waiter.key == *key)
    }

    pub(super) fn remove_all_for_template(&mut self, key: &SlotKey, template: &TemplateName) -> Vec<Waiter> {
        self.remove_where(|waiter| waiter.key == *key && waiter.template.as_ref() == Some(template))
    }

    pub(super) fn remove_overdue(&mut self, now: TimeMs) -> Vec<Waiter> {
        self.remove_where(|waiter| waiter.deadline <= now)
    }

    pub(super) fn count(&self, key: &SlotKey) -> usize {
        self.waiters.values().filter(|waiter| waiter.key == *key).count()
    }

    /// The kinds that clients wait for, with the number of clients, in the order of the queue.
    pub(super) fn demand(&self) -> Vec<(SlotKey, usize)> {
        let mut order: Vec<(SlotKey, usize)> = Vec::new();
        for waiter in self.waiters.values() {
            match order.iter_mut().find(|(key, _)| *key == waiter.key) {
                Some((_, count)) => *count += 1,
                None => order.push((waiter.key.clone(), 1)),
            }
        }
        order
    }

    fn remove_where(&mut self, matches: impl Fn(&Waiter) -> bool) -> Vec<Waiter> {
        let places: Vec<_> =
            self.waiters.iter().filter(|(_, waiter)| matches(waiter)).map(|(place, _)| *place).collect();
        places.into_iter().filter_map(|place| self.take(place)).collect()
    }

    fn take(&mut self, place: Place) -> Option<Waiter> {
        let waiter = self.waiters.remove(&place)?;
        // A process with no waiting request and no turn ahead of the others can be forgotten.
        let turn = self.turn;
        let waits = |client: &ClientId| self.waiters.values().any(|waiter| waiter.client == *client);
        self.last_turns.retain(|client, last| turn < *last || waits(client));
        Some(waiter)
    }
}
