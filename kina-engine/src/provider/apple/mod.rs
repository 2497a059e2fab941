//! Clusters in virtual machines of Apple's `container`, one for each.
//!
//! Everything goes through the program `container`. Its output and its failures, known from its source and from
//! reports, are described in the reference whose sections the table in `command` names. It is not trusted: calls hang,
//! so each has a deadline; exit codes mislead, so effects are looked up; containers outlive the engine or vanish
//! without it, so they are found by their labels, and checked before they are used.
//!
//! - `command`: the command lines; `call`: runs one; `boot_queue`: lets calls that boot run one at a time.
//! - `json`, `error`, `version`: reading of the answers. `failures`: the decision to try again.
//! - `cli`: the calls as typed functions that verify outcomes before they report or repeat. `make`: the one that makes a
//!   container.
//! - `service`, `image`: the prerequisites of a container. `examine`: their diagnosis, for `cargo kina doctor`.
//! - `labels`: the owner of a container. `leftovers`, `death_watcher`, `sweep`: no container without an engine.
//! - `observer`: notices unexpected ends.
//! - `guest`: the layout inside of the machine. `guest_events`: the events of its supervisor.
//! - `create`, `cluster`: one cluster's life.
//! - `connect`: the provider for an engine. `apple_error`: its failures.

mod apple_error;
mod boot_queue;
mod call;
mod cli;
mod cluster;
mod command;
mod connect;
mod create;
mod death_watcher;
mod error;
mod examine;
mod failures;
mod guest;
mod guest_events;
mod image;
mod json;
mod labels;
mod leftovers;
mod make;
mod observer;
mod service;
mod settings;
mod shared;
mod sweep;
#[cfg(test)]
mod tests;
mod version;

use std::pin::Pin;
use std::sync::Arc;

pub use self::error::{ContainerError, ContainerErrorKind};
pub use self::examine::{ContainerCount, Examination, Inside};
pub use self::image::{ClusterImage, ImageSource};
pub use self::json::DiskUsage;
#[cfg(feature = "lab")]
pub use self::json::{Container, ContainerState};
#[cfg(feature = "lab")]
pub use self::labels::{CLUSTER as CLUSTER_LABEL, ENGINE as ENGINE_LABEL, Owner};
pub use self::settings::{AppleSettings, PROGRAM_VARIABLE, find_program};
pub use self::sweep::SweepReport;

pub use self::apple_error::AppleError;
use self::apple_error::service_error;
use self::cli::Patience;
use self::cluster::MEMORY_OVERHEAD_BYTES;
use self::create::Order;
use self::shared::Shared;
use self::version::Program;
use super::{Capabilities, CreateRequest, MeasureFuture, ProvidedCluster, Provider, ProviderError, ProviderFuture};
use crate::assets::Platform;
use crate::protocol::Profile;
use crate::provider::registration::Registration;

pub(super) const REGISTRATION: Registration =
    Registration { binaries_platform, program_variable: Some(PROGRAM_VARIABLE), connect: connect::connect };

/// Makes clusters in virtual machines of Apple's `container`.
pub struct AppleProvider {
    shared: Arc<Shared>,
    image_source: Arc<dyn ImageSource>,
    program: Program,
}

impl AppleProvider {
    /// Makes a provider that takes its images from `image_source`. Asks the program only for its version: the service
    /// need not run until a cluster is made.
    ///
    /// # Errors
    /// If there is no such program, or it is too old.
    pub async fn connect(settings: AppleSettings, image_source: Arc<dyn ImageSource>) -> Result<Self, ProviderError> {
        let shared = Arc::new(Shared::new(settings, Patience::USUAL)?);
        let program = shared.cli.version().await.map_err(service_error)?;
        if program.is_emulator {
            tracing::warn!(program = program.text, "this `container` is an emulator: no figure from it is a real one");
        }
        Ok(Self { shared, image_source, program })
    }

    /// Returns the output of `container --version`.
    pub fn program_version(&self) -> &str {
        &self.program.text
    }

    /// Deletes the containers of this realm whose engine is gone. Returns `None` if the service does not run, and does
    /// not start it: the sweep is then done when the first cluster is made.
    ///
    /// # Errors
    /// If containers cannot be listed.
    pub async fn sweep(&self) -> Result<Option<SweepReport>, ProviderError> {
        if self.shared.service.is_down(&self.shared.cli).await {
            return Ok(None);
        }
        let (owner, directory) = (&self.shared.owner, &self.shared.settings.journal_directory);
        let swept = sweep::sweep(&self.shared.cli, owner, directory).await;
        swept.map(Some).map_err(service_error)
    }

    /// Measures the disk space of `container` in total, as it is not split by owner.
    ///
    /// # Errors
    /// If `container` gives no answer.
    pub async fn disk_usage(&self) -> Result<DiskUsage, ProviderError> {
        self.shared.service.disk_usage(&self.shared.cli).await.map_err(service_error)
    }
}

impl Provider for AppleProvider {
    fn capabilities(&self) -> Capabilities {
        let cores = crate::machine_resources::cores();
        let cpus = usize::try_from(self.shared.settings.cpus).unwrap_or(1).max(1);
        Capabilities {
            stop: true,
            // The library could pause a machine, but no command does.
            freeze: false,
            // The virtual machines start one after the other; the components in them boot at the same time.
            parallel_boots_max: (cores / cpus).max(1),
            memory_per_cluster_bytes: self.shared.settings.memory_bytes + MEMORY_OVERHEAD_BYTES,
            // A machine has a loopback of its own.
            shares_loopback: false,
            binaries_platform: binaries_platform(),
            profiles: &[Profile::Api],
            simulated: self.program.is_emulator,
        }
    }

    fn create(&self, request: CreateRequest) -> ProviderFuture<'_, Arc<dyn ProvidedCluster>> {
        Box::pin(async move {
            create::expect_mountable(&self.shared.settings)?;
            let service_version = self.shared.prepare().await.map_err(service_error)?;
            let (source, assets) = (Arc::clone(&self.image_source), request.assets.clone());
            let made = tokio::task::spawn_blocking(move || source.image(&assets)).await;
            let image = made.map_err(|panic| AppleError::Image(panic.into()))?.map_err(AppleError::Image)?;
            let order = Order { image, service_version, request: &request };
            let cluster = create::create(&self.shared, order).await?;
            Ok(Arc::new(cluster) as Arc<dyn ProvidedCluster>)
        })
    }

    fn wait_all_ended(&self) -> Pin<Box<dyn Future<Output = ()> + Send + '_>> {
        Box::pin(self.shared.leftovers.wait_none())
    }

    /// Includes those of other engines of the realm.
    fn remains(&self) -> ProviderFuture<'_, Vec<String>> {
        Box::pin(async {
            let containers = self.shared.cli.list().await.map_err(service_error)?;
            let ours = containers.into_iter().filter(|container| self.shared.owner.is_of_realm(&container.labels));
            Ok(ours.map(|container| format!("container {}", container.id)).collect())
        })
    }

    /// Measures all of `container`'s images and root file systems.
    fn disk_bytes(&self) -> MeasureFuture<'_> {
        Box::pin(async {
            let usage = self.disk_usage().await;
            let usage = usage.inspect_err(|error| tracing::info!(%error, "the disk space of `container` is not known"));
            usage.ok().map(|usage| usage.containers_bytes.saturating_add(usage.images_bytes))
        })
    }
}

#[cfg(feature = "lab")]
/// Reads the output of `container list --format json`; `None` if it cannot be understood.
pub fn read_containers(output: &[u8]) -> Option<Vec<Container>> {
    json::containers(output).ok()
}

#[cfg(feature = "lab")]
/// Returns true if this output of `container --version` is an emulator's.
pub fn is_emulator(version: &str) -> bool {
    Program::parse(version).is_some_and(|program| program.is_emulator)
}

/// A machine runs Linux, on this machine's processor.
fn binaries_platform() -> Platform {
    Platform { os: "linux".to_owned(), ..Platform::host() }
}
