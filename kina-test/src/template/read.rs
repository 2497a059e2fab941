use std::collections::HashMap;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};

use kina_engine::fixtures::{FixtureSet, Overlay, Source};
use once_cell::sync::OnceCell;

use super::stand_in::{ReadError, hash, read_glob};
use super::{Entry, Template};
use crate::Error;

/// Contents that are kept. A program has a few; more come from a function that makes up another one each time.
const KEPT_MAX: usize = 64;

type Cache = HashMap<Key, Arc<OnceCell<Arc<ReadTemplate>>>>;

/// What this process has read. Files do not change while tests run.
static CACHE: Mutex<Option<Cache>> = Mutex::new(None);

/// The content of a template.
#[derive(Debug)]
pub(crate) struct ReadTemplate {
    /// All texts.
    pub(crate) set: FixtureSet,
    /// Their name.
    pub(crate) hash: String,
}

/// What tells contents apart before they are read.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
struct Key {
    package_directory: PathBuf,
    entries: Vec<(&'static str, String, String)>,
}

impl Template {
    /// Reads everything, or takes what was read before. `None` if it is empty.
    pub(crate) fn read(self, package_directory: &Path) -> Result<Option<Arc<ReadTemplate>>, Error> {
        if self.entries.is_empty() {
            return Ok(None);
        }
        let cell = self.cell(package_directory);
        // Not under the lock: a `helm` can take its time.
        let read = cell.get_or_try_init(|| self.read_anew(package_directory).map(Arc::new));
        read.cloned().map(Some).map_err(Error::Template)
    }

    fn cell(&self, package_directory: &Path) -> Arc<OnceCell<Arc<ReadTemplate>>> {
        let key = Key {
            package_directory: package_directory.to_owned(),
            entries: self.entries.iter().map(Entry::identity).collect(),
        };
        let mut cache = CACHE.lock().unwrap_or_else(PoisonError::into_inner);
        let cache = cache.get_or_insert_default();
        if KEPT_MAX <= cache.len() && !cache.contains_key(&key) {
            return Arc::default();
        }
        cache.entry(key).or_default().clone()
    }

    fn read_anew(&self, package_directory: &Path) -> Result<ReadTemplate, ReadError> {
        let mut crds = Overlay { name: "crds".to_owned(), sources: Vec::new() };
        let mut others = Vec::new();
        for entry in &self.entries {
            match entry {
                Entry::CrdOfType { type_name, crd_json } => {
                    crds.sources.push(Source { name: format!("type `{}`", short(type_name)), text: crd_json() });
                }
                Entry::Crds { path } => crds.sources.extend(read_glob(package_directory, path)?.sources),
                Entry::Fixtures { path } => others.push(read_glob(package_directory, path)?),
                Entry::Yaml { name, text } => {
                    let source = Source { name: name.clone(), text: text.clone() };
                    others.push(Overlay { name: name.clone(), sources: vec![source] });
                }
            }
        }
        let overlays = Some(crds).filter(|crds| !crds.sources.is_empty()).into_iter().chain(others).collect();
        let set = FixtureSet { overlays };
        let hash = hash(&set);
        Ok(ReadTemplate { set, hash })
    }
}

impl Entry {
    /// Which entry it is, and what is in it as far as that is known without a file.
    fn identity(&self) -> (&'static str, String, String) {
        match self {
            Self::CrdOfType { type_name, .. } => ("type", (*type_name).to_owned(), String::new()),
            Self::Crds { path } => ("crds", path.clone(), String::new()),
            Self::Fixtures { path } => ("fixtures", path.clone(), String::new()),
            Self::Yaml { name, text } => ("yaml", name.clone(), text.clone()),
        }
    }
}

/// The type's own name, without its modules.
fn short(type_name: &str) -> &str {
    let end = type_name.find('<').unwrap_or(type_name.len());
    type_name[..end].rfind("::").map_or(type_name, |colons| &type_name[colons + 2..])
}
