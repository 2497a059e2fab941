//! The client's side: finds or starts the engine, sends requests, and keeps the connection that is the lease.
//!
//! - `connection`: the socket and the messages on it.
//! - `several`: several leases at once.
//! - `news`: progress for people, without repetitions.
//! - `starter`: starts the engine, once for all clients that need it.
//! - `credentials`: from a lease to a client of its cluster and to a kubeconfig.

mod connection;
mod credentials;
mod news;
mod several;
mod starter;

use std::collections::BTreeSet;
use std::path::PathBuf;

pub use connection::{ClientError, Lease};
pub use credentials::{client_of_lease, kubeconfig_text, user_agent};
pub use news::News;
pub use starter::EngineProgram;

use crate::ProviderName;
use crate::fixtures::FixtureSet;
use crate::paths::EnginePaths;
use crate::protocol::{
    AcquireRequest, ClientMessage, EngineMessage, LeaseGrant, MetricsText, NetworkChange, RuleKind, Status,
};
use crate::settings::{BECOME_ENGINE, WorkspaceSettings};
use crate::timings::{self, TimingLine};
use connection::Connection;

/// A client of the engine of this user and version.
#[derive(Clone, Debug)]
pub struct EngineClient {
    paths: EnginePaths,
    provider: ProviderName,
    program: EngineProgram,
}

impl EngineClient {
    /// A client of the engine that settings and environment select. It is started from `program` if it is not running.
    ///
    /// # Errors
    /// If a setting is not valid, or there is no private directory for the engine's socket.
    pub fn from_environment(program: EngineProgram) -> Result<Self, ClientError> {
        Self::for_provider(WorkspaceSettings::of_this_process()?.provider, program)
    }

    /// A client of the engine of this provider.
    ///
    /// # Errors
    /// If there is no private directory for the engine's socket.
    pub fn for_provider(provider: ProviderName, program: EngineProgram) -> Result<Self, ClientError> {
        if std::env::var_os(BECOME_ENGINE).is_some() {
            // This process was started as the engine but runs a test. Starting another engine would never end.
            return Err(ClientError::ConstructorMissing);
        }
        Ok(Self { paths: EnginePaths::from_environment(provider)?, provider, program })
    }

    /// A client of the engine of this provider with these paths.
    pub fn new(paths: EnginePaths, provider: ProviderName, program: EngineProgram) -> Self {
        Self { paths, provider, program }
    }

    /// The provider of the engine's clusters.
    pub fn provider(&self) -> ProviderName {
        self.provider
    }

    /// The engine's paths.
    pub fn paths(&self) -> &EnginePaths {
        &self.paths
    }

    /// Requests a lease, starting the engine if necessary. `progress` receives the reasons for waiting.
    ///
    /// # Errors
    /// If no engine can be reached or started, or if it refuses.
    pub async fn acquire(
        &self,
        request: AcquireRequest,
        progress: &(dyn Fn(&str) + Send + Sync),
    ) -> Result<Lease, ClientError> {
        self.acquire_from(request, &FixtureSet::default(), progress).await
    }

    /// The same, for a request that names a template. The template's content is sent if the engine requests it.
    ///
    /// # Errors
    /// As for [`Self::acquire`], and if the content cannot be applied.
    pub async fn acquire_from(
        &self,
        mut request: AcquireRequest,
        template: &FixtureSet,
        progress: &(dyn Fn(&str) + Send + Sync),
    ) -> Result<Lease, ClientError> {
        expect_timing_log(&request)?;
        request.template_bytes = template.content_bytes();
        let (mut connection, mut answer) = self.ask(&ClientMessage::Acquire(request), progress).await?;
        if matches!(answer, EngineMessage::TemplateWanted) {
            connection.send_template(template).await?;
            answer = connection.receive(progress).await?;
        }
        match answer {
            EngineMessage::Leased(grant) => connection.into_lease(*grant),
            other => Err(ClientError::unexpected(&self.paths, &other)),
        }
    }

    /// Boots clusters until `count` exist, starting the engine if necessary.
    ///
    /// # Errors
    /// As for [`Self::acquire`].
    pub async fn warm(
        &self,
        count: usize,
        request: AcquireRequest,
        progress: &(dyn Fn(&str) + Send + Sync),
    ) -> Result<(), ClientError> {
        expect_timing_log(&request)?;
        let (_, answer) = self.ask(&ClientMessage::Warm { count, request }, progress).await?;
        self.expect_done(answer)
    }

    /// The engine's state; `None` if no engine runs. Memory is measured only on request, because it takes a while.
    ///
    /// # Errors
    /// If an engine runs but does not answer.
    pub async fn status(&self, with_memory: bool) -> Result<Option<Status>, ClientError> {
        match self.ask_running(&ClientMessage::Status { with_memory }).await? {
            Some(EngineMessage::Status(status)) => Ok(Some(*status)),
            Some(other) => Err(ClientError::unexpected(&self.paths, &other)),
            None => Ok(None),
        }
    }

    /// The engine's timings, the line about itself first; `None` if no engine runs.
    ///
    /// # Errors
    /// As for [`Self::status`].
    pub async fn timings(&self) -> Result<Option<Vec<TimingLine>>, ClientError> {
        let Some(mut connection) = Connection::open_running(&self.paths).await? else { return Ok(None) };
        connection.send(&ClientMessage::Timings).await?;
        let mut all = Vec::new();
        loop {
            match connection.receive(&|_| {}).await? {
                EngineMessage::Timings { lines, is_last } => {
                    all.extend(lines);
                    if is_last {
                        return Ok(Some(all));
                    }
                }
                other => return Err(ClientError::unexpected(&self.paths, &other)),
            }
        }
    }

    /// The engine's metrics; `None` if no engine runs.
    ///
    /// # Errors
    /// If an engine runs but does not answer.
    pub async fn metrics(&self) -> Result<Option<MetricsText>, ClientError> {
        match self.ask_running(&ClientMessage::Metrics).await? {
            Some(EngineMessage::Metrics(metrics)) => Ok(Some(metrics)),
            Some(other) => Err(ClientError::unexpected(&self.paths, &other)),
            None => Ok(None),
        }
    }

    /// Stops all clusters without a lease, keeping their state. `false` if no engine runs.
    ///
    /// # Errors
    /// As for [`Self::status`].
    pub async fn stop_idle_clusters(&self) -> Result<bool, ClientError> {
        match self.ask_running(&ClientMessage::StopIdleClusters).await? {
            Some(answer) => self.expect_done(answer).map(|()| true),
            None => Ok(false),
        }
    }

    /// Changes the behaviour of the network between a lease's clients and its cluster. The change is in force when this
    /// returns.
    ///
    /// # Errors
    /// If the lease has ended, or a delay exceeds the engine's limit.
    pub async fn change_network(&self, grant: &LeaseGrant, change: NetworkChange) -> Result<(), ClientError> {
        let message = ClientMessage::Network { lease: grant.lease, cluster: grant.cluster.clone(), change };
        match self.ask_running(&message).await? {
            Some(answer) => self.expect_done(answer),
            None => Err(ClientError::EngineEnded { log: self.paths.log.clone() }),
        }
    }

    /// Waits until rules of these kinds that the lease's client has written are in force.
    ///
    /// # Errors
    /// If the lease has ended, or it cannot be confirmed in time that they are in force.
    pub async fn bring_in_force(&self, grant: &LeaseGrant, kinds: BTreeSet<RuleKind>) -> Result<(), ClientError> {
        let message = ClientMessage::InForce { lease: grant.lease, cluster: grant.cluster.clone(), kinds };
        match self.ask_running(&message).await? {
            Some(answer) => self.expect_done(answer),
            None => Err(ClientError::EngineEnded { log: self.paths.log.clone() }),
        }
    }

    /// Ends the engine with all its processes, and waits until it is gone. `false` if no engine runs.
    ///
    /// # Errors
    /// As for [`Self::status`].
    pub async fn stop(&self) -> Result<bool, ClientError> {
        let Some(mut connection) = Connection::open_running(&self.paths).await? else { return Ok(false) };
        let running_lock = starter::open_running_lock(&self.paths)?;
        connection.send(&ClientMessage::Stop).await?;
        let answer = connection.receive(&|_| {}).await?;
        self.expect_done(answer)?;
        if let Some(running_lock) = running_lock {
            starter::wait_ended(&running_lock, &self.paths).await?;
        }
        Ok(true)
    }

    async fn ask(
        &self,
        message: &ClientMessage,
        progress: &(dyn Fn(&str) + Send + Sync),
    ) -> Result<(Connection, EngineMessage), ClientError> {
        const ATTEMPTS_MAX: u32 = 4;
        let mut attempt = 1;
        loop {
            let mut connection = match Connection::open_running(&self.paths).await? {
                Some(connection) => connection,
                None => starter::start(&self.paths, self.provider, &self.program).await?,
            };
            let sent = connection.send(message).await;
            let answer = match sent {
                Ok(()) => connection.receive(progress).await,
                Err(error) => Err(error),
            };
            match answer {
                Ok(answer) => return Ok((connection, answer)),
                // The engine was just ending: the next attempt finds, or starts, a new one.
                Err(ClientError::Closed { .. }) if attempt < ATTEMPTS_MAX => attempt += 1,
                Err(error) => return Err(error),
            }
        }
    }

    async fn ask_running(&self, message: &ClientMessage) -> Result<Option<EngineMessage>, ClientError> {
        let Some(mut connection) = Connection::open_running(&self.paths).await? else { return Ok(None) };
        connection.send(message).await?;
        connection.receive(&|_| {}).await.map(Some)
    }

    fn expect_done(&self, answer: EngineMessage) -> Result<(), ClientError> {
        match answer {
            EngineMessage::Done => Ok(()),
            other => Err(ClientError::unexpected(&self.paths, &other)),
        }
    }
}

/// Checked here, since the engine could report a failure to write only in its own log.
fn expect_timing_log(request: &AcquireRequest) -> Result<(), ClientError> {
    let Some(path) = &request.timing_log else { return Ok(()) };
    let opened = std::fs::OpenOptions::new().append(true).create(true).open(path);
    opened.map(drop).map_err(|source| ClientError::TimingLog { path: path.clone(), source })
}

impl AcquireRequest {
    /// A request with the values of the workspace's settings and the environment. A test's own `kubernetes` takes
    /// precedence.
    ///
    /// # Errors
    /// If a setting is not valid.
    pub fn from_environment(test: &str, kubernetes: Option<&str>) -> Result<Self, ClientError> {
        Ok(Self::with_settings(test, kubernetes, WorkspaceSettings::of_this_process()?))
    }

    /// The same, with settings that were read before.
    pub fn with_settings(test: &str, kubernetes: Option<&str>, settings: WorkspaceSettings) -> Self {
        let kubebuilder_assets = std::env::var_os("KUBEBUILDER_ASSETS").filter(|value| !value.is_empty());
        Self {
            kubernetes: kubernetes.map(str::to_owned).or(settings.kubernetes),
            test: test.to_owned(),
            timeout_ms: settings.acquire_timeout_seconds.saturating_mul(1000),
            assets_directory: settings.assets_directory,
            profile: settings.profile,
            isolation: settings.isolation,
            // The engine has a different working directory.
            kubebuilder_assets: kubebuilder_assets
                .map(PathBuf::from)
                .map(|path| std::path::absolute(&path).unwrap_or(path)),
            timing_log: timings::log_from_environment(),
            ..Self::default()
        }
    }
}
