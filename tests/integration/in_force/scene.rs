//! An engine of its own, for leases on templates.

use std::sync::Arc;

use anyhow::Context;
use kina_engine::{
    AcquireRequest, ClientError, EngineClient, FixtureOverlay, FixtureSet, FixtureSource, Lease, Profile,
};

use crate::common;
use crate::common::cache::empty_cache;
use crate::common::children::Realm;

pub struct Scene {
    pub realm: Arc<Realm>,
    /// The directory of its templates: no test finds one of another.
    _cache: tempfile::TempDir,
    client: EngineClient,
}

impl Scene {
    pub fn new(slots: usize) -> anyhow::Result<Self> {
        let cache = empty_cache();
        let realm = realm(&cache, slots)?;
        let client = realm.client();
        realm.run_well("in_force::visitor");
        Ok(Self { realm: Arc::new(realm), _cache: cache, client })
    }

    /// A lease on the template of this text.
    pub async fn lease(&self, text: &str, profile: Profile) -> Result<Lease, ClientError> {
        let source = FixtureSource { name: "rules.yaml".to_owned(), text: text.to_owned() };
        let set = FixtureSet { overlays: vec![FixtureOverlay { name: "test".to_owned(), sources: vec![source] }] };
        let assets_directory =
            common::untouched::assets().expect("found before").kube_apiserver.parent().map(Into::into);
        let request = AcquireRequest {
            test: "in_force".to_owned(),
            timeout_ms: 120_000,
            assets_directory,
            profile,
            template: Some(set.hash()),
            ..AcquireRequest::default()
        };
        self.client.acquire_from(request, &set, &|_| {}).await
    }
}

/// The directory of an engine of its own, which the visitor starts.
pub fn realm(cache: &tempfile::TempDir, slots: usize) -> anyhow::Result<Realm> {
    let assets = common::untouched::assets()?;
    let assets = assets.kube_apiserver.parent().context("the binaries have a directory")?.to_owned();
    let realm = Realm::new().with("KINA_CACHE_DIR", cache.path()).with("KINA_ASSETS_DIR", assets);
    Ok(realm.with("KINA_SLOTS_MAX", slots.to_string()))
}

pub fn client(lease: &Lease) -> anyhow::Result<(kube::Client, kube::Config)> {
    let config = kina::__private::config_of_lease(&lease.grant)?;
    Ok((kube::Client::try_from(config.clone())?, config))
}
