//! Waiting for objects: the ends of a wait, and the messages if it fails.

use std::time::{Duration, Instant};

use crate::common::PATIENCE;
use crate::common::server::Server;
use anyhow::{Context, ensure};
use k8s_openapi::api::apps::v1::Deployment;
use k8s_openapi::api::core::v1::{ConfigMap, Namespace, Pod};
use kina::{Cluster, WaitError, object};
use kube::api::{Api, ApiResource, DeleteParams, DynamicObject, ObjectMeta, Patch, PatchParams, PostParams};
use kube::core::GroupVersionKind;
use serde_json::{Value, json};
use tokio::sync::Notify;

/// For waits that are to reach their deadline.
const SHORT: Duration = Duration::from_millis(700);
const BETWEEN_REPLACEMENTS: Duration = Duration::from_millis(50);

fn config_map(name: &str) -> ConfigMap {
    ConfigMap { metadata: ObjectMeta { name: Some(name.to_owned()), ..ObjectMeta::default() }, ..ConfigMap::default() }
}

fn config_maps(cluster: &Cluster) -> Api<ConfigMap> {
    Api::default_namespaced(cluster.client())
}

fn deployment() -> Value {
    json!({
        "apiVersion": "apps/v1",
        "kind": "Deployment",
        "metadata": {"name": "web"},
        "spec": {
            "replicas": 3,
            "selector": {"matchLabels": {"app": "web"}},
            "template": {
                "metadata": {"labels": {"app": "web"}},
                "spec": {"containers": [{"name": "web", "image": "registry.local/web:1"}]},
            },
        },
    })
}

async fn create_deployment(cluster: &Cluster) -> anyhow::Result<Deployment> {
    let deployments: Api<Deployment> = Api::default_namespaced(cluster.client());
    Ok(deployments.create(&PostParams::default(), &serde_json::from_value(deployment())?).await?)
}

/// There are no controllers: the test itself reports the progress.
async fn set_status(cluster: &Cluster, status: Value) -> anyhow::Result<Deployment> {
    let deployments: Api<Deployment> = Api::default_namespaced(cluster.client());
    let patch = Patch::Merge(json!({"status": status}));
    Ok(deployments.patch_status("web", &PatchParams::default(), &patch).await?)
}

async fn set_data(cluster: &Cluster, name: &str, value: &str) -> anyhow::Result<()> {
    let patch = Patch::Merge(json!({"data": {"key": value}}));
    config_maps(cluster).patch(name, &PatchParams::default(), &patch).await?;
    Ok(())
}

/// A message without the parts that differ from run to run.
fn filtered(error: &WaitError) -> String {
    let mut lines = Vec::new();
    for line in kina_engine::with_causes(error).lines() {
        let mut line = line.to_owned();
        for field in ["uid: ", "resourceVersion: ", "creationTimestamp: ", "deletionTimestamp: "] {
            if let Some(at) = line.find(field) {
                line.truncate(at + field.len());
                line.push('…');
            }
        }
        if let Some((before, after)) = line.split_once("; version ") {
            line = format!("{before}; version …{}", after.trim_start_matches(|letter: char| letter.is_ascii_digit()));
        }
        lines.push(line);
    }
    lines.join("\n")
}

async fn error_of<T>(wait: impl IntoFuture<Output = Result<T, WaitError>>) -> anyhow::Result<WaitError> {
    wait.into_future().await.err().context("the wait succeeded")
}

#[kina::test]
async fn a_wait_ends_when_the_condition_is_met(cluster: Cluster) -> anyhow::Result<()> {
    let created = create_deployment(&cluster).await?;
    let progress = async {
        for ready in [1, 2, 3] {
            set_status(&cluster, json!({"replicas": 3, "readyReplicas": ready})).await?;
        }
        anyhow::Ok(())
    };
    let waiting = cluster.wait_for(&created, "status.readyReplicas == spec.replicas").into_future();
    let (reached, progressed) = futures::join!(waiting, progress);
    progressed?;
    let status = reached?.status.context("the Deployment has a status")?;
    ensure!(status.ready_replicas == Some(3), "{status:?}");
    // A condition that is met already ends the wait at once, without a watch.
    cluster.wait_for(&object::<Deployment>("web"), "status.readyReplicas == 3").await?;
    Ok(())
}

#[kina::test]
async fn an_object_can_be_waited_for_before_it_exists(cluster: Cluster) -> anyhow::Result<()> {
    let made = async {
        config_maps(&cluster).create(&PostParams::default(), &config_map("other")).await?;
        config_maps(&cluster).create(&PostParams::default(), &config_map("late")).await
    };
    let waiting = cluster.wait_for(&object::<ConfigMap>("late"), "kind == 'ConfigMap' && !has(data)").into_future();
    let (reached, made) = futures::join!(waiting, made);
    ensure!(reached?.metadata.uid == made?.metadata.uid);
    Ok(())
}

#[kina::test]
async fn objects_are_namespaced_or_cluster_wide(cluster: Cluster) -> anyhow::Result<()> {
    let namespace = cluster.wait_for(&object::<Namespace>("default"), "status.phase == 'Active'").await?;
    ensure!(namespace.metadata.name.as_deref() == Some("default"));
    cluster.wait_for(&namespace, "metadata.name == 'default'").await?;
    let elsewhere: Api<ConfigMap> = Api::namespaced(cluster.client(), "kube-public");
    elsewhere.create(&PostParams::default(), &config_map("here")).await?;
    let found = cluster.wait_for(&object::<ConfigMap>("here").within("kube-public"), "has(metadata.uid)").await?;
    ensure!(found.metadata.namespace.as_deref() == Some("kube-public"));

    let kind = ApiResource::from_gvk(&GroupVersionKind::gvk("", "v1", "ConfigMap"));
    let dynamic = kina::object_of_dynamic_type::<DynamicObject>(&kind, "here").within("kube-public");
    let found = cluster.wait_for(&dynamic, "kind == 'ConfigMap'").await?;
    ensure!(found.metadata.name.as_deref() == Some("here"));
    Ok(())
}

#[kina::test]
async fn predicates_see_typed_objects(cluster: Cluster) -> anyhow::Result<()> {
    let created = config_maps(&cluster).create(&PostParams::default(), &config_map("counted")).await?;
    let mut seen = Vec::new();
    let predicate = |config_map: &ConfigMap| {
        let value = config_map.data.as_ref().and_then(|data| data.get("key")).cloned().unwrap_or_default();
        seen.push(value.clone());
        value == "3"
    };
    let progress = async {
        for value in ["1", "2", "3", "4"] {
            set_data(&cluster, "counted", value).await?;
        }
        anyhow::Ok(())
    };
    let (reached, progressed) = futures::join!(cluster.wait_until(&created, predicate).into_future(), progress);
    progressed?;
    ensure!(reached?.data.unwrap_or_default()["key"] == "3");
    // The first one is the version at the start of the wait; from there on none is left out.
    ensure!(seen.ends_with(&["3".to_owned()]) && seen.is_sorted(), "{seen:?}");
    Ok(())
}

#[kina::test]
async fn conditions_have_names(cluster: Cluster) -> anyhow::Result<()> {
    let created = create_deployment(&cluster).await?;
    let condition = |status: &str| {
        json!({
            "observedGeneration": 1,
            "conditions": [
                {"type": "Available", "status": status, "reason": "MinimumReplicasUnavailable", "message": "not enough"},
            ],
        })
    };
    set_status(&cluster, condition("False")).await?;
    cluster.wait_condition(&created, "Available=False").await?;
    let error = error_of(cluster.wait_condition(&created, "Available").timeout(SHORT)).await?;
    let unmet = error.unmet().context("the deadline came first")?;
    ensure!(
        unmet.problems() == ["condition Available is False, not True (MinimumReplicasUnavailable: not enough)"],
        "{error}"
    );
    let (reached, changed) = futures::join!(
        cluster.wait_condition(&created, "Available").into_future(),
        set_status(&cluster, condition("True"))
    );
    changed?;
    reached?;
    Ok(())
}

#[kina::test]
async fn a_deletion_ends_with_the_last_finalizer(cluster: Cluster) -> anyhow::Result<()> {
    let mut held = config_map("held");
    held.metadata.finalizers = Some(vec!["kina.test/held".to_owned()]);
    let held = config_maps(&cluster).create(&PostParams::default(), &held).await?;
    let error = error_of(cluster.wait_deleted(&held).timeout(SHORT)).await?;
    ensure!(error.unmet().is_some_and(|unmet| unmet.problems() == ["it is not being deleted"]), "{error}");
    config_maps(&cluster).delete("held", &DeleteParams::default()).await?;
    let error = error_of(cluster.wait_deleted(&held).timeout(SHORT)).await?;
    let expected = "it is being deleted and waits for finalizers: kina.test/held";
    ensure!(error.unmet().is_some_and(|unmet| unmet.problems() == [expected]), "{error}");

    let released = Patch::Merge(json!({"metadata": {"finalizers": null}}));
    let released = async { config_maps(&cluster).patch("held", &PatchParams::default(), &released).await };
    let (gone, released) = futures::join!(cluster.wait_deleted(&held).into_future(), released);
    released?;
    gone?;
    // An object that does not exist is gone already.
    cluster.wait_deleted(&held).await?;
    cluster.wait_deleted(&object::<ConfigMap>("never-there")).await?;
    Ok(())
}

#[kina::test]
async fn a_deletion_is_about_one_object_and_not_its_name(cluster: Cluster) -> anyhow::Result<()> {
    let first = config_maps(&cluster).create(&PostParams::default(), &config_map("twice")).await?;
    let replaced = async {
        config_maps(&cluster).delete("twice", &DeleteParams::default()).await?;
        config_maps(&cluster).create(&PostParams::default(), &config_map("twice")).await?;
        set_data(&cluster, "twice", "second").await
    };
    // A condition is about any object of the name, a deletion about one object.
    let (reached, gone, replaced) = futures::join!(
        cluster.wait_for(&first, "data.key == 'second'").into_future(),
        cluster.wait_deleted(&first).into_future(),
        replaced
    );
    replaced?;
    gone?;
    let second = reached?;
    ensure!(second.metadata.uid != first.metadata.uid);
    // The first one is gone, and the second exists.
    cluster.wait_deleted(&first).await?;
    let error = error_of(cluster.wait_deleted(&second).timeout(SHORT)).await?;
    ensure!(error.unmet().is_some_and(|unmet| unmet.problems() == ["it is not being deleted"]), "{error}");

    let unmet = tokio::select! {
        unmet = cluster.wait_for(&second, "data.key == 'third'").timeout(SHORT).into_future() => unmet,
        error = replace_again_and_again(&cluster, "twice") => return error,
    };
    let text = unmet.err().context("there is no third object")?.to_string();
    ensure!(text.contains(" objects, one after the other"), "{text}");
    Ok(())
}

/// By name, a deletion is about the first object that the wait sees.
#[kina::test]
async fn a_deletion_by_name_is_noticed_though_another_object_follows(cluster: Cluster) -> anyhow::Result<()> {
    config_maps(&cluster).create(&PostParams::default(), &config_map("often")).await?;
    tokio::select! {
        gone = cluster.wait_deleted(&object::<ConfigMap>("often")).into_future() => Ok(gone?),
        error = replace_again_and_again(&cluster, "often") => error,
    }
}

/// Replaces a ConfigMap by another of the same name until it fails. A wait may begin at any time meanwhile.
async fn replace_again_and_again(cluster: &Cluster, name: &str) -> anyhow::Result<()> {
    loop {
        config_maps(cluster).delete(name, &DeleteParams::default()).await?;
        config_maps(cluster).create(&PostParams::default(), &config_map(name)).await?;
        tokio::time::sleep(BETWEEN_REPLACEMENTS).await;
    }
}

#[kina::test]
async fn a_wait_outlives_its_server(cluster: Cluster) -> anyhow::Result<()> {
    let created = config_maps(&cluster).create(&PostParams::default(), &config_map("patient")).await?;
    let disturbed = async {
        set_data(&cluster, "patient", "before").await?;
        cluster.network().cut().await?;
        // Some attempts find no server.
        tokio::time::sleep(Duration::from_millis(300)).await;
        cluster.network().restore().await?;
        set_data(&cluster, "patient", "after").await
    };
    let (reached, disturbed) =
        futures::join!(cluster.wait_for(&created, "data.key == 'after'").into_future(), disturbed);
    disturbed?;
    reached?;

    cluster.network().cut().await?;
    let error = error_of(cluster.wait_for(&created, "data.key == 'never'").timeout(SHORT)).await?;
    cluster.network().restore().await?;
    let text = error.to_string();
    ensure!(text.contains("the server could not be reached") && text.contains("no such object was seen"), "{text}");
    Ok(())
}

#[kina::test]
async fn a_black_hole_does_not_outlast_the_deadline(cluster: Cluster) -> anyhow::Result<()> {
    let created = config_maps(&cluster).create(&PostParams::default(), &config_map("hidden")).await?;
    let seen = Notify::new();
    let hidden = async {
        seen.notified().await;
        cluster.network().drop_packets().await?;
        anyhow::Ok(())
    };
    let is_seen = |_: &ConfigMap| {
        seen.notify_one();
        false
    };
    let start = Instant::now();
    let (error, hidden) = futures::join!(cluster.wait_until(&created, is_seen).timeout(SHORT).into_future(), hidden);
    hidden?;
    ensure!(start.elapsed() < PATIENCE, "the deadline was {SHORT:?}");
    let error = error.err().context("the object does not exist")?;
    ensure!(error.unmet().is_some_and(|unmet| unmet.last_seen().is_some()), "{error}");
    ensure!(error.to_string().contains("its events could not be read"), "{error}");
    cluster.network().restore().await?;
    Ok(())
}

#[kina::test]
async fn the_message_at_the_deadline_is_complete(cluster: Cluster) -> anyhow::Result<()> {
    let created = create_deployment(&cluster).await?;
    set_status(&cluster, json!({"replicas": 3, "readyReplicas": 1})).await?;
    let event = json!({
        "metadata": {"name": "web.1"},
        "involvedObject": {"kind": "Deployment", "namespace": "default", "name": "web", "uid": created.metadata.uid},
        "type": "Warning",
        "reason": "FailedCreate",
        "message": "pods \"web-1\" is forbidden",
        "count": 3,
        "lastTimestamp": "2026-01-01T00:00:00Z",
    });
    Server(cluster.client()).create("/api/v1/namespaces/default/events", &event).await?;
    let condition = "status.readyReplicas == spec.replicas && metadata.name == 'web'";
    let error = error_of(cluster.wait_for(&created, condition).timeout(SHORT)).await?;
    ensure!(error.is_user_error());
    let expected = "\
timed out after 0.7 s waiting for Deployment default/web: status.readyReplicas == spec.replicas && metadata.name == 'web'
`status.readyReplicas == spec.replicas` was false: 1 == 3
it exists, seen in one version; version … of it:
  apiVersion: apps/v1
  kind: Deployment
  metadata:
    creationTimestamp: …
    generation: 1
    name: web
    namespace: default
    resourceVersion: …
    uid: …
  spec:
    progressDeadlineSeconds: 600
    replicas: 3
    revisionHistoryLimit: 10
    selector:
      matchLabels:
        app: web
    strategy:
      rollingUpdate:
        maxSurge: \"25%\"
        maxUnavailable: \"25%\"
      type: RollingUpdate
    template:
      metadata:
        labels:
          app: web
      spec:
        containers:
        - image: registry.local/web:1
          imagePullPolicy: IfNotPresent
          name: web
          resources: {}
          terminationMessagePath: /dev/termination-log
          terminationMessagePolicy: File
        dnsPolicy: ClusterFirst
        restartPolicy: Always
        schedulerName: default-scheduler
        securityContext: {}
        terminationGracePeriodSeconds: 30
  status:
    readyReplicas: 1
    replicas: 3
events about it:
  Warning FailedCreate: pods \"web-1\" is forbidden (3 times)";
    assert_eq!(filtered(&error), expected);

    let error = error_of(cluster.wait_for(&object::<Pod>("web-0"), "status.phase == 'Running'").timeout(SHORT)).await?;
    let expected = "\
timed out after 0.7 s waiting for Pod default/web-0: status.phase == 'Running'
no such object was seen";
    assert_eq!(filtered(&error), expected);

    let settings = config_maps(&cluster).create(&PostParams::default(), &config_map("settings")).await?;
    let seen = Notify::new();
    let deleted = async {
        seen.notified().await;
        config_maps(&cluster).delete("settings", &DeleteParams::default()).await
    };
    let is_seen = |_: &ConfigMap| {
        seen.notify_one();
        false
    };
    let unmet = cluster.wait_until(&settings, is_seen).timeout(SHORT).into_future();
    let (unmet, deleted) = futures::join!(unmet, deleted);
    deleted?;
    let expected = "\
timed out after 0.7 s waiting for ConfigMap default/settings: a predicate in Rust
it is gone, seen in one version; version … of it:
  apiVersion: v1
  kind: ConfigMap
  metadata:
    creationTimestamp: …
    name: settings
    namespace: default
    resourceVersion: …
    uid: …
there are no events about it";
    assert_eq!(filtered(&unmet.err().context("the predicate is never true")?), expected);
    Ok(())
}

#[kina::test]
async fn mistakes_do_not_wait_for_the_deadline(cluster: Cluster) -> anyhow::Result<()> {
    let created = create_deployment(&cluster).await?;
    let start = Instant::now();
    let error = error_of(cluster.wait_for(&created, "stauts.readyReplicas == 1").timeout(PATIENCE * 4)).await?;
    assert_eq!(
        filtered(&error),
        "Deployment default/web cannot be waited for: the condition cannot be understood: there is no `stauts`\n  \
         stauts.readyReplicas == 1\n  ^\ndid you mean `status`?"
    );
    let error = error_of(cluster.wait_for(&created, "has(spec) && spec == 3").timeout(PATIENCE * 4)).await?;
    let text = filtered(&error);
    ensure!(text.starts_with("the condition can never fit Deployment default/web, as seen in version "), "{text}");
    ensure!(
        text.ends_with(
            ": the condition `has(spec) && spec == 3` does not fit the object: `spec == 3`: a map and a number are never \
             equal"
        ),
        "{text}"
    );
    let error = error_of(cluster.wait_for(&ConfigMap::default(), "kind == 'x'").timeout(PATIENCE * 4)).await?;
    assert_eq!(
        filtered(&error),
        "a ConfigMap without a name cannot be waited for: create it first, and wait for the result"
    );
    let kind = ApiResource::from_gvk(&GroupVersionKind::gvk("kina.test", "v1", "Widget"));
    let unknown = kina::object_of_dynamic_type::<DynamicObject>(&kind, "left").within("default");
    let error = error_of(cluster.wait_for(&unknown, "kind == 'Widget'").timeout(PATIENCE * 4)).await?;
    let text = filtered(&error);
    let expected = "the server does not show Widget default/left: it does not know this kind; is its CRD installed?";
    ensure!(text.starts_with(expected), "{text}");
    ensure!(start.elapsed() < PATIENCE, "none of these waits for its deadline");
    ensure!(error.is_user_error() && error.unmet().is_none(), "{error:?}");
    Ok(())
}
