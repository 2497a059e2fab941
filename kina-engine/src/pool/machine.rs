use std::collections::BTreeMap;

use super::queue::{Queue, Waiter};
use super::slot::{Slot, SlotState};
use super::{Action, Event, PoolRefusal, SlotId, SlotKey, TimeMs};

/// The pool's bounds.
#[derive(Clone, Copy, Debug)]
pub struct Limits {
    /// How many clusters may exist at a time, in whatever state.
    pub slots_max: usize,
    /// How many of them may boot or start at a time.
    pub boots_max: usize,
    /// How many clients may wait.
    pub waiting_max: usize,
    /// After how many failed boots in a row the clients that wait for one are told.
    pub boot_attempts_max: u32,
    /// How long a ready slot may idle before it is stopped.
    pub stop_after_idle_ms: TimeMs,
}

/// The pool.
#[derive(Clone, Debug)]
pub struct Pool {
    limits: Limits,
    slots: BTreeMap<SlotId, Slot>,
    queue: Queue,
    boot_failures: BTreeMap<SlotKey, u32>,
    warm_targets: BTreeMap<SlotKey, usize>,
    next_slot: u64,
}

impl Pool {
    /// An empty pool.
    pub fn new(limits: Limits) -> Self {
        Self {
            limits,
            slots: BTreeMap::new(),
            queue: Queue::default(),
            boot_failures: BTreeMap::new(),
            warm_targets: BTreeMap::new(),
            next_slot: 1,
        }
    }

    /// Takes note of an event; returns what to do about it, in this order.
    ///
    /// An event that does not fit its slot's state (a late answer about a slot that broke meanwhile) changes nothing.
    pub fn handle(&mut self, event: Event, now: TimeMs) -> Vec<Action> {
        let mut actions = Vec::new();
        match event {
            Event::Acquire { waiter, key, deadline } => {
                self.acquire(Waiter { id: waiter, key, deadline }, &mut actions)
            }
            Event::WaiterLeft { waiter } => drop(self.queue.remove(waiter)),
            Event::Started { slot } => self.started(slot, now),
            Event::StartFailed { slot, reason, is_user_error } => {
                self.start_failed(slot, &reason, is_user_error, &mut actions);
            }
            Event::Released { slot } => self.released(slot, now, &mut actions),
            Event::Rewound { slot, is_settled } => {
                self.advance(slot, SlotState::Rewinding, SlotState::Ready, now);
                self.set_settled(slot, is_settled);
            }
            Event::Settled { slot } => self.set_settled(slot, true),
            Event::Stopped { slot } => {
                self.advance(slot, SlotState::Stopping, SlotState::Stopped, now);
            }
            Event::Broke { slot } => self.broke(slot, now, &mut actions),
            Event::Destroyed { slot } => {
                if self.state(slot) == Some(SlotState::Broken) {
                    self.slots.remove(&slot);
                }
            }
            Event::WarmUp { key, count } => {
                self.warm_targets.insert(key, count.min(self.limits.slots_max));
            }
            Event::StopIdle => self.stop_idle(now, 0, &mut actions),
            Event::Tick => {
                self.refuse_overdue(now, &mut actions);
                self.stop_idle(now, self.limits.stop_after_idle_ms, &mut actions);
            }
        }
        self.hand_out(now, &mut actions);
        self.grow(now, &mut actions);
        actions
    }

    /// All slots and their states.
    pub fn slots(&self) -> impl Iterator<Item = (SlotId, SlotState)> + '_ {
        self.slots.iter().map(|(id, slot)| (*id, slot.state))
    }

    /// What a slot is of.
    pub fn key(&self, slot: SlotId) -> Option<&SlotKey> {
        self.slots.get(&slot).map(|slot| &slot.key)
    }

    /// How many clients wait.
    pub fn waiting(&self) -> usize {
        self.queue.len()
    }

    /// How many clusters of a kind are ready or leased.
    pub fn running(&self, key: &SlotKey) -> usize {
        self.count(|slot| slot.key == *key && slot.state.is_running())
    }

    /// Whether more clusters of a kind are on their way because somebody wants them warm.
    pub fn is_warming(&self, key: &SlotKey) -> bool {
        self.warm_targets.contains_key(key)
    }

    /// Whether nobody has, awaits or is being prepared a cluster.
    pub fn is_idle(&self) -> bool {
        let at_rest = |slot: &Slot| matches!(slot.state, SlotState::Ready | SlotState::Stopped);
        self.queue.len() == 0 && self.slots.values().all(at_rest)
    }

    fn acquire(&mut self, waiter: Waiter, actions: &mut Vec<Action>) {
        if self.limits.waiting_max <= self.queue.len() {
            let refusal = PoolRefusal::QueueFull { waiting_max: self.limits.waiting_max };
            actions.push(Action::Refuse { waiter: waiter.id, refusal });
        } else {
            self.queue.push_back(waiter);
        }
    }

    fn started(&mut self, id: SlotId, now: TimeMs) {
        let Some(slot) = self.slots.get_mut(&id).filter(|slot| slot.state.is_boot()) else { return };
        slot.state = SlotState::Ready;
        slot.is_settled = false;
        slot.since = now;
        self.boot_failures.remove(&slot.key);
    }

    fn start_failed(&mut self, id: SlotId, reason: &str, is_user_error: bool, actions: &mut Vec<Action>) {
        if !self.state(id).is_some_and(SlotState::is_boot) {
            return;
        }
        let Some(slot) = self.slots.remove(&id) else { return };
        let failures = self.boot_failures.entry(slot.key.clone()).or_default();
        *failures += 1;
        if !is_user_error && *failures < self.limits.boot_attempts_max {
            return;
        }
        // Whoever comes later finds out anew: what was wrong may have been repaired.
        self.boot_failures.remove(&slot.key);
        self.warm_targets.remove(&slot.key);
        for waiter in self.queue.remove_all_for(&slot.key) {
            let refusal = PoolRefusal::StartFailed { reason: reason.to_owned(), is_user_error };
            actions.push(Action::Refuse { waiter: waiter.id, refusal });
        }
    }

    fn released(&mut self, id: SlotId, now: TimeMs, actions: &mut Vec<Action>) {
        if let Some(SlotState::Leased(_)) = self.state(id) {
            self.set_state(id, SlotState::Rewinding, now);
            actions.push(Action::Rewind { slot: id });
        }
    }

    fn broke(&mut self, id: SlotId, now: TimeMs, actions: &mut Vec<Action>) {
        match self.state(id) {
            None | Some(SlotState::Broken) => return,
            // Its boot is still under way and will fail by itself, or succeed and be found dead.
            Some(SlotState::Booting | SlotState::Starting) => return,
            Some(_) => {}
        }
        self.set_state(id, SlotState::Broken, now);
        actions.push(Action::Destroy { slot: id });
    }

    fn refuse_overdue(&mut self, now: TimeMs, actions: &mut Vec<Action>) {
        for waiter in self.queue.remove_overdue(now) {
            let refusal = PoolRefusal::Deadline {
                slots: self.describe_slots(),
                waiting: self.queue.len(),
                slots_max: self.limits.slots_max,
            };
            actions.push(Action::Refuse { waiter: waiter.id, refusal });
        }
    }

    fn stop_idle(&mut self, now: TimeMs, idle_ms: TimeMs, actions: &mut Vec<Action>) {
        for (id, slot) in &mut self.slots {
            if slot.state == SlotState::Ready && idle_ms <= now.saturating_sub(slot.since) {
                slot.state = SlotState::Stopping;
                slot.since = now;
                actions.push(Action::Stop { slot: *id });
            }
        }
    }

    /// Gives ready slots to who waits for their kind.
    fn hand_out(&mut self, now: TimeMs, actions: &mut Vec<Action>) {
        let is_ready = |slot: &Slot| slot.state == SlotState::Ready;
        let mut ready: Vec<_> = self.slots.iter().filter(|(_, slot)| is_ready(slot)).map(|(id, _)| *id).collect();
        // First where OpenAPI has followed too.
        ready.sort_by_key(|id| !self.slots[id].is_settled);
        for id in ready {
            let Some(waiter) = self.slots.get(&id).and_then(|slot| self.queue.pop_for(&slot.key)) else { continue };
            self.set_state(id, SlotState::Leased(waiter.id), now);
            actions.push(Action::HandOut { slot: id, waiter: waiter.id });
        }
    }

    /// Boots or starts what is waited for and not on its way, as far as the bounds allow.
    fn grow(&mut self, now: TimeMs, actions: &mut Vec<Action>) {
        for (key, waiting) in self.queue.demand() {
            for _ in self.coming(&key)..waiting {
                if !self.may_boot() {
                    return;
                }
                if !self.start_stopped(&key, now, actions) && !self.boot(&key, now, actions) {
                    self.make_room(&key, now, actions);
                    break;
                }
            }
        }
        self.warm_up(now, actions);
    }

    /// Boots what somebody wants warm. Unlike a client that waits, this takes nobody's slot.
    fn warm_up(&mut self, now: TimeMs, actions: &mut Vec<Action>) {
        let mut targets = std::mem::take(&mut self.warm_targets);
        targets.retain(|key, count| {
            for _ in self.running(key) + self.coming(key)..*count {
                if !self.may_boot() {
                    return true;
                }
                if !self.start_stopped(key, now, actions) && !self.boot(key, now, actions) {
                    break;
                }
            }
            self.running(key) < *count && 0 < self.coming(key)
        });
        self.warm_targets = targets;
    }

    /// How many clusters of a kind will be ready by themselves.
    fn coming(&self, key: &SlotKey) -> usize {
        self.count(|slot| slot.key == *key && slot.state.is_coming())
    }

    fn may_boot(&self) -> bool {
        self.count(|slot| slot.state.is_boot()) < self.limits.boots_max
    }

    fn start_stopped(&mut self, key: &SlotKey, now: TimeMs, actions: &mut Vec<Action>) -> bool {
        let is_match = |slot: &Slot| slot.key == *key && slot.state == SlotState::Stopped;
        let Some(id) = self.slots.iter().find(|(_, slot)| is_match(slot)).map(|(id, _)| *id) else { return false };
        self.set_state(id, SlotState::Starting, now);
        actions.push(Action::Start { slot: id });
        true
    }

    fn boot(&mut self, key: &SlotKey, now: TimeMs, actions: &mut Vec<Action>) -> bool {
        if self.limits.slots_max <= self.slots.len() {
            return false;
        }
        let slot = SlotId(self.next_slot);
        self.next_slot += 1;
        self.slots.insert(slot, Slot { key: key.clone(), state: SlotState::Booting, is_settled: false, since: now });
        actions.push(Action::Boot { slot, key: key.clone() });
        true
    }

    /// Gives up the slot of another kind that has idled longest, unless one is on its way out already.
    fn make_room(&mut self, key: &SlotKey, now: TimeMs, actions: &mut Vec<Action>) {
        if 0 < self.count(|slot| slot.state == SlotState::Broken) {
            return;
        }
        let idles = |slot: &Slot| matches!(slot.state, SlotState::Ready | SlotState::Stopped) && slot.key != *key;
        let longest = self.slots.iter().filter(|(_, slot)| idles(slot)).min_by_key(|(_, slot)| slot.since);
        if let Some(id) = longest.map(|(id, _)| *id) {
            self.set_state(id, SlotState::Broken, now);
            actions.push(Action::Destroy { slot: id });
        }
    }

    fn advance(&mut self, id: SlotId, from: SlotState, to: SlotState, now: TimeMs) {
        if self.state(id) == Some(from) {
            self.set_state(id, to, now);
        }
    }

    fn state(&self, id: SlotId) -> Option<SlotState> {
        self.slots.get(&id).map(|slot| slot.state)
    }

    fn set_state(&mut self, id: SlotId, state: SlotState, now: TimeMs) {
        if let Some(slot) = self.slots.get_mut(&id) {
            slot.state = state;
            slot.since = now;
        }
    }

    fn set_settled(&mut self, id: SlotId, is_settled: bool) {
        if let Some(slot) = self.slots.get_mut(&id) {
            slot.is_settled = is_settled;
        }
    }

    fn count(&self, matches: impl Fn(&Slot) -> bool) -> usize {
        self.slots.values().filter(|slot| matches(slot)).count()
    }

    fn describe_slots(&self) -> String {
        let mut counts: BTreeMap<&str, usize> = BTreeMap::new();
        for slot in self.slots.values() {
            *counts.entry(slot.state.name()).or_default() += 1;
        }
        let parts: Vec<_> = counts.iter().map(|(state, count)| format!("{count} {state}")).collect();
        if parts.is_empty() { "none".to_owned() } else { parts.join(", ") }
    }
}
