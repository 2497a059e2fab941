//! The canaries of one pass of a rewind: proof that informers which decide about requests have followed it.

use std::collections::BTreeSet;

use super::RewindError;
use super::in_force::AccessCanary;
use super::namespace_canary::NamespaceCanary;
use super::resource::{ApiPaths, StorageResource};
use super::settle;
use crate::api_client::ApiClient;
use crate::etcd::{EtcdClient, WriteOperation};

/// The canaries that the resources of a pass need: often none.
pub(super) struct Canaries {
    access: Vec<AccessCanary>,
    namespace: Option<NamespaceCanary>,
    id: String,
}

/// The cluster whose caches are waited for.
pub(super) struct Followed<'a> {
    pub(super) etcd: &'a EtcdClient,
    pub(super) api: &'a ApiClient,
    pub(super) api_paths: &'a ApiPaths,
}

impl Canaries {
    /// The canaries of a pass that needs no proof.
    pub(super) fn none() -> Self {
        Self { access: Vec::new(), namespace: None, id: String::new() }
    }

    /// The canaries of a rewind that touched these resources. `id` differs each time.
    pub(super) fn of_touched(touched: &BTreeSet<StorageResource>, id: String) -> Self {
        let access = AccessCanary::of_touched(touched);
        Self { access, namespace: NamespaceCanary::of_touched(touched, &id), id }
    }

    /// The writes that set them out, to be made behind the last event of their resources.
    pub(super) fn puts(&self) -> Vec<WriteOperation> {
        let access = self.access.iter().flat_map(|canary| canary.puts(&self.id));
        access.chain(self.namespace.as_ref().map(NamespaceCanary::put)).collect()
    }

    /// The writes that take them away.
    fn deletions(&self) -> Vec<WriteOperation> {
        let access = self.access.iter().flat_map(|canary| canary.deletions());
        access.chain(self.namespace.as_ref().map(NamespaceCanary::deletion)).collect()
    }

    /// Their resources.
    fn resources(&self) -> BTreeSet<StorageResource> {
        self.deletions().iter().filter_map(|operation| StorageResource::of_key(operation.key())).collect()
    }

    /// Waits until watch caches have come to `revision` and informers know the canaries, takes the canaries away, and
    /// waits until lists know that too.
    ///
    /// The caches come first, because the API server itself waits for them: asking for canaries in vain would only take
    /// the processor time that following needs. The caches of the canaries themselves are waited for once, at the end.
    pub(super) async fn follow_caches(
        &self,
        cluster: &Followed<'_>,
        touched: &BTreeSet<StorageResource>,
        revision: i64,
    ) -> Result<(), RewindError> {
        let Followed { etcd, api, api_paths } = cluster;
        let resources = self.resources();
        let others = touched.difference(&resources).cloned().collect();
        settle::wait_caches(api, api_paths, &others, revision).await?;
        if resources.is_empty() {
            return Ok(());
        }
        let known = self.wait_known(api).await;
        // They go even if they were not seen.
        let transactions = etcd.write(&self.deletions()).await?;
        known?;
        let revision = transactions.last().map_or(0, |(_, revision)| *revision);
        settle::wait_caches(api, api_paths, &resources, revision).await
    }

    async fn wait_known(&self, api: &ApiClient) -> Result<(), RewindError> {
        for canary in &self.access {
            canary.wait(api, &self.id).await?;
        }
        match &self.namespace {
            Some(canary) => canary.wait(api).await,
            None => Ok(()),
        }
    }
}
