//! The worst that tests do to a cluster, and the behaviour of an untouched cluster.
//!
//! All names are the same in all tests, so that anything left by one gets in the way of the next.

use anyhow::ensure;
use serde_json::{Value, json};

use super::server::{Access, Server, status_of};
use super::wait_until;

/// The namespace that all tests use.
pub const SHARED: &str = "shared";
const NODE_PORT: u16 = 30777;
const CLUSTER_IP: &str = "10.0.0.77";
const INTRUDER: &str = "intruder";
const GROUP: &str = "isolation.example.com";
/// No process listens there, and the kernel reports it at once.
const CLOSED_URL: &str = "https://127.0.0.1:1/";

/// One kind of dirt.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Dirt {
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

/// Checks the behaviour of an untouched cluster. Creates the shared namespace and a ConfigMap in it.
pub async fn expect_untouched_behaviour(server: &Server) -> anyhow::Result<()> {
    for namespace in ["", "default"] {
        let secrets = Access { user: INTRUDER, groups: &[], verb: "get", group: "", resource: "secrets", namespace };
        ensure!(!server.allows(&secrets).await?, "a stranger has kept the right to read secrets in `{namespace}`");
    }
    let nodes = Access {
        user: "system:kube-scheduler",
        groups: &[],
        verb: "list",
        group: "",
        resource: "nodes",
        namespace: "",
    };
    ensure!(server.allows(&nodes).await?, "the ClusterRole system:kube-scheduler is still empty");
    let reviews = Access {
        user: INTRUDER,
        groups: &["system:authenticated"],
        verb: "create",
        group: "authentication.k8s.io",
        resource: "selfsubjectreviews",
        namespace: "",
    };
    ensure!(server.allows(&reviews).await?, "the ClusterRole system:basic-user is still gone");
    for path in [format!("/apis/{GROUP}/v1/widgets"), "/apis/dead.example.com/v1".to_owned()] {
        let answer = server.get(&path).await;
        let status = answer.as_ref().err().and_then(status_of);
        ensure!(status == Some(404), "{path} is still served: {answer:?}");
    }

    server.create("/api/v1/namespaces", &json!({"metadata": {"name": SHARED}})).await?;
    server.create(&config_maps(SHARED), &config_map("first")).await?;
    let pod = json!({"metadata": {"name": "pod"}, "spec": {"containers": [{"name": "a", "image": "a"}]}});
    server.create(&format!("/api/v1/namespaces/{SHARED}/pods?dryRun=All"), &pod).await?;
    server.create(&format!("/api/v1/namespaces/{SHARED}/services?dryRun=All"), &service()).await?;
    Ok(())
}

impl Dirt {
    /// Creates the dirt, and makes sure that it has its effect.
    pub async fn make(self, server: &Server) -> anyhow::Result<()> {
        match self {
            Self::CustomResources => custom_resources(server).await,
            Self::DefinitionBeingDeleted => {
                custom_resources(server).await?;
                server.delete(&definition_path()).await?;
                Ok(())
            }
            Self::ClusterRbac => cluster_rbac(server).await,
            Self::NamespacedRbac => namespaced_rbac(server).await,
            Self::SystemNamespaces => {
                server.merge("/api/v1/namespaces/default", &json!({"metadata": {"labels": {"dirty": "yes"}}})).await?;
                server.delete("/api/v1/namespaces/kube-node-lease").await?;
                Ok(())
            }
            Self::NodePort => {
                server.create("/api/v1/namespaces/default/services", &service()).await?;
                Ok(())
            }
            Self::Events => events(server).await,
            Self::ManyObjects => many_objects(server).await,
            Self::SystemObjects => system_objects(server).await,
            Self::DeadApiService => dead_api_service(server).await,
            Self::Quota => quota(server).await,
            Self::Policy => policy(server).await,
            Self::Webhook => webhook(server).await,
        }
    }
}

fn config_maps(namespace: &str) -> String {
    format!("/api/v1/namespaces/{namespace}/configmaps")
}

fn config_map(name: &str) -> Value {
    json!({"metadata": {"name": name}, "data": {"a": "b"}})
}

fn service() -> Value {
    json!({
        "metadata": {"name": "fixed"},
        "spec": {
            "type": "NodePort",
            "clusterIP": CLUSTER_IP,
            "selector": {"a": "b"},
            "ports": [{"port": 80, "nodePort": NODE_PORT}],
        },
    })
}

/// Waits until writes to a namespace are refused.
async fn wait_refused(server: &Server, what: &str, namespace: &str) -> anyhow::Result<()> {
    let path = config_maps(namespace);
    let object = config_map("refused");
    wait_until(what, || async { !server.admits(&path, &object).await }).await
}

fn definition_path() -> String {
    format!("/apis/apiextensions.k8s.io/v1/customresourcedefinitions/widgets.{GROUP}")
}

async fn custom_resources(server: &Server) -> anyhow::Result<()> {
    let definition = json!({
        "metadata": {"name": format!("widgets.{GROUP}")},
        "spec": {
            "group": GROUP,
            "scope": "Namespaced",
            "names": {"plural": "widgets", "singular": "widget", "kind": "Widget", "listKind": "WidgetList"},
            "versions": [{"name": "v1", "served": true, "storage": true, "schema": {"openAPIV3Schema": {
                "type": "object", "x-kubernetes-preserve-unknown-fields": true,
            }}}],
        },
    });
    server.create("/apis/apiextensions.k8s.io/v1/customresourcedefinitions", &definition).await?;
    server.create("/api/v1/namespaces", &json!({"metadata": {"name": "doomed"}})).await?;
    let path = format!("/apis/{GROUP}/v1/namespaces/doomed/widgets");
    wait_until("the custom resource is served", || async { server.get(&path).await.is_ok() }).await?;
    let widgets = (0..10).map(|number| {
        json!({
            "apiVersion": format!("{GROUP}/v1"),
            "kind": "Widget",
            "metadata": {"name": format!("widget-{number}"), "finalizers": [format!("{GROUP}/never")]},
        })
    });
    let widgets: Vec<_> = widgets.collect();
    futures::future::try_join_all(widgets.iter().map(|widget| server.create(&path, widget))).await?;
    server.delete(&format!("{path}/widget-0")).await?;
    let deleted = server.delete("/api/v1/namespaces/doomed").await?;
    ensure!(deleted["status"]["phase"] == "Terminating", "the namespace is not being deleted: {deleted}");
    Ok(())
}

async fn cluster_rbac(server: &Server) -> anyhow::Result<()> {
    const PATH: &str = "/apis/rbac.authorization.k8s.io/v1";
    for role in ["view", "system:basic-user"] {
        server.delete(&format!("{PATH}/clusterroles/{role}")).await?;
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
        "metadata": {"name": "old"}, "reason": "Dirt", "message": "of the core group", "type": "Normal",
        "involvedObject": {"kind": "Namespace", "name": "default", "namespace": "default"},
    });
    server.create("/api/v1/namespaces/default/events", &old).await?;
    let new = json!({
        "metadata": {"name": "new"}, "reason": "Dirt", "note": "of its own group", "type": "Normal", "action": "Dirty",
        "eventTime": "2026-01-01T00:00:00.000000Z", "reportingController": GROUP, "reportingInstance": "1",
        "regarding": {"kind": "Namespace", "name": "default", "namespace": "default"},
    });
    server.create("/apis/events.k8s.io/v1/namespaces/default/events", &new).await?;
    Ok(())
}

async fn many_objects(server: &Server) -> anyhow::Result<()> {
    let path = config_maps("default");
    let objects: Vec<_> = (0..200).map(|number| config_map(&format!("one-of-many-{number}"))).collect();
    for batch in objects.chunks(20) {
        futures::future::try_join_all(batch.iter().map(|object| server.create(&path, object))).await?;
    }
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
