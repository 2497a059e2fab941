use std::io;
use std::path::Path;
use std::sync::Arc;

use super::ServerOwned;
use super::fingerprint::Fingerprint;
use super::sorted_keys::SortedKeys;
use super::template::{Overlay, Template};
use super::value_file::{ValueFile, ValuePlace, ValueWriter};
use crate::etcd::StoredKey;

/// The exact stored state that the next lease of a slot starts from: that of every cluster of its kind, and the
/// additions of a template. Keys, revisions and hashes are in memory, some 50 bytes for each key; values are on disk.
#[derive(Debug)]
pub(crate) struct Baseline {
    keys: SortedKeys,
    /// Of each key, in order.
    entries: Vec<Entry>,
    values: ValueFile,
    /// Keys that are left alone.
    pub(super) server_owned: ServerOwned,
    /// Discovery and OpenAPI without a template.
    bare_fingerprint: Fingerprint,
    overlay: Option<Overlay>,
}

/// Records a state as it is read.
pub(crate) struct BaselineWriter {
    keys: SortedKeys,
    entries: Vec<Entry>,
    values: ValueWriter,
    server_owned: ServerOwned,
}

/// One key's value, and the revision at which it was last seen to have that value.
#[derive(Clone, Copy, Debug)]
struct Entry {
    mod_revision: i64,
    value: ValuePlace,
}

impl BaselineWriter {
    /// Begins, for a cluster whose API server sees `host_name` as the name of its host. Values go to a file in
    /// `directory` that no other process sees.
    ///
    /// # Errors
    /// If that file cannot be made.
    pub(crate) fn create(directory: &Path, host_name: &[u8]) -> io::Result<Self> {
        let (keys, entries) = (SortedKeys::default(), Vec::new());
        let server_owned = ServerOwned::of_host(host_name);
        Ok(Self { keys, entries, values: ValueWriter::create(directory)?, server_owned })
    }

    /// Takes the next keys, in their order. Keys on an etcd lease (events) vanish by themselves, so they are no part of
    /// a baseline.
    ///
    /// # Errors
    /// If a value cannot be written, or a key is out of order.
    pub(crate) fn add(&mut self, stored_keys: &[StoredKey]) -> io::Result<()> {
        for stored in stored_keys {
            self.server_owned.learn(&stored.key);
            if stored.lease != 0 || self.server_owned.contains(&stored.key) {
                continue;
            }
            self.keys.push(&stored.key)?;
            let value = self.values.append(&stored.value)?;
            self.entries.push(Entry { mod_revision: stored.mod_revision, value });
        }
        Ok(())
    }

    /// Ends. `fingerprint` is that of the API server in this state.
    ///
    /// # Errors
    /// If the values cannot be written.
    pub(crate) fn finish(self, fingerprint: Fingerprint) -> io::Result<Baseline> {
        let Self { mut keys, mut entries, values, server_owned } = self;
        keys.shrink_to_fit();
        entries.shrink_to_fit();
        let values = values.finish()?;
        Ok(Baseline { keys, entries, values, server_owned, bare_fingerprint: fingerprint, overlay: None })
    }
}

impl Baseline {
    /// Each key with the revision at which it was last seen to have its value, sorted.
    pub(super) fn iter(&self) -> impl Iterator<Item = (Vec<u8>, i64)> {
        let mut template = self.overlay.iter().flat_map(Overlay::iter).peekable();
        let mut bare = self.iter_bare().filter(|(key, _)| !self.is_removed(key)).peekable();
        std::iter::from_fn(move || match (template.peek(), bare.peek()) {
            (Some((key, _)), Some((bare_key, _))) if bare_key < key => bare.next(),
            (Some((key, _)), Some((bare_key, _))) => {
                // The template's value instead of the bare baseline's.
                if key == bare_key {
                    bare.next();
                }
                template.next()
            }
            (Some(_), None) => template.next(),
            (None, _) => bare.next(),
        })
    }

    /// Each key without a template, with the revision at which it was last seen to have its value, sorted.
    pub(super) fn iter_bare(&self) -> impl Iterator<Item = (Vec<u8>, i64)> {
        self.keys.iter().zip(self.entries.iter().map(|entry| entry.mod_revision))
    }

    /// The slot's additions to the state of every cluster of its kind.
    pub(super) fn template(&self) -> Option<&Arc<Template>> {
        self.overlay.as_ref().map(|overlay| &overlay.template)
    }

    /// Becomes the baseline of another template.
    pub(super) fn set_template(&mut self, template: Option<Arc<Template>>) {
        self.overlay = template.map(Overlay::new);
        self.count_root_certificates(false);
    }

    /// Notes that the slot is at this template, with its keys at these revisions.
    pub(super) fn adopt(&mut self, template: Arc<Template>, revisions: Vec<i64>) {
        self.overlay = Some(Overlay { template, revisions });
        self.count_root_certificates(true);
    }

    /// Makes the objects that controllers make in each cluster for itself part of the state, or not: they are after the
    /// controllers were started, so that each rewind removes a lease's changes to them.
    pub(super) fn count_root_certificates(&mut self, counts: bool) {
        let keys = self.template().filter(|_| counts).map(|template| template.root_certificates().clone());
        self.server_owned.set_root_certificates(keys.unwrap_or_default());
    }

    /// Discovery and OpenAPI in this state.
    pub(super) fn fingerprint(&self) -> Fingerprint {
        self.template().map_or_else(|| self.bare_fingerprint.clone(), |template| template.fingerprint())
    }

    fn is_removed(&self, key: &[u8]) -> bool {
        self.overlay.as_ref().is_some_and(|overlay| overlay.removes(key))
    }

    /// The value of one of its keys.
    ///
    /// # Errors
    /// If it cannot be read from disk or is not as it was written, and if there is no such key.
    pub(super) fn value(&self, key: &[u8]) -> io::Result<Vec<u8>> {
        if let Some(overlay) = &self.overlay
            && let Some(index) = overlay.find(key)
        {
            return overlay.value(index);
        }
        let index = self.keys.find(key).filter(|_| !self.is_removed(key)).ok_or(io::ErrorKind::NotFound)?;
        self.values.read(self.entries[index].value)
    }

    /// Notes that a key was seen with its value at this revision.
    pub(super) fn set_revision(&mut self, key: &[u8], mod_revision: i64) {
        if let Some(overlay) = &mut self.overlay
            && let Some(index) = overlay.find(key)
        {
            overlay.revisions[index] = mod_revision;
        } else if let Some(index) = self.keys.find(key) {
            self.entries[index].mod_revision = mod_revision;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn stored(key: &str, lease: i64) -> StoredKey {
        let value = format!("value of {key}").into_bytes();
        StoredKey { key: key.as_bytes().to_vec(), value, mod_revision: 3, lease }
    }

    fn fingerprint() -> Fingerprint {
        Fingerprint { discovery_etag: String::new(), openapi_index_hash: String::new() }
    }

    #[test]
    fn what_was_taken_down_is_found_again() {
        let directory = tempfile::tempdir().expect("a temporary directory");
        let mut writer = BaselineWriter::create(directory.path(), b"host").expect("begun");
        let keys: Vec<_> = (0..1000).map(|number| format!("/registry/configmaps/default/{number:04}")).collect();
        for page in keys.chunks(300) {
            writer.add(&page.iter().map(|key| stored(key, 0)).collect::<Vec<_>>()).expect("added");
        }
        writer.add(&[stored("/registry/events/default/a", 7)]).expect("added");
        writer.add(&[stored("/registry/masterleases/127.0.0.1", 0)]).expect("added");
        let mut baseline = writer.finish(fingerprint()).expect("finished");
        baseline.set_revision(keys[500].as_bytes(), 9);
        baseline.set_revision(b"/registry/configmaps/default/unknown", 9);
        let expected: Vec<_> =
            keys.iter().map(|key| (key.clone().into_bytes(), if *key == keys[500] { 9 } else { 3 })).collect();
        assert!(baseline.iter().eq(expected));
        for key in &keys {
            assert_eq!(baseline.value(key.as_bytes()).expect("read"), format!("value of {key}").as_bytes());
        }
        for key in ["", "/registry/configmaps/default/0500x", "/registry/events/default/a", "~"] {
            assert_eq!(baseline.value(key.as_bytes()).expect_err("unknown").kind(), io::ErrorKind::NotFound);
        }
    }

    #[test]
    fn keys_out_of_order_are_refused() {
        let directory = tempfile::tempdir().expect("a temporary directory");
        for second in ["/registry/configmaps/b/a", "/registry/configmaps/a/b"] {
            let mut writer = BaselineWriter::create(directory.path(), b"host").expect("begun");
            let keys = [stored("/registry/configmaps/b/a", 0), stored(second, 0)];
            assert_eq!(writer.add(&keys).expect_err("refused").kind(), io::ErrorKind::InvalidInput);
        }
    }
}
