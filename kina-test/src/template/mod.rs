//! What a cluster starts from.
//!
//! - `read`: from the entries of a template to texts, once for each process.

mod read;

use kube::CustomResourceExt;

pub(crate) use read::ReadTemplate;

/// What a test's cluster has in it when the test starts: CRDs and other objects.
///
/// Mostly the options `crds` and `fixtures` of [`#[kina::test]`](macro@crate::test) say all there is to say. For a
/// template that many tests share, or that is generated, there is the option `template`, which names a function:
///
/// ```rust,test_harness,no_run
/// use k8s_openapi::api::core::v1::ConfigMap;
///
/// fn three_shops() -> kina::Template {
///     let shops: String = (1..=3)
///         .map(|number| format!("---\napiVersion: v1\nkind: ConfigMap\nmetadata: {{name: shop-{number}}}\n"))
///         .collect();
///     kina::Template::new().yaml("the shops", shops)
/// }
/// #[kina::test(template = three_shops)]
/// async fn there_are_three_shops(shops: kube::Api<ConfigMap>) -> Result<(), kube::Error> {
///     assert_eq!(shops.list(&Default::default()).await?.items.len(), 3);
///     Ok(())
/// }
/// ```
///
/// The engine applies the content once, and keeps what came of it by the hash of the content. Every other test with the
/// same content starts from there in milliseconds. So the content must not change from test to test: no random names, no
/// time of day.
///
/// All CRDs are applied first, and each may be there once. Each entry of the other objects is a layer of its own: what a
/// later one says of an object replaces what an earlier one said.
///
/// Paths are relative to the package's directory, which is where it is when the test runs: see
/// [`Context::package_directory`](crate::Context::package_directory). A path names a file, or a folder, or is a pattern
/// with `*`, `?`, `[…]`, or `**` for folders of any depth. Of a folder all `.yaml`, `.yml` and `.json` files are taken, in
/// the order of their names; one with a `kustomization.yaml` or a `Chart.yaml` is rendered by your own `kustomize` or
/// `helm`.
#[derive(Clone, Debug, Default)]
#[must_use]
pub struct Template {
    entries: Vec<Entry>,
}

#[derive(Clone, Debug)]
enum Entry {
    /// The CRD of a type.
    CrdOfType { type_name: &'static str, crd_json: fn() -> String },
    /// Files with CRDs.
    Crds { path: String },
    /// Files with any objects.
    Fixtures { path: String },
    /// A text with any objects.
    Yaml { name: String, text: String },
}

impl Template {
    /// An empty one: as if there were none.
    pub fn new() -> Self {
        Self::default()
    }

    /// The CRD of this type, which derives `kube::CustomResource`.
    pub fn crd<K: CustomResourceExt>(self) -> Self {
        // A definition is plain data: there is no map with keys that are no strings, nothing else can fail.
        let crd_json = || serde_json::to_string(&K::crd()).expect("a CRD can be written as JSON");
        self.with(Entry::CrdOfType { type_name: std::any::type_name::<K>(), crd_json })
    }

    /// The CRDs in these files.
    pub fn crds(self, path: impl Into<String>) -> Self {
        self.with(Entry::Crds { path: path.into() })
    }

    /// The objects in these files.
    pub fn fixtures(self, path: impl Into<String>) -> Self {
        self.with(Entry::Fixtures { path: path.into() })
    }

    /// The objects in this text, in YAML or JSON. The name is for messages.
    pub fn yaml(self, name: impl Into<String>, text: impl Into<String>) -> Self {
        self.with(Entry::Yaml { name: name.into(), text: text.into() })
    }

    /// All that is in another one, after what is in this one.
    pub fn and(mut self, other: Template) -> Self {
        self.entries.extend(other.entries);
        self
    }

    fn with(mut self, entry: Entry) -> Self {
        self.entries.push(entry);
        self
    }
}
