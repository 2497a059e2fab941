//! Carries out the planned disturbances, one at a time, and watches every engine.

use std::collections::{BTreeMap, BTreeSet};
use std::io::Write;
use std::net::{Ipv4Addr, TcpListener};
use std::path::Path;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use anyhow::Context;
use kina_engine::Status;
use kina_engine::lab::protocol::{Counters, HighWater};
use kina_engine::lab::provider::apple::ContainerState;
use rustix::process::Signal;

use super::containers::{costs_boots, costs_leases};
use super::ledger::{Failure, Ledger, Target};
use super::plan::Disturbance;
use super::processes::{self, Process};
use super::realm::Realm;
use super::strangers::{self, Strangers};

const FREEZE: Duration = Duration::from_secs(3);
const FULL_DISK: Duration = Duration::from_secs(3);
const TAKEN_PORTS: Duration = Duration::from_secs(3);
const TAKEN_PORTS_MAX: usize = 4000;
const SILENT_CONNECTIONS: Duration = Duration::from_secs(4);
/// Time limit for the processes of an engine that has ended.
const END_TIMEOUT: Duration = Duration::from_secs(10);
/// Pieces in which the disk is filled, the last ones small.
const FILL_BYTES: [usize; 2] = [1 << 20, 4 << 10];

/// The outcome of a disturbance.
#[derive(Debug)]
pub(super) enum Carried {
    /// It was done, or continues in the background.
    Done,
    /// This machine does not allow it.
    Skipped(&'static str),
    /// Its target has gone already.
    Gone,
}

/// An engine as last seen.
#[derive(Clone, Debug, Default)]
pub(super) struct EngineRecord {
    pub(super) counters: Counters,
    pub(super) high_water: HighWater,
    pub(super) processes: BTreeSet<Process>,
}

/// Carries out disturbances.
pub(super) struct Disturber {
    realm: Arc<Realm>,
    turn: Arc<tokio::sync::Mutex<()>>,
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    ledger: Ledger,
    engines: BTreeMap<u32, EngineRecord>,
    /// Processes that outlived their engine.
    orphans: Vec<String>,
    background: Vec<tokio::task::JoinHandle<()>>,
    /// The time of the last count of faults, and the counts.
    faults: Option<(Instant, BTreeMap<&'static str, u64>)>,
}

impl Disturber {
    pub(super) fn new(realm: Arc<Realm>) -> Self {
        Self { realm, turn: Arc::default(), state: Mutex::default() }
    }

    /// The cause that explains a failure.
    pub(super) fn explanation(&self, failure: &Failure<'_>) -> Option<&'static str> {
        self.note_faults();
        self.lock().ledger.explanation(failure)
    }

    /// Notes the faults since the last call.
    fn note_faults(&self) {
        let Some(containers) = self.realm.containers() else { return };
        let mut state = self.lock();
        let (now, counts) = (Instant::now(), containers.fault_counts());
        let (since, before) = state.faults.take().unwrap_or_else(|| (now, BTreeMap::new()));
        for (fault, count) in &counts {
            if before.get(fault).copied().unwrap_or(0) < *count && costs_boots(fault) {
                state.ledger.fault(fault, costs_leases(fault), since, now);
            }
        }
        state.faults = Some((now, counts));
    }

    /// Looks at the engine, since its counters are gone with it.
    pub(super) async fn look(&self) -> Option<Status> {
        self.note_faults();
        let status = self.realm.status(false).await?;
        let mut state = self.lock();
        let record = state.engines.entry(status.process_id).or_default();
        record.counters = status.counters;
        record.high_water = status.high_water;
        let ids = status.slots.iter().flat_map(|slot| slot.process_ids.iter()).chain([&status.process_id]);
        record.processes.extend(ids.filter_map(|id| Process::of(*id)));
        drop(state);
        Some(status)
    }

    /// Every engine so far.
    pub(super) fn engines(&self) -> Vec<EngineRecord> {
        self.lock().engines.values().cloned().collect()
    }

    /// Processes that outlived their engine.
    pub(super) fn orphans(&self) -> Vec<String> {
        self.lock().orphans.clone()
    }

    /// Waits until all disturbances are over.
    pub(super) async fn wait_over(&self) {
        let background = std::mem::take(&mut self.lock().background);
        for task in background {
            let _ = task.await;
        }
    }

    /// Disturbs the lease that is held on `cluster`. A disturbance that lasts a while goes on after this returns; the
    /// next one waits for it.
    pub(super) async fn carry_out(self: &Arc<Self>, kind: Disturbance, cluster: &str) -> anyhow::Result<Carried> {
        let turn = Arc::clone(&self.turn).lock_owned().await;
        let Some(status) = self.look().await else { return Ok(Carried::Gone) };
        let Some(slot) = status.slots.iter().find(|slot| slot.cluster.as_deref() == Some(cluster)) else {
            return Ok(Carried::Gone);
        };
        let members = match self.realm.containers() {
            None => Some(slot.process_ids.iter().filter_map(|id| Process::of(*id)).collect::<Vec<_>>()),
            Some(containers) => match containers.find(cluster).await? {
                Some(container) => containers.machine(&container.id).map(Vec::from_iter),
                None => return Ok(Carried::Gone),
            },
        };
        let on_lease = || Target::Lease(cluster.to_owned());
        match kind {
            Disturbance::EngineStop | Disturbance::EngineKill => self.end_engine(kind, status.process_id).await?,
            Disturbance::EtcdKill | Disturbance::ApiServerKill | Disturbance::ClusterFreeze => {
                let Some(members) = members else {
                    return Ok(Carried::Skipped(
                        "etcd_kill, api_server_kill, cluster_freeze: processes in a container are not visible here",
                    ));
                };
                match kind {
                    Disturbance::EtcdKill => return Ok(self.kill_member(kind, &members, "etcd", on_lease())),
                    Disturbance::ApiServerKill => {
                        return Ok(self.kill_member(kind, &members, "kube-apiserver", on_lease()));
                    }
                    _ => self.freeze(members, turn, Some((kind, Target::Cluster(cluster.to_owned())))),
                }
            }
            Disturbance::ContainerKill | Disturbance::ContainerStop | Disturbance::ContainerDelete => {
                return self.end_container(kind, cluster).await;
            }
            // No excuse for a lease: none depends on the engine itself for longer than this.
            Disturbance::EngineFreeze => {
                self.freeze(Process::of(status.process_id).into_iter().collect(), turn, None);
            }
            Disturbance::FullDisk if !self.realm.is_small_disk() => {
                return Ok(Carried::Skipped("full_disk: this user cannot mount a small file system"));
            }
            Disturbance::FullDisk => {
                let path = self.realm.transient_directories()[0].join("filler");
                let incident = self.lock().ledger.begin(kind.name(), Target::Everything, Instant::now());
                fill_disk(&path).context("filling the disk failed")?;
                let this = Arc::clone(self);
                self.go_on(async move {
                    tokio::time::sleep(FULL_DISK).await;
                    let _ = std::fs::remove_file(&path);
                    this.lock().ledger.end(incident, Instant::now());
                    drop(turn);
                });
            }
            // No excuse either: connections of others do not concern a lease.
            Disturbance::SilentConnections => {
                let addresses = strangers::listening(status.process_id);
                let Some(strangers) = Strangers::start(&addresses).await.context("starting a stranger failed")? else {
                    return Ok(Carried::Gone);
                };
                self.go_on(async move {
                    tokio::time::sleep(SILENT_CONNECTIONS).await;
                    strangers.end().await;
                    drop(turn);
                });
            }
            Disturbance::TakenPorts => {
                let bind = |_| TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).ok();
                let taken: Vec<_> = (0..TAKEN_PORTS_MAX).map_while(bind).collect();
                self.go_on(async move {
                    tokio::time::sleep(TAKEN_PORTS).await;
                    drop(taken);
                    drop(turn);
                });
            }
        }
        Ok(Carried::Done)
    }

    async fn end_engine(&self, kind: Disturbance, engine: u32) -> anyhow::Result<()> {
        let incident = self.lock().ledger.begin(kind.name(), Target::Engine(engine), Instant::now());
        if kind == Disturbance::EngineStop {
            let stopped = self.realm.engine().stop().await;
            stopped.context("stopping the engine failed")?;
        } else if let Some(process) = Process::of(engine) {
            process.signal(Signal::KILL);
        }
        let processes = self.lock().engines.get(&engine).map(|record| record.processes.clone()).unwrap_or_default();
        let left = processes::wait_ended(|| processes.clone(), END_TIMEOUT).await;
        let mut state = self.lock();
        for process in left {
            state.orphans.push(format!(
                "{} {}, {} s after {}",
                process.program(),
                process.process_id,
                END_TIMEOUT.as_secs(),
                kind.name()
            ));
            process.signal(Signal::KILL);
        }
        state.ledger.end(incident, Instant::now());
        Ok(())
    }

    /// Ends the container as a user without knowledge of leases would.
    async fn end_container(&self, kind: Disturbance, cluster: &str) -> anyhow::Result<Carried> {
        let Some(containers) = self.realm.containers() else { return Ok(Carried::Gone) };
        let Some(container) = containers.find(cluster).await? else { return Ok(Carried::Gone) };
        let arguments: &[&str] = match kind {
            Disturbance::ContainerKill => &["kill", "-s", "KILL"],
            Disturbance::ContainerStop => &["stop", "-t", "5"],
            _ => &["delete", "-f"],
        };
        let target = Target::Lease(cluster.to_owned());
        let incident = self.lock().ledger.begin(kind.name(), target, Instant::now());
        let ended = containers.run(&[arguments, &[container.id.as_str()]].concat()).await;
        let left = containers.find(cluster).await;
        self.lock().ledger.end(incident, Instant::now());
        match (ended, left) {
            (Ok(_), Ok(left)) if left.as_ref().is_none_or(|left| left.state != ContainerState::Running) => {
                Ok(Carried::Done)
            }
            // A service that has crashed or is down does none of this, and has already cost the cluster.
            _ => Ok(Carried::Gone),
        }
    }

    fn kill_member(&self, kind: Disturbance, members: &[Process], program: &str, target: Target) -> Carried {
        let Some(member) = members.iter().find(|member| member.program() == program) else { return Carried::Gone };
        self.lock().ledger.begin(kind.name(), target, Instant::now());
        member.signal(Signal::KILL);
        Carried::Done
    }

    fn freeze(
        self: &Arc<Self>,
        members: Vec<Process>,
        turn: tokio::sync::OwnedMutexGuard<()>,
        incident: Option<(Disturbance, Target)>,
    ) {
        let incident = incident.map(|(kind, target)| self.lock().ledger.begin(kind.name(), target, Instant::now()));
        members.iter().for_each(|member| member.signal(Signal::STOP));
        let this = Arc::clone(self);
        self.go_on(async move {
            tokio::time::sleep(FREEZE).await;
            members.iter().for_each(|member| member.signal(Signal::CONT));
            if let Some(incident) = incident {
                this.lock().ledger.end(incident, Instant::now());
            }
            drop(turn);
        });
    }

    fn go_on(&self, work: impl Future<Output = ()> + Send + 'static) {
        self.lock().background.push(tokio::spawn(work));
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Writes until there is no space left.
fn fill_disk(path: &Path) -> std::io::Result<()> {
    let mut file = std::fs::File::create(path)?;
    for bytes in FILL_BYTES {
        let zeros = vec![0; bytes];
        loop {
            match file.write_all(&zeros) {
                Ok(()) => {}
                Err(error) if error.kind() == std::io::ErrorKind::StorageFull => break,
                Err(error) => return Err(error),
            }
        }
    }
    Ok(())
}
