//! A client process: takes one planned lease after the other and reports its progress to the supervisor, line by line.

use std::io::Write;
use std::path::PathBuf;
use std::process::Stdio;
use std::time::{Duration, Instant};

use anyhow::{Context, bail};
use clap::Args;
use kina_engine::{AcquireRequest, EngineClient, EngineProgram, FixtureSet, Lease};
use rustix::process::{Resource, Rlimit, Signal};
use serde::{Deserialize, Serialize};

use super::canary::{self, Api, Sighting};
use super::old_client::{self, Credentials};
use super::pairs;
use super::plan::{End, LeasePlan, Made, Plan};
use super::templates;

/// Pause after a refusal, so that a bad moment does not use up the plan.
const REFUSED_PAUSE: Duration = Duration::from_secs(1);
/// Time limit for a lease to outlive its engine or cluster.
const CUT_TIMEOUT: Duration = Duration::from_secs(30);
const POLL_INTERVAL: Duration = Duration::from_millis(20);

/// The plan, and the worker's place in it.
#[derive(Clone, Debug, Args)]
pub(super) struct WorkerArguments {
    #[arg(long)]
    pub(super) seed: u64,
    #[arg(long)]
    pub(super) leases: usize,
    #[arg(long)]
    pub(super) processes: usize,
    /// Number of this process among the processes
    #[arg(long)]
    pub(super) worker: usize,
    /// Number of its finished leases
    #[arg(long)]
    pub(super) done: usize,
    /// Set if clusters are made of containers
    #[arg(long)]
    pub(super) containers: bool,
    /// Directory for files that outlast a lease
    #[arg(long)]
    pub(super) scratch: PathBuf,
}

/// The messages of a worker, one a line.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum WorkerEvent {
    /// It asks for a cluster.
    Acquiring { lease: usize },
    /// It got none.
    NotServed { lease: usize, error: String },
    /// It got one.
    Leased { lease: usize, cluster: String },
    /// The traces it found in the cluster.
    Looked { lease: usize, sightings: Vec<Sighting>, old_client_let_in: bool },
    /// The lease is to be disturbed; it waits until that is done.
    Ready { lease: usize },
    /// It could not go on with the lease.
    Lost { lease: usize, error: String },
    /// It gives the lease back, or ends itself as planned: nothing follows then.
    Ending { lease: usize },
}

/// Takes the leases that are left.
pub(super) async fn run(arguments: &WorkerArguments) -> anyhow::Result<()> {
    // Processes that abort by plan leave no memory image.
    rustix::process::setrlimit(Resource::Core, Rlimit { current: Some(0), maximum: Some(0) })?;
    let made = if arguments.containers { Made::OfContainers } else { Made::OfProcesses };
    let plan = Plan::new(arguments.seed, arguments.leases, arguments.processes, made);
    let leases = plan.workers.get(arguments.worker).context("there is no such worker")?;
    let mut worker = Worker {
        engine: EngineClient::from_environment(EngineProgram::ThisExecutable)?,
        leaked: arguments.scratch.join(format!("leaked-{}.json", arguments.worker)),
        scratch: arguments.scratch.clone(),
        kept: Vec::new(),
    };
    for plan in leases.iter().skip(arguments.done) {
        worker.take(plan).await?;
    }
    Ok(())
}

struct Worker {
    engine: EngineClient,
    /// Credentials of the worker's last lease, which may have been in an earlier process.
    leaked: PathBuf,
    scratch: PathBuf,
    /// The connections of the last lease, if it was in this process.
    kept: Vec<Api>,
}

impl Worker {
    async fn take(&mut self, plan: &LeasePlan) -> anyhow::Result<()> {
        let lease = plan.index;
        tell(&WorkerEvent::Acquiring { lease })?;
        let mut request = AcquireRequest::from_environment(&format!("chaos lease {lease}"), None)?;
        let content = plan.template.map(templates::content);
        request.template = content.as_ref().map(FixtureSet::hash);
        let held = match self.engine.acquire_from(request, &content.unwrap_or_default(), &|_| {}).await {
            Ok(held) => held,
            Err(error) => {
                tell(&WorkerEvent::NotServed { lease, error: kina_engine::with_causes(&error) })?;
                tokio::time::sleep(REFUSED_PAUSE).await;
                return Ok(());
            }
        };
        tell(&WorkerEvent::Leased { lease, cluster: held.grant.cluster.clone() })?;
        match self.hold(plan, &held).await {
            Ok(api) => {
                tell(&WorkerEvent::Ending { lease })?;
                self.end(plan, held, api)
            }
            Err(error) => {
                tell(&WorkerEvent::Lost { lease, error: format!("{error:#}") })?;
                drop(held);
                tokio::time::sleep(REFUSED_PAUSE).await;
                Ok(())
            }
        }
    }

    async fn hold(&mut self, plan: &LeasePlan, held: &Lease) -> anyhow::Result<Api> {
        let lease = plan.index;
        let credentials = self.credentials(plan, held);
        let api = credentials.connect_first(held.connector())?;
        // First of all, while delayed traces would still be visible.
        let mut sightings = canary::look(&api).await.context("looking for canaries failed")?;
        sightings.extend(templates::look(&api, plan.template).await.context("looking at the template failed")?);
        let left = pairs::handed_on::look(&self.scratch, &self.engine, &held.grant).await;
        let left = left.context("looking for what the lease before did failed")?;
        sightings.extend(left.into_iter().map(|what| Sighting { what, is_late: false, persists: false }));
        let old_client_let_in = match Credentials::load(&self.leaked) {
            Some(old) => old_client::is_let_in(&old, &self.kept).await?,
            None => false,
        };
        self.kept.clear();
        tell(&WorkerEvent::Looked { lease, sightings, old_client_let_in })?;
        canary::plant(&api, plan.canary, lease).await.context("planting the canary failed")?;
        let seed = plan.canary.pairs_seed;
        pairs::handed_on::plant(&self.scratch, &self.engine, &held.grant, seed)
            .await
            .context("planting pairs failed")?;
        credentials.save(&self.leaked)?;
        tokio::time::sleep(Duration::from_millis(plan.hold_ms)).await;
        if let End::Disturbed(disturbance) = plan.end {
            tell(&WorkerEvent::Ready { lease })?;
            let is_carried_out = wait_for_supervisor().await?;
            if disturbance.is_kill() && is_carried_out {
                return wait_cut(&api).await;
            }
            if !plan.writes_late {
                canary::plant_again(&api, lease).await.context("writing once more failed")?;
            }
        }
        Ok(api)
    }

    fn end(&mut self, plan: &LeasePlan, held: Lease, api: Api) -> anyhow::Result<()> {
        let credentials = self.credentials(plan, &held);
        match plan.end {
            End::Return | End::Disturbed(_) => {
                // A client that comes in by TLS has not used the connection that came with the lease.
                self.kept = vec![api, credentials.connect_unused(held.connector())?];
                if plan.writes_late {
                    old_client::write_late_on_thread(credentials, plan.index);
                }
                drop(held);
                return Ok(());
            }
            End::Panic | End::Abort | End::Kill if plan.writes_late => self.leave_process(plan.index, &credentials)?,
            End::Panic | End::Abort | End::Kill => {}
        }
        match plan.end {
            End::Panic => panic!("as planned"),
            End::Abort => std::process::abort(),
            _ => {
                rustix::process::kill_process(rustix::process::getpid(), Signal::KILL)?;
                bail!("SIGKILL did not end this process")
            }
        }
    }

    /// Every other lease's client comes in by the socket for leases.
    fn credentials(&self, plan: &LeasePlan, held: &Lease) -> Credentials {
        Credentials::of(&held.grant, &self.engine.paths().lease_socket, plan.index.is_multiple_of(2))
    }

    /// Leaves a process behind that has the lease's credentials and goes on writing.
    fn leave_process(&self, lease: usize, credentials: &Credentials) -> anyhow::Result<()> {
        let path = self.scratch.join(format!("late-{lease}.json"));
        credentials.save(&path)?;
        std::process::Command::new(std::env::current_exe()?)
            .args(["chaos", "late-writer", "--lease", &lease.to_string(), "--credentials"])
            .arg(path)
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()?;
        Ok(())
    }
}

/// Waits until the lease of a killed engine or cluster is cut off, as it must be. Never succeeds.
async fn wait_cut(api: &Api) -> anyhow::Result<Api> {
    let start = Instant::now();
    while start.elapsed() < CUT_TIMEOUT {
        api.get("/api/v1/namespaces/default").await.context("cut off")?;
        tokio::time::sleep(POLL_INTERVAL).await;
    }
    bail!("{NOT_CUT} {} s after its end", CUT_TIMEOUT.as_secs())
}

/// The beginning of the message of a lease that should have been lost and was not.
pub(super) const NOT_CUT: &str = "the cluster still answered";

/// The supervisor's replies: the disturbance is over or continues in the background, or it cannot be carried out.
pub(super) const CARRIED_OUT: &str = "carried out\n";
pub(super) const SKIPPED: &str = "skipped\n";

fn tell(event: &WorkerEvent) -> anyhow::Result<()> {
    let mut line = serde_json::to_vec(event)?;
    line.push(b'\n');
    let mut stdout = std::io::stdout().lock();
    stdout.write_all(&line)?;
    Ok(stdout.flush()?)
}

/// Returns true if the lease was disturbed as planned.
async fn wait_for_supervisor() -> anyhow::Result<bool> {
    let read = || {
        let mut line = String::new();
        std::io::stdin().read_line(&mut line).map(|_| line)
    };
    match tokio::task::spawn_blocking(read).await??.as_str() {
        "" => bail!("the supervisor has gone"),
        SKIPPED => Ok(false),
        _ => Ok(true),
    }
}
