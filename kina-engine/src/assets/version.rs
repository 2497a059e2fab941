//! Kubernetes versions as kina speaks of them: a minor that a test asks for, and the exact version that it gets.

use std::fmt;
use std::str::FromStr;

/// A Kubernetes minor that kina supports, such as `1.37`, as a test asks for it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct KubernetesMinor(u32);

/// An exact, released Kubernetes version, such as `1.37.1`, as a set of binaries has it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct KubernetesVersion {
    minor: u32,
    patch: u32,
}

/// A text that is not a Kubernetes minor that kina supports.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("unknown Kubernetes minor `{text}`: use one of {}", known_minors())]
pub struct UnknownMinor {
    text: String,
}

/// A text that is not a released Kubernetes version.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("`{text}` is no Kubernetes version: write it as `1.MINOR.PATCH`, without a leading `v`")]
pub struct InvalidVersion {
    text: String,
}

impl KubernetesMinor {
    /// The minor that a test gets when it asks for none.
    pub const DEFAULT: Self = Self(37);

    /// The minors that kina supports, oldest first.
    pub const KNOWN: [Self; 5] = [Self(33), Self(34), Self(35), Self(36), Self(37)];

    /// The number after `1.`.
    pub fn number(self) -> u32 {
        self.0
    }
}

impl KubernetesVersion {
    /// The version `1.MINOR.PATCH`.
    pub const fn new(minor: KubernetesMinor, patch: u32) -> Self {
        Self { minor: minor.0, patch }
    }

    /// The number after `1.`.
    pub fn minor_number(self) -> u32 {
        self.minor
    }

    /// The number after the minor.
    pub fn patch_number(self) -> u32 {
        self.patch
    }

    /// Returns true if this version belongs to `minor`.
    pub fn is_of(self, minor: KubernetesMinor) -> bool {
        self.minor == minor.0
    }
}

impl Default for KubernetesMinor {
    fn default() -> Self {
        Self::DEFAULT
    }
}

impl FromStr for KubernetesMinor {
    type Err = UnknownMinor;

    fn from_str(text: &str) -> Result<Self, UnknownMinor> {
        text.strip_prefix("1.")
            .and_then(parse_number)
            .map(Self)
            .filter(|minor| Self::KNOWN.contains(minor))
            .ok_or_else(|| UnknownMinor { text: text.to_owned() })
    }
}

impl FromStr for KubernetesVersion {
    type Err = InvalidVersion;

    fn from_str(text: &str) -> Result<Self, InvalidVersion> {
        text.strip_prefix("1.")
            .and_then(|rest| rest.split_once('.'))
            .and_then(|(minor, patch)| Some(Self { minor: parse_number(minor)?, patch: parse_number(patch)? }))
            .ok_or_else(|| InvalidVersion { text: text.to_owned() })
    }
}

impl fmt::Display for KubernetesMinor {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "1.{}", self.0)
    }
}

impl fmt::Display for KubernetesVersion {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "1.{}.{}", self.minor, self.patch)
    }
}

/// A number as versions write it: digits only, no sign, no leading zero.
fn parse_number(text: &str) -> Option<u32> {
    let is_plain = text.bytes().all(|byte| byte.is_ascii_digit()) && (text == "0" || !text.starts_with('0'));
    if is_plain { text.parse().ok() } else { None }
}

fn known_minors() -> String {
    KubernetesMinor::KNOWN.iter().map(KubernetesMinor::to_string).collect::<Vec<_>>().join(", ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_known_minor_survives_text_and_the_default_is_the_newest() {
        for minor in KubernetesMinor::KNOWN {
            assert_eq!(minor.to_string().parse(), Ok(minor));
        }
        assert_eq!(KubernetesMinor::KNOWN.iter().max(), Some(&KubernetesMinor::DEFAULT));
        assert!(KubernetesMinor::KNOWN.is_sorted());
    }

    #[test]
    fn an_unknown_minor_is_answered_with_the_known_ones() {
        for text in ["1.2", "1.38", "1.037", "1.+37", "1.37.1", "v1.37", "37", "latest", "", "2.37"] {
            let error = text.parse::<KubernetesMinor>().expect_err(text);
            assert_eq!(
                error.to_string(),
                format!("unknown Kubernetes minor `{text}`: use one of 1.33, 1.34, 1.35, 1.36, 1.37")
            );
        }
    }

    #[test]
    fn versions_are_ordered_by_number_and_not_by_text() {
        let version = |text: &str| text.parse::<KubernetesVersion>().expect(text);
        assert!(version("1.37.2") < version("1.37.10"));
        assert!(version("1.9.10") < version("1.37.0"));
        assert!(version("1.36.3").is_of(KubernetesMinor(36)));
        assert!(!version("1.3.6").is_of(KubernetesMinor(36)));
        assert_eq!(version("1.37.10").to_string(), "1.37.10");
    }

    #[test]
    fn pre_releases_and_malformed_versions_are_no_versions() {
        for text in
            ["1.37", "v1.37.1", "1.37.0-rc.1", "1.37.01", "1.37.1.0", "2.0.0", "1..1", "1.37.", "1.99999999999.0"]
        {
            assert!(text.parse::<KubernetesVersion>().is_err(), "{text}");
        }
    }
}
