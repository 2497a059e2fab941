//! This engine's share of the memory of all of the user's engines.

use std::sync::Arc;

use super::Dispatcher;
use crate::budget::Budget;
use crate::daemon::message::{Message, TaskReport};
use crate::pool::{Event, Limits, Pool};

/// The pool's part of the budget. The pool hears of it before the event that needs it, or it would stop a cluster
/// to make room although there is room.
pub(super) struct MemoryShare {
    budget: Arc<Budget>,
    /// The number of clusters that may boot or start at a time. Memory is kept for so many.
    boots_max: u64,
    /// The engine's memory, as the pool knows it. The first time, the pool has to hear even of nothing.
    known_bytes: Option<u64>,
    /// The memory that was wanted when not all of it was available. The same is asked for again at the next tick or
    /// request, and not at each event: that takes the lock of the budget, and reads the shares of all engines.
    wanted_in_vain_bytes: Option<u64>,
    /// Set while a task waits for the lock of the budget.
    is_reserving: bool,
}

/// The effect of an event that is about to reach the pool.
#[derive(Debug, PartialEq, Eq)]
enum Share {
    /// The pool knows its memory.
    Known,
    /// The pool has to hear of this memory first.
    Changed { memory_max_bytes: u64 },
    /// Another engine has the lock of the budget. Usually for microseconds; for seconds if it is frozen in the middle.
    Later { more_bytes: u64 },
}

impl MemoryShare {
    pub(super) fn new(budget: Budget, limits: &Limits) -> Self {
        Self {
            budget: Arc::new(budget),
            boots_max: u64::try_from(limits.boots_max).unwrap_or(u64::MAX),
            known_bytes: None,
            wanted_in_vain_bytes: None,
            is_reserving: false,
        }
    }

    /// Reserves the memory that the pool needs next, or gives back the memory that it does not need.
    fn adjust(&mut self, pool: &Pool, event: &Event) -> Share {
        if self.is_reserving {
            return Share::Known;
        }
        let starts = if wants_more(pool, event) { self.boots_max } else { 0 };
        // A stopped cluster may be larger than a new one.
        let spare_bytes = pool.start_memory_bytes().saturating_mul(starts);
        let held_bytes = pool.memory_bytes().saturating_add(growth_bytes(pool, event));
        let wanted_bytes = held_bytes.saturating_add(spare_bytes);
        if self.wanted_in_vain_bytes == Some(wanted_bytes) && !is_request(event) && !matches!(event, Event::Tick) {
            return Share::Known;
        }
        let reserved_bytes = self.budget.reserved_bytes();
        let shared = match wanted_bytes.checked_sub(reserved_bytes) {
            Some(0) => Ok(()),
            Some(more_bytes) => match self.budget.reserve_now(more_bytes) {
                Ok(None) => {
                    self.is_reserving = true;
                    return Share::Later { more_bytes };
                }
                reserved => reserved.map(drop),
            },
            None => self.budget.release(reserved_bytes - wanted_bytes),
        };
        self.wanted_in_vain_bytes = (self.budget.reserved_bytes() != wanted_bytes).then_some(wanted_bytes);
        self.shared(shared)
    }

    /// Notes the engine's present memory.
    fn shared(&mut self, shared: Result<(), std::io::Error>) -> Share {
        if let Err(error) = shared {
            tracing::warn!(%error, "the memory budget of all engines could not be changed: tried again later");
        }
        let memory_max_bytes = self.budget.reserved_bytes();
        if self.known_bytes.replace(memory_max_bytes) == Some(memory_max_bytes) {
            Share::Known
        } else {
            Share::Changed { memory_max_bytes }
        }
    }
}

fn wants_more(pool: &Pool, event: &Event) -> bool {
    is_request(event) || !pool.is_at_rest()
}

fn is_request(event: &Event) -> bool {
    matches!(event, Event::Acquire { .. } | Event::WarmUp { .. })
}

/// The additional memory that the pool will hold because of the event alone.
fn growth_bytes(pool: &Pool, event: &Event) -> u64 {
    match event {
        Event::Measured { slot, memory_bytes, .. } => memory_bytes.saturating_sub(pool.slot_memory_bytes(*slot)),
        _ => 0,
    }
}

impl Dispatcher {
    /// Gets the memory that an event needs. Returns true if the pool may hear of the event.
    pub(super) fn share_memory(&mut self, event: &Event) -> bool {
        let Some(memory) = &mut self.memory else { return true };
        match memory.adjust(&self.pool, event) {
            Share::Known => {}
            Share::Changed { memory_max_bytes } => self.tell(Event::MemoryLimit { memory_max_bytes }),
            Share::Later { more_bytes } => self.reserve_later(more_bytes),
        }
        // Growth while the budget cannot be asked is measured again soon.
        let is_reserving = self.memory.as_ref().is_some_and(|memory| memory.is_reserving);
        !is_reserving || growth_bytes(&self.pool, event) == 0
    }

    fn reserve_later(&mut self, more_bytes: u64) {
        let Some(budget) = self.memory.as_ref().map(|memory| Arc::clone(&memory.budget)) else { return };
        let sender = self.sender.clone();
        self.tasks.spawn(async move {
            let reserving = tokio::task::spawn_blocking(move || budget.reserve(more_bytes).map(drop)).await;
            let result = reserving.unwrap_or_else(|error| Err(error.into()));
            let _ = sender.tell(Message::Report(TaskReport::MemoryShared { result })).await;
        });
    }

    /// The wait for the lock of the budget has ended.
    pub(super) fn memory_shared(&mut self, result: Result<(), std::io::Error>) {
        let Some(memory) = &mut self.memory else { return };
        memory.is_reserving = false;
        if let Share::Changed { memory_max_bytes } = memory.shared(result) {
            self.tell(Event::MemoryLimit { memory_max_bytes });
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::budget::Total;
    use crate::pool::{Action, ClientId, SlotId, SlotKey, WaiterId};

    const MEGABYTE: u64 = 1 << 20;
    /// The assumed memory of a cluster until it is measured.
    const SLOT_BYTES: u64 = 100 * MEGABYTE;

    /// Like the dispatcher, without anything that carries actions out. One cluster is booted at a time.
    struct Scene {
        pool: Pool,
        memory: MemoryShare,
        directory: tempfile::TempDir,
    }

    impl Scene {
        fn new(total_bytes: u64) -> Self {
            let limits = Limits::unhurried(4, SLOT_BYTES, total_bytes);
            let directory = tempfile::tempdir().expect("a temporary directory");
            let budget = Budget::open(directory.path(), Total::Fixed(total_bytes)).expect("joined");
            Self { pool: Pool::new(limits), memory: MemoryShare::new(budget, &limits), directory }
        }

        fn tell(&mut self, event: Event) -> Vec<Action> {
            let mut actions = match self.memory.adjust(&self.pool, &event) {
                Share::Known => Vec::new(),
                Share::Changed { memory_max_bytes } => self.pool.handle(Event::MemoryLimit { memory_max_bytes }, 0),
                Share::Later { .. } => panic!("no other engine has the lock"),
            };
            actions.extend(self.pool.handle(event, 0));
            actions
        }

        fn acquire(&mut self, number: u64) -> Vec<Action> {
            let (waiter, client) = (WaiterId(number), ClientId(number));
            self.tell(Event::Acquire { waiter, client, key: key(), template: None, deadline: 1 })
        }

        fn measured(&mut self, slot: u64, memory_bytes: u64) -> Vec<Action> {
            self.tell(Event::Measured { slot: SlotId(slot), memory_bytes, database_bytes: 0 })
        }

        fn started(&mut self, slot: u64) -> Vec<Action> {
            self.tell(Event::Started { slot: SlotId(slot) })
        }
    }

    fn key() -> SlotKey {
        SlotKey("a kind".into())
    }

    fn boot(slot: u64) -> Action {
        Action::Boot { slot: SlotId(slot), key: key() }
    }

    #[test]
    fn a_cluster_that_takes_more_than_it_was_counted_as_stops_none_while_there_is_memory() {
        let mut scene = Scene::new(10 * SLOT_BYTES);
        assert_eq!(scene.tell(Event::WarmUp { key: key(), count: 3 }), [boot(1)]);
        assert_eq!(scene.started(1), [boot(2)]);
        let grown_bytes = 3 * SLOT_BYTES;
        assert_eq!(scene.measured(1, grown_bytes), []);
        assert_eq!(scene.started(2), [boot(3)], "and what is to be booted has its memory");
        assert_eq!(scene.started(3), []);
        assert_eq!(scene.pool.running(&key()), 3);
        assert_eq!(scene.tell(Event::Tick), []);
        assert_eq!(scene.memory.budget.reserved_bytes(), grown_bytes + 3 * SLOT_BYTES);
    }

    #[test]
    fn a_stopped_cluster_that_is_larger_than_a_new_one_comes_back_beside_another() {
        let mut scene = Scene::new(10 * SLOT_BYTES);
        assert_eq!(scene.tell(Event::WarmUp { key: key(), count: 2 }), [boot(1)]);
        assert_eq!(scene.started(1), [boot(2)]);
        assert_eq!(scene.started(2), []);
        for slot in [1, 2] {
            scene.measured(slot, 2 * SLOT_BYTES);
        }
        scene.tell(Event::StopIdle);
        for slot in [1, 2] {
            scene.tell(Event::Stopped { slot: SlotId(slot) });
        }
        let [Action::Start { slot: first }] = scene.acquire(1)[..] else { panic!("none is started") };
        assert_eq!(scene.acquire(2), [], "one cluster is started at a time");
        let actions = scene.started(first.0);
        assert!(matches!(actions[..], [Action::HandOut { .. }, Action::Start { .. }]), "{actions:?}");
    }

    #[test]
    fn a_cluster_that_takes_more_than_there_is_gives_way() {
        let mut scene = Scene::new(3 * SLOT_BYTES);
        assert_eq!(scene.tell(Event::WarmUp { key: key(), count: 2 }), [boot(1)]);
        assert_eq!(scene.started(1), [boot(2)]);
        assert_eq!(scene.measured(1, 2 * SLOT_BYTES), []);
        assert_eq!(scene.measured(1, 2 * SLOT_BYTES + 1), [Action::Stop { slot: SlotId(1) }]);
    }

    #[test]
    fn memory_that_another_engine_has_is_asked_for_again_at_the_next_tick() {
        let mut scene = Scene::new(3 * SLOT_BYTES);
        let other = Budget::open(scene.directory.path(), Total::Fixed(3 * SLOT_BYTES)).expect("joined");
        assert_eq!(other.reserve(2 * SLOT_BYTES).expect("reserved"), 2 * SLOT_BYTES);
        assert_eq!(scene.acquire(1), [boot(1)]);
        assert_eq!(scene.acquire(2), []);
        assert!(matches!(scene.started(1)[..], [Action::HandOut { slot: SlotId(1), .. }]));
        other.release(2 * SLOT_BYTES).expect("given back");
        assert_eq!(scene.measured(1, SLOT_BYTES), [], "it is not asked at each event");
        assert_eq!(scene.tell(Event::Tick), [boot(2)]);
    }

    #[test]
    fn what_is_not_needed_any_more_is_there_for_other_engines() {
        let mut scene = Scene::new(10 * SLOT_BYTES);
        assert_eq!(scene.tell(Event::WarmUp { key: key(), count: 1 }), [boot(1)]);
        assert_eq!(scene.started(1), []);
        assert_eq!(scene.tell(Event::StopIdle), [Action::Stop { slot: SlotId(1) }]);
        assert_eq!(scene.tell(Event::Stopped { slot: SlotId(1) }), []);
        assert_eq!(scene.tell(Event::Tick), []);
        assert_eq!(scene.memory.budget.reserved_bytes(), 0);
    }
}
