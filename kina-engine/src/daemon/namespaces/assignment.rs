//! The assignment of namespaces to tests: events and the time go in, actions come out.
//!
//! Like the pool this does no I/O and knows no clock. To the pool a host is one more client with a lease on a cluster;
//! here it is a place for many namespaces.

use std::collections::{BTreeMap, VecDeque};

use crate::pool::{ClientId, SlotKey, TemplateName, TimeMs};
use crate::protocol::{Refusal, RefusalKind};

/// The time that a tenant waits beyond its deadline for the pool's own refusal, which says more.
const DEADLINE_GRACE_MS: TimeMs = 1000;

/// A lease of the pool that holds namespaces.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(super) struct HostId(pub(super) u64);

/// A test that wants, has or had a namespace.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(super) struct TenantId(pub(super) u64);

/// The common properties of clusters that can be hosts for the same tenants.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(super) struct HostKind {
    pub(super) key: SlotKey,
    pub(super) template: Option<TemplateName>,
}

/// Limits that are never exceeded.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct NamespaceLimits {
    /// Namespaces on one host at a time.
    pub(super) per_host_max: usize,
    /// Namespaces that one host serves before its cluster is rewound.
    pub(super) host_namespaces_max: u64,
    /// The time for which a host without namespaces is kept for the next one.
    pub(super) idle_ms: TimeMs,
    /// The number of hosts on which making one namespace is tried.
    pub(super) attempts_max: u32,
    /// Tenants that may wait.
    pub(super) waiting_max: usize,
}

/// An event.
#[derive(Clone, Debug)]
pub(super) enum Event {
    /// A test wants a namespace on a cluster of this kind.
    Acquire { tenant: TenantId, client: ClientId, kind: HostKind, deadline: TimeMs },
    /// A tenant has gone, with or without a namespace.
    Left { tenant: TenantId },
    /// The pool has given a cluster, and it is prepared.
    HostReady { host: HostId },
    /// The pool has refused it.
    HostRefused { host: HostId, refusal: Refusal },
    /// The namespace is there.
    Prepared { tenant: TenantId },
    /// It could not be made.
    PrepareFailed { tenant: TenantId, reason: String },
    /// The namespace is gone; or not all of it, and nothing may be made beside the rest.
    Cleaned { tenant: TenantId, is_clean: bool },
    /// Time has passed, and so many clients wait for a cluster, requested hosts included.
    Tick { pool_waiting: usize },
    /// Hosts without namespaces are to be given back.
    ReleaseIdle,
}

/// An action to carry out. An event answers each but the last three.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Action {
    /// Ask the pool for a cluster.
    RequestHost { host: HostId, client: ClientId, kind: HostKind, deadline: TimeMs },
    /// Make a namespace.
    Prepare { host: HostId, tenant: TenantId },
    /// Take it away.
    Clean { host: HostId, tenant: TenantId },
    /// Tell the tenant that its namespace is there.
    Grant { tenant: TenantId },
    /// Tell it that there will be none.
    Refuse { tenant: TenantId, refusal: Refusal },
    /// Give the cluster back, or stop asking for it.
    ReleaseHost { host: HostId },
}

/// The state.
#[derive(Debug)]
pub(super) struct Assignment {
    limits: NamespaceLimits,
    hosts: BTreeMap<HostId, Host>,
    tenants: BTreeMap<TenantId, Tenant>,
    /// The waiting tenants, in order.
    queue: VecDeque<TenantId>,
    next_host: u64,
    /// Set if clients other than hosts wait for a cluster.
    others_wait: bool,
}

#[derive(Debug)]
struct Host {
    kind: HostKind,
    state: HostState,
    /// Namespaces that it has, in any state.
    tenants: usize,
    /// Namespaces that it has had.
    served: u64,
    idle_since: TimeMs,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum HostState {
    Requested,
    Ready,
    /// Takes no more.
    Draining,
}

#[derive(Debug)]
struct Tenant {
    client: ClientId,
    kind: HostKind,
    deadline: TimeMs,
    attempts: u32,
    place: Place,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Place {
    Waiting,
    Preparing(HostId),
    /// Left while its namespace was being made.
    Unwanted(HostId),
    Holding(HostId),
    Cleaning(HostId),
}

impl Assignment {
    pub(super) fn new(limits: NamespaceLimits) -> Self {
        let (hosts, tenants, queue) = (BTreeMap::new(), BTreeMap::new(), VecDeque::new());
        Self { limits, hosts, tenants, queue, next_host: 1, others_wait: false }
    }

    /// Returns true if there is nothing to look after.
    pub(super) fn is_empty(&self) -> bool {
        self.hosts.is_empty() && self.tenants.is_empty()
    }

    /// The number of tenants that wait for a namespace.
    pub(super) fn waiting(&self) -> usize {
        self.queue.len()
    }

    /// Takes an event. One that does not fit changes nothing.
    pub(super) fn handle(&mut self, event: Event, now: TimeMs) -> Vec<Action> {
        let mut actions = Vec::new();
        match event {
            Event::Acquire { tenant, client, kind, deadline } => {
                if self.queue.len() < self.limits.waiting_max {
                    let place = Place::Waiting;
                    self.tenants.insert(tenant, Tenant { client, kind, deadline, attempts: 0, place });
                    self.queue.push_back(tenant);
                } else {
                    actions.push(Action::Refuse { tenant, refusal: queue_full(self.limits.waiting_max) });
                }
            }
            Event::Left { tenant } => self.left(tenant, &mut actions),
            Event::HostReady { host } => {
                if let Some(host) = self.hosts.get_mut(&host).filter(|host| host.state == HostState::Requested) {
                    host.state = HostState::Ready;
                    host.idle_since = now;
                }
            }
            Event::HostRefused { host, refusal } => self.host_refused(host, &refusal, now, &mut actions),
            Event::Prepared { tenant } => self.prepared(tenant, &mut actions),
            Event::PrepareFailed { tenant, reason } => self.prepare_failed(tenant, reason, now, &mut actions),
            Event::Cleaned { tenant, is_clean } => {
                if let Some(Tenant { place: Place::Cleaning(host), .. }) = self.tenants.get(&tenant) {
                    let host = *host;
                    self.tenants.remove(&tenant);
                    self.vacate(host, !is_clean, now);
                }
            }
            Event::Tick { pool_waiting } => {
                let requested = self.hosts.values().filter(|host| host.state == HostState::Requested).count();
                self.others_wait = requested < pool_waiting;
                self.refuse_overdue(now, &mut actions);
            }
            Event::ReleaseIdle => self.release_hosts(|_| true, &mut actions),
        }
        self.place(&mut actions);
        self.request_hosts(&mut actions);
        self.release_surplus(now, &mut actions);
        actions
    }

    fn left(&mut self, tenant: TenantId, actions: &mut Vec<Action>) {
        let Some(found) = self.tenants.get_mut(&tenant) else { return };
        match found.place {
            Place::Waiting => {
                self.tenants.remove(&tenant);
                self.queue.retain(|waiting| *waiting != tenant);
            }
            Place::Preparing(host) => found.place = Place::Unwanted(host),
            Place::Holding(host) => {
                found.place = Place::Cleaning(host);
                actions.push(Action::Clean { host, tenant });
            }
            Place::Unwanted(_) | Place::Cleaning(_) => {}
        }
    }

    fn host_refused(&mut self, host: HostId, refusal: &Refusal, now: TimeMs, actions: &mut Vec<Action>) {
        let Some(Host { kind, .. }) = self.hosts.remove(&host) else { return };
        // If it was only a matter of time, tenants with a later deadline go on waiting.
        let is_final = |deadline| refusal.kind != RefusalKind::Timeout || deadline <= now + DEADLINE_GRACE_MS;
        let (tenants, queue) = (&mut self.tenants, &mut self.queue);
        queue.retain(|tenant| {
            let is_refused = tenants.get(tenant).is_some_and(|found| found.kind == kind && is_final(found.deadline));
            if is_refused {
                tenants.remove(tenant);
                actions.push(Action::Refuse { tenant: *tenant, refusal: refusal.clone() });
            }
            !is_refused
        });
    }

    fn prepared(&mut self, tenant: TenantId, actions: &mut Vec<Action>) {
        let Some(found) = self.tenants.get_mut(&tenant) else { return };
        match found.place {
            Place::Preparing(host) => {
                found.place = Place::Holding(host);
                actions.push(Action::Grant { tenant });
            }
            Place::Unwanted(host) => {
                found.place = Place::Cleaning(host);
                actions.push(Action::Clean { host, tenant });
            }
            Place::Waiting | Place::Holding(_) | Place::Cleaning(_) => {}
        }
    }

    /// All objects made for it go when the host is rewound, which takes no more tenants.
    fn prepare_failed(&mut self, tenant: TenantId, reason: String, now: TimeMs, actions: &mut Vec<Action>) {
        let Some(found) = self.tenants.get_mut(&tenant) else { return };
        let (Place::Preparing(host) | Place::Unwanted(host)) = found.place else { return };
        let is_wanted = found.place == Place::Preparing(host);
        found.attempts += 1;
        if is_wanted && found.attempts < self.limits.attempts_max {
            found.place = Place::Waiting;
            self.queue.push_front(tenant);
        } else {
            self.tenants.remove(&tenant);
            if is_wanted {
                let refusal = Refusal { kind: RefusalKind::Engine, message: reason };
                actions.push(Action::Refuse { tenant, refusal });
            }
        }
        self.vacate(host, true, now);
    }

    fn vacate(&mut self, host: HostId, is_spoilt: bool, now: TimeMs) {
        let Some(host) = self.hosts.get_mut(&host) else { return };
        host.tenants = host.tenants.saturating_sub(1);
        host.idle_since = now;
        if is_spoilt {
            host.state = HostState::Draining;
        }
    }

    fn refuse_overdue(&mut self, now: TimeMs, actions: &mut Vec<Action>) {
        let (tenants, queue) = (&mut self.tenants, &mut self.queue);
        let waiting = queue.len();
        let per_host_max = self.limits.per_host_max;
        queue.retain(|tenant| {
            let is_overdue =
                tenants.get(tenant).is_some_and(|found| found.deadline.saturating_add(DEADLINE_GRACE_MS) < now);
            if is_overdue {
                tenants.remove(tenant);
                actions.push(Action::Refuse { tenant: *tenant, refusal: too_late(waiting, per_host_max) });
            }
            !is_overdue
        });
    }

    /// Gives the free places to waiting tenants, in order.
    fn place(&mut self, actions: &mut Vec<Action>) {
        let (limits, others_wait) = (self.limits, self.others_wait);
        let (hosts, tenants) = (&mut self.hosts, &mut self.tenants);
        self.queue.retain(|tenant| {
            let Some(found) = tenants.get_mut(tenant) else { return false };
            let place = hosts.iter_mut().find(|(_, host)| host.kind == found.kind && host.takes(&limits, others_wait));
            let Some((id, host)) = place else { return true };
            host.tenants += 1;
            host.served += 1;
            found.place = Place::Preparing(*id);
            actions.push(Action::Prepare { host: *id, tenant: *tenant });
            false
        });
    }

    /// Asks for as many hosts as the waiting tenants would fill, and gives up requests that are not needed any more.
    fn request_hosts(&mut self, actions: &mut Vec<Action>) {
        let mut waiting: BTreeMap<HostKind, (usize, TenantId)> = BTreeMap::new();
        for tenant in &self.queue {
            if let Some(found) = self.tenants.get(tenant) {
                waiting.entry(found.kind.clone()).or_insert((0, *tenant)).0 += 1;
            }
        }
        let mut requested: BTreeMap<HostKind, usize> = BTreeMap::new();
        self.hosts.retain(|id, host| {
            if host.state != HostState::Requested {
                return true;
            }
            let count = requested.entry(host.kind.clone()).or_default();
            let wanted = waiting.get(&host.kind).map_or(0, |(count, _)| count.div_ceil(self.limits.per_host_max));
            let is_wanted = *count < wanted;
            if is_wanted {
                *count += 1;
            } else {
                actions.push(Action::ReleaseHost { host: *id });
            }
            is_wanted
        });
        for (kind, (count, first)) in waiting {
            let Some(tenant) = self.tenants.get(&first) else { continue };
            let (client, deadline) = (tenant.client, tenant.deadline);
            for _ in requested.get(&kind).copied().unwrap_or_default()..count.div_ceil(self.limits.per_host_max) {
                let host = HostId(self.next_host);
                self.next_host += 1;
                let state = HostState::Requested;
                self.hosts.insert(host, Host { kind: kind.clone(), state, tenants: 0, served: 0, idle_since: 0 });
                actions.push(Action::RequestHost { host, client, kind: kind.clone(), deadline });
            }
        }
    }

    /// Gives back the hosts that are worn, were idle for long, or that other clients wait for.
    fn release_surplus(&mut self, now: TimeMs, actions: &mut Vec<Action>) {
        let (limits, others_wait) = (self.limits, self.others_wait);
        let is_surplus = |host: &Host| {
            let is_worn = host.state == HostState::Draining || limits.host_namespaces_max <= host.served;
            is_worn || others_wait || host.idle_since.saturating_add(limits.idle_ms) <= now
        };
        self.release_hosts(is_surplus, actions);
    }

    fn release_hosts(&mut self, is_surplus: impl Fn(&Host) -> bool, actions: &mut Vec<Action>) {
        self.hosts.retain(|id, host| {
            let is_released = host.state != HostState::Requested && host.tenants == 0 && is_surplus(host);
            if is_released {
                actions.push(Action::ReleaseHost { host: *id });
            }
            !is_released
        });
    }
}

impl Host {
    fn takes(&self, limits: &NamespaceLimits, others_wait: bool) -> bool {
        // If other clients wait for a cluster, a host takes its turn and no more.
        let turn = u64::try_from(limits.per_host_max).unwrap_or(u64::MAX);
        let served_max = if others_wait { turn.min(limits.host_namespaces_max) } else { limits.host_namespaces_max };
        self.state == HostState::Ready && self.tenants < limits.per_host_max && self.served < served_max
    }
}

fn queue_full(waiting_max: usize) -> Refusal {
    let message = format!("{waiting_max} clients wait for a namespace already: run fewer tests at a time");
    Refusal { kind: RefusalKind::Timeout, message }
}

fn too_late(waiting: usize, per_host_max: usize) -> Refusal {
    let message = format!(
        "no namespace became free in time: {waiting} clients wait, and a cluster holds at most {per_host_max} namespaces \
         at a time. Run fewer tests at a time, raise KINA_NAMESPACES_MAX, or wait longer (KINA_ACQUIRE_TIMEOUT_SECONDS)"
    );
    Refusal { kind: RefusalKind::Timeout, message }
}
