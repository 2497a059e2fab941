//! The deeds of one lease, and the expectations of the next one.

use std::time::{Duration, Instant};

use anyhow::{Context, ensure};
use futures::{StreamExt, TryStreamExt};
use kina_engine::{FixtureOverlay, FixtureSet, FixtureSource, LeaseGrant};
use serde_json::{Value, json};

use super::raw::{Connection, Credential, Protocol};
use super::webhook::{LABEL, SlowWebhook};
use crate::common::server::{Server, status_of};
use crate::common::{PATIENCE, wait_until};

const CONFIG_MAPS: &str = "/api/v1/namespaces/default/configmaps";
const WIDGETS: &str = "/apis/outlived.example.com/v1/namespaces/default/widgets";
const DEFINITIONS: &str = "/apis/apiextensions.k8s.io/v1/customresourcedefinitions";
/// Has no events, so the API server writes nothing to it before its end.
const QUIET_WATCH: &str = "/api/v1/namespaces/default/limitranges?watch=1&timeoutSeconds=3";
const DEFINITION: &str = "widgets.outlived.example.com";
const CONFIG_MAPS_BEFORE: usize = 6000;
const WIDGETS_BEFORE: usize = 4000;
const CREATED: usize = 400;
const CREATED_AT_A_TIME: usize = 8;
/// After this long, nothing of an earlier lease may have appeared. It outlasts [`QUIET_WATCH`], behind which a creation
/// waits.
const WAIT: Duration = Duration::from_secs(10);

/// Work that continues when its lease ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Writer {
    /// The deletion of a collection.
    Deletion,
    /// A creation that a webhook holds.
    HeldCreation,
    /// The deletion of the instances of a deleted CRD.
    DefinitionFinalizer,
    /// A creation that waits, in the API server's buffer, behind an open watch.
    Queued,
    /// Nothing, on a connection that speaks another protocol.
    Upgrade,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Closing {
    BeforeTheEnd,
    AtTheEnd,
}

#[derive(Clone, Debug)]
pub struct Case {
    writer: Writer,
    protocol: Protocol,
    has_token: bool,
    closing: Closing,
}

impl Case {
    /// Half of all cases: two consecutive rounds have each with certificate and token, closed before and at the end.
    pub fn of_round(round: usize) -> Vec<Self> {
        let protocols = [Protocol::Http1, Protocol::Http1Ahead, Protocol::Http2];
        let mut kinds = Vec::new();
        for writer in [Writer::Deletion, Writer::HeldCreation] {
            kinds.extend(protocols.map(|protocol| (writer, protocol)));
        }
        let others = [Writer::DefinitionFinalizer, Writer::Queued, Writer::Upgrade];
        kinds.extend(others.map(|writer| (writer, Protocol::Http1)));
        let is_even = round.is_multiple_of(2);
        let cases = kinds.into_iter().flat_map(|(writer, protocol)| {
            [Closing::BeforeTheEnd, Closing::AtTheEnd].map(|closing| {
                let has_token = (closing == Closing::AtTheEnd) == is_even;
                Self { writer, protocol, has_token, closing }
            })
        });
        cases.collect()
    }

    pub fn deletion_ahead() -> Self {
        Self::at_the_end(Writer::Deletion, Protocol::Http1Ahead)
    }

    pub fn definition() -> Self {
        Self::at_the_end(Writer::DefinitionFinalizer, Protocol::Http1)
    }

    pub fn queued() -> Self {
        Self::at_the_end(Writer::Queued, Protocol::Http1)
    }

    fn at_the_end(writer: Writer, protocol: Protocol) -> Self {
        Self { writer, protocol, has_token: false, closing: Closing::AtTheEnd }
    }

    /// The state that the first lease starts from: as if it had created it, which would take longer.
    pub fn template(&self) -> FixtureSet {
        let mut objects: Vec<Value> = Vec::new();
        match self.writer {
            Writer::Deletion => objects.extend((0..CONFIG_MAPS_BEFORE).map(config_map)),
            Writer::DefinitionFinalizer => {
                objects.push(definition());
                objects.extend((0..WIDGETS_BEFORE).map(widget));
            }
            Writer::HeldCreation | Writer::Queued | Writer::Upgrade => return FixtureSet::default(),
        }
        let text = objects.iter().map(|object| format!("---\n{object}\n")).collect();
        let sources = vec![FixtureSource { name: "before.yaml".to_owned(), text }];
        FixtureSet { overlays: vec![FixtureOverlay { name: "outlived".to_owned(), sources }] }
    }

    /// Starts the work. Returns the connection to close after the lease.
    pub async fn begin(&self, grant: &LeaseGrant) -> anyhow::Result<Option<Connection>> {
        let server = server(grant)?;
        let credential = match self.has_token {
            true => Credential::Token(administrators_token(&server).await?),
            false => Credential::Certificate,
        };
        let mut connection = Connection::open(grant, self.protocol, &credential).await?;
        let late = |label: &str| json!({"metadata": {"name": "late", "labels": {label: "true"}}}).to_string();
        match self.writer {
            Writer::Deletion => {
                connection.send("DELETE", CONFIG_MAPS, "").await?;
                wait_gone(&server, &format!("{CONFIG_MAPS}/map-0000")).await?;
            }
            Writer::HeldCreation => {
                let mut webhook = SlowWebhook::start(&server).await?;
                connection.send("POST", CONFIG_MAPS, &late(LABEL)).await?;
                webhook.unregister_once_held(&server, "late").await?;
            }
            Writer::DefinitionFinalizer => {
                wait_cached(&server).await?;
                connection.send("DELETE", &format!("{DEFINITIONS}/{DEFINITION}"), "").await?;
                wait_gone(&server, &format!("{WIDGETS}/widget-0000")).await?;
            }
            Writer::Queued => {
                connection.send("GET", QUIET_WATCH, "").await?;
                connection.expect(b"HTTP/1.1 200 ").await?;
                connection.send("POST", CONFIG_MAPS, &late("any")).await?;
                // Otherwise the creation would be cancelled as soon as it starts.
                connection.send_one_more_byte().await?;
            }
            Writer::Upgrade => connection.upgrade(&format!("{CONFIG_MAPS}?watch=1")).await?,
        }
        if self.protocol == Protocol::Http1Ahead {
            connection.send_one_more_byte().await?;
        }
        Ok((self.closing == Closing::AtTheEnd).then_some(connection))
    }

    /// Creates the same names, and checks later that all of them exist, and nothing else.
    pub async fn expect_undisturbed(&self, grant: &LeaseGrant) -> anyhow::Result<()> {
        let server = server(grant)?;
        let (path, resource, objects): (_, _, Vec<_>) = match self.writer {
            Writer::DefinitionFinalizer => {
                server.create(DEFINITIONS, &definition()).await?;
                wait_until("the kind is served", || async { server.get(WIDGETS).await.is_ok() }).await?;
                (WIDGETS, "widgets", last(WIDGETS_BEFORE).map(widget).collect())
            }
            _ => (CONFIG_MAPS, "configmaps", last(CONFIG_MAPS_BEFORE).map(config_map).collect()),
        };
        let creations_before = creations(&server, resource).await?;
        let creations_of_all = objects.iter().map(|object| server.create(path, object));
        let created = futures::stream::iter(creations_of_all).buffer_unordered(CREATED_AT_A_TIME);
        created.try_collect::<Vec<_>>().await.context("a name could not be created")?;
        tokio::time::sleep(WAIT).await;
        let creations_seen = creations(&server, resource).await? - creations_before;
        ensure!(creations_seen == CREATED as f64, "{creations_seen} creations of {resource}, but {CREATED} of its own");
        let list = server.get(path).await?;
        let names = |objects: &[Value]| {
            let names = objects.iter().filter_map(|object| object["metadata"]["name"].as_str().map(str::to_owned));
            names.collect::<std::collections::BTreeSet<_>>()
        };
        let found = names(list["items"].as_array().context("a list")?);
        let expected = names(&objects);
        let missing: Vec<_> = expected.difference(&found).collect();
        let strange: Vec<_> = found.difference(&expected).collect();
        ensure!(missing.is_empty(), "{} of {CREATED} are left, {:?} is not", CREATED - missing.len(), missing[0]);
        ensure!(strange.is_empty(), "not this lease's own: {strange:?}");
        Ok(())
    }
}

/// Returns the number of requests to create such objects that the API server has served, or started and given up.
async fn creations(server: &Server, resource: &str) -> anyhow::Result<f64> {
    let metrics = server.0.request_text(http::Request::get("/metrics").body(Vec::new())?).await?;
    let labels = [format!("resource=\"{resource}\""), "verb=\"POST\"".to_owned()];
    let is_counted = |line: &&str| {
        let names = ["apiserver_request_total{", "apiserver_request_aborts_total{"];
        names.iter().any(|name| line.starts_with(name)) && labels.iter().all(|label| line.contains(label))
    };
    let values = metrics.lines().filter(is_counted).filter_map(|line| line.rsplit(' ').next());
    Ok(values.map(str::parse::<f64>).sum::<Result<f64, _>>()?)
}

/// Names that an ordered deletion reaches last.
fn last(count: usize) -> std::ops::Range<usize> {
    count - CREATED..count
}

fn server(grant: &LeaseGrant) -> anyhow::Result<Server> {
    Ok(Server(kube::Client::try_from(kina::__private::config_of_lease(grant)?)?))
}

/// The token of a service account with all rights.
async fn administrators_token(server: &Server) -> anyhow::Result<String> {
    let accounts = "/api/v1/namespaces/default/serviceaccounts";
    server.create(accounts, &json!({"metadata": {"name": "robot"}})).await?;
    let binding = json!({
        "metadata": {"name": "robot"},
        "roleRef": {"apiGroup": "rbac.authorization.k8s.io", "kind": "ClusterRole", "name": "cluster-admin"},
        "subjects": [{"kind": "ServiceAccount", "name": "robot", "namespace": "default"}],
    });
    server.create("/apis/rbac.authorization.k8s.io/v1/clusterrolebindings", &binding).await?;
    let request = json!({"apiVersion": "authentication.k8s.io/v1", "kind": "TokenRequest", "spec": {}});
    let answer = server.create(&format!("{accounts}/robot/token"), &request).await?;
    let review = json!({"spec": {
        "user": "system:serviceaccount:default:robot",
        "resourceAttributes": {"verb": "delete", "group": "*", "resource": "*"},
    }});
    let reviews = "/apis/authorization.k8s.io/v1/subjectaccessreviews";
    let is_allowed =
        || async { server.create(reviews, &review).await.is_ok_and(|answer| answer["status"]["allowed"] == true) };
    wait_until("the account may do everything", is_allowed).await?;
    Ok(answer["status"]["token"].as_str().context("a token")?.to_owned())
}

/// Waits until the API server has all instances in its cache. A CRD that is deleted earlier can keep them for a minute.
async fn wait_cached(server: &Server) -> anyhow::Result<()> {
    let is_cached = || async {
        let list = server.get(&format!("{WIDGETS}?resourceVersion=0")).await;
        list.is_ok_and(|list| list["items"].as_array().is_some_and(|items| items.len() == WIDGETS_BEFORE))
    };
    wait_until("all instances are cached", is_cached).await
}

/// Waits until the first of many is gone, and thus the others are being deleted.
async fn wait_gone(server: &Server, path: &str) -> anyhow::Result<()> {
    let start = Instant::now();
    while !matches!(server.get(path).await, Err(error) if status_of(&error) == Some(404)) {
        ensure!(start.elapsed() < PATIENCE, "{path} was not deleted");
    }
    Ok(())
}

fn config_map(number: usize) -> Value {
    let metadata = json!({"name": format!("map-{number:04}"), "namespace": "default"});
    json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": metadata})
}

fn widget(number: usize) -> Value {
    let metadata = json!({"name": format!("widget-{number:04}"), "namespace": "default"});
    json!({"apiVersion": "outlived.example.com/v1", "kind": "Widget", "metadata": metadata})
}

fn definition() -> Value {
    json!({
        "apiVersion": "apiextensions.k8s.io/v1", "kind": "CustomResourceDefinition",
        "metadata": {"name": DEFINITION},
        "spec": {
            "group": "outlived.example.com", "scope": "Namespaced",
            "names": {"plural": "widgets", "singular": "widget", "kind": "Widget", "listKind": "WidgetList"},
            "versions": [{
                "name": "v1", "served": true, "storage": true,
                "schema": {"openAPIV3Schema": {"type": "object", "x-kubernetes-preserve-unknown-fields": true}},
            }],
        },
    })
}
