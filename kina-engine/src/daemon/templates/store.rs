//! Templates on disk, so that a template outlives its engine.

use std::fs::File;
use std::io;
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use serde::{Deserialize, Serialize};

use crate::etcd::PackedKeys;
use crate::pool::{SlotKey, TemplateName};
use crate::rewind::{Template, TemplateWriter};
use crate::sha256::Sha256;
use crate::state_file::{self, Entries, StateFileKind};

/// Rises with each change of the file's content. Part of the file's name: an engine of another format never opens it,
/// and it is removed like any other when it has been unused for long.
const FORMAT: u32 = 2;
/// No template is larger: etcd would not take it.
const FILE_KIND: StateFileKind = StateFileKind { what: "the template", bytes_max: 2 << 30, set_aside_max: 4 };
/// The largest number of kept templates, and their largest total size; those used last are kept.
const KEPT_MAX: usize = 32;
const KEPT_BYTES_MAX: u64 = 1 << 30;
/// The time without use after which a template is removed.
const AGE_MAX: Duration = Duration::from_secs(14 * 24 * 60 * 60);
const EXTENSION: &str = "template";

/// Keeps templates in a directory. All of it blocks.
#[derive(Clone, Debug)]
pub(in crate::daemon) struct TemplateStore {
    directory: PathBuf,
    /// The directory of the values of those in use, in files without a name.
    value_directory: PathBuf,
}

#[derive(Serialize, Deserialize)]
struct Header {
    format: u32,
    name: String,
    discovery_etag: String,
    removed: Vec<Vec<u8>>,
    root_certificates: Vec<Vec<u8>>,
}

impl TemplateStore {
    pub(in crate::daemon) fn new(directory: PathBuf, value_directory: PathBuf) -> Self {
        Self { directory, value_directory }
    }

    /// The template of this name for clusters of this kind. A file that is not exactly as an engine of this format
    /// wrote it counts as absent, and is set aside.
    pub(in crate::daemon) fn load(&self, kind: &SlotKey, name: &TemplateName) -> Option<Template> {
        let path = self.path(kind, name);
        let template = state_file::load_entries(&path, &FILE_KIND, |header: Header, entries| {
            let is_this = header.format == FORMAT && *header.name == *name.0;
            is_this.then(|| self.unpack(entries, header).ok()).flatten()
        })?;
        // Those used last are kept. If the time cannot be set, the template goes a little earlier.
        let _ = File::open(&path).and_then(|file| file.set_modified(SystemTime::now()));
        Some(template)
    }

    /// Keeps a template; whole or not at all.
    pub(in crate::daemon) fn save(&self, kind: &SlotKey, template: &Template) -> io::Result<()> {
        let header = Header {
            format: FORMAT,
            name: template.name().to_owned(),
            discovery_etag: template.discovery_etag().to_owned(),
            removed: template.removed().map(<[u8]>::to_vec).collect(),
            root_certificates: template.root_certificates().iter().cloned().collect(),
        };
        // One value at a time: together they can be larger than all that the engine has in memory.
        let entries = template.read_all().map(|stored| stored.map(|stored| (stored.key, stored.value)));
        let path = self.path(kind, &TemplateName(template.name().into()));
        state_file::save_entries(&path, header, template.lengths(), entries)?;
        self.prune();
        Ok(())
    }

    /// Forgets a template that turned out to be useless.
    pub(in crate::daemon) fn remove(&self, kind: &SlotKey, name: &TemplateName) {
        // It may be absent already.
        let _ = std::fs::remove_file(self.path(kind, name));
    }

    fn unpack(&self, entries: &mut Entries, header: Header) -> io::Result<Template> {
        let mut writer = TemplateWriter::create(&self.value_directory)?;
        while let Some((key, value)) = entries.next()? {
            writer.add(&key, &value)?;
        }
        header.root_certificates.iter().for_each(|key| writer.leave_out(key));
        let mut removed = PackedKeys::default();
        header.removed.iter().for_each(|key| removed.push(key));
        writer.finish(header.name, removed, header.discovery_etag)
    }

    /// Removes templates that have been unused for longest, and half-written files.
    fn prune(&self) {
        let Ok(entries) = std::fs::read_dir(&self.directory) else { return };
        let files = entries.flatten().filter_map(|entry| {
            let metadata = entry.metadata().ok().filter(std::fs::Metadata::is_file)?;
            Some((metadata.modified().ok()?, metadata.len(), entry.path()))
        });
        let mut files: Vec<_> = files.collect();
        files.sort();
        let (mut count, mut kept_bytes) = (0, 0);
        for (modified, length, path) in files.into_iter().rev() {
            let age = modified.elapsed().unwrap_or_default();
            let is_template = path.extension().is_some_and(|extension| extension == EXTENSION);
            count += 1;
            kept_bytes += length;
            let is_kept = is_template && count <= KEPT_MAX && kept_bytes <= KEPT_BYTES_MAX && age < AGE_MAX;
            // A file that another engine is writing just now is young.
            let is_being_written = !is_template && age < Duration::from_secs(600);
            if !is_kept && !is_being_written && !is_set_aside(&path) {
                let _ = std::fs::remove_file(path);
            }
        }
    }

    fn path(&self, kind: &SlotKey, name: &TemplateName) -> PathBuf {
        let identity = Sha256::digest(format!("{}\n{}", kind.0, name.0));
        self.directory.join(format!("{}-format{FORMAT}.{EXTENSION}", crate::hex::encode(&identity[..16])))
    }
}

fn is_set_aside(path: &Path) -> bool {
    path.to_string_lossy().contains(".set-aside-")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn kind() -> SlotKey {
        SlotKey("api/1.37.1/any".into())
    }

    fn template(store: &TemplateStore, name: &str) -> Template {
        let mut writer = TemplateWriter::create(&store.value_directory).expect("begun");
        writer.add(b"/registry/configmaps/default/a", b"one").expect("added");
        writer.add(b"/registry/configmaps/default/b", name.as_bytes()).expect("added");
        let mut removed = PackedKeys::default();
        removed.push(b"/registry/priorityclasses/gone");
        writer.finish(name.to_owned(), removed, "etag".to_owned()).expect("finished")
    }

    fn store(directory: &Path) -> TemplateStore {
        TemplateStore::new(directory.join("templates"), directory.join("values"))
    }

    #[test]
    fn what_was_saved_is_loaded_for_the_same_kind_alone() {
        let directory = tempfile::tempdir().expect("a temporary directory");
        let store = store(directory.path());
        let name = TemplateName("t".into());
        assert!(store.load(&kind(), &name).is_none());
        store.save(&kind(), &template(&store, "t")).expect("saved");
        let loaded = store.load(&kind(), &name).expect("loaded");
        let keys: Vec<_> = loaded.read_all().map(|stored| stored.expect("read")).collect();
        assert_eq!(keys.len(), 2);
        assert_eq!(
            (keys[1].key.as_slice(), keys[1].value.as_slice()),
            (&b"/registry/configmaps/default/b"[..], &b"t"[..])
        );
        assert!(loaded.removed().eq([b"/registry/priorityclasses/gone"]));
        assert_eq!((loaded.name(), loaded.discovery_etag()), ("t", "etag"));
        assert!(store.load(&SlotKey("api/1.36.0/any".into()), &name).is_none());
        store.remove(&kind(), &name);
        assert!(store.load(&kind(), &name).is_none());
    }

    #[test]
    fn what_was_damaged_is_set_aside() {
        let directory = tempfile::tempdir().expect("a temporary directory");
        let store = store(directory.path());
        let name = TemplateName("t".into());
        store.save(&kind(), &template(&store, "t")).expect("saved");
        let path = store.path(&kind(), &name);
        let bytes = std::fs::read(&path).expect("read");
        for damaged in [&bytes[..bytes.len() - 1], &bytes[..10], &[], &[&bytes[..], b"x"].concat()] {
            std::fs::write(&path, damaged).expect("written");
            assert!(store.load(&kind(), &name).is_none());
            assert!(!path.exists(), "it would be met again");
        }
    }

    #[test]
    fn a_file_of_another_format_is_never_read_and_goes_with_the_others() {
        let directory = tempfile::tempdir().expect("a temporary directory");
        let store = store(directory.path());
        let name = TemplateName("t".into());
        store.save(&kind(), &template(&store, "t")).expect("saved");
        let path = store.path(&kind(), &name);
        let file_name = path.file_name().and_then(std::ffi::OsStr::to_str).expect("a name");
        let others = [format!("-format{}", FORMAT + 1), String::new()];
        let others = others.map(|other| path.with_file_name(file_name.replace(&format!("-format{FORMAT}"), &other)));
        std::fs::rename(&path, &others[0]).expect("renamed");
        std::fs::copy(&others[0], &others[1]).expect("copied");
        assert!(store.load(&kind(), &name).is_none());
        assert!(others.iter().all(|other| other.exists()), "an engine of that format may be using it");
        for other in &others {
            let file = File::options().write(true).open(other).expect("opened");
            file.set_modified(SystemTime::now() - AGE_MAX).expect("aged");
        }
        store.prune();
        assert!(!others.iter().any(|other| other.exists()));
    }

    #[test]
    fn only_those_used_last_are_kept() {
        let directory = tempfile::tempdir().expect("a temporary directory");
        let store = store(directory.path());
        for number in 0..KEPT_MAX + 3 {
            store.save(&kind(), &template(&store, &number.to_string())).expect("saved");
            let path = store.path(&kind(), &TemplateName(number.to_string().into()));
            let age = Duration::from_secs(u64::try_from(1000 - number).expect("few"));
            let file = File::options().write(true).open(path).expect("opened");
            file.set_modified(SystemTime::now() - age).expect("aged");
        }
        store.save(&kind(), &template(&store, "last")).expect("saved");
        let kept = |name: &str| store.path(&kind(), &TemplateName(name.into())).exists();
        assert_eq!(std::fs::read_dir(&store.directory).expect("listed").count(), KEPT_MAX);
        assert!(kept("last") && kept(&(KEPT_MAX + 2).to_string()) && !kept("0") && !kept("3"));
    }
}
