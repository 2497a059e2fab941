//! Detection that the authorizer inside an API server has caught up.
//!
//! RBAC is decided from informers, which follow the watch caches, which follow etcd. An informer handles the events of
//! one resource in their order. So a rewind that touched roles or bindings is followed by one more of each, the canary:
//! as soon as an access review shows that the canary has its effect, everything before it has had its own. The canary
//! grants one made-up verb on a made-up resource to a user that no credential stands for, and goes before hand-out.

use std::collections::BTreeSet;

use serde_json::{Value, json};

use crate::api_client::ApiClient;
use crate::etcd::WriteOperation;
use crate::rewind::resource::StorageResource;
use crate::rewind::{RewindError, settle};
use crate::rule_kind::RuleKind;

const NAME: &str = "kina-canary";
const USER: &str = "kina:canary";
const GROUP: &str = "canary.kina.invalid";
/// Exists in every cluster, and the API server itself recreates it.
const NAMESPACE: &str = "kube-system";

/// The pair of resources that a canary watches over.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::rewind) enum AccessCanary {
    /// ClusterRoles and ClusterRoleBindings.
    Cluster,
    /// Roles and RoleBindings.
    Namespaced,
}

impl AccessCanary {
    /// The canaries that a rewind of these resources needs.
    pub(in crate::rewind) fn of_touched(touched: &BTreeSet<StorageResource>) -> Vec<Self> {
        let cluster = touched.iter().any(StorageResource::is_cluster_rbac).then_some(Self::Cluster);
        let namespaced = touched.iter().any(StorageResource::is_namespaced_rbac).then_some(Self::Namespaced);
        cluster.into_iter().chain(namespaced).collect()
    }

    /// The one that rules of this kind need, if it is for the authorizer.
    pub(super) fn of_rule(kind: RuleKind) -> Option<Self> {
        match kind {
            RuleKind::ClusterRole => Some(Self::Cluster),
            RuleKind::Role => Some(Self::Namespaced),
            _ => None,
        }
    }

    /// The writes that set it out.
    pub(in crate::rewind) fn puts(self, id: &str) -> Vec<WriteOperation> {
        // The API server reads JSON from storage as well as its own encoding.
        self.objects(id)
            .into_iter()
            .map(|(key, object)| WriteOperation::Put { key, value: object.to_string().into_bytes() })
            .collect()
    }

    /// The writes that take it away.
    pub(in crate::rewind) fn deletions(self) -> Vec<WriteOperation> {
        self.objects("").into_iter().map(|(key, _)| WriteOperation::Delete { key }).collect()
    }

    /// Waits until the authorizer knows the canary, and so all writes before it.
    pub(in crate::rewind) async fn wait(self, client: &ApiClient, id: &str) -> Result<(), RewindError> {
        const PATH: &str = "/apis/authorization.k8s.io/v1/subjectaccessreviews";
        let review = self.access_review(id);
        let review = &review;
        settle::poll("authorization", settle::FOLLOW_TIMEOUT, settle::POLL_INTERVAL, || async move {
            let answer = client.post(PATH, review).await?;
            if answer.status != http::StatusCode::CREATED {
                return Err(settle::unexpected(PATH, format!("HTTP status {}", answer.status)));
            }
            let review: Value =
                serde_json::from_slice(&answer.body).map_err(|error| settle::unexpected(PATH, error.to_string()))?;
            Ok(review["status"]["allowed"] == true)
        })
        .await
    }

    /// The SubjectAccessReview that is allowed once the authorizer knows this very canary.
    fn access_review(self, id: &str) -> Value {
        let mut attributes = json!({"verb": "get", "group": GROUP, "resource": self.resource(id)});
        if self == Self::Namespaced {
            attributes["namespace"] = NAMESPACE.into();
        }
        json!({
            "apiVersion": "authorization.k8s.io/v1",
            "kind": "SubjectAccessReview",
            "spec": {"user": USER, "resourceAttributes": attributes},
        })
    }

    /// Differs each time, so that a canary the authorizer has not yet forgotten is not taken for this one.
    fn resource(self, id: &str) -> String {
        match self {
            Self::Cluster => format!("cluster-{id}"),
            Self::Namespaced => format!("namespaced-{id}"),
        }
    }

    fn objects(self, id: &str) -> [(Vec<u8>, Value); 2] {
        let (role_kind, binding_kind, role_key, binding_key) = match self {
            Self::Cluster => {
                let key = |resource: &str| format!("/registry/{resource}/{NAME}");
                ("ClusterRole", "ClusterRoleBinding", key("clusterroles"), key("clusterrolebindings"))
            }
            Self::Namespaced => {
                let key = |resource: &str| format!("/registry/{resource}/{NAMESPACE}/{NAME}");
                ("Role", "RoleBinding", key("roles"), key("rolebindings"))
            }
        };
        let object = |kind: &str| {
            let mut metadata =
                json!({"name": NAME, "uid": format!("{kind}-{id}"), "creationTimestamp": "2020-01-01T00:00:00Z"});
            if self == Self::Namespaced {
                metadata["namespace"] = NAMESPACE.into();
            }
            json!({"apiVersion": "rbac.authorization.k8s.io/v1", "kind": kind, "metadata": metadata})
        };
        let mut role = object(role_kind);
        role["rules"] = json!([{"verbs": ["get"], "apiGroups": [GROUP], "resources": [self.resource(id)]}]);
        let mut binding = object(binding_kind);
        binding["roleRef"] = json!({"apiGroup": "rbac.authorization.k8s.io", "kind": role_kind, "name": NAME});
        binding["subjects"] = json!([{"apiGroup": "rbac.authorization.k8s.io", "kind": "User", "name": USER}]);
        [(role_key.into_bytes(), role), (binding_key.into_bytes(), binding)]
    }
}
