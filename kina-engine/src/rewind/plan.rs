use std::collections::{BTreeMap, BTreeSet};

use super::Baseline;
use super::followed::is_followed;
use super::resource::StorageResource;
use crate::etcd::KeyListing;

/// Keys that one operation deletes.
const RANGE_KEYS_MAX: usize = 500;

/// The changes that turn a listed state into the baseline.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Plan {
    /// In the order in which watchers must see them. To be written first.
    pub(super) changes: Vec<Change>,
    /// The last change of each touched resource, in the same order. To be written after all others, in one
    /// transaction: all events of a transaction share one revision, so a watch cache "at" that revision may have seen
    /// only the first of them. With one event of each resource in the last transaction it has seen all.
    pub(super) last_changes: Vec<Change>,
    /// The resources that the writes touch.
    pub(super) touched: BTreeSet<StorageResource>,
    /// The number of keys that differ.
    key_count: usize,
}

/// One change of storage.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Change {
    /// A key of the baseline gets its value back.
    PutBack { key: Vec<u8> },
    /// A key goes.
    Delete { key: Vec<u8> },
    /// All keys from the first to the last go.
    DeleteRange { key: Vec<u8>, last_key: Vec<u8>, key_count: usize },
}

/// A key that is in no baseline. Nothing that stays is between the deletions of one run.
#[derive(Clone, Copy)]
struct Deletion<'a> {
    key: &'a [u8],
    run: usize,
}

/// A change, and the run to which it belongs if it is a deletion.
struct Step {
    change: Change,
    run: Option<usize>,
    order: Order,
}

/// The place of a change in the order of writes: one stage after the other. The changes of a resource that is followed
/// are in different waves.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
struct Order {
    stage: Stage,
    wave: usize,
}

impl Plan {
    /// Compares a listing with the baseline. A key counts as changed if its revision did, even with the same value.
    pub(super) fn new(baseline: &Baseline, listing: &KeyListing) -> Self {
        let mut deletions: Vec<Deletion<'_>> = Vec::new();
        let mut puts = Vec::new();
        let mut run = 0;
        let mut baseline_entries = baseline.iter().peekable();
        // Both sides are sorted by key, so one pass over both finds new, changed and removed keys.
        for head in listing.heads() {
            if baseline.server_owned.contains(head.key) {
                run += 1;
                continue;
            }
            while let Some((key, _)) = baseline_entries.next_if(|(key, _)| key.as_slice() < head.key) {
                puts.push(key);
                run += 1;
            }
            match baseline_entries.next_if(|(key, _)| key == head.key) {
                Some((_, mod_revision)) if mod_revision == head.mod_revision => run += 1,
                Some((key, _)) => {
                    puts.push(key);
                    run += 1;
                }
                None => deletions.push(Deletion { key: head.key, run }),
            }
        }
        puts.extend(baseline_entries.map(|(key, _)| key));

        let key_count = deletions.len() + puts.len();
        let changed_keys = deletions.iter().map(|deletion| deletion.key).chain(puts.iter().map(Vec::as_slice));
        let touched: BTreeSet<_> = changed_keys.filter_map(StorageResource::of_key).collect();
        let deletions = deletions.into_iter().map(|Deletion { key, run }| {
            let order = Order { stage: Stage::of_deletion(key), wave: 0 };
            Step { change: Change::Delete { key: key.to_vec() }, run: Some(run), order }
        });
        let mut steps: Vec<_> = deletions.collect();
        let order = Order { stage: Stage::PutBack, wave: 0 };
        steps.extend(puts.into_iter().map(|key| Step { change: Change::PutBack { key }, run: None, order }));
        sort_into_waves(&mut steps);
        let (steps, last_steps) = split_last_of_each_resource(steps);
        let last_changes = last_steps.into_iter().map(|step| step.change).collect();
        Self { changes: merge_runs(steps), last_changes, touched, key_count }
    }

    pub(super) fn is_empty(&self) -> bool {
        self.key_count() == 0
    }

    pub(super) fn key_count(&self) -> usize {
        self.key_count
    }

    /// The number of CRDs and APIServices that it puts back or removes.
    pub(super) fn definitions(&self) -> usize {
        let shapes = |key: &[u8]| StorageResource::of_key(key).is_some_and(|resource| resource.shapes_discovery());
        let changes = self.changes.iter().chain(&self.last_changes).filter(|change| shapes(change.key()));
        changes.map(Change::key_count).sum()
    }

    /// Returns true if it changes this key.
    pub(super) fn changes(&self, key: &[u8]) -> bool {
        self.changes.iter().chain(&self.last_changes).any(|change| change.key() == key)
    }

    /// Returns true if it puts back the address of a Service. The API server's repair of addresses takes a Service for one
    /// without an address, or an address for one without a Service, whichever it learns of first. It then makes or
    /// deletes the address, and reports it by an event that may come seconds later.
    pub(super) fn puts_back_addresses(&self) -> bool {
        let is_address = |key: &[u8]| StorageResource::of_key(key).is_some_and(|resource| resource.is_address());
        let mut changes = self.changes.iter().chain(&self.last_changes);
        changes.any(|change| matches!(change, Change::PutBack { key } if is_address(key)))
    }

    /// A key that differs, for a message.
    pub(super) fn example(&self) -> String {
        let key = self.changes.first().or(self.last_changes.first()).map(Change::key);
        String::from_utf8_lossy(key.unwrap_or_default()).into_owned()
    }
}

impl Change {
    /// The key it changes, or the first of them.
    pub(super) fn key(&self) -> &[u8] {
        match self {
            Self::PutBack { key } | Self::Delete { key } | Self::DeleteRange { key, .. } => key,
        }
    }

    fn key_count(&self) -> usize {
        match self {
            Self::PutBack { .. } | Self::Delete { .. } => 1,
            Self::DeleteRange { key_count, .. } => *key_count,
        }
    }
}

fn sort_into_waves(steps: &mut [Step]) {
    let mut waves: BTreeMap<(Stage, StorageResource), usize> = BTreeMap::new();
    for step in steps.iter_mut() {
        let resource = StorageResource::of_key(step.change.key()).filter(StorageResource::is_followed);
        if let Some(resource) = resource {
            let next = waves.entry((step.order.stage, resource)).or_default();
            step.order.wave = *next;
            *next += 1;
        }
    }
    // Changes of the same order stay in the order of their keys.
    steps.sort_by_key(|step| step.order);
}

fn split_last_of_each_resource(steps: Vec<Step>) -> (Vec<Step>, Vec<Step>) {
    let mut seen = BTreeSet::new();
    let is_last: Vec<bool> = steps
        .iter()
        .rev()
        .map(|step| {
            // Admission's configuration goes first; its cache is not waited for, because the API server is restarted.
            let resource = StorageResource::of_key(step.change.key()).filter(|resource| !resource.is_admission());
            resource.is_some_and(|resource| seen.insert(resource))
        })
        .collect();
    let mut last = Vec::new();
    let mut others = Vec::new();
    for (step, is_last) in steps.into_iter().zip(is_last.into_iter().rev()) {
        if is_last { last.push(step) } else { others.push(step) }
    }
    (others, last)
}

/// Deletes adjacent keys of one resource in one operation.
fn merge_runs(steps: Vec<Step>) -> Vec<Change> {
    let mut merged: Vec<Change> = Vec::new();
    let mut merged_run = None;
    for Step { change, run, .. } in steps {
        let may_join = run.is_some() && run == merged_run;
        match (merged.last_mut(), change) {
            (Some(before), Change::Delete { key })
                if may_join
                    && !is_followed(&key)
                    && before.key_count() < RANGE_KEYS_MAX
                    && StorageResource::of_key(before.key()) == StorageResource::of_key(&key) =>
            {
                let first_key = before.key().to_vec();
                let key_count = before.key_count() + 1;
                *before = Change::DeleteRange { key: first_key, last_key: key, key_count };
            }
            (_, change) => {
                merged.push(change);
                merged_run = run;
            }
        }
    }
    merged
}

/// The stages of a plan: nothing may block or recreate the changes of a later stage.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Stage {
    /// Webhooks and policies go: they could refuse the API server's own writes.
    Admission,
    /// Everything in the baseline comes back.
    PutBack,
    /// Everything else goes, custom resources among it.
    Ordinary,
    /// A definition goes after its objects.
    CustomResourceDefinition,
    /// The API server registers a group for as long as its definition exists.
    ApiService,
}

impl Stage {
    fn of_deletion(key: &[u8]) -> Self {
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
    use crate::rewind::{BaselineWriter, Fingerprint};

    fn baseline(keys: &[(&str, i64)]) -> Baseline {
        let stored: Vec<_> = keys
            .iter()
            .map(|(key, mod_revision)| StoredKey {
                key: key.as_bytes().to_vec(),
                value: key.as_bytes().to_vec(),
                mod_revision: *mod_revision,
                lease: 0,
            })
            .collect();
        let fingerprint = Fingerprint { discovery_etag: String::new(), openapi_index_hash: String::new() };
        let mut writer = BaselineWriter::create(&std::env::temp_dir(), b"host").expect("begun");
        writer.add(&stored).expect("added");
        writer.finish(fingerprint).expect("finished")
    }

    fn heads(keys: &[(&str, i64)]) -> KeyListing {
        let mut listing = KeyListing::default();
        keys.iter().for_each(|(key, mod_revision)| listing.push(key.as_bytes(), *mod_revision));
        listing
    }

    fn described(plan: &Plan) -> Vec<String> {
        let describe = |change: &Change| match change {
            Change::PutBack { key } => format!("put {}", String::from_utf8_lossy(key)),
            Change::Delete { key } => format!("delete {}", String::from_utf8_lossy(key)),
            Change::DeleteRange { key, last_key, .. } => {
                format!("delete {} to {}", String::from_utf8_lossy(key), String::from_utf8_lossy(last_key))
            }
        };
        plan.changes.iter().chain(&plan.last_changes).map(describe).collect()
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
    fn neighbours_that_are_new_go_together_but_nothing_between_that_stays() {
        let before = [("/registry/configmaps/a/c", 4), ("/registry/configmaps/a/f", 5)];
        let names = ["a", "b", "c", "d", "e", "g", "h", "i"];
        let after: Vec<_> = names.iter().map(|name| (format!("/registry/configmaps/a/{name}"), 4)).collect();
        let after: Vec<_> = after.iter().map(|(key, revision)| (key.as_str(), *revision)).collect();
        let plan = Plan::new(&baseline(&before), &heads(&after));
        assert_eq!(plan.key_count(), 8);
        assert_eq!(
            described(&plan),
            [
                "put /registry/configmaps/a/f",
                "delete /registry/configmaps/a/a to /registry/configmaps/a/b",
                "delete /registry/configmaps/a/d to /registry/configmaps/a/e",
                "delete /registry/configmaps/a/g to /registry/configmaps/a/h",
                "delete /registry/configmaps/a/i",
            ]
        );
    }

    #[test]
    fn a_range_ends_with_its_resource_and_at_its_bound() {
        let mut after: Vec<_> =
            (0..=RANGE_KEYS_MAX).map(|number| format!("/registry/configmaps/a/{number:05}")).collect();
        after.extend(["/registry/jobs/a/a", "/registry/jobs/a/b", "/registry/jobs/a/c"].map(str::to_owned));
        let after: Vec<_> = after.iter().map(|key| (key.as_str(), 4)).collect();
        let plan = Plan::new(&baseline(&[]), &heads(&after));
        assert_eq!(
            described(&plan),
            [
                "delete /registry/configmaps/a/00000 to /registry/configmaps/a/00499",
                "delete /registry/jobs/a/a to /registry/jobs/a/b",
                "delete /registry/configmaps/a/00500",
                "delete /registry/jobs/a/c",
            ]
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
        let keys = |changes: &[Change]| -> Vec<_> {
            changes.iter().map(|change| String::from_utf8_lossy(change.key()).into_owned()).collect()
        };
        assert_eq!(keys(&plan.changes), ["/registry/configmaps/a/a", "/registry/ranges/x"]);
        assert_eq!(keys(&plan.last_changes), ["/registry/configmaps/a/b", "/registry/secrets/a/z"]);
    }

    #[test]
    fn an_address_that_comes_back_is_told_from_one_that_goes() {
        let kubernetes = [("/registry/ipaddresses/10.0.0.1", 2), ("/registry/services/specs/default/kubernetes", 2)];
        let of_a_lease = ("/registry/ipaddresses/10.0.0.7", 9);
        assert!(!Plan::new(&baseline(&kubernetes), &heads(&[kubernetes[0], of_a_lease])).puts_back_addresses());
        assert!(Plan::new(&baseline(&kubernetes), &heads(&[kubernetes[1]])).puts_back_addresses());
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
