//! The binaries for commands that make clusters themselves.

use std::path::PathBuf;

use kina_engine::{AssetRequest, Assets, EnginePaths, KubernetesMinor, Platform, ProviderName};

use super::output::print_progress;

/// The binaries that the user's tests would use, for a private engine with a cache of its own.
pub async fn find_binaries() -> anyhow::Result<Assets> {
    find_binaries_for(Platform::host()).await
}

/// The same, for clusters that run on `platform`.
pub async fn find_binaries_for(platform: Platform) -> anyhow::Result<Assets> {
    let user_paths = EnginePaths::from_environment(ProviderName::default())?;
    let mut request = AssetRequest::from_environment(KubernetesMinor::DEFAULT, user_paths.cache_directory, &|name| {
        std::env::var_os(name)
    });
    request.explicit_directory = std::env::var_os("KINA_ASSETS_DIR").map(PathBuf::from);
    let request = request.for_platform(platform);
    let assets = tokio::task::spawn_blocking(move || {
        kina_engine::provide_assets(&request, &|progress| print_progress(&progress.text))
    })
    .await??;
    Ok(assets)
}
