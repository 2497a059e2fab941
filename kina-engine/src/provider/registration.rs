use std::sync::Arc;

use super::{Provider, ProviderFuture};
use crate::assets::Platform;
use crate::journal::Journal;
use crate::paths::EnginePaths;
use crate::settings::EngineSettings;

/// The entry of a provider, which its module defines.
pub(super) struct Registration {
    /// Returns the platform that the binaries of its clusters must have been built for.
    pub(super) binaries_platform: fn() -> Platform,
    /// The variable that names the program that makes its clusters; `None` if the engine itself makes them.
    #[cfg_attr(not(feature = "lab"), allow(dead_code, reason = "asked by the laboratory alone"))]
    pub(super) program_variable: Option<&'static str>,
    /// Makes the provider, and has it remove the remains of earlier engines' clusters.
    pub(super) connect: for<'a> fn(EngineParts<'a>) -> ProviderFuture<'a, Arc<dyn Provider>>,
}

/// The parts of an engine that its provider needs.
pub struct EngineParts<'a> {
    /// The places of its files.
    pub paths: &'a EnginePaths,
    /// Its settings.
    #[cfg_attr(
        not(any(feature = "apple", target_os = "macos")),
        expect(dead_code, reason = "of the providers so far, only `apple` can be set up")
    )]
    pub settings: &'a EngineSettings,
    /// The record of the processes that it starts.
    pub journal: Arc<Journal>,
}
