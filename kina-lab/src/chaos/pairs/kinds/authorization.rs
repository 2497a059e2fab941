//! Rights that A gives and takes, as the API server's authorizer knows them.

use anyhow::bail;
use serde_json::{Value, json};

use super::super::api::wait_for;
use super::super::kind::{Former, Kind, Planted, Side};

const RBAC: &str = "/apis/rbac.authorization.k8s.io/v1";
const REVIEWS: &str = "/apis/authorization.k8s.io/v1/subjectaccessreviews";
const STRANGER: &str = "pair-stranger";
const SECRETS: &str = "/api/v1/namespaces/default/secrets?limit=1";

pub(super) static KINDS: [Kind; 6] = [
    Kind::own(
        "granted-right",
        "a ClusterRole bound to a user who had no rights, asked with a request of that user",
        |side| Box::pin(grant(side)),
        |side, former| Box::pin(is_granted(side, former)),
    ),
    Kind::own(
        "granted-role",
        "a Role bound to a group in one namespace",
        |side| Box::pin(grant_in_namespace(side)),
        |side, former| Box::pin(is_granted_in_namespace(side, former)),
    ),
    Kind::own(
        "deleted-cluster-role",
        "a ClusterRole of the system, deleted",
        |side| Box::pin(take(side, "clusterroles/system:basic-user", own_review)),
        |side, former| Box::pin(is_taken(side, former, own_review)),
    ),
    Kind::own(
        "deleted-cluster-role-binding",
        "a ClusterRoleBinding of the system, deleted",
        |side| Box::pin(take(side, "clusterrolebindings/system:discovery", discovery)),
        |side, former| Box::pin(is_taken(side, former, discovery)),
    ),
    Kind::own(
        "deleted-role-binding",
        "a RoleBinding of the system, deleted",
        |side| Box::pin(take(side, BOOTSTRAP_BINDING, bootstrap_signer)),
        |side, former| Box::pin(is_taken(side, former, bootstrap_signer)),
    ),
    Kind::own(
        "emptied-cluster-role",
        "a ClusterRole of the system without its rules",
        |side| Box::pin(empty(side)),
        |side, former| Box::pin(is_taken(side, former, scheduler)),
    ),
];

const BOOTSTRAP_BINDING: &str = "rolebindings/system:controller:bootstrap-signer";

async fn grant(side: &Side) -> anyhow::Result<Planted> {
    let metadata = json!({"name": "pair-stranger"});
    let rules = json!([{"apiGroups": [""], "resources": ["secrets"], "verbs": ["list"]}]);
    side.api.create(&format!("{RBAC}/clusterroles"), &json!({"metadata": metadata, "rules": rules})).await?;
    let subject = json!({"kind": "User", "name": STRANGER, "apiGroup": "rbac.authorization.k8s.io"});
    let role = json!({"kind": "ClusterRole", "name": "pair-stranger", "apiGroup": "rbac.authorization.k8s.io"});
    let binding = json!({"metadata": metadata, "subjects": [subject], "roleRef": role});
    side.api.create(&format!("{RBAC}/clusterrolebindings"), &binding).await?;
    wait_for("the right is in force", async || Ok(side.api.get_as(STRANGER, SECRETS).await?.is_success())).await?;
    Ok(Planted::default())
}

async fn is_granted(side: &Side, _: &Former) -> anyhow::Result<Option<String>> {
    let answer = side.api.get_as(STRANGER, SECRETS).await?;
    match answer.status {
        403 => Ok(None),
        200 => Ok(Some(format!("{STRANGER} may list Secrets"))),
        status => bail!("a list of Secrets was answered by {status}"),
    }
}

fn of_group() -> Value {
    json!({
        "user": "pair-member", "groups": ["pair-group"],
        "resourceAttributes": {"verb": "delete", "resource": "pods", "namespace": "default"},
    })
}

async fn grant_in_namespace(side: &Side) -> anyhow::Result<Planted> {
    let metadata = json!({"name": "pair-group"});
    let rules = json!([{"apiGroups": [""], "resources": ["pods"], "verbs": ["delete"]}]);
    let namespace = format!("{RBAC}/namespaces/default");
    side.api.create(&format!("{namespace}/roles"), &json!({"metadata": metadata, "rules": rules})).await?;
    let subject = json!({"kind": "Group", "name": "pair-group", "apiGroup": "rbac.authorization.k8s.io"});
    let role = json!({"kind": "Role", "name": "pair-group", "apiGroup": "rbac.authorization.k8s.io"});
    let binding = json!({"metadata": metadata, "subjects": [subject], "roleRef": role});
    side.api.create(&format!("{namespace}/rolebindings"), &binding).await?;
    wait_for("the right is in force", async || is_allowed(side, &of_group()).await).await?;
    Ok(Planted::default())
}

async fn is_granted_in_namespace(side: &Side, _: &Former) -> anyhow::Result<Option<String>> {
    Ok(is_allowed(side, &of_group()).await?.then(|| "pair-group may delete pods".to_owned()))
}

fn own_review() -> Value {
    let attributes = json!({"verb": "create", "group": "authentication.k8s.io", "resource": "selfsubjectreviews"});
    json!({"user": STRANGER, "groups": ["system:authenticated"], "resourceAttributes": attributes})
}

fn discovery() -> Value {
    let attributes = json!({"verb": "get", "path": "/openapi/v3"});
    json!({"user": STRANGER, "groups": ["system:authenticated"], "nonResourceAttributes": attributes})
}

fn bootstrap_signer() -> Value {
    let attributes = json!({"verb": "get", "resource": "secrets", "namespace": "kube-system"});
    json!({"user": "system:serviceaccount:kube-system:bootstrap-signer", "resourceAttributes": attributes})
}

fn scheduler() -> Value {
    let attributes = json!({"verb": "list", "resource": "nodes"});
    json!({"user": "system:kube-scheduler", "resourceAttributes": attributes})
}

/// Deletes the object that gives a right.
async fn take(side: &Side, path: &str, right: fn() -> Value) -> anyhow::Result<Planted> {
    let path = match path.split_once('/') {
        Some(("rolebindings", _)) => format!("{RBAC}/namespaces/kube-system/{path}"),
        _ => format!("{RBAC}/{path}"),
    };
    if !is_allowed(side, &right()).await? {
        bail!("the right was missing before");
    }
    // Within a second of its start the API server puts default roles in order, and may make it anew.
    wait_for("the right is taken", async || {
        let answer = side.api.delete(&path).await?;
        if answer.status != 404 {
            answer.expect_done(&path)?;
        }
        Ok(!is_allowed(side, &right()).await?)
    })
    .await?;
    Ok(Planted::default())
}

async fn empty(side: &Side) -> anyhow::Result<Planted> {
    let path = format!("{RBAC}/clusterroles/system:kube-scheduler");
    wait_for("the right is taken", async || {
        side.api.merge(&path, &json!({"rules": []})).await?.expect_done(&path)?;
        Ok(!is_allowed(side, &scheduler()).await?)
    })
    .await?;
    Ok(Planted::default())
}

async fn is_taken(side: &Side, _: &Former, right: fn() -> Value) -> anyhow::Result<Option<String>> {
    Ok((!is_allowed(side, &right()).await?).then(|| format!("the right is missing: {}", right())))
}

async fn is_allowed(side: &Side, right: &Value) -> anyhow::Result<bool> {
    let review = side.api.create(REVIEWS, &json!({"spec": right})).await?;
    Ok(review["status"]["allowed"] == true)
}
