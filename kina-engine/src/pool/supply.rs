//! The pool's next steps.

use super::breaker::Permission;
use super::slot::{Layer, Slot, SlotState};
use super::{Action, DestroyCause, Pool, PoolRefusal, SlotId, SlotKey, TimeMs};

/// The start that there is room for.
enum Room {
    /// The start of this stopped slot.
    OfStopped(SlotId),
    /// The boot of a new slot.
    OfNew,
}

impl Pool {
    /// Gives ready slots to the clients that wait for them.
    pub(super) fn hand_out(&mut self, now: TimeMs, actions: &mut Vec<Action>) {
        let mut ready = self.ids(|slot| slot.state == SlotState::Ready);
        // Settled slots first; among those the one that was used last, so that others can cool down.
        ready.sort_by_key(|id| (!self.slots[id].is_settled, std::cmp::Reverse(self.slots[id].used_at)));
        for id in ready {
            let Some(slot) = self.slots.get_mut(&id) else { continue };
            let Some(waiter) = self.queue.pop_for(&slot.key, slot.template.as_ref()) else { continue };
            let layer = if slot.since <= waiter.since { Layer::Ready } else { slot.origin };
            slot.state = SlotState::Leased(waiter.id);
            slot.since = now;
            slot.leases += 1;
            actions.push(Action::HandOut { slot: id, waiter: waiter.id, layer });
        }
    }

    /// Records the demand for each kind, for pre-warming.
    pub(super) fn observe_demand(&mut self, now: TimeMs) {
        let mut kinds: Vec<SlotKey> = self.demand.keys().cloned().collect();
        let in_use = self.slots.values().filter(|slot| matches!(slot.state, SlotState::Leased(_)));
        kinds.extend(in_use.map(|slot| slot.key.clone()));
        kinds.extend(self.queue.demand().into_iter().map(|(key, _)| key));
        kinds.sort();
        kinds.dedup();
        for key in kinds {
            let in_use = self.count(|slot| slot.key == key && matches!(slot.state, SlotState::Leased(_)));
            let wanted = in_use + self.queue.count(&key);
            self.demand.entry(key).or_default().observe(wanted, now, &self.limits.scale);
        }
        let scale = self.limits.scale;
        self.demand.retain(|_, history| !history.is_over(now, &scale));
    }

    /// Gives up a released slot if a client has waited for a while for a kind that has no slot. The slots of a kind in
    /// constant demand never idle, so there would never be room otherwise.
    pub(super) fn give_way(&mut self, now: TimeMs, actions: &mut Vec<Action>) {
        let patience_ms = self.limits.kind_patience_ms;
        let has_served = |slot: &Slot| patience_ms <= now.saturating_sub(slot.running_since);
        let released = self.ids(|slot| slot.state == SlotState::Released && has_served(slot));
        if released.is_empty() || self.is_making_room() {
            return;
        }
        let starves = |key: &SlotKey| {
            self.supply(key) == 0
                && self.may_boot(key, now)
                && self.room_for(key).is_none()
                && self.queue.iter().any(|waiter| waiter.key == *key && patience_ms <= now.saturating_sub(waiter.since))
        };
        if self.queue.demand().iter().any(|(key, _)| starves(key))
            && let Some(id) = released.into_iter().min_by_key(|id| self.slots[id].since)
        {
            // A released slot counts as supply, so this one is not of the kind that starves.
            self.destroy(id, DestroyCause::MakesRoom, now, actions);
        }
    }

    /// Starts as many rewinds as the limit allows, in the order of release.
    pub(super) fn rewind_next(&mut self, now: TimeMs, actions: &mut Vec<Action>) {
        let under_way = self.count(|slot| slot.state == SlotState::Rewinding);
        let mut released = self.ids(|slot| slot.state == SlotState::Released);
        released.sort_by_key(|id| self.slots[id].since);
        let mut taken = Vec::new();
        for id in released.into_iter().take(self.limits.rewinds_max.saturating_sub(under_way)) {
            let template = self.next_template(id, &mut taken, now);
            let Some(slot) = self.slots.get_mut(&id) else { continue };
            let of_template = template.clone().map(|name| (slot.key.clone(), name));
            let least_bytes = of_template.and_then(|of_template| self.template_memory_bytes.get(&of_template)).copied();
            slot.changes_template = slot.template != template;
            slot.template_memory_bytes = least_bytes.unwrap_or_default();
            slot.template.clone_from(&template);
            slot.state = SlotState::Rewinding;
            slot.since = now;
            actions.push(Action::Rewind { slot: id, template });
        }
    }

    /// Brings up a cluster for each waiting client that has none on its way: thaws, else starts, else boots one, as far
    /// as the bounds allow.
    pub(super) fn grow(&mut self, now: TimeMs, actions: &mut Vec<Action>) {
        for (key, waiting) in self.queue.demand() {
            for _ in self.coming(&key)..waiting {
                if self.thaw(&key, now, actions) {
                    continue;
                }
                if let Permission::Open { until } = self.permission(&key, now) {
                    self.refuse_hopeless(&key, until.saturating_sub(now), actions);
                    break;
                }
                if !self.may_boot(&key, now) {
                    break;
                }
                if !self.start_or_boot(&key, now, actions) {
                    self.make_room(&key, now, actions);
                    break;
                }
            }
        }
    }

    /// Boots clusters for warm-up requests and ahead of demand. Unlike a waiting client, this never displaces a slot,
    /// and never takes the room that is being made for a waiting client.
    pub(super) fn warm_up(&mut self, now: TimeMs, actions: &mut Vec<Action>) {
        let mut kinds: Vec<SlotKey> = self.demand.keys().chain(self.warm_targets.keys()).cloned().collect();
        kinds.sort();
        kinds.dedup();
        for key in kinds {
            let target = self.desired(&key, now).max(self.warm_targets.get(&key).copied().unwrap_or(0));
            for _ in self.supply(&key)..target {
                if self.somebody_needs_room(now) || !self.may_boot(&key, now) || !self.start_or_boot(&key, now, actions)
                {
                    break;
                }
            }
        }
        let mut targets = std::mem::take(&mut self.warm_targets);
        for (key, count) in &targets {
            // A client waits until these are ready; frozen is not enough.
            for _ in self.running(key) + self.coming(key)..*count {
                if !self.thaw(key, now, actions) {
                    break;
                }
            }
        }
        // The boots of other kinds, or slots on their way out, are in the way.
        let is_held_up = self.limits.boots_max <= self.boots_under_way() || self.is_making_room();
        targets.retain(|key, count| {
            let is_hopeless = matches!(self.permission(key, now), Permission::Open { .. });
            let is_delayed = !is_hopeless && (is_held_up || self.is_paused(key, now));
            self.running(key) < *count && (0 < self.coming(key) || is_delayed)
        });
        self.warm_targets = targets;
    }

    /// Freezes and stops slots that have idled for a while, and destroys stopped ones that are too old.
    pub(super) fn cool_down(&mut self, now: TimeMs, actions: &mut Vec<Action>) {
        let idle_ms = |slot: &Slot| now.saturating_sub(slot.used_at);
        let limits = self.limits;
        for id in self.ids(|slot| slot.state == SlotState::Stopped && limits.stopped_age_max_ms <= idle_ms(slot)) {
            self.destroy(id, DestroyCause::Old, now, actions);
        }
        let is_warm = |slot: &Slot| matches!(slot.state, SlotState::Ready | SlotState::Frozen);
        let mut cool = self.ids(|slot| is_warm(slot) && limits.stop_after_idle_ms <= idle_ms(slot));
        cool.sort_by_key(|id| self.slots[id].used_at);
        for id in cool {
            let key = self.slots[&id].key.clone();
            let supply = self.count(|slot| slot.key == key && (is_warm(slot) || slot.state.is_running()));
            if self.desired(&key, now) < supply {
                self.stop(id, now, actions);
            }
        }
        let Some(freeze_after_idle_ms) = limits.freeze_after_idle_ms else { return };
        // The engine still queries a slot that has not settled; a frozen one could not answer.
        let freezes = |slot: &Slot| slot.state == SlotState::Ready && slot.is_settled;
        for id in self.ids(|slot| freezes(slot) && freeze_after_idle_ms <= idle_ms(slot)) {
            self.set_state(id, SlotState::Freezing, now);
            actions.push(Action::Freeze { slot: id });
        }
    }

    pub(super) fn stop_all_idle(&mut self, now: TimeMs, actions: &mut Vec<Action>) {
        for id in self.ids(|slot| matches!(slot.state, SlotState::Ready | SlotState::Frozen)) {
            self.stop(id, now, actions);
        }
    }

    /// Stops the largest idle slots while the memory of all slots is above the limit.
    pub(super) fn relieve_memory(&mut self, now: TimeMs, actions: &mut Vec<Action>) {
        for _ in 0..self.slots.len() {
            let staying_bytes = self.memory_bytes() - self.leaving_memory_bytes();
            if staying_bytes <= self.limits.memory_max_bytes {
                return;
            }
            let holders = self.count(|slot| !slot.state.is_leaving() && slot.state != SlotState::Stopped);
            let idle = self.ids(|slot| matches!(slot.state, SlotState::Ready | SlotState::Frozen));
            let largest = idle.into_iter().max_by_key(|id| self.slots[id].held_memory_bytes());
            // One cluster may always run.
            let Some(id) = largest.filter(|_| 1 < holders) else { return };
            self.stop(id, now, actions);
        }
    }

    /// The number of clusters of a kind to have, including those ahead of demand.
    fn desired(&self, key: &SlotKey, now: TimeMs) -> usize {
        let Some(history) = self.demand.get(key) else { return 0 };
        history.stabilised(self.supply(key), now, &self.limits.scale).min(self.limits.slots_max)
    }

    /// Returns true if a client waits for a cluster that may be started but is not on its way.
    fn somebody_needs_room(&self, now: TimeMs) -> bool {
        self.queue.demand().iter().any(|(key, waiting)| self.coming(key) < *waiting && !self.is_paused(key, now))
    }

    /// The number of clusters of a kind that are on their way to ready.
    fn coming(&self, key: &SlotKey) -> usize {
        self.count(|slot| slot.key == *key && slot.state.is_coming())
    }

    /// The number of clusters of a kind that run, are on their way, or are frozen.
    fn supply(&self, key: &SlotKey) -> usize {
        let frozen = self.count(|slot| slot.key == *key && slot.state == SlotState::Frozen);
        self.running(key) + self.coming(key) + frozen
    }

    /// Refuses the clients of a kind that does not boot, unless a cluster of that kind will come free.
    fn refuse_hopeless(&mut self, key: &SlotKey, retry_after_ms: TimeMs, actions: &mut Vec<Action>) {
        let serves = |slot: &Slot| slot.key == *key && (slot.state.is_running() || slot.state.is_coming());
        if 0 < self.count(serves) {
            return;
        }
        let reason = self.breakers.get(key).map(|breaker| breaker.reason().to_owned()).unwrap_or_default();
        for waiter in self.queue.remove_all_for(key) {
            let refusal = PoolRefusal::StartFailed { reason: reason.clone(), is_user_error: false, retry_after_ms };
            actions.push(Action::Refuse { waiter: waiter.id, refusal });
        }
    }

    fn may_boot(&self, key: &SlotKey, now: TimeMs) -> bool {
        let is_permitted = match self.permission(key, now) {
            Permission::Any => true,
            Permission::One => self.count(|slot| slot.key == *key && slot.state.is_boot()) == 0,
            Permission::Paused | Permission::Open { .. } => false,
        };
        is_permitted && self.boots_under_way() < self.limits.boots_max
    }

    /// Returns true if there is room for a cluster of this size.
    fn has_memory_for(&self, more_bytes: u64) -> bool {
        let held_bytes = self.memory_bytes();
        held_bytes == 0 || held_bytes.saturating_add(more_bytes) <= self.limits.memory_max_bytes
    }

    fn thaw(&mut self, key: &SlotKey, now: TimeMs, actions: &mut Vec<Action>) -> bool {
        let frozen = self.ids(|slot| slot.key == *key && slot.state == SlotState::Frozen);
        let Some(id) = self.best_to_bring_back(frozen) else { return false };
        self.set_state(id, SlotState::Thawing, now);
        actions.push(Action::Thaw { slot: id });
        true
    }

    /// The best of these slots to bring back: one whose template a client waits for, and among those the one that was
    /// used last.
    fn best_to_bring_back(&self, ids: Vec<SlotId>) -> Option<SlotId> {
        let unserved = self.unserved(|_| true);
        ids.into_iter().max_by_key(|id| {
            let slot = &self.slots[id];
            let fits = unserved.iter().any(|waiter| waiter.key == slot.key && waiter.template == slot.template);
            (fits, slot.used_at)
        })
    }

    fn start_or_boot(&mut self, key: &SlotKey, now: TimeMs, actions: &mut Vec<Action>) -> bool {
        match self.room_for(key) {
            Some(Room::OfStopped(slot)) => {
                self.set_state(slot, SlotState::Starting, now);
                actions.push(Action::Start { slot });
            }
            Some(Room::OfNew) => {
                let slot = self.new_slot(key, now);
                actions.push(Action::Boot { slot, key: key.clone() });
            }
            None => return false,
        }
        true
    }

    /// The next start of this kind, if there is room for it.
    fn room_for(&self, key: &SlotKey) -> Option<Room> {
        let stopped = self.ids(|slot| slot.key == *key && slot.state == SlotState::Stopped);
        if let Some(id) = self.best_to_bring_back(stopped) {
            return self.has_memory_for(self.slots[&id].running_memory_bytes()).then_some(Room::OfStopped(id));
        }
        let is_free = self.slots.len() < self.limits.slots_max && self.has_memory_for(self.limits.slot_memory_bytes);
        is_free.then_some(Room::OfNew)
    }

    /// Gives up the slot of another kind that has idled longest, unless a slot is on its way out already. If there is
    /// none, a stopped slot of this kind that is too large gives way to a new one, which may be smaller.
    fn make_room(&mut self, key: &SlotKey, now: TimeMs, actions: &mut Vec<Action>) {
        if self.is_making_room() {
            return;
        }
        let mut idle = self.ids(|slot| slot.key != *key && slot.state.is_idle());
        if idle.is_empty() && self.has_memory_for(self.limits.slot_memory_bytes) {
            idle = self.ids(|slot| slot.state == SlotState::Stopped);
        }
        if let Some(id) = idle.into_iter().min_by_key(|id| self.slots[id].used_at) {
            self.destroy(id, DestroyCause::MakesRoom, now, actions);
        }
    }

    /// Returns true if a slot is on its way out.
    fn is_making_room(&self) -> bool {
        0 < self.count(|slot| slot.state.is_leaving())
    }

    /// Stops a slot, or destroys it if the provider cannot stop clusters.
    fn stop(&mut self, id: SlotId, now: TimeMs, actions: &mut Vec<Action>) {
        if !self.limits.can_stop {
            self.destroy(id, DestroyCause::Unneeded, now, actions);
            return;
        }
        self.set_state(id, SlotState::Stopping, now);
        actions.push(Action::Stop { slot: id });
    }

    fn ids(&self, matches: impl Fn(&Slot) -> bool) -> Vec<SlotId> {
        self.slots.iter().filter(|(_, slot)| matches(slot)).map(|(id, _)| *id).collect()
    }
}
