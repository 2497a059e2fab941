//! Examples of the pool's behaviour; `model` tries random sequences.

mod model;

use super::*;

const MEGABYTE: u64 = 1 << 20;

fn limits(slots_max: usize, boots_max: usize) -> Limits {
    Limits {
        slots_max,
        boots_max,
        rewinds_max: 2,
        template_patience_ms: 20,
        kind_patience_ms: 1_000,
        waiting_max: 8,
        memory_max_bytes: 1000 * MEGABYTE,
        slot_memory_bytes: 100 * MEGABYTE,
        freeze_after_idle_ms: Some(500),
        can_stop: true,
        stop_after_idle_ms: 1_000,
        stopped_age_max_ms: 100_000,
        breaker: BreakerLimits {
            failures_max: 2,
            open_ms: 5_000,
            retry_pauses_ms: [100, 200, 400, 800, 1600, 3200, 5000],
        },
        scale: ScaleLimits { target_utilisation_percent: 70, up_window_ms: 300, down_window_ms: 2_000 },
        wear: WearLimits { leases_max: 50, database_max_bytes: 100 * MEGABYTE, memory_max_bytes: 300 * MEGABYTE },
    }
}

/// Limits under which nothing is booted ahead of demand.
fn limits_without_scaling(slots_max: usize, boots_max: usize) -> Limits {
    let scale = ScaleLimits { target_utilisation_percent: 100, ..limits(1, 1).scale };
    Limits { scale, ..limits(slots_max, boots_max) }
}

fn key(name: &str) -> SlotKey {
    SlotKey(name.into())
}

fn acquire(waiter: u64, name: &str) -> Event {
    acquire_by(waiter, waiter, name)
}

fn acquire_by(client: u64, waiter: u64, name: &str) -> Event {
    acquire_at(client, waiter, name, None)
}

fn acquire_at(client: u64, waiter: u64, name: &str, template: Option<&str>) -> Event {
    let template = template.map(|name| TemplateName(name.into()));
    Event::Acquire { waiter: WaiterId(waiter), client: ClientId(client), key: key(name), template, deadline: 10_000 }
}

fn rewind(slot: SlotId, template: Option<&str>) -> Action {
    Action::Rewind { slot, template: template.map(|name| TemplateName(name.into())) }
}

fn hand_out(slot: SlotId, waiter: u64, layer: Layer) -> Action {
    Action::HandOut { slot, waiter: WaiterId(waiter), layer }
}

fn failed(slot: u64, is_user_error: bool) -> Event {
    let reason = "no disk".to_owned();
    Event::StartFailed { slot: SlotId(slot), reason, is_user_error, jitter_permille: 1000 }
}

/// A pool with one ready, settled slot of this kind.
fn pool_with_ready(limits: Limits, name: &str) -> (Pool, SlotId) {
    let mut pool = Pool::new(limits);
    let slot = SlotId(1);
    pool.handle(Event::WarmUp { key: key(name), count: 1 }, 0);
    pool.handle(Event::Started { slot }, 1);
    pool.handle(Event::Settled { slot }, 2);
    (pool, slot)
}

/// A pool with this many ready slots of the kind `a`, which all booted at the same time.
fn pool_with_started(limits: Limits, count: u64) -> Pool {
    let mut pool = Pool::new(limits);
    pool.handle(Event::WarmUp { key: key("a"), count: usize::try_from(count).expect("a small number") }, 0);
    for slot in 1..=count {
        pool.handle(Event::Started { slot: SlotId(slot) }, 1);
    }
    pool
}

#[test]
fn a_client_gets_a_booted_cluster_and_the_next_one_gets_it_rewound() {
    let mut pool = Pool::new(limits(1, 1));
    let slot = SlotId(1);
    assert_eq!(pool.handle(acquire(1, "a"), 0), [Action::Boot { slot, key: key("a") }]);
    assert_eq!(pool.handle(acquire(2, "a"), 1), []);
    assert_eq!(pool.handle(Event::Started { slot }, 2), [hand_out(slot, 1, Layer::Booted)]);
    assert_eq!(pool.handle(Event::Released { slot }, 4), [rewind(slot, None)]);
    let rewound = Event::Rewound { slot, is_settled: true };
    assert_eq!(pool.handle(rewound, 5), [hand_out(slot, 2, Layer::Rewound)]);
    pool.handle(Event::Released { slot }, 6);
    pool.handle(Event::Rewound { slot, is_settled: true }, 7);
    assert_eq!(pool.handle(acquire(3, "a"), 8), [hand_out(slot, 3, Layer::Ready)]);
}

#[test]
fn a_settled_slot_is_preferred() {
    let mut pool = Pool::new(limits(2, 2));
    pool.handle(Event::WarmUp { key: key("a"), count: 2 }, 0);
    pool.handle(Event::Started { slot: SlotId(1) }, 1);
    pool.handle(Event::Started { slot: SlotId(2) }, 1);
    pool.handle(Event::Settled { slot: SlotId(2) }, 2);
    assert_eq!(pool.handle(acquire(1, "a"), 3), [hand_out(SlotId(2), 1, Layer::Ready)]);
}

#[test]
fn a_greedy_process_does_not_starve_others() {
    let (mut pool, slot) = pool_with_ready(limits_without_scaling(1, 1), "a");
    pool.handle(acquire_by(1, 1, "a"), 3);
    for waiter in 2..5 {
        pool.handle(acquire_by(1, waiter, "a"), 4);
    }
    pool.handle(acquire_by(2, 5, "a"), 5);
    let mut served = Vec::new();
    for now in 6..10 {
        pool.handle(Event::Released { slot }, now);
        let actions = pool.handle(Event::Rewound { slot, is_settled: true }, now);
        served.extend(actions.into_iter().filter_map(|action| match action {
            Action::HandOut { waiter, .. } => Some(waiter.0),
            _ => None,
        }));
    }
    assert_eq!(served, [2, 5, 3, 4]);
}

#[test]
fn clients_of_a_kind_that_does_not_boot_are_refused_and_the_kind_is_left_alone_for_a_while() {
    let mut pool = Pool::new(limits(1, 1));
    pool.handle(acquire(1, "a"), 0);
    assert_eq!(pool.handle(failed(1, false), 1), []);
    // The retry comes after a pause, not at once.
    assert_eq!(pool.handle(Event::Tick, 100), []);
    assert_eq!(pool.handle(Event::Tick, 101), [Action::Boot { slot: SlotId(2), key: key("a") }]);
    let refused = |waiter, retry_after_ms| {
        let reason = "no disk".to_owned();
        let refusal = PoolRefusal::StartFailed { reason, is_user_error: false, retry_after_ms };
        [Action::Refuse { waiter: WaiterId(waiter), refusal }]
    };
    assert_eq!(pool.handle(failed(2, false), 102), refused(1, 5_000));
    assert!(pool.is_idle());
    assert_eq!(pool.handle(acquire(2, "a"), 2_102), refused(2, 3_000));
    // Then one boot is tried, and its result decides.
    assert_eq!(pool.handle(acquire(3, "a"), 5_102), [Action::Boot { slot: SlotId(3), key: key("a") }]);
    assert_eq!(pool.handle(acquire(4, "a"), 5_103), []);
    let slot = SlotId(3);
    assert_eq!(pool.handle(Event::Started { slot }, 5_104), [hand_out(slot, 3, Layer::Booted)]);
}

#[test]
fn stopped_clusters_that_do_not_come_back_do_not_prevent_a_boot() {
    let mut pool = Pool::new(limits_without_scaling(3, 1));
    pool.handle(Event::WarmUp { key: key("a"), count: 3 }, 0);
    for slot in 1..4 {
        pool.handle(Event::Started { slot: SlotId(slot) }, slot);
    }
    pool.handle(Event::StopIdle, 4);
    for slot in 1..4 {
        pool.handle(Event::Stopped { slot: SlotId(slot) }, 5);
    }
    let mut actions = pool.handle(acquire(1, "a"), 6);
    for now in 7..10 {
        let [Action::Start { slot }] = actions[..] else { panic!("{actions:?}") };
        actions = pool.handle(failed(slot.0, false), now);
    }
    let slot = SlotId(4);
    assert_eq!(actions, [Action::Boot { slot, key: key("a") }], "at once, although three have failed in a row");
    assert_eq!(pool.handle(Event::Started { slot }, 10), [hand_out(slot, 1, Layer::Booted)]);
}

#[test]
fn a_client_waits_for_a_running_cluster_although_none_boots() {
    let (mut pool, slot) = pool_with_ready(limits(3, 1), "a");
    pool.handle(acquire(1, "a"), 3);
    pool.handle(acquire(2, "a"), 4);
    pool.handle(failed(2, false), 5);
    pool.handle(Event::Tick, 300);
    assert_eq!(pool.handle(failed(3, false), 301), []);
    pool.handle(Event::Released { slot }, 302);
    let served = pool.handle(Event::Rewound { slot, is_settled: true }, 303);
    assert_eq!(served, [hand_out(slot, 2, Layer::Rewound)]);
}

#[test]
fn a_failure_that_only_the_user_can_repair_is_not_retried() {
    let mut pool = Pool::new(limits(1, 1));
    pool.handle(acquire(1, "a"), 0);
    let refusal = PoolRefusal::StartFailed { reason: "no disk".to_owned(), is_user_error: true, retry_after_ms: 0 };
    assert_eq!(pool.handle(failed(1, true), 1), [Action::Refuse { waiter: WaiterId(1), refusal }]);
}

#[test]
fn a_refusal_at_the_deadline_describes_the_queue() {
    let mut pool = Pool::new(limits(1, 1));
    pool.handle(acquire(1, "a"), 0);
    assert_eq!(pool.handle(Event::Tick, 9_999), []);
    let refusal = PoolRefusal::Deadline { waited_ms: 10_000, slots: "1 booting".to_owned(), waiting: 0, slots_max: 1 };
    assert_eq!(pool.handle(Event::Tick, 10_000), [Action::Refuse { waiter: WaiterId(1), refusal }]);
}

#[test]
fn an_idle_slot_of_another_kind_makes_room() {
    let (mut pool, slot) = pool_with_ready(limits(1, 1), "a");
    let destroyed = Action::Destroy { slot, cause: DestroyCause::MakesRoom };
    assert_eq!(pool.handle(acquire(1, "b"), 3), [destroyed]);
    let booted = [Action::Boot { slot: SlotId(2), key: key("b") }];
    assert_eq!(pool.handle(Event::Destroyed { slot }, 4), booted);
}

#[test]
fn a_kind_in_constant_demand_gives_way_to_another_after_a_while() {
    let (mut pool, slot) = pool_with_ready(limits_without_scaling(1, 1), "a");
    let rewound = |pool: &mut Pool, now| pool.handle(Event::Rewound { slot, is_settled: true }, now);
    pool.handle(acquire(1, "a"), 3);
    pool.handle(acquire(2, "b"), 4);
    for (waiter, now) in [(3, 500), (4, 1_000)] {
        pool.handle(acquire(waiter, "a"), now - 1);
        assert_eq!(pool.handle(Event::Released { slot }, now), [rewind(slot, None)], "the other has just come");
        assert_eq!(rewound(&mut pool, now), [hand_out(slot, waiter, Layer::Rewound)]);
    }
    pool.handle(acquire(5, "a"), 1_004);
    let gives_way = Action::Destroy { slot, cause: DestroyCause::MakesRoom };
    assert_eq!(pool.handle(Event::Released { slot }, 1_005), [gives_way]);
    let other = SlotId(2);
    assert_eq!(pool.handle(Event::Destroyed { slot }, 1_006), [Action::Boot { slot: other, key: key("b") }]);
    assert_eq!(pool.handle(Event::Started { slot: other }, 2_100), [hand_out(other, 2, Layer::Booted)]);
    // It, too, serves its kind for a while, or every lease would cost a boot.
    pool.handle(acquire(6, "b"), 2_200);
    assert_eq!(pool.handle(Event::Released { slot: other }, 2_201), [rewind(other, None)]);
}

#[test]
fn an_idle_slot_freezes_then_stops_and_comes_back_from_each() {
    let (mut pool, slot) = pool_with_ready(limits_without_scaling(1, 1), "a");
    assert_eq!(pool.handle(Event::Tick, 500), []);
    assert_eq!(pool.handle(Event::Tick, 501), [Action::Freeze { slot }]);
    // A request during the freezing: the slot is thawed as soon as it is frozen.
    assert_eq!(pool.handle(acquire(1, "a"), 502), []);
    assert_eq!(pool.handle(Event::Frozen { slot }, 503), [Action::Thaw { slot }]);
    assert_eq!(pool.handle(Event::Started { slot }, 504), [hand_out(slot, 1, Layer::Frozen)]);
    pool.handle(Event::Released { slot }, 600);
    pool.handle(Event::Rewound { slot, is_settled: true }, 601);
    assert_eq!(pool.handle(Event::Tick, 1_100), [Action::Freeze { slot }]);
    pool.handle(Event::Frozen { slot }, 1_101);
    assert!(pool.is_at_rest());
    // Its use still counts as demand until the window for shrinking has passed.
    assert_eq!(pool.handle(Event::Tick, 2_000), []);
    assert_eq!(pool.handle(Event::Tick, 2_700), [Action::Stop { slot }]);
    assert_eq!(pool.handle(acquire(2, "a"), 2_701), []);
    assert_eq!(pool.handle(Event::Stopped { slot }, 2_702), [Action::Start { slot }]);
    assert_eq!(pool.handle(Event::Started { slot }, 2_703), [hand_out(slot, 2, Layer::Stopped)]);
}

#[test]
fn warming_waits_for_boots_of_other_kinds_and_for_slots_on_their_way_out() {
    let mut pool = Pool::new(limits(2, 1));
    let warm = |name, count| Event::WarmUp { key: key(name), count };
    let boot = |slot, name| Action::Boot { slot: SlotId(slot), key: key(name) };
    assert_eq!(pool.handle(warm("a", 1), 0), [boot(1, "a")]);
    assert_eq!(pool.handle(warm("b", 1), 1), []);
    assert!(pool.is_warming(&key("b")), "its turn comes");
    assert_eq!(pool.handle(Event::Started { slot: SlotId(1) }, 2), [boot(2, "b")]);
    pool.handle(Event::Started { slot: SlotId(2) }, 3);
    assert!(!pool.is_warming(&key("b")));
    let breaks = pool.handle(Event::Broke { slot: SlotId(2) }, 3);
    assert!(matches!(breaks[..], [Action::Destroy { slot: SlotId(2), .. }]), "{breaks:?}");
    assert_eq!(pool.handle(warm("b", 1), 3), []);
    assert!(pool.is_warming(&key("b")), "another one can be booted when that one has gone");
    assert_eq!(pool.handle(Event::Destroyed { slot: SlotId(2) }, 4), [boot(3, "b")]);
    pool.handle(Event::Started { slot: SlotId(3) }, 5);
    assert!(!pool.is_warming(&key("b")));
    // Nothing is on its way, and warming never displaces a slot.
    assert_eq!(pool.handle(warm("c", 1), 6), []);
    assert!(!pool.is_warming(&key("c")));
}

#[test]
fn warming_does_not_take_the_room_that_is_made_for_a_waiting_client() {
    let mut pool = Pool::new(Limits { memory_max_bytes: 200 * MEGABYTE, ..limits_without_scaling(3, 2) });
    let [large, small] = [1, 2].map(SlotId);
    pool.handle(Event::WarmUp { key: key("a"), count: 1 }, 0);
    pool.handle(Event::Started { slot: large }, 1);
    pool.handle(Event::Measured { slot: large, memory_bytes: 150 * MEGABYTE, database_bytes: 0 }, 2);
    pool.handle(Event::StopIdle, 3);
    pool.handle(Event::Stopped { slot: large }, 4);
    pool.handle(Event::WarmUp { key: key("b"), count: 1 }, 5);
    pool.handle(Event::Started { slot: small }, 6);
    let makes_room = Action::Destroy { slot: small, cause: DestroyCause::MakesRoom };
    assert_eq!(pool.handle(acquire(1, "a"), 7), [makes_room]);
    // There is memory for a small cluster, but then there would never be enough for the waiting client.
    assert_eq!(pool.handle(Event::WarmUp { key: key("b"), count: 1 }, 8), []);
    assert_eq!(pool.handle(Event::Destroyed { slot: small }, 9), [Action::Start { slot: large }]);
    assert_eq!(pool.handle(Event::Started { slot: large }, 10), [hand_out(large, 1, Layer::Stopped)]);
    pool.handle(Event::Released { slot: large }, 11);
    pool.handle(Event::Rewound { slot: large, is_settled: true }, 12);
    assert_eq!(pool.handle(Event::WarmUp { key: key("b"), count: 1 }, 13), [], "there is no room for both");
}

#[test]
fn a_slot_that_has_not_settled_is_not_frozen() {
    let mut pool = Pool::new(limits_without_scaling(1, 1));
    pool.handle(Event::WarmUp { key: key("a"), count: 1 }, 0);
    pool.handle(Event::Started { slot: SlotId(1) }, 1);
    assert_eq!(pool.handle(Event::Tick, 900), []);
}

#[test]
fn demand_that_lasts_is_met_ahead_of_time() {
    let (mut pool, slot) = pool_with_ready(limits(3, 1), "a");
    assert_eq!(pool.handle(acquire(1, "a"), 100), [hand_out(slot, 1, Layer::Ready)]);
    assert_eq!(pool.handle(Event::Tick, 399), []);
    assert_eq!(pool.handle(Event::Tick, 400), [Action::Boot { slot: SlotId(2), key: key("a") }]);
    // One cluster in use at 70 percent calls for two.
    pool.handle(Event::Started { slot: SlotId(2) }, 401);
    assert_eq!(pool.handle(Event::Tick, 800), []);
}

#[test]
fn clusters_that_take_too_much_memory_together_are_stopped_the_largest_first() {
    let mut pool = pool_with_started(limits(3, 3), 3);
    let grown = Event::Measured { slot: SlotId(2), memory_bytes: 250 * MEGABYTE, database_bytes: 0 };
    assert_eq!(pool.handle(grown, 2), []);
    let less = Event::MemoryLimit { memory_max_bytes: 300 * MEGABYTE };
    assert_eq!(pool.handle(less, 3), [Action::Stop { slot: SlotId(2) }]);
    pool.handle(Event::Stopped { slot: SlotId(2) }, 4);
    assert_eq!(pool.memory_bytes(), 200 * MEGABYTE);
    // The stopped slot does not come back while there is no room for it, but gives way to a new one, which is smaller.
    for waiter in 1..3 {
        pool.handle(acquire(waiter, "a"), 5);
    }
    let makes_room = Action::Destroy { slot: SlotId(2), cause: DestroyCause::MakesRoom };
    assert_eq!(pool.handle(acquire(3, "a"), 5), [makes_room]);
    assert_eq!(pool.waiting(), 1);
    let boot = Action::Boot { slot: SlotId(4), key: key("a") };
    assert_eq!(pool.handle(Event::Destroyed { slot: SlotId(2) }, 6), [boot]);
}

#[test]
fn a_stopped_slot_stays_if_there_is_no_memory_for_a_new_one_either() {
    let mut pool = pool_with_started(limits(3, 3), 2);
    let less = Event::MemoryLimit { memory_max_bytes: 100 * MEGABYTE };
    let stopped = pool.handle(less, 2);
    let [Action::Stop { slot }] = stopped[..] else { panic!("{stopped:?}") };
    pool.handle(Event::Stopped { slot }, 3);
    pool.handle(acquire(1, "a"), 4);
    assert_eq!(pool.handle(acquire(2, "a"), 5), []);
}

#[test]
fn clusters_of_a_provider_that_cannot_stop_them_are_destroyed_instead() {
    let unneeded = |slot| Action::Destroy { slot: SlotId(slot), cause: DestroyCause::Unneeded };
    let mut pool = pool_with_started(Limits { can_stop: false, ..limits_without_scaling(3, 3) }, 3);
    let grown = Event::Measured { slot: SlotId(2), memory_bytes: 250 * MEGABYTE, database_bytes: 0 };
    assert_eq!(pool.handle(grown, 2), []);
    let less = Event::MemoryLimit { memory_max_bytes: 300 * MEGABYTE };
    assert_eq!(pool.handle(less, 3), [unneeded(2)], "memory is short");
    pool.handle(Event::Destroyed { slot: SlotId(2) }, 4);
    assert_eq!(pool.memory_bytes(), 200 * MEGABYTE);
    assert_eq!(pool.handle(Event::StopIdle, 5), [unneeded(1), unneeded(3)], "a client asked for it");

    let (mut pool, slot) = pool_with_ready(Limits { can_stop: false, ..limits_without_scaling(1, 1) }, "a");
    assert_eq!(pool.handle(Event::Tick, 5_000), [unneeded(slot.0)], "it has idled for long");
    assert_eq!(pool.handle(Event::Destroyed { slot }, 5_001), []);
    assert_eq!(pool.slots().count(), 0);
}

#[test]
fn one_cluster_may_run_however_little_memory_there_is() {
    let mut pool = Pool::new(Limits { memory_max_bytes: 0, ..limits_without_scaling(3, 3) });
    let slot = SlotId(1);
    assert_eq!(pool.handle(acquire(1, "a"), 0), [Action::Boot { slot, key: key("a") }]);
    assert_eq!(pool.handle(acquire(2, "a"), 1), []);
    assert_eq!(pool.handle(Event::Started { slot }, 2), [hand_out(slot, 1, Layer::Booted)]);
}

#[test]
fn a_worn_slot_is_replaced() {
    let mut pool = Pool::new(limits_without_scaling(1, 1));
    let slot = SlotId(1);
    pool.handle(acquire(0, "a"), 0);
    pool.handle(Event::Started { slot }, 0);
    for lease in 1..50 {
        pool.handle(Event::Released { slot }, lease);
        pool.handle(Event::Rewound { slot, is_settled: true }, lease);
        assert_eq!(pool.handle(acquire(lease, "a"), lease), [hand_out(slot, lease, Layer::Ready)]);
    }
    let destroyed = [Action::Destroy { slot, cause: DestroyCause::Worn }];
    assert_eq!(pool.handle(Event::Released { slot }, 51), destroyed);
}

#[test]
fn a_slot_that_grew_too_large_is_replaced_at_once_when_idle_and_at_release_when_not() {
    let large = |slot| Event::Measured { slot, memory_bytes: 0, database_bytes: 101 * MEGABYTE };
    let (mut pool, slot) = pool_with_ready(limits_without_scaling(1, 1), "a");
    let destroyed = [Action::Destroy { slot, cause: DestroyCause::Worn }];
    assert_eq!(pool.clone().handle(large(slot), 3), destroyed);
    pool.handle(acquire(1, "a"), 3);
    assert_eq!(pool.handle(large(slot), 4), []);
    assert_eq!(pool.handle(Event::Released { slot }, 5), destroyed);
}

#[test]
fn a_slot_that_dies_on_loan_is_destroyed_and_replaced_for_the_next_client() {
    let mut pool = Pool::new(limits(1, 1));
    let slot = SlotId(1);
    pool.handle(acquire(1, "a"), 0);
    pool.handle(Event::Started { slot }, 1);
    pool.handle(acquire(2, "a"), 3);
    let destroyed = [Action::Destroy { slot, cause: DestroyCause::Broke }];
    assert_eq!(pool.handle(Event::Broke { slot }, 4), destroyed);
    assert_eq!(pool.handle(Event::Released { slot }, 5), []);
    let booted = [Action::Boot { slot: SlotId(2), key: key("a") }];
    assert_eq!(pool.handle(Event::Destroyed { slot }, 6), booted);
}

#[test]
fn a_slot_that_does_not_thaw_is_replaced() {
    let (mut pool, slot) = pool_with_ready(limits_without_scaling(1, 1), "a");
    pool.handle(Event::Tick, 501);
    pool.handle(Event::Frozen { slot }, 502);
    assert_eq!(pool.handle(acquire(1, "a"), 503), [Action::Thaw { slot }]);
    let destroyed = [Action::Destroy { slot, cause: DestroyCause::Broke }];
    assert_eq!(pool.handle(Event::Broke { slot }, 504), destroyed);
    let booted = [Action::Boot { slot: SlotId(2), key: key("a") }];
    assert_eq!(pool.handle(Event::Destroyed { slot }, 505), booted);
}

#[test]
fn a_slot_that_has_the_template_is_preferred() {
    let mut pool = Pool::new(limits_without_scaling(2, 2));
    let (first, second) = (SlotId(1), SlotId(2));
    pool.handle(Event::WarmUp { key: key("a"), count: 2 }, 0);
    pool.handle(Event::Started { slot: first }, 1);
    pool.handle(Event::Started { slot: second }, 1);
    // The first time, any slot is rewound to it.
    assert_eq!(pool.handle(acquire_at(1, 1, "a", Some("t")), 2), [rewind(first, Some("t"))]);
    let rewound = Event::Rewound { slot: first, is_settled: true };
    assert_eq!(pool.handle(rewound, 3), [hand_out(first, 1, Layer::OtherTemplate)]);
    // Back to the template, not to the bare baseline.
    assert_eq!(pool.handle(Event::Released { slot: first }, 4), [rewind(first, Some("t"))]);
    pool.handle(Event::Rewound { slot: first, is_settled: true }, 5);
    assert_eq!(pool.handle(acquire(2, "a"), 6), [hand_out(second, 2, Layer::Ready)]);
    assert_eq!(pool.handle(acquire_at(3, 3, "a", Some("t")), 7), [hand_out(first, 3, Layer::Ready)]);
}

#[test]
fn a_client_with_another_template_is_passed_over_only_for_a_moment() {
    let mut pool = Pool::new(limits_without_scaling(1, 1));
    let slot = SlotId(1);
    pool.handle(acquire(1, "a"), 0);
    pool.handle(Event::Started { slot }, 1);
    pool.handle(acquire_at(2, 2, "a", Some("t")), 2);
    pool.handle(acquire_at(3, 3, "a", None), 3);
    pool.handle(acquire_at(4, 4, "a", None), 4);
    assert_eq!(pool.handle(Event::Released { slot }, 5), [rewind(slot, None)]);
    pool.handle(Event::Rewound { slot, is_settled: true }, 6);
    assert_eq!(pool.handle(Event::Released { slot }, 30), [rewind(slot, Some("t"))]);
    let rewound = Event::Rewound { slot, is_settled: true };
    assert_eq!(pool.handle(rewound, 31), [hand_out(slot, 2, Layer::OtherTemplate)]);
}

#[test]
fn a_lease_that_became_a_template_is_rewound_to_that_template() {
    let (mut pool, slot) = pool_with_ready(limits_without_scaling(1, 1), "a");
    let template = TemplateName("t".into());
    pool.handle(acquire(1, "a"), 3);
    assert_eq!(pool.handle(Event::TemplateTaken { slot, template }, 4), []);
    assert_eq!(pool.handle(Event::Released { slot }, 5), [rewind(slot, Some("t"))]);
    pool.handle(Event::Rewound { slot, is_settled: true }, 6);
    assert_eq!(pool.handle(acquire_at(2, 2, "a", Some("t")), 7), [hand_out(slot, 2, Layer::Ready)]);
}

#[test]
fn clients_of_a_broken_template_are_refused() {
    let mut pool = Pool::new(limits_without_scaling(1, 1));
    pool.handle(acquire_at(1, 1, "a", Some("t")), 0);
    let (template, reason) = (TemplateName("t".into()), "too large".to_owned());
    let broke = Event::TemplateBroke { key: key("a"), template, reason };
    let refusal = PoolRefusal::TemplateBroke { reason: "too large".to_owned() };
    assert_eq!(pool.handle(broke, 1), [Action::Refuse { waiter: WaiterId(1), refusal }]);
}
