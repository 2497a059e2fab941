//! The cost of the pool's decisions, which are made one after the other for all clients.
//!
//! `cargo bench --bench pool`. There are no clusters here: every action of the pool is reported as done at once.

use std::collections::VecDeque;
use std::hint::black_box;

use criterion::{Criterion, criterion_group, criterion_main};
use kina_engine::lab::pool::{
    Action, BreakerLimits, ClientId, Event, Limits, Pool, ScaleLimits, SlotId, SlotKey, WaiterId, WearLimits,
};

const GIGABYTE: u64 = 1 << 30;
/// No client gives up within this time.
const DEADLINE_MS: u64 = 1 << 40;

/// A pool whose actions are done at once.
struct World {
    pool: Pool,
    key: SlotKey,
    now: u64,
    waiter: u64,
    leased: VecDeque<SlotId>,
}

impl World {
    /// A pool with this many ready clusters.
    fn new(slots: usize) -> Self {
        let limits = Limits {
            slots_max: slots,
            boots_max: slots,
            rewinds_max: slots,
            template_patience_ms: 20,
            kind_patience_ms: 5_000,
            waiting_max: 100_000,
            memory_max_bytes: 1000 * GIGABYTE,
            slot_memory_bytes: GIGABYTE,
            freeze_after_idle_ms: None,
            can_stop: true,
            stop_after_idle_ms: DEADLINE_MS,
            stopped_age_max_ms: DEADLINE_MS,
            breaker: BreakerLimits { failures_max: 3, open_ms: 10_000, retry_pauses_ms: [100; 7] },
            scale: ScaleLimits { target_utilisation_percent: 100, up_window_ms: 1000, down_window_ms: 1000 },
            wear: WearLimits {
                leases_max: u64::MAX,
                database_max_bytes: 1000 * GIGABYTE,
                memory_max_bytes: 1000 * GIGABYTE,
            },
        };
        let mut world =
            Self { pool: Pool::new(limits), key: SlotKey("bench".into()), now: 0, waiter: 0, leased: VecDeque::new() };
        world.handle(Event::WarmUp { key: world.key.clone(), count: slots });
        assert_eq!(world.pool.running(&world.key), slots, "all of them are ready");
        world
    }

    fn handle(&mut self, event: Event) {
        let mut events = VecDeque::from([event]);
        while let Some(event) = events.pop_front() {
            self.now += 1;
            for action in self.pool.handle(event, self.now) {
                match action {
                    Action::Boot { slot, .. } | Action::Start { slot } | Action::Thaw { slot } => {
                        events.push_back(Event::Started { slot });
                    }
                    Action::HandOut { slot, .. } => self.leased.push_back(slot),
                    Action::Rewind { slot, .. } => events.push_back(Event::Rewound { slot, is_settled: true }),
                    Action::Freeze { slot } => events.push_back(Event::Frozen { slot }),
                    Action::Stop { slot } => events.push_back(Event::Stopped { slot }),
                    Action::Destroy { slot, .. } => events.push_back(Event::Destroyed { slot }),
                    Action::Refuse { .. } => {}
                }
            }
        }
    }

    fn acquire(&mut self) {
        self.waiter += 1;
        self.handle(Event::Acquire {
            waiter: WaiterId(self.waiter),
            client: ClientId(self.waiter),
            key: self.key.clone(),
            template: None,
            deadline: DEADLINE_MS,
        });
    }

    fn release(&mut self) {
        let slot = self.leased.pop_front().expect("a lease");
        self.handle(Event::Released { slot });
    }
}

fn leases(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("pool");
    for slots in [1, 8, 64] {
        let mut world = World::new(slots);
        group.bench_function(format!("a lease and its release, {slots} clusters"), |bencher| {
            bencher.iter(|| {
                world.acquire();
                black_box(&mut world).release();
            });
        });
    }
    for waiting in [10, 1000] {
        let mut world = World::new(8);
        for _ in 0..8 + waiting {
            world.acquire();
        }
        assert_eq!(world.pool.waiting(), waiting, "the others have a cluster");
        group.bench_function(format!("a release and a new client, 8 clusters, {waiting} waiting"), |bencher| {
            bencher.iter(|| {
                black_box(&mut world).release();
                world.acquire();
            });
        });
    }
    group.finish();
}

criterion_group!(benches, leases);
criterion_main!(benches);
