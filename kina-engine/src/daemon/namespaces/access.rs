//! The identity of a test with a namespace towards the API server, and its permissions. Pure.

use std::collections::BTreeMap;

use serde_json::{Value, json};

/// The user of every such test. The API server names it in its refusals, so the name gives advice.
pub(super) const USER: &str =
    "kina test with isolation=namespace (for what is not in its namespace, use isolation=cluster)";
/// The ClusterRole with the permissions of all of them, and its binding.
pub(super) const CLUSTER_ROLE: &str = "kina:namespaces";
/// The RoleBinding in each namespace.
const ROLE_BINDING: &str = "kina";
const RBAC: &str = "rbac.authorization.k8s.io";

/// The group of the test that has this namespace, and of no other.
pub(super) fn group(namespace: &str) -> String {
    format!("kina:namespace:{namespace}")
}

/// Lets the test do everything in its namespace.
pub(super) fn role_binding(namespace: &str) -> Value {
    json!({
        "metadata": {"name": ROLE_BINDING},
        "roleRef": {"apiGroup": RBAC, "kind": "ClusterRole", "name": "cluster-admin"},
        "subjects": [{"apiGroup": RBAC, "kind": "Group", "name": group(namespace)}],
    })
}

/// Lets all of them read resources outside of namespaces, from the aggregated discovery documents of `/api` and
/// `/apis`. A wildcard would show them each other's namespaces.
pub(super) fn cluster_role(discovery: &[Value]) -> Value {
    let mut resources: BTreeMap<&str, Vec<String>> = BTreeMap::new();
    for group in discovery.iter().flat_map(|document| items(document, "items")) {
        let of_group = resources.entry(group["metadata"]["name"].as_str().unwrap_or_default()).or_default();
        for resource in items(group, "versions").flat_map(|version| items(version, "resources")) {
            let name = resource["resource"].as_str().unwrap_or_default();
            if resource["scope"] != "Cluster" {
                continue;
            }
            of_group.push(name.to_owned());
            let subresources = items(resource, "subresources");
            let subresources = subresources.filter_map(|subresource| subresource["subresource"].as_str());
            of_group.extend(subresources.map(|subresource| format!("{name}/{subresource}")));
        }
    }
    let mut rules: Vec<_> = resources
        .into_iter()
        .filter(|(_, resources)| !resources.is_empty())
        .map(|(group, mut resources)| {
            resources.sort();
            resources.dedup();
            json!({"apiGroups": [group], "resources": resources, "verbs": ["get", "list", "watch"]})
        })
        .collect();
    // These are questions, although they are asked by a create.
    for (group, resources) in [
        (
            "authorization.k8s.io",
            ["subjectaccessreviews", "selfsubjectaccessreviews", "selfsubjectrulesreviews"].as_slice(),
        ),
        ("authentication.k8s.io", ["tokenreviews", "selfsubjectreviews"].as_slice()),
    ] {
        rules.push(json!({"apiGroups": [group], "resources": resources, "verbs": ["create"]}));
    }
    json!({"metadata": {"name": CLUSTER_ROLE}, "rules": rules})
}

/// Gives that role to all of them.
pub(super) fn cluster_role_binding() -> Value {
    json!({
        "metadata": {"name": CLUSTER_ROLE},
        "roleRef": {"apiGroup": RBAC, "kind": "ClusterRole", "name": CLUSTER_ROLE},
        "subjects": [{"apiGroup": RBAC, "kind": "User", "name": USER}],
    })
}

/// The SubjectAccessReview that is allowed once the authorizer knows [`cluster_role_binding`].
pub(super) fn cluster_review() -> Value {
    review(json!({"user": USER, "resourceAttributes": {"verb": "list", "resource": "namespaces"}}))
}

/// The one that is allowed once it knows [`role_binding`].
pub(super) fn namespace_review(namespace: &str) -> Value {
    let attributes = json!({"verb": "create", "resource": "configmaps", "namespace": namespace});
    review(json!({"user": USER, "groups": [group(namespace)], "resourceAttributes": attributes}))
}

fn review(spec: Value) -> Value {
    json!({"apiVersion": "authorization.k8s.io/v1", "kind": "SubjectAccessReview", "spec": spec})
}

fn items<'a>(value: &'a Value, field: &str) -> impl Iterator<Item = &'a Value> {
    value[field].as_array().into_iter().flatten()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_is_in_no_namespace_can_be_read() {
        let core = json!({"items": [{"metadata": {}, "versions": [{"version": "v1", "resources": [
            {"resource": "namespaces", "scope": "Cluster", "subresources": [{"subresource": "status"}]},
            {"resource": "secrets", "scope": "Namespaced"},
        ]}]}]});
        let groups = json!({"items": [
            {"metadata": {"name": "apps"}, "versions": [{"version": "v1", "resources": [
                {"resource": "deployments", "scope": "Namespaced"}]}]},
            {"metadata": {"name": "example.com"}, "versions": [
                {"version": "v2", "resources": [{"resource": "nodesets", "scope": "Cluster"}]},
                {"version": "v1", "resources": [{"resource": "nodesets", "scope": "Cluster"}]}]},
        ]});
        let role = cluster_role(&[core, groups]);
        let read = json!(["get", "list", "watch"]);
        let expected = json!([
            {"apiGroups": [""], "resources": ["namespaces", "namespaces/status"], "verbs": read},
            {"apiGroups": ["example.com"], "resources": ["nodesets"], "verbs": read},
        ]);
        let rules = role["rules"].as_array().expect("rules");
        assert_eq!(rules[..2], expected.as_array().expect("rules")[..]);
        assert!(rules[2..].iter().all(|rule| rule["verbs"] == json!(["create"])), "{rules:?}");
        assert!(!role.to_string().contains('*'), "a wildcard shows more: {role}");
    }
}
