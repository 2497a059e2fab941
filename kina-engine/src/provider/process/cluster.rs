use std::future::Future;
use std::path::{Path, PathBuf};
use std::pin::Pin;
use std::sync::Arc;

use rustix::process::Signal;
use tokio::sync::{Mutex, watch};

use super::child::{Child, ChildCommand, ChildStarter, describe_exit};
use super::silent_ports::KnownSilentPorts;
use super::state_directory::StateDirectory;
use crate::api_client::ApiClient;
use crate::assets::Assets;
use crate::cluster_access::ClusterAccess;
use crate::earlier_logs;
use crate::etcd::PackedState;
use crate::process_identity::start_of;
use crate::process_memory::proportional_bytes;
use crate::protocol::Profile;
use crate::provider::access::issue_certificates;
use crate::provider::arguments::{
    Addresses, EtcdEndpoint, api_server_arguments, controller_manager_arguments, etcd_arguments, kwok_arguments,
    scheduler_arguments,
};
use crate::provider::files::create_private_directory;
use crate::provider::port::ReservedPort;
use crate::provider::readiness::{self, Awaited};
use crate::provider::silent_ports::SilentPorts;
use crate::provider::tokens::{self, TokenKeys};
use crate::provider::{
    CreateRequest, GoroutineProfile, MeasureFuture, ProvidedCluster, ProviderError, ProviderFuture, Readiness,
};

/// Name of the socket on which the API server serves profiles, in the cluster's own directory.
const DEBUG_SOCKET: &str = "debug.sock";
/// Name of the socket on which etcd serves its API server, in the same directory. The API server has a connection for
/// each kind of object: without TLS a hundred handshakes of each start are saved, and the memory of as many buffers.
const ETCD_SOCKET: &str = "etcd.sock";

/// An etcd, a kube-apiserver and, by profile, controllers, all of them children of this process.
pub(super) struct ProcessCluster {
    child_starter: ChildStarter,
    name: String,
    assets: Assets,
    profile: Profile,
    access: ClusterAccess,
    api_client: ApiClient,
    state_directory: StateDirectory,
    token_keys: TokenKeys,
    log_directory: PathBuf,
    silent_ports: KnownSilentPorts,
    /// Changed under the lock only; `running_now` watches it without the lock, for unexpected deaths.
    running: Mutex<watch::Sender<Option<Running>>>,
    running_now: watch::Receiver<Option<Running>>,
    _ports: [ReservedPort; 2],
}

#[derive(Clone)]
struct Running {
    etcd: Arc<Child>,
    api_server: Arc<Child>,
    /// Empty while they are stopped.
    controllers: Vec<Arc<Child>>,
}

impl Running {
    /// Returns all of them, clients before their servers.
    fn children(&self) -> Vec<Arc<Child>> {
        let mut children = self.controllers.clone();
        children.extend([Arc::clone(&self.api_server), Arc::clone(&self.etcd)]);
        children
    }
}

impl ProcessCluster {
    pub(super) async fn create(
        child_starter: ChildStarter,
        state_directory: StateDirectory,
        log_directory: PathBuf,
        silent_ports: KnownSilentPorts,
        request: CreateRequest,
    ) -> Result<Self, ProviderError> {
        let certificate_directory = state_directory.path().join("certificates");
        create_private_directory(&certificate_directory)?;
        let ports = [ReservedPort::reserve()?, ReservedPort::reserve()?];
        let (api_address, etcd_address) = (ports[1].address(), ports[0].address());
        let access = issue_certificates(&certificate_directory, api_address, etcd_address, request.profile)?;
        let (running, running_now) = watch::channel(None);
        let cluster = Self {
            child_starter,
            name: request.name,
            assets: request.assets,
            profile: request.profile,
            api_client: ApiClient::new(&access)?,
            access,
            token_keys: TokenKeys::new(certificate_directory, audit_log(state_directory.path())),
            state_directory,
            log_directory,
            silent_ports,
            running: Mutex::new(running),
            running_now,
            _ports: ports,
        };
        match cluster.start_on(&request.initial_state).await {
            Ok(()) => Ok(cluster),
            Err(error) => {
                // A cluster that failed to start leaves nothing but its logs.
                let _ = cluster.destroy().await;
                Err(error)
            }
        }
    }

    async fn start_on(&self, initial_state: &PackedState) -> Result<(), ProviderError> {
        let running = self.running.lock().await;
        if running.borrow().is_some() {
            return Err(ProviderError::WrongState { state: "running", wanted: "started" });
        }
        if self.state_directory.is_removed() {
            return Err(ProviderError::WrongState { state: "destroyed", wanted: "started" });
        }
        let etcd = self.spawn_etcd().await?;
        let api_server = if initial_state.is_empty() && self.silent_ports.get().await == SilentPorts::Refuse {
            // Nothing has to be written before the API server reads, and it first does so long after etcd answers. If
            // etcd is later nevertheless, that costs a second's backoff.
            let api_server = self.spawn_api_server().await?;
            tokio::select! {
                answered = readiness::wait_etcd(&etcd, &self.access) => answered.map(drop)?,
                error = readiness::wait_ended(&api_server) => return Err(error),
            }
            api_server
        } else {
            let etcd_client = readiness::wait_etcd(&etcd, &self.access).await?;
            readiness::write_initial_state(&etcd_client, initial_state).await?;
            self.spawn_api_server().await?
        };
        let (etcd, api_server) = (Arc::new(etcd), Arc::new(api_server));
        running.send_replace(Some(Running { etcd, api_server, controllers: Vec::new() }));
        Ok(())
    }

    async fn end(&self) {
        let running = self.running.lock().await;
        // The mark precedes the kill, so that the kill does not count as an unexpected death.
        if let Some(before) = running.send_replace(None) {
            kill_all(&before.children()).await;
        }
    }

    async fn signal(
        &self,
        wanted: &'static str,
        signal: Signal,
        in_order: impl Fn(Running) -> Vec<Arc<Child>> + Send,
    ) -> Result<(), ProviderError> {
        let running = self.running.lock().await;
        let Some(now) = running.borrow().clone() else {
            return Err(ProviderError::WrongState { state: "stopped", wanted });
        };
        for child in in_order(now) {
            child.signal_group(signal).map_err(|source| ProviderError::Signal { wanted, source })?;
        }
        Ok(())
    }

    async fn spawn_etcd(&self) -> Result<Child, ProviderError> {
        let data = self.state_directory.path().join("etcd");
        create_private_directory(&data)?;
        let addresses = Addresses::reserved(self.access.etcd_address);
        let arguments = etcd_arguments(&self.certificate_directory(), &data, addresses, Some(ETCD_SOCKET));
        self.spawn("etcd", &self.assets.etcd, arguments).await
    }

    async fn spawn_api_server(&self) -> Result<Child, ProviderError> {
        let arguments = api_server_arguments(
            &self.certificate_directory(),
            Addresses::reserved(self.access.api_address),
            EtcdEndpoint::Socket(ETCD_SOCKET),
            &audit_log(self.state_directory.path()),
            self.profile,
            Some(Path::new(DEBUG_SOCKET)),
        );
        self.spawn("kube-apiserver", &self.assets.kube_apiserver, arguments).await
    }

    async fn spawn_controllers(&self) -> Result<Vec<Arc<Child>>, ProviderError> {
        let Some(controllers) = self.assets.controllers.as_ref().filter(|_| self.has_controllers()) else {
            return Ok(Vec::new());
        };
        let certificates = self.certificate_directory();
        let commands = [
            (
                "kube-controller-manager",
                &controllers.kube_controller_manager,
                controller_manager_arguments(&certificates),
            ),
            ("kube-scheduler", &controllers.kube_scheduler, scheduler_arguments(&certificates)),
            ("kwok", &controllers.kwok, kwok_arguments(&certificates)),
        ];
        let mut children = Vec::new();
        for (component, program, arguments) in commands {
            children.push(Arc::new(self.spawn(component, program, arguments).await?));
        }
        Ok(children)
    }

    async fn spawn(
        &self,
        component: &'static str,
        program: &Path,
        arguments: Vec<std::ffi::OsString>,
    ) -> Result<Child, ProviderError> {
        // Found trustworthy once, it may have been exchanged since: a cluster lives for hours.
        self.assets.expect_trusted(program).map_err(|distrust| ProviderError::Distrusted { distrust })?;
        // The logs of a stopped cluster may have been cleaned up.
        create_private_directory(&self.log_directory)?;
        self.child_starter
            .spawn(ChildCommand {
                component,
                program: program.to_owned(),
                arguments,
                // kwok cannot do without a home directory, but must not find the user's configuration of it there.
                environment: vec![("HOME", self.state_directory.path().into())],
                // The length of a Unix socket's path is limited, so the socket's is relative to this directory.
                working_directory: self.state_directory.path().to_owned(),
                log: self.log_directory.join(format!("{component}.log")),
                cluster: self.name.clone(),
                state_directory: self.state_directory.path().to_owned(),
            })
            .await
    }

    fn certificate_directory(&self) -> PathBuf {
        self.state_directory.path().join("certificates")
    }
}

impl ProvidedCluster for ProcessCluster {
    fn access(&self) -> &ClusterAccess {
        &self.access
    }

    fn log_directory(&self) -> &Path {
        &self.log_directory
    }

    fn set_logs_aside(&self) -> std::io::Result<()> {
        let children = self.running_now.borrow().iter().flat_map(Running::children).collect::<Vec<_>>();
        let written: Vec<_> = children.iter().map(|child| Arc::clone(child.written())).collect();
        earlier_logs::set_aside(&self.log_directory, &written)
    }

    fn process_ids(&self) -> Vec<u32> {
        let running = self.running_now.borrow();
        running.iter().flat_map(Running::children).rev().map(|child| child.process_id()).collect()
    }

    fn check_running(&self) -> ProviderFuture<'_, bool> {
        let process_ids = self.process_ids();
        Box::pin(async move {
            // Without /proc this runs a program.
            let looked = tokio::task::spawn_blocking(move || {
                !process_ids.is_empty() && process_ids.into_iter().all(|process_id| start_of(process_id).is_some())
            });
            looked.await.map_err(|panic| ProviderError::Signal { wanted: "looked at", source: panic.into() })
        })
    }

    fn memory_bytes(&self) -> MeasureFuture<'_> {
        let process_ids = self.process_ids();
        Box::pin(async move {
            let measured = tokio::task::spawn_blocking(move || proportional_bytes(&process_ids));
            measured.await.ok().filter(|bytes| 0 < *bytes)
        })
    }

    fn wait_ready(&self, readiness: Readiness) -> ProviderFuture<'_, ()> {
        Box::pin(async move {
            let running = self.running_now.borrow().clone();
            let Some(Running { etcd, api_server, .. }) = running else {
                return Err(ProviderError::WrongState { state: "stopped", wanted: "waited for" });
            };
            tokio::select! {
                answered = readiness::wait_api_server(&*api_server, &self.api_client, readiness) => answered,
                // The API server would wait for it in vain.
                error = readiness::wait_ended(&*etcd) => Err(error),
            }
        })
    }

    fn api_server_has_ended(&self) -> bool {
        self.running_now.borrow().as_ref().is_none_or(|running| running.api_server.ended().is_some())
    }

    fn goroutine_profile(&self) -> GoroutineProfile {
        GoroutineProfile::Socket(self.state_directory.path().join(DEBUG_SOCKET))
    }

    fn restart_api_server(&self) -> ProviderFuture<'_, ()> {
        Box::pin(async move {
            let running = self.running.lock().await;
            let Some(before) = running.borrow().clone() else {
                return Err(ProviderError::WrongState { state: "stopped", wanted: "restarted" });
            };
            // Marked as stopped in between, so that the kill does not count as an unexpected death.
            running.send_replace(None);
            before.api_server.kill().await;
            self.token_keys.renew_if_used()?;
            let api_server = Arc::new(self.spawn_api_server().await?);
            running.send_replace(Some(Running { api_server, ..before }));
            Ok(())
        })
    }

    fn tokens_were_made(&self) -> Result<bool, ProviderError> {
        self.token_keys.were_used()
    }

    fn has_controllers(&self) -> bool {
        self.profile == Profile::Controllers
    }

    fn start_controllers(&self) -> ProviderFuture<'_, ()> {
        Box::pin(async move {
            let running = self.running.lock().await;
            let Some(before) = running.borrow().clone() else {
                return Err(ProviderError::WrongState { state: "stopped", wanted: "controlled" });
            };
            if before.controllers.is_empty() {
                let controllers = self.spawn_controllers().await?;
                running.send_replace(Some(Running { controllers, ..before }));
            }
            Ok(())
        })
    }

    fn stop_controllers(&self) -> ProviderFuture<'_, ()> {
        Box::pin(async move {
            let running = self.running.lock().await;
            let Some(mut now) = running.borrow().clone() else { return Ok(()) };
            let controllers = std::mem::take(&mut now.controllers);
            if !controllers.is_empty() {
                // The mark precedes the kill, so that the kill does not count as an unexpected death.
                running.send_replace(Some(now));
                kill_all(&controllers).await;
            }
            Ok(())
        })
    }

    fn freeze(&self) -> ProviderFuture<'_, ()> {
        Box::pin(self.signal("frozen", Signal::STOP, |running| running.children()))
    }

    fn thaw(&self) -> ProviderFuture<'_, ()> {
        Box::pin(self.signal("thawed", Signal::CONT, |running| running.children().into_iter().rev().collect()))
    }

    fn stop(&self) -> ProviderFuture<'_, ()> {
        Box::pin(async move {
            self.end().await;
            Ok(())
        })
    }

    fn start(&self) -> ProviderFuture<'_, ()> {
        Box::pin(async move { self.start_on(&PackedState::default()).await })
    }

    fn destroy(&self) -> ProviderFuture<'_, ()> {
        Box::pin(async move {
            self.end().await;
            self.state_directory.remove()
        })
    }

    fn wait_died(&self) -> Pin<Box<dyn Future<Output = String> + Send + '_>> {
        Box::pin(async move {
            let mut running_now = self.running_now.clone();
            loop {
                let running = running_now.borrow_and_update().clone();
                let Some(running) = running else {
                    if running_now.changed().await.is_err() {
                        std::future::pending::<()>().await;
                    }
                    continue;
                };
                let children = running.children();
                let deaths = children.iter().map(|child| Box::pin(async { (child.component(), child.wait().await) }));
                let (component, status) = tokio::select! {
                    biased;
                    _ = running_now.changed() => continue,
                    (death, _, _) = futures::future::select_all(deaths) => death,
                };
                return format!("{component} ended unexpectedly ({})", describe_exit(status));
            }
        })
    }
}

fn audit_log(state_directory: &Path) -> PathBuf {
    state_directory.join(tokens::AUDIT_LOG)
}

async fn kill_all(children: &[Arc<Child>]) {
    futures::future::join_all(children.iter().map(|child| child.kill())).await;
}
