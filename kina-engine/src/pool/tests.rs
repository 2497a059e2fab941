use std::collections::{BTreeMap, BTreeSet};

use proptest::prelude::*;

use super::*;

fn limits(slots_max: usize, boots_max: usize) -> Limits {
    Limits { slots_max, boots_max, waiting_max: 8, boot_attempts_max: 2, stop_after_idle_ms: 1_000 }
}

fn key(name: &str) -> SlotKey {
    SlotKey(name.into())
}

fn acquire(waiter: u64, name: &str) -> Event {
    Event::Acquire { waiter: WaiterId(waiter), key: key(name), deadline: 10_000 }
}

#[test]
fn a_client_gets_a_booted_cluster_and_the_next_one_gets_it_rewound() {
    let mut pool = Pool::new(limits(1, 1));
    let slot = SlotId(1);
    assert_eq!(pool.handle(acquire(1, "a"), 0), [Action::Boot { slot, key: key("a") }]);
    assert_eq!(pool.handle(acquire(2, "a"), 1), []);
    assert_eq!(pool.handle(Event::Started { slot }, 2), [Action::HandOut { slot, waiter: WaiterId(1) }]);
    assert_eq!(pool.handle(Event::Released { slot }, 4), [Action::Rewind { slot }]);
    let rewound = Event::Rewound { slot, is_settled: true };
    assert_eq!(pool.handle(rewound, 5), [Action::HandOut { slot, waiter: WaiterId(2) }]);
}

#[test]
fn a_settled_slot_is_preferred() {
    let mut pool = Pool::new(limits(2, 2));
    pool.handle(Event::WarmUp { key: key("a"), count: 2 }, 0);
    pool.handle(Event::Started { slot: SlotId(1) }, 1);
    pool.handle(Event::Started { slot: SlotId(2) }, 1);
    pool.handle(Event::Settled { slot: SlotId(2) }, 2);
    let expected = Action::HandOut { slot: SlotId(2), waiter: WaiterId(1) };
    assert_eq!(pool.handle(acquire(1, "a"), 3), [expected]);
}

#[test]
fn who_waits_for_what_does_not_boot_is_told_so_after_the_last_attempt() {
    let mut pool = Pool::new(limits(1, 1));
    pool.handle(acquire(1, "a"), 0);
    let failed = |slot, is_user_error| Event::StartFailed { slot, reason: "no disk".to_owned(), is_user_error };
    assert_eq!(pool.handle(failed(SlotId(1), false), 1), [Action::Boot { slot: SlotId(2), key: key("a") }]);
    let refusal = PoolRefusal::StartFailed { reason: "no disk".to_owned(), is_user_error: false };
    assert_eq!(pool.handle(failed(SlotId(2), false), 2), [Action::Refuse { waiter: WaiterId(1), refusal }]);
    assert!(pool.is_idle());
}

#[test]
fn what_only_the_user_can_repair_is_not_tried_twice() {
    let mut pool = Pool::new(limits(1, 1));
    pool.handle(acquire(1, "a"), 0);
    let failed = Event::StartFailed { slot: SlotId(1), reason: "wrong version".to_owned(), is_user_error: true };
    let refusal = PoolRefusal::StartFailed { reason: "wrong version".to_owned(), is_user_error: true };
    assert_eq!(pool.handle(failed, 1), [Action::Refuse { waiter: WaiterId(1), refusal }]);
}

#[test]
fn a_deadline_is_kept_and_says_what_the_queue_looks_like() {
    let mut pool = Pool::new(limits(1, 1));
    pool.handle(acquire(1, "a"), 0);
    assert_eq!(pool.handle(Event::Tick, 9_999), []);
    let refusal = PoolRefusal::Deadline { slots: "1 booting".to_owned(), waiting: 0, slots_max: 1 };
    assert_eq!(pool.handle(Event::Tick, 10_000), [Action::Refuse { waiter: WaiterId(1), refusal }]);
}

#[test]
fn an_idle_slot_of_another_kind_makes_room() {
    let mut pool = Pool::new(limits(1, 1));
    pool.handle(Event::WarmUp { key: key("a"), count: 1 }, 0);
    pool.handle(Event::Started { slot: SlotId(1) }, 1);
    assert_eq!(pool.handle(acquire(1, "b"), 2), [Action::Destroy { slot: SlotId(1) }]);
    let booted = [Action::Boot { slot: SlotId(2), key: key("b") }];
    assert_eq!(pool.handle(Event::Destroyed { slot: SlotId(1) }, 3), booted);
}

#[test]
fn idle_slots_stop_and_start_again() {
    let mut pool = Pool::new(limits(1, 1));
    let slot = SlotId(1);
    pool.handle(Event::WarmUp { key: key("a"), count: 1 }, 0);
    pool.handle(Event::Started { slot }, 1);
    assert_eq!(pool.handle(Event::Tick, 1_000), []);
    assert_eq!(pool.handle(Event::Tick, 1_001), [Action::Stop { slot }]);
    assert_eq!(pool.handle(acquire(1, "a"), 1_002), []);
    assert_eq!(pool.handle(Event::Stopped { slot }, 1_003), [Action::Start { slot }]);
    assert_eq!(pool.handle(Event::Started { slot }, 1_004), [Action::HandOut { slot, waiter: WaiterId(1) }]);
}

#[test]
fn a_slot_that_dies_on_loan_is_destroyed_and_replaced_for_who_waits() {
    let mut pool = Pool::new(limits(1, 1));
    pool.handle(acquire(1, "a"), 0);
    pool.handle(Event::Started { slot: SlotId(1) }, 1);
    pool.handle(acquire(2, "a"), 3);
    assert_eq!(pool.handle(Event::Broke { slot: SlotId(1) }, 4), [Action::Destroy { slot: SlotId(1) }]);
    assert_eq!(pool.handle(Event::Released { slot: SlotId(1) }, 5), []);
    let booted = [Action::Boot { slot: SlotId(2), key: key("a") }];
    assert_eq!(pool.handle(Event::Destroyed { slot: SlotId(1) }, 6), booted);
}

/// What a random run does next. The numbers choose among what is possible then.
#[derive(Clone, Debug)]
enum Step {
    Acquire { kind: u8, patience: u16 },
    Leave(u8),
    Succeed(u8),
    Fail(u8),
    Release(u8),
    Die(u8),
    Settle(u8),
    Warm { kind: u8, count: u8 },
    StopIdle,
    Pass(u16),
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        5 => (0..3_u8, 1..5_000_u16).prop_map(|(kind, patience)| Step::Acquire { kind, patience }),
        1 => any::<u8>().prop_map(Step::Leave),
        10 => any::<u8>().prop_map(Step::Succeed),
        2 => any::<u8>().prop_map(Step::Fail),
        4 => any::<u8>().prop_map(Step::Release),
        1 => any::<u8>().prop_map(Step::Die),
        1 => any::<u8>().prop_map(Step::Settle),
        1 => (0..3_u8, 0..5_u8).prop_map(|(kind, count)| Step::Warm { kind, count }),
        1 => Just(Step::StopIdle),
        3 => (1..3_000_u16).prop_map(Step::Pass),
    ]
}

/// A daemon without clusters: remembers which actions are under way, and what became of each client.
struct World {
    pool: Pool,
    limits: Limits,
    now: TimeMs,
    under_way: Vec<Action>,
    waiting: BTreeSet<WaiterId>,
    leased: BTreeMap<SlotId, WaiterId>,
    next_waiter: u64,
}

impl World {
    fn new(limits: Limits) -> Self {
        Self {
            pool: Pool::new(limits),
            limits,
            now: 0,
            under_way: Vec::new(),
            waiting: BTreeSet::new(),
            leased: BTreeMap::new(),
            next_waiter: 1,
        }
    }

    fn take(&mut self, step: &Step) {
        match *step {
            Step::Acquire { kind, patience } => {
                let waiter = WaiterId(self.next_waiter);
                self.next_waiter += 1;
                self.waiting.insert(waiter);
                let deadline = self.now + TimeMs::from(patience);
                self.feed(Event::Acquire { waiter, key: key(&kind.to_string()), deadline });
            }
            Step::Leave(choice) => {
                let in_queue: Vec<_> = self.waiting.iter().copied().collect();
                if let Some(waiter) = choose(&in_queue, choice) {
                    self.waiting.remove(&waiter);
                    self.feed(Event::WaiterLeft { waiter });
                }
            }
            Step::Succeed(choice) => self.finish(choice, true),
            Step::Fail(choice) => self.finish(choice, false),
            Step::Release(choice) => {
                let leased: Vec<_> = self.leased.keys().copied().collect();
                if let Some(slot) = choose(&leased, choice) {
                    self.leased.remove(&slot);
                    self.feed(Event::Released { slot });
                }
            }
            Step::Die(choice) => {
                let slots: Vec<_> = self.pool.slots().map(|(slot, _)| slot).collect();
                if let Some(slot) = choose(&slots, choice) {
                    let is_booting = self.under_way.iter().any(|action| {
                        matches!(action, Action::Boot { slot: other, .. } | Action::Start { slot: other } if *other == slot)
                    });
                    if !is_booting {
                        self.forget(slot);
                        self.leased.remove(&slot);
                    }
                    self.feed(Event::Broke { slot });
                }
            }
            Step::Settle(choice) => {
                let slots: Vec<_> = self.pool.slots().map(|(slot, _)| slot).collect();
                if let Some(slot) = choose(&slots, choice) {
                    self.feed(Event::Settled { slot });
                }
            }
            Step::Warm { kind, count } => {
                self.feed(Event::WarmUp { key: key(&kind.to_string()), count: usize::from(count) });
            }
            Step::StopIdle => self.feed(Event::StopIdle),
            Step::Pass(duration) => {
                self.now += TimeMs::from(duration);
                self.feed(Event::Tick);
            }
        }
    }

    fn finish(&mut self, choice: u8, succeeds: bool) {
        let Some(action) = choose(&self.under_way, choice) else { return };
        self.under_way.retain(|other| *other != action);
        let event = match (action, succeeds) {
            (Action::Boot { slot, .. } | Action::Start { slot }, true) => Event::Started { slot },
            (Action::Boot { slot, .. } | Action::Start { slot }, false) => {
                Event::StartFailed { slot, reason: "failed".to_owned(), is_user_error: false }
            }
            (Action::Rewind { slot }, true) => Event::Rewound { slot, is_settled: false },
            (Action::Stop { slot }, true) => Event::Stopped { slot },
            // Destroying reports its end whatever happened.
            (Action::Destroy { slot }, _) => Event::Destroyed { slot },
            (Action::Rewind { slot } | Action::Stop { slot }, false) => Event::Broke { slot },
            // Neither is ever under way.
            (Action::HandOut { .. } | Action::Refuse { .. }, _) => return,
        };
        self.feed(event);
    }

    fn feed(&mut self, event: Event) {
        for action in self.pool.handle(event, self.now) {
            match action {
                Action::Refuse { waiter, .. } => {
                    assert!(self.waiting.remove(&waiter), "{waiter:?} is refused, but does not wait");
                }
                action => {
                    let slot = slot_of(&action);
                    let is_busy = self.under_way.iter().any(|other| slot_of(other) == slot);
                    assert!(!is_busy, "{slot:?} is asked for two things at a time");
                    assert!(!self.leased.contains_key(&slot), "{slot:?} is used while it is leased");
                    if let Action::HandOut { waiter, .. } = action {
                        assert!(self.waiting.remove(&waiter), "{waiter:?} is served, but does not wait");
                        self.leased.insert(slot, waiter);
                    } else {
                        self.under_way.push(action);
                    }
                }
            }
        }
        self.check();
    }

    /// What must hold after every event.
    fn check(&self) {
        let slots: BTreeMap<SlotId, SlotState> = self.pool.slots().collect();
        assert!(slots.len() <= self.limits.slots_max, "more slots than allowed");
        assert!(
            slots.values().filter(|state| state.is_boot()).count() <= self.limits.boots_max,
            "more boots than allowed"
        );
        assert!(self.pool.waiting() <= self.limits.waiting_max, "more clients wait than allowed");
        for (slot, state) in &slots {
            // No slot is lost: who is in passing has somebody at work.
            let is_worked_on = self.under_way.iter().any(|action| slot_of(action) == *slot);
            let is_in_passing = !matches!(state, SlotState::Ready | SlotState::Stopped | SlotState::Leased(_));
            assert_eq!(is_worked_on, is_in_passing, "{slot:?} is {state:?}");
        }
        // One lease a slot, and the pool knows of it.
        let leased: BTreeMap<SlotId, WaiterId> = slots
            .iter()
            .filter_map(|(slot, state)| match state {
                SlotState::Leased(waiter) => Some((*slot, *waiter)),
                _ => None,
            })
            .collect();
        assert_eq!(leased, self.leased);
        // Every client is in the queue, or was served or refused.
        assert_eq!(self.pool.waiting(), self.waiting.len(), "a client is lost");
    }

    fn forget(&mut self, slot: SlotId) {
        self.under_way.retain(|action| slot_of(action) != slot || matches!(action, Action::Destroy { .. }));
    }

    /// Lets everything succeed until nothing is under way. Nobody must be left waiting.
    fn drain(&mut self) {
        for _ in 0..10_000 {
            if let Some(slot) = self.leased.keys().next().copied() {
                self.leased.remove(&slot);
                self.feed(Event::Released { slot });
            } else if self.under_way.is_empty() {
                assert!(self.waiting.is_empty(), "clients wait although nothing is under way");
                return;
            } else {
                self.finish(0, true);
            }
        }
        panic!("the pool does not come to rest");
    }
}

fn slot_of(action: &Action) -> SlotId {
    match action {
        Action::Boot { slot, .. }
        | Action::Start { slot }
        | Action::HandOut { slot, .. }
        | Action::Rewind { slot }
        | Action::Stop { slot }
        | Action::Destroy { slot } => *slot,
        Action::Refuse { .. } => unreachable!("a refusal is about no slot"),
    }
}

fn choose<T: Clone>(candidates: &[T], choice: u8) -> Option<T> {
    candidates.get(usize::from(choice) % candidates.len().max(1)).cloned()
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 500, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn no_sequence_of_events_breaks_the_pool(
        steps in prop::collection::vec(step(), 1..200),
        slots_max in 1..5_usize,
        boots_max in 1..3_usize,
    ) {
        let mut world = World::new(limits(slots_max, boots_max));
        for step in &steps {
            world.take(step);
        }
        world.drain();
    }
}
