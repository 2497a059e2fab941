//! The times of all disturbances, and so the failures that they explain.

use std::time::{Duration, Instant};

use kina_engine::lab::cluster_name::engine_of;

/// Time for which a disturbance is felt after its end: after a failed boot, the next attempt waits for ten seconds.
const AFTERMATH: Duration = Duration::from_secs(12);

/// A boot feels a fault for longer: a call that hangs is killed at its time limit and repeated, and delays those behind
/// it.
const AFTERMATH_FOR_BOOTS: Duration = Duration::from_secs(180);
/// A dead machine, or one that is taken for dead, is noticed by the next list, which may hang once.
const AFTERMATH_FOR_LEASES: Duration = Duration::from_secs(30);

/// The target of a disturbance.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Target {
    /// Everything that runs meanwhile.
    Everything,
    /// Everything that boots meanwhile, and so every client that waits for a cluster.
    Boots,
    /// One cluster, which may survive it.
    Cluster(String),
    /// The engine of this process id, with all its clusters.
    Engine(u32),
    /// The lease that has this cluster at the time. It cannot survive that, and no later lease of the cluster feels it.
    Lease(String),
}

impl Target {
    /// A certain cause explains a loss better than a possible one, and one of the lease itself better than one of
    /// everything.
    fn precedence(&self) -> u8 {
        match self {
            Self::Boots => 0,
            Self::Everything => 1,
            Self::Cluster(_) => 2,
            Self::Engine(_) => 3,
            Self::Lease(_) => 4,
        }
    }
}

/// One disturbance, or one fault, that can cost a lease.
#[derive(Clone, Debug)]
pub(super) struct Incident {
    cause: &'static str,
    /// Time for which it is felt after its end.
    aftermath: Duration,
    target: Target,
    from: Instant,
    /// `None` while it lasts.
    until: Option<Instant>,
}

/// A lease that failed.
#[derive(Clone, Debug)]
pub(super) struct Failure<'a> {
    pub(super) asked_at: Instant,
    pub(super) failed_at: Instant,
    /// Its cluster and the time of the lease's start; `None` if it had no cluster yet.
    pub(super) leased: Option<(&'a str, Instant)>,
}

/// All disturbances.
#[derive(Clone, Debug, Default)]
pub(super) struct Ledger {
    incidents: Vec<Incident>,
}

/// The number of an incident.
#[derive(Clone, Copy, Debug)]
pub(super) struct IncidentId(usize);

impl Ledger {
    pub(super) fn begin(&mut self, cause: &'static str, target: Target, now: Instant) -> IncidentId {
        self.incidents.push(Incident { cause, aftermath: AFTERMATH, target, from: now, until: None });
        IncidentId(self.incidents.len() - 1)
    }

    /// Notes a fault of the machinery below clusters, at some time since `since`. It can cost clients that wait for a
    /// cluster their lease, and with `costs_leases` also clients that have one.
    pub(super) fn fault(&mut self, cause: &'static str, costs_leases: bool, since: Instant, now: Instant) {
        let mut add = |target, aftermath| {
            self.incidents.push(Incident { cause, aftermath, target, from: since, until: Some(now) });
        };
        add(Target::Boots, AFTERMATH_FOR_BOOTS);
        if costs_leases {
            add(Target::Everything, AFTERMATH_FOR_LEASES);
        }
    }

    pub(super) fn end(&mut self, incident: IncidentId, now: Instant) {
        if let Some(incident) = self.incidents.get_mut(incident.0) {
            incident.until = Some(now);
        }
    }

    /// The planned cause of the loss of a lease, if there is one.
    pub(super) fn explanation(&self, failure: &Failure<'_>) -> Option<&'static str> {
        let explaining = self.incidents.iter().filter(|incident| incident.explains(failure));
        // The latest incident of the most specific kind.
        explaining.max_by_key(|incident| (incident.target.precedence(), incident.from)).map(|incident| incident.cause)
    }
}

impl Incident {
    fn explains(&self, failure: &Failure<'_>) -> bool {
        if failure.failed_at < self.from {
            return false;
        }
        let is_over = self.until.is_some_and(|until| until + self.aftermath < failure.asked_at);
        match (&self.target, failure.leased) {
            // No matter how late the loss is noticed: the engine took its clusters along.
            (Target::Engine(engine), Some((cluster, _))) => engine_of(cluster) == Some(*engine),
            (Target::Lease(target), Some((cluster, since))) => target == cluster && since <= self.from,
            (Target::Everything, _) | (Target::Engine(_) | Target::Boots, None) => !is_over,
            (Target::Cluster(target), Some((cluster, _))) => target == cluster && !is_over,
            (Target::Cluster(_) | Target::Lease(_), None) | (Target::Boots, Some(_)) => false,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn failure(asked_at: Instant, after_ms: u64, cluster: Option<&str>) -> Failure<'_> {
        let leased = cluster.map(|cluster| (cluster, asked_at));
        Failure { asked_at, failed_at: asked_at + Duration::from_millis(after_ms), leased }
    }

    #[test]
    fn only_earlier_incidents_explain_a_failure() {
        let start = Instant::now();
        let mut ledger = Ledger::default();
        let second = Duration::from_secs(1);
        ledger.begin("engine_kill", Target::Engine(7), start + second);
        let explained = |failure| ledger.explanation(&failure).is_some();
        assert!(!explained(failure(start, 500, Some("cluster-7-1"))));
        assert!(explained(failure(start, 1500, Some("cluster-7-1"))));
        assert!(!explained(failure(start, 1500, Some("cluster-71-1"))));
        assert!(explained(failure(start, 1500, None)));
    }

    #[test]
    fn what_is_over_explains_nothing_after_a_while() {
        let start = Instant::now();
        let mut ledger = Ledger::default();
        let incident = ledger.begin("full_disk", Target::Everything, start);
        ledger.end(incident, start + Duration::from_secs(3));
        let asked_soon = start + Duration::from_secs(10);
        let asked_late = start + Duration::from_secs(60);
        assert_eq!(ledger.explanation(&failure(asked_soon, 1, None)), Some("full_disk"));
        assert_eq!(ledger.explanation(&failure(asked_late, 1, Some("cluster-7-1"))), None);
    }

    #[test]
    fn the_most_particular_explanation_is_given() {
        let start = Instant::now();
        let mut ledger = Ledger::default();
        ledger.begin("etcd_kill", Target::Lease("cluster-7-1".to_owned()), start);
        ledger.begin("engine_stop", Target::Engine(7), start);
        ledger.begin("cluster_freeze", Target::Cluster("cluster-7-2".to_owned()), start);
        ledger.begin("full_disk", Target::Everything, start);
        let explained = |cluster| ledger.explanation(&failure(start, 1, Some(cluster)));
        assert_eq!(explained("cluster-7-1"), Some("etcd_kill"));
        assert_eq!(explained("cluster-7-2"), Some("engine_stop"));
        assert_eq!(explained("cluster-8-1"), Some("full_disk"));
    }

    #[test]
    fn what_only_boots_feel_explains_no_loss() {
        let start = Instant::now();
        let mut ledger = Ledger::default();
        ledger.fault("hang", false, start, start);
        let asked = start + Duration::from_secs(100);
        assert_eq!(ledger.explanation(&failure(asked, 1, None)), Some("hang"));
        assert_eq!(ledger.explanation(&failure(asked, 1, Some("cluster-7-1"))), None);
        ledger.fault("crash", true, start, start);
        assert_eq!(ledger.explanation(&failure(start, 1, Some("cluster-7-1"))), Some("crash"));
        assert_eq!(ledger.explanation(&failure(asked, 1, Some("cluster-7-1"))), None);
        assert_eq!(ledger.explanation(&failure(start + Duration::from_secs(200), 1, None)), None);
    }

    #[test]
    fn one_cluster_is_not_another() {
        let start = Instant::now();
        for target in [Target::Cluster, Target::Lease] {
            let mut ledger = Ledger::default();
            ledger.begin("etcd_kill", target("cluster-7-1".to_owned()), start);
            assert!(ledger.explanation(&failure(start, 1, Some("cluster-7-1"))).is_some());
            assert!(ledger.explanation(&failure(start, 1, Some("cluster-7-2"))).is_none());
            assert!(ledger.explanation(&failure(start, 1, None)).is_none());
        }
    }

    #[test]
    fn a_kill_costs_the_lease_at_the_time_and_no_later_one() {
        let start = Instant::now();
        let second = Duration::from_secs(1);
        let mut ledger = Ledger::default();
        ledger.begin("api_server_kill", Target::Lease("cluster-7-1".to_owned()), start + second);
        let explained = |asked_at| ledger.explanation(&failure(asked_at, 2000, Some("cluster-7-1")));
        assert_eq!(explained(start), Some("api_server_kill"));
        assert_eq!(explained(start + 2 * second), None);
    }
}
