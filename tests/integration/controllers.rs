//! Clusters with controllers: the controllers work, and remember nothing of an earlier lease.

use std::path::PathBuf;

use crate::common::children::{Realm, output, text_of};
use crate::common::server::Server;
use crate::common::state::ClusterState;
use crate::common::{repetitions, wait_until, wait_until_blocking};
use anyhow::Context;
use kina_engine::lab::protocol::ClientMessage;
use kina_engine::{AcquireRequest, AssetRequest, EngineClient, EngineProgram, Lease, Profile, WorkspaceSettings};
use serde_json::{Value, json};

/// Names the file with the state that a slot's first lease saw, for comparison.
const FIRST_LEASE: &str = "KINA_TEST_FIRST_LEASE";
/// Tells a tenant which further changes to make.
const RAMPAGE: &str = "KINA_TEST_RAMPAGE";
const LEASES: usize = 51;
/// A lease after each of the five kinds of rampage.
const LEASES_IN_SHORT: usize = 4;

/// A lease on a cluster with controllers.
struct Controlled {
    server: Server,
    _lease: Lease,
}

impl Controlled {
    async fn acquire(test: &str) -> anyhow::Result<Self> {
        let settings = WorkspaceSettings::of_this_process()?;
        let engine = EngineClient::for_provider(settings.provider, EngineProgram::ThisExecutable)?;
        let mut request = AcquireRequest::with_settings(test, None, settings);
        request.profile = Profile::Controllers;
        let lease = engine.acquire(request, &|text| eprintln!("kina: {text}")).await?;
        Ok(Self {
            server: Server(kube::Client::try_from(kina::__private::config_of_lease(&lease.grant)?)?),
            _lease: lease,
        })
    }
}

fn namespace(name: &str) -> Value {
    json!({ "apiVersion": "v1", "kind": "Namespace", "metadata": { "name": name } })
}

fn pod_template(name: &str) -> Value {
    json!({ "metadata": { "labels": { "app": name } }, "spec": { "containers": [{ "name": "main", "image": name }] } })
}

fn deployment(name: &str, replicas: u32) -> Value {
    json!({
        "apiVersion": "apps/v1",
        "kind": "Deployment",
        "metadata": { "name": name },
        "spec": { "replicas": replicas, "selector": { "matchLabels": { "app": name } }, "template": pod_template(name) },
    })
}

async fn wait_available(server: &Server, path: &str, replicas: u32) -> anyhow::Result<()> {
    let is_available = || async {
        let answer = server.get(path).await;
        answer.is_ok_and(|deployment| deployment["status"]["availableReplicas"] == replicas)
    };
    wait_until("the deployment is available", is_available).await
}

async fn count(server: &Server, path: &str) -> anyhow::Result<usize> {
    Ok(server.get(path).await?["items"].as_array().map_or(0, Vec::len))
}

async fn wait_gone(server: &Server, path: &str) -> anyhow::Result<()> {
    let is_gone = || async { matches!(server.get(path).await, Err(kube::Error::Api(status)) if status.code == 404) };
    wait_until(&format!("{path} is gone"), is_gone).await
}

/// A namespace whose `default` service account exists, so that it accepts pods.
async fn make_namespace(server: &Server, name: &str) -> anyhow::Result<()> {
    server.create("/api/v1/namespaces", &namespace(name)).await?;
    let account = format!("/api/v1/namespaces/{name}/serviceaccounts/default");
    wait_until("the service account is there", || async { server.get(&account).await.is_ok() }).await
}

#[tokio::test]
async fn controllers_work_as_in_any_cluster() -> anyhow::Result<()> {
    let controlled = Controlled::acquire("controllers_work_as_in_any_cluster").await?;
    let server = &controlled.server;
    make_namespace(server, "shop").await?;
    server.create("/apis/apps/v1/namespaces/shop/deployments", &deployment("web", 2)).await?;
    wait_available(server, "/apis/apps/v1/namespaces/shop/deployments/web", 2).await?;
    let pods = server.get("/api/v1/namespaces/shop/pods").await?;
    for pod in pods["items"].as_array().context("pods")? {
        anyhow::ensure!(pod["status"]["phase"] == "Running", "{pod}");
        anyhow::ensure!(pod["spec"]["nodeName"].as_str().is_some_and(|name| name.starts_with("node-")), "{pod}");
        anyhow::ensure!(pod["status"]["podIP"].is_string() && pod["status"]["hostIP"].is_string(), "{pod}");
    }

    let job = json!({
        "apiVersion": "batch/v1", "kind": "Job", "metadata": { "name": "report" },
        "spec": { "template": { "spec": { "restartPolicy": "Never", "containers": [{ "name": "main", "image": "report" }] } } },
    });
    server.create("/apis/batch/v1/namespaces/shop/jobs", &job).await?;
    let is_complete = || async {
        let answer = server.get("/apis/batch/v1/namespaces/shop/jobs/report").await;
        answer.is_ok_and(|job| job["status"]["succeeded"] == 1)
    };
    wait_until("the job has succeeded", is_complete).await?;

    // Owner references are followed: those of the test's own objects, and through all generations of a Deployment.
    let owner = json!({ "apiVersion": "v1", "kind": "ConfigMap", "metadata": { "name": "owner" } });
    let owner = server.create("/api/v1/namespaces/shop/configmaps", &owner).await?;
    let owned = json!({ "apiVersion": "v1", "kind": "ConfigMap", "metadata": { "name": "owned", "ownerReferences": [{
        "apiVersion": "v1", "kind": "ConfigMap", "name": "owner", "uid": owner["metadata"]["uid"],
    }] } });
    server.create("/api/v1/namespaces/shop/configmaps", &owned).await?;
    server.delete("/api/v1/namespaces/shop/configmaps/owner").await?;
    wait_gone(server, "/api/v1/namespaces/shop/configmaps/owned").await?;
    server.delete("/apis/apps/v1/namespaces/shop/deployments/web").await?;
    let are_collected = || async {
        let pods = count(server, "/api/v1/namespaces/shop/pods?labelSelector=app%3Dweb").await;
        let replica_sets = count(server, "/apis/apps/v1/namespaces/shop/replicasets").await;
        matches!((pods, replica_sets), (Ok(0), Ok(0)))
    };
    wait_until("the deployment's pods and replica sets are collected", are_collected).await?;

    // A node that a test creates comes to life too.
    let node = json!({ "apiVersion": "v1", "kind": "Node", "metadata": { "name": "mine" } });
    server.create("/api/v1/nodes", &node).await?;
    let is_ready = || async {
        let answer = server.get("/api/v1/nodes/mine").await;
        answer.is_ok_and(|node| node["spec"]["taints"].is_null() && node["status"]["conditions"].is_array())
    };
    wait_until("the new node is ready", is_ready).await?;

    server.delete("/api/v1/namespaces/shop").await?;
    wait_gone(server, "/api/v1/namespaces/shop").await
}

/// One lease of the test below, as a process of its own.
#[tokio::test]
async fn tenant() -> anyhow::Result<()> {
    let controlled = Controlled::acquire("tenant").await?;
    let server = &controlled.server;
    let state = ClusterState::read(server).await?;
    if let Some(path) = std::env::var_os(FIRST_LEASE).map(PathBuf::from) {
        match std::fs::read(&path) {
            Ok(first) => state.expect_equal(&serde_json::from_slice(&first)?)?,
            Err(_) => std::fs::write(&path, serde_json::to_vec(&state)?)?,
        }
    }
    anyhow::ensure!(count(server, "/api/v1/events").await? == 0, "events of another lease");
    make_namespace(server, "team").await?;
    server.create("/apis/apps/v1/namespaces/team/deployments", &deployment("web", 3)).await?;
    wait_available(server, "/apis/apps/v1/namespaces/team/deployments/web", 3).await?;
    // Objects that a controller remembers from an earlier lease would have come back by now.
    for (list, expected) in [("/api/v1/pods", 3), ("/apis/apps/v1/replicasets", 1), ("/api/v1/namespaces", 5)] {
        let found = count(server, list).await?;
        anyhow::ensure!(found == expected, "{list} has {found} objects, this lease created {expected}");
    }
    let rampage = std::env::var(RAMPAGE).unwrap_or_default().parse::<usize>().unwrap_or_default();
    match rampage % 5 {
        0 => {
            server.delete("/api/v1/nodes/node-1").await?;
        }
        1 => {
            server.delete("/api/v1/namespaces/kube-node-lease").await?;
        }
        2 => {
            server.delete("/api/v1/namespaces/default/serviceaccounts/default").await?;
            server.delete("/api/v1/namespaces/kube-system/configmaps/kube-root-ca.crt").await?;
            server.delete("/api/v1/namespaces/kube-system/serviceaccounts/deployment-controller").await?;
        }
        3 => {
            let many = json!({ "spec": { "replicas": 60 } });
            server.merge("/apis/apps/v1/namespaces/team/deployments/web", &many).await?;
        }
        _ => {
            server.delete("/apis/apps/v1/namespaces/team/deployments/web").await?;
        }
    }
    // Sent without waiting for the effects.
    server.delete("/api/v1/namespaces/team").await?;
    Ok(())
}

/// The first test on a machine may have to build the binaries, for which a tenant has no time.
fn ensure_binaries() -> anyhow::Result<()> {
    let minor = kina_engine::KubernetesMinor::DEFAULT;
    let paths = kina_engine::EnginePaths::from_environment(kina_engine::ProviderName::Process)?;
    let mut request = AssetRequest::from_environment(minor, paths.cache_directory, &|name| std::env::var_os(name))
        .for_controllers(true);
    request.explicit_directory = std::env::var_os("KINA_ASSETS_DIR").map(PathBuf::from);
    kina_engine::provide_assets(&request, &|progress| eprintln!("{progress}"))?;
    Ok(())
}

#[test]
fn one_slot_serves_many_more_leases_and_each_is_pristine() {
    ensure_binaries().expect("binaries");
    let realm = Realm::new().with("KINA_SLOTS_MAX", "1");
    let first_lease = realm.temporary_directory().join("first-lease.json");
    let leases = repetitions(LEASES, LEASES_IN_SHORT);
    for number in 0..leases {
        let mut command = realm.command("controllers::tenant");
        command.env(FIRST_LEASE, &first_lease).env(RAMPAGE, number.to_string());
        let output = output(command);
        assert!(output.status.success(), "lease {number}: {}", text_of(&output));
    }
    let counters = realm.status_of_running().counters;
    assert_eq!((counters.leases, counters.boots, counters.broken), (leases as u64, 1, 0), "{counters:?}");
}

fn run_tenant(realm: &Realm) {
    let mut command = realm.command("controllers::tenant");
    command.env(FIRST_LEASE, realm.temporary_directory().join("first-lease.json"));
    let output = output(command);
    assert!(output.status.success(), "{}", text_of(&output));
}

#[test]
fn controllers_are_frozen_stopped_and_started_with_their_cluster() {
    ensure_binaries().expect("binaries");
    let realm = Realm::new()
        .with("KINA_SLOTS_MAX", "1")
        .with("KINA_FREEZE_AFTER_IDLE_SECONDS", "1")
        .with("KINA_IDLE_EXIT_SECONDS", "120");
    let state = || realm.status_of_running().slots.first().map(|slot| slot.state.clone()).unwrap_or_default();
    run_tenant(&realm);
    wait_until_blocking("the cluster freezes", || state() == "frozen");
    assert_eq!(realm.status_of_running().slots[0].process_ids.len(), 5);
    run_tenant(&realm);
    wait_until_blocking("the cluster freezes again", || state() == "frozen");
    assert!(realm.ask(&ClientMessage::StopIdleClusters).is_some());
    assert_eq!(state(), "stopped");
    assert!(realm.status_of_running().slots[0].process_ids.is_empty());
    run_tenant(&realm);
    let counters = realm.status_of_running().counters;
    assert_eq!((counters.boots, counters.broken, counters.hits.stopped), (1, 0, 1), "{counters:?}");
}

#[test]
#[cfg(target_os = "linux")]
fn a_cluster_whose_controller_dies_is_replaced() {
    ensure_binaries().expect("binaries");
    let realm = Realm::new().with("KINA_SLOTS_MAX", "1").with("KINA_FREEZE_AFTER_IDLE_SECONDS", "30");
    run_tenant(&realm);
    let is_ready = || realm.status_of_running().slots.first().is_some_and(|slot| slot.state == "ready");
    wait_until_blocking("the cluster is rewound", is_ready);
    let process_ids = realm.status_of_running().slots[0].process_ids.clone();
    let program = |id: &u32| std::fs::read_link(format!("/proc/{id}/exe")).unwrap_or_default();
    let scheduler = process_ids.into_iter().find(|id| program(id).ends_with("kube-scheduler")).expect("a scheduler");
    let scheduler = i32::try_from(scheduler).ok().and_then(rustix::process::Pid::from_raw).expect("a process id");
    rustix::process::kill_process(scheduler, rustix::process::Signal::KILL).expect("killed");
    wait_until_blocking("its death is noticed", || realm.status_of_running().counters.broken == 1);
    let mut command = realm.command("controllers::tenant");
    command.env_remove(FIRST_LEASE);
    let output = output(command);
    assert!(output.status.success(), "{}", text_of(&output));
    assert_eq!(realm.status_of_running().counters.boots, 2);
}

/// A lease on the shop's template; a variable tells it what to change. On its own, it is an ordinary test.
#[kina::test(profile = "controllers", fixtures = ["tests/controllers-template/shop.yaml"])]
async fn shopper(client: kube::Client) -> anyhow::Result<()> {
    let server = Server(client);
    wait_available(&server, "/apis/apps/v1/namespaces/shop/deployments/web", 2).await?;
    for (list, expected) in [("/api/v1/pods", 2), ("/apis/apps/v1/replicasets", 1), ("/api/v1/namespaces", 5)] {
        let found = count(&server, list).await?;
        anyhow::ensure!(found == expected, "{list} has {found} objects, the template has {expected}");
    }
    let certificate = server.get("/api/v1/namespaces/shop/configmaps/kube-root-ca.crt").await?;
    let own = server.get("/api/v1/namespaces/default/configmaps/kube-root-ca.crt").await?;
    anyhow::ensure!(certificate["data"] == own["data"], "the template brought another cluster's authority");
    anyhow::ensure!(certificate["metadata"]["labels"].is_null(), "{certificate}");
    let web = "/apis/apps/v1/namespaces/shop/deployments/web";
    match std::env::var(RAMPAGE).unwrap_or_default().as_str() {
        "delete" => drop(server.delete(web).await?),
        "label" => {
            let label = json!({ "metadata": { "labels": { "left": "behind" } } });
            server.merge("/api/v1/namespaces/shop/configmaps/kube-root-ca.crt", &label).await?;
            server.merge(web, &json!({ "spec": { "replicas": 7 } })).await?;
        }
        _ => drop(server.delete("/api/v1/namespaces/shop").await?),
    }
    Ok(())
}

#[test]
fn deleted_objects_of_a_template_do_not_reappear_in_the_next_lease() {
    ensure_binaries().expect("binaries");
    let realm = Realm::new().with("KINA_SLOTS_MAX", "1");
    for rampage in ["delete", "label", "namespace", "delete", "none"] {
        let mut command = realm.command("controllers::shopper");
        command.env(RAMPAGE, rampage);
        let output = output(command);
        assert!(output.status.success(), "{rampage}: {}", text_of(&output));
    }
    let counters = realm.status_of_running().counters;
    assert_eq!((counters.boots, counters.broken), (1, 0), "{counters:?}");
    // With a known template, and with a cluster that did not make it.
    realm.stop();
    let output = output(realm.command("controllers::shopper"));
    assert!(output.status.success(), "{}", text_of(&output));
}

/// Without controllers, nothing else would finish the deletion.
#[kina::test]
async fn a_namespace_is_deleted_at_once(cluster: kina::Cluster) -> anyhow::Result<()> {
    let server = Server(cluster.client());
    server.create("/api/v1/namespaces", &namespace("shop")).await?;
    server.create("/apis/apps/v1/namespaces/shop/deployments", &deployment("web", 2)).await?;
    let config = json!({ "apiVersion": "v1", "kind": "ConfigMap", "metadata": { "name": "settings" } });
    server.create("/api/v1/namespaces/shop/configmaps", &config).await?;
    let claim = json!({
        "apiVersion": "v1", "kind": "PersistentVolumeClaim", "metadata": { "name": "data" },
        "spec": { "accessModes": ["ReadWriteOnce"], "resources": { "requests": { "storage": "1Gi" } } },
    });
    server.create("/api/v1/namespaces/shop/persistentvolumeclaims", &claim).await?;
    let held = json!({ "apiVersion": "v1", "kind": "ConfigMap", "metadata": {
        "name": "held", "finalizers": ["example.com/held"],
    } });
    server.create("/api/v1/namespaces/shop/configmaps", &held).await?;
    // Finalizers are waited for.
    let release = async {
        let path = "/api/v1/namespaces/shop/configmaps/held";
        let is_terminating =
            || async { server.get(path).await.is_ok_and(|held| held["metadata"]["deletionTimestamp"].is_string()) };
        wait_until("it is being deleted", is_terminating).await?;
        server.merge(path, &json!({ "metadata": { "finalizers": null } })).await?;
        anyhow::Ok(())
    };
    let (deleted, released) = tokio::join!(cluster.delete_namespace("shop"), release);
    deleted?;
    released?;
    wait_gone(&server, "/api/v1/namespaces/shop").await?;
    let missing = cluster.delete_namespace("shop").await.expect_err("it is gone");
    anyhow::ensure!(missing.to_string().contains("`shop`"), "{missing}");
    // The name is free again, and no object reappears with it.
    server.create("/api/v1/namespaces", &namespace("shop")).await?;
    for list in ["/api/v1/namespaces/shop/configmaps", "/apis/apps/v1/namespaces/shop/deployments"] {
        anyhow::ensure!(count(&server, list).await? == 0, "{list}");
    }
    Ok(())
}
