//! The API resource that a storage key belongs to.

use std::collections::BTreeMap;

use serde_json::Value;

/// Built-in resources whose storage is not named like the API resource.
const RENAMED: [(&str, &str); 5] = [
    ("services/specs", "services"),
    ("services/endpoints", "endpoints"),
    ("minions", "nodes"),
    ("controllers", "replicationcontrollers"),
    ("ingress", "ingresses"),
];

/// Built-in resources that nothing inside the API server follows as a whole (`apiserver_longrunning_requests` of its
/// metrics lists the others; the contract suite compares).
pub const UNFOLLOWED: [&str; 16] = [
    "configmaps",
    "controllerrevisions",
    "controllers",
    "cronjobs",
    "daemonsets",
    "deployments",
    "events",
    "horizontalpodautoscalers",
    "ingress",
    "jobs",
    "networkpolicies",
    "poddisruptionbudgets",
    "podtemplates",
    "replicasets",
    "services/endpoints",
    "statefulsets",
];

/// The storage of one resource: its part of the key, such as `configmaps`, `services/specs` or `example.com/widgets`.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct StorageResource(String);

/// The paths at which the API serves each stored resource.
#[derive(Clone, Debug, Default)]
pub(super) struct ApiPaths(BTreeMap<String, String>);

impl StorageResource {
    /// The resource of a key; `None` for allocator state, which no API serves.
    pub(super) fn of_key(key: &[u8]) -> Option<Self> {
        let path = std::str::from_utf8(key.strip_prefix(super::PREFIX)?).ok()?;
        let (first, rest) = path.split_once('/').unwrap_or((path, ""));
        let second = rest.split('/').next().unwrap_or_default();
        match first {
            // Free ports and addresses: followed on each allocation, not cached.
            "ranges" => None,
            "services" => Some(Self(format!("services/{second}"))),
            group if group.contains('.') => Some(Self(format!("{group}/{second}"))),
            plural => Some(Self(plural.to_owned())),
        }
    }

    pub(super) fn as_str(&self) -> &str {
        &self.0
    }

    /// Returns true if it decides about the admission of other writes from a state that is compiled or cached with a
    /// delay.
    pub(super) fn is_admission(&self) -> bool {
        matches!(
            self.as_str(),
            "validatingwebhookconfigurations"
                | "mutatingwebhookconfigurations"
                | "validatingadmissionpolicies"
                | "validatingadmissionpolicybindings"
                | "mutatingadmissionpolicies"
                | "mutatingadmissionpolicybindings"
                | "resourcequotas"
                | "limitranges"
        )
    }

    /// Returns true if the API server decides by it about other requests, from an informer whose progress cannot be
    /// seen. Few leases touch these.
    pub(super) fn configures_requests(&self) -> bool {
        matches!(
            self.as_str(),
            "priorityclasses"
                | "storageclasses"
                | "ingressclasses"
                | "runtimeclasses"
                | "servicecidrs"
                | "flowschemas"
                | "prioritylevelconfigurations"
        )
    }

    /// Returns true if an informer inside the API server may follow all of it.
    pub(super) fn is_followed(&self) -> bool {
        !self.is_custom() && !UNFOLLOWED.contains(&self.as_str())
    }

    /// Returns true if discovery and OpenAPI are made from it.
    pub(super) fn shapes_discovery(&self) -> bool {
        matches!(self.as_str(), "apiextensions.k8s.io/customresourcedefinitions" | "apiregistration.k8s.io/apiservices")
    }

    /// Returns true if it defines kinds.
    pub(super) fn defines_kinds(&self) -> bool {
        self.as_str() == "apiextensions.k8s.io/customresourcedefinitions"
    }

    /// Returns true if its objects are the addresses of Services (KEP-1880).
    pub(super) fn is_address(&self) -> bool {
        self.as_str() == "ipaddresses"
    }

    pub(super) fn is_cluster_rbac(&self) -> bool {
        matches!(self.as_str(), "clusterroles" | "clusterrolebindings")
    }

    pub(super) fn is_namespaced_rbac(&self) -> bool {
        matches!(self.as_str(), "roles" | "rolebindings")
    }

    /// Returns true if this path lists it, in any version. For resources of groups with a dot in their name.
    pub(super) fn is_served_at(&self, path: &str) -> bool {
        self.0.split_once('/').is_some_and(|(group, plural)| {
            let rest = path.strip_prefix("/apis/").and_then(|rest| rest.strip_prefix(group)?.strip_prefix('/'));
            rest.and_then(|rest| rest.split_once('/')).is_some_and(|(_, listed)| listed == plural)
        })
    }

    /// Returns true for a resource of a group with a dot in its name that is none of the API server's own.
    pub(super) fn is_custom(&self) -> bool {
        self.0.split_once('/').is_some_and(|(group, _)| {
            group.contains('.') && group != "apiextensions.k8s.io" && group != "apiregistration.k8s.io"
        })
    }
}

impl ApiPaths {
    /// Reads the aggregated discovery documents (`APIGroupDiscoveryList`, KEP-3352) of `/api` and `/apis`.
    pub(super) fn from_discovery(documents: &[Value]) -> Self {
        let mut paths = BTreeMap::new();
        for group in documents.iter().flat_map(|document| items(document, "items")) {
            let group_name = group["metadata"]["name"].as_str().unwrap_or_default();
            for version in items(group, "versions") {
                let version_name = version["version"].as_str().unwrap_or_default();
                let base = match group_name {
                    "" => format!("/api/{version_name}"),
                    _ => format!("/apis/{group_name}/{version_name}"),
                };
                for resource in items(version, "resources") {
                    let plural = resource["resource"].as_str().unwrap_or_default();
                    let path = format!("{base}/{plural}");
                    // The preferred version comes first, and the core group before all others.
                    paths.entry(format!("{group_name}/{plural}")).or_insert_with(|| path.clone());
                    paths.entry(plural.to_owned()).or_insert(path);
                }
            }
        }
        Self(paths)
    }

    /// The paths that list resources which are not served there.
    pub(super) fn beyond<'a>(&'a self, other: &'a Self) -> impl Iterator<Item = &'a str> {
        let is_new = |(resource, _): &(&String, _)| resource.contains('/') && !other.0.contains_key(*resource);
        self.0.iter().filter(is_new).map(|(_, path)| path.as_str())
    }

    /// The path that lists a resource in all namespaces.
    pub(super) fn list_path(&self, resource: &StorageResource) -> Option<&str> {
        self.0.get(api_name(resource.as_str())).map(String::as_str)
    }
}

/// The API's name for objects stored under this name.
pub fn api_name(stored: &str) -> &str {
    RENAMED.iter().find(|(storage, _)| *storage == stored).map_or(stored, |(_, api)| *api)
}

fn items<'a>(value: &'a Value, field: &str) -> impl Iterator<Item = &'a Value> {
    value[field].as_array().into_iter().flatten()
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn resource(key: &str) -> Option<String> {
        StorageResource::of_key(key.as_bytes()).map(|resource| resource.0)
    }

    #[test]
    fn a_resource_is_served_at_its_own_path_alone() {
        let resource = StorageResource::of_key(b"/registry/example.com/widgets/a/b").expect("a resource");
        for version in ["v1", "v1beta1"] {
            assert!(resource.is_served_at(&format!("/apis/example.com/{version}/widgets")));
        }
        for other in [
            "/apis/example.com/v1/gadgets",
            "/apis/my.example.com/v1/widgets",
            "/apis/example.com/widgets",
            "/api/v1/pods",
        ] {
            assert!(!resource.is_served_at(other), "{other}");
        }
        assert!(!StorageResource::of_key(b"/registry/pods/a/b").expect("a resource").is_served_at("/api/v1/pods"));
    }

    #[test]
    fn keys_are_told_apart_by_their_resource() {
        assert_eq!(resource("/registry/configmaps/default/a").as_deref(), Some("configmaps"));
        assert_eq!(resource("/registry/services/specs/default/a").as_deref(), Some("services/specs"));
        assert_eq!(resource("/registry/example.com/widgets/default/a").as_deref(), Some("example.com/widgets"));
        assert_eq!(resource("/registry/ranges/servicenodeports"), None);
        assert_eq!(resource("/elsewhere"), None);
    }

    #[test]
    fn list_paths_come_from_discovery() {
        let core = json!({"items": [{"metadata": {}, "versions": [{"version": "v1", "resources": [
            {"resource": "services"}, {"resource": "events"}]}]}]});
        let groups = json!({"items": [{"metadata": {"name": "events.k8s.io"}, "versions": [
            {"version": "v1", "resources": [{"resource": "events"}]}]}]});
        let paths = ApiPaths::from_discovery(&[core, groups]);
        let path = |key: &[u8]| {
            StorageResource::of_key(key).and_then(|resource| paths.list_path(&resource).map(str::to_owned))
        };
        assert_eq!(path(b"/registry/services/specs/default/a").as_deref(), Some("/api/v1/services"));
        assert_eq!(path(b"/registry/events/default/a").as_deref(), Some("/api/v1/events"));
        assert_eq!(path(b"/registry/unheard/default/a"), None);
    }
}
