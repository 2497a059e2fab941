use std::future::Future;
use std::path::{Path, PathBuf};
use std::pin::Pin;
use std::sync::Arc;

use rustix::process::Signal;
use tokio::sync::{Mutex, watch};

use super::child::{Child, ChildCommand, ChildStarter, describe_exit};
use super::state_directory::StateDirectory;
use crate::api_client::ApiClient;
use crate::assets::Assets;
use crate::etcd::PackedState;
use crate::process_identity::start_of;
use crate::process_memory::proportional_bytes;
use crate::provider::access::issue_certificates;
use crate::provider::arguments::{Addresses, api_server_arguments, etcd_arguments};
use crate::provider::files::create_private_directory;
use crate::provider::port::ReservedPort;
use crate::provider::readiness::{self, Awaited};
use crate::provider::{
    ClusterAccess, CreateRequest, MeasureFuture, ProvidedCluster, ProviderError, ProviderFuture, Readiness,
};

/// An etcd and a kube-apiserver, children of this process.
pub(super) struct ProcessCluster {
    child_starter: ChildStarter,
    name: String,
    assets: Assets,
    access: ClusterAccess,
    api_client: ApiClient,
    state_directory: StateDirectory,
    log_directory: PathBuf,
    /// Changed under the lock only; watched without it by whoever waits for an unexpected death.
    running: Mutex<watch::Sender<Option<Running>>>,
    running_now: watch::Receiver<Option<Running>>,
    _ports: [ReservedPort; 2],
}

#[derive(Clone)]
struct Running {
    etcd: Arc<Child>,
    api_server: Arc<Child>,
}

impl ProcessCluster {
    pub(super) async fn create(
        child_starter: ChildStarter,
        state_directory: StateDirectory,
        log_directory: PathBuf,
        request: CreateRequest,
    ) -> Result<Self, ProviderError> {
        let certificate_directory = state_directory.path().join("certificates");
        create_private_directory(&certificate_directory)?;
        create_private_directory(&log_directory)?;
        let ports = [ReservedPort::reserve()?, ReservedPort::reserve()?];
        let access = issue_certificates(&certificate_directory, ports[1].address(), ports[0].address())?;
        let (running, running_now) = watch::channel(None);
        let cluster = Self {
            child_starter,
            name: request.name,
            assets: request.assets,
            api_client: ApiClient::new(&access)?,
            access,
            state_directory,
            log_directory,
            running: Mutex::new(running),
            running_now,
            _ports: ports,
        };
        match cluster.start_on(&request.initial_state).await {
            Ok(()) => Ok(cluster),
            Err(error) => {
                // What failed to start leaves nothing but its logs.
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
        let api_server = if initial_state.is_empty() {
            // There is nothing to write before the API server may look. It needs several times as long to come to its
            // first look as etcd needs to answer; should etcd be later all the same, that costs a second's backoff.
            let api_server = self.spawn_api_server().await?;
            readiness::wait_etcd(&etcd, &self.access).await?;
            api_server
        } else {
            let etcd_client = readiness::wait_etcd(&etcd, &self.access).await?;
            readiness::write_initial_state(&etcd_client, initial_state).await?;
            self.spawn_api_server().await?
        };
        running.send_replace(Some(Running { etcd: Arc::new(etcd), api_server: Arc::new(api_server) }));
        Ok(())
    }

    async fn end(&self) {
        let running = self.running.lock().await;
        // First the mark, then the kill: so nobody takes it for an unexpected death.
        if let Some(Running { etcd, api_server }) = running.send_replace(None) {
            tokio::join!(api_server.kill(), etcd.kill());
        }
    }

    async fn signal(
        &self,
        wanted: &'static str,
        signal: Signal,
        in_order: impl Fn(Running) -> [Arc<Child>; 2] + Send,
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
        let arguments =
            etcd_arguments(&self.certificate_directory(), &data, Addresses::reserved(self.access.etcd_address));
        self.spawn("etcd", &self.assets.etcd, arguments).await
    }

    async fn spawn_api_server(&self) -> Result<Child, ProviderError> {
        let arguments = api_server_arguments(
            &self.certificate_directory(),
            Addresses::reserved(self.access.api_address),
            self.access.etcd_address,
        );
        self.spawn("kube-apiserver", &self.assets.kube_apiserver, arguments).await
    }

    async fn spawn(
        &self,
        component: &'static str,
        program: &Path,
        arguments: Vec<std::ffi::OsString>,
    ) -> Result<Child, ProviderError> {
        self.child_starter
            .spawn(ChildCommand {
                component,
                program: program.to_owned(),
                arguments,
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

    fn process_ids(&self) -> Vec<u32> {
        let running = self.running_now.borrow();
        running.iter().flat_map(|running| [running.etcd.process_id(), running.api_server.process_id()]).collect()
    }

    fn check_running(&self) -> ProviderFuture<'_, bool> {
        let process_ids = self.process_ids();
        Box::pin(async move {
            // Where there is no /proc, a program is asked.
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
            let api_server = self.running_now.borrow().as_ref().map(|running| Arc::clone(&running.api_server));
            let Some(api_server) = api_server else {
                return Err(ProviderError::WrongState { state: "stopped", wanted: "waited for" });
            };
            readiness::wait_api_server(&*api_server, &self.api_client, readiness).await
        })
    }

    fn restart_api_server(&self) -> ProviderFuture<'_, ()> {
        Box::pin(async move {
            let running = self.running.lock().await;
            let Some(before) = running.borrow().clone() else {
                return Err(ProviderError::WrongState { state: "stopped", wanted: "restarted" });
            };
            // Marked as stopped in between, so that the kill is not taken for an unexpected death.
            running.send_replace(None);
            before.api_server.kill().await;
            let api_server = Arc::new(self.spawn_api_server().await?);
            running.send_replace(Some(Running { etcd: before.etcd, api_server }));
            Ok(())
        })
    }

    fn freeze(&self) -> ProviderFuture<'_, ()> {
        // First who asks, then who answers.
        Box::pin(self.signal("frozen", Signal::STOP, |running| [running.api_server, running.etcd]))
    }

    fn thaw(&self) -> ProviderFuture<'_, ()> {
        Box::pin(self.signal("thawed", Signal::CONT, |running| [running.etcd, running.api_server]))
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
                let Some(Running { etcd, api_server }) = running else {
                    if running_now.changed().await.is_err() {
                        std::future::pending::<()>().await;
                    }
                    continue;
                };
                let (component, status) = tokio::select! {
                    biased;
                    _ = running_now.changed() => continue,
                    status = etcd.wait() => (etcd.component(), status),
                    status = api_server.wait() => (api_server.component(), status),
                };
                return format!("{component} ended unexpectedly ({})", describe_exit(status));
            }
        })
    }
}
