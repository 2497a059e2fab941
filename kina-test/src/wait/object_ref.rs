use std::marker::PhantomData;

use serde::de::DeserializeOwned;
use serde_json::Value;

/// A reference to an object: its kind, its name and, if it has one, its namespace.
///
/// Made by [`object_of_kind`], by `kina::object` for a kind that has a Rust type, or from an existing object
/// ([`AsObjectRef`]).
#[derive(Debug)]
pub struct ObjectRef<K> {
    kind: ObjectKind,
    name: String,
    namespace: Option<String>,
    uid: Option<String>,
    object: PhantomData<fn() -> K>,
}

/// A value that refers to an object: an [`ObjectRef`], or any object with a name.
///
/// An object is identified by its name and namespace, and by its UID if it has one. `Major` tells the objects of one
/// major version of kube from those of another.
#[diagnostic::on_unimplemented(
    message = "`{Self}` refers to no object that kina can wait for",
    note = "use an object of a kube whose feature of `kina-test` is on (`kube5`, `kube4` or `kube3`), the result of \
            `kina::object`, or the result of `kina::object_of_kind`"
)]
pub trait AsObjectRef<Major = ()> {
    /// The type of the object.
    type Object: Object;

    /// The reference.
    fn as_object_ref(&self) -> ObjectRef<Self::Object>;
}

/// A type that objects can be read into.
pub trait Object: DeserializeOwned + Send + 'static {}

impl<K: DeserializeOwned + Send + 'static> Object for K {}

/// A kind of objects.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct ObjectKind {
    pub(crate) api_version: String,
    pub(crate) kind: String,
    /// `None` if only the server knows.
    pub(crate) resource: Option<Resource>,
}

/// The place of a kind's objects on the server.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Resource {
    pub(crate) plural: String,
    pub(crate) scope: ObjectScope,
}

/// The scope of a kind.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[doc(hidden)]
pub enum ObjectScope {
    Namespaced,
    Cluster,
    /// Namespaced if a namespace is named: the scope is not known.
    AsNamed,
}

/// The object of this kind and name, as JSON. The server is asked for the kind's resource when a wait starts.
///
/// `api_version` is that of the object: `v1`, or `apps/v1`.
///
/// ```
/// let deployment = kina::object_of_kind("apps/v1", "Deployment", "web").within("shop");
/// assert_eq!(deployment.describe(), "Deployment shop/web");
/// ```
pub fn object_of_kind(
    api_version: impl Into<String>,
    kind: impl Into<String>,
    name: impl Into<String>,
) -> ObjectRef<Value> {
    let kind = ObjectKind { api_version: api_version.into(), kind: kind.into(), resource: None };
    ObjectRef::new(kind, name.into(), None, None)
}

impl<K> ObjectRef<K> {
    pub(crate) fn new(kind: ObjectKind, name: String, namespace: Option<String>, uid: Option<String>) -> Self {
        Self { kind, name, namespace, uid, object: PhantomData }
    }

    /// The same object in this namespace.
    pub fn within(self, namespace: impl Into<String>) -> Self {
        Self { namespace: Some(namespace.into()), ..self }
    }

    /// Its name.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Its namespace, if set.
    pub fn namespace(&self) -> Option<&str> {
        self.namespace.as_deref()
    }

    /// For messages: kind, namespace and name.
    pub fn describe(&self) -> String {
        self.kind.describe(self.namespace(), &self.name)
    }

    pub(super) fn uid(&self) -> Option<&str> {
        self.uid.as_deref()
    }

    pub(super) fn kind(&self) -> &ObjectKind {
        &self.kind
    }
}

impl ObjectKind {
    pub(super) fn describe(&self, namespace: Option<&str>, name: &str) -> String {
        match namespace {
            Some(namespace) => format!("{} {namespace}/{name}", self.kind),
            None => format!("{} {name}", self.kind),
        }
    }

    /// The path below which the API server serves the kind's version.
    pub(super) fn version_path(&self) -> String {
        let root = if self.api_version.contains('/') { "/apis" } else { "/api" };
        format!("{root}/{}", self.api_version)
    }
}

impl ObjectScope {
    /// The namespace of an object, if the given one is `given`.
    pub(super) fn namespace(self, given: Option<&str>, default: &str) -> Option<String> {
        match self {
            Self::Cluster => None,
            Self::Namespaced => Some(given.unwrap_or(default).to_owned()),
            Self::AsNamed => given.map(str::to_owned),
        }
    }
}

impl<K> Clone for ObjectRef<K> {
    fn clone(&self) -> Self {
        Self::new(self.kind.clone(), self.name.clone(), self.namespace.clone(), self.uid.clone())
    }
}

impl<K: Object> AsObjectRef for ObjectRef<K> {
    type Object = K;

    fn as_object_ref(&self) -> ObjectRef<K> {
        self.clone()
    }
}
