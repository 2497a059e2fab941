//! What most commands start from: the workspace's settings, and the engine that they name.

use anyhow::Context;

use crate::ProviderName;
use crate::client::{ClientError, EngineClient, EngineProgram};
use crate::settings::WorkspaceSettings;

/// Where the program was called.
pub(super) struct Situation {
    /// What the command line says.
    asked: Option<ProviderName>,
    pub(super) settings: WorkspaceSettings,
}

/// Something that the user has to do, told in one sentence.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
pub(super) struct UserError(pub(super) String);

impl Situation {
    /// Reads the settings, once.
    pub(super) fn of_this_process(asked: Option<ProviderName>) -> Result<Self, ClientError> {
        Ok(Self { asked, settings: WorkspaceSettings::of_this_process()? })
    }

    /// What clusters are made of.
    pub(super) fn provider(&self) -> ProviderName {
        self.asked.unwrap_or(self.settings.provider)
    }

    /// The engine that makes them.
    pub(super) fn client(&self) -> Result<EngineClient, ClientError> {
        client_of(self.provider())
    }

    /// The engine that was asked for; if none was, all there can be, that of the workspace first.
    pub(super) fn clients(&self) -> Result<Vec<EngineClient>, ClientError> {
        let mut providers = vec![self.provider()];
        if self.asked.is_none() {
            providers.extend(ProviderName::ALL.into_iter().filter(|provider| *provider != self.provider()));
        }
        providers.into_iter().map(client_of).collect()
    }
}

/// The engine of a provider.
pub(super) fn client_of(provider: ProviderName) -> Result<EngineClient, ClientError> {
    EngineClient::for_provider(provider, EngineProgram::ThisExecutable)
}

/// What commands run on.
pub(super) fn runtime() -> anyhow::Result<tokio::runtime::Runtime> {
    tokio::runtime::Builder::new_current_thread().enable_all().build().context("starting the runtime failed")
}
