//! Many tests on one cluster, each in its own namespace.

use std::collections::BTreeSet;
use std::io::Write;
use std::time::Duration;

use crate::common::children::Realm;
use crate::common::client_path::{ClientPath, leasing_on_both_paths};
use crate::common::server::{Server, status_of};
use crate::common::{PATIENCE, repetitions, wait_until, wait_until_blocking};
use anyhow::{Context, ensure};
use kina_engine::lab::protocol::ClientMessage;
use kina_engine::{AcquireRequest, EngineClient, EngineProgram, Isolation, Lease, NetworkChange};
use serde_json::{Value, json};

/// Set for the tests below that run as children in a realm.
const IN_REALM: &str = "KINA_TEST_NAMESPACES_REALM";
const READY: &str = "writes in namespace ";
const CONCURRENT: usize = 64;
/// More Services than a cluster has addresses (254), over this many rounds; in a long run, and in others.
const ROUNDS: usize = 3;
const ROUNDS_IN_SHORT: usize = 2;
const SERVICES: usize = 2;
/// Keys that a host itself leaves for the rewind: a role, its binding, and the servers' records of addresses and ports.
const HOST_KEYS_MAX: usize = 10;
/// The time that a test waits to be killed.
const DOOM_TIMEOUT: Duration = Duration::from_secs(60);

/// A lease on a namespace.
struct Tenant {
    lease: Lease,
    server: Server,
    namespace: String,
}

impl Tenant {
    async fn acquire() -> anyhow::Result<Self> {
        Self::acquire_on(ClientPath::Unix).await
    }

    async fn acquire_on(path: ClientPath) -> anyhow::Result<Self> {
        let lease = acquire(Isolation::Namespace).await?;
        let grant = &lease.grant;
        let namespace = grant.namespace.clone().context("the grant names the namespace")?;
        let server = Server(path.client_of(&lease, |_| {})?);
        Ok(Self { lease, server, namespace })
    }

    fn path(&self, resource: &str) -> String {
        format!("/api/v1/namespaces/{}/{resource}", self.namespace)
    }

    async fn create(&self, resource: &str, object: &Value) -> Result<Value, kube::Error> {
        self.server.create(&self.path(resource), object).await
    }
}

fn engine() -> anyhow::Result<EngineClient> {
    Ok(EngineClient::from_environment(EngineProgram::ThisExecutable)?)
}

async fn acquire(isolation: Isolation) -> anyhow::Result<Lease> {
    let request = AcquireRequest::from_environment("tests/namespaces.rs", None)?;
    Ok(engine()?.acquire(AcquireRequest { isolation, ..request }, &|_| {}).await?)
}

fn named(name: &str) -> Value {
    json!({"metadata": {"name": name}})
}

fn service(number: usize) -> Value {
    // Finalizers would keep it, with its address.
    json!({
        "metadata": {"name": format!("service-{number}"), "finalizers": ["example.com/never"]},
        "spec": {"type": "NodePort", "ports": [{"port": 80}]},
    })
}

/// The server's text for a forbidden request.
fn forbidden<Answer>(answer: Result<Answer, kube::Error>) -> anyhow::Result<String> {
    let error = answer.err().context("it was allowed")?;
    ensure!(status_of(&error) == Some(403), "{error}");
    Ok(error.to_string())
}

leasing_on_both_paths! {
    a_test_owns_its_namespace_and_nothing_else
    a_test_in_a_namespace_cannot_become_an_administrator
    the_networks_of_namespaces_are_independent
    a_tests_credentials_are_invalid_when_its_lease_has_ended
}

async fn a_test_owns_its_namespace_and_nothing_else(path: ClientPath) -> anyhow::Result<()> {
    let (tenant, other) = (Tenant::acquire_on(path).await?, Tenant::acquire_on(path).await?);
    tenant.create("configmaps", &named("mine")).await?;
    tenant.create("secrets", &named("mine")).await?;
    let role = json!({
        "metadata": {"name": "reader"},
        "rules": [{"apiGroups": [""], "resources": ["configmaps"], "verbs": ["get"]}],
    });
    let roles = format!("/apis/rbac.authorization.k8s.io/v1/namespaces/{}/roles", tenant.namespace);
    tenant.server.create(&roles, &role).await?;
    // Cluster-wide objects can be read.
    for path in ["/api/v1/namespaces", "/api/v1/nodes", "/apis/rbac.authorization.k8s.io/v1/clusterroles"] {
        tenant.server.get(path).await.context(path)?;
    }
    // They cannot be written; the message contains a remedy.
    for (path, object) in [
        ("/api/v1/namespaces", named("another")),
        ("/apis/rbac.authorization.k8s.io/v1/clusterroles", named("mine")),
        ("/apis/apiextensions.k8s.io/v1/customresourcedefinitions", named("widgets.example.com")),
    ] {
        let text = forbidden(tenant.server.create(path, &object).await)?;
        ensure!(text.contains("isolation=cluster"), "{text}");
    }
    for path in [
        "/api/v1/configmaps".to_owned(),
        "/api/v1/namespaces/default/configmaps".to_owned(),
        "/api/v1/namespaces/kube-system/secrets".to_owned(),
        other.path("configmaps"),
        other.path("secrets/mine"),
    ] {
        forbidden(tenant.server.get(&path).await).context(path)?;
    }
    forbidden(tenant.server.create(&other.path("configmaps"), &named("mine")).await)?;
    forbidden(tenant.server.delete(&format!("/api/v1/namespaces/{}", other.namespace)).await)?;
    Ok(())
}

/// Also puts kina into this executable, which may have to become the engine.
#[kina::test]
async fn a_whole_cluster_has_no_namespace_of_its_own(cluster: kina::Cluster) -> anyhow::Result<()> {
    ensure!(cluster.config().default_namespace == "default");
    ensure!(!cluster.kubeconfig().contains("namespace:"), "{}", cluster.kubeconfig());
    Ok(())
}

async fn a_test_in_a_namespace_cannot_become_an_administrator(path: ClientPath) -> anyhow::Result<()> {
    let tenant = Tenant::acquire_on(path).await?;
    let administrator = path.client_of(&tenant.lease, |config| {
        config.auth_info.impersonate = Some("alice".to_owned());
        config.auth_info.impersonate_groups = Some(vec!["system:masters".to_owned()]);
    })?;
    forbidden(Server(administrator).get("/api/v1/namespaces").await)?;
    // It may impersonate the service accounts in its own namespace, and no others.
    let account = |namespace: &str| {
        let name = format!("system:serviceaccount:{namespace}:any");
        path.client_of(&tenant.lease, |config| config.auth_info.impersonate = Some(name))
    };
    let question = json!({"apiVersion": "authentication.k8s.io/v1", "kind": "SelfSubjectReview"});
    const REVIEWS: &str = "/apis/authentication.k8s.io/v1/selfsubjectreviews";
    let answer = Server(account(&tenant.namespace)?).create(REVIEWS, &question).await?;
    ensure!(answer["status"]["userInfo"]["username"].as_str().is_some_and(|name| name.ends_with(":any")), "{answer}");
    forbidden(Server(account("kube-system")?).create(REVIEWS, &question).await)?;
    // A binding in its own namespace grants nothing elsewhere.
    let binding = json!({
        "metadata": {"name": "more"},
        "roleRef": {"apiGroup": "rbac.authorization.k8s.io", "kind": "ClusterRole", "name": "cluster-admin"},
        "subjects": [{"apiGroup": "rbac.authorization.k8s.io", "kind": "Group", "name": "system:authenticated"}],
    });
    let bindings = format!("/apis/rbac.authorization.k8s.io/v1/namespaces/{}/rolebindings", tenant.namespace);
    tenant.server.create(&bindings, &binding).await?;
    forbidden(tenant.server.create("/api/v1/namespaces", &named("another")).await)?;
    Ok(())
}

async fn the_networks_of_namespaces_are_independent(path: ClientPath) -> anyhow::Result<()> {
    let (tenant, other) = (Tenant::acquire_on(path).await?, Tenant::acquire_on(path).await?);
    let engine = engine()?;
    engine.change_network(&tenant.lease.grant, NetworkChange::Cut).await?;
    let error = tenant.create("configmaps", &named("lost")).await.err().context("the network is cut")?;
    ensure!(status_of(&error).is_none(), "the server answered: {error}");
    other.create("configmaps", &named("arrives")).await?;
    engine.change_network(&tenant.lease.grant, NetworkChange::Restore).await?;
    tenant.create("configmaps", &named("arrives")).await?;
    let status = engine.status(false).await?.context("an engine runs")?;
    let namespaces: Vec<_> = status.slots.into_iter().flat_map(|slot| slot.namespaces).collect();
    ensure!(namespaces.iter().any(|found| found.namespace == tenant.namespace), "{namespaces:?}");
    Ok(())
}

async fn a_tests_credentials_are_invalid_when_its_lease_has_ended(path: ClientPath) -> anyhow::Result<()> {
    let first = Tenant::acquire_on(path).await?;
    first.create("configmaps", &named("mine")).await?;
    let watcher = Tenant::acquire_on(path).await?;
    let (namespace, server) = (first.namespace.clone(), first.server.clone());
    let is_same_cluster = first.lease.grant.cluster == watcher.lease.grant.cluster;
    first.lease.release();
    wait_until("the gateway is closed", || async { server.get("/version").await.is_err() }).await?;
    if is_same_cluster {
        let path = format!("/api/v1/namespaces/{namespace}");
        wait_until("the namespace is gone", || async {
            let answer = watcher.server.get(&path).await;
            answer.as_ref().err().and_then(status_of) == Some(404)
        })
        .await?;
    }
    ensure!(server.get("/version").await.is_err());
    Ok(())
}

/// One of many tests: uses the same names as all others, and sees only its own objects.
async fn live_among_others(round: usize) -> anyhow::Result<Tenant> {
    let tenant = Tenant::acquire().await?;
    let content = format!("{}-{round}", tenant.namespace);
    tenant.create("configmaps", &json!({"metadata": {"name": "same"}, "data": {"of": content}})).await?;
    for number in 0..SERVICES {
        tenant.create("services", &service(number)).await.context("addresses and ports come back")?;
    }
    let found = tenant.server.get(&tenant.path("configmaps")).await?;
    let found = found["items"].as_array().context("a list")?;
    ensure!(found.len() == 1 && found[0]["data"]["of"] == content, "{found:?}");
    Ok(tenant)
}

fn rounds_in_realm() -> usize {
    repetitions(ROUNDS, ROUNDS_IN_SHORT)
}

/// On its own, it is an ordinary test.
#[tokio::test]
async fn sixty_four_at_a_time() -> anyhow::Result<()> {
    let mut all_namespaces = BTreeSet::new();
    let rounds = if std::env::var_os(IN_REALM).is_some() { rounds_in_realm() } else { 1 };
    for round in 0..rounds {
        let tenants = futures::future::try_join_all((0..CONCURRENT).map(|_| live_among_others(round))).await?;
        let namespaces: BTreeSet<_> = tenants.iter().map(|tenant| tenant.namespace.clone()).collect();
        ensure!(namespaces.len() == CONCURRENT && namespaces.is_disjoint(&all_namespaces), "a name was used twice");
        all_namespaces.extend(namespaces);
        if std::env::var_os(IN_REALM).is_some() {
            let clusters: BTreeSet<_> = tenants.iter().map(|tenant| &tenant.lease.grant.cluster).collect();
            ensure!(clusters.len() == 1, "{clusters:?}");
        }
    }
    Ok(())
}

#[test]
fn sixty_four_namespaces_on_one_cluster_leave_nothing() {
    let realm = Realm::new().with("KINA_SLOTS_MAX", "1").with(IN_REALM, "1");
    realm.run_well("namespaces::sixty_four_at_a_time");
    let leases = u64::try_from(CONCURRENT * rounds_in_realm()).expect("a few");
    expect_nothing_left(&realm, leases);
}

/// Ends the hosts and checks their rewinds, which would include leftovers of a namespace.
fn expect_nothing_left(realm: &Realm, namespace_leases: u64) {
    wait_until_blocking("all namespaces are gone", || {
        realm.status_of_running().slots.iter().all(|slot| slot.namespaces.is_empty())
    });
    wait_until_blocking("the host is given back", || {
        realm.ask(&ClientMessage::StopIdleClusters);
        !realm.status_of_running().releases.is_empty()
    });
    let status = realm.status_of_running();
    assert_eq!(status.counters.namespace_leases, namespace_leases, "{:?}", status.counters);
    assert_eq!((status.counters.boots, status.counters.broken), (1, 0), "{:?}", status.counters);
    for release in &status.releases {
        assert!(release.changed_keys <= HOST_KEYS_MAX, "{release:?}");
    }
}

/// Writes until it is killed. On its own, it is an ordinary test.
#[tokio::test]
async fn doomed() -> anyhow::Result<()> {
    let tenant = Tenant::acquire().await?;
    if std::env::var_os(IN_REALM).is_none() {
        return Ok(());
    }
    for number in 0..SERVICES {
        tenant.create("services", &service(number)).await?;
    }
    let writes = async {
        for round in 0.. {
            tenant.create("configmaps", &named(&format!("written-{round}"))).await?;
            if round == 10 {
                writeln!(std::io::stdout(), "{READY}{}", tenant.namespace)?;
            }
        }
        anyhow::Ok(())
    };
    tokio::time::timeout(DOOM_TIMEOUT, writes).await?
}

#[test]
fn killed_tests_leave_nothing() {
    const AT_A_TIME: usize = 4;
    let killed = repetitions(20, 4);
    let realm = Realm::new().with("KINA_SLOTS_MAX", "1").with(IN_REALM, "1");
    let mut seen = BTreeSet::new();
    let mut left = killed;
    while 0 < left {
        let running: Vec<_> = (0..AT_A_TIME).map(|_| realm.start(realm.command("namespaces::doomed"))).collect();
        for test in running {
            assert!(seen.insert(test.wait_for(READY)), "a name was used twice");
            test.kill();
            left -= 1;
        }
    }
    expect_nothing_left(&realm, killed);
}

/// On its own, it is an ordinary test.
#[tokio::test]
async fn a_namespace_and_then_a_cluster() -> anyhow::Result<()> {
    let tenant = Tenant::acquire().await?;
    tenant.create("configmaps", &named("any")).await?;
    let cluster = tenant.lease.grant.cluster.clone();
    drop(tenant);
    let whole = tokio::time::timeout(4 * PATIENCE, acquire(Isolation::Cluster)).await??;
    ensure!(whole.grant.namespace.is_none());
    if std::env::var_os(IN_REALM).is_some() {
        ensure!(whole.grant.cluster == cluster, "there is one cluster only");
    }
    let server = Server(ClientPath::Unix.client_of(&whole, |_| {})?);
    let roles = server.get("/apis/rbac.authorization.k8s.io/v1/clusterroles").await?;
    let roles = roles["items"].as_array().context("a list")?;
    ensure!(roles.iter().all(|role| role["metadata"]["name"] != "kina:namespaces"), "the host has left a role");
    Ok(())
}

#[test]
fn a_host_without_namespaces_goes_to_a_client_that_waits_for_a_cluster() {
    let realm = Realm::new().with("KINA_SLOTS_MAX", "1").with(IN_REALM, "1");
    realm.run_well("namespaces::a_namespace_and_then_a_cluster");
    assert_eq!(realm.status_of_running().counters.boots, 1);
}

#[test]
fn namespaces_beyond_the_limit_of_a_cluster_wait_for_their_turn() {
    let realm = Realm::new().with("KINA_SLOTS_MAX", "1").with("KINA_NAMESPACES_MAX", "3");
    realm.run_well("namespaces::ten_take_turns");
    assert_eq!(realm.status_of_running().counters.boots, 1);
}

/// On its own, it is an ordinary test.
#[tokio::test]
async fn ten_take_turns() -> anyhow::Result<()> {
    let turns = (0..10).map(|_| async {
        let tenant = Tenant::acquire().await?;
        tenant.create("configmaps", &named("same")).await?;
        anyhow::Ok(())
    });
    futures::future::try_join_all(turns).await?;
    Ok(())
}
