use std::collections::{BTreeMap, BTreeSet};

use super::assignment::{Action, Assignment, Event, HostId, HostKind, NamespaceLimits, TenantId};
use crate::pool::{ClientId, SlotKey, TemplateName, TimeMs};
use crate::protocol::{Refusal, RefusalKind};

const LIMITS: NamespaceLimits =
    NamespaceLimits { per_host_max: 2, host_namespaces_max: 5, idle_ms: 1000, attempts_max: 2, waiting_max: 8 };
const FAR: TimeMs = 1_000_000;

/// Kinds differ by their template just as by their key.
fn kind(template: &str) -> HostKind {
    HostKind { key: SlotKey("api".into()), template: Some(TemplateName(template.into())) }
}

fn acquire(tenant: u64) -> Event {
    Event::Acquire { tenant: TenantId(tenant), client: ClientId(tenant), kind: kind("api"), deadline: FAR }
}

/// An assignment whose first host is ready and has these tenants.
fn with_tenants(count: u64) -> Assignment {
    let mut assignment = Assignment::new(LIMITS);
    for tenant in 1..=count {
        assignment.handle(acquire(tenant), 0);
    }
    assignment.handle(Event::HostReady { host: HostId(1) }, 0);
    for tenant in 1..=count {
        let granted = assignment.handle(Event::Prepared { tenant: TenantId(tenant) }, 0);
        assert_eq!(granted, [Action::Grant { tenant: TenantId(tenant) }]);
    }
    assignment
}

fn leave(assignment: &mut Assignment, tenant: u64, is_clean: bool, now: TimeMs) -> Vec<Action> {
    let tenant = TenantId(tenant);
    let cleaning = assignment.handle(Event::Left { tenant }, now);
    assert!(matches!(cleaning[..], [Action::Clean { .. }]), "{cleaning:?}");
    assignment.handle(Event::Cleaned { tenant, is_clean }, now)
}

#[test]
fn tenants_share_a_host_up_to_its_bound() {
    let mut assignment = Assignment::new(LIMITS);
    let asked = assignment.handle(acquire(1), 0);
    assert!(matches!(asked[..], [Action::RequestHost { host: HostId(1), .. }]), "{asked:?}");
    assert_eq!(assignment.handle(acquire(2), 0), [], "the host on its way has room for two");
    let asked = assignment.handle(acquire(3), 0);
    assert!(matches!(asked[..], [Action::RequestHost { host: HostId(2), .. }]), "{asked:?}");
    let placed = assignment.handle(Event::HostReady { host: HostId(1) }, 0);
    let prepare = |tenant| Action::Prepare { host: HostId(1), tenant: TenantId(tenant) };
    assert_eq!(placed, [prepare(1), prepare(2)]);
    assert_eq!(assignment.waiting(), 1);
}

#[test]
fn a_host_that_is_no_longer_needed_is_not_asked_for() {
    let mut assignment = Assignment::new(LIMITS);
    assignment.handle(acquire(1), 0);
    let left = assignment.handle(Event::Left { tenant: TenantId(1) }, 0);
    assert_eq!(left, [Action::ReleaseHost { host: HostId(1) }]);
    assert!(assignment.is_empty());
    assert_eq!(assignment.handle(Event::HostReady { host: HostId(1) }, 0), [], "too late");
}

#[test]
fn a_free_place_goes_to_who_waits_first() {
    let mut assignment = with_tenants(2);
    assignment.handle(acquire(3), 0);
    let placed = leave(&mut assignment, 1, true, 5);
    let prepare = Action::Prepare { host: HostId(1), tenant: TenantId(3) };
    assert_eq!(placed, [prepare, Action::ReleaseHost { host: HostId(2) }], "and the second host is not needed");
}

#[test]
fn an_idle_host_is_kept_for_a_while() {
    let mut assignment = with_tenants(1);
    assert_eq!(leave(&mut assignment, 1, true, 100), []);
    assert_eq!(assignment.handle(Event::Tick { pool_waiting: 0 }, 1099), []);
    let released = assignment.handle(Event::Tick { pool_waiting: 0 }, 1100);
    assert_eq!(released, [Action::ReleaseHost { host: HostId(1) }]);
    assert!(assignment.is_empty());
}

#[test]
fn an_idle_host_is_given_to_others_who_wait() {
    let mut assignment = with_tenants(1);
    assert_eq!(assignment.handle(Event::Tick { pool_waiting: 1 }, 10), [], "it is in use");
    let released = leave(&mut assignment, 1, true, 20);
    assert_eq!(released, [Action::ReleaseHost { host: HostId(1) }]);
    let mut assignment = with_tenants(1);
    leave(&mut assignment, 1, true, 20);
    assert_eq!(assignment.handle(Event::ReleaseIdle, 21), [Action::ReleaseHost { host: HostId(1) }]);
}

#[test]
fn a_host_takes_its_turn_and_no_more_while_others_wait() {
    let mut assignment = with_tenants(2);
    assignment.handle(Event::Tick { pool_waiting: 1 }, 0);
    leave(&mut assignment, 1, true, 0);
    let asked = assignment.handle(acquire(3), 0);
    assert!(matches!(asked[..], [Action::RequestHost { host: HostId(2), .. }]), "{asked:?}");
    // The host that was asked for waits now, and no other client.
    let placed = assignment.handle(Event::Tick { pool_waiting: 1 }, 0);
    let prepare = Action::Prepare { host: HostId(1), tenant: TenantId(3) };
    assert_eq!(placed, [prepare, Action::ReleaseHost { host: HostId(2) }]);
}

#[test]
fn a_worn_host_is_replaced() {
    let mut assignment = with_tenants(1);
    for tenant in 2..=5 {
        assignment.handle(acquire(tenant), 0);
        assignment.handle(Event::Prepared { tenant: TenantId(tenant) }, 0);
        leave(&mut assignment, tenant, true, 0);
    }
    let asked = assignment.handle(acquire(6), 0);
    assert!(matches!(asked[..], [Action::RequestHost { host: HostId(2), .. }]), "{asked:?}");
    assert_eq!(leave(&mut assignment, 1, true, 0), [Action::ReleaseHost { host: HostId(1) }]);
}

#[test]
fn what_was_not_cleaned_spoils_the_host() {
    let mut assignment = with_tenants(2);
    assert_eq!(leave(&mut assignment, 1, false, 0), [], "the other tenant has done nothing wrong");
    let asked = assignment.handle(acquire(3), 0);
    assert!(matches!(asked[..], [Action::RequestHost { host: HostId(2), .. }]), "{asked:?}");
    assert_eq!(leave(&mut assignment, 2, true, 0), [Action::ReleaseHost { host: HostId(1) }]);
}

#[test]
fn a_failure_is_tried_on_another_host_once() {
    let mut assignment = Assignment::new(LIMITS);
    assignment.handle(acquire(1), 0);
    assignment.handle(Event::HostReady { host: HostId(1) }, 0);
    let failed = Event::PrepareFailed { tenant: TenantId(1), reason: "gone".to_owned() };
    let actions = assignment.handle(failed.clone(), 0);
    let [Action::RequestHost { host: HostId(2), .. }, Action::ReleaseHost { host: HostId(1) }] = &actions[..] else {
        panic!("{actions:?}")
    };
    assignment.handle(Event::HostReady { host: HostId(2) }, 0);
    let actions = assignment.handle(failed, 0);
    let [Action::Refuse { refusal, .. }, Action::ReleaseHost { host: HostId(2) }] = &actions[..] else {
        panic!("{actions:?}")
    };
    assert_eq!((refusal.kind, refusal.message.as_str()), (RefusalKind::Engine, "gone"));
}

#[test]
fn who_leaves_early_is_cleaned_up_after() {
    let mut assignment = Assignment::new(LIMITS);
    assignment.handle(acquire(1), 0);
    assignment.handle(Event::HostReady { host: HostId(1) }, 0);
    assert_eq!(assignment.handle(Event::Left { tenant: TenantId(1) }, 0), []);
    let clean = Action::Clean { host: HostId(1), tenant: TenantId(1) };
    assert_eq!(assignment.handle(Event::Prepared { tenant: TenantId(1) }, 0), [clean]);
}

#[test]
fn a_refusal_reaches_those_it_is_meant_for() {
    let refusal = |kind| Refusal { kind, message: "no".to_owned() };
    let mut assignment = Assignment::new(LIMITS);
    let short = Event::Acquire { tenant: TenantId(1), client: ClientId(1), kind: kind("api"), deadline: 10 };
    assignment.handle(short, 0);
    assignment.handle(acquire(2), 0);
    let other = Event::Acquire { tenant: TenantId(3), client: ClientId(3), kind: kind("other"), deadline: 10 };
    assignment.handle(other, 0);
    let timeout = Event::HostRefused { host: HostId(1), refusal: refusal(RefusalKind::Timeout) };
    let actions = assignment.handle(timeout, 10);
    let [Action::Refuse { tenant: TenantId(1), .. }, Action::RequestHost { host: HostId(3), .. }] = &actions[..] else {
        panic!("{actions:?}")
    };
    let actions = assignment.handle(Event::HostRefused { host: HostId(3), refusal: refusal(RefusalKind::User) }, 10);
    assert!(matches!(actions[..], [Action::Refuse { tenant: TenantId(2), .. }]), "{actions:?}");
    let actions = assignment.handle(Event::Tick { pool_waiting: 1 }, 2000);
    let [Action::Refuse { tenant: TenantId(3), refusal }, Action::ReleaseHost { .. }] = &actions[..] else {
        panic!("{actions:?}")
    };
    assert!(refusal.message.contains("KINA_NAMESPACES_MAX"), "{}", refusal.message);
}

#[test]
fn the_queue_is_bounded() {
    let mut assignment = Assignment::new(LIMITS);
    for tenant in 0..8 {
        assignment.handle(acquire(tenant), 0);
    }
    let actions = assignment.handle(acquire(9), 0);
    assert!(matches!(actions[..], [Action::Refuse { tenant: TenantId(9), .. }]), "{actions:?}");
}

/// The view from outside: the namespaces of tenants, and the actions under way.
#[derive(Default)]
struct World {
    requested: BTreeSet<HostId>,
    ready: BTreeMap<HostId, BTreeSet<TenantId>>,
    preparing: BTreeSet<TenantId>,
    cleaning: BTreeSet<TenantId>,
    present: BTreeSet<TenantId>,
    granted: BTreeSet<TenantId>,
    answered: usize,
}

impl World {
    fn carry_out(&mut self, actions: Vec<Action>) {
        for action in actions {
            match action {
                Action::RequestHost { host, .. } => assert!(self.requested.insert(host)),
                Action::Prepare { host, tenant } => {
                    let tenants = self.ready.get_mut(&host).expect("only ready hosts get tenants");
                    assert!(tenants.insert(tenant) && self.preparing.insert(tenant));
                    assert!(tenants.len() <= LIMITS.per_host_max, "{tenants:?}");
                    assert!(self.present.contains(&tenant), "the tenant has gone");
                }
                Action::Clean { host, tenant } => {
                    assert!(self.ready[&host].contains(&tenant) && self.cleaning.insert(tenant));
                    assert!(!self.preparing.contains(&tenant) && !self.present.contains(&tenant));
                }
                Action::Grant { tenant } => {
                    assert!(self.present.contains(&tenant) && self.granted.insert(tenant));
                    self.answered += 1;
                }
                Action::Refuse { tenant, .. } => {
                    assert!(self.present.remove(&tenant) && !self.granted.contains(&tenant));
                    self.answered += 1;
                }
                Action::ReleaseHost { host } => {
                    let tenants = self.ready.remove(&host);
                    assert!(tenants.as_ref().is_none_or(BTreeSet::is_empty), "{tenants:?} still there");
                    assert!(tenants.is_some() || self.requested.remove(&host), "released twice");
                }
            }
        }
    }

    fn vacate(&mut self, tenant: TenantId) {
        for tenants in self.ready.values_mut() {
            tenants.remove(&tenant);
        }
    }
}

#[test]
fn no_tenant_is_forgotten_in_any_order_of_events() {
    for seed in 1..200 {
        run(seed);
    }
}

fn run(seed: u64) {
    let mut random = seed.wrapping_mul(0x9e37_79b9_7f4a_7c15);
    let mut roll = move |sides: usize| {
        random ^= random << 13;
        random ^= random >> 7;
        random ^= random << 17;
        usize::try_from(random >> 33).unwrap_or_default() % sides.max(1)
    };
    let (mut assignment, mut world) = (Assignment::new(LIMITS), World::default());
    let (mut next_tenant, mut now) = (1, 0);
    let pick = |set: &BTreeSet<TenantId>, index: usize| set.iter().nth(index).copied();
    for step in 0..600 {
        now += u64::try_from(roll(50)).unwrap_or_default();
        // Towards the end all tenants leave.
        let choice = if step < 400 { roll(8) } else { 1 + roll(7) };
        let event = match choice {
            0 => {
                let tenant = TenantId(next_tenant);
                next_tenant += 1;
                world.present.insert(tenant);
                let kind = kind(["api", "other"][roll(2)]);
                Event::Acquire { tenant, client: ClientId(1), kind, deadline: now + 5000 }
            }
            1 => {
                let Some(tenant) = pick(&world.present, roll(world.present.len())) else { continue };
                world.present.remove(&tenant);
                Event::Left { tenant }
            }
            2 | 3 => {
                let Some(host) = world.requested.iter().nth(roll(world.requested.len())).copied() else { continue };
                world.requested.remove(&host);
                if roll(5) == 0 {
                    let refusal = Refusal { kind: RefusalKind::Timeout, message: String::new() };
                    Event::HostRefused { host, refusal }
                } else {
                    world.ready.insert(host, BTreeSet::new());
                    Event::HostReady { host }
                }
            }
            4 | 5 => {
                let Some(tenant) = pick(&world.preparing, roll(world.preparing.len())) else { continue };
                world.preparing.remove(&tenant);
                if roll(5) == 0 {
                    world.vacate(tenant);
                    Event::PrepareFailed { tenant, reason: String::new() }
                } else {
                    Event::Prepared { tenant }
                }
            }
            6 => {
                let Some(tenant) = pick(&world.cleaning, roll(world.cleaning.len())) else { continue };
                world.cleaning.remove(&tenant);
                world.vacate(tenant);
                Event::Cleaned { tenant, is_clean: roll(5) != 0 }
            }
            _ => Event::Tick { pool_waiting: world.requested.len() + roll(2) },
        };
        world.carry_out(assignment.handle(event, now));
        assert!(assignment.waiting() == 0 || !world.requested.is_empty(), "a tenant waits for nothing");
    }
    // All that is under way ends, and time passes.
    for _ in 0..2000 {
        now += 100;
        let event = if let Some(tenant) = world.preparing.pop_first() {
            Event::Prepared { tenant }
        } else if let Some(tenant) = world.present.pop_first() {
            Event::Left { tenant }
        } else if let Some(tenant) = world.cleaning.pop_first() {
            world.vacate(tenant);
            Event::Cleaned { tenant, is_clean: true }
        } else {
            Event::Tick { pool_waiting: 0 }
        };
        world.carry_out(assignment.handle(event, now));
    }
    assert!(assignment.is_empty(), "seed {seed}: {assignment:?}");
    assert!(world.ready.is_empty() && world.requested.is_empty() && world.cleaning.is_empty(), "seed {seed}");
    assert!(0 < world.answered, "seed {seed}: the test tests nothing");
}
