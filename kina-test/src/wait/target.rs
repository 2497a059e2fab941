use kina_engine::RawClient;
use serde_json::Value;

use super::error::WaitError;
use super::object_ref::{ObjectKind, ObjectRef, ObjectScope, Resource};
use crate::ApiError;
use crate::api_request::ApiRequest;

/// The followed object.
#[derive(Debug)]
pub(super) struct Target {
    /// For messages.
    pub(super) object: String,
    kind: ObjectKind,
    /// The namespace of the reference.
    given: Option<String>,
    default_namespace: String,
    name: String,
}

impl Target {
    pub(super) fn new<K>(reference: &ObjectRef<K>, default_namespace: &str) -> Result<Self, WaitError> {
        let kind = reference.kind().clone();
        if reference.name().is_empty() {
            return Err(WaitError::NoName { kind: kind.kind });
        }
        let scope = kind.resource.as_ref().map_or(ObjectScope::AsNamed, |resource| resource.scope);
        let namespace = scope.namespace(reference.namespace(), default_namespace);
        Ok(Self {
            object: kind.describe(namespace.as_deref(), reference.name()),
            kind,
            given: reference.namespace().map(str::to_owned),
            default_namespace: default_namespace.to_owned(),
            name: reference.name().to_owned(),
        })
    }

    /// Returns the path of the list that contains the object. Asks the server for it if the kind is known by its name
    /// alone.
    pub(super) async fn collection(&self, client: &RawClient) -> Result<String, ApiError> {
        let asked;
        let resource = match &self.kind.resource {
            Some(resource) => resource,
            None => {
                asked = self.ask_for_resource(client).await?;
                &asked
            }
        };
        let version = self.kind.version_path();
        Ok(match resource.scope.namespace(self.given.as_deref(), &self.default_namespace) {
            Some(namespace) => format!("{version}/namespaces/{namespace}/{}", resource.plural),
            None => format!("{version}/{}", resource.plural),
        })
    }

    async fn ask_for_resource(&self, client: &RawClient) -> Result<Resource, ApiError> {
        let path = self.kind.version_path();
        let list = ApiRequest::get(&path).send(client).await?;
        let resources = list["resources"].as_array().map(Vec::as_slice).unwrap_or_default();
        // A subresource has a slash in its name, and may have the kind of its object.
        let found = resources.iter().find_map(|resource| {
            let plural = resource["name"].as_str().filter(|name| !name.contains('/'))?;
            let scope = if resource["namespaced"] == true { ObjectScope::Namespaced } else { ObjectScope::Cluster };
            (resource["kind"] == self.kind.kind).then(|| Resource { plural: plural.to_owned(), scope })
        });
        found.ok_or_else(|| ApiError::Refused {
            code: 404,
            reason: "NotFound".to_owned(),
            message: format!("{path} has no kind {}", self.kind.kind),
        })
    }

    /// Selects the object in a list or a watch, as the value of the parameter `fieldSelector`.
    pub(super) fn selector(&self) -> String {
        let selector = format!("metadata.name={}", self.name);
        form_urlencoded::byte_serialize(selector.as_bytes()).collect()
    }

    /// The object with its `kind` and `apiVersion`, which items of lists lack.
    pub(super) fn with_kind(&self, mut object: Value) -> Value {
        if let Some(fields) = object.as_object_mut() {
            for (field, value) in [("kind", &self.kind.kind), ("apiVersion", &self.kind.api_version)] {
                fields.entry(field).or_insert_with(|| Value::String(value.clone()));
            }
        }
        object
    }
}
