//! The API server's own Lease, which is in no baseline because its renewals go on.
//!
//! A test may write to it like to any other object, and the API server would keep the test's changes. So at each rewind
//! and each proof, if it was written since the last look, it has to be as before but for its renewal, or it is
//! restored. The API server then meets a conflict at its next renewal, reads again and goes on from there.

use std::collections::BTreeMap;

use serde_json::{Map, Value, json};

use super::{RewindError, ServerOwned};
use crate::api_client::ApiClient;
use crate::etcd::{EtcdClient, KeyListing, WriteOperation};
use crate::sabotage::{self, Part};

const KEY_PREFIX: &[u8] = b"/registry/leases/";
const MANAGER: &str = "kube-apiserver";
const LABELS: [&str; 2] = ["apiserver.kubernetes.io/identity", "kubernetes.io/hostname"];
/// Exist from Kubernetes 1.36 on.
const ANNOTATIONS: [&str; 1] = ["kubernetes.io/peer-advertise-address"];
const METADATA: [&str; 4] = ["name", "namespace", "uid", "creationTimestamp"];
const SPEC: [&str; 3] = ["holderIdentity", "leaseDurationSeconds", "renewTime"];

/// The Leases of a cluster's API servers, of which there is one.
#[derive(Debug, Default)]
pub(super) struct IdentityLeases {
    known: BTreeMap<Vec<u8>, Known>,
}

/// A Lease that was found to be as an API server makes it.
#[derive(Debug)]
struct Known {
    mod_revision: i64,
    object: Value,
}

impl IdentityLeases {
    /// Forgets them all: an API server that starts makes its Lease anew.
    pub(super) fn forget(&mut self) {
        self.known.clear();
    }

    /// Looks at those of this listing that were written since the last look. Restores any that is not as an API server
    /// left it, and returns true if there was one.
    pub(super) async fn put_back(
        &mut self,
        listing: &KeyListing,
        server_owned: &ServerOwned,
        etcd: &EtcdClient,
        api: &ApiClient,
    ) -> Result<bool, RewindError> {
        if sabotage::is_off(Part::IdentityLease) {
            return Ok(false);
        }
        let mut puts = Vec::new();
        for key in server_owned.identity_leases() {
            let listed = listing.heads().find(|head| head.key == key).map(|head| head.mod_revision);
            let known = self.known.get(key);
            let object = match (listed, known) {
                (Some(mod_revision), Some(known)) if known.mod_revision == mod_revision => continue,
                // It is gone, and the API server would only miss it at its next renewal.
                (None, Some(known)) => known.object.clone(),
                (None, None) => continue,
                (Some(mod_revision), known) => {
                    let Some(found) = read(api, &path_of(key, "")).await? else { continue };
                    let object = match known {
                        Some(known) => as_renewed(&found, &known.object),
                        None => as_renewed(&found, &made_by_server(&read_first(etcd, api, key, &found).await?)),
                    };
                    if object == found {
                        self.known.insert(key.to_vec(), Known { mod_revision, object });
                        continue;
                    }
                    object
                }
            };
            puts.push((key.to_vec(), object));
        }
        for (key, object) in &puts {
            // The API server reads JSON from storage as well as its own encoding.
            let put = WriteOperation::Put { key: key.clone(), value: object.to_string().into_bytes() };
            let written = etcd.write(&[put]).await?;
            let mod_revision = written.last().map_or(0, |(_, revision)| *revision);
            self.known.insert(key.clone(), Known { mod_revision, object: object.clone() });
        }
        Ok(!puts.is_empty())
    }
}

/// As it was made, as far as storage remembers that; otherwise as it was `found`. An API server that has just started
/// may make its Lease when the first test has the cluster already.
async fn read_first(etcd: &EtcdClient, api: &ApiClient, key: &[u8], found: &Value) -> Result<Value, RewindError> {
    let Some(revision) = etcd.creation_revision(key).await? else { return Ok(found.clone()) };
    let name = found["metadata"]["name"].as_str().unwrap_or_default();
    let query = format!("?fieldSelector=metadata.name={name}&resourceVersion={revision}&resourceVersionMatch=Exact");
    let leases = read(api, &path_of(&key[..key.len() - name.len()], &query)).await?;
    let mut first = leases.map_or(Value::Null, |mut leases| leases["items"][0].take());
    if first.is_null() {
        return Ok(found.clone());
    }
    for field in ["apiVersion", "kind"] {
        first[field] = found[field].clone();
    }
    Ok(first)
}

/// The API's path of the object stored under this key.
fn path_of(key: &[u8], query: &str) -> String {
    let place = String::from_utf8_lossy(key.strip_prefix(KEY_PREFIX).unwrap_or_default()).into_owned();
    let (namespace, name) = place.split_once('/').unwrap_or_default();
    let path = format!("/apis/coordination.k8s.io/v1/namespaces/{namespace}/leases/{name}");
    format!("{}{query}", path.trim_end_matches('/'))
}

/// The object that is served at this path, without its revision; `None` if there is none, or none any more.
async fn read(api: &ApiClient, path: &str) -> Result<Option<Value>, RewindError> {
    let answer = api.get(path).await?;
    let unexpected = |answered| RewindError::Unexpected { asked: path.to_owned(), answered };
    match answer.status {
        http::StatusCode::OK => {}
        http::StatusCode::NOT_FOUND | http::StatusCode::GONE => return Ok(None),
        status => return Err(unexpected(format!("HTTP status {status}"))),
    }
    let mut object: Value =
        serde_json::from_slice(&answer.body).map_err(|error| unexpected(format!("no Lease: {error}")))?;
    if let Some(metadata) = object["metadata"].as_object_mut() {
        metadata.remove("resourceVersion");
    }
    Ok(Some(object))
}

/// The Lease as an API server would have made it by now: the known one, renewed.
fn as_renewed(found: &Value, known: &Value) -> Value {
    let mut renewed = known.clone();
    renewed["spec"]["renewTime"] = found["spec"]["renewTime"].clone();
    renewed["metadata"]["managedFields"][0]["time"] = found["metadata"]["managedFields"][0]["time"].clone();
    renewed
}

/// The part that an API server writes.
fn made_by_server(found: &Value) -> Value {
    let metadata = &found["metadata"];
    let (labels, annotations) = (part(&metadata["labels"], &LABELS), part(&metadata["annotations"], &ANNOTATIONS));
    let spec = part(&found["spec"], &SPEC);
    let mut managed = json!({"f:metadata": {"f:labels": managed_map(&labels)}, "f:spec": managed_fields(&spec)});
    let mut made = json!({
        "apiVersion": found["apiVersion"],
        "kind": found["kind"],
        "metadata": part(metadata, &METADATA),
        "spec": spec,
    });
    made["metadata"]["labels"] = labels.into();
    if !annotations.is_empty() {
        managed["f:metadata"]["f:annotations"] = managed_map(&annotations);
        made["metadata"]["annotations"] = annotations.into();
    }
    made["metadata"]["managedFields"] = json!([{
        "apiVersion": found["apiVersion"],
        "fieldsType": "FieldsV1",
        "fieldsV1": managed,
        "manager": MANAGER,
        "operation": "Update",
    }]);
    made
}

/// The fields of these names.
fn part(object: &Value, names: &[&str]) -> Map<String, Value> {
    names.iter().filter_map(|name| Some(((*name).to_owned(), object.get(name)?.clone()))).collect()
}

fn managed_fields(fields: &Map<String, Value>) -> Value {
    fields.keys().map(|name| (format!("f:{name}"), json!({}))).collect::<Map<_, _>>().into()
}

fn managed_map(fields: &Map<String, Value>) -> Value {
    let mut managed = managed_fields(fields);
    managed["."] = json!({});
    managed
}

#[cfg(test)]
mod tests {
    use super::*;

    /// As a kube-apiserver 1.37.2 made it.
    fn untouched() -> Value {
        let name = "apiserver-wlv32tlttr4jl3gtroqexyxapa";
        json!({
            "apiVersion": "coordination.k8s.io/v1",
            "kind": "Lease",
            "metadata": {
                "annotations": {"kubernetes.io/peer-advertise-address": "127.0.0.1:41007"},
                "creationTimestamp": "2026-01-01T00:00:00Z",
                "labels": {"apiserver.kubernetes.io/identity": "kube-apiserver", "kubernetes.io/hostname": "vm"},
                "managedFields": [{
                    "apiVersion": "coordination.k8s.io/v1",
                    "fieldsType": "FieldsV1",
                    "fieldsV1": {
                        "f:metadata": {
                            "f:annotations": {".": {}, "f:kubernetes.io/peer-advertise-address": {}},
                            "f:labels": {
                                ".": {},
                                "f:apiserver.kubernetes.io/identity": {},
                                "f:kubernetes.io/hostname": {},
                            },
                        },
                        "f:spec": {"f:holderIdentity": {}, "f:leaseDurationSeconds": {}, "f:renewTime": {}},
                    },
                    "manager": "kube-apiserver",
                    "operation": "Update",
                    "time": "2026-01-01T00:00:10Z",
                }],
                "name": name,
                "namespace": "kube-system",
                "uid": "1",
            },
            "spec": {
                "holderIdentity": format!("{name}_1"),
                "leaseDurationSeconds": 3600,
                "renewTime": "2026-01-01T00:00:10.000001Z",
            },
        })
    }

    #[test]
    fn what_an_api_server_makes_is_left_alone() {
        assert_eq!(as_renewed(&untouched(), &made_by_server(&untouched())), untouched());
        let mut renewed = untouched();
        renewed["spec"]["renewTime"] = "2026-01-01T00:00:20.000001Z".into();
        renewed["metadata"]["managedFields"][0]["time"] = "2026-01-01T00:00:20Z".into();
        assert_eq!(as_renewed(&renewed, &untouched()), renewed);
    }

    #[test]
    fn what_a_test_wrote_goes_whether_the_lease_was_known_before_or_not() {
        let planted = [
            ("/metadata/annotations/a", json!("b")),
            ("/metadata/labels/a", json!("b")),
            ("/metadata/finalizers", json!(["example.com/a"])),
            ("/metadata/managedFields/0/fieldsV1/f:a", json!({})),
            ("/spec/strategy", json!("OldestEmulationVersion")),
        ];
        for (path, value) in planted {
            let mut written = untouched();
            let (parent, name) = path.rsplit_once('/').expect("a path");
            written.pointer_mut(parent).expect("it is there")[name] = value;
            assert_eq!(as_renewed(&written, &made_by_server(&written)), untouched(), "{path}");
            assert_eq!(as_renewed(&written, &untouched()), untouched(), "{path}");
        }
        let mut written = untouched();
        written["spec"]["holderIdentity"] = "a test".into();
        assert_eq!(as_renewed(&written, &untouched()), untouched());
    }
}
