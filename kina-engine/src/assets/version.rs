//! Exact versions of Kubernetes.

use std::fmt;
use std::str::FromStr;

use crate::kubernetes_minor::{KubernetesMinor, parse_number};

/// An exact, released Kubernetes version, such as `1.37.1`, as a set of binaries has it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct KubernetesVersion {
    minor: u32,
    patch: u32,
}

/// A text that is not a released Kubernetes version.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("`{text}` is no Kubernetes version: write it as `1.MINOR.PATCH`, without a leading `v`")]
pub struct InvalidVersion {
    text: String,
}

impl KubernetesVersion {
    /// The version `1.MINOR.PATCH`.
    pub const fn new(minor: KubernetesMinor, patch: u32) -> Self {
        Self { minor: minor.number(), patch }
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
        self.minor == minor.number()
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

impl fmt::Display for KubernetesVersion {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "1.{}.{}", self.minor, self.patch)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn versions_are_ordered_by_number_and_not_by_text() {
        let version = |text: &str| text.parse::<KubernetesVersion>().expect(text);
        let minor = "1.36".parse().expect("a known minor");
        assert!(version("1.37.2") < version("1.37.10"));
        assert!(version("1.9.10") < version("1.37.0"));
        assert!(version("1.36.3").is_of(minor));
        assert!(!version("1.3.6").is_of(minor));
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
