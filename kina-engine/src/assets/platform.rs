//! The operating system and processor that a set of binaries is for.

use std::fmt;

/// An operating system and a processor, named as Kubernetes releases name them.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Platform {
    /// The operating system: `linux` or `darwin`.
    pub os: String,
    /// The processor: `amd64`, `arm64`, …
    pub arch: String,
}

impl Platform {
    /// The platform that kina itself was built for.
    pub fn host() -> Self {
        let os = match std::env::consts::OS {
            "macos" => "darwin",
            other => other,
        };
        let arch = match std::env::consts::ARCH {
            "x86_64" => "amd64",
            "aarch64" => "arm64",
            "powerpc64" => "ppc64le",
            other => other,
        };
        Self { os: os.to_owned(), arch: arch.to_owned() }
    }
}

impl fmt::Display for Platform {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "{}-{}", self.os, self.arch)
    }
}
