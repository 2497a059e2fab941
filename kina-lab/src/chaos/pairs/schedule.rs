//! The kinds that are planted together in a lease. Pure.
//!
//! Mostly a few kinds at a time, since leases cost more than the deeds in them; now and then one alone, because the
//! engine's waits after one kind may hide the leak of another.

use super::kind::{Cost, Kind, Start};
use crate::chaos::plan::Random;

/// Largest number of kinds of a lease.
const GROUP_MAX: usize = 16;
/// One lease in this many has one kind alone.
const ALONE_ONE_IN: u64 = 4;

/// The rounds that are left.
pub(super) struct Schedule {
    kinds: Vec<&'static Kind>,
    left: Vec<usize>,
    random: Random,
}

impl Schedule {
    /// Each kind as often as its cost allows.
    pub(super) fn new(kinds: Vec<&'static Kind>, rounds: usize, restart_rounds: usize, seed: u64) -> Self {
        let left = kinds.iter().map(|kind| if kind.cost == Cost::Restart { restart_rounds } else { rounds }).collect();
        Self { kinds, left, random: Random::new(seed) }
    }

    /// Number of deeds that are left.
    pub(super) fn left(&self) -> usize {
        self.left.iter().sum()
    }

    /// The kinds of the next lease, which may start from a template already. Empty if nothing is left, or if all that
    /// is left has to wait for the lease after it.
    pub(super) fn next_group(&mut self, looked_for: &[&'static Kind], has_template: bool) -> Vec<&'static Kind> {
        let is_free = |kind: &Kind| {
            let is_in_the_way = kind.look_writes && looked_for.iter().any(|other| other.name == kind.name);
            // Traces of a bare cluster are looked for in a bare one.
            let has_its_start = match kind.start {
                Start::Bare => true,
                Start::NewTemplate(_) | Start::IntrudedTemplate(..) => !has_template,
                Start::SameTemplate(_) => !has_template && looked_for.is_empty(),
            };
            !is_in_the_way && has_its_start && !(kind.is_without_template && has_template)
        };
        let mut free: Vec<usize> = (0..self.kinds.len())
            .filter(|index| 0 < self.left.get(*index).copied().unwrap_or(0))
            .filter(|index| self.kinds.get(*index).is_some_and(|kind| is_free(kind)))
            .collect();
        let size = if self.random.below(ALONE_ONE_IN) == 0 { 1 } else { GROUP_MAX };
        let mut group: Vec<&'static Kind> = Vec::new();
        // Kinds with more rounds left come first more often, so that all end at about the same time.
        while group.len() < size && !free.is_empty() {
            let weight: usize = free.iter().filter_map(|index| self.left.get(*index)).sum();
            let mut at = usize::try_from(self.random.below(weight as u64)).unwrap_or(0);
            let chosen = free.iter().position(|index| {
                let left = self.left.get(*index).copied().unwrap_or(0);
                let is_chosen = at < left;
                at = at.saturating_sub(left);
                is_chosen
            });
            let index = free.swap_remove(chosen.unwrap_or(0));
            let Some(kind) = self.kinds.get(index).copied() else { continue };
            if let Some(left) = self.left.get_mut(index) {
                *left = left.saturating_sub(1);
            }
            group.push(kind);
            if kind.is_alone || !matches!(kind.start, Start::Bare) {
                break;
            }
            // A restart would hide the other state that is kept in memory.
            free.retain(|other| {
                self.kinds
                    .get(*other)
                    .is_some_and(|other| other.cost == kind.cost && matches!(other.start, Start::Bare))
            });
        }
        group
    }
}

#[cfg(test)]
mod tests {
    use super::super::kinds;
    use super::*;

    #[test]
    fn each_kind_is_planted_as_often_as_asked_for() {
        let mut schedule = Schedule::new(kinds::all(), 7, 2, 3);
        let mut planted = std::collections::BTreeMap::new();
        let mut previous: Vec<&'static Kind> = Vec::new();
        for _ in 0..10_000 {
            let group = schedule.next_group(&previous, false);
            group.iter().for_each(|kind| *planted.entry(kind.name).or_insert(0) += 1);
            previous = group;
        }
        assert_eq!(schedule.left(), 0);
        for kind in kinds::all() {
            let rounds = if kind.cost == Cost::Restart { 2 } else { 7 };
            assert_eq!(planted.get(kind.name), Some(&rounds), "{}", kind.name);
        }
    }

    #[test]
    fn a_kind_that_a_template_may_refuse_waits_for_a_bare_lease() {
        let mut schedule = Schedule::new(kinds::all(), 1, 5, 1);
        let mut has_waited = false;
        for number in 0..10_000 {
            let has_template = number % 2 == 0;
            let group = schedule.next_group(&[], has_template);
            assert!(!has_template || group.iter().all(|kind| !kind.is_without_template));
            has_waited |= group.iter().any(|kind| kind.is_without_template);
        }
        assert!(has_waited);
    }

    #[test]
    fn a_lease_has_few_kinds_that_get_along() {
        let mut schedule = Schedule::new(kinds::all(), 50, 50, 1);
        let mut previous: Vec<&'static Kind> = Vec::new();
        let mut alone = 0;
        while 0 < schedule.left() {
            let group = schedule.next_group(&previous, false);
            assert!(group.len() <= GROUP_MAX);
            alone += usize::from(group.len() == 1);
            let costs: Vec<_> = group.iter().map(|kind| kind.cost).collect();
            assert!(costs.windows(2).all(|pair| pair.first() == pair.last()), "{costs:?}");
            let is_in_the_way =
                |kind: &&'static Kind| kind.look_writes && previous.iter().any(|one| one.name == kind.name);
            assert!(!group.iter().any(is_in_the_way));
            previous = group;
        }
        assert!(0 < alone);
    }
}
