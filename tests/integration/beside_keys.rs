//! Each test leaves something in one lease that is not in etcd's keys, and looks for it in the next lease of the same
//! cluster. It is gone there, and visible if the responsible part of the engine is switched off.
#![cfg(target_os = "linux")]

mod leak;

use kina_engine::{EngineClient, EngineProgram};
use leak::Leak;
use serde_json::json;

use crate::common::children::{Realm, output, text_of};
use crate::common::server::Server;
use crate::common::wait_until;

/// Names the leak for a child to plant and look for.
const LEAK: &str = "KINA_TEST_LEAK";
/// Tells a child to wait between the leases until the cluster is stopped.
const STOPS: &str = "KINA_TEST_STOPS";
const IS_SEEN: &str = "the second lease sees it: ";

/// The child of the tests below. Without their variables it does nothing.
#[tokio::test]
async fn two_leases_of_one_cluster() -> anyhow::Result<()> {
    let first = kina::Cluster::acquire().await?;
    let Ok(name) = std::env::var(LEAK) else { return Ok(()) };
    let leak = Leak::named(&name);
    let planted = leak.plant(&first).await?;
    let cluster = first.name().to_owned();
    first.release();
    drop(first);
    if std::env::var_os(STOPS).is_some() {
        let engine = EngineClient::from_environment(EngineProgram::InstalledOnly)?;
        let is_stopped = || async {
            let status = engine.status(false).await.ok().flatten();
            status.is_some_and(|status| status.slots.iter().all(|slot| slot.state == "stopped"))
        };
        wait_until("the cluster is stopped", is_stopped).await?;
    }
    let second = kina::Cluster::acquire().await?;
    anyhow::ensure!(second.name() == cluster, "the second lease has {}, the first had {cluster}", second.name());
    println!("{IS_SEEN}{}", leak.is_seen(&second, &planted).await?);
    if leak == Leak::AccountToken {
        // Other leases must still work.
        leak.plant(&second).await?;
    }
    Ok(())
}

/// The objects that most tests make, and no token.
#[tokio::test]
async fn an_ordinary_lease() -> anyhow::Result<()> {
    let cluster = kina::Cluster::acquire().await?;
    let server = Server(cluster.client());
    let object = |name: &str| json!({"metadata": {"name": name}});
    let workload = json!({
        "metadata": {"name": "ordinary"},
        "spec": {
            "selector": {"matchLabels": {"app": "ordinary"}},
            "template": {
                "metadata": {"labels": {"app": "ordinary"}},
                "spec": {"containers": [{"name": "main", "image": "none"}]},
            },
        },
    });
    let service = json!({"metadata": {"name": "ordinary"}, "spec": {"ports": [{"port": 80}], "type": "NodePort"}});
    let definition = json!({
        "metadata": {"name": "ordinaries.example.com"},
        "spec": {
            "group": "example.com",
            "scope": "Namespaced",
            "names": {"plural": "ordinaries", "singular": "ordinary", "kind": "Ordinary", "listKind": "OrdinaryList"},
            "versions": [{
                "name": "v1",
                "served": true,
                "storage": true,
                "schema": {"openAPIV3Schema": {"type": "object", "x-kubernetes-preserve-unknown-fields": true}},
            }],
        },
    });
    for (path, object) in [
        ("/api/v1/namespaces", object("ordinary")),
        ("/api/v1/namespaces/ordinary/configmaps", object("ordinary")),
        ("/api/v1/namespaces/ordinary/secrets", object("ordinary")),
        ("/api/v1/namespaces/ordinary/serviceaccounts", object("ordinary")),
        ("/api/v1/namespaces/ordinary/services", service),
        ("/apis/apps/v1/namespaces/ordinary/deployments", workload),
        ("/apis/rbac.authorization.k8s.io/v1/namespaces/ordinary/roles", object("ordinary")),
        ("/apis/apiextensions.k8s.io/v1/customresourcedefinitions", definition),
    ] {
        server.create(path, &object).await?;
    }
    server.merge("/api/v1/namespaces/default", &json!({"metadata": {"labels": {"a": "b"}}})).await?;
    let custom = "/apis/example.com/v1/namespaces/ordinary/ordinaries";
    let mut resource = object("ordinary");
    resource["apiVersion"] = "example.com/v1".into();
    resource["kind"] = "Ordinary".into();
    wait_until("the custom resource is made", || async { server.create(custom, &resource).await.is_ok() }).await
}

#[test]
fn an_ordinary_lease_restarts_no_api_server() {
    for profile in ["api", "controllers"] {
        let realm = Realm::new().with("KINA_SLOTS_MAX", "1").with("KINA_PROFILE", profile);
        for _ in 0..3 {
            realm.run_well("beside_keys::an_ordinary_lease");
        }
        let counters = realm.status_of_running().counters;
        assert_eq!((counters.boots, counters.broken, counters.api_server_restarts), (1, 0, 0), "{counters:?}");
    }
}

/// An engine of its own with one slot and these variables.
fn realm_with(variables: &[(&str, &str)]) -> Realm {
    let realm = Realm::new().with("KINA_SLOTS_MAX", "1");
    variables.iter().fold(realm, |realm, (name, value)| realm.with(name, value))
}

/// Returns true if a lease sees what the previous one has planted.
fn is_seen(realm: &Realm, leak: Leak) -> bool {
    let mut command = realm.command("beside_keys::two_leases_of_one_cluster");
    command.env(LEAK, leak.name());
    let output = output(command);
    let text = text_of(&output);
    assert!(output.status.success(), "{leak:?}: {text}");
    let answer = text.split_once(IS_SEEN).and_then(|(_, rest)| rest.lines().next());
    answer.unwrap_or_else(|| panic!("no answer: {text}")).parse().expect("true or false")
}

/// Leaks that end with their leases can be looked for on one cluster, one after the other.
fn assert_ended(leaks: &[Leak], variables: &[(&str, &str)]) {
    let realm = realm_with(variables);
    for leak in leaks {
        assert!(!is_seen(&realm, *leak), "{leak:?} outlives its lease");
    }
}

/// Leaks that are seen with this part of the engine switched off. There, each has a cluster of its own.
fn assert_ended_by(leaks: &[Leak], part: &str) {
    assert_ended(leaks, &[]);
    for leak in leaks {
        let realm = realm_with(&[("KINA_SABOTAGE", part)]);
        assert!(is_seen(&realm, *leak), "{leak:?} is not seen though nothing ends it, so the test proves nothing");
    }
}

#[test]
fn a_verbosity_does_not_outlive_its_lease() {
    assert_ended_by(&[Leak::Verbosity], "debug-endpoints");
}

#[test]
fn no_lease_resets_the_metrics_of_the_next() {
    assert_ended_by(&[Leak::ResetMetrics], "debug-endpoints");
}

#[test]
fn a_list_at_an_old_revision_shows_nothing_of_an_earlier_lease() {
    assert_ended_by(&[Leak::ExactList], "history");
}

#[test]
fn a_list_started_by_an_earlier_lease_cannot_be_continued() {
    assert_ended_by(&[Leak::ContinuedList], "history");
}

#[test]
fn changes_of_the_api_servers_own_lease_end_with_the_lease() {
    assert_ended_by(&[Leak::IdentityAnnotation, Leak::RenewedAnnotation, Leak::IdentityHolder], "identity-lease");
}

/// Without the fix, the next lease sees it only within less than a millisecond.
#[test]
fn admission_knows_no_namespace_of_an_earlier_lease() {
    assert_ended(&[Leak::Namespace, Leak::PodSecurity], &[]);
}

#[test]
fn admission_knows_no_class_of_an_earlier_lease() {
    let classes = [Leak::DefaultPriority, Leak::DefaultStorageClass, Leak::DefaultIngressClass, Leak::RuntimeClass];
    assert_ended(&classes, &[]);
}

#[test]
fn a_token_is_invalid_after_its_lease() {
    assert_ended_by(&[Leak::AccountToken], "tokens");
}

#[test]
fn a_token_is_invalid_after_its_lease_and_a_stop_of_the_cluster() {
    let stops = [
        (STOPS, "yes"),
        ("KINA_FREEZE_AFTER_IDLE_SECONDS", "1"),
        ("KINA_STOP_AFTER_IDLE_SECONDS", "2"),
        ("KINA_SCALE_DOWN_WINDOW_SECONDS", "2"),
        ("KINA_IDLE_EXIT_SECONDS", "120"),
    ];
    assert_ended(&[Leak::AccountToken], &stops);
}

#[test]
fn with_controllers_a_token_of_a_permanent_account_is_invalid_after_its_lease() {
    const CONTROLLERS: (&str, &str) = ("KINA_PROFILE", "controllers");
    assert_ended(&[Leak::SystemAccountToken, Leak::SecretToken], &[CONTROLLERS]);
    let realm = realm_with(&[CONTROLLERS, ("KINA_SABOTAGE", "tokens")]);
    assert!(is_seen(&realm, Leak::SystemAccountToken), "nothing ends it, and it is not seen");
}

#[test]
fn the_logs_of_a_lease_have_no_line_of_an_earlier_one() {
    assert_ended_by(&[Leak::LogLine], "cluster-logs");
}
