//! The processors that an image can be for.

use std::fmt;
use std::str::FromStr;

use serde::Serialize;

use crate::assets::Platform;

/// A processor that an image is for, by its name in images.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Architecture {
    /// x86-64.
    Amd64,
    /// AArch64, the architecture of Apple's processors.
    Arm64,
}

/// A processor for which there are no images.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("kina makes no images for the processor `{text}`: use amd64 or arm64")]
pub struct UnknownArchitecture {
    text: String,
}

impl Architecture {
    /// The processor of this machine, which is also that of its virtual machines.
    ///
    /// # Errors
    /// If kina makes no images for it.
    pub fn host() -> Result<Self, UnknownArchitecture> {
        Platform::host().arch.parse()
    }

    /// The name in images, Kubernetes and Go.
    pub fn name(self) -> &'static str {
        match self {
            Self::Amd64 => "amd64",
            Self::Arm64 => "arm64",
        }
    }

    /// The platform that the binaries in an image are for: always Linux.
    pub fn platform(self) -> Platform {
        Platform { os: "linux".to_owned(), arch: self.name().to_owned() }
    }

    /// The target that Rust compiles static Linux programs for.
    pub(super) fn rust_target(self) -> &'static str {
        match self {
            Self::Amd64 => "x86_64-unknown-linux-musl",
            Self::Arm64 => "aarch64-unknown-linux-musl",
        }
    }
}

impl FromStr for Architecture {
    type Err = UnknownArchitecture;

    fn from_str(text: &str) -> Result<Self, UnknownArchitecture> {
        [Self::Amd64, Self::Arm64]
            .into_iter()
            .find(|architecture| architecture.name() == text)
            .ok_or_else(|| UnknownArchitecture { text: text.to_owned() })
    }
}

impl fmt::Display for Architecture {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(self.name())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_parsed_and_errors_list_the_known_ones() {
        for architecture in [Architecture::Amd64, Architecture::Arm64] {
            assert_eq!(architecture.name().parse(), Ok(architecture));
        }
        let error = "riscv64".parse::<Architecture>().expect_err("unknown");
        assert_eq!(error.to_string(), "kina makes no images for the processor `riscv64`: use amd64 or arm64");
    }
}
