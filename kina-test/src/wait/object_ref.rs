use kube::Resource;
use kube::core::{ClusterResourceScope, DynamicResourceScope, NamespaceResourceScope};
use serde::de::DeserializeOwned;

/// A reference to an object: its kind, its name and, if it has one, its namespace.
///
/// Made by [`object`], by [`ObjectRef::of_kind`], or from an existing object ([`AsObjectRef`]).
#[derive(Clone, Debug)]
pub struct ObjectRef<K: Resource> {
    name: String,
    namespace: Option<String>,
    uid: Option<String>,
    dynamic_type: K::DynamicType,
}

/// A value that refers to an object: an [`ObjectRef`], or any object with a name.
///
/// An object is identified by its name and namespace, and by its UID if it has one.
pub trait AsObjectRef {
    /// The type of the object.
    type Object: Object;

    /// The reference.
    fn as_object_ref(&self) -> ObjectRef<Self::Object>;
}

/// A type that objects can be read into.
pub trait Object: Resource<Scope: Scope, DynamicType: Clone> + DeserializeOwned + Send + 'static {}

impl<K: Resource<Scope: Scope, DynamicType: Clone> + DeserializeOwned + Send + 'static> Object for K {}

/// The scope of a kind: namespaced or cluster-wide.
pub trait Scope {
    /// The namespace of an object, if the given one is `given`.
    fn namespace(given: Option<&str>, default: &str) -> Option<String>;
}

/// The object of this name: in the client's own namespace, unless [`ObjectRef::within`] names another.
///
/// ```
/// use k8s_openapi::api::apps::v1::Deployment;
/// use k8s_openapi::api::core::v1::Node;
///
/// let deployment = kina::object::<Deployment>("web").within("shop");
/// assert_eq!(deployment.describe(), "Deployment shop/web");
/// assert_eq!(kina::object::<Node>("worker").describe(), "Node worker");
/// ```
pub fn object<K: Resource<DynamicType = ()>>(name: impl Into<String>) -> ObjectRef<K> {
    ObjectRef { name: name.into(), namespace: None, uid: None, dynamic_type: () }
}

impl<K: Resource> ObjectRef<K> {
    /// An object of this name, of a kind that is only known at run time (`kube::api::DynamicObject`).
    ///
    /// The scope of such a kind is not known: the object is namespaced if [`Self::within`] names a namespace.
    pub fn of_kind(dynamic_type: K::DynamicType, name: impl Into<String>) -> Self {
        Self { name: name.into(), namespace: None, uid: None, dynamic_type }
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
        let kind = K::kind(&self.dynamic_type);
        match &self.namespace {
            Some(namespace) => format!("{kind} {namespace}/{}", self.name),
            None => format!("{kind} {}", self.name),
        }
    }

    pub(super) fn uid(&self) -> Option<&str> {
        self.uid.as_deref()
    }

    pub(super) fn dynamic_type(&self) -> &K::DynamicType {
        &self.dynamic_type
    }
}

impl<K: Object> AsObjectRef for ObjectRef<K> {
    type Object = K;

    fn as_object_ref(&self) -> ObjectRef<K> {
        Self {
            name: self.name.clone(),
            namespace: self.namespace.clone(),
            uid: self.uid.clone(),
            dynamic_type: self.dynamic_type.clone(),
        }
    }
}

impl<K: Object + Resource<DynamicType = ()>> AsObjectRef for K {
    type Object = K;

    fn as_object_ref(&self) -> ObjectRef<K> {
        let metadata = self.meta();
        ObjectRef {
            name: metadata.name.clone().unwrap_or_default(),
            namespace: metadata.namespace.clone(),
            uid: metadata.uid.clone(),
            dynamic_type: (),
        }
    }
}

impl Scope for ClusterResourceScope {
    fn namespace(_: Option<&str>, _: &str) -> Option<String> {
        None
    }
}

impl Scope for NamespaceResourceScope {
    fn namespace(given: Option<&str>, default: &str) -> Option<String> {
        Some(given.unwrap_or(default).to_owned())
    }
}

impl Scope for DynamicResourceScope {
    fn namespace(given: Option<&str>, _: &str) -> Option<String> {
        given.map(str::to_owned)
    }
}
