//! The labels by which alone kina recognises its own containers.

use std::collections::BTreeMap;
use std::os::unix::ffi::OsStrExt;
use std::path::Path;

use crate::sha256::Sha256;

/// The realm: all engines that share a directory of journals. A container without this label, or with another value, is
/// not touched.
pub(super) const REALM: &str = "dev.kina.realm";
/// The engine that made the container.
pub const ENGINE: &str = "dev.kina.engine";
/// The cluster in the container.
pub const CLUSTER: &str = "dev.kina.cluster";

/// A container's name is also its host name: 63 characters, no dots.
const NAME_CHARACTERS_MAX: usize = 63;

/// The owner of a container.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Owner {
    realm: String,
    engine: String,
}

impl Owner {
    /// Makes the owner for the engine called `engine`, of the realm with its journals in `journal_directory`.
    pub fn new(journal_directory: &Path, engine: &str) -> Self {
        let real = std::fs::canonicalize(journal_directory).unwrap_or_else(|_| journal_directory.to_owned());
        Self { realm: digest(&[real.as_os_str().as_bytes()], 16), engine: engine.to_owned() }
    }

    pub(super) fn realm(&self) -> &str {
        &self.realm
    }

    pub(super) fn engine(&self) -> &str {
        &self.engine
    }

    /// Returns the labels of a cluster's container. No value contains an `=`, which `container` would refuse.
    pub(super) fn labels(&self, cluster: &str) -> [(&'static str, String); 3] {
        [(REALM, self.realm.clone()), (ENGINE, self.engine.clone()), (CLUSTER, plain(cluster))]
    }

    /// Returns the name of the `attempt`th container for a cluster. Unlike the cluster's name it is unique on the
    /// machine.
    pub(super) fn container_name(&self, cluster: &str, attempt: usize) -> String {
        let unique = digest(&[self.realm.as_bytes(), self.engine.as_bytes(), cluster.as_bytes()], 12);
        let mut name = format!("kina-{unique}-{attempt}-{}", plain(cluster));
        name.truncate(NAME_CHARACTERS_MAX);
        name.trim_end_matches('-').to_owned()
    }

    /// Returns true if these are the labels of a container of this realm, of any engine.
    pub fn is_of_realm(&self, labels: &BTreeMap<String, String>) -> bool {
        labels.get(REALM).is_some_and(|realm| *realm == self.realm)
    }

    /// Returns true if these are the labels of this engine's container for this cluster.
    pub(super) fn is_of_cluster(&self, labels: &BTreeMap<String, String>, cluster: &str) -> bool {
        self.labels(cluster).iter().all(|(key, value)| labels.get(*key) == Some(value))
    }
}

/// Reduces a text to characters that are valid in all names and labels: small letters, digits, hyphens.
fn plain(text: &str) -> String {
    let allowed = |character: char| match character.to_ascii_lowercase() {
        character if character.is_ascii_alphanumeric() => character,
        _ => '-',
    };
    text.chars().map(allowed).collect()
}

fn digest(parts: &[&[u8]], digits: usize) -> String {
    let mut hasher = Sha256::new();
    for part in parts {
        hasher.update(part.len().to_le_bytes());
        hasher.update(part);
    }
    let mut text = crate::hex::encode(&hasher.finalize());
    text.truncate(digits);
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    fn owner(engine: &str) -> Owner {
        Owner::new(Path::new("/state/journals"), engine)
    }

    fn as_map(labels: [(&'static str, String); 3]) -> BTreeMap<String, String> {
        labels.into_iter().map(|(key, value)| (key.to_owned(), value)).collect()
    }

    #[test]
    fn names_are_valid_and_differ() {
        let long = "x=y.z ".repeat(40);
        let names = [
            owner("1-a").container_name("cluster-1", 1),
            owner("1-a").container_name("cluster-1", 2),
            owner("1-a").container_name("cluster-2", 1),
            owner("1-b").container_name("cluster-1", 1),
            Owner::new(Path::new("/elsewhere"), "1-a").container_name("cluster-1", 1),
            owner("1-a").container_name(&long, 1),
            owner("1-a").container_name("", 1),
        ];
        for name in &names {
            assert!((2..=63).contains(&name.len()), "{name}");
            assert!(
                name.bytes().all(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-'),
                "{name}"
            );
        }
        let distinct: std::collections::HashSet<_> = names.iter().collect();
        assert_eq!(distinct.len(), names.len());
    }

    #[test]
    fn only_its_own_labels_make_a_container_kinas() {
        let owner = owner("1-a");
        let mut labels = as_map(owner.labels("cluster=1"));
        assert!(labels.values().all(|value| !value.contains('=')));
        assert!(owner.is_of_realm(&labels) && owner.is_of_cluster(&labels, "cluster=1"));
        assert!(!owner.is_of_cluster(&labels, "cluster-2"));
        labels.insert(ENGINE.to_owned(), "1-b".to_owned());
        assert!(owner.is_of_realm(&labels) && !owner.is_of_cluster(&labels, "cluster=1"));
        labels.insert(REALM.to_owned(), "another".to_owned());
        assert!(!owner.is_of_realm(&labels));
        assert!(!owner.is_of_realm(&BTreeMap::new()));
    }
}
