use super::error::ContainerError;
use super::settings::PROGRAM_VARIABLE;
use crate::provider::{OwnError, ProviderError};

/// A failure that only this provider has.
#[derive(Debug, thiserror::Error)]
pub enum AppleError {
    /// There is no program `container`.
    #[error(
        "there is no program `container` on PATH, of which only absolute entries count: install Apple's `container` \
         (macOS 26 on Apple silicon), or name the program in {PROGRAM_VARIABLE}"
    )]
    NoProgram,
    /// The program cannot be used at all.
    #[error("the provider `apple` cannot be used")]
    Service(#[source] Box<ContainerError>),
    /// The image that clusters are started from could not be made.
    #[error("preparing the image of the clusters failed")]
    Image(#[source] Box<dyn std::error::Error + Send + Sync>),
    /// A call for one container failed.
    #[error("{action} the container {container} failed")]
    Container {
        /// The action that was tried.
        action: &'static str,
        /// The name of the container.
        container: String,
        /// The failure.
        #[source]
        source: Box<ContainerError>,
    },
}

impl AppleError {
    fn is_user_error(&self) -> bool {
        match self {
            Self::NoProgram => true,
            Self::Image(_) => false,
            Self::Service(source) | Self::Container { source, .. } => source.kind.is_user_error(),
        }
    }
}

impl From<AppleError> for ProviderError {
    fn from(error: AppleError) -> Self {
        let is_user_error = error.is_user_error();
        OwnError::new(error, is_user_error).into()
    }
}

/// Wraps the failure of a call for the service of `container`.
pub(super) fn service_error(error: ContainerError) -> ProviderError {
    AppleError::Service(Box::new(error)).into()
}

/// Wraps the failure of a call for one container.
pub(super) fn container_error(action: &'static str, container: &str, error: ContainerError) -> ProviderError {
    AppleError::Container { action, container: container.to_owned(), source: Box::new(error) }.into()
}
