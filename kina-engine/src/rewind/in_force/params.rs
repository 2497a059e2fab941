//! Parameters of policies.
//!
//! A policy that names a kind of parameters has an informer of its own for them, which starts when the policy is
//! compiled. Until that knows the parameters, requests are refused or let through by the policy's failure policy. So
//! the refusal of a canary with the same kind of parameters tells which of them it got.

use std::collections::BTreeSet;

use serde_json::Value;

use super::canary::{Canary, Param};
use super::{InForce, PARAMS_TIMEOUT, next_id};
use crate::etcd::WriteOperation;
use crate::rewind::RewindError;
use crate::rewind::resource::StorageResource;
use crate::rule_kind::RuleKind;

impl InForce<'_> {
    /// Waits until policies of this kind get the parameters that there are.
    pub(in crate::rewind) async fn params_are_followed(&self, kind: RuleKind) -> Result<(), RewindError> {
        let Some(canary) = Canary::new(kind, self.api_paths) else { return Ok(()) };
        let resource = match kind {
            RuleKind::ValidatingPolicy => "validatingadmissionpolicies",
            _ => "mutatingadmissionpolicies",
        };
        let key = format!("/registry/{resource}/x");
        let Some(path) =
            StorageResource::of_key(key.as_bytes()).and_then(|resource| self.api_paths.list_path(&resource))
        else {
            return Ok(());
        };
        let mut canaries = Vec::new();
        for (number, (api_version, param_kind)) in (0..).zip(param_kinds(&self.list(path).await?)) {
            // A kind that is not there yet leaves the policy without parameters, as in any cluster.
            let Some((plural, is_namespaced)) = self.served_kind(&api_version, &param_kind).await? else { continue };
            let newest = self.newest(&format!("{}/{plural}", base_path(&api_version))).await?;
            let text = |field: &str| newest.as_ref().and_then(|object| object["metadata"][field].as_str());
            let namespace = is_namespaced.then(|| text("namespace").unwrap_or("default").to_owned());
            let newest = text("name").zip(text("resourceVersion"));
            let newest = newest.map(|(name, version)| (name.to_owned(), version.to_owned()));
            let param = Param { number, api_version, kind: param_kind, namespace, newest };
            canaries.push(canary.clone().with_param(param));
        }
        if canaries.is_empty() {
            return Ok(());
        }
        let numbered: Vec<_> = canaries.iter().map(|canary| (canary, next_id())).collect();
        let puts: Vec<_> = numbered.iter().flat_map(|(canary, id)| canary.puts(*id)).collect();
        let deletions: Vec<WriteOperation> = canaries.iter().flat_map(Canary::deletions).collect();
        let seen = async {
            self.write(&puts).await?;
            for (canary, id) in &numbered {
                self.wait_sighting(canary, *id, true, PARAMS_TIMEOUT).await?;
            }
            Ok(numbered.clone())
        };
        let seen = seen.await;
        self.take_away(&deletions, seen).await
    }

    /// Its plural, and true if its objects are in namespaces.
    async fn served_kind(&self, api_version: &str, kind: &str) -> Result<Option<(String, bool)>, RewindError> {
        let path = base_path(api_version);
        let answer = self.api.get(&path).await?;
        let resources: Value = match answer.status {
            http::StatusCode::OK => serde_json::from_slice(&answer.body).unwrap_or_default(),
            _ => return Ok(None),
        };
        let is_kind = |resource: &&Value| {
            resource["kind"] == kind && !resource["name"].as_str().unwrap_or_default().contains('/')
        };
        let found = resources["resources"].as_array().into_iter().flatten().find(is_kind);
        Ok(found.and_then(|found| Some((found["name"].as_str()?.to_owned(), found["namespaced"] == true))))
    }

    /// The object that was written last.
    async fn newest(&self, path: &str) -> Result<Option<Value>, RewindError> {
        let objects = self.list(path).await?;
        let version =
            |object: &Value| object["metadata"]["resourceVersion"].as_str().and_then(|text| text.parse().ok());
        Ok(objects.into_iter().max_by_key(|object| version(object).unwrap_or(0_u64)))
    }
}

/// The kinds of parameters that policies name, each once.
fn param_kinds(policies: &[Value]) -> BTreeSet<(String, String)> {
    let kinds = policies.iter().map(|policy| &policy["spec"]["paramKind"]);
    kinds
        .filter_map(|kind| Some((kind["apiVersion"].as_str()?.to_owned(), kind["kind"].as_str()?.to_owned())))
        .collect()
}

fn base_path(api_version: &str) -> String {
    if api_version.contains('/') { format!("/apis/{api_version}") } else { format!("/api/{api_version}") }
}
