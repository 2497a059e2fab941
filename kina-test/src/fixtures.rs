use std::path::{Path, PathBuf};
use std::time::Instant;

use kina_engine::{FixtureGraph, FixtureOverlay, FixtureSet, FixtureSource};

pub use kina_engine::{ApplyOptions, ApplyPhase, ApplyReport, ApplyWarning, FixturePlace};

use crate::{Cluster, Error};

/// Kubernetes objects that a test starts from.
///
/// This type is rarely needed: any value that is [`IntoFixtures`] can be passed directly. The parts added here form one
/// set: each object may occur in it once, and the parts may depend on each other in any direction. Only an
/// [`overlay`](Fixtures::overlay) may redefine an object.
///
/// ```
/// # fn main() -> Result<(), kina::Error> {
/// let fixtures = kina::Fixtures::new()
///     .text("settings", "{apiVersion: v1, kind: ConfigMap, metadata: {name: settings}, data: {color: red}}")
///     .overlay(kina::Fixtures::new().text(
///         "blue settings",
///         "{apiVersion: v1, kind: ConfigMap, metadata: {name: settings}, data: {color: blue}}",
///     ));
/// # let _ = fixtures;
/// # Ok(())
/// # }
/// ```
#[derive(Clone, Debug, Default)]
pub struct Fixtures {
    set: FixtureSet,
}

/// Objects that [`Cluster::apply_fixtures`] and [`Cluster::install_crds`] accept.
///
/// - A text: YAML with any number of documents, or JSON.
/// - A [`Path`]: a file, a folder, or a pattern such as `crds/*.yaml`, relative to the package (`CARGO_MANIFEST_DIR`).
///   A folder with a `kustomization.yaml` or a `Chart.yaml` is rendered by your own `kustomize`, `kubectl` or `helm`.
/// - A `CustomResourceDefinition`, such as `Widget::crd()` if `Widget` derives `CustomResource`.
/// - Several of the same type: an array or a `Vec`. Several of different types: a tuple, or [`Fixtures`].
#[diagnostic::on_unimplemented(
    message = "`{Self}` holds no fixtures",
    note = "use a text with YAML, a `Path`, the result of `Widget::crd()`, or an array or a tuple of these",
    note = "types of kube need the feature of their major in the dependency on kina-test: `kube5`, `kube4` or `kube3`"
)]
pub trait IntoFixtures {
    /// Reads them, if they are in files.
    ///
    /// # Errors
    /// If a file cannot be read, or a folder cannot be rendered.
    fn into_fixtures(self) -> Result<Fixtures, Error>;
}

impl Fixtures {
    /// An empty set.
    pub fn new() -> Self {
        Self::default()
    }

    /// Adds the objects in a text. Messages refer to the text by this name.
    #[must_use]
    pub fn text(mut self, name: impl Into<String>, text: impl Into<String>) -> Self {
        self.first_overlay().sources.push(FixtureSource { name: name.into(), text: text.into() });
        self
    }

    /// Adds the objects in a file, in a folder, or in all files that match a pattern, relative to the package.
    ///
    /// # Errors
    /// If nothing matches, a file cannot be read, or a folder cannot be rendered.
    pub fn path(self, path: impl AsRef<Path>) -> Result<Self, Error> {
        let pattern = path.as_ref().display().to_string();
        let overlay = kina_engine::read_fixtures(&package_directory(), &pattern).map_err(Error::ReadFixtures)?;
        Ok(self.with_sources(overlay.sources))
    }

    /// Adds all objects of another set.
    #[must_use]
    pub fn and(mut self, others: Self) -> Self {
        let mut overlays = others.set.overlays.into_iter();
        if let Some(first) = overlays.next() {
            self = self.with_sources(first.sources);
        }
        self.set.overlays.extend(overlays);
        self
    }

    /// Adds an overlay: its version of an object replaces an earlier one.
    #[must_use]
    pub fn overlay(mut self, later: Self) -> Self {
        self.first_overlay();
        self.set.overlays.extend(later.set.overlays);
        self
    }

    fn first_overlay(&mut self) -> &mut FixtureOverlay {
        if self.set.overlays.is_empty() {
            self.set.overlays.push(FixtureOverlay { name: "fixtures".to_owned(), sources: Vec::new() });
        }
        &mut self.set.overlays[0]
    }

    fn with_sources(mut self, sources: Vec<FixtureSource>) -> Self {
        self.first_overlay().sources.extend(sources);
        self
    }
}

impl Cluster {
    /// Applies objects to the cluster, each after those it depends on: namespaces, definitions, accounts, owners, …
    ///
    /// Uses server-side apply with the field manager `kina`. The order of the texts does not matter. An object without
    /// a namespace goes to the client's default namespace. When this returns, the kinds of new definitions are in
    /// discovery and can be listed, and instances are created without delay (see [`Cluster::install_crds`]). An owner
    /// reference to one of the objects needs no `uid`. The `status` of an object is not applied.
    ///
    /// Rules about other requests are in force when this returns: admission policies (which take up to two seconds),
    /// webhooks, quotas, limit ranges, default classes, roles and bindings, APIServices and address ranges.
    ///
    /// # Errors
    /// If a text or an object is wrong; as far as possible, all mistakes are reported together, with file, line,
    /// document and object, before anything is written. If the server refuses an object. If it cannot be confirmed in
    /// time that a policy or another rule is in force, for example because a different policy refuses everything.
    ///
    /// ```rust,test_harness
    /// use k8s_openapi::api::apps::v1::Deployment;
    /// use kube::api::Api;
    ///
    /// #[kina::test]
    /// async fn a_deployment_finds_its_account(cluster: kina::Cluster) -> Result<(), Box<dyn std::error::Error>> {
    ///     cluster.apply_fixtures("
    /// apiVersion: apps/v1
    /// kind: Deployment
    /// metadata: {name: web, namespace: shop}
    /// spec:
    ///   selector: {matchLabels: {app: web}}
    ///   template:
    ///     metadata: {labels: {app: web}}
    ///     spec: {serviceAccountName: web, containers: [{name: web, image: web}]}
    /// ---
    /// {apiVersion: v1, kind: ServiceAccount, metadata: {name: web, namespace: shop}}
    /// ---
    /// {apiVersion: v1, kind: Namespace, metadata: {name: shop}}
    /// ").await?;
    ///     let deployments: Api<Deployment> = Api::namespaced(cluster.client(), "shop");
    ///     assert_eq!(deployments.get("web").await?.metadata.name.as_deref(), Some("web"));
    ///     Ok(())
    /// }
    /// ```
    pub async fn apply_fixtures(&self, fixtures: impl IntoFixtures) -> Result<ApplyReport, Error> {
        let options = ApplyOptions { namespace: self.default_namespace().to_owned(), ..ApplyOptions::default() };
        self.apply_fixtures_with(fixtures, &options).await
    }

    /// Like [`Cluster::apply_fixtures`], with options: another default namespace, or unmodified definitions.
    ///
    /// # Errors
    /// As [`Cluster::apply_fixtures`].
    pub async fn apply_fixtures_with(
        &self,
        fixtures: impl IntoFixtures,
        options: &ApplyOptions,
    ) -> Result<ApplyReport, Error> {
        let graph =
            FixtureGraph::new(&fixtures.into_fixtures()?.set).map_err(|errors| Error::Fixtures(errors.into()))?;
        let mut report =
            kina_engine::apply_fixtures(self.raw_client(), &graph, options).await.map_err(Error::Fixtures)?;
        let rule_kinds = graph.rule_kinds();
        if !rule_kinds.is_empty() {
            let start = Instant::now();
            self.bring_in_force(rule_kinds).await?;
            let name = "waiting until the rules are in force".to_owned();
            report.phases.push(ApplyPhase { name, duration: start.elapsed() });
        }
        Ok(report)
    }

    /// Installs CustomResourceDefinitions and any objects beside them. Their kinds can be used when this returns.
    ///
    /// A Kubernetes API server delays every creation of a custom resource while its definition is younger than two
    /// seconds. kina spares tests this delay: it backdates the time at which the definition became `Established`. For
    /// the usual behaviour, set [`ApplyOptions::strict`] and use [`Cluster::apply_fixtures_with`].
    ///
    /// # Errors
    /// As [`Cluster::apply_fixtures`].
    ///
    /// ```rust,test_harness
    /// use kube::api::{Api, DynamicObject, ListParams};
    /// use kube::core::{ApiResource, GroupVersionKind};
    ///
    /// const WIDGETS: &str = "
    /// apiVersion: apiextensions.k8s.io/v1
    /// kind: CustomResourceDefinition
    /// metadata: {name: widgets.example.com}
    /// spec:
    ///   group: example.com
    ///   scope: Namespaced
    ///   names: {kind: Widget, plural: widgets}
    ///   versions:
    ///   - name: v1
    ///     served: true
    ///     storage: true
    ///     schema: {openAPIV3Schema: {type: object}}
    /// ";
    ///
    /// #[kina::test]
    /// async fn widgets_can_be_listed(cluster: kina::Cluster) -> Result<(), Box<dyn std::error::Error>> {
    ///     cluster.install_crds(WIDGETS).await?;
    ///     let widget = ApiResource::from_gvk(&GroupVersionKind::gvk("example.com", "v1", "Widget"));
    ///     let widgets: Api<DynamicObject> = Api::default_namespaced_with(cluster.client(), &widget);
    ///     assert!(widgets.list(&ListParams::default()).await?.items.is_empty());
    ///     Ok(())
    /// }
    /// ```
    pub async fn install_crds(&self, definitions: impl IntoFixtures) -> Result<ApplyReport, Error> {
        self.apply_fixtures(definitions).await
    }
}

impl IntoFixtures for Fixtures {
    fn into_fixtures(self) -> Result<Fixtures, Error> {
        Ok(self)
    }
}

impl IntoFixtures for &str {
    fn into_fixtures(self) -> Result<Fixtures, Error> {
        Ok(Fixtures::new().text("text", self))
    }
}

impl IntoFixtures for String {
    fn into_fixtures(self) -> Result<Fixtures, Error> {
        Ok(Fixtures::new().text("text", self))
    }
}

impl IntoFixtures for &Path {
    fn into_fixtures(self) -> Result<Fixtures, Error> {
        Fixtures::new().path(self)
    }
}

impl IntoFixtures for PathBuf {
    fn into_fixtures(self) -> Result<Fixtures, Error> {
        self.as_path().into_fixtures()
    }
}

impl<Each: IntoFixtures, const COUNT: usize> IntoFixtures for [Each; COUNT] {
    fn into_fixtures(self) -> Result<Fixtures, Error> {
        all(self)
    }
}

impl<Each: IntoFixtures> IntoFixtures for Vec<Each> {
    fn into_fixtures(self) -> Result<Fixtures, Error> {
        all(self)
    }
}

impl<First: IntoFixtures, Second: IntoFixtures> IntoFixtures for (First, Second) {
    fn into_fixtures(self) -> Result<Fixtures, Error> {
        Ok(self.0.into_fixtures()?.and(self.1.into_fixtures()?))
    }
}

impl<First: IntoFixtures, Second: IntoFixtures, Third: IntoFixtures> IntoFixtures for (First, Second, Third) {
    fn into_fixtures(self) -> Result<Fixtures, Error> {
        Ok(self.0.into_fixtures()?.and(self.1.into_fixtures()?).and(self.2.into_fixtures()?))
    }
}

/// Numbers the texts that have no name, so that messages can tell them apart.
fn all<Each: IntoFixtures>(many: impl IntoIterator<Item = Each>) -> Result<Fixtures, Error> {
    let mut all = Fixtures::new();
    for (number, one) in (1..).zip(many) {
        let mut one = one.into_fixtures()?;
        for source in one.set.overlays.iter_mut().flat_map(|overlay| &mut overlay.sources) {
            if source.name == "text" {
                source.name = format!("text {number}");
            }
        }
        all = all.and(one);
    }
    Ok(all)
}

/// The package's directory. Read at run time, because test runners may move a build to another machine.
fn package_directory() -> PathBuf {
    let package = std::env::var_os("CARGO_MANIFEST_DIR").map(PathBuf::from);
    package.or_else(|| std::env::current_dir().ok()).unwrap_or_default()
}
