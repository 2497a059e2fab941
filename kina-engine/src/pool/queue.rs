use std::collections::{BTreeMap, VecDeque};

use super::{SlotKey, TimeMs, WaiterId};

/// The clients that wait, in the order in which they are served.
#[derive(Clone, Debug, Default)]
pub(super) struct Queue {
    waiters: VecDeque<Waiter>,
}

#[derive(Clone, Debug)]
pub(super) struct Waiter {
    pub(super) id: WaiterId,
    pub(super) key: SlotKey,
    pub(super) deadline: TimeMs,
}

impl Queue {
    pub(super) fn len(&self) -> usize {
        self.waiters.len()
    }

    pub(super) fn push_back(&mut self, waiter: Waiter) {
        self.waiters.push_back(waiter);
    }

    pub(super) fn remove(&mut self, id: WaiterId) -> Option<Waiter> {
        let index = self.waiters.iter().position(|waiter| waiter.id == id)?;
        self.waiters.remove(index)
    }

    /// The first that waits for this kind.
    pub(super) fn pop_for(&mut self, key: &SlotKey) -> Option<Waiter> {
        let index = self.waiters.iter().position(|waiter| waiter.key == *key)?;
        self.waiters.remove(index)
    }

    pub(super) fn remove_all_for(&mut self, key: &SlotKey) -> Vec<Waiter> {
        self.remove_where(|waiter| waiter.key == *key)
    }

    pub(super) fn remove_overdue(&mut self, now: TimeMs) -> Vec<Waiter> {
        self.remove_where(|waiter| waiter.deadline <= now)
    }

    /// Kinds that are waited for, by how many, those that wait longest first.
    pub(super) fn demand(&self) -> Vec<(SlotKey, usize)> {
        let mut order = Vec::new();
        let mut counts: BTreeMap<&SlotKey, usize> = BTreeMap::new();
        for waiter in &self.waiters {
            let count = counts.entry(&waiter.key).or_default();
            if *count == 0 {
                order.push(&waiter.key);
            }
            *count += 1;
        }
        order.into_iter().map(|key| (key.clone(), counts[key])).collect()
    }

    fn remove_where(&mut self, matches: impl Fn(&Waiter) -> bool) -> Vec<Waiter> {
        let (removed, kept) = std::mem::take(&mut self.waiters).into_iter().partition(|waiter| matches(waiter));
        self.waiters = kept;
        Vec::from_iter::<VecDeque<Waiter>>(removed)
    }
}
