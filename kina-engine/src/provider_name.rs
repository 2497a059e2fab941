use crate::choice::choice;

/// The name of a provider, which makes clusters in its own way. Each provider has an engine of its own, so that one
/// that hangs holds up no other; all engines of a user share one budget of memory.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum ProviderName {
    /// Plain processes on this machine.
    #[default]
    Process,
    /// Virtual machines of Apple's `container`.
    Apple,
}

choice!(ProviderName, "provider", [Process = "process", Apple = "apple"]);

/// The engine was built without the provider.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "this engine was built without the provider `{provider}`: enable the feature `{provider}` of kina-test, or install \
     the engine with `cargo install cargo-kina`, which has all providers"
)]
pub struct ProviderNotBuilt {
    pub(crate) provider: ProviderName,
}

impl ProviderName {
    /// Fails for a provider that an engine of this build does not have.
    ///
    /// # Errors
    /// If the provider's Cargo feature is not enabled.
    pub fn expect_built(self) -> Result<(), ProviderNotBuilt> {
        let is_built = match self {
            Self::Process => true,
            Self::Apple => cfg!(any(feature = "apple", target_os = "macos")),
        };
        if is_built { Ok(()) } else { Err(ProviderNotBuilt { provider: self }) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_provider_that_this_build_lacks_is_refused_with_the_feature_that_adds_it() {
        assert_eq!(ProviderName::Process.expect_built(), Ok(()));
        let refused = ProviderNotBuilt { provider: ProviderName::Apple };
        let is_built = cfg!(any(feature = "apple", target_os = "macos"));
        assert_eq!(ProviderName::Apple.expect_built(), if is_built { Ok(()) } else { Err(refused.clone()) });
        assert!(refused.to_string().contains("enable the feature `apple` of kina-test"), "{refused}");
    }
}
