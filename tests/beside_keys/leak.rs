//! What a lease can leave behind beside etcd's keys, and how to look for it.

use std::collections::BTreeSet;

use anyhow::Context;
use http::{Method, Request};
use kina::Cluster;
use serde_json::{Value, json};

use crate::common::server::Server;

const SECRETS: &str = "/api/v1/namespaces/default/secrets";
const LIST_LENGTH: usize = 3;

/// One thing that an earlier lease must not leave to the next.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Leak {
    /// How much the API server logs.
    Verbosity,
    /// That its metrics begin anew.
    ResetMetrics,
    /// A Secret, in a list at the revision at which it existed.
    ExactList,
    /// The same, in the second page of a list.
    ContinuedList,
}

impl Leak {
    const ALL: [Self; 4] = [Self::Verbosity, Self::ResetMetrics, Self::ExactList, Self::ContinuedList];

    pub(super) fn name(self) -> String {
        format!("{self:?}")
    }

    pub(super) fn named(name: &str) -> Self {
        Self::ALL.into_iter().find(|leak| leak.name() == name).unwrap_or_else(|| panic!("no leak is called {name}"))
    }

    /// Returns what has to be known to look for it.
    pub(super) async fn plant(self, cluster: &Cluster) -> anyhow::Result<Value> {
        let server = Server(cluster.client());
        match self {
            Self::Verbosity => {
                // An API server that does not let anybody do this is what is wanted.
                let _ = send(cluster, Method::PUT, "/debug/flags/v", "6").await;
                Ok(Value::Null)
            }
            Self::ResetMetrics => {
                let before = metric_names(cluster).await?;
                let _ = send(cluster, Method::DELETE, "/metrics", "").await;
                Ok(json!(before))
            }
            Self::ExactList => {
                let revision = create_secrets(&server).await?;
                anyhow::ensure!(lists_secrets(&server, &exact_list(&revision)).await, "the lease's own list is empty");
                Ok(revision.into())
            }
            Self::ContinuedList => {
                create_secrets(&server).await?;
                let list = server.get(&format!("{SECRETS}?limit=1")).await?;
                let token = list["metadata"]["continue"].as_str().context("the list has no second page")?;
                Ok(token.into())
            }
        }
    }

    pub(super) async fn is_seen(self, cluster: &Cluster, planted: &Value) -> anyhow::Result<bool> {
        let server = Server(cluster.client());
        let planted_text = planted.as_str().unwrap_or_default();
        match self {
            Self::Verbosity => {
                let path = "/api/v1/namespaces/default/configmaps?labelSelector=looked-for";
                server.get(path).await?;
                let log = std::fs::read_to_string(cluster.log_directory().join("kube-apiserver.log"))?;
                Ok(log.lines().any(|line| line.contains(path)))
            }
            Self::ResetMetrics => {
                let before: BTreeSet<String> = serde_json::from_value(planted.clone())?;
                let after = metric_names(cluster).await?;
                Ok(before.difference(&after).next().is_some())
            }
            Self::ExactList => Ok(lists_secrets(&server, &exact_list(planted_text)).await),
            Self::ContinuedList => {
                Ok(lists_secrets(&server, &format!("{SECRETS}?limit=1&continue={planted_text}")).await)
            }
        }
    }
}

/// Returns the revision at which all of them are there.
async fn create_secrets(server: &Server) -> anyhow::Result<String> {
    let mut revision = String::new();
    for number in 0..LIST_LENGTH {
        let secret = json!({"metadata": {"name": format!("planted-{number}")}, "stringData": {"a": "b"}});
        let created = server.create(SECRETS, &secret).await?;
        revision = created["metadata"]["resourceVersion"].as_str().context("no revision")?.to_owned();
    }
    Ok(revision)
}

fn exact_list(revision: &str) -> String {
    format!("{SECRETS}?resourceVersion={revision}&resourceVersionMatch=Exact")
}

async fn lists_secrets(server: &Server, path: &str) -> bool {
    let list = server.get(path).await;
    list.is_ok_and(|list| list["items"].as_array().is_some_and(|items| !items.is_empty()))
}

/// The names of the API server's metrics with their labels.
async fn metric_names(cluster: &Cluster) -> anyhow::Result<BTreeSet<String>> {
    let text = send(cluster, Method::GET, "/metrics", "").await?;
    let samples = text.lines().filter(|line| !line.starts_with('#'));
    let names = samples.filter_map(|line| line.rsplit_once(' ')).map(|(name, _)| name.to_owned());
    // Those that boot alone has.
    Ok(names.filter(|name| name.starts_with("apiserver_storage_decode") || name.starts_with("etcd_")).collect())
}

async fn send(cluster: &Cluster, method: Method, path: &str, body: &str) -> anyhow::Result<String> {
    let request = Request::builder().method(method).uri(path).body(body.as_bytes().to_vec())?;
    Ok(cluster.client().request_text(request).await?)
}
