//! The assets, found once for all clients who want the same, with the progress told to each of them.

use std::collections::HashMap;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};

use tokio::sync::{OnceCell, mpsc, watch};

use super::boot::SlotSpec;
use crate::assets::{self, AssetRequest, Assets, KubernetesMinor, Platform};
use crate::pool::SlotKey;
use crate::protocol::{AcquireRequest, Profile, Refusal, RefusalKind};
use crate::provider::Capabilities;
use crate::provider_name::ProviderName;

/// Finds assets.
pub(super) struct Binaries {
    cache_directory: PathBuf,
    provider: ProviderName,
    profiles: &'static [Profile],
    platform: Platform,
    searches: Mutex<HashMap<SearchKey, Arc<Search>>>,
}

#[derive(Clone, PartialEq, Eq, Hash)]
struct SearchKey {
    profile: Profile,
    kubernetes: Option<String>,
    assets_directory: Option<PathBuf>,
    kubebuilder_assets: Option<PathBuf>,
}

struct Search {
    result: OnceCell<Assets>,
    progress: watch::Sender<String>,
}

impl Binaries {
    /// For clusters of the provider `provider`, which can do this.
    pub(super) fn new(cache_directory: PathBuf, provider: ProviderName, capabilities: &Capabilities) -> Self {
        let (profiles, platform) = (capabilities.profiles, capabilities.binaries_platform.clone());
        Self { cache_directory, provider, profiles, platform, searches: Mutex::new(HashMap::new()) }
    }

    /// What a client's cluster is made from. `steps` are told what is being waited for, as long as this waits.
    pub(super) async fn find(
        &self,
        request: &AcquireRequest,
        steps: mpsc::Sender<String>,
    ) -> Result<(SlotKey, Arc<SlotSpec>), Refusal> {
        let minor = match &request.kubernetes {
            Some(minor) => minor.parse::<KubernetesMinor>().map_err(|error| user_error(error.to_string()))?,
            None => KubernetesMinor::DEFAULT,
        };
        let profile = request.profile;
        if !self.profiles.contains(&profile) {
            return Err(self.unsupported(profile));
        }
        let key = SearchKey {
            profile,
            kubernetes: request.kubernetes.clone(),
            assets_directory: request.assets_directory.clone(),
            kubebuilder_assets: request.kubebuilder_assets.clone(),
        };
        let search = {
            let mut searches = self.searches.lock().unwrap_or_else(PoisonError::into_inner);
            let new = || Arc::new(Search { result: OnceCell::new(), progress: watch::Sender::new(String::new()) });
            Arc::clone(searches.entry(key).or_insert_with(new))
        };
        let assets = self.run(&search, minor, request, steps).await?;
        let spec = SlotSpec { assets: assets.clone(), profile, kubernetes: request.kubernetes.clone() };
        // What was asked for by name is checked at boot, so it is part of the kind.
        let named = request.kubernetes.as_deref().unwrap_or("any");
        Ok((SlotKey(format!("{profile}/{}/{named}", assets.identity).into()), Arc::new(spec)))
    }

    fn unsupported(&self, profile: Profile) -> Refusal {
        let able: Vec<String> = self.profiles.iter().map(|profile| format!("`{profile}`")).collect();
        user_error(format!(
            "clusters of the provider `{}` have no profile `{profile}`, only {}: ask for that, or for the provider `{}`",
            self.provider,
            able.join(" and "),
            ProviderName::Process
        ))
    }

    async fn run(
        &self,
        search: &Arc<Search>,
        minor: KubernetesMinor,
        request: &AcquireRequest,
        steps: mpsc::Sender<String>,
    ) -> Result<Assets, Refusal> {
        if let Some(assets) = search.result.get() {
            return Ok(assets.clone());
        }
        let mut asset_request =
            AssetRequest::from_environment(minor, self.cache_directory.clone(), &|name| std::env::var_os(name));
        // These are the client's, not the engine's.
        asset_request.explicit_directory = request.assets_directory.clone();
        asset_request.kubebuilder_assets = request.kubebuilder_assets.clone();
        let asset_request =
            asset_request.for_platform(self.platform.clone()).for_controllers(request.profile == Profile::Controllers);
        let mut progressed = search.progress.subscribe();
        let found = search.result.get_or_try_init(async || {
            let teller = Arc::clone(search);
            // A task of its own: it goes on for others when the client that came first leaves.
            let found = tokio::task::spawn_blocking(move || {
                assets::provide(&asset_request, &|step| drop(teller.progress.send_replace(step.text)))
            });
            match found.await {
                Ok(Ok(assets)) => Ok(assets),
                Ok(Err(error)) => {
                    let kind = if error.is_user_error() { RefusalKind::User } else { RefusalKind::Engine };
                    Err(Refusal { kind, message: crate::error_text::with_causes(&error) })
                }
                Err(panic) => {
                    Err(Refusal { kind: RefusalKind::Engine, message: format!("bug: looking for binaries: {panic}") })
                }
            }
        });
        tokio::pin!(found);
        loop {
            tokio::select! {
                biased;
                found = &mut found => return found.cloned(),
                Ok(()) = progressed.changed() => {
                    let text = progressed.borrow_and_update().clone();
                    // The client may be gone; the search goes on for others.
                    let _ = steps.send(text).await;
                }
            }
        }
    }
}

fn user_error(message: String) -> Refusal {
    Refusal { kind: RefusalKind::User, message }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_profile_that_the_provider_does_not_have_is_the_users_to_change() {
        let capabilities = Capabilities {
            stop: true,
            freeze: false,
            parallel_boots_max: 1,
            memory_per_cluster_bytes: 1,
            publish: true,
            memory_returned_when_frozen: false,
            memory_returned_when_stopped: true,
            parallel_starts: false,
            binaries_platform: Platform::host(),
            profiles: &[Profile::Api],
            simulated: false,
        };
        let binaries = Binaries::new("/none".into(), ProviderName::Apple, &capabilities);
        let request = AcquireRequest { profile: Profile::Controllers, ..AcquireRequest::default() };
        let (steps, _) = mpsc::channel(1);
        let refusal = binaries.find(&request, steps).await.expect_err("no such profile");
        assert_eq!(refusal.kind, RefusalKind::User);
        assert_eq!(
            refusal.message,
            "clusters of the provider `apple` have no profile `controllers`, only `api`: ask for that, or for the provider \
             `process`"
        );
    }
}
