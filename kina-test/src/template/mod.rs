//! The initial content of a cluster.
//!
//! - `read`: reads the entries of a template into texts, once per process.

mod read;

pub(crate) use read::ReadTemplate;

/// The content of a test's cluster when the test starts: CRDs and other objects.
///
/// Mostly the options `crds` and `fixtures` of [`#[kina::test]`](macro@crate::test) are enough. For a template that
/// many tests share, or that is generated, the option `template` names a function:
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
/// The engine applies the content once and stores the result under the content's hash. Every other test with the same
/// content starts from there in milliseconds. So the content must be the same for each test: no random names, no time
/// of day.
///
/// All CRDs are applied first, and each may occur once. Each entry of other objects is a layer of its own: a later
/// version of an object replaces an earlier one.
///
/// Paths are relative to the package's directory at run time: see
/// [`Context::package_directory`](crate::Context::package_directory). A path names a file or a folder, or is a pattern
/// with `*`, `?`, `[…]`, or `**` for folders of any depth. A folder stands for all its `.yaml`, `.yml` and `.json`
/// files, in the order of their names; a folder with a `kustomization.yaml` or a `Chart.yaml` is rendered by your own
/// `kustomize` or `helm`.
#[derive(Clone, Debug, Default)]
#[must_use]
pub struct Template {
    entries: Vec<Entry>,
}

/// A type with a CustomResourceDefinition: one that derives `CustomResource` of a kube whose feature is on.
#[doc(hidden)]
#[diagnostic::on_unimplemented(
    message = "`{Self}` has no CustomResourceDefinition",
    label = "derives no `kube::CustomResource`",
    note = "types of kube need the feature of their major in the dependency on kina-test: `kube5`, `kube4` or `kube3`"
)]
pub trait TypeWithDefinition<Major> {
    /// The definition, as JSON.
    fn definition_json() -> String;
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
    /// An empty template, equivalent to none.
    pub fn new() -> Self {
        Self::default()
    }

    /// The definition of this type, of whichever major of kube.
    #[doc(hidden)]
    pub fn definition_of<K: TypeWithDefinition<Major>, Major>(self) -> Self {
        self.with(Entry::CrdOfType { type_name: std::any::type_name::<K>(), crd_json: K::definition_json })
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

    /// Adds all entries of another template, after the entries of this one.
    pub fn and(mut self, other: Template) -> Self {
        self.entries.extend(other.entries);
        self
    }

    fn with(mut self, entry: Entry) -> Self {
        self.entries.push(entry);
        self
    }
}
