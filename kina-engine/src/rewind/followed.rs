//! The writes that may be one transaction, because informers inside the API server follow them.
//!
//! All changes of a transaction share one revision. An informer that is too slow is cut off, and then goes on behind
//! the revision that it saw last: it never sees the other changes of that very revision. A user's writes each have a
//! revision of their own, so this is no fault of the API server's.

use std::collections::BTreeSet;

use super::resource::StorageResource;

/// Returns true if an informer may follow all of the resource that this key belongs to.
pub(crate) fn is_followed(key: &[u8]) -> bool {
    StorageResource::of_key(key).is_some_and(|resource| resource.is_followed())
}

/// Changes in transactions, in their order, each with at most one change of each resource that is followed. `key_of`
/// tells the first key of a change; one that has several must be of a resource that is not followed.
pub(crate) fn transactions<T>(changes: &[T], key_of: impl Fn(&T) -> &[u8]) -> impl Iterator<Item = &[T]> {
    let mut rest = changes;
    std::iter::from_fn(move || {
        let mut followed = BTreeSet::new();
        let fits = |change: &&T| {
            let resource = StorageResource::of_key(key_of(change)).filter(StorageResource::is_followed);
            resource.is_none_or(|resource| followed.insert(resource))
        };
        let transaction;
        (transaction, rest) = rest.split_at(rest.iter().take_while(fits).count());
        (!transaction.is_empty()).then_some(transaction)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_transaction_has_two_changes_of_what_is_followed() {
        let keys = [
            "/registry/roles/a/1",
            "/registry/configmaps/a/1",
            "/registry/configmaps/a/2",
            "/registry/rolebindings/a/1",
            "/registry/example.com/widgets/a/1",
            "/registry/roles/a/2",
            "/registry/roles/a/3",
            "/registry/apiextensions.k8s.io/customresourcedefinitions/a",
            "/registry/ranges/serviceips",
        ];
        let lengths: Vec<_> = transactions(&keys, |key| key.as_bytes()).map(<[_]>::len).collect();
        assert_eq!(lengths, [5, 1, 3]);
        assert_eq!(transactions(&[], |key: &&str| key.as_bytes()).count(), 0);
    }
}
