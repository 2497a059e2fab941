//! Findings about this machine and its providers, for `cargo kina doctor`.

pub use crate::journal::count_left;
pub use crate::provider::apple::{
    AppleProvider, AppleSettings, ClusterImage, ContainerCount, ContainerError, ContainerErrorKind, DiskUsage,
    Examination, Inside, PROGRAM_VARIABLE, find_program,
};
pub use crate::provider::process::MEMORY_PER_CLUSTER_BYTES;
pub use crate::provider::{Capabilities, Provider, ProviderError};
