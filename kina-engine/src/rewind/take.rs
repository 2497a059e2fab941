//! Taking a template from a slot: a lease's changes to a bare cluster.

use std::path::Path;

use super::baseline::Baseline;
use super::server_owned::{ServerOwned, is_root_certificate};
use super::template::{Template, TemplateWriter};
use super::{ExpectedKeys, PREFIX, RewindError};
use crate::etcd::{EtcdClient, PackedKeys};

/// The difference between a state and the bare baseline, at one revision.
pub(super) struct Taken {
    writer: TemplateWriter,
    revisions: Vec<i64>,
    removed: PackedKeys,
    /// The store's revision.
    pub(super) revision: i64,
    /// The number of keys in the store, of all owners.
    pub(super) key_count: i64,
}

/// Reads the keys that differ now. Values go to a file in `directory`.
pub(super) async fn read(etcd: &EtcdClient, baseline: &Baseline, directory: &Path) -> Result<Taken, RewindError> {
    let writer = TemplateWriter::create(directory).map_err(RewindError::KeepTemplate)?;
    let mut taken = Taken { writer, revisions: Vec::new(), removed: PackedKeys::default(), revision: 0, key_count: 0 };
    let mut bare = baseline.iter_bare().peekable();
    let mut pages = etcd.pages(PREFIX);
    while let Some(page) = pages.next().await? {
        for stored in page {
            taken.key_count += 1;
            // Events are on an etcd lease, and vanish by themselves.
            if stored.lease != 0 || baseline.server_owned.contains(&stored.key) {
                continue;
            }
            // Both sides are sorted by key.
            while let Some((key, _)) = bare.next_if(|(key, _)| *key < stored.key) {
                taken.removed.push(&key);
            }
            let known = bare.next_if(|(key, _)| *key == stored.key);
            if known.is_none() && is_root_certificate(&stored.key) {
                taken.writer.leave_out(&stored.key);
            } else if known.is_none_or(|(_, mod_revision)| mod_revision != stored.mod_revision) {
                taken.writer.add(&stored.key, &stored.value).map_err(RewindError::KeepTemplate)?;
                taken.revisions.push(stored.mod_revision);
                // A large value takes a millisecond to hash and to write; other tasks run in between.
                tokio::task::yield_now().await;
            }
        }
    }
    bare.for_each(|(key, _)| taken.removed.push(&key));
    taken.revision = pages.revision();
    Ok(taken)
}

impl Taken {
    /// A key that differs and belongs to none of the objects that were applied.
    pub(super) fn intruder(&self, expected: &ExpectedKeys, server_owned: &ServerOwned) -> Option<String> {
        let added = self.writer.keys().find(|key| !expected.allows(key));
        let removed = self.removed.iter().find(|key| !server_owned.contains(key));
        let found = added.or_else(|| removed.map(<[u8]>::to_vec))?;
        Some(String::from_utf8_lossy(&found).into_owned())
    }

    /// The template, and the revision of each of its keys.
    pub(super) fn finish(self, name: String, discovery_etag: String) -> Result<(Template, Vec<i64>), RewindError> {
        let template = self.writer.finish(name, self.removed, discovery_etag).map_err(RewindError::KeepTemplate)?;
        Ok((template, self.revisions))
    }
}
