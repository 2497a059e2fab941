//! The keys of a namespace in storage, and their removal. Pure.

use crate::etcd::{KeyListing, WriteOperation};
use crate::rewind::{PREFIX, is_followed};

/// Keys that one operation deletes, so that no transaction gets too large for its watchers.
const KEYS_PER_RANGE_MAX: usize = 1000;

/// The operations that delete a namespace with all its objects; empty if nothing is left. The namespace itself comes
/// first: from then on the API server admits nothing new into it.
pub(super) fn deletions(listing: &KeyListing, namespace: &str) -> Vec<WriteOperation> {
    let own_key = namespace_key(namespace);
    let mut operations = Vec::new();
    if listing.contains(&own_key) {
        operations.push(WriteOperation::Delete { key: own_key });
    }
    // All keys of a resource in a namespace follow each other.
    let mut range: Option<Range<'_>> = None;
    for head in listing.heads() {
        let Some(resource) = resource_in(head.key, namespace) else {
            operations.extend(range.take().map(Range::into_operation));
            continue;
        };
        match &mut range {
            Some(range)
                if range.resource == resource && range.key_count < KEYS_PER_RANGE_MAX && !is_followed(head.key) =>
            {
                range.last_key = head.key;
                range.key_count += 1;
            }
            _ => {
                let next = Range { resource, key: head.key, last_key: head.key, key_count: 1 };
                operations.extend(range.replace(next).map(Range::into_operation));
            }
        }
    }
    operations.extend(range.map(Range::into_operation));
    operations
}

/// The key of the namespace itself.
pub(super) fn namespace_key(namespace: &str) -> Vec<u8> {
    [PREFIX, b"namespaces/", namespace.as_bytes()].concat()
}

struct Range<'a> {
    resource: &'a [u8],
    key: &'a [u8],
    last_key: &'a [u8],
    key_count: usize,
}

impl Range<'_> {
    fn into_operation(self) -> WriteOperation {
        let (key, last_key, key_count) = (self.key.to_vec(), self.last_key.to_vec(), self.key_count);
        if key_count == 1 {
            WriteOperation::Delete { key }
        } else {
            WriteOperation::DeleteRange { key, last_key, key_count }
        }
    }
}

/// The part of a key that names its resource, if it is in this namespace: `configmaps` of
/// `/registry/configmaps/<namespace>/<name>`, `example.com/widgets` or `services/specs` where that has two parts.
fn resource_in<'a>(key: &'a [u8], namespace: &str) -> Option<&'a [u8]> {
    let path = key.strip_prefix(PREFIX)?;
    let first = path.split(|byte| *byte == b'/').next()?;
    let has_two_parts = first == b"services" || first.contains(&b'.');
    let mut slashes = path.iter().enumerate().filter(|(_, byte)| **byte == b'/').map(|(index, _)| index);
    let resource = &path[..slashes.nth(usize::from(has_two_parts))?];
    let rest = path[resource.len() + 1..].strip_prefix(namespace.as_bytes())?;
    (rest.first() == Some(&b'/') && 1 < rest.len()).then_some(resource)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn listing(keys: &[&str]) -> KeyListing {
        let mut sorted = keys.to_vec();
        sorted.sort_unstable();
        let mut listing = KeyListing::default();
        sorted.iter().for_each(|key| listing.push(key.as_bytes(), 1));
        listing
    }

    fn range(key: &str, last_key: &str, key_count: usize) -> WriteOperation {
        WriteOperation::DeleteRange { key: key.into(), last_key: last_key.into(), key_count }
    }

    fn delete(key: &str) -> WriteOperation {
        WriteOperation::Delete { key: key.into() }
    }

    #[test]
    fn all_that_is_in_a_namespace_goes_and_nothing_else() {
        let listing = listing(&[
            "/registry/clusterroles/kina-1",
            "/registry/configmaps/default/kina-1",
            "/registry/configmaps/kina-1/a",
            "/registry/configmaps/kina-1/b",
            "/registry/configmaps/kina-10/a",
            "/registry/example.com/widgets/kina-1/a",
            "/registry/example.com/nodesets/kina-1",
            "/registry/kina-1/configmaps/a",
            "/registry/leases/kina-1/a",
            "/registry/namespaces/kina-1",
            "/registry/namespaces/kina-10",
            "/registry/ranges/serviceips",
            "/registry/services/endpoints/kina-1/a",
            "/registry/services/specs/kina-1/a",
            "/registry/services/specs/kina-1/b",
            "/elsewhere/configmaps/kina-1/a",
        ]);
        assert_eq!(
            deletions(&listing, "kina-1"),
            [
                delete("/registry/namespaces/kina-1"),
                range("/registry/configmaps/kina-1/a", "/registry/configmaps/kina-1/b", 2),
                delete("/registry/example.com/widgets/kina-1/a"),
                delete("/registry/leases/kina-1/a"),
                delete("/registry/services/endpoints/kina-1/a"),
                delete("/registry/services/specs/kina-1/a"),
                delete("/registry/services/specs/kina-1/b"),
            ]
        );
        assert_eq!(deletions(&listing, "kina-2"), []);
    }

    #[test]
    fn many_keys_are_several_operations() {
        let keys: Vec<_> = (0..2 * KEYS_PER_RANGE_MAX + 1).map(|n| format!("/registry/events/kina-1/{n:06}")).collect();
        let keys: Vec<_> = keys.iter().map(String::as_str).collect();
        let counts = deletions(&listing(&keys), "kina-1").into_iter().map(|operation| match operation {
            WriteOperation::DeleteRange { key_count, .. } => key_count,
            WriteOperation::Delete { .. } => 1,
            other => panic!("{other:?}"),
        });
        assert_eq!(counts.collect::<Vec<_>>(), [KEYS_PER_RANGE_MAX, KEYS_PER_RANGE_MAX, 1]);
    }
}
