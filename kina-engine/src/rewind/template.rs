//! The additions of a template to the baseline of every cluster of its kind.

use std::collections::BTreeSet;
use std::io;
use std::path::Path;
use std::sync::OnceLock;

use super::Fingerprint;
use super::resource::StorageResource;
use super::sorted_keys::SortedKeys;
use super::value_file::{ValueFile, ValuePlace, ValueWriter};
use crate::etcd::{PackedKeys, StoredKey};
use crate::rule_kind::RuleKind;

/// The difference between the baseline of a bare cluster and that of a template: shared by all slots that have it. Keys
/// and hashes are in memory, values on disk.
#[derive(Debug)]
pub(crate) struct Template {
    name: String,
    keys: SortedKeys,
    /// Of each key, in order.
    places: Vec<ValuePlace>,
    values: ValueFile,
    /// Keys of the bare baseline that the template does not have.
    removed: PackedKeys,
    /// The objects that controllers make in each cluster for itself, beside these keys: copies of its authority.
    root_certificates: BTreeSet<Vec<u8>>,
    /// The number of its keys that are CRDs or APIServices.
    definitions: usize,
    /// The kinds of rules that it brings.
    rule_kinds: BTreeSet<RuleKind>,
    discovery_etag: String,
    /// The hash of OpenAPI with this template: it lags, so the first slot that has the template finds it out.
    openapi_index_hash: OnceLock<String>,
}

/// Records a template as it is read.
pub(crate) struct TemplateWriter {
    root_certificates: BTreeSet<Vec<u8>>,
    keys: SortedKeys,
    places: Vec<ValuePlace>,
    values: ValueWriter,
}

/// A template on a slot.
#[derive(Debug)]
pub(super) struct Overlay {
    pub(super) template: std::sync::Arc<Template>,
    /// Of each key, the revision at which it was last seen to have its value; 0 for never.
    pub(super) revisions: Vec<i64>,
}

impl TemplateWriter {
    /// Begins. Values go to a file in `directory` that no other process sees.
    ///
    /// # Errors
    /// If that file cannot be made.
    pub(crate) fn create(directory: &Path) -> io::Result<Self> {
        let (root_certificates, keys, places) = (BTreeSet::new(), SortedKeys::default(), Vec::new());
        Ok(Self { root_certificates, keys, places, values: ValueWriter::create(directory)? })
    }

    /// Takes the next key, in their order.
    ///
    /// # Errors
    /// If the value cannot be written, or the key is out of order.
    pub(crate) fn add(&mut self, key: &[u8], value: &[u8]) -> io::Result<()> {
        self.keys.push(key)?;
        self.places.push(self.values.append(value)?);
        Ok(())
    }

    /// The keys that it has by now.
    pub(super) fn keys(&self) -> impl Iterator<Item = Vec<u8>> {
        self.keys.iter()
    }

    /// Notes a key that controllers make in each cluster for itself.
    pub(crate) fn leave_out(&mut self, key: &[u8]) {
        self.root_certificates.insert(key.to_vec());
    }

    /// Ends.
    ///
    /// # Errors
    /// If the values cannot be written.
    pub(crate) fn finish(self, name: String, removed: PackedKeys, discovery_etag: String) -> io::Result<Template> {
        let Self { root_certificates, mut keys, mut places, values } = self;
        keys.shrink_to_fit();
        places.shrink_to_fit();
        let shapes = |key: &[u8]| StorageResource::of_key(key).is_some_and(|resource| resource.shapes_discovery());
        let definitions = keys.iter().filter(|key| shapes(key)).count();
        let resources = keys.iter().filter_map(|key| StorageResource::of_key(&key));
        let rule_kinds = resources.filter_map(|resource| RuleKind::of_stored(resource.as_str())).collect();
        Ok(Template {
            name,
            definitions,
            rule_kinds,
            keys,
            places,
            values: values.finish()?,
            removed,
            root_certificates,
            discovery_etag,
            openapi_index_hash: OnceLock::new(),
        })
    }
}

impl Template {
    /// The hash of its content.
    pub(crate) fn name(&self) -> &str {
        &self.name
    }

    /// The number of its keys.
    pub(crate) fn key_count(&self) -> usize {
        self.keys.len()
    }

    /// Keys of the bare baseline that it does not have, sorted.
    pub(crate) fn removed(&self) -> impl Iterator<Item = &[u8]> {
        self.removed.iter()
    }

    /// The objects that controllers make in each cluster for itself.
    pub(crate) fn root_certificates(&self) -> &BTreeSet<Vec<u8>> {
        &self.root_certificates
    }

    /// Discovery's hash with it.
    pub(crate) fn discovery_etag(&self) -> &str {
        &self.discovery_etag
    }

    /// The lengths of each key and its value.
    pub(crate) fn lengths(&self) -> Vec<(usize, usize)> {
        self.keys.iter().zip(&self.places).map(|(key, place)| (key.len(), place.value_bytes())).collect()
    }

    /// All of its keys with their values.
    ///
    /// # Errors
    /// If a value cannot be read.
    pub(crate) fn read_all(&self) -> impl Iterator<Item = io::Result<StoredKey>> {
        self.keys.iter().zip(&self.places).map(|(key, place)| {
            let value = self.values.read(*place)?;
            Ok(StoredKey { key, value, mod_revision: 0, lease: 0 })
        })
    }

    /// Discovery and OpenAPI of an API server with this template; without the hash of OpenAPI as long as it is unknown.
    pub(super) fn fingerprint(&self) -> Fingerprint {
        let openapi_index_hash = self.openapi_index_hash.get().cloned().unwrap_or_default();
        Fingerprint { discovery_etag: self.discovery_etag.clone(), openapi_index_hash }
    }

    /// Notes the hash of OpenAPI with it.
    pub(super) fn learn_openapi(&self, index_hash: String) {
        // Any later caller has seen the same.
        let _ = self.openapi_index_hash.set(index_hash);
    }

    /// The kinds of rules that it brings.
    pub(super) fn rule_kinds(&self) -> &BTreeSet<RuleKind> {
        &self.rule_kinds
    }

    /// The number of CRDs and APIServices that it brings.
    pub(super) fn definitions(&self) -> usize {
        self.definitions
    }
}

impl Overlay {
    /// A template on a slot whose state is unknown.
    pub(super) fn new(template: std::sync::Arc<Template>) -> Self {
        let revisions = vec![0; template.key_count()];
        Self { template, revisions }
    }

    pub(super) fn find(&self, key: &[u8]) -> Option<usize> {
        self.template.keys.find(key)
    }

    pub(super) fn removes(&self, key: &[u8]) -> bool {
        self.template.removed.find(key).is_some()
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = (Vec<u8>, i64)> {
        self.template.keys.iter().zip(self.revisions.iter().copied())
    }

    /// The value of the key at this place.
    ///
    /// # Errors
    /// If it cannot be read from disk or is not as it was written.
    pub(super) fn value(&self, index: usize) -> io::Result<Vec<u8>> {
        self.template.values.read(self.template.places[index])
    }
}
