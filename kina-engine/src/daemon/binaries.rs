//! The assets, found once for all clients that want the same, with progress reported to each of them. They are looked
//! for anew if they have been removed or replaced since.

use std::collections::HashMap;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};

use tokio::sync::{OnceCell, mpsc, watch};

use super::boot::SlotSpec;
use crate::assets::{self, AssetRequest, Assets, AssetsError, KubernetesMinor, Platform};
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
    result: OnceCell<Found>,
    progress: watch::Sender<String>,
}

#[derive(Clone)]
struct Found {
    assets: Assets,
    stamp: String,
}

impl Binaries {
    /// For clusters of the provider `provider`, which has these capabilities.
    pub(super) fn new(cache_directory: PathBuf, provider: ProviderName, capabilities: &Capabilities) -> Self {
        let (profiles, platform) = (capabilities.profiles, capabilities.binaries_platform.clone());
        Self { cache_directory, provider, profiles, platform, searches: Mutex::new(HashMap::new()) }
    }

    /// The programs of a client's cluster. `steps` receives progress, as long as this waits.
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
            let search = searches.entry(key).or_default();
            if search.result.get().is_some_and(|found| !found.is_current()) {
                *search = Arc::default();
            }
            Arc::clone(search)
        };
        let Found { assets, .. } = self.run(&search, minor, request, steps).await?;
        let spec = SlotSpec { assets: assets.clone(), profile, kubernetes: request.kubernetes.clone() };
        // A version that was asked for by name is checked at boot, so it is part of the kind.
        let named = request.kubernetes.as_deref().unwrap_or("any");
        Ok((SlotKey(format!("{profile}/{}/{named}", assets.identity).into()), Arc::new(spec)))
    }

    fn unsupported(&self, profile: Profile) -> Refusal {
        let able: Vec<String> = self.profiles.iter().map(|profile| format!("`{profile}`")).collect();
        user_error(format!(
            "clusters of the provider `{}` have no profile `{profile}`, only {}: ask for that, or for the provider `{}`",
            self.provider,
            able.join(" and "),
            ProviderName::default()
        ))
    }

    async fn run(
        &self,
        search: &Arc<Search>,
        minor: KubernetesMinor,
        request: &AcquireRequest,
        steps: mpsc::Sender<String>,
    ) -> Result<Found, Refusal> {
        if let Some(found) = search.result.get() {
            return Ok(found.clone());
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
            let found = tokio::task::spawn_blocking(move || -> Result<_, AssetsError> {
                let assets = assets::provide(&asset_request, &|step| drop(teller.progress.send_replace(step.text)))?;
                // A later client looks for programs that are gone by now.
                let stamp = assets.stamp().unwrap_or_default();
                Ok(Found { assets, stamp })
            });
            match found.await {
                Ok(Ok(found)) => Ok(found),
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

impl Found {
    /// Returns true if the programs are the same as when they were found. Asks the file system a few short questions,
    /// no more.
    fn is_current(&self) -> bool {
        self.assets.stamp().is_ok_and(|stamp| stamp == self.stamp)
    }
}

impl Default for Search {
    fn default() -> Self {
        Self { result: OnceCell::new(), progress: watch::Sender::new(String::new()) }
    }
}

fn user_error(message: String) -> Refusal {
    Refusal { kind: RefusalKind::User, message }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use super::*;

    fn capabilities(profiles: &'static [Profile]) -> Capabilities {
        Capabilities { profiles, ..Capabilities::for_tests() }
    }

    #[tokio::test]
    async fn a_profile_that_the_provider_does_not_have_is_the_users_to_change() {
        let binaries = Binaries::new("/none".into(), ProviderName::Apple, &capabilities(&[Profile::Api]));
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

    #[tokio::test]
    async fn binaries_that_were_replaced_are_others_and_those_that_went_are_missed() {
        let directory = tempfile::tempdir().expect("a temporary directory");
        let put = |name: &str, content: &str| {
            let path = directory.path().join(name);
            std::fs::write(&path, content).expect("written");
            std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o755)).expect("set");
        };
        put("kube-apiserver", "binary");
        put("etcd", "binary");
        let binaries = Binaries::new("/none".into(), ProviderName::Process, &capabilities(&[Profile::Api]));
        let assets_directory = Some(directory.path().to_owned());
        let request = AcquireRequest { assets_directory, ..AcquireRequest::default() };
        let (steps, _kept) = mpsc::channel(16);
        let find = || binaries.find(&request, steps.clone());
        let (first, _) = find().await.expect("they are there");
        assert_eq!(find().await.expect("they are there").0, first);
        put("etcd", "another binary");
        let (second, _) = find().await.expect("they are there");
        assert_ne!(second, first, "clusters of the one are not those of the other");
        std::fs::remove_file(directory.path().join("etcd")).expect("removed");
        let refusal = find().await.expect_err("one is missing");
        assert_eq!(refusal.kind, RefusalKind::User, "{refusal:?}");
        assert!(refusal.message.contains("`etcd` is missing"), "{refusal:?}");
        put("etcd", "binary");
        find().await.expect("it is there again");
    }
}
