//! From a provider's name to the provider: the only place where the name matters.

use std::sync::Arc;

#[cfg(any(feature = "apple", target_os = "macos"))]
use super::apple;
use super::registration::{EngineParts, Registration};
use super::{Provider, ProviderError, process};
use crate::ProviderName;
use crate::assets::Platform;

/// Returns the entry of the provider of this name. A new provider has its arm here.
fn registration(name: ProviderName) -> Result<Registration, ProviderError> {
    match name {
        ProviderName::Process => Ok(process::REGISTRATION),
        #[cfg(any(feature = "apple", target_os = "macos"))]
        ProviderName::Apple => Ok(apple::REGISTRATION),
        #[cfg(not(any(feature = "apple", target_os = "macos")))]
        ProviderName::Apple => Err(crate::provider_name::ProviderNotBuilt { provider: name }.into()),
    }
}

/// Returns the platform that the binaries of this provider's clusters must have been built for.
///
/// # Errors
/// If this engine was built without the provider.
pub fn binaries_platform(name: ProviderName) -> Result<Platform, ProviderError> {
    Ok((registration(name)?.binaries_platform)())
}

/// Returns the variable that names the program that makes this provider's clusters; `None` if the engine itself makes them.
///
/// # Errors
/// If this engine was built without the provider.
#[cfg(feature = "lab")]
pub fn program_variable(name: ProviderName) -> Result<Option<&'static str>, ProviderError> {
    Ok(registration(name)?.program_variable)
}

/// Makes the provider, and has it remove the remains of earlier engines' clusters.
///
/// # Errors
/// If this engine was built without the provider, or this machine lacks something that the provider needs.
pub async fn connect(name: ProviderName, engine_parts: EngineParts<'_>) -> Result<Arc<dyn Provider>, ProviderError> {
    (registration(name)?.connect)(engine_parts).await
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_provider_of_this_build_has_an_entry_and_no_other() {
        for name in ProviderName::ALL {
            let found = registration(name).map(|_| ()).map_err(|error| error.to_string());
            assert_eq!(found, name.expect_built().map_err(|error| error.to_string()));
        }
    }
}
