//! The client's side: find the engine or start one, ask it for something, keep the connection that is the lease.
//!
//! - `connection`: the socket and the messages on it.
//! - `several`: more than one lease at once.
//! - `starter`: starting the engine, once, whoever else wants to.
//! - `credentials`: from a lease to a `kube::Config` and to a kubeconfig.

mod connection;
mod credentials;
mod several;
mod starter;

use std::collections::BTreeSet;
use std::path::PathBuf;

pub use connection::{ClientError, Lease};
pub use credentials::{auth_info, config_of_lease, kube_config, kubeconfig_text, user_agent};
pub use starter::{BECOME_ENGINE, EngineProgram};

use crate::ProviderName;
use crate::fixtures::FixtureSet;
use crate::paths::EnginePaths;
use crate::protocol::{
    AcquireRequest, ClientMessage, EngineMessage, LeaseGrant, MetricsText, NetworkChange, RuleKind, Status,
};
use crate::settings::WorkspaceSettings;
use crate::timings::{self, TimingLine};
use connection::Connection;

/// Talks to the engine of this user and version.
#[derive(Clone, Debug)]
pub struct EngineClient {
    paths: EnginePaths,
    provider: ProviderName,
    program: EngineProgram,
}

impl EngineClient {
    /// A client of the engine that settings and environment name, which is started from `program` where there is none.
    ///
    /// # Errors
    /// If a setting cannot be understood, or there is no private directory for the engine's socket.
    pub fn from_environment(program: EngineProgram) -> Result<Self, ClientError> {
        Self::for_provider(WorkspaceSettings::of_this_process()?.provider, program)
    }

    /// A client of the engine of this provider.
    ///
    /// # Errors
    /// If there is no private directory for the engine's socket.
    pub fn for_provider(provider: ProviderName, program: EngineProgram) -> Result<Self, ClientError> {
        if std::env::var_os(BECOME_ENGINE).is_some() {
            // This process was started to be the engine and runs a test instead. Starting another would never end.
            return Err(ClientError::ConstructorMissing);
        }
        Ok(Self { paths: EnginePaths::from_environment(provider)?, provider, program })
    }

    /// A client of the engine of this provider with these paths.
    pub fn new(paths: EnginePaths, provider: ProviderName, program: EngineProgram) -> Self {
        Self { paths, provider, program }
    }

    /// What the engine's clusters are made of.
    pub fn provider(&self) -> ProviderName {
        self.provider
    }

    /// The engine's paths.
    pub fn paths(&self) -> &EnginePaths {
        &self.paths
    }

    /// Asks for a lease, starting the engine if need be. `progress` is told what is being waited for.
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

    /// The same, for a request that names a template. Its content is sent if the engine asks for it.
    ///
    /// # Errors
    /// As for [`Self::acquire`], and if the content cannot be applied.
    pub async fn acquire_from(
        &self,
        request: AcquireRequest,
        template: &FixtureSet,
        progress: &(dyn Fn(&str) + Send + Sync),
    ) -> Result<Lease, ClientError> {
        expect_timing_log(&request)?;
        let (mut connection, mut answer) = self.ask(&ClientMessage::Acquire(request), progress).await?;
        if matches!(answer, EngineMessage::TemplateWanted) {
            connection.send(&ClientMessage::Template(template.clone())).await?;
            answer = connection.receive(progress).await?;
        }
        match answer {
            EngineMessage::Leased(grant) => connection.into_lease(*grant),
            other => Err(ClientError::unexpected(&self.paths, &other)),
        }
    }

    /// Boots clusters until `count` exist, starting the engine if need be.
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

    /// What the engine is doing; `None` where none runs. Memory is only measured where asked for: it takes a while.
    ///
    /// # Errors
    /// If an engine is there but does not answer.
    pub async fn status(&self, with_memory: bool) -> Result<Option<Status>, ClientError> {
        match self.ask_running(&ClientMessage::Status { with_memory }).await? {
            Some(EngineMessage::Status(status)) => Ok(Some(*status)),
            Some(other) => Err(ClientError::unexpected(&self.paths, &other)),
            None => Ok(None),
        }
    }

    /// What the engine did when, itself first; `None` where none runs.
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

    /// What the engine counts and measures; `None` where none runs.
    ///
    /// # Errors
    /// If an engine is there but does not answer.
    pub async fn metrics(&self) -> Result<Option<MetricsText>, ClientError> {
        match self.ask_running(&ClientMessage::Metrics).await? {
            Some(EngineMessage::Metrics(metrics)) => Ok(Some(metrics)),
            Some(other) => Err(ClientError::unexpected(&self.paths, &other)),
            None => Ok(None),
        }
    }

    /// Stops all clusters that nobody has leased, keeping their state. `false` where no engine runs.
    ///
    /// # Errors
    /// As for [`Self::status`].
    pub async fn stop_idle_clusters(&self) -> Result<bool, ClientError> {
        match self.ask_running(&ClientMessage::StopIdleClusters).await? {
            Some(answer) => self.expect_done(answer).map(|()| true),
            None => Ok(false),
        }
    }

    /// Changes how the network between a lease's clients and its cluster behaves. When this returns, it does.
    ///
    /// # Errors
    /// If the lease has ended, or a delay is longer than the engine holds anything back.
    pub async fn change_network(&self, grant: &LeaseGrant, change: NetworkChange) -> Result<(), ClientError> {
        let message = ClientMessage::Network { lease: grant.lease, cluster: grant.cluster.clone(), change };
        match self.ask_running(&message).await? {
            Some(answer) => self.expect_done(answer),
            None => Err(ClientError::EngineEnded { log: self.paths.log.clone() }),
        }
    }

    /// Waits until rules of these kinds that a lease has written are in force.
    ///
    /// # Errors
    /// If the lease has ended, or nothing shows within a bounded time that they are in force.
    pub async fn bring_in_force(&self, grant: &LeaseGrant, kinds: BTreeSet<RuleKind>) -> Result<(), ClientError> {
        let message = ClientMessage::InForce { lease: grant.lease, cluster: grant.cluster.clone(), kinds };
        match self.ask_running(&message).await? {
            Some(answer) => self.expect_done(answer),
            None => Err(ClientError::EngineEnded { log: self.paths.log.clone() }),
        }
    }

    /// Ends the engine and all that belongs to it, and waits until it is gone. `false` where none runs.
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
                // An engine that was just ending: the next attempt meets, or makes, a new one.
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

/// The engine could tell nobody but its own log that it cannot write there.
fn expect_timing_log(request: &AcquireRequest) -> Result<(), ClientError> {
    let Some(path) = &request.timing_log else { return Ok(()) };
    let opened = std::fs::OpenOptions::new().append(true).create(true).open(path);
    opened.map(drop).map_err(|source| ClientError::TimingLog { path: path.clone(), source })
}

impl AcquireRequest {
    /// A request with what the workspace's settings and the environment say. A `kubernetes` that a test names itself
    /// comes first.
    ///
    /// # Errors
    /// If a setting cannot be understood.
    pub fn from_environment(test: &str, kubernetes: Option<&str>) -> Result<Self, ClientError> {
        Ok(Self::with_settings(test, kubernetes, WorkspaceSettings::of_this_process()?))
    }

    /// The same, with settings that are known already.
    pub fn with_settings(test: &str, kubernetes: Option<&str>, settings: WorkspaceSettings) -> Self {
        let kubebuilder_assets = std::env::var_os("KUBEBUILDER_ASSETS").filter(|value| !value.is_empty());
        Self {
            kubernetes: kubernetes.map(str::to_owned).or(settings.kubernetes),
            test: test.to_owned(),
            timeout_ms: settings.acquire_timeout_seconds.saturating_mul(1000),
            assets_directory: settings.assets_directory,
            profile: settings.profile,
            isolation: settings.isolation,
            // The engine has another working directory.
            kubebuilder_assets: kubebuilder_assets
                .map(PathBuf::from)
                .map(|path| std::path::absolute(&path).unwrap_or(path)),
            timing_log: timings::log_from_environment(),
            ..Self::default()
        }
    }
}
