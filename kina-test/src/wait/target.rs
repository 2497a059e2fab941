use serde_json::Value;

use super::error::WaitError;
use super::object_ref::{Object, ObjectRef, Scope};

/// The followed object.
#[derive(Debug)]
pub(super) struct Target {
    /// For messages.
    pub(super) object: String,
    pub(super) kind: String,
    api_version: String,
    pub(super) collection: String,
    name: String,
}

impl Target {
    pub(super) fn new<K: Object>(reference: &ObjectRef<K>, default_namespace: &str) -> Result<Self, WaitError> {
        let dynamic_type = reference.dynamic_type();
        let kind = K::kind(dynamic_type).into_owned();
        if reference.name().is_empty() {
            return Err(WaitError::NoName { kind });
        }
        let namespace = K::Scope::namespace(reference.namespace(), default_namespace);
        let object = match &namespace {
            Some(namespace) => format!("{kind} {namespace}/{}", reference.name()),
            None => format!("{kind} {}", reference.name()),
        };
        Ok(Self {
            object,
            kind,
            api_version: K::api_version(dynamic_type).into_owned(),
            collection: K::url_path(dynamic_type, namespace.as_deref()),
            name: reference.name().to_owned(),
        })
    }

    /// Selects the object in a list or a watch.
    pub(super) fn selector(&self) -> String {
        format!("metadata.name={}", self.name)
    }

    /// The object with its `kind` and `apiVersion`, which items of lists lack.
    pub(super) fn with_kind(&self, mut object: Value) -> Value {
        if let Some(fields) = object.as_object_mut() {
            for (field, value) in [("kind", &self.kind), ("apiVersion", &self.api_version)] {
                fields.entry(field).or_insert_with(|| Value::String(value.clone()));
            }
        }
        object
    }
}
