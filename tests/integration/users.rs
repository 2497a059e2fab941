//! Clients that act as others, and the identity of kina's own clients.

use crate::common::client_path::{ClientPath, on_both_paths};
use crate::common::server::status_of;
use crate::common::wait_until;
use anyhow::{Context, ensure};
use k8s_openapi::api::authentication::v1::SelfSubjectReview;
use k8s_openapi::api::core::v1::{ConfigMap, Secret};
use k8s_openapi::api::rbac::v1::{Role, RoleBinding};
use kube::api::{Api, ListParams, ObjectMeta, PostParams};
use serde_json::json;

/// Allows a subject to read ConfigMaps.
async fn bind(cluster: &kina::Cluster, subject: serde_json::Value) -> anyhow::Result<()> {
    let role: Role = serde_json::from_value(json!({
        "metadata": {"name": "readers"},
        "rules": [{"apiGroups": [""], "resources": ["configmaps"], "verbs": ["get", "list"]}],
    }))?;
    Api::default_namespaced(cluster.client()).create(&PostParams::default(), &role).await?;
    let binding: RoleBinding = serde_json::from_value(json!({
        "metadata": {"name": "readers"},
        "roleRef": {"apiGroup": "rbac.authorization.k8s.io", "kind": "Role", "name": "readers"},
        "subjects": [subject],
    }))?;
    Api::default_namespaced(cluster.client()).create(&PostParams::default(), &binding).await?;
    Ok(())
}

async fn who_am_i(client: kube::Client) -> anyhow::Result<(String, Vec<String>)> {
    let review = Api::all(client).create(&PostParams::default(), &SelfSubjectReview::default()).await?;
    let user = review.status.and_then(|status| status.user_info).context("an answer")?;
    Ok((user.username.unwrap_or_default(), user.groups.unwrap_or_default()))
}

/// Checks that the subject cannot read ConfigMaps until it is bound to a role that allows it, and never Secrets.
async fn expect_rbac(cluster: &kina::Cluster, client: kube::Client, subject: serde_json::Value) -> anyhow::Result<()> {
    let config_maps: Api<ConfigMap> = Api::default_namespaced(client.clone());
    let error = config_maps.list(&ListParams::default()).await.err().context("an unbound subject may read")?;
    ensure!(status_of(&error) == Some(403), "{error}");
    bind(cluster, subject).await?;
    wait_until("the role is in force", || async { config_maps.list(&ListParams::default()).await.is_ok() }).await?;
    let secrets: Api<Secret> = Api::default_namespaced(client);
    let error = secrets.list(&ListParams::default()).await.err().context("the role does not allow that")?;
    ensure!(status_of(&error) == Some(403), "{error}");
    let error = config_maps.create(&PostParams::default(), &ConfigMap::default()).await.err().context("read only")?;
    ensure!(status_of(&error) == Some(403), "{error}");
    Ok(())
}

on_both_paths! {
    a_user_has_the_rights_that_rbac_grants
    a_group_has_the_rights_that_rbac_grants
    a_service_account_has_the_rights_that_rbac_grants
    users_have_the_requested_identity
}

async fn a_user_has_the_rights_that_rbac_grants(cluster: kina::Cluster, path: ClientPath) -> anyhow::Result<()> {
    let subject = json!({"apiGroup": "rbac.authorization.k8s.io", "kind": "User", "name": "alice"});
    expect_rbac(&cluster, path.as_user(&cluster, "alice", [])?, subject).await?;
    // A second client of the same user has the same rights, and other users do not.
    let bob: Api<ConfigMap> = Api::default_namespaced(path.as_user(&cluster, "bob", ["devs"])?);
    ensure!(bob.list(&ListParams::default()).await.is_err());
    Ok(())
}

async fn a_group_has_the_rights_that_rbac_grants(cluster: kina::Cluster, path: ClientPath) -> anyhow::Result<()> {
    let subject = json!({"apiGroup": "rbac.authorization.k8s.io", "kind": "Group", "name": "devs"});
    expect_rbac(&cluster, path.as_user(&cluster, "alice", ["testers", "devs"])?, subject).await
}

async fn a_service_account_has_the_rights_that_rbac_grants(
    cluster: kina::Cluster,
    path: ClientPath,
) -> anyhow::Result<()> {
    let subject = json!({"kind": "ServiceAccount", "name": "controller", "namespace": "default"});
    expect_rbac(&cluster, path.as_service_account(&cluster, "default", "controller")?, subject).await
}

async fn users_have_the_requested_identity(cluster: kina::Cluster, path: ClientPath) -> anyhow::Result<()> {
    let (user, groups) = who_am_i(path.as_user(&cluster, "Alice Smith", ["devs", "ops"])?).await?;
    ensure!(user == "Alice Smith", "{user}");
    ensure!(groups == ["devs", "ops", "system:authenticated"], "{groups:?}");
    let (user, groups) = who_am_i(path.as_service_account(&cluster, "default", "controller")?).await?;
    ensure!(user == "system:serviceaccount:default:controller", "{user}");
    ensure!(groups.contains(&"system:serviceaccounts:default".to_owned()), "{groups:?}");
    let (_, groups) = who_am_i(path.client(&cluster)?).await?;
    ensure!(groups.contains(&"system:masters".to_owned()), "{groups:?}");
    Ok(())
}

#[kina::test]
async fn a_user_without_a_name_is_refused(cluster: kina::Cluster) -> anyhow::Result<()> {
    for (user, group) in [("", "devs"), ("alice", ""), ("alice\nbob", "devs"), ("alice", "devs\r\n")] {
        let error = cluster.as_user(user, [group]).err().context("it would be the administrator, or fail later")?;
        ensure!(error.is_user_error(), "{error}");
    }
    for (namespace, name) in [("", "controller"), ("default", "")] {
        ensure!(cluster.as_service_account(namespace, name).is_err());
    }
    Ok(())
}

#[kina::test]
async fn the_user_agent_names_the_test(cluster: kina::Cluster) -> anyhow::Result<()> {
    let config = cluster.config();
    let (_, user_agent) =
        config.headers.iter().find(|(name, _)| *name == http::header::USER_AGENT).context("a user agent")?;
    ensure!(user_agent.to_str()?.contains("the_user_agent_names_the_test"), "{user_agent:?}");
    ensure!(!config.default_retry && config.read_timeout.is_some() && config.reset_reader_on_write);
    let config_maps: Api<ConfigMap> = Api::default_namespaced(cluster.client());
    let config_map = ConfigMap {
        metadata: ObjectMeta { name: Some("mine".to_owned()), ..ObjectMeta::default() },
        data: Some([("key".to_owned(), "value".to_owned())].into()),
        ..ConfigMap::default()
    };
    let created = config_maps.create(&PostParams::default(), &config_map).await?;
    // The API server derives the field manager from the user agent of a client that names none.
    let managers = created.metadata.managed_fields.unwrap_or_default();
    ensure!(managers.iter().any(|entry| entry.manager.as_deref() == Some("kina")), "{managers:?}");
    Ok(())
}
