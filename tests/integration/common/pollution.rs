//! The worst that tests do to a cluster.
//!
//! All names are the same in all tests, so that anything left by one gets in the way of the next.

use anyhow::ensure;
use cargo_kina::bench::change;
use serde_json::{Value, json};

use super::server::{Access, Server, status_of};
use super::wait_until;

/// The namespace that all tests use.
pub const SHARED: &str = "shared";
/// The unknown user that gets rights.
pub const INTRUDER: &str = "intruder";
/// The group of the custom resources.
pub const GROUP: &str = "isolation.example.com";
/// The namespace that is being deleted.
const DOOMED: &str = "doomed";
/// No process listens there, and the kernel reports it at once.
const CLOSED_URL: &str = "https://127.0.0.1:1/";

/// One kind of pollution.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Pollution {
    /// A namespace being deleted with finalized custom resources in it, one of them being deleted as well.
    CustomResources,
    /// The same, then their definition is deleted too: the server itself keeps writing after the test's end.
    DefinitionBeingDeleted,
    /// System ClusterRoles deleted and emptied, and an unknown user made an administrator.
    ClusterRbac,
    /// An unknown user given a role in `default`.
    NamespacedRbac,
    /// Labels of namespace `default` changed, namespace `kube-node-lease` deleted.
    SystemNamespaces,
    /// A service on a fixed NodePort.
    NodePort,
    /// Events of both groups.
    Events,
    /// Two hundred ConfigMaps.
    ManyObjects,
    /// Objects created by the API server itself, deleted and changed.
    SystemObjects,
    /// An APIService without an answering server.
    DeadApiService,
    /// A ResourceQuota of zero in the shared namespace.
    Quota,
    /// A policy that denies everything.
    Policy,
    /// A webhook that blocks everything.
    Webhook,
}

impl Pollution {
    /// Pollutes the cluster, and makes sure that it has its effect.
    pub async fn make(self, server: &Server) -> anyhow::Result<()> {
        match self {
            Self::CustomResources => custom_resources(server).await,
            Self::DefinitionBeingDeleted => {
                custom_resources(server).await?;
                server.send(&change::deletion_of_definition(GROUP)).await?;
                Ok(())
            }
            Self::ClusterRbac => cluster_rbac(server).await,
            Self::NamespacedRbac => namespaced_rbac(server).await,
            Self::SystemNamespaces => {
                server.send(&change::labels_of_default()).await?;
                server.send(&change::deletion_of_namespace("kube-node-lease")).await?;
                Ok(())
            }
            Self::NodePort => {
                server.send(&change::service("default")).await?;
                Ok(())
            }
            Self::Events => events(server).await,
            Self::ManyObjects => server.send_all(&change::config_maps("default", 200)).await,
            Self::SystemObjects => system_objects(server).await,
            Self::DeadApiService => dead_api_service(server).await,
            Self::Quota => quota(server).await,
            Self::Policy => policy(server).await,
            Self::Webhook => webhook(server).await,
        }
    }
}

/// Waits until writes to a namespace are refused.
async fn wait_refused(server: &Server, what: &str, namespace: &str) -> anyhow::Result<()> {
    let path = change::config_maps_path(namespace);
    let object = json!({"metadata": {"name": "refused"}});
    wait_until(what, || async { !server.admits(&path, &object).await }).await
}

async fn custom_resources(server: &Server) -> anyhow::Result<()> {
    server.send(&change::definition(GROUP)).await?;
    server.send(&change::namespace(DOOMED)).await?;
    let path = change::widgets_path(GROUP, DOOMED);
    wait_until("the custom resource is served", || async { server.get(&path).await.is_ok() }).await?;
    server.send_all(&change::finalized_widgets(GROUP, DOOMED, 10)).await?;
    server.delete(&format!("{path}/widget-0")).await?;
    let deleted = server.send(&change::deletion_of_namespace(DOOMED)).await?;
    ensure!(deleted["status"]["phase"] == "Terminating", "the namespace is not being deleted: {deleted}");
    Ok(())
}

async fn cluster_rbac(server: &Server) -> anyhow::Result<()> {
    const PATH: &str = "/apis/rbac.authorization.k8s.io/v1";
    for role in ["view", "system:basic-user"] {
        server.send(&change::deletion_of_cluster_role(role)).await?;
    }
    server.merge(&format!("{PATH}/clusterroles/system:kube-scheduler"), &json!({"rules": null})).await?;
    let binding = json!({
        "metadata": {"name": INTRUDER},
        "roleRef": {"apiGroup": "rbac.authorization.k8s.io", "kind": "ClusterRole", "name": "cluster-admin"},
        "subjects": [{"apiGroup": "rbac.authorization.k8s.io", "kind": "User", "name": INTRUDER}],
    });
    server.create(&format!("{PATH}/clusterrolebindings"), &binding).await?;
    wait_allowed(server, "").await
}

async fn namespaced_rbac(server: &Server) -> anyhow::Result<()> {
    const PATH: &str = "/apis/rbac.authorization.k8s.io/v1/namespaces/default";
    let role = json!({
        "metadata": {"name": INTRUDER},
        "rules": [{"apiGroups": [""], "resources": ["secrets"], "verbs": ["get"]}],
    });
    server.create(&format!("{PATH}/roles"), &role).await?;
    let binding = json!({
        "metadata": {"name": INTRUDER},
        "roleRef": {"apiGroup": "rbac.authorization.k8s.io", "kind": "Role", "name": INTRUDER},
        "subjects": [{"apiGroup": "rbac.authorization.k8s.io", "kind": "User", "name": INTRUDER}],
    });
    server.create(&format!("{PATH}/rolebindings"), &binding).await?;
    wait_allowed(server, "default").await
}

async fn wait_allowed(server: &Server, namespace: &str) -> anyhow::Result<()> {
    let access = Access { user: INTRUDER, groups: &[], verb: "get", group: "", resource: "secrets", namespace };
    wait_until("the stranger has rights", || async { server.allows(&access).await.unwrap_or(false) }).await
}

async fn events(server: &Server) -> anyhow::Result<()> {
    let old = json!({
        "metadata": {"name": "old"}, "reason": "Pollution", "message": "of the core group", "type": "Normal",
        "involvedObject": {"kind": "Namespace", "name": "default", "namespace": "default"},
    });
    server.create("/api/v1/namespaces/default/events", &old).await?;
    let new = json!({
        "metadata": {"name": "new"}, "reason": "Pollution", "note": "of its own group", "type": "Normal", "action": "Pollute",
        "eventTime": "2026-01-01T00:00:00.000000Z", "reportingController": GROUP, "reportingInstance": "1",
        "regarding": {"kind": "Namespace", "name": "default", "namespace": "default"},
    });
    server.create("/apis/events.k8s.io/v1/namespaces/default/events", &new).await?;
    Ok(())
}

async fn system_objects(server: &Server) -> anyhow::Result<()> {
    server.delete("/apis/flowcontrol.apiserver.k8s.io/v1/flowschemas/service-accounts").await?;
    let priority_class = "/apis/scheduling.k8s.io/v1/priorityclasses/system-node-critical";
    server.merge(priority_class, &json!({"description": "dirty"})).await?;
    server.delete("/api/v1/namespaces/kube-system/configmaps/extension-apiserver-authentication").await?;
    server.delete("/api/v1/namespaces/default/services/kubernetes").await?;
    let levels = "/apis/flowcontrol.apiserver.k8s.io/v1/prioritylevelconfigurations/workload-low";
    server.merge(levels, &json!({"spec": {"limited": {"nominalConcurrencyShares": 7}}})).await?;
    Ok(())
}

async fn dead_api_service(server: &Server) -> anyhow::Result<()> {
    let api_service = json!({
        "metadata": {"name": "v1.dead.example.com"},
        "spec": {
            "group": "dead.example.com", "version": "v1", "groupPriorityMinimum": 1000, "versionPriority": 15,
            "insecureSkipTLSVerify": true, "service": {"name": "dead", "namespace": "default"},
        },
    });
    server.create("/apis/apiregistration.k8s.io/v1/apiservices", &api_service).await?;
    wait_until("the dead group is proxied", || async {
        server.get("/apis/dead.example.com/v1").await.is_err_and(|error| status_of(&error) == Some(503))
    })
    .await
}

async fn quota(server: &Server) -> anyhow::Result<()> {
    let path = format!("/api/v1/namespaces/{SHARED}/resourcequotas");
    let zero = json!({"count/configmaps": "0", "pods": "0", "services.nodeports": "0"});
    server.create(&path, &json!({"metadata": {"name": "zero"}, "spec": {"hard": zero}})).await?;
    // A quota takes effect with its status, which a controller would write.
    server.merge(&format!("{path}/zero/status"), &json!({"status": {"hard": zero, "used": zero}})).await?;
    wait_refused(server, "the quota refuses", SHARED).await
}

async fn policy(server: &Server) -> anyhow::Result<()> {
    const PATH: &str = "/apis/admissionregistration.k8s.io/v1";
    let policy = json!({
        "metadata": {"name": "deny-everything"},
        "spec": {
            "failurePolicy": "Fail",
            "matchConstraints": {"resourceRules": [everything()]},
            "validations": [{"expression": "false", "message": "denied"}],
        },
    });
    server.create(&format!("{PATH}/validatingadmissionpolicies"), &policy).await?;
    let binding = json!({
        "metadata": {"name": "deny-everything"},
        "spec": {"policyName": "deny-everything", "validationActions": ["Deny"]},
    });
    server.create(&format!("{PATH}/validatingadmissionpolicybindings"), &binding).await?;
    wait_refused(server, "the policy refuses", "default").await
}

async fn webhook(server: &Server) -> anyhow::Result<()> {
    let configuration = json!({
        "metadata": {"name": "block-everything"},
        "webhooks": [{
            "name": format!("block.{GROUP}"), "failurePolicy": "Fail", "sideEffects": "None",
            "admissionReviewVersions": ["v1"], "clientConfig": {"url": CLOSED_URL}, "rules": [everything()],
        }],
    });
    let path = "/apis/admissionregistration.k8s.io/v1/validatingwebhookconfigurations";
    server.create(path, &configuration).await?;
    wait_refused(server, "the webhook refuses", "default").await
}

/// A rule for all writes of all resources.
fn everything() -> Value {
    json!({"apiGroups": ["*"], "apiVersions": ["*"], "resources": ["*/*"],
           "operations": ["CREATE", "UPDATE", "DELETE", "CONNECT"]})
}
