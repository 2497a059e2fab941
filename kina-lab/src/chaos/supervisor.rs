//! Starts the workers, has the planned disturbances carried out, and notes the outcome of each lease.

use std::os::unix::process::ExitStatusExt;
use std::process::{ExitStatus, Stdio};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use anyhow::{Context, bail};
use cargo_kina::print_report;
use kina_engine::ProviderName;
use tokio::io::{AsyncBufReadExt, AsyncWriteExt, BufReader, Lines};
use tokio::process::{Child, ChildStdin, ChildStdout};

use super::containers::{Containers, FaultPlan, Foreign};
use super::disturb::{Carried, Disturber};
use super::ledger::Failure;
use super::plan::{End, LeasePlan, Made, Plan};
use super::realm::Realm;
use super::report::{Report, Tally};
use super::worker::{CARRIED_OUT, NOT_CUT, SKIPPED, WorkerEvent};
use super::{ChaosArguments, audit, interrupted, say};

/// Time limit for a lease to get its cluster.
const ACQUIRE_TIMEOUT_SECONDS: u64 = 150;
/// A worker that is silent for this long hangs: it is longer than any bounded wait of its own.
const SILENCE_MAX: Duration = Duration::from_secs(200);
/// Interval between looks at the engine, since its counters are gone with it.
const LOOK_INTERVAL: Duration = Duration::from_millis(200);
const PROGRESS_INTERVAL: Duration = Duration::from_secs(15);
/// Time limit of the last rewinds.
const SETTLE_TIMEOUT: Duration = Duration::from_secs(60);
/// Exit code of a process that panicked.
const EXIT_PANIC: i32 = 101;

/// Runs the plan and prints the report; fails if a part did.
pub(super) async fn run(provider: ProviderName, arguments: &ChaosArguments) -> anyhow::Result<()> {
    if !cfg!(target_os = "linux") {
        bail!("`cargo lab chaos` needs details of processes that only Linux has");
    }
    if arguments.processes == 0 || arguments.slots == 0 {
        bail!("--processes and --slots must be at least 1");
    }
    let realm = Realm::prepare(provider, arguments.slots, ACQUIRE_TIMEOUT_SECONDS, &arguments.sabotage, true).await?;
    let realm = Arc::new(realm);
    let made = if realm.containers().is_some() { Made::OfContainers } else { Made::OfProcesses };
    let plan = Plan::new(arguments.seed, arguments.leases, arguments.processes, made);
    let supervisor = Supervisor {
        provider,
        foreign: Mutex::default(),
        disturber: Arc::new(Disturber::new(Arc::clone(&realm))),
        realm: Arc::clone(&realm),
        arguments: arguments.clone(),
        tally: Mutex::default(),
    };
    let start = Instant::now();
    let interrupted = tokio::select! {
        result = supervisor.run(&plan) => result.err(),
        () = interrupted() => Some(anyhow::anyhow!("interrupted")),
    };
    supervisor.disturber.wait_over().await;
    let stopped = realm.engine().stop().await;
    let faults = realm.containers().map(Containers::fault_counts).unwrap_or_default();
    let foreign = std::mem::take(&mut *supervisor.foreign.lock().unwrap_or_else(PoisonError::into_inner));
    let mut leftovers = audit::audit(&realm, &foreign).await;
    if let Some(error) = interrupted {
        return Err(error);
    }
    leftovers.orphans.extend(supervisor.disturber.orphans());
    if let Err(error) = stopped {
        let error = format!("the last stop of the engine: {}", kina_engine::with_causes(&error));
        supervisor.tally().failures.push(error);
    }
    let report = Report {
        faults,
        foreign: realm.containers().map(|_| foreign.names().count()),
        ..supervisor.report(&plan, start)
    };
    let report = report.judge(&supervisor.tally(), &leftovers);
    print_report(&report, arguments.format)?;
    if !report.failed_parts.is_empty() {
        // A failure that was planned needs no investigation.
        let kept = if arguments.sabotage.is_empty() { realm.keep_log() } else { None };
        let kept = kept.map(|path| format!("; the engine's log is kept in {}", path.display()));
        bail!("chaos found failures of: {}{}", report.failed_parts.join(", "), kept.unwrap_or_default());
    }
    Ok(())
}

struct Supervisor {
    provider: ProviderName,
    /// The foreign containers.
    foreign: Mutex<Foreign>,
    disturber: Arc<Disturber>,
    realm: Arc<Realm>,
    arguments: ChaosArguments,
    tally: Mutex<Tally>,
}

/// A worker's process.
struct Running {
    child: Child,
    stdin: ChildStdin,
    lines: Lines<BufReader<ChildStdout>>,
}

/// The lease that a worker works on.
struct Current<'a> {
    plan: &'a LeasePlan,
    asked_at: Instant,
    /// Its cluster, and since when it has it.
    leased: Option<(String, Instant)>,
    /// Set once the worker has announced the end of its process.
    is_ending: bool,
}

impl Supervisor {
    async fn run(&self, plan: &Plan) -> anyhow::Result<()> {
        say(&format!("seed {}, plan {}", self.arguments.seed, plan.fingerprint()));
        // The one boot from nothing is kept out of the chaos.
        self.realm.warm(1).await?;
        self.prepare_containers().await?;
        let workers = plan.workers.iter().enumerate().map(|(worker, leases)| self.drive(worker, leases));
        let all = futures::future::try_join_all(workers);
        tokio::select! {
            result = all => drop(result?),
            () = self.watch() => {}
        }
        self.disturber.wait_over().await;
        if let Some(containers) = self.realm.containers() {
            // The next engine has to find the containers that faults kept this one from deleting.
            containers.heal()?;
            self.disturber.look().await;
            self.realm.engine().stop().await.context("stopping the engine failed")?;
        }
        // The next engine removes the remains of a killed one, so there has to be a next one.
        self.realm.warm(1).await?;
        self.settle().await?;
        if let (Some(containers), Some(status)) = (self.realm.containers(), self.disturber.look().await) {
            containers.wait_swept(status.process_id).await?;
        }
        Ok(())
    }

    /// Makes foreign containers beside the clusters' own, and lets calls fail from now on.
    async fn prepare_containers(&self) -> anyhow::Result<()> {
        let Some(containers) = self.realm.containers() else { return Ok(()) };
        let foreign = Foreign::make(containers).await?;
        *self.foreign.lock().unwrap_or_else(PoisonError::into_inner) = foreign;
        if containers.is_emulator() {
            containers.inject(&FaultPlan::new(self.arguments.seed))
        } else {
            self.tally().skipped.push("faults: only kina's emulator has them on demand, and this is none".to_owned());
            Ok(())
        }
    }

    /// Watches the engine without an end.
    async fn watch(&self) {
        let mut last_said = Instant::now();
        loop {
            self.disturber.look().await;
            if PROGRESS_INTERVAL < last_said.elapsed() {
                last_said = Instant::now();
                let tally = self.tally();
                let (served, failed) = (tally.served, tally.failures.len());
                say(&format!("{served} of {} leases served, {failed} failures", self.arguments.leases));
                drop(tally);
            }
            tokio::time::sleep(LOOK_INTERVAL).await;
        }
    }

    async fn settle(&self) -> anyhow::Result<()> {
        let start = Instant::now();
        loop {
            let status = self.disturber.look().await.context("the engine has ended by itself")?;
            if status.slots.iter().all(|slot| ["ready", "frozen", "stopped"].contains(&slot.state.as_str())) {
                return Ok(());
            }
            if SETTLE_TIMEOUT < start.elapsed() {
                let states: Vec<_> = status.slots.into_iter().map(|slot| slot.state).collect();
                self.tally().hung.push(format!("the last rewinds: slots are {}", states.join(", ")));
                return Ok(());
            }
            tokio::time::sleep(LOOK_INTERVAL).await;
        }
    }

    async fn drive(&self, worker: usize, leases: &[LeasePlan]) -> anyhow::Result<()> {
        let mut done = 0;
        while done < leases.len() {
            // At least one for each process, or this would never end.
            done += self.drive_process(worker, done, &leases[done..]).await?.max(1);
        }
        Ok(())
    }

    /// Follows one process of a worker to its end; returns the number of finished leases.
    async fn drive_process(&self, worker: usize, done: usize, leases: &[LeasePlan]) -> anyhow::Result<usize> {
        let mut running = self.spawn(worker, done)?;
        let mut taken = 0;
        let mut current: Option<Current<'_>> = None;
        loop {
            let line = match tokio::time::timeout(SILENCE_MAX, running.lines.next_line()).await {
                Ok(line) => line?,
                Err(_) => {
                    let at = current.map_or("nothing".to_owned(), |current| current.describe());
                    self.tally().hung.push(format!("worker {worker} at {at}"));
                    running.child.kill().await?;
                    return Ok(taken + 1);
                }
            };
            let Some(line) = line else {
                let status = running.child.wait().await?;
                return Ok(taken + self.process_ended(worker, status, current.as_ref()));
            };
            match (serde_json::from_str(&line)?, current.take()) {
                (WorkerEvent::Acquiring { lease }, _) => {
                    let plan = leases.get(taken).filter(|plan| plan.index == lease);
                    let plan = plan.with_context(|| format!("bug: worker {worker} takes lease {lease} now"))?;
                    current = Some(Current { plan, asked_at: Instant::now(), leased: None, is_ending: false });
                }
                (WorkerEvent::NotServed { error, .. }, Some(at)) => {
                    self.note_failure(&at, &error);
                    taken += 1;
                }
                (WorkerEvent::Leased { cluster, .. }, Some(at)) => {
                    current = Some(Current { leased: Some((cluster, Instant::now())), ..at });
                }
                (WorkerEvent::Looked { lease, sightings, old_client_let_in }, at) => {
                    let mut tally = self.tally();
                    tally.sightings.extend(sightings.into_iter().map(|sighting| (lease, sighting)));
                    tally.old_clients_let_in += usize::from(old_client_let_in);
                    current = at;
                }
                (WorkerEvent::Ready { .. }, Some(at)) => {
                    let became = if self.disturb(&at).await { CARRIED_OUT } else { SKIPPED };
                    // It may have gone meanwhile; the next read notices its end.
                    let _ = running.stdin.write_all(became.as_bytes()).await;
                    current = Some(at);
                }
                (WorkerEvent::Lost { error, .. }, Some(at)) => {
                    self.note_failure(&at, &error);
                    taken += 1;
                }
                (WorkerEvent::Ending { .. }, Some(at)) => match at.plan.end {
                    End::Return | End::Disturbed(_) => {
                        self.tally().served += 1;
                        taken += 1;
                    }
                    End::Panic | End::Abort | End::Kill => current = Some(Current { is_ending: true, ..at }),
                },
                (event, None) => bail!("bug: worker {worker} says {event:?} without a lease"),
            }
        }
    }

    fn spawn(&self, worker: usize, done: usize) -> anyhow::Result<Running> {
        let log = std::fs::OpenOptions::new().create(true).append(true).open(self.worker_log(worker))?;
        let number = |number: usize| number.to_string();
        let made: &[&str] = if self.realm.containers().is_some() { &["--containers"] } else { &[] };
        let mut child = self
            .realm
            .command(&["chaos", "worker"])?
            .args(["--seed", &self.arguments.seed.to_string(), "--leases", &number(self.arguments.leases)])
            .args(["--processes", &number(self.arguments.processes), "--worker", &number(worker)])
            .args(made)
            .args(["--done", &number(done), "--scratch"])
            .arg(self.realm.scratch())
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(log)
            .spawn()
            .context("starting a worker failed")?;
        let stdin = child.stdin.take().context("it is piped")?;
        let lines = BufReader::new(child.stdout.take().context("it is piped")?).lines();
        Ok(Running { child, stdin, lines })
    }

    /// Returns the number of further leases that this end finishes.
    fn process_ended(&self, worker: usize, status: ExitStatus, current: Option<&Current<'_>>) -> usize {
        let log = || kina_engine::log_tail(&self.worker_log(worker));
        match current {
            Some(at) if at.is_ending && is_planned_end(at.plan.end, status) => {
                self.tally().served += 1;
                1
            }
            Some(at) => {
                let text = format!("worker {worker} ended ({status}) at {}: {}", at.describe(), log());
                self.tally().failures.push(text);
                1
            }
            None if status.success() => 0,
            None => {
                self.tally().failures.push(format!("worker {worker} ended ({status}) between leases: {}", log()));
                0
            }
        }
    }

    /// Returns true if the lease is, or will be, disturbed.
    async fn disturb(&self, at: &Current<'_>) -> bool {
        let (End::Disturbed(kind), Some((cluster, _))) = (at.plan.end, &at.leased) else { return false };
        match self.disturber.carry_out(kind, cluster).await {
            Ok(Carried::Done) => *self.tally().disturbances.entry(kind.name()).or_default() += 1,
            Ok(Carried::Skipped(why)) => {
                let mut tally = self.tally();
                if !tally.skipped.iter().any(|known| known == why) {
                    tally.skipped.push(why.to_owned());
                }
                return false;
            }
            Ok(Carried::Gone) => self.tally().came_too_late += 1,
            Err(error) => self.tally().failures.push(format!("{}: {error:#}", kind.name())),
        }
        true
    }

    fn note_failure(&self, at: &Current<'_>, error: &str) {
        let leased = at.leased.as_ref().map(|(cluster, since)| (cluster.as_str(), *since));
        let failure = Failure { asked_at: at.asked_at, failed_at: Instant::now(), leased };
        // A lease that outlived its own cluster does not count as lost.
        let explanation = self.disturber.explanation(&failure).filter(|_| !error.starts_with(NOT_CUT));
        let mut tally = self.tally();
        match (explanation, leased) {
            (Some(cause), Some(_)) => {
                *tally.lost.entry(cause).or_default() += 1;
                tally.note_reason(cause, true, error);
            }
            (Some(cause), None) => {
                *tally.refused.entry(cause).or_default() += 1;
                tally.note_reason(cause, false, error);
            }
            (None, _) => {
                let text = format!("{}: {error}", at.describe());
                say(&text);
                tally.failures.push(text);
            }
        }
    }

    fn report(&self, plan: &Plan, start: Instant) -> Report {
        let engines = self.disturber.engines();
        let sum = |count: &dyn Fn(&kina_engine::lab::protocol::Counters) -> u64| {
            engines.iter().map(|engine| count(&engine.counters)).sum()
        };
        let most = |count: &dyn Fn(&kina_engine::lab::protocol::HighWater) -> usize| {
            engines.iter().map(|engine| count(&engine.high_water)).max().unwrap_or(0)
        };
        let is_emulator = self.realm.containers().is_some_and(Containers::is_emulator);
        Report {
            provider: self.provider.as_str(),
            simulated: is_emulator,
            fault_plan: is_emulator.then(|| FaultPlan::new(self.arguments.seed).text()),
            leases: self.arguments.leases,
            seed: self.arguments.seed,
            plan: plan.fingerprint(),
            processes: self.arguments.processes,
            engines: engines.len(),
            rewinds: sum(&|counters| counters.rewinds),
            boots: sum(&|counters| counters.boots),
            api_server_restarts: sum(&|counters| counters.api_server_restarts),
            broken: sum(&|counters| counters.broken),
            late_writes: sum(&|counters| counters.late_writes),
            queue_longest: most(&|high_water| high_water.queue_longest),
            boots_under_way_most: most(&|high_water| high_water.boots_under_way_most),
            boots_under_way_max: most(&|high_water| high_water.boots_under_way_max),
            slots_most: most(&|high_water| high_water.slots_most),
            slots_max: most(&|high_water| high_water.slots_max),
            seconds: start.elapsed().as_secs(),
            sabotage: self.arguments.sabotage.iter().map(|part| part.name()).collect(),
            ..Report::default()
        }
    }

    fn worker_log(&self, worker: usize) -> std::path::PathBuf {
        self.realm.scratch().join(format!("worker-{worker}.log"))
    }

    fn tally(&self) -> MutexGuard<'_, Tally> {
        self.tally.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Current<'_> {
    fn describe(&self) -> String {
        let cluster = self.leased.as_ref().map_or("no cluster yet", |(cluster, _)| cluster);
        format!("lease {} on {cluster}, which was to end by {:?}", self.plan.index, self.plan.end)
    }
}

fn is_planned_end(end: End, status: ExitStatus) -> bool {
    const SIGKILL: i32 = 9;
    const SIGABRT: i32 = 6;
    match end {
        End::Panic => status.code() == Some(EXIT_PANIC),
        End::Abort => status.signal() == Some(SIGABRT),
        End::Kill => status.signal() == Some(SIGKILL),
        End::Return | End::Disturbed(_) => false,
    }
}
