use std::fmt;
use std::str::FromStr;

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

/// There is no such provider.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("kina has no provider `{name}`: the providers are {known}", known = ProviderName::known())]
pub struct UnknownProvider {
    name: String,
}

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
    /// All providers.
    pub const ALL: [Self; 2] = [Self::Process, Self::Apple];

    /// The name as users write it.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Process => "process",
            Self::Apple => "apple",
        }
    }

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

    /// All names, for messages.
    pub(crate) fn known() -> String {
        Self::ALL.map(|provider| format!("`{provider}`")).join(", ")
    }
}

impl fmt::Display for ProviderName {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(self.as_str())
    }
}

impl FromStr for ProviderName {
    type Err = UnknownProvider;

    fn from_str(name: &str) -> Result<Self, Self::Err> {
        let found = Self::ALL.into_iter().find(|provider| provider.as_str() == name);
        found.ok_or_else(|| UnknownProvider { name: name.to_owned() })
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

    #[test]
    fn names_are_read_as_they_are_written() {
        for provider in ProviderName::ALL {
            assert_eq!(provider.as_str().parse(), Ok(provider));
        }
        let error = "docker".parse::<ProviderName>().expect_err("there is none");
        assert_eq!(error.to_string(), "kina has no provider `docker`: the providers are `process`, `apple`");
    }
}
