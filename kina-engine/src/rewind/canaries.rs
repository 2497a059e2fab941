//! The canaries of one pass of a rewind: proof that informers which decide about requests have followed it.

use std::collections::BTreeSet;

use super::RewindError;
use super::in_force::AccessCanary;
use super::namespace_canary::NamespaceCanary;
use super::resource::StorageResource;
use super::rewinder::Rewinder;
use super::settle;
use crate::etcd::WriteOperation;

/// The canaries that the resources of a pass need: often none.
pub(super) struct Canaries {
    access: Vec<AccessCanary>,
    namespace: Option<NamespaceCanary>,
    id: String,
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
}

impl Rewinder {
    /// Waits until watch caches have come to `revision` and informers know the canaries, takes the canaries away, and
    /// waits until lists know that too.
    ///
    /// The caches come first, because the API server itself waits for them: asking for canaries in vain would only take
    /// the processor time that following needs. The caches of the canaries themselves are waited for once, at the end.
    pub(super) async fn follow_caches(
        &self,
        touched: &BTreeSet<StorageResource>,
        canaries: &Canaries,
        revision: i64,
    ) -> Result<(), RewindError> {
        let resources = canaries.resources();
        let others = touched.difference(&resources).cloned().collect();
        settle::wait_caches(&self.api, &self.api_paths, &others, revision).await?;
        if resources.is_empty() {
            return Ok(());
        }
        let known = self.wait_canaries(canaries).await;
        // They go even if they were not seen.
        let transactions = self.etcd.write(&canaries.deletions()).await?;
        known?;
        let revision = transactions.last().map_or(0, |(_, revision)| *revision);
        settle::wait_caches(&self.api, &self.api_paths, &resources, revision).await
    }

    async fn wait_canaries(&self, canaries: &Canaries) -> Result<(), RewindError> {
        for canary in &canaries.access {
            settle::wait_canary(&self.api, *canary, &canaries.id).await?;
        }
        match &canaries.namespace {
            Some(canary) => self.wait_namespace_canary(canary).await,
            None => Ok(()),
        }
    }
}
