//! Bootstrapped states: the stored state of a fresh cluster once its API server has set everything up.
//!
//! A cluster that starts from such a state skips the bootstrap, which is more than half of a boot. Objects that must
//! differ between clusters are left out: the namespaces (many controllers take the UID of `kube-system` for the
//! cluster's identity) and the objects with a cluster's own certificates. Each API server makes those anew.

use std::io;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::etcd::{PackedState, StoredKey};
use crate::rewind::{Fingerprint, ServerOwned, is_root_certificate};
use crate::set_aside::KEPT_MAX;
use crate::state_file::{self, StateFileKind, UNFINISHED_PREFIX};

/// Rises with each change of the format, or of the API server's flags that shape the state.
const FORMAT: u32 = 1;
/// A bootstrapped state has about 450 keys and 400 kB.
const FILE_KIND: StateFileKind =
    StateFileKind { what: "the bootstrapped state", bytes_max: 256 << 20, set_aside_max: KEPT_MAX };
/// The age at which an unfinished file must have been left behind: writing one takes far less.
const UNFINISHED_AGE_MAX: Duration = Duration::from_secs(60 * 60);
/// The objects that each cluster has to make for itself: a prefix or a whole key.
const LEFT_OUT: [&[u8]; 2] =
    [b"/registry/namespaces/", b"/registry/configmaps/kube-system/extension-apiserver-authentication"];

/// kube-controller-manager publishes the authority of the API server's certificate under a name that ends with a hash
/// of it.
const TRUST_BUNDLES: &[u8] = b"/registry/clustertrustbundles/kubernetes.io:kube-apiserver-serving:";

/// A bootstrapped state.
#[derive(Clone, Debug)]
pub struct Snapshot {
    /// The state to load before the API server starts.
    pub state: Arc<PackedState>,
    /// The objects that the API server then makes by itself; its state is complete when all of them exist.
    pub awaited_keys: Vec<Vec<u8>>,
    /// The API server's description of itself in that state.
    pub fingerprint: Fingerprint,
}

/// Keeps snapshots in a directory.
#[derive(Clone, Debug)]
pub struct SnapshotStore {
    directory: PathBuf,
}

#[derive(Serialize, Deserialize)]
struct Header {
    format: u32,
    fingerprint: Fingerprint,
    awaited_keys: Vec<Vec<u8>>,
}

impl Snapshot {
    /// Divides a fresh cluster's state into the part that others may start from and the part that they must make
    /// themselves.
    pub fn new(stored_keys: &[StoredKey], fingerprint: Fingerprint) -> Self {
        let server_owned = ServerOwned::among(stored_keys.iter().map(|stored| stored.key.as_slice()));
        // Events hang on an etcd lease and concern only this cluster.
        let kept = stored_keys.iter().filter(|stored| stored.lease == 0 && !server_owned.contains(&stored.key));
        let (mut state, mut awaited_keys) = (PackedState::default(), Vec::new());
        for stored in kept {
            match is_left_out(&stored.key) {
                true if stored.key.starts_with(TRUST_BUNDLES) => awaited_keys.push(TRUST_BUNDLES.to_vec()),
                true => awaited_keys.push(stored.key.clone()),
                false => state.push(&stored.key, &stored.value),
            }
        }
        Self { state: Arc::new(state), awaited_keys, fingerprint }
    }
}

impl SnapshotStore {
    pub fn new(directory: PathBuf) -> Self {
        Self { directory }
    }

    /// The snapshot for these binaries. A file that is not exactly as an engine of this format wrote it counts as
    /// absent and is set aside.
    pub fn load(&self, assets_identity: &str) -> Option<Snapshot> {
        state_file::load(&self.path(assets_identity), &FILE_KIND, |header: Header, state| {
            let Header { format, fingerprint, awaited_keys } = header;
            (format == FORMAT).then(|| Snapshot { state: Arc::new(state), awaited_keys, fingerprint })
        })
    }

    /// Writes a snapshot, whole or not at all.
    pub fn save(&self, assets_identity: &str, snapshot: &Snapshot) -> io::Result<()> {
        self.remove_leftovers();
        let Snapshot { state, awaited_keys, fingerprint } = snapshot.clone();
        state_file::save(&self.path(assets_identity), Header { format: FORMAT, fingerprint, awaited_keys }, &state)
    }

    /// Removes a snapshot that turned out to be useless.
    pub fn remove(&self, assets_identity: &str) {
        let _ = std::fs::remove_file(self.path(assets_identity));
    }

    /// Removes the unfinished files of engines that died while they were writing.
    fn remove_leftovers(&self) {
        let Ok(entries) = std::fs::read_dir(&self.directory) else { return };
        for entry in entries.flatten() {
            let is_unfinished = entry.file_name().to_string_lossy().starts_with(UNFINISHED_PREFIX);
            let modified = entry.metadata().and_then(|metadata| metadata.modified());
            let is_old = modified.is_ok_and(|time| time.elapsed().is_ok_and(|age| UNFINISHED_AGE_MAX < age));
            if is_unfinished && is_old {
                let _ = std::fs::remove_file(entry.path());
            }
        }
    }

    fn path(&self, assets_identity: &str) -> PathBuf {
        let name: String = assets_identity
            .chars()
            .map(|c| if c.is_ascii_alphanumeric() || ".-_".contains(c) { c } else { '_' })
            .collect();
        self.directory.join(format!("{name}-format{FORMAT}.state"))
    }
}

/// Returns true if each cluster has to make this object for itself.
pub fn is_left_out(key: &[u8]) -> bool {
    LEFT_OUT.iter().chain([&TRUST_BUNDLES]).any(|prefix| key.starts_with(prefix)) || is_root_certificate(key)
}

/// Returns true if an awaited key is only a prefix, which each cluster completes in its own way.
pub fn is_name_of_many(key: &[u8]) -> bool {
    key.ends_with(b":")
}

#[cfg(test)]
mod tests {
    use std::fs::File;

    use super::*;
    use crate::sha256::Sha256;

    fn stored(key: &str, lease: i64) -> StoredKey {
        StoredKey {
            key: key.as_bytes().to_vec(),
            value: format!("value of {key}").into_bytes(),
            mod_revision: 7,
            lease,
        }
    }

    fn snapshot() -> Snapshot {
        let keys = [
            stored("/registry/clusterroles/admin", 0),
            stored("/registry/clustertrustbundles/kubernetes.io:kube-apiserver-serving:65c32a", 0),
            stored("/registry/configmaps/kube-system/kube-root-ca.crt", 0),
            stored("/registry/events/default/booted", 5),
            stored("/registry/leases/kube-system/apiserver-x", 0),
            stored("/registry/namespaces/default", 0),
        ];
        Snapshot::new(&keys, Fingerprint { discovery_etag: "e".to_owned(), openapi_index_hash: "h".to_owned() })
    }

    #[test]
    fn objects_of_a_single_cluster_are_left_out() {
        let snapshot = snapshot();
        let keys: Vec<_> = snapshot.state.iter().map(|(key, _)| key).collect();
        assert_eq!(keys, [b"/registry/clusterroles/admin"]);
        let awaited: Vec<_> = snapshot.awaited_keys.iter().map(|key| String::from_utf8_lossy(key)).collect();
        assert_eq!(
            awaited,
            [
                // Each cluster completes the name in its own way.
                "/registry/clustertrustbundles/kubernetes.io:kube-apiserver-serving:",
                "/registry/configmaps/kube-system/kube-root-ca.crt",
                "/registry/namespaces/default",
            ]
        );
    }

    #[test]
    fn a_saved_snapshot_is_loaded_but_a_damaged_one_is_not() {
        let directory = tempfile::tempdir().expect("a temporary directory");
        let store = SnapshotStore::new(directory.path().join("snapshots"));
        assert!(store.load("1.37.1/linux").is_none());
        store.save("1.37.1/linux", &snapshot()).expect("saved");
        let loaded = store.load("1.37.1/linux").expect("loaded");
        assert_eq!(loaded.state, snapshot().state);
        assert_eq!(loaded.fingerprint, snapshot().fingerprint);

        let path = store.path("1.37.1/linux");
        let bytes = std::fs::read(&path).expect("read");
        for damaged in [&bytes[..bytes.len() - 1], &bytes[..10], &[], &[&bytes[..], b"x"].concat()] {
            std::fs::write(&path, damaged).expect("written");
            assert!(store.load("1.37.1/linux").is_none());
            assert!(!path.exists(), "it would be found again");
        }
        store.save("1.37.1/linux", &snapshot()).expect("saved again");
        assert!(store.load("1.37.1/linux").is_some());
    }

    #[test]
    fn foreign_and_newer_files_are_neither_trusted_nor_fatal() {
        let directory = tempfile::tempdir().expect("a temporary directory");
        let store = SnapshotStore::new(directory.path().to_owned());
        let path = store.path("1.37.1/linux");
        store.save("1.37.1/linux", &snapshot()).expect("saved");
        // A whole file with the right hash, but of an unknown format.
        let bytes = std::fs::read(&path).expect("read");
        let content = String::from_utf8(bytes[..bytes.len() - Sha256::BYTES].to_vec()).expect("plain data");
        let newer = content.replacen(&format!("\"format\":{FORMAT}"), &format!("\"format\":{}", FORMAT + 1), 1);
        assert_ne!(newer, content);
        let hash = Sha256::digest(newer.as_bytes());
        std::fs::write(&path, [newer.as_bytes(), hash.as_slice()].concat()).expect("written");
        assert!(store.load("1.37.1/linux").is_none());

        std::fs::create_dir(&path).expect("made");
        assert!(store.load("1.37.1/linux").is_none());
        store.save("1.37.1/linux", &snapshot()).expect("saved, though a directory was there");
        assert!(store.load("1.37.1/linux").is_some());
        let mut aside: Vec<_> = std::fs::read_dir(directory.path()).expect("listed").collect();
        aside.retain(|entry| entry.as_ref().is_ok_and(|entry| entry.path() != path));
        assert_eq!(aside.len(), 2, "{aside:?}");
    }

    #[test]
    fn an_old_half_written_file_is_removed() {
        let directory = tempfile::tempdir().expect("a temporary directory");
        let store = SnapshotStore::new(directory.path().to_owned());
        let [old, young] = ["old", "young"].map(|name| directory.path().join(format!("{UNFINISHED_PREFIX}{name}")));
        for path in [&old, &young] {
            std::fs::write(path, "half").expect("written");
        }
        let file = File::options().write(true).open(&old).expect("opened");
        file.set_modified(std::time::SystemTime::now() - 2 * UNFINISHED_AGE_MAX).expect("aged");
        store.save("1.37.1/linux", &snapshot()).expect("saved");
        assert_eq!((old.exists(), young.exists()), (false, true));
    }
}
