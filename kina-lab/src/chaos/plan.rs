//! The planned events of a run: pure, and the same for the same seed.

use serde::Serialize;

use super::strangers;

/// One lease in this many has the engine itself disturbed, so that most measure reuse.
const LEASES_PER_ENGINE_DISTURBANCE: u64 = 200;
/// One lease in this many has its cluster, the disk or the ports disturbed.
const LEASES_PER_OTHER_DISTURBANCE: u64 = 40;
/// One lease in this many starts from a template.
const LEASES_PER_TEMPLATE: u64 = 4;
/// Number of templates, besides none.
const TEMPLATES: u64 = 4;
/// One lease in this many leaves an admission policy, which costs its cluster a restart of the API server.
const LEASES_PER_POLICY: u64 = 20;
/// Fewer leases than this have no room for one disturbance of each kind.
const LEASES_FOR_EACH_KIND: usize = 40;

/// All leases of a run by worker, in the order in which the worker takes them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Plan {
    pub(super) workers: Vec<Vec<LeasePlan>>,
}

/// One lease.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(super) struct LeasePlan {
    /// Unique in the run.
    pub(super) index: usize,
    /// The number of the template that it starts from.
    pub(super) template: Option<u64>,
    pub(super) canary: CanaryPlan,
    pub(super) end: End,
    /// Set if a process goes on writing after the end.
    pub(super) writes_late: bool,
    pub(super) hold_ms: u64,
}

/// Traces that a lease leaves in its cluster, besides a ConfigMap in `default`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub(super) struct CanaryPlan {
    pub(super) namespace: bool,
    pub(super) cluster_role: bool,
    pub(super) default_label: bool,
    pub(super) definition: bool,
    pub(super) policy: bool,
    /// Chooses the kinds of pairs.
    pub(super) pairs_seed: u64,
}

/// The end of a lease.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) enum End {
    /// The lease is dropped, the process goes on.
    Return,
    /// The process panics.
    Panic,
    /// The process aborts.
    Abort,
    /// The process kills itself by SIGKILL.
    Kill,
    /// The lease is disturbed; afterwards it is dropped, if it is still there.
    Disturbed(Disturbance),
}

/// The supervisor's disturbance while the lease is held.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum Disturbance {
    /// The engine is asked to end.
    EngineStop,
    /// SIGKILL to the engine.
    EngineKill,
    /// SIGKILL to the cluster's etcd.
    EtcdKill,
    /// SIGKILL to the cluster's API server.
    ApiServerKill,
    /// SIGSTOP to the cluster for a while.
    ClusterFreeze,
    /// SIGSTOP to the engine for a while.
    EngineFreeze,
    /// No space on the disk with the states of clusters, for a while.
    FullDisk,
    /// Thousands of loopback ports are taken, for a while.
    TakenPorts,
    /// Hundreds of connections to the engine's ports that send nothing, for a while.
    SilentConnections,
    /// SIGKILL to the first process of the cluster's container, by its program.
    ContainerKill,
    /// The cluster's container is stopped, by its program.
    ContainerStop,
    /// The cluster's container is deleted, by its program.
    ContainerDelete,
}

/// The parts that clusters are made of, as far as it matters for disturbances.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Made {
    OfProcesses,
    OfContainers,
}

impl Disturbance {
    const ENGINE: [Self; 2] = [Self::EngineStop, Self::EngineKill];
    const OTHERS: [Self; 7] = [
        Self::EtcdKill,
        Self::ApiServerKill,
        Self::ClusterFreeze,
        Self::EngineFreeze,
        Self::FullDisk,
        Self::TakenPorts,
        Self::SilentConnections,
    ];
    const OF_CONTAINERS: [Self; 3] = [Self::ContainerKill, Self::ContainerStop, Self::ContainerDelete];

    /// Disturbances of clusters of this kind, besides those of engines.
    fn others(made: Made) -> Vec<Self> {
        match made {
            Made::OfProcesses => Self::OTHERS.to_vec(),
            Made::OfContainers => [&Self::OTHERS[..], &Self::OF_CONTAINERS[..]].concat(),
        }
    }

    /// Returns true if its lease cannot survive it.
    pub(super) fn is_kill(self) -> bool {
        match self {
            Self::EngineStop | Self::EngineKill | Self::EtcdKill | Self::ApiServerKill => true,
            Self::ContainerKill | Self::ContainerStop | Self::ContainerDelete => true,
            Self::ClusterFreeze | Self::EngineFreeze | Self::FullDisk => false,
            Self::TakenPorts | Self::SilentConnections => false,
        }
    }

    /// The name for users and in reports.
    pub(super) fn name(self) -> &'static str {
        match self {
            Self::EngineStop => "engine_stop",
            Self::EngineKill => "engine_kill",
            Self::EtcdKill => "etcd_kill",
            Self::ApiServerKill => "api_server_kill",
            Self::ClusterFreeze => "cluster_freeze",
            Self::EngineFreeze => "engine_freeze",
            Self::FullDisk => "full_disk",
            Self::TakenPorts => "taken_ports",
            Self::SilentConnections => strangers::kind_name(),
            Self::ContainerKill => "container_kill",
            Self::ContainerStop => "container_stop",
            Self::ContainerDelete => "container_delete",
        }
    }
}

impl Plan {
    /// Deals `leases` out to `processes` workers.
    pub(super) fn new(seed: u64, leases: usize, processes: usize, made: Made) -> Self {
        let mut random = Random(seed);
        let others = Disturbance::others(made);
        let mut all: Vec<_> = (0..leases).map(|index| LeasePlan::random(index, &others, &mut random)).collect();
        if LEASES_FOR_EACH_KIND <= leases {
            // Chance alone would leave a kind out of a short run.
            for kind in Disturbance::ENGINE.into_iter().chain(others) {
                let is_planned = |lease: &LeasePlan| lease.end == End::Disturbed(kind);
                if !all.iter().any(is_planned) {
                    let is_free = |lease: &&LeasePlan| !matches!(lease.end, End::Disturbed(_));
                    let free: Vec<_> = all.iter().filter(is_free).map(|lease| lease.index).collect();
                    if let Some(index) = random.choose(&free) {
                        all[index].end = End::Disturbed(kind);
                    }
                }
            }
        }
        let mut workers = vec![Vec::new(); processes.max(1)];
        for lease in all {
            let worker = lease.index % workers.len();
            workers[worker].push(lease);
        }
        Self { workers }
    }

    /// Sixteen digits that differ where plans do.
    pub(super) fn fingerprint(&self) -> String {
        use sha2::{Digest, Sha256};
        let digest = Sha256::digest(format!("{:?}", self.workers).as_bytes());
        kina_engine::lab::hex::encode(&digest[..8])
    }
}

impl LeasePlan {
    fn random(index: usize, others: &[Disturbance], random: &mut Random) -> Self {
        let canary = CanaryPlan {
            namespace: random.one_in(3),
            cluster_role: random.one_in(3),
            default_label: random.one_in(3),
            definition: random.one_in(6),
            policy: random.one_in(LEASES_PER_POLICY),
            pairs_seed: random.next(),
        };
        let end = if random.one_in(LEASES_PER_ENGINE_DISTURBANCE) {
            random.choose(&Disturbance::ENGINE).map_or(End::Return, End::Disturbed)
        } else if random.one_in(LEASES_PER_OTHER_DISTURBANCE) {
            random.choose(others).map_or(End::Return, End::Disturbed)
        } else {
            // A new process costs more than most leases: half of them end in their own process.
            let ends = [End::Return, End::Return, End::Return, End::Panic, End::Abort, End::Kill];
            random.choose(&ends).unwrap_or(End::Return)
        };
        let template = random.one_in(LEASES_PER_TEMPLATE).then(|| 1 + random.below(TEMPLATES));
        Self { index, template, canary, end, writes_late: random.one_in(5), hold_ms: random.below(20) }
    }
}

/// SplitMix64 (Steele, Lea and Flood, 2014): small, and the same everywhere.
pub(super) struct Random(u64);

impl Random {
    pub(super) fn new(seed: u64) -> Self {
        Self(seed)
    }

    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mixed = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }

    pub(super) fn below(&mut self, bound: u64) -> u64 {
        self.next() % bound.max(1)
    }

    fn one_in(&mut self, count: u64) -> bool {
        self.below(count) == 0
    }

    fn choose<T: Copy>(&mut self, among: &[T]) -> Option<T> {
        let index = usize::try_from(self.below(among.len() as u64)).unwrap_or(0);
        among.get(index).copied()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    impl Plan {
        fn leases(&self) -> impl Iterator<Item = &LeasePlan> {
            self.workers.iter().flatten()
        }
    }

    #[test]
    fn the_same_seed_gives_the_same_plan() {
        let plan = Plan::new(7, 1000, 16, Made::OfProcesses);
        assert_eq!(plan, Plan::new(7, 1000, 16, Made::OfProcesses));
        assert_eq!(plan.fingerprint(), Plan::new(7, 1000, 16, Made::OfProcesses).fingerprint());
        assert_ne!(plan.fingerprint(), Plan::new(8, 1000, 16, Made::OfProcesses).fingerprint());
    }

    #[test]
    fn every_lease_is_planned_once() {
        for (leases, processes) in [(0, 4), (1, 4), (60, 4), (999, 16)] {
            let plan = Plan::new(3, leases, processes, Made::OfProcesses);
            let mut indexes: Vec<_> = plan.leases().map(|lease| lease.index).collect();
            indexes.sort_unstable();
            assert_eq!(indexes, Vec::from_iter(0..leases));
            assert_eq!(plan.workers.len(), processes);
        }
    }

    #[test]
    fn engine_disturbances_are_rare_and_every_kind_occurs() {
        for seed in 0..50 {
            let plan = Plan::new(seed, 2000, 8, Made::OfProcesses);
            let disturbed = |kind| plan.leases().filter(|lease| lease.end == End::Disturbed(kind)).count();
            for kind in Disturbance::ENGINE.into_iter().chain(Disturbance::OTHERS) {
                assert!(0 < disturbed(kind), "seed {seed} has no {}", kind.name());
            }
            let engine: usize = Disturbance::ENGINE.map(disturbed).iter().sum();
            assert!(engine < 30, "seed {seed} disturbs the engine {engine} times in 2000");
        }
    }

    #[test]
    fn a_short_run_has_each_kind_too() {
        for seed in 0..50 {
            let plan = Plan::new(seed, 60, 4, Made::OfProcesses);
            for kind in Disturbance::ENGINE.into_iter().chain(Disturbance::OTHERS) {
                assert!(plan.leases().any(|lease| lease.end == End::Disturbed(kind)), "{seed} {}", kind.name());
            }
        }
    }

    #[test]
    fn containers_have_disturbances_of_their_own() {
        for seed in 0..50 {
            let [processes, containers] =
                [Made::OfProcesses, Made::OfContainers].map(|made| Plan::new(seed, 60, 4, made));
            for kind in Disturbance::OF_CONTAINERS {
                let is_planned = |plan: &Plan| plan.leases().any(|lease| lease.end == End::Disturbed(kind));
                assert!(is_planned(&containers) && !is_planned(&processes), "{seed} {}", kind.name());
            }
        }
    }

    #[test]
    fn all_ends_occur_and_some_leases_write_late() {
        let plan = Plan::new(1, 500, 4, Made::OfProcesses);
        for end in [End::Return, End::Panic, End::Abort, End::Kill] {
            assert!(plan.leases().any(|lease| lease.end == end), "{end:?}");
        }
        assert!(plan.leases().any(|lease| lease.writes_late));
        assert!(plan.leases().any(|lease| lease.canary.policy));
        for number in 1..=TEMPLATES {
            assert!(plan.leases().any(|lease| lease.template == Some(number)), "{number}");
        }
    }
}
