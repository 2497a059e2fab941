//! Single changes of a cluster, as data: the benchmarks and the tests of the workspace send them each in their own way.

use http::Method;
use serde_json::{Value, json};

const DEFINITIONS: &str = "/apis/apiextensions.k8s.io/v1/customresourcedefinitions";
const NAMESPACES: &str = "/api/v1/namespaces";
const CLUSTER_ROLES: &str = "/apis/rbac.authorization.k8s.io/v1/clusterroles";
const NODE_PORT: u16 = 30777;
const CLUSTER_IP: &str = "10.0.0.77";

/// A request that writes.
#[derive(Clone, Debug)]
pub struct Change {
    pub method: Method,
    pub path: String,
    /// The object to create, or the patch to merge.
    pub object: Option<Value>,
}

impl Change {
    /// The creation of an object in a collection.
    pub fn create(path: impl Into<String>, object: Value) -> Self {
        Self { method: Method::POST, path: path.into(), object: Some(object) }
    }

    /// A patch that is merged into an object.
    pub fn merge(path: impl Into<String>, patch: Value) -> Self {
        Self { method: Method::PATCH, path: path.into(), object: Some(patch) }
    }

    /// The deletion of an object.
    pub fn delete(path: impl Into<String>) -> Self {
        Self { method: Method::DELETE, path: path.into(), object: None }
    }

    /// The type of the request's content.
    pub fn content_type(&self) -> &'static str {
        if self.method == Method::PATCH { "application/merge-patch+json" } else { "application/json" }
    }
}

/// The path of a namespace's ConfigMaps.
pub fn config_maps_path(namespace: &str) -> String {
    format!("{NAMESPACES}/{namespace}/configmaps")
}

/// The path of the custom resources that [`definition`] defines.
pub fn widgets_path(group: &str, namespace: &str) -> String {
    format!("/apis/{group}/v1/namespaces/{namespace}/widgets")
}

/// A new namespace.
pub fn namespace(name: &str) -> Change {
    Change::create(NAMESPACES, json!({"metadata": {"name": name}}))
}

/// A namespace being deleted. It stays as long as a finalized object is in it.
pub fn deletion_of_namespace(name: &str) -> Change {
    Change::delete(format!("{NAMESPACES}/{name}"))
}

/// Changed labels of the namespace `default`.
pub fn labels_of_default() -> Change {
    Change::merge(format!("{NAMESPACES}/default"), json!({"metadata": {"labels": {"dirty": "yes"}}}))
}

/// The CRD of a group's widgets.
pub fn definition(group: &str) -> Change {
    let definition = json!({
        "metadata": {"name": format!("widgets.{group}")},
        "spec": {
            "group": group,
            "scope": "Namespaced",
            "names": {"plural": "widgets", "singular": "widget", "kind": "Widget"},
            "versions": [{
                "name": "v1",
                "served": true,
                "storage": true,
                "schema": {"openAPIV3Schema": {"type": "object", "x-kubernetes-preserve-unknown-fields": true}},
            }],
        },
    });
    Change::create(DEFINITIONS, definition)
}

/// The deletion of the CRD of a group's widgets, and thus of all of them.
pub fn deletion_of_definition(group: &str) -> Change {
    Change::delete(format!("{DEFINITIONS}/widgets.{group}"))
}

/// Custom resources with a finalizer that is never removed.
pub fn finalized_widgets(group: &str, namespace: &str, count: usize) -> Vec<Change> {
    let widget = |number| {
        let name = format!("widget-{number}");
        json!({
            "apiVersion": format!("{group}/v1"),
            "kind": "Widget",
            "metadata": {"name": name, "finalizers": [format!("{group}/never")]},
        })
    };
    (0..count).map(|number| Change::create(widgets_path(group, namespace), widget(number))).collect()
}

/// Many ConfigMaps.
pub fn config_maps(namespace: &str, count: usize) -> Vec<Change> {
    let config_map = |number| json!({"metadata": {"name": format!("map-{number}")}});
    (0..count).map(|number| Change::create(config_maps_path(namespace), config_map(number))).collect()
}

/// A service on a fixed port of all nodes, at a fixed address.
pub fn service(namespace: &str) -> Change {
    let ports = json!([{"port": 80, "nodePort": NODE_PORT}]);
    let spec = json!({"type": "NodePort", "clusterIP": CLUSTER_IP, "ports": ports});
    Change::create(format!("{NAMESPACES}/{namespace}/services"), json!({"metadata": {"name": "fixed"}, "spec": spec}))
}

/// The deletion of a ClusterRole, such as one that the API server makes at its start.
pub fn deletion_of_cluster_role(name: &str) -> Change {
    Change::delete(format!("{CLUSTER_ROLES}/{name}"))
}
