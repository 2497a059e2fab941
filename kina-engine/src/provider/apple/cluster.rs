//! One cluster in a virtual machine: from a running container to its removal.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::pin::Pin;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use tokio::net::TcpStream;
use tokio::sync::watch;

use super::apple_error::container_error;
use super::command::GuestSignal;
use super::error::{ContainerError, ContainerErrorKind as Kind};
use super::guest_events::GuestEvents;
use super::image::ClusterImage;
use super::json::{Container, ContainerState, bare_digest};
use super::leftovers::Keeper;
use super::observer::Watch;
use super::shared::Shared;
use crate::api_client::ApiClient;
use crate::backoff::Backoff;
use crate::cluster_access::ClusterAccess;
use crate::etcd::{EtcdClient, PackedState};
use crate::provider::files::{create_private_directory, remove_directory};
use crate::provider::port::ReservedPort;
use crate::provider::readiness::{self, Awaited};
use crate::provider::tokens::TokenKeys;
use crate::provider::{MeasureFuture, ProvidedCluster, ProviderError, ProviderFuture, Readiness};

/// Memory of a virtual machine beyond the memory that its cluster may use.
pub(super) const MEMORY_OVERHEAD_BYTES: u64 = 128 << 20;

/// Time that a port of a stopped container may still answer.
const PORT_CLOSE_TIMEOUT: Duration = Duration::from_secs(3);
const PORT_POLL_INTERVAL: Duration = Duration::from_millis(50);
const CONNECT_TIMEOUT: Duration = Duration::from_millis(500);

/// An etcd and a kube-apiserver in a virtual machine of their own.
pub(super) struct AppleCluster {
    shared: Arc<Shared>,
    /// Its name in the pool.
    name: String,
    container: String,
    /// `None` once the container is deleted.
    keeper: Mutex<Option<Keeper>>,
    image: ClusterImage,
    /// As the service reported it when the container was made.
    image_digest: Option<String>,
    /// The version of the service that made the container, if it told that.
    made_by: Option<String>,
    access: ClusterAccess,
    api_client: ApiClient,
    state_directory: PathBuf,
    token_keys: TokenKeys,
    log_directory: PathBuf,
    /// Its ports, reserved while it is stopped.
    ports: Mutex<Vec<ReservedPort>>,
    /// Changed under the lock only; `running_now` watches it without the lock, for unexpected deaths.
    running: tokio::sync::Mutex<watch::Sender<Option<Running>>>,
    running_now: watch::Receiver<Option<Running>>,
    /// Set once an event was learned otherwise than from the file, which may get events of earlier starts since.
    has_lagged: AtomicBool,
}

/// The parts of a cluster.
pub(super) struct Parts {
    pub(super) name: String,
    pub(super) keeper: Keeper,
    pub(super) image: ClusterImage,
    pub(super) access: ClusterAccess,
    pub(super) state_directory: PathBuf,
    pub(super) token_keys: TokenKeys,
    pub(super) log_directory: PathBuf,
    /// The container, as it was listed when it ran.
    pub(super) container: Container,
    /// The version of the service that made it, if it told that.
    pub(super) made_by: Option<String>,
    /// The events of its start.
    pub(super) events: GuestEvents,
}

#[derive(Clone)]
struct Running {
    watch: Arc<Watch>,
    events: Arc<GuestEvents>,
}

/// A component in the virtual machine, for waiting until it is ready.
struct Guest {
    component: &'static str,
    log: PathBuf,
    running: Running,
    shared: Arc<Shared>,
}

impl AppleCluster {
    /// Makes the cluster of a container that runs.
    pub(super) fn new(shared: Arc<Shared>, parts: Parts) -> Result<Self, ProviderError> {
        let watch = Arc::new(shared.observer.watch(&parts.container.id, &parts.log_directory));
        let (running, running_now) = watch::channel(Some(Running { watch, events: Arc::new(parts.events) }));
        Ok(Self {
            shared,
            name: parts.name,
            container: parts.container.id,
            keeper: Mutex::new(Some(parts.keeper)),
            image: parts.image,
            image_digest: parts.container.image_digest,
            made_by: parts.made_by,
            api_client: ApiClient::new(&parts.access)?,
            access: parts.access,
            state_directory: parts.state_directory,
            token_keys: parts.token_keys,
            log_directory: parts.log_directory,
            ports: Mutex::new(Vec::new()),
            running: tokio::sync::Mutex::new(running),
            running_now,
            has_lagged: AtomicBool::new(false),
        })
    }

    /// Writes the initial content of its store, then lets the API server start.
    pub(super) async fn load(&self, initial_state: &PackedState) -> Result<(), ProviderError> {
        let etcd = self.wait_etcd().await?;
        if !initial_state.is_empty() {
            readiness::write_initial_state(&etcd, initial_state).await?;
        }
        self.signal(GuestSignal::StateLoaded).await
    }

    async fn signal(&self, signal: GuestSignal) -> Result<(), ProviderError> {
        let events = self.events_now()?;
        events.signal(&self.shared.cli, signal).await.map_err(|error| self.failed("signalling", error))
    }

    async fn start_again(&self) -> Result<(), ProviderError> {
        let running = self.running.lock().await;
        if running.borrow().is_some() {
            return Err(ProviderError::WrongState { state: "running", wanted: "started" });
        }
        // The logs of a stopped cluster may have been cleaned up, but the machine mounts their directory.
        create_private_directory(&self.log_directory)?;
        let started = async {
            self.check().await?;
            // The proxy of its ports binds them now.
            self.ports_lock().clear();
            self.check_ports().await?;
            let lagged = self.has_lagged.load(Ordering::Relaxed);
            let events = GuestEvents::of_next_start(&self.container, &self.log_directory, lagged);
            Ok((self.shared.cli.start(&self.container).await?, events))
        };
        let (container, events) = started.await.map_err(|error| self.failed("starting", error))?;
        let watch = Arc::new(self.shared.observer.watch(&container.id, &self.log_directory));
        running.send_replace(Some(Running { watch, events: Arc::new(events) }));
        self.wait_etcd().await.map(drop)
    }

    /// Connects to etcd. If only its supervisor can reach it, the network is blocked: macOS does that to programs that
    /// may not use the local network.
    async fn wait_etcd(&self) -> Result<EtcdClient, ProviderError> {
        let events = self.events_now()?;
        let error = match readiness::wait_etcd(&self.guest("etcd")?, &self.access).await {
            Ok(connected) => {
                events.examine_etcd_log();
                return Ok(connected);
            }
            Err(error) => error,
        };
        let ProviderError::NotReady { waited_seconds, last_answer, .. } = &error else { return Err(error) };
        let call = format!("connecting to {}, a port of {}", self.access.etcd_address, self.container);
        let answer = format!("failed for {waited_seconds} s ({last_answer})");
        match events.has_etcd_served(&self.shared.cli).await {
            true => Err(self.failed("reaching", ContainerError::new(Kind::Unreachable, call, answer))),
            false => Err(error),
        }
    }

    /// Checks that the container is still the one that was stopped, and that the service is still the one that made it.
    async fn check(&self) -> Result<(), ContainerError> {
        let version = self.shared.service.ensure(&self.shared.cli).await?;
        let container = self.shared.cli.inspect(&self.container).await?;
        let error = |kind, found: String| {
            let call = format!("{} inspect {}", self.shared.cli.program().display(), self.container);
            ContainerError::new(kind, call, format!("showed a container {found}"))
        };
        if !self.shared.owner.is_of_cluster(&container.labels, &self.name) {
            return Err(error(Kind::Foreign, format!("with the labels {:?}", container.labels)));
        }
        let digests =
            (self.image_digest.as_deref().map(bare_digest), container.image_digest.as_deref().map(bare_digest));
        let has_other_image = container.image_reference.as_deref().is_some_and(|found| found != self.image.reference)
            || matches!(digests, (Some(made_from), Some(found)) if made_from != found);
        if has_other_image {
            return Err(error(
                Kind::OtherImage,
                format!("of the image {:?} {:?}", container.image_reference, digests.1),
            ));
        }
        if container.state == ContainerState::Running {
            return Err(error(Kind::Mismatch, "that runs, although kina has stopped it".to_owned()));
        }
        match (&self.made_by, version) {
            (Some(made_by), Some(version)) if *made_by != version => {
                Err(error(Kind::OtherVersion, format!("that \"{made_by}\" has made, and the service is \"{version}\"")))
            }
            _ => Ok(()),
        }
    }

    /// Checks that nothing answers on its ports. While it is stopped, an answer comes from another program, or from its
    /// own machine, which then is not stopped at all.
    async fn check_ports(&self) -> Result<(), ContainerError> {
        for address in [self.access.api_address, self.access.etcd_address] {
            if answers(address).await {
                let call = format!("looking at {address}, a port of the stopped container {}", self.container);
                return Err(ContainerError::new(Kind::PortTaken, call, "found a listener"));
            }
        }
        Ok(())
    }

    async fn stop_running(&self) -> Result<(), ProviderError> {
        let running = self.running.lock().await;
        // The mark precedes the stop, so that the stop does not count as an unexpected death.
        let Some(Running { events, .. }) = running.send_replace(None) else { return Ok(()) };
        self.has_lagged.fetch_or(events.lag(), Ordering::Relaxed);
        let stopped = async {
            self.shared.cli.stop(&self.container).await?;
            self.wait_silent().await
        };
        stopped.await.map_err(|error| self.failed("stopping", error))?;
        let addresses = [self.access.api_address, self.access.etcd_address];
        // A port that cannot be reserved yet may be taken when it is needed, which is noticed then.
        self.ports_lock().extend(addresses.into_iter().filter_map(|address| ReservedPort::reserve_at(address).ok()));
        Ok(())
    }

    /// Waits until its ports do not answer, since a service that crashed lists running machines as stopped.
    async fn wait_silent(&self) -> Result<(), ContainerError> {
        let silent = Backoff::poll(PORT_POLL_INTERVAL, PORT_CLOSE_TIMEOUT);
        let silent = silent.run(|| self.check_ports(), |_| true, |_, _| {});
        silent.await.map_err(|error| error.with_kind(Kind::Mismatch))
    }

    /// Deletes the container, unless that is already done.
    async fn delete(&self) -> Result<(), ProviderError> {
        let keeper = self.keeper.lock().unwrap_or_else(PoisonError::into_inner).take();
        match keeper {
            Some(keeper) => keeper.delete().await.map_err(|error| self.failed("deleting", error)),
            None => Ok(()),
        }
    }

    /// Carries out an action. If it fails, the container is deleted at once, because its state is unknown.
    async fn or_delete(
        &self,
        done: impl Future<Output = Result<(), ProviderError>> + Send,
    ) -> Result<(), ProviderError> {
        let done = done.await;
        if let Err(error) = &done
            && !matches!(error, ProviderError::WrongState { .. })
        {
            self.running.lock().await.send_replace(None);
            if let Err(error) = self.delete().await {
                tracing::warn!(
                    error = crate::error_text::with_causes(&error),
                    "a container could not be deleted: trying again later"
                );
            }
        }
        done
    }

    fn guest(&self, component: &'static str) -> Result<Guest, ProviderError> {
        let running = self.running_now()?;
        let log = self.log_directory.join(format!("{component}.log"));
        Ok(Guest { component, log, running, shared: Arc::clone(&self.shared) })
    }

    fn events_now(&self) -> Result<Arc<GuestEvents>, ProviderError> {
        Ok(self.running_now()?.events)
    }

    fn running_now(&self) -> Result<Running, ProviderError> {
        let running = self.running_now.borrow().clone();
        running.ok_or(ProviderError::WrongState { state: "stopped", wanted: "waited for" })
    }

    /// Frees its ports, as if they could not be reserved when it was stopped.
    #[cfg(test)]
    pub(super) fn forget_ports(&self) {
        self.ports_lock().clear();
    }

    fn ports_lock(&self) -> std::sync::MutexGuard<'_, Vec<ReservedPort>> {
        self.ports.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn failed(&self, action: &'static str, error: ContainerError) -> ProviderError {
        container_error(action, &self.container, error)
    }
}

impl ProvidedCluster for AppleCluster {
    fn access(&self) -> &ClusterAccess {
        &self.access
    }

    fn log_directory(&self) -> &Path {
        &self.log_directory
    }

    /// Returns the container's name, which is also the machine's.
    fn host_name(&self) -> Vec<u8> {
        self.container.clone().into_bytes()
    }

    /// Returns none: its processes are not this machine's.
    fn process_ids(&self) -> Vec<u32> {
        Vec::new()
    }

    /// Inspects this container alone, which costs as much as listing all.
    fn check_running(&self) -> ProviderFuture<'_, bool> {
        Box::pin(async move {
            match self.shared.cli.inspect(&self.container).await {
                Ok(container) => Ok(container.state == ContainerState::Running),
                Err(error) if error.kind == Kind::Missing => Ok(false),
                Err(error) => Err(self.failed("looking at", error)),
            }
        })
    }

    /// Returns all the memory that its machine may take: while it runs, it never gives back memory that it has used.
    fn memory_bytes(&self) -> MeasureFuture<'_> {
        let bytes = self.shared.settings.memory_bytes + MEMORY_OVERHEAD_BYTES;
        Box::pin(async move { self.running_now.borrow().is_some().then_some(bytes) })
    }

    fn wait_ready(&self, readiness: Readiness) -> ProviderFuture<'_, ()> {
        Box::pin(async move {
            readiness::wait_api_server(&self.guest("kube-apiserver")?, &self.api_client, readiness).await
        })
    }

    fn restart_api_server(&self) -> ProviderFuture<'_, ()> {
        Box::pin(async move {
            let _running = self.running.lock().await;
            if self.running_now.borrow().is_none() {
                return Err(ProviderError::WrongState { state: "stopped", wanted: "restarted" });
            }
            match self.notices_tokens() {
                true => self.token_keys.renew_if_used()?,
                false => self.token_keys.renew()?,
            }
            self.signal(GuestSignal::RestartApiServer).await
        })
    }

    /// The audit log is in the directory whose changes may be seen late, or never.
    fn notices_tokens(&self) -> bool {
        !self.running_now.borrow().as_ref().is_some_and(|running| running.events.lag())
    }

    fn tokens_were_made(&self) -> Result<bool, ProviderError> {
        self.token_keys.were_used()
    }

    fn stop(&self) -> ProviderFuture<'_, ()> {
        Box::pin(self.or_delete(self.stop_running()))
    }

    fn start(&self) -> ProviderFuture<'_, ()> {
        Box::pin(self.or_delete(self.start_again()))
    }

    fn destroy(&self) -> ProviderFuture<'_, ()> {
        Box::pin(async move {
            self.running.lock().await.send_replace(None);
            self.ports_lock().clear();
            self.delete().await?;
            remove_directory(&self.state_directory)
        })
    }

    fn wait_died(&self) -> Pin<Box<dyn Future<Output = String> + Send + '_>> {
        Box::pin(async move {
            let mut running_now = self.running_now.clone();
            loop {
                let running = running_now.borrow_and_update().clone();
                let Some(Running { watch, .. }) = running else {
                    if running_now.changed().await.is_err() {
                        std::future::pending::<()>().await;
                    }
                    continue;
                };
                return tokio::select! {
                    biased;
                    _ = running_now.changed() => continue,
                    how = watch.wait_ended() => format!("{} ended unexpectedly: {how}", self.container),
                };
            }
        })
    }
}

impl Awaited for Guest {
    fn component(&self) -> &'static str {
        self.component
    }

    fn log(&self) -> &Path {
        &self.log
    }

    fn ended(&self) -> Option<String> {
        self.running.events.end_in_file().map(|(_, how)| how).or_else(|| self.running.watch.ended())
    }

    fn log_tail(&self) -> impl Future<Output = String> + Send {
        self.running.events.log_tail(&self.shared.cli, &self.log)
    }
}

/// Returns true if the address accepts connections.
async fn answers(address: SocketAddr) -> bool {
    tokio::time::timeout(CONNECT_TIMEOUT, TcpStream::connect(address)).await.is_ok_and(|connected| connected.is_ok())
}
