//! The parts of a slot of the pool.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use tokio::task::JoinHandle;

use crate::gateway::{Admission, Entrance, GatewayCredentials, GatewayError, HasEnded, OpenGateway, PreparedGateway};
use crate::lingering::LeftBehind;
use crate::provider::{ProvidedCluster, ProviderError, Readiness};
use crate::rewind::{ExpectedKeys, RewindError, RewindReport, Rewinder, Template};
use crate::rule_kind::RuleKind;

/// The number of proofs of a slot, with a rewind between them, before it is given up.
const PROOFS_MAX: u64 = 8;
/// Usually 8 to 30 ms.
const THAW_TIMEOUT: Duration = Duration::from_secs(10);
const WARM_UP_TIMEOUT: Duration = Duration::from_secs(5);

/// A cluster, with what rewinds it and what gives access to it.
pub(super) struct SlotHandle {
    name: String,
    kubernetes: String,
    cluster: Arc<dyn ProvidedCluster>,
    rewinder: tokio::sync::Mutex<Rewinder>,
    entrance: Arc<Entrance>,
    prepared_gateway: Mutex<Option<PreparedGateway>>,
    /// Set if the API server has been fully ready since it was started.
    is_fully_ready: AtomicBool,
    /// Changed under the rewinder's lock only, so that a frozen etcd is never asked.
    is_frozen: AtomicBool,
    /// Set if its bootstrapped state was kept from an earlier cluster.
    is_from_snapshot: bool,
    lease_count: AtomicU64,
    /// As last measured.
    database_bytes: AtomicU64,
    memory_bytes: AtomicU64,
    /// The time at which its processes were started.
    running_since: Mutex<Instant>,
    /// Requests whose end the next rewind has to see.
    left_behind: Mutex<LeftBehind>,
}

/// The size of a cluster.
#[derive(Clone, Copy, Debug)]
pub(super) struct SlotSize {
    pub(super) memory_bytes: u64,
    pub(super) database_bytes: u64,
}

/// The reason why a slot cannot be used any more.
#[derive(Debug, thiserror::Error)]
pub(super) enum SlotError {
    #[error("rewinding failed")]
    Rewind(#[from] RewindError),
    #[error("preparing the gateway failed")]
    Gateway(#[from] GatewayError),
    #[error("the cluster failed")]
    Provider(#[from] ProviderError),
    #[error("the API server did not answer within {waited_seconds} s after it was thawed")]
    NotThawed { waited_seconds: u64 },
    #[error("setting the logs of earlier leases aside failed")]
    Logs(#[source] std::io::Error),
    #[error("the cluster was written to before each of {proofs} proofs")]
    NeverPristine { proofs: u64 },
    #[error("bug in kina: the proof of a cluster did not end")]
    NoProof(#[source] tokio::task::JoinError),
}

/// A proof that is under way.
pub(super) struct Proof(JoinHandle<Result<u64, SlotError>>);

impl SlotError {
    /// Returns true if something wrote into a template that was being made.
    pub(super) fn is_intruder(&self) -> bool {
        matches!(self, Self::Rewind(RewindError::Intruder { .. }))
    }

    /// Returns true if the cluster worked, but could not be proven pristine.
    pub(super) fn is_not_pristine(&self) -> bool {
        match self {
            Self::NeverPristine { .. } => true,
            Self::Rewind(error) => matches!(error, RewindError::Unsettled { .. } | RewindError::Lagging { .. }),
            _ => false,
        }
    }
}

impl Proof {
    /// Waits for its end. Returns the number of rewinds that it took.
    pub(super) async fn wait(self) -> Result<u64, SlotError> {
        self.0.await.map_err(SlotError::NoProof)?
    }
}

impl SlotHandle {
    pub(super) fn new(
        name: String,
        cluster: Arc<dyn ProvidedCluster>,
        rewinder: Rewinder,
        kubernetes: String,
        is_from_snapshot: bool,
        entrance: Arc<Entrance>,
    ) -> Self {
        Self {
            name,
            kubernetes,
            cluster,
            rewinder: tokio::sync::Mutex::new(rewinder),
            entrance,
            prepared_gateway: Mutex::new(None),
            is_fully_ready: AtomicBool::new(false),
            is_frozen: AtomicBool::new(false),
            is_from_snapshot,
            lease_count: AtomicU64::new(0),
            database_bytes: AtomicU64::new(0),
            memory_bytes: AtomicU64::new(0),
            running_since: Mutex::new(Instant::now()),
            left_behind: Mutex::default(),
        }
    }

    pub(super) fn name(&self) -> &str {
        &self.name
    }

    pub(super) fn kubernetes(&self) -> &str {
        &self.kubernetes
    }

    pub(super) fn is_from_snapshot(&self) -> bool {
        self.is_from_snapshot
    }

    pub(super) fn cluster(&self) -> &Arc<dyn ProvidedCluster> {
        &self.cluster
    }

    /// Returns the bounds of gateways in front of this cluster.
    pub(super) fn entrance(&self) -> &Arc<Entrance> {
        &self.entrance
    }

    /// Tells gateways in front of this cluster that its API server has ended.
    pub(super) fn has_ended(&self) -> HasEnded {
        let cluster = Arc::clone(&self.cluster);
        Arc::new(move || cluster.api_server_has_ended())
    }

    pub(super) fn log_directory(&self) -> PathBuf {
        self.cluster.log_directory().to_owned()
    }

    pub(super) fn lease_count(&self) -> u64 {
        self.lease_count.load(Ordering::Relaxed)
    }

    pub(super) fn database_bytes(&self) -> u64 {
        self.database_bytes.load(Ordering::Relaxed)
    }

    pub(super) fn memory_bytes(&self) -> u64 {
        self.memory_bytes.load(Ordering::Relaxed)
    }

    pub(super) fn uptime_ms(&self) -> u64 {
        let since = *self.running_since.lock().unwrap_or_else(PoisonError::into_inner);
        u64::try_from(since.elapsed().as_millis()).unwrap_or(u64::MAX)
    }

    /// Opens the gateway. No client gets through it before the slot is proven.
    pub(super) async fn open_gateway(&self) -> Result<(OpenGateway, Admission, GatewayCredentials), GatewayError> {
        let prepared = match self.take_gateway() {
            Some(prepared) => prepared,
            None => PreparedGateway::prepare(self.cluster.access(), self.has_ended(), &self.entrance).await?,
        };
        self.lease_count.fetch_add(1, Ordering::Relaxed);
        prepared.open()
    }

    /// Begins to prove once more that the slot is pristine.
    pub(super) fn begin_proof(self: &Arc<Self>) -> Proof {
        let slot = Arc::clone(self);
        Proof(tokio::spawn(async move { slot.prove().await }))
    }

    /// Proves once more that the slot is pristine, rewinds it if it is not, and begins its logs anew. Returns the
    /// number of rewinds.
    async fn prove(&self) -> Result<u64, SlotError> {
        let (late_writes, logs) = tokio::join!(self.prove_state(), self.set_logs_aside());
        logs?;
        late_writes
    }

    /// Begins the components' logs anew: their content was not written for the next lease.
    async fn set_logs_aside(&self) -> Result<(), SlotError> {
        let cluster = Arc::clone(&self.cluster);
        let set_aside = tokio::task::spawn_blocking(move || cluster.set_logs_aside());
        set_aside.await.unwrap_or_else(|panic| Err(panic.into())).map_err(SlotError::Logs)
    }

    async fn prove_state(&self) -> Result<u64, SlotError> {
        let mut rewinder = self.rewinder.lock().await;
        for late_writes in 0..PROOFS_MAX {
            if rewinder.prove_pristine().await? {
                // Usually that was done since the last release.
                rewinder.forget_history().await?;
                return Ok(late_writes);
            }
            if self.cluster.has_controllers() {
                let template = rewinder.template().cloned();
                self.rewind_with_controllers(&mut rewinder, template).await?;
            } else {
                rewinder.rewind_late().await?;
            }
        }
        Err(SlotError::NeverPristine { proofs: PROOFS_MAX })
    }

    /// Takes the changes that a lease has made to the cluster, which was bare before, as a template.
    pub(super) async fn take_template(
        &self,
        name: &str,
        expected: &ExpectedKeys,
        directory: &Path,
    ) -> Result<Arc<Template>, SlotError> {
        Ok(self.rewinder.lock().await.take_template(name, expected, directory).await?)
    }

    /// Notes requests of the cluster's users that may still run, until the next rewind ends them.
    pub(super) fn leave(&self, left_behind: LeftBehind) {
        self.left_behind.lock().unwrap_or_else(PoisonError::into_inner).add(left_behind);
    }

    /// Waits until rules that a lease has written are in force, as long as `is_wanted` returns true.
    pub(super) async fn bring_in_force(
        &self,
        kinds: &BTreeSet<RuleKind>,
        is_wanted: &(dyn Fn() -> bool + Send + Sync),
    ) -> Result<(), RewindError> {
        let rewinder = self.rewinder.lock().await;
        // Nothing may be written any more once the lease has ended: another one may have the cluster by now.
        match is_wanted() {
            true => rewinder.bring_in_force(kinds, is_wanted).await,
            false => Err(RewindError::LeaseEnded),
        }
    }

    /// Rewinds, and prepares for the next lease, which finds this template.
    pub(super) async fn rewind(&self, template: Option<Arc<Template>>) -> Result<RewindReport, SlotError> {
        // A hook that has not looked yet could still bring back what this rewind has to put back.
        self.follow_up_readiness().await?;
        let mut rewinder = self.rewinder.lock().await;
        rewinder.leave(std::mem::take(&mut *self.left_behind.lock().unwrap_or_else(PoisonError::into_inner)));
        let report = self.rewind_with_controllers(&mut rewinder, template).await?;
        drop(rewinder);
        if report.restarted {
            self.is_fully_ready.store(false, Ordering::Relaxed);
        }
        // The hand-out does this once more, beside its proof, when a client can look at the logs already.
        self.set_logs_aside().await?;
        self.prepare_gateway().await?;
        Ok(report)
    }

    /// Rewinds, without letting a controller remember the old state: it would apply it to the next lease.
    async fn rewind_with_controllers(
        &self,
        rewinder: &mut Rewinder,
        template: Option<Arc<Template>>,
    ) -> Result<RewindReport, SlotError> {
        if !self.cluster.has_controllers() {
            return Ok(rewinder.rewind_to(template).await?);
        }
        self.cluster.stop_controllers().await?;
        rewinder.leave(LeftBehind::of_killed_controllers());
        Ok(rewinder.rewind_controlled(template).await?)
    }

    /// Starts a stopped cluster and proves that its state is unchanged.
    pub(super) async fn start(&self) -> Result<(), SlotError> {
        self.is_fully_ready.store(false, Ordering::Relaxed);
        self.is_frozen.store(false, Ordering::Relaxed);
        self.cluster.start().await?;
        *self.running_since.lock().unwrap_or_else(PoisonError::into_inner) = Instant::now();
        self.cluster.wait_ready(Readiness::Early).await?;
        let mut rewinder = self.rewinder.lock().await;
        rewinder.resume().await?;
        let template = rewinder.template().cloned();
        self.rewind_with_controllers(&mut rewinder, template).await?;
        drop(rewinder);
        self.prepare_gateway().await?;
        Ok(())
    }

    /// Takes the processor away from a cluster that is pristine and settled.
    pub(super) async fn freeze(&self) -> Result<(), SlotError> {
        let _rewinder = self.rewinder.lock().await;
        self.is_frozen.store(true, Ordering::Relaxed);
        Ok(self.cluster.freeze().await?)
    }

    /// Gives the processor back, and waits until the API server answers again.
    pub(super) async fn thaw(&self) -> Result<(), SlotError> {
        let thawing = async {
            self.cluster.thaw().await?;
            self.cluster.wait_ready(Readiness::Full).await
        };
        match tokio::time::timeout(THAW_TIMEOUT, thawing).await {
            Ok(thawed) => thawed?,
            Err(_) => return Err(SlotError::NotThawed { waited_seconds: THAW_TIMEOUT.as_secs() }),
        }
        {
            let _rewinder = self.rewinder.lock().await;
            self.is_frozen.store(false, Ordering::Relaxed);
        }
        Ok(self.prepare_gateway().await?)
    }

    /// Its present size; `None` while it is frozen.
    pub(super) async fn measure(&self) -> Result<Option<SlotSize>, SlotError> {
        let Some(memory_bytes) = self.cluster.memory_bytes().await else { return Ok(None) };
        let rewinder = self.rewinder.lock().await;
        if self.is_frozen.load(Ordering::Relaxed) {
            return Ok(None);
        }
        let database_bytes = rewinder.database_bytes().await?;
        self.database_bytes.store(database_bytes, Ordering::Relaxed);
        self.memory_bytes.store(memory_bytes, Ordering::Relaxed);
        Ok(Some(SlotSize { memory_bytes, database_bytes }))
    }

    /// Makes storage forget the writes of ended leases. That takes some milliseconds, for which a release does not
    /// wait; the next lease does.
    pub(super) async fn forget_history(&self) -> Result<(), SlotError> {
        let mut rewinder = self.rewinder.lock().await;
        match self.is_frozen.load(Ordering::Relaxed) {
            true => Ok(()),
            false => Ok(rewinder.forget_history().await?),
        }
    }

    pub(super) async fn stop(&self) -> Result<(), SlotError> {
        drop(self.take_gateway());
        Ok(self.cluster.stop().await?)
    }

    /// Makes the next lease's gateway, unless that is done. Its certificates take a moment, so it is made while the
    /// previous lease is still held.
    pub(super) async fn prepare_gateway(&self) -> Result<(), GatewayError> {
        if self.gateway_lock().is_some() {
            return Ok(());
        }
        let prepared = PreparedGateway::prepare(self.cluster.access(), self.has_ended(), &self.entrance).await?;
        self.put_gateway(prepared);
        Ok(())
    }

    /// Waits, once for each start of the API server, until it is ready without exceptions.
    pub(super) async fn follow_up_readiness(&self) -> Result<(), ProviderError> {
        if !self.is_fully_ready.load(Ordering::Relaxed) {
            self.cluster.wait_ready(Readiness::Full).await?;
            self.is_fully_ready.store(true, Ordering::Relaxed);
        }
        Ok(())
    }

    /// Waits until OpenAPI has followed the last rewind or start.
    pub(super) async fn follow_openapi(&self) -> Result<(), RewindError> {
        let following = self.rewinder.lock().await.follow_openapi();
        following.await?;
        self.rewinder.lock().await.openapi_has_followed();
        Ok(())
    }

    /// Keeps the prepared gateway's connections to the API server alive.
    pub(super) async fn keep_warm(&self) {
        let upstream = self.gateway_lock().as_ref().map(PreparedGateway::upstream);
        if let Some(upstream) = upstream {
            // An API server that is being frozen would make this wait; then it is tried again after the thaw.
            let _ = tokio::time::timeout(WARM_UP_TIMEOUT, upstream.warm_up()).await;
        }
    }

    fn put_gateway(&self, gateway: PreparedGateway) {
        *self.gateway_lock() = Some(gateway);
    }

    fn take_gateway(&self) -> Option<PreparedGateway> {
        self.gateway_lock().take()
    }

    fn gateway_lock(&self) -> std::sync::MutexGuard<'_, Option<PreparedGateway>> {
        self.prepared_gateway.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
