use std::collections::BTreeSet;

use super::Baseline;
use super::resource::StorageResource;
use crate::etcd::{KeyHead, WriteOperation};

/// The writes that turn a listed state into the baseline.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Plan {
    /// In the order in which watchers must see them. To be written first.
    pub(super) operations: Vec<WriteOperation>,
    /// The last operation of each touched resource, in the same order. To be written after all others, in one
    /// transaction: all events of a transaction share one revision, so a watch cache "at" that revision may have seen
    /// only the first of them. With one event of each resource in the last transaction it has seen all.
    pub(super) last_operations: Vec<WriteOperation>,
    /// Whose storage the writes touch.
    pub(super) touched: BTreeSet<StorageResource>,
}

impl Plan {
    /// Compares a listing with the baseline. A key counts as changed when its revision did, whatever its value.
    pub(super) fn new(baseline: &Baseline, heads: &[KeyHead]) -> Self {
        let mut deletions = Vec::new();
        let mut puts = Vec::new();
        let mut baseline_entries = baseline.entries.iter().peekable();
        // Both sides are sorted by key, so one pass over both finds what is new, what changed and what went.
        for head in heads.iter().filter(|head| !baseline.server_owned.contains(&head.key)) {
            while let Some((key, entry)) = baseline_entries.next_if(|(key, _)| **key < head.key) {
                puts.push((key, entry));
            }
            match baseline_entries.next_if(|(key, _)| **key == head.key) {
                Some((_, entry)) if entry.mod_revision == head.mod_revision => {}
                Some((key, entry)) => puts.push((key, entry)),
                None => deletions.push(&head.key),
            }
        }
        puts.extend(baseline_entries);

        let changed_keys = deletions.iter().copied().chain(puts.iter().map(|(key, _)| *key));
        let touched = changed_keys.filter_map(|key| StorageResource::of_key(key)).collect();
        deletions.sort_by_key(|key| DeletionOrder::of_key(key));
        let puts_at = deletions.partition_point(|key| DeletionOrder::of_key(key) == DeletionOrder::Admission);
        let delete = |key: &&Vec<u8>| WriteOperation::Delete { key: (*key).clone() };
        let mut operations: Vec<_> = deletions[..puts_at].iter().map(delete).collect();
        operations.extend(
            puts.iter().map(|(key, entry)| WriteOperation::Put { key: (*key).clone(), value: entry.value.clone() }),
        );
        operations.extend(deletions[puts_at..].iter().map(delete));
        let (operations, last_operations) = split_last_of_each_resource(operations);
        Self { operations, last_operations, touched }
    }

    pub(super) fn is_empty(&self) -> bool {
        self.key_count() == 0
    }

    pub(super) fn key_count(&self) -> usize {
        self.operations.len() + self.last_operations.len()
    }

    /// Whether it writes this key.
    pub(super) fn writes(&self, key: &[u8]) -> bool {
        self.operations.iter().chain(&self.last_operations).any(|operation| operation.key() == key)
    }

    /// A key that differs, for a message.
    pub(super) fn example(&self) -> String {
        let key = self.operations.first().or(self.last_operations.first()).map(WriteOperation::key);
        String::from_utf8_lossy(key.unwrap_or_default()).into_owned()
    }
}

fn split_last_of_each_resource(operations: Vec<WriteOperation>) -> (Vec<WriteOperation>, Vec<WriteOperation>) {
    let mut seen = BTreeSet::new();
    let is_last: Vec<bool> = operations
        .iter()
        .rev()
        .map(|operation| {
            // What decides about admission goes first; nobody waits for its cache, the API server is restarted.
            let resource = StorageResource::of_key(operation.key()).filter(|resource| !resource.is_admission());
            resource.is_some_and(|resource| seen.insert(resource))
        })
        .collect();
    let mut last = Vec::new();
    let mut others = Vec::new();
    for (operation, is_last) in operations.into_iter().zip(is_last.into_iter().rev()) {
        if is_last { last.push(operation) } else { others.push(operation) }
    }
    (others, last)
}

/// What has to go before what: nothing may block or recreate what follows it.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum DeletionOrder {
    /// Webhooks and policies could refuse the API server's own writes.
    Admission,
    /// Everything else, custom resources among it.
    Ordinary,
    /// A definition goes after its objects.
    CustomResourceDefinition,
    /// The API server registers a group for as long as its definition exists.
    ApiService,
}

impl DeletionOrder {
    fn of_key(key: &[u8]) -> Self {
        let Some(resource) = StorageResource::of_key(key) else { return Self::Ordinary };
        match resource.as_str() {
            "apiregistration.k8s.io/apiservices" => Self::ApiService,
            "apiextensions.k8s.io/customresourcedefinitions" => Self::CustomResourceDefinition,
            _ if resource.is_admission() => Self::Admission,
            _ => Self::Ordinary,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::etcd::StoredKey;
    use crate::rewind::Fingerprint;

    fn baseline(keys: &[(&str, i64)]) -> Baseline {
        let stored = keys
            .iter()
            .map(|(key, mod_revision)| StoredKey {
                key: key.as_bytes().to_vec(),
                value: key.as_bytes().to_vec(),
                mod_revision: *mod_revision,
                lease: 0,
            })
            .collect();
        let fingerprint = Fingerprint { discovery_etag: String::new(), openapi_index_hash: String::new() };
        Baseline::new(stored, fingerprint)
    }

    fn heads(keys: &[(&str, i64)]) -> Vec<KeyHead> {
        keys.iter()
            .map(|(key, mod_revision)| KeyHead { key: key.as_bytes().to_vec(), mod_revision: *mod_revision })
            .collect()
    }

    fn described(plan: &Plan) -> Vec<String> {
        let describe = |operation: &WriteOperation| match operation {
            WriteOperation::Put { key, .. } => format!("put {}", String::from_utf8_lossy(key)),
            WriteOperation::Delete { key } => format!("delete {}", String::from_utf8_lossy(key)),
        };
        plan.operations.iter().chain(&plan.last_operations).map(describe).collect()
    }

    #[test]
    fn an_untouched_state_needs_nothing() {
        let keys = [("/registry/configmaps/a/b", 3), ("/registry/secrets/a/b", 4)];
        assert!(Plan::new(&baseline(&keys), &heads(&keys)).is_empty());
    }

    #[test]
    fn new_changed_and_missing_keys_are_put_back() {
        let before = [("/registry/configmaps/a/b", 3), ("/registry/configmaps/a/c", 4), ("/registry/secrets/a/z", 5)];
        let after = [("/registry/configmaps/a/a", 9), ("/registry/configmaps/a/c", 8), ("/registry/secrets/a/z", 5)];
        let plan = Plan::new(&baseline(&before), &heads(&after));
        assert_eq!(
            described(&plan),
            ["put /registry/configmaps/a/b", "put /registry/configmaps/a/c", "delete /registry/configmaps/a/a"]
        );
    }

    #[test]
    fn the_last_transaction_has_one_event_of_each_resource() {
        let after = [
            ("/registry/configmaps/a/a", 9),
            ("/registry/configmaps/a/b", 9),
            ("/registry/secrets/a/z", 5),
            ("/registry/ranges/x", 7),
        ];
        let plan = Plan::new(&baseline(&[]), &heads(&after));
        let keys = |operations: &[WriteOperation]| -> Vec<_> {
            operations.iter().map(|operation| String::from_utf8_lossy(operation.key()).into_owned()).collect()
        };
        assert_eq!(keys(&plan.operations), ["/registry/configmaps/a/a", "/registry/ranges/x"]);
        assert_eq!(keys(&plan.last_operations), ["/registry/configmaps/a/b", "/registry/secrets/a/z"]);
    }

    #[test]
    fn what_can_block_goes_first_and_definitions_go_after_their_objects() {
        let after = [
            ("/registry/apiextensions.k8s.io/customresourcedefinitions/widgets.example.com", 5),
            ("/registry/apiregistration.k8s.io/apiservices/v1.example.com", 6),
            ("/registry/example.com/widgets/a/b", 7),
            ("/registry/namespaces/a", 2),
            ("/registry/validatingwebhookconfigurations/blocks-all", 8),
        ];
        let plan = Plan::new(&baseline(&[("/registry/namespaces/default", 1)]), &heads(&after));
        assert_eq!(
            described(&plan),
            [
                "delete /registry/validatingwebhookconfigurations/blocks-all",
                "put /registry/namespaces/default",
                "delete /registry/example.com/widgets/a/b",
                "delete /registry/namespaces/a",
                "delete /registry/apiextensions.k8s.io/customresourcedefinitions/widgets.example.com",
                "delete /registry/apiregistration.k8s.io/apiservices/v1.example.com",
            ]
        );
    }
}
