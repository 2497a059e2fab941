//! One sample: a cluster's boot, its start, the deaths of its components, and a gateway in front of a dead one.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::{Context, ensure};
use http::Method;
use kina_engine::lab::gateway::LoneGateway;
use kina_engine::lab::provider::{CreateRequest, ProvidedCluster, Provider, Readiness};
use kina_engine::lab::snapshot::Snapshot;
use kina_engine::{Assets, ClientCertificate, Profile, RawClient, RequestContent};
use rustix::process::Signal;
use serde::{Deserialize, Serialize};

use crate::chaos::processes::{Process, with_descendants};

const ETCD: &str = "etcd";
const API_SERVER: &str = "kube-apiserver";
/// Time limit for a component to be there, or to be gone.
const PROCESS_TIMEOUT: Duration = Duration::from_secs(20);
const PROCESS_POLL_INTERVAL: Duration = Duration::from_millis(1);
/// Time limit of a request through a gateway: longer than a gateway waits for an API server that runs.
const REQUEST_TIMEOUT: Duration = Duration::from_secs(60);

/// Times, in milliseconds.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub(super) struct Sample {
    pub(super) boot_ms: f64,
    pub(super) start_ms: f64,
    /// Absent if silent ports refuse.
    pub(super) start_without_wait_ms: Option<f64>,
    /// By the component that died, and the wait that its death ends.
    pub(super) deaths_noticed_ms: BTreeMap<String, f64>,
    pub(super) gateway_refused_ms: f64,
}

impl Sample {
    /// The slowest.
    pub(super) fn death_noticed_ms(&self) -> f64 {
        self.deaths_noticed_ms.values().copied().fold(0.0, f64::max)
    }
}

/// The ingredients of samples.
pub(super) struct Scene {
    provider: Arc<dyn Provider>,
    /// Stopped between samples: a cluster that starts kube-apiserver beside etcd, whatever its ports do.
    hasty: Option<Arc<dyn ProvidedCluster>>,
    assets: Assets,
    snapshot: Snapshot,
    samples: usize,
}

impl Scene {
    /// Makes the cluster that lasts for all samples, if there is a provider for it.
    pub(super) async fn prepare(
        provider: Arc<dyn Provider>,
        hasty: Option<Arc<dyn Provider>>,
        assets: Assets,
        snapshot: Snapshot,
    ) -> anyhow::Result<Self> {
        let mut scene = Self { provider, hasty: None, assets, snapshot, samples: 0 };
        if let Some(hasty) = hasty {
            let cluster = hasty.create(scene.request("hasty".to_owned())).await?;
            cluster.wait_ready(Readiness::Early).await?;
            cluster.stop().await?;
            scene.hasty = Some(cluster);
        }
        Ok(scene)
    }

    /// Takes a sample, with a new cluster.
    pub(super) async fn sample(&mut self) -> anyhow::Result<Sample> {
        self.samples += 1;
        let mut sample = Sample::default();
        if let Some(hasty) = &self.hasty {
            sample.start_without_wait_ms = Some(start(&**hasty).await?);
            hasty.stop().await?;
        }
        let asked = Instant::now();
        let cluster = self.provider.create(self.request(format!("sample-{}", self.samples))).await?;
        let taken = take(&cluster, &mut sample, asked).await;
        cluster.destroy().await?;
        taken.map(|()| sample)
    }

    /// Removes what is left. Failures leave it to the removal of the directory.
    pub(super) async fn end(&self) {
        if let Some(hasty) = &self.hasty {
            let _ = hasty.destroy().await;
        }
    }

    fn request(&self, name: String) -> CreateRequest {
        let initial_state = Arc::clone(&self.snapshot.state);
        CreateRequest { name, assets: self.assets.clone(), profile: Profile::Api, initial_state }
    }
}

async fn take(cluster: &Arc<dyn ProvidedCluster>, sample: &mut Sample, asked: Instant) -> anyhow::Result<()> {
    cluster.wait_ready(Readiness::Early).await?;
    sample.boot_ms = since(asked);
    cluster.stop().await?;
    sample.start_ms = start(&**cluster).await?;
    cluster.stop().await?;

    let mut noticed = |what: &str, ms: f64| sample.deaths_noticed_ms.insert(what.to_owned(), ms);
    noticed("etcd while it is waited for", etcd_dies_during_its_start(&**cluster).await?);
    noticed("kube-apiserver while it is waited for", component_dies(&**cluster, API_SERVER).await?);
    noticed("etcd while kube-apiserver is waited for", component_dies(&**cluster, ETCD).await?);

    start(&**cluster).await?;
    sample.gateway_refused_ms = gateway_refuses(cluster).await?;
    Ok(())
}

/// Starts a stopped cluster, and returns the time until its API server is ready.
async fn start(cluster: &dyn ProvidedCluster) -> anyhow::Result<f64> {
    let asked = Instant::now();
    cluster.start().await?;
    cluster.wait_ready(Readiness::Early).await?;
    Ok(since(asked))
}

/// Kills etcd as soon as it is there, and returns the time until the start has failed. The cluster is stopped then.
async fn etcd_dies_during_its_start(cluster: &dyn ProvidedCluster) -> anyhow::Result<f64> {
    let wait = async {
        let failed = async {
            cluster.start().await?;
            cluster.wait_ready(Readiness::Full).await
        };
        (failed.await, Instant::now())
    };
    let kill = async {
        let etcd = appeared(ETCD).await?;
        etcd.signal(Signal::KILL);
        anyhow::Ok(Instant::now())
    };
    let ((waited, failed_at), killed_at) = tokio::join!(wait, kill);
    ensure!(waited.is_err(), "a cluster whose etcd was killed at its start is said to be ready");
    cluster.stop().await?;
    Ok(milliseconds(failed_at.saturating_duration_since(killed_at?)))
}

/// Kills a component of a cluster that has just been started, and returns the time until the wait for it has failed. The
/// cluster is stopped then.
async fn component_dies(cluster: &dyn ProvidedCluster, program: &str) -> anyhow::Result<f64> {
    cluster.start().await?;
    let component = component_of(cluster, program)?;
    // The wait is under way when the component dies.
    let wait = async {
        let waited = cluster.wait_ready(Readiness::Full).await;
        (waited, Instant::now())
    };
    let kill = async {
        tokio::time::sleep(PROCESS_POLL_INTERVAL).await;
        component.signal(Signal::KILL);
        Instant::now()
    };
    let ((waited, failed_at), killed_at) = tokio::join!(wait, kill);
    ensure!(waited.is_err(), "a cluster whose {program} was killed is said to be ready");
    cluster.stop().await?;
    Ok(milliseconds(failed_at.saturating_duration_since(killed_at)))
}

/// Kills the API server of a running cluster, and returns the time in which a gateway in front of it refuses a client.
async fn gateway_refuses(cluster: &Arc<dyn ProvidedCluster>) -> anyhow::Result<f64> {
    let known = Arc::clone(cluster);
    let gateway = LoneGateway::open(cluster.access(), Arc::new(move || known.api_server_has_ended())).await?;
    let measured = async {
        request(&gateway).await.context("a gateway does not lead to the API server that runs")?;
        let api_server = component_of(&**cluster, API_SERVER)?;
        api_server.signal(Signal::KILL);
        wait_for("the API server has ended", || (!api_server.is_alive()).then_some(())).await?;
        let asked = Instant::now();
        ensure!(request(&gateway).await.is_err(), "a gateway answers whose API server has ended");
        Ok(since(asked))
    };
    let measured = measured.await;
    gateway.close().await;
    measured
}

/// A request on a connection of its own.
async fn request(gateway: &LoneGateway) -> anyhow::Result<()> {
    let client = gateway.client();
    let certificate = ClientCertificate { certificate_pem: &client.certificate_pem, key_pem: &client.key_pem };
    let client = RawClient::new(gateway.address(), gateway.ca_pem(), Some(certificate))?;
    let answer = client.exchange(Method::GET, "/version", RequestContent::default(), REQUEST_TIMEOUT).await?;
    ensure!(answer.status.is_success(), "HTTP status {}", answer.status);
    Ok(())
}

fn component_of(cluster: &dyn ProvidedCluster, program: &str) -> anyhow::Result<Process> {
    let processes = cluster.process_ids().into_iter().filter_map(Process::of);
    let mut components = processes.filter(|process| process.program() == program);
    components.next().with_context(|| format!("the cluster has no {program}"))
}

/// Waits for a descendant of this process that runs this program.
async fn appeared(program: &str) -> anyhow::Result<Process> {
    let this = Process::of(std::process::id()).context("this process is not among the processes")?;
    let look = || with_descendants(std::iter::once(this)).into_iter().find(|process| process.program() == program);
    wait_for(&format!("there is a process {program}"), look).await
}

async fn wait_for<Found>(what: &str, look: impl Fn() -> Option<Found>) -> anyhow::Result<Found> {
    let start = Instant::now();
    loop {
        if let Some(found) = look() {
            return Ok(found);
        }
        ensure!(start.elapsed() < PROCESS_TIMEOUT, "waited for {} s until {what}", PROCESS_TIMEOUT.as_secs());
        tokio::time::sleep(PROCESS_POLL_INTERVAL).await;
    }
}

fn since(start: Instant) -> f64 {
    milliseconds(start.elapsed())
}

fn milliseconds(duration: Duration) -> f64 {
    duration.as_secs_f64() * 1000.0
}
