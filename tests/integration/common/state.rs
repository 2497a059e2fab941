//! Everything that an API server shows, and the differences between two of them.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use super::server::Server;

/// Limit of the differences in an error.
const DIFFERENCES_SHOWN: usize = 20;

const EVENTS: [&str; 2] = ["/api/v1/events ", "/apis/events.k8s.io/v1/events "];

/// Every listable object, and discovery, by key; as the server shows them.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct ClusterState {
    entries: BTreeMap<String, Value>,
}

impl ClusterState {
    /// Reads all of it: each resource of each version of each group in discovery, in all namespaces.
    pub async fn read(server: &Server) -> anyhow::Result<Self> {
        let mut entries = BTreeMap::new();
        let mut lists = Vec::new();
        for path in ["/api", "/apis"] {
            // The plain list of groups comes from another part of the server than the aggregated document.
            insert(&mut entries, format!("groups {path}"), server.get(path).await?)?;
            for group in items(&server.discovery(path).await?) {
                let name = group["metadata"]["name"].as_str().unwrap_or_default().to_owned();
                for version in group["versions"].as_array().into_iter().flatten() {
                    lists.extend(listable(&name, version));
                }
                insert(&mut entries, format!("discovery of {path}/{name}"), group)?;
            }
        }
        let answers = futures::future::try_join_all(lists.iter().map(|path| server.get(path))).await?;
        for (path, answer) in lists.iter().zip(answers) {
            for object in items(&answer) {
                let text = |field: &str| object["metadata"][field].as_str().unwrap_or_default();
                let key = format!("{path} {}/{}", text("namespace"), text("name"));
                insert(&mut entries, key, object)?;
            }
        }
        Ok(Self { entries })
    }

    /// The part to compare, without anything that may differ between two untouched clusters.
    pub fn comparable(&self) -> anyhow::Result<Self> {
        let mut entries = BTreeMap::new();
        for (key, value) in &self.entries {
            if is_sign_of_life(key, value) {
                continue;
            }
            let mut value = value.clone();
            make_comparable(key, &mut value);
            insert(&mut entries, key.clone(), value)?;
        }
        Ok(Self { entries })
    }

    /// Events describe the server's start and expire within the hour, so they are not compared.
    pub fn without_events(mut self) -> Self {
        self.entries.retain(|key, _| !EVENTS.iter().any(|path| key.starts_with(path)));
        self
    }

    /// Fails with the differences, if there are any.
    pub fn expect_equal(&self, untouched: &Self) -> anyhow::Result<()> {
        let (own, others) = (self.comparable()?.entries, untouched.comparable()?.entries);
        let mut differences = Vec::new();
        for (key, value) in &own {
            match others.get(key) {
                None => differences.push(format!("foreign: {key}: {value}")),
                Some(other) if other != value => {
                    differences.push(format!("changed: {key}: {value}\n         untouched: {other}"));
                }
                Some(_) => {}
            }
        }
        differences.extend(others.keys().filter(|key| !own.contains_key(*key)).map(|key| format!("missing: {key}")));
        let count = differences.len();
        differences.truncate(DIFFERENCES_SHOWN);
        anyhow::ensure!(
            count == 0,
            "this cluster differs from an untouched one in {count} entries of {}:\n{}",
            own.len(),
            differences.join("\n")
        );
        Ok(())
    }
}

fn insert(entries: &mut BTreeMap<String, Value>, key: String, value: Value) -> anyhow::Result<()> {
    anyhow::ensure!(!entries.contains_key(&key), "there are two of {key}");
    entries.insert(key, value);
    Ok(())
}

fn items(list: &Value) -> Vec<Value> {
    list["items"].as_array().cloned().unwrap_or_default()
}

/// The paths of a version's resources that can be listed.
fn listable(group: &str, version: &Value) -> Vec<String> {
    let name = version["version"].as_str().unwrap_or_default();
    let base = if group.is_empty() { format!("/api/{name}") } else { format!("/apis/{group}/{name}") };
    let resources = version["resources"].as_array().into_iter().flatten();
    resources
        .filter(|resource| resource["verbs"].as_array().is_some_and(|verbs| verbs.iter().any(|verb| verb == "list")))
        .filter_map(|resource| resource["resource"].as_str())
        // These are not objects: at each list the server probes ports of this machine.
        .filter(|resource| *resource != "componentstatuses")
        .map(|resource| format!("{base}/{resource}"))
        .collect()
}

/// The server's own Lease: the server renews it at any time, and creates it some time after its start.
fn is_sign_of_life(key: &str, object: &Value) -> bool {
    let name = object["metadata"]["name"].as_str().unwrap_or_default();
    let holder = object["spec"]["holderIdentity"].as_str().unwrap_or_default();
    key.strip_prefix("/apis/coordination.k8s.io/v1/leases kube-system/") == Some(name)
        && object["metadata"]["labels"]["apiserver.kubernetes.io/identity"] == "kube-apiserver"
        && holder.starts_with(&format!("{name}_"))
}

/// Removes the fields that differ between any two untouched clusters, and nothing else.
fn make_comparable(key: &str, object: &mut Value) {
    if let Some(metadata) = object.get_mut("metadata").and_then(Value::as_object_mut) {
        // Specific to each object: random, counted by the store, or the time of creation.
        for field in ["uid", "resourceVersion", "creationTimestamp"] {
            metadata.remove(field);
        }
        // The time of a manager's write; the managed fields are compared.
        for entry in metadata.get_mut("managedFields").and_then(Value::as_array_mut).into_iter().flatten() {
            remove(entry, &["time"]);
        }
    }
    // The time of a condition's change; its status and reason are compared.
    let conditions = object.pointer_mut("/status/conditions").and_then(Value::as_array_mut);
    for condition in conditions.into_iter().flatten() {
        remove(condition, &["lastTransitionTime"]);
    }
    let (path, name) = key.split_once(' ').unwrap_or((key, ""));
    match (path, name) {
        // Each cluster has a certificate authority of its own.
        ("/api/v1/configmaps", "kube-system/extension-apiserver-authentication") => {
            for value in object["data"].as_object_mut().into_iter().flat_map(Map::values_mut) {
                if value.as_str().is_some_and(|text| text.starts_with("-----BEGIN CERTIFICATE-----")) {
                    *value = "a certificate".into();
                }
            }
        }
        // The day of the server's start.
        ("/api/v1/configmaps", "kube-system/kube-apiserver-legacy-service-account-token-tracking") => {
            remove(&mut object["data"], &["since"]);
        }
        // The port on which the server happens to listen.
        ("/api/v1/services", "default/kubernetes") => {
            for port in object.pointer_mut("/spec/ports").and_then(Value::as_array_mut).into_iter().flatten() {
                remove(port, &["targetPort"]);
            }
        }
        // The server's own address, and its port.
        ("groups", "/api") => remove(object, &["serverAddressByClientCIDRs"]),
        _ => {}
    }
}

fn remove(object: &mut Value, fields: &[&str]) {
    if let Some(object) = object.as_object_mut() {
        for field in fields {
            object.remove(*field);
        }
    }
}
