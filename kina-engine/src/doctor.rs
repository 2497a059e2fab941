//! Findings about this machine and its providers, for `cargo kina doctor`.

pub use crate::journal::count_left;
#[cfg(any(feature = "apple", target_os = "macos"))]
pub use crate::provider::apple::{
    AppleError, AppleProvider, AppleSettings, ClusterImage, ContainerCount, ContainerError, ContainerErrorKind,
    DiskUsage, Examination, Inside, PROGRAM_VARIABLE, find_program,
};
pub use crate::provider::process::MEMORY_PER_CLUSTER_BYTES;
pub use crate::provider::{Capabilities, Provider, ProviderError, binaries_platform, program_variable};
