//! Random sequences of events, with the invariants checked after each of them.
//!
//! About 100,000 events in an ordinary run; `KINA_POOL_EVENTS=10000000 cargo test --release -p kina-engine --lib pool`
//! tries that many.

use std::collections::BTreeMap;

use proptest::prelude::*;

use super::*;

/// The average number of events in a sequence. Some lead to others, so the real number is higher.
const EVENTS_PER_SEQUENCE: u32 = 100;

/// A step of a random run. The numbers choose among the possibilities at that time.
#[derive(Clone, Debug)]
enum Step {
    Acquire { kind: u8, template: u8, client: u8, patience: u16 },
    Leave(u8),
    Succeed(u8),
    Fail { choice: u8, is_user_error: bool, jitter_permille: u16 },
    Release(u8),
    TakeTemplate { choice: u8, template: u8 },
    BreakTemplate(u8),
    Die(u8),
    Settle(u8),
    Measure { choice: u8, memory_megabytes: u16, database_megabytes: u16 },
    LimitMemory { megabytes: u16 },
    Warm { kind: u8, count: u8 },
    StopIdle,
    Pass(u16),
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        6 => (0..3_u8, 0..4_u8, 0..3_u8, 1..5_000_u16)
            .prop_map(|(kind, template, client, patience)| Step::Acquire { kind, template, client, patience }),
        1 => any::<u8>().prop_map(Step::Leave),
        12 => any::<u8>().prop_map(Step::Succeed),
        2 => (any::<u8>(), prop::bool::weighted(0.1), 0..1001_u16)
            .prop_map(|(choice, is_user_error, jitter_permille)| Step::Fail { choice, is_user_error, jitter_permille }),
        4 => any::<u8>().prop_map(Step::Release),
        1 => (any::<u8>(), 0..4_u8).prop_map(|(choice, template)| Step::TakeTemplate { choice, template }),
        1 => (0..40_u8).prop_map(Step::BreakTemplate),
        1 => any::<u8>().prop_map(Step::Die),
        2 => any::<u8>().prop_map(Step::Settle),
        1 => (any::<u8>(), 50..350_u16, 0..110_u16).prop_map(|(choice, memory_megabytes, database_megabytes)| {
            Step::Measure { choice, memory_megabytes, database_megabytes }
        }),
        1 => (0..1000_u16).prop_map(|megabytes| Step::LimitMemory { megabytes }),
        1 => (0..3_u8, 0..5_u8).prop_map(|(kind, count)| Step::Warm { kind, count }),
        1 => Just(Step::StopIdle),
        4 => (1..3_000_u16).prop_map(Step::Pass),
    ]
}

/// A daemon without clusters: keeps the actions under way, the waiting and leasing clients, and the pristine slots.
struct World {
    pool: Pool,
    limits: Limits,
    memory_max_bytes: u64,
    now: TimeMs,
    under_way: Vec<Action>,
    waiting: BTreeMap<WaiterId, (SlotKey, Option<TemplateName>)>,
    leased: BTreeMap<SlotId, WaiterId>,
    /// The slots that were booted or rewound and not leased since, with their templates.
    pristine: BTreeMap<SlotId, Option<TemplateName>>,
    next_waiter: u64,
}

impl World {
    fn new(limits: Limits) -> Self {
        Self {
            pool: Pool::new(limits),
            limits,
            memory_max_bytes: limits.memory_max_bytes,
            now: 0,
            under_way: Vec::new(),
            waiting: BTreeMap::new(),
            leased: BTreeMap::new(),
            pristine: BTreeMap::new(),
            next_waiter: 1,
        }
    }

    fn take(&mut self, step: &Step) {
        match *step {
            Step::Acquire { kind, template, client, patience } => {
                let waiter = WaiterId(self.next_waiter);
                self.next_waiter += 1;
                let key = key(&kind.to_string());
                let template = template_of(template);
                self.waiting.insert(waiter, (key.clone(), template.clone()));
                let deadline = self.now + TimeMs::from(patience);
                self.feed(Event::Acquire { waiter, client: ClientId(u64::from(client)), key, template, deadline });
            }
            Step::Leave(choice) => {
                let in_queue: Vec<_> = self.waiting.keys().copied().collect();
                if let Some(waiter) = choose(&in_queue, choice) {
                    self.waiting.remove(&waiter);
                    self.feed(Event::WaiterLeft { waiter });
                }
            }
            Step::Succeed(choice) => self.succeed(choice),
            Step::Fail { choice, is_user_error, jitter_permille } => {
                self.fail(choice, is_user_error, jitter_permille);
            }
            Step::Release(choice) => {
                let leased: Vec<_> = self.leased.keys().copied().collect();
                if let Some(slot) = choose(&leased, choice) {
                    self.leased.remove(&slot);
                    self.feed(Event::Released { slot });
                }
            }
            Step::TakeTemplate { choice, template } => {
                let leased: Vec<_> = self.leased.keys().copied().collect();
                if let (Some(slot), Some(template)) = (choose(&leased, choice), template_of(template)) {
                    self.feed(Event::TemplateTaken { slot, template });
                }
            }
            Step::BreakTemplate(template) => {
                if let Some(template) = template_of(template).filter(|_| template < 4) {
                    self.feed(Event::TemplateBroke { key: key("0"), template, reason: "no such CRD".to_owned() });
                }
            }
            Step::Die(choice) => self.die(choice),
            Step::Settle(choice) => {
                if let Some(slot) = self.choose_slot(choice) {
                    self.feed(Event::Settled { slot });
                }
            }
            Step::Measure { choice, memory_megabytes, database_megabytes } => {
                if let Some(slot) = self.choose_slot(choice) {
                    self.feed(Event::Measured {
                        slot,
                        memory_bytes: u64::from(memory_megabytes) * MEGABYTE,
                        database_bytes: u64::from(database_megabytes) * MEGABYTE,
                    });
                }
            }
            Step::LimitMemory { megabytes } => {
                self.memory_max_bytes = u64::from(megabytes) * MEGABYTE;
                self.feed(Event::MemoryLimit { memory_max_bytes: self.memory_max_bytes });
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

    fn succeed(&mut self, choice: u8) {
        let Some(action) = choose(&self.under_way, choice) else { return };
        self.under_way.retain(|other| *other != action);
        let event = match action {
            Action::Boot { slot, .. } => {
                self.pristine.insert(slot, None);
                Event::Started { slot }
            }
            Action::Start { slot } | Action::Thaw { slot } => Event::Started { slot },
            Action::Rewind { slot, template } => {
                self.pristine.insert(slot, template);
                Event::Rewound { slot, is_settled: choice.is_multiple_of(2) }
            }
            Action::Freeze { slot } => Event::Frozen { slot },
            Action::Stop { slot } => Event::Stopped { slot },
            Action::Destroy { slot, .. } => Event::Destroyed { slot },
            Action::HandOut { .. } | Action::Refuse { .. } => unreachable!("neither is ever under way"),
        };
        self.feed(event);
    }

    fn fail(&mut self, choice: u8, is_user_error: bool, jitter_permille: u16) {
        let Some(action) = choose(&self.under_way, choice) else { return };
        let slot = slot_of(&action);
        let event = match action {
            Action::Boot { .. } | Action::Start { .. } => {
                Event::StartFailed { slot, reason: "failed".to_owned(), is_user_error, jitter_permille }
            }
            // Destroying reports its end whatever happens.
            Action::Destroy { .. } => return,
            _ => Event::Broke { slot },
        };
        self.under_way.retain(|other| *other != action);
        self.feed(event);
    }

    fn die(&mut self, choice: u8) {
        let Some(slot) = self.choose_slot(choice) else { return };
        let is_boot = |action: &Action| matches!(action, Action::Boot { .. } | Action::Start { .. });
        let is_booting = self.under_way.iter().any(|action| is_boot(action) && slot_of(action) == slot);
        if !is_booting {
            // The daemon drops late answers about a slot that broke.
            self.under_way.retain(|action| slot_of(action) != slot || matches!(action, Action::Destroy { .. }));
            self.leased.remove(&slot);
        }
        self.feed(Event::Broke { slot });
    }

    fn feed(&mut self, event: Event) {
        let mut starts = false;
        for action in self.pool.handle(event, self.now) {
            if let Action::Refuse { waiter, .. } = action {
                assert!(self.waiting.remove(&waiter).is_some(), "{waiter:?} is refused, but does not wait");
                continue;
            }
            let slot = slot_of(&action);
            let is_busy = self.under_way.iter().any(|other| slot_of(other) == slot);
            assert!(!is_busy, "{slot:?} has two actions under way at a time");
            assert!(!self.leased.contains_key(&slot), "{slot:?} is used while it is leased");
            match action {
                Action::HandOut { waiter, .. } => {
                    let (kind, template) = self.waiting.remove(&waiter).expect("it waits");
                    assert_eq!(Some(&kind), self.pool.key(slot), "{waiter:?} is served a kind that it did not ask for");
                    let pristine = self.pristine.remove(&slot).expect("a slot that is handed out is pristine");
                    assert_eq!(pristine, template, "{slot:?} is handed out at another template");
                    self.leased.insert(slot, waiter);
                }
                action => {
                    let is_stop = matches!(action, Action::Stop { .. } | Action::Start { .. });
                    assert!(self.limits.can_stop || !is_stop, "{action:?} although clusters cannot be stopped");
                    starts |= matches!(action, Action::Boot { .. } | Action::Start { .. });
                    self.under_way.push(action);
                }
            }
        }
        if starts {
            let held_bytes = self.pool.memory_bytes();
            let holders = self.pool.memory_holders();
            assert!(holders <= 1 || held_bytes <= self.memory_max_bytes, "a start takes more memory than allowed");
        }
        self.check();
    }

    /// Checks the invariants.
    fn check(&self) {
        let slots: BTreeMap<SlotId, SlotState> = self.pool.slots().collect();
        assert!(slots.len() <= self.limits.slots_max, "more slots than allowed");
        assert!(self.pool.boots_under_way() <= self.limits.boots_max, "more boots than allowed");
        let rewinds = slots.values().filter(|state| **state == SlotState::Rewinding).count();
        assert!(rewinds <= self.limits.rewinds_max, "more rewinds than allowed");
        assert!(self.pool.waiting() <= self.limits.waiting_max, "more clients wait than allowed");
        for (slot, state) in &slots {
            // No slot is lost: a slot in passing has an action under way, or waits for its place among the rewinds.
            let is_worked_on = self.under_way.iter().any(|action| slot_of(action) == *slot);
            let is_in_passing = !state.is_idle() && !matches!(state, SlotState::Leased(_) | SlotState::Released);
            assert_eq!(is_worked_on, is_in_passing, "{slot:?} is {state:?}");
            if *state == SlotState::Released {
                assert_eq!(rewinds, self.limits.rewinds_max, "{slot:?} is not rewound although it may be");
            }
        }
        // No idle cluster is kept above the memory limit, unless it is the only one.
        let idle = slots.values().any(|state| matches!(state, SlotState::Ready | SlotState::Frozen));
        let staying = slots
            .values()
            .filter(|state| !matches!(state, SlotState::Stopping | SlotState::Stopped | SlotState::Broken));
        if idle && 1 < staying.count() {
            let leaving: u64 = self.pool.leaving_memory_bytes();
            assert!(self.pool.memory_bytes() - leaving <= self.memory_max_bytes, "too much memory is held idle");
        }
        // The leases are those that the pool knows of, one for each slot.
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

    fn choose_slot(&self, choice: u8) -> Option<SlotId> {
        choose(&self.pool.slots().map(|(slot, _)| slot).collect::<Vec<_>>(), choice)
    }

    /// Lets everything succeed until nothing is under way. No client may be left waiting, except for a kind that does
    /// not boot.
    fn drain(&mut self) {
        for _ in 0..10_000 {
            if let Some(slot) = self.leased.keys().next().copied() {
                self.leased.remove(&slot);
                self.feed(Event::Released { slot });
            } else if !self.under_way.is_empty() {
                self.succeed(0);
            } else if let Some((waiter, (key, _))) = self.waiting.iter().next() {
                let is_paused = self.pool.is_paused(key, self.now);
                assert!(is_paused, "{waiter:?} waits although nothing is under way");
                self.now += 1;
                self.feed(Event::Tick);
            } else {
                return;
            }
        }
        panic!("the pool does not come to rest");
    }
}

fn slot_of(action: &Action) -> SlotId {
    match action {
        Action::Boot { slot, .. }
        | Action::Start { slot }
        | Action::Thaw { slot }
        | Action::HandOut { slot, .. }
        | Action::Rewind { slot, .. }
        | Action::Freeze { slot }
        | Action::Stop { slot }
        | Action::Destroy { slot, .. } => *slot,
        Action::Refuse { .. } => unreachable!("a refusal is about no slot"),
    }
}

fn template_of(number: u8) -> Option<TemplateName> {
    (0 < number).then(|| TemplateName(number.to_string().into()))
}

fn choose<T: Clone>(candidates: &[T], choice: u8) -> Option<T> {
    candidates.get(usize::from(choice) % candidates.len().max(1)).cloned()
}

fn sequences() -> u32 {
    let events = std::env::var("KINA_POOL_EVENTS").ok().and_then(|events| events.parse().ok()).unwrap_or(100_000_u32);
    events.div_ceil(EVENTS_PER_SEQUENCE)
}

proptest! {
    #![proptest_config(ProptestConfig { cases: sequences(), failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn no_sequence_of_events_breaks_the_pool(
        steps in prop::collection::vec(step(), 1..200),
        slots_max in 1..5_usize,
        boots_max in 1..3_usize,
        rewinds_max in 1..3_usize,
        can_stop in prop::bool::weighted(0.8),
    ) {
        let mut world = World::new(Limits { rewinds_max, can_stop, ..limits(slots_max, boots_max) });
        for step in &steps {
            world.take(step);
        }
        world.drain();
    }
}
