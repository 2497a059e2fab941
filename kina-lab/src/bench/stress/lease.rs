//! One lease, in a process of its own: a check that the cluster is pristine and works.

use std::time::Instant;

use anyhow::ensure;
use cargo_kina::output::print_progress;
use k8s_openapi::api::core::v1::{ConfigMap, Namespace};
use kina_engine::{AcquireRequest, EngineClient, EngineProgram};
use kube::ResourceExt;
use kube::api::{Api, ListParams, ObjectMeta, PostParams};
use serde::{Deserialize, Serialize};

use crate::kube_client::connect;

/// The object that each lease leaves behind.
const CANARY: &str = "kina-bench-canary";
const NAMESPACES: [&str; 4] = ["default", "kube-node-lease", "kube-public", "kube-system"];

/// The findings of a lease.
#[derive(Debug, Serialize, Deserialize)]
pub(super) struct LeaseReport {
    /// From the first line of the process to the answer of its first list.
    pub(super) took_ms: f64,
    pub(super) lease: u64,
    /// Objects that should not have been there.
    pub(super) strangers: Vec<String>,
}

/// Leases a cluster, looks at it, leaves something behind, and checks that it is there. `start` is the time of the
/// first line of the process.
pub(in crate::bench) async fn run(start: Instant) -> anyhow::Result<impl Serialize> {
    let engine = EngineClient::from_environment(EngineProgram::ThisExecutable)?;
    let request = AcquireRequest::from_environment("cargo kina bench stress", None)?;
    let lease = engine.acquire(request, &print_progress).await?;
    let grant = &lease.grant;
    let client = connect(grant.address, &grant.ca_pem, &grant.client_certificate_pem, &grant.client_key_pem)?;
    let namespaces: Api<Namespace> = Api::all(client.clone());
    let names = names(&namespaces.list(&ListParams::default()).await?.items);
    let took_ms = start.elapsed().as_secs_f64() * 1e3;
    let config_maps: Api<ConfigMap> = Api::default_namespaced(client);
    let maps = self::names(&config_maps.list(&ListParams::default()).await?.items);
    let strangers = strangers(&names, &maps);

    let metadata = || ObjectMeta { name: Some(CANARY.to_owned()), ..ObjectMeta::default() };
    if strangers.is_empty() {
        let namespace = Namespace { metadata: metadata(), ..Namespace::default() };
        namespaces.create(&PostParams::default(), &namespace).await?;
        let config_map = ConfigMap { metadata: metadata(), ..ConfigMap::default() };
        config_maps.create(&PostParams::default(), &config_map).await?;
        ensure!(config_maps.get_opt(CANARY).await?.is_some(), "the created ConfigMap cannot be read");
    }
    Ok(LeaseReport { took_ms, lease: grant.lease, strangers })
}

fn names<Object: ResourceExt>(objects: &[Object]) -> Vec<String> {
    objects.iter().map(ResourceExt::name_any).collect()
}

fn strangers(namespaces: &[String], config_maps: &[String]) -> Vec<String> {
    let unknown = namespaces.iter().filter(|name| !NAMESPACES.contains(&name.as_str()));
    let missing = NAMESPACES.iter().filter(|name| !namespaces.iter().any(|namespace| namespace == *name));
    unknown
        .map(|name| format!("the namespace {name}"))
        .chain(missing.map(|name| format!("no namespace {name}")))
        .chain(config_maps.iter().map(|name| format!("the ConfigMap {name}")))
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn whatever_does_not_belong_is_a_stranger() {
        let owned = |names: &[&str]| names.iter().map(|name| (*name).to_owned()).collect::<Vec<_>>();
        let pristine = owned(&NAMESPACES);
        assert!(strangers(&pristine, &[]).is_empty());
        assert_eq!(strangers(&pristine, &owned(&["left"])), ["the ConfigMap left"]);
        assert_eq!(strangers(&owned(&[&NAMESPACES[..], &["left"]].concat()), &[]), ["the namespace left"]);
        assert_eq!(strangers(&pristine[1..], &[]), ["no namespace default"]);
    }
}
