use std::collections::HashMap;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};

use kina_engine::{FixtureOverlay, FixtureReadError, FixtureSet, FixtureSource, read_fixtures};
use once_cell::sync::OnceCell;

use super::{Entry, Template};
use crate::Error;

/// Limit of the cached contents. A program has a few; more come only from a function that generates a new one each
/// time.
const KEPT_MAX: usize = 64;

type Cache = HashMap<Key, Arc<OnceCell<Arc<ReadTemplate>>>>;

/// Everything this process has read. Files do not change while tests run.
static CACHE: Mutex<Option<Cache>> = Mutex::new(None);

/// The content of a template.
#[derive(Debug)]
pub(crate) struct ReadTemplate {
    /// All texts.
    pub(crate) set: FixtureSet,
    /// The hash of all texts.
    pub(crate) hash: String,
}

/// The identity of a content before it is read.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
struct Key {
    package_directory: PathBuf,
    entries: Vec<(&'static str, String, String)>,
}

impl Template {
    /// Reads everything, or returns the cached content. `None` if the template is empty.
    pub(crate) fn read(self, package_directory: &Path) -> Result<Option<Arc<ReadTemplate>>, Error> {
        if self.entries.is_empty() {
            return Ok(None);
        }
        let cell = self.cell(package_directory);
        // Not under the lock: `helm` can be slow.
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

    fn read_anew(&self, package_directory: &Path) -> Result<ReadTemplate, FixtureReadError> {
        let mut crds = FixtureOverlay { name: "crds".to_owned(), sources: Vec::new() };
        let mut others = Vec::new();
        for entry in &self.entries {
            match entry {
                Entry::CrdOfType { type_name, crd_json } => {
                    crds.sources.push(FixtureSource { name: format!("type `{}`", short(type_name)), text: crd_json() });
                }
                Entry::Crds { path } => crds.sources.extend(read_fixtures(package_directory, path)?.sources),
                Entry::Fixtures { path } => others.push(read_fixtures(package_directory, path)?),
                Entry::Yaml { name, text } => {
                    let source = FixtureSource { name: name.clone(), text: text.clone() };
                    others.push(FixtureOverlay { name: name.clone(), sources: vec![source] });
                }
            }
        }
        let overlays = Some(crds).filter(|crds| !crds.sources.is_empty()).into_iter().chain(others).collect();
        let set = FixtureSet { overlays };
        let hash = set.hash();
        Ok(ReadTemplate { set, hash })
    }
}

impl Entry {
    /// The identity of the entry, with its content if that is known without reading a file.
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

#[cfg(test)]
mod tests {
    use k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1::CustomResourceDefinition;
    use kube::CustomResourceExt;
    use kube::core::ApiResource;

    use super::*;

    /// A type with the impl that the derive macro would write.
    struct Widget;

    impl CustomResourceExt for Widget {
        fn crd() -> CustomResourceDefinition {
            let mut crd = CustomResourceDefinition::default();
            crd.metadata.name = Some(Self::crd_name().to_owned());
            crd
        }

        fn crd_name() -> &'static str {
            "widgets.kina.example"
        }

        fn api_resource() -> ApiResource {
            ApiResource::erase::<CustomResourceDefinition>(&())
        }

        fn shortnames() -> &'static [&'static str] {
            &[]
        }
    }

    fn package(files: &[(&str, &str)]) -> tempfile::TempDir {
        let directory = tempfile::tempdir().expect("a temporary directory");
        for (path, text) in files {
            let path = directory.path().join(path);
            std::fs::create_dir_all(path.parent().expect("a parent")).expect("made");
            std::fs::write(path, text).expect("written");
        }
        directory
    }

    fn read(template: Template, package: &tempfile::TempDir) -> Arc<ReadTemplate> {
        template.read(package.path()).expect("read").expect("not empty")
    }

    #[test]
    fn crds_come_first_and_every_other_entry_is_a_layer() {
        let package = package(&[("crds/a.yaml", "a"), ("crds/b.yaml", "b"), ("base/c.json", "c"), ("d.yaml", "d")]);
        let shared = Template::new().fixtures("base").crds("crds/*.yaml");
        let template = Template::new().and(shared).crd::<Widget>().fixtures("d.yaml").yaml("e", "E");
        let set = read(template, &package).set.clone();
        let found: Vec<(&str, Vec<&str>)> = set
            .overlays
            .iter()
            .map(|overlay| (overlay.name.as_str(), overlay.sources.iter().map(|source| source.name.as_str()).collect()))
            .collect();
        let expected = [
            ("crds", vec!["crds/a.yaml", "crds/b.yaml", "type `Widget`"]),
            ("base", vec!["base/c.json"]),
            ("d.yaml", vec!["d.yaml"]),
            ("e", vec!["e"]),
        ];
        assert_eq!(found, expected);
        let crd: serde_json::Value = serde_json::from_str(&set.overlays[0].sources[2].text).expect("JSON");
        assert_eq!(
            (&crd["kind"], &crd["metadata"]["name"]),
            (&"CustomResourceDefinition".into(), &Widget::crd_name().into())
        );
    }

    #[test]
    fn an_empty_template_is_none() {
        assert!(Template::new().and(Template::new()).read(Path::new("/nowhere")).expect("nothing to read").is_none());
    }

    #[test]
    fn an_unreadable_template_is_a_user_error() {
        let package = package(&[]);
        let error = Template::new().crds("nowhere/*.yaml").read(package.path()).expect_err("there is none");
        assert!(matches!(error, Error::Template(_)) && error.is_user_error());
        let text = kina_engine::with_causes(&error);
        assert!(
            text.starts_with("reading the files of the template failed: no file matches `nowhere/*.yaml` in "),
            "{text}"
        );
        // Errors are not cached: the next read can succeed.
        std::fs::create_dir(package.path().join("nowhere")).expect("made");
        std::fs::write(package.path().join("nowhere/a.yaml"), "a").expect("written");
        read(Template::new().crds("nowhere/*.yaml"), &package);
    }

    #[test]
    fn the_same_content_is_read_once_as_long_as_there_is_room() {
        let (one, other) = (package(&[("a.yaml", "a")]), package(&[("a.yaml", "other")]));
        let template = || Template::new().crd::<Widget>().fixtures("a.yaml");
        let first = read(template(), &one);
        std::fs::write(one.path().join("a.yaml"), "changed").expect("written");
        assert!(Arc::ptr_eq(&first, &read(template(), &one)));
        assert_ne!(first.hash, read(template(), &other).hash);
        assert_ne!(first.hash, read(template().yaml("b", "b"), &one).hash);
        assert_eq!(first.set.overlays[1].sources[0].text, "a");

        for number in 0..2 * KEPT_MAX {
            let made_up = |text: &str| Template::new().yaml(format!("{number}"), text);
            assert_eq!(read(made_up("x"), &one).hash, read(made_up("x"), &one).hash);
            assert_ne!(read(made_up("x"), &one).hash, read(made_up("y"), &one).hash);
        }
        let kept = CACHE.lock().unwrap_or_else(PoisonError::into_inner).as_ref().map(HashMap::len);
        assert_eq!(kept, Some(KEPT_MAX));
        assert!(Arc::ptr_eq(&first, &read(template(), &one)));
    }

    #[test]
    fn types_are_called_as_they_are_written() {
        for (type_name, expected) in [
            ("my_crate::api::Widget", "Widget"),
            ("Widget", "Widget"),
            ("my_crate::Kind<alloc::string::String>", "Kind<alloc::string::String>"),
        ] {
            assert_eq!(short(type_name), expected);
        }
    }
}
