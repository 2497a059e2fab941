//! The choice of the template that a slot is rewound to.

use std::collections::BTreeMap;

use super::queue::Waiter;
use super::slot::{Slot, SlotState};
use super::{Pool, SlotId, TemplateName, TimeMs};

impl Pool {
    /// Releases ready slots, to be rewound for clients whose template no slot has or is on its way to. Must follow
    /// `hand_out`: the slots that are ready after it suit no waiting client.
    pub(super) fn change_templates(&mut self, now: TimeMs) {
        if self.count(|slot| slot.state == SlotState::Ready) == 0 {
            return;
        }
        let kinds: Vec<_> = self.unserved(|_| true).into_iter().map(|waiter| waiter.key.clone()).collect();
        for key in kinds {
            let ready = self.slots.iter().filter(|(_, slot)| slot.key == key && slot.state == SlotState::Ready);
            // The slot whose template was used longest ago.
            let Some((id, _)) = ready.min_by_key(|(_, slot)| slot.used_at) else { continue };
            self.set_state(*id, SlotState::Released, now);
        }
    }

    /// The waiting clients that no slot on its way will serve, in the order of the queue. Each slot on its way serves
    /// one client if `counts` is true for it.
    pub(super) fn unserved(&self, counts: impl Fn(&Slot) -> bool) -> Vec<&Waiter> {
        let mut coming: BTreeMap<_, usize> = BTreeMap::new();
        for slot in self.slots.values().filter(|slot| slot.state.is_coming() && counts(slot)) {
            *coming.entry((&slot.key, &slot.template)).or_default() += 1;
        }
        let mut unserved = Vec::new();
        for waiter in self.queue.iter() {
            match coming.get_mut(&(&waiter.key, &waiter.template)) {
                Some(count) if 0 < *count => *count -= 1,
                _ => unserved.push(waiter),
            }
        }
        unserved
    }

    /// The template that a released slot is rewound to: that of the first unserved client, but the slot's own if no
    /// client is unserved, or if one waits for it and the first has not waited long. `taken` are the clients that other
    /// slots are being rewound for.
    pub(super) fn next_template(&self, id: SlotId, taken: &mut Vec<Waiter>, now: TimeMs) -> Option<TemplateName> {
        let slot = &self.slots[&id];
        let is_taken = |waiter: &Waiter| taken.iter().any(|other| other.id == waiter.id);
        let mut waiters = self.unserved(|slot| slot.state != SlotState::Released);
        waiters.retain(|waiter| waiter.key == slot.key && !is_taken(waiter));
        let Some(first) = waiters.first().copied() else { return slot.template.clone() };
        let is_patient = now.saturating_sub(first.since) < self.limits.template_patience_ms;
        let same = waiters.iter().find(|waiter| is_patient && waiter.template == slot.template);
        let chosen = same.copied().unwrap_or(first).clone();
        let template = chosen.template.clone();
        taken.push(chosen);
        template
    }

    /// Records the memory of slots with a template, so that the next slot that gets it is counted as much.
    pub(super) fn learn_template_memory(&mut self, id: SlotId, memory_bytes: u64) {
        let Some(slot) = self.slots.get(&id) else { return };
        let (key, Some(template)) = (slot.key.clone(), slot.template.clone()) else { return };
        let mut known = std::mem::take(&mut self.template_memory_bytes);
        known.retain(|(key, template), _| self.needs_template(key, template));
        let least_bytes = known.entry((key, template)).or_insert(memory_bytes);
        *least_bytes = memory_bytes.min(*least_bytes);
        if let Some(slot) = self.slots.get_mut(&id) {
            slot.template_memory_bytes = *least_bytes;
        }
        self.template_memory_bytes = known;
    }
}
