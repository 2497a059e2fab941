//! The starting point of most commands: the workspace's settings, and the engine that they select.

use anyhow::Context;
use kina_engine::{ClientError, EngineClient, EngineProgram, ProviderName, WorkspaceSettings};

use super::assets_notice;

/// The program's settings and command line.
pub struct Situation {
    /// The provider on the command line.
    asked: Option<ProviderName>,
    pub settings: WorkspaceSettings,
}

/// An error that the user can fix, in one sentence.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
pub struct UserError(pub String);

impl Situation {
    /// Reads the settings, once.
    pub fn of_this_process(asked: Option<ProviderName>) -> Result<Self, ClientError> {
        let situation = Self { asked, settings: WorkspaceSettings::of_this_process()? };
        assets_notice::tell_once(situation.provider(), &situation.settings);
        Ok(situation)
    }

    /// The provider of the clusters.
    pub fn provider(&self) -> ProviderName {
        self.asked.unwrap_or(self.settings.provider)
    }

    /// The engine that makes them.
    pub fn client(&self) -> Result<EngineClient, ClientError> {
        client_of(self.provider())
    }

    /// The selected engine; without a selection, all possible ones, that of the workspace first.
    pub fn clients(&self) -> Result<Vec<EngineClient>, ClientError> {
        let mut providers = vec![self.provider()];
        if self.asked.is_none() {
            providers.extend(ProviderName::ALL.into_iter().filter(|provider| *provider != self.provider()));
        }
        providers.into_iter().map(client_of).collect()
    }
}

/// The engine of a provider.
pub fn client_of(provider: ProviderName) -> Result<EngineClient, ClientError> {
    EngineClient::for_provider(provider, EngineProgram::ThisExecutable)
}

/// The runtime of commands.
pub fn runtime() -> anyhow::Result<tokio::runtime::Runtime> {
    tokio::runtime::Builder::new_current_thread().enable_all().build().context("starting the runtime failed")
}
