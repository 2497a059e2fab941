use std::collections::BTreeMap;

use super::autoscale::DemandHistory;
use super::breaker::{Breaker, BreakerCounts, Permission};
use super::queue::{Queue, Waiter};
use super::slot::{Layer, Slot, SlotState};
use super::{Action, DestroyCause, Event, Limits, PoolRefusal, SlotId, SlotKey, TemplateName, TimeMs};

/// The pool.
#[derive(Clone, Debug)]
pub struct Pool {
    pub(super) limits: Limits,
    pub(super) slots: BTreeMap<SlotId, Slot>,
    pub(super) queue: Queue,
    pub(super) breakers: BTreeMap<SlotKey, Breaker>,
    pub(super) demand: BTreeMap<SlotKey, DemandHistory>,
    pub(super) warm_targets: BTreeMap<SlotKey, usize>,
    pub(super) template_memory_bytes: BTreeMap<(SlotKey, TemplateName), u64>,
    next_slot: u64,
}

impl Pool {
    /// An empty pool.
    pub fn new(limits: Limits) -> Self {
        Self {
            limits,
            slots: BTreeMap::new(),
            queue: Queue::default(),
            breakers: BTreeMap::new(),
            demand: BTreeMap::new(),
            warm_targets: BTreeMap::new(),
            template_memory_bytes: BTreeMap::new(),
            next_slot: 1,
        }
    }

    /// Applies an event and returns the actions that follow from it, in order.
    ///
    /// An event that does not fit its slot's state (a late answer about a slot that has broken meanwhile) changes
    /// nothing.
    pub fn handle(&mut self, event: Event, now: TimeMs) -> Vec<Action> {
        let mut actions = Vec::new();
        match event {
            Event::Acquire { waiter, client, key, template, deadline } => {
                self.acquire(Waiter { id: waiter, client, key, template, since: now, deadline }, &mut actions);
            }
            Event::WaiterLeft { waiter } => drop(self.queue.remove(waiter)),
            Event::Started { slot } => self.started(slot, now),
            Event::StartFailed { slot, reason, is_user_error, jitter_permille } => {
                self.start_failed(slot, reason, is_user_error, jitter_permille, now, &mut actions);
            }
            Event::Released { slot } => self.released(slot, now, &mut actions),
            Event::Rewound { slot, is_settled } => self.rewound(slot, is_settled, now, &mut actions),
            Event::TemplateTaken { slot, template } => self.template_taken(slot, template),
            Event::TemplateBroke { key, template, reason } => {
                self.template_broke(&key, &template, &reason, &mut actions);
            }
            Event::Settled { slot } => {
                if let Some(slot) = self.slots.get_mut(&slot) {
                    slot.is_settled = true;
                }
            }
            Event::Frozen { slot } => self.advance(slot, SlotState::Freezing, SlotState::Frozen, now),
            Event::Stopped { slot } => self.advance(slot, SlotState::Stopping, SlotState::Stopped, now),
            Event::Broke { slot } => self.broke(slot, now, &mut actions),
            Event::Destroyed { slot } => {
                if self.state(slot) == Some(SlotState::Broken) {
                    self.slots.remove(&slot);
                }
            }
            Event::Measured { slot, memory_bytes, database_bytes } => {
                self.measured(slot, memory_bytes, database_bytes, now, &mut actions);
            }
            Event::MemoryLimit { memory_max_bytes } => self.limits.memory_max_bytes = memory_max_bytes,
            Event::WarmUp { key, count } => {
                self.warm_targets.insert(key, count.min(self.limits.slots_max));
            }
            Event::StopIdle => self.stop_all_idle(now, &mut actions),
            Event::Tick => {
                self.refuse_overdue(now, &mut actions);
                self.cool_down(now, &mut actions);
            }
        }
        self.hand_out(now, &mut actions);
        self.change_templates(now);
        self.observe_demand(now);
        self.give_way(now, &mut actions);
        self.rewind_next(now, &mut actions);
        self.grow(now, &mut actions);
        self.warm_up(now, &mut actions);
        self.relieve_memory(now, &mut actions);
        actions
    }

    /// All slots and their states.
    pub fn slots(&self) -> impl Iterator<Item = (SlotId, SlotState)> + '_ {
        self.slots.iter().map(|(id, slot)| (*id, slot.state))
    }

    /// The template of a slot, or the one that it is being rewound to.
    pub fn template(&self, slot: SlotId) -> Option<&TemplateName> {
        self.slots.get(&slot)?.template.as_ref()
    }

    /// Returns true if a slot has this template or a client waits for it.
    pub fn needs_template(&self, key: &SlotKey, template: &TemplateName) -> bool {
        let is_this = |other_key: &SlotKey, other: Option<&TemplateName>| other_key == key && other == Some(template);
        self.slots.values().any(|slot| is_this(&slot.key, slot.template.as_ref()))
            || self.queue.iter().any(|waiter| is_this(&waiter.key, waiter.template.as_ref()))
    }

    /// The kind of a slot.
    pub fn key(&self, slot: SlotId) -> Option<&SlotKey> {
        self.slots.get(&slot).map(|slot| &slot.key)
    }

    /// The number of waiting clients.
    pub fn waiting(&self) -> usize {
        self.queue.len()
    }

    /// The number of boots and starts under way.
    pub fn boots_under_way(&self) -> usize {
        self.count(|slot| slot.state.is_boot())
    }

    /// The memory that a slot is counted as.
    pub fn slot_memory_bytes(&self, slot: SlotId) -> u64 {
        self.slots.get(&slot).map_or(0, Slot::held_memory_bytes)
    }

    /// The memory that all slots together are counted as.
    pub fn memory_bytes(&self) -> u64 {
        self.slots.values().map(Slot::held_memory_bytes).sum()
    }

    /// The most memory that the next cluster to boot or start may be counted as.
    pub fn start_memory_bytes(&self) -> u64 {
        let stopped = self.slots.values().filter(|slot| slot.state == SlotState::Stopped);
        stopped.map(Slot::running_memory_bytes).fold(self.limits.slot_memory_bytes, u64::max)
    }

    /// The number of slots that take memory.
    #[cfg(test)]
    pub fn memory_holders(&self) -> usize {
        self.count(|slot| 0 < slot.held_memory_bytes())
    }

    /// The memory of slots that are on their way out or to disk.
    pub fn leaving_memory_bytes(&self) -> u64 {
        let leaving = self.slots.values().filter(|slot| slot.state.is_leaving());
        leaving.map(Slot::held_memory_bytes).sum()
    }

    /// The number of clusters of a kind that are ready or leased.
    pub fn running(&self, key: &SlotKey) -> usize {
        self.count(|slot| slot.key == *key && slot.state.is_running())
    }

    /// Returns true if more clusters of a kind are on their way because of a warm-up request.
    pub fn is_warming(&self, key: &SlotKey) -> bool {
        self.warm_targets.contains_key(key)
    }

    /// Returns true if no client has or awaits a cluster, and none is being prepared.
    pub fn is_idle(&self) -> bool {
        self.queue.len() == 0 && self.slots.values().all(|slot| slot.state.is_idle())
    }

    /// Returns true if no client waits and every slot is frozen or stopped. Without a new request, slots can only be
    /// given up from there.
    pub fn is_at_rest(&self) -> bool {
        let rests = |slot: &Slot| matches!(slot.state, SlotState::Frozen | SlotState::Stopped);
        self.queue.len() == 0 && self.slots.values().all(rests)
    }

    /// Returns true if a kind is not booted now because earlier boots failed.
    pub fn is_paused(&self, key: &SlotKey, now: TimeMs) -> bool {
        let permission = self.permission(key, now);
        permission != Permission::Any && permission != Permission::One
    }

    /// The number of kinds whose last boot failed. A kind whose pause is over still counts as paused.
    pub fn breaker_counts(&self, now: TimeMs) -> BreakerCounts {
        let mut counts = BreakerCounts::default();
        for breaker in self.breakers.values() {
            match breaker.permission(now) {
                Permission::Any | Permission::Paused => counts.paused += 1,
                Permission::Open { .. } => counts.open += 1,
                Permission::One => counts.half_open += 1,
            }
        }
        counts
    }

    fn acquire(&mut self, waiter: Waiter, actions: &mut Vec<Action>) {
        if self.limits.waiting_max <= self.queue.len() {
            let refusal = PoolRefusal::QueueFull { waiting_max: self.limits.waiting_max };
            actions.push(Action::Refuse { waiter: waiter.id, refusal });
        } else {
            self.queue.push(waiter);
        }
    }

    fn started(&mut self, id: SlotId, now: TimeMs) {
        let Some(slot) = self.slots.get_mut(&id) else { return };
        slot.origin = match slot.state {
            SlotState::Booting => Layer::Booted,
            SlotState::Starting => Layer::Stopped,
            SlotState::Thawing => Layer::Frozen,
            _ => return,
        };
        // Only settled slots are frozen, and nothing changes in them until they are thawed.
        slot.is_settled = slot.state == SlotState::Thawing;
        slot.state = SlotState::Ready;
        slot.since = now;
        slot.used_at = now;
        if slot.origin != Layer::Frozen {
            slot.running_since = now;
            self.breakers.remove(&slot.key);
        }
    }

    fn start_failed(
        &mut self,
        id: SlotId,
        reason: String,
        is_user_error: bool,
        jitter_permille: u16,
        now: TimeMs,
        actions: &mut Vec<Action>,
    ) {
        if !self.state(id).is_some_and(SlotState::is_boot) {
            return;
        }
        let Some(Slot { key, state, .. }) = self.slots.remove(&id) else { return };
        if is_user_error {
            // A later request tries again: the user may have repaired the cause by then.
            self.warm_targets.remove(&key);
            self.demand.remove(&key);
            for waiter in self.queue.remove_all_for(&key) {
                let refusal = PoolRefusal::StartFailed { reason: reason.clone(), is_user_error, retry_after_ms: 0 };
                actions.push(Action::Refuse { waiter: waiter.id, refusal });
            }
            return;
        }
        // The failed start of a stopped slot says nothing about new ones, and happens to each slot only once.
        if state == SlotState::Booting {
            self.breakers.entry(key).or_default().failed(reason, now, jitter_permille, &self.limits.breaker);
        }
    }

    fn released(&mut self, id: SlotId, now: TimeMs, actions: &mut Vec<Action>) {
        let wear = self.limits.wear;
        let Some(slot) = self.slots.get_mut(&id) else { return };
        if !matches!(slot.state, SlotState::Leased(_)) {
            return;
        }
        slot.used_at = now;
        if slot.is_worn(&wear) {
            self.destroy(id, DestroyCause::Worn, now, actions);
        } else {
            self.set_state(id, SlotState::Released, now);
        }
    }

    fn rewound(&mut self, id: SlotId, is_settled: bool, now: TimeMs, actions: &mut Vec<Action>) {
        let wear = self.limits.wear;
        let Some(slot) = self.slots.get_mut(&id).filter(|slot| slot.state == SlotState::Rewinding) else { return };
        slot.is_settled = is_settled;
        slot.origin = if slot.changes_template { Layer::OtherTemplate } else { Layer::Rewound };
        slot.changes_template = false;
        slot.state = SlotState::Ready;
        slot.since = now;
        if slot.is_worn(&wear) {
            self.destroy(id, DestroyCause::Worn, now, actions);
        }
    }

    fn template_taken(&mut self, id: SlotId, template: TemplateName) {
        let slot = self.slots.get_mut(&id).filter(|slot| matches!(slot.state, SlotState::Leased(_)));
        if let Some(slot) = slot {
            slot.template = Some(template);
        }
    }

    fn template_broke(&mut self, key: &SlotKey, template: &TemplateName, reason: &str, actions: &mut Vec<Action>) {
        for waiter in self.queue.remove_all_for_template(key, template) {
            let refusal = PoolRefusal::TemplateBroke { reason: reason.to_owned() };
            actions.push(Action::Refuse { waiter: waiter.id, refusal });
        }
    }

    fn broke(&mut self, id: SlotId, now: TimeMs, actions: &mut Vec<Action>) {
        match self.state(id) {
            None | Some(SlotState::Broken) => {}
            // Its boot is still under way and will fail by itself, or succeed and be found dead.
            Some(SlotState::Booting | SlotState::Starting) => {}
            Some(_) => self.destroy(id, DestroyCause::Broke, now, actions),
        }
    }

    fn measured(&mut self, id: SlotId, memory_bytes: u64, database_bytes: u64, now: TimeMs, actions: &mut Vec<Action>) {
        let wear = self.limits.wear;
        self.learn_template_memory(id, memory_bytes);
        let Some(slot) = self.slots.get_mut(&id) else { return };
        slot.memory_bytes = memory_bytes;
        slot.database_bytes = database_bytes;
        // A slot in use is replaced at its release.
        if slot.is_worn(&wear) && matches!(slot.state, SlotState::Ready | SlotState::Frozen) {
            self.destroy(id, DestroyCause::Worn, now, actions);
        }
    }

    fn refuse_overdue(&mut self, now: TimeMs, actions: &mut Vec<Action>) {
        let others = self.queue.len().saturating_sub(1);
        for waiter in self.queue.remove_overdue(now) {
            let refusal = PoolRefusal::Deadline {
                waited_ms: now.saturating_sub(waiter.since),
                slots: self.describe_slots(),
                waiting: others,
                slots_max: self.limits.slots_max,
            };
            actions.push(Action::Refuse { waiter: waiter.id, refusal });
        }
    }

    pub(super) fn new_slot(&mut self, key: &SlotKey, now: TimeMs) -> SlotId {
        let id = SlotId(self.next_slot);
        self.next_slot += 1;
        self.slots.insert(id, Slot::new(key.clone(), now, self.limits.slot_memory_bytes));
        id
    }

    pub(super) fn destroy(&mut self, id: SlotId, cause: DestroyCause, now: TimeMs, actions: &mut Vec<Action>) {
        if let Some(slot) = self.slots.get_mut(&id) {
            // A stopped slot takes no memory while it is being removed either.
            slot.memory_bytes = slot.held_memory_bytes();
            slot.template_memory_bytes = 0;
        }
        self.set_state(id, SlotState::Broken, now);
        actions.push(Action::Destroy { slot: id, cause });
    }

    pub(super) fn permission(&self, key: &SlotKey, now: TimeMs) -> Permission {
        self.breakers.get(key).map_or(Permission::Any, |breaker| breaker.permission(now))
    }

    pub(super) fn state(&self, id: SlotId) -> Option<SlotState> {
        self.slots.get(&id).map(|slot| slot.state)
    }

    pub(super) fn set_state(&mut self, id: SlotId, state: SlotState, now: TimeMs) {
        if let Some(slot) = self.slots.get_mut(&id) {
            slot.state = state;
            slot.since = now;
        }
    }

    pub(super) fn count(&self, matches: impl Fn(&Slot) -> bool) -> usize {
        self.slots.values().filter(|slot| matches(slot)).count()
    }

    fn advance(&mut self, id: SlotId, from: SlotState, to: SlotState, now: TimeMs) {
        if self.state(id) == Some(from) {
            self.set_state(id, to, now);
        }
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
