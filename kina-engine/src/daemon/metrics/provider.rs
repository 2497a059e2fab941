//! Counts calls of the provider, whichever it is.

use std::path::Path;
use std::pin::Pin;
use std::sync::Arc;
use std::time::Instant;

use super::labels::ProviderCall;
use super::recorder::{KnownCluster, Metrics};
use crate::cluster_access::ClusterAccess;
use crate::provider::{
    Capabilities, CreateRequest, GoroutineProfile, MeasureFuture, ProvidedCluster, Provider, ProviderError,
    ProviderFuture, Readiness,
};

/// A provider whose calls are counted.
pub(in crate::daemon) struct MeteredProvider {
    provider: Arc<dyn Provider>,
    metrics: Arc<Metrics>,
}

/// One of its clusters.
struct MeteredCluster {
    cluster: Arc<dyn ProvidedCluster>,
    metrics: Arc<Metrics>,
    _known: KnownCluster,
}

impl MeteredProvider {
    pub(in crate::daemon) fn new(provider: Arc<dyn Provider>, metrics: Arc<Metrics>) -> Self {
        Self { provider, metrics }
    }
}

/// A call that is abandoned before its end is not counted.
fn metered<'a, Output: 'a>(
    metrics: &'a Metrics,
    call: ProviderCall,
    future: ProviderFuture<'a, Output>,
) -> ProviderFuture<'a, Output> {
    let start = Instant::now();
    Box::pin(async move {
        let result = future.await;
        metrics.called_provider(call, start.elapsed(), result.is_ok());
        result
    })
}

impl Provider for MeteredProvider {
    fn capabilities(&self) -> Capabilities {
        self.provider.capabilities()
    }

    fn create(&self, request: CreateRequest) -> ProviderFuture<'_, Arc<dyn ProvidedCluster>> {
        // Its processes are there before it is.
        let known = KnownCluster::new(&self.metrics, &request.name);
        let creating = metered(&self.metrics, ProviderCall::Create, self.provider.create(request));
        Box::pin(async move {
            let metered =
                MeteredCluster { cluster: creating.await?, metrics: Arc::clone(&self.metrics), _known: known };
            Ok(Arc::new(metered) as Arc<dyn ProvidedCluster>)
        })
    }

    fn wait_all_ended(&self) -> Pin<Box<dyn Future<Output = ()> + Send + '_>> {
        self.provider.wait_all_ended()
    }

    fn remains(&self) -> ProviderFuture<'_, Vec<String>> {
        self.provider.remains()
    }

    fn disk_bytes(&self) -> MeasureFuture<'_> {
        self.provider.disk_bytes()
    }
}

impl MeteredCluster {
    fn metered<'a, Output: 'a>(
        &'a self,
        call: ProviderCall,
        future: ProviderFuture<'a, Output>,
    ) -> ProviderFuture<'a, Output> {
        metered(&self.metrics, call, future)
    }
}

impl ProvidedCluster for MeteredCluster {
    fn access(&self) -> &ClusterAccess {
        self.cluster.access()
    }

    fn log_directory(&self) -> &Path {
        self.cluster.log_directory()
    }

    fn host_name(&self) -> Vec<u8> {
        self.cluster.host_name()
    }

    fn process_ids(&self) -> Vec<u32> {
        self.cluster.process_ids()
    }

    fn check_running(&self) -> ProviderFuture<'_, bool> {
        self.cluster.check_running()
    }

    fn memory_bytes(&self) -> MeasureFuture<'_> {
        self.cluster.memory_bytes()
    }

    fn wait_ready(&self, readiness: Readiness) -> ProviderFuture<'_, ()> {
        self.metered(ProviderCall::WaitReady, self.cluster.wait_ready(readiness))
    }

    fn api_server_has_ended(&self) -> bool {
        self.cluster.api_server_has_ended()
    }

    fn goroutine_profile(&self) -> GoroutineProfile {
        self.cluster.goroutine_profile()
    }

    fn restart_api_server(&self) -> ProviderFuture<'_, ()> {
        self.metered(ProviderCall::RestartApiServer, self.cluster.restart_api_server())
    }

    fn tokens_were_made(&self) -> Result<bool, ProviderError> {
        self.cluster.tokens_were_made()
    }

    fn notices_tokens(&self) -> bool {
        self.cluster.notices_tokens()
    }

    fn has_controllers(&self) -> bool {
        self.cluster.has_controllers()
    }

    fn start_controllers(&self) -> ProviderFuture<'_, ()> {
        match self.has_controllers() {
            true => self.metered(ProviderCall::StartControllers, self.cluster.start_controllers()),
            // Nothing happens.
            false => self.cluster.start_controllers(),
        }
    }

    fn stop_controllers(&self) -> ProviderFuture<'_, ()> {
        self.metered(ProviderCall::StopControllers, self.cluster.stop_controllers())
    }

    fn freeze(&self) -> ProviderFuture<'_, ()> {
        self.metered(ProviderCall::Freeze, self.cluster.freeze())
    }

    fn thaw(&self) -> ProviderFuture<'_, ()> {
        self.metered(ProviderCall::Thaw, self.cluster.thaw())
    }

    fn stop(&self) -> ProviderFuture<'_, ()> {
        self.metered(ProviderCall::Stop, self.cluster.stop())
    }

    fn start(&self) -> ProviderFuture<'_, ()> {
        self.metered(ProviderCall::Start, self.cluster.start())
    }

    fn destroy(&self) -> ProviderFuture<'_, ()> {
        self.metered(ProviderCall::Destroy, self.cluster.destroy())
    }

    fn wait_died(&self) -> Pin<Box<dyn Future<Output = String> + Send + '_>> {
        self.cluster.wait_died()
    }
}
