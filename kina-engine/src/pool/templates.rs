//! Which slot is put to which template.

use std::collections::BTreeMap;

use super::queue::Waiter;
use super::slot::{Slot, SlotState};
use super::{Pool, SlotId, TemplateName, TimeMs};

impl Pool {
    /// Has ready slots rewound for who waits for a template that no slot has or is on its way to. To be called when
    /// everybody was served whom a ready slot fits: those that are left fit nobody.
    pub(super) fn change_templates(&mut self, now: TimeMs) {
        if self.count(|slot| slot.state == SlotState::Ready) == 0 {
            return;
        }
        let kinds: Vec<_> = self.unserved(|_| true).into_iter().map(|waiter| waiter.key.clone()).collect();
        for key in kinds {
            let ready = self.slots.iter().filter(|(_, slot)| slot.key == key && slot.state == SlotState::Ready);
            // The one whose template was of use longest ago.
            let Some((id, _)) = ready.min_by_key(|(_, slot)| slot.used_at) else { continue };
            self.set_state(*id, SlotState::Released, now);
        }
    }

    /// Who waits for what no slot will be by itself, the next first. A slot of which `counts` is true stands for one
    /// client.
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

    /// What a slot that was released is rewound to: the template that it has, if somebody waits for that and who is next
    /// has not waited for long, else that of who is next. `taken` are those for whom another slot is rewound already.
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

    /// Takes note of what slots with a template take, so that the next that gets it counts as much.
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
