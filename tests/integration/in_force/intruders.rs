//! Foreign writes to a cluster on which a template is being made.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use anyhow::{Context, ensure};
use base64::Engine as _;
use kina_engine::Profile;
use serde_json::json;

use super::rules;
use super::scene::{Scene, client};
use crate::common::children::Realm;

const POLL_INTERVAL: Duration = Duration::from_millis(20);
/// By then a lease is proven pristine; applying the template takes far longer.
const AFTER_GRANT: Duration = Duration::from_millis(700);

#[tokio::test(flavor = "multi_thread")]
async fn a_cluster_with_foreign_writes_does_not_become_a_template() -> anyhow::Result<()> {
    let scene = Scene::new(1)?;
    let intruder = Intruder::start(&scene.realm, 1);
    let lease = scene.lease(&rules::large_definitions("i"), Profile::Api).await?;
    ensure!(intruder.written().len() == 1, "{:?}", intruder.written());
    let found = rules::ask(&client(&lease)?.0, "/api/v1/configmaps", None).await?;
    ensure!(found.contains("\"items\":") && !found.contains("intruder"), "{found}");
    ensure!(!intruder.written().contains(&lease.grant.cluster));
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_foreign_key_on_three_clusters_is_named() -> anyhow::Result<()> {
    let scene = Scene::new(1)?;
    let intruder = Intruder::start(&scene.realm, usize::MAX);
    let error = match scene.lease(&rules::large_definitions("j"), Profile::Api).await {
        Ok(lease) => anyhow::bail!("{:?} although {:?} were written to", lease.grant, intruder.written()),
        Err(error) => format!("{:#}", anyhow::Error::from(error)),
    };
    ensure!(error.contains("/registry/configmaps/default/intruder"), "{error}");
    ensure!(intruder.written().len() == 3, "{:?}", intruder.written());
    Ok(())
}

/// A key that an API server derives from the objects is not an intruder.
#[tokio::test(flavor = "multi_thread")]
async fn objects_of_many_kinds_become_a_template() -> anyhow::Result<()> {
    let scene = Scene::new(1)?;
    let text = include_str!("many_kinds.yaml");
    let lease = scene.lease(text, Profile::Api).await?;
    let found = rules::ask(&client(&lease)?.0, "/apis/many.example.com/v1/widgets", None).await?;
    ensure!(found.contains("\"name\":\"a\""), "{found}");
    // The first cluster was enough.
    let broken = scene.realm.status_of_running().counters.broken;
    ensure!(broken == 0, "{broken} clusters were given up");
    Ok(())
}

/// Writes a ConfigMap into the storage of each cluster once it is leased, until this value is dropped.
struct Intruder {
    written: Arc<Mutex<Vec<String>>>,
    task: tokio::task::JoinHandle<()>,
}

impl Intruder {
    fn start(realm: &Arc<Realm>, clusters_max: usize) -> Self {
        let written = Arc::new(Mutex::new(Vec::new()));
        let (realm, clusters) = (Arc::clone(realm), Arc::clone(&written));
        let task = tokio::spawn(async move {
            while clusters.lock().expect("whole").len() < clusters_max {
                tokio::time::sleep(POLL_INTERVAL).await;
                let asked = Arc::clone(&realm);
                let status = tokio::task::spawn_blocking(move || asked.status()).await.expect("a status");
                let leased = status.into_iter().flat_map(|status| status.slots).find(|slot| slot.lease.is_some());
                let Some((slot, cluster)) = leased.and_then(|slot| slot.cluster.clone().map(|name| (slot, name)))
                else {
                    continue;
                };
                if clusters.lock().expect("whole").contains(&cluster) {
                    continue;
                }
                tokio::time::sleep(AFTER_GRANT).await;
                write(&slot.process_ids).await.expect("an intruder is written");
                clusters.lock().expect("whole").push(cluster);
            }
        });
        Self { written, task }
    }

    fn written(&self) -> Vec<String> {
        self.written.lock().expect("whole").clone()
    }
}

impl Drop for Intruder {
    fn drop(&mut self) {
        self.task.abort();
    }
}

/// Over etcd's JSON gateway, with the certificate of its clients.
async fn write(process_ids: &[u32]) -> anyhow::Result<()> {
    let lines = process_ids.iter().filter_map(|id| std::fs::read_to_string(format!("/proc/{id}/cmdline")).ok());
    let arguments = lines.into_iter().find(|line| line.contains("--advertise-client-urls")).context("an etcd")?;
    let option = |name: &str| {
        let start = format!("--{name}=");
        arguments.split('\0').find_map(|argument| argument.strip_prefix(&start)).map(str::to_owned).context(start)
    };
    let base64 = |bytes: &[u8]| base64::engine::general_purpose::STANDARD.encode(bytes);
    let authority = std::path::PathBuf::from(option("trusted-ca-file")?);
    let read = |name: &str| -> anyhow::Result<String> { Ok(base64(&std::fs::read(authority.with_file_name(name))?)) };
    let server = option("advertise-client-urls")?;
    let kubeconfig = json!({
        "apiVersion": "v1", "kind": "Config", "current-context": "c",
        "clusters": [{"name": "c", "cluster": {
            "server": server, "certificate-authority-data": base64(&std::fs::read(&authority)?),
        }}],
        "users": [{"name": "u", "user": {
            "client-certificate-data": read("etcd-client.crt")?, "client-key-data": read("etcd-client.key")?,
        }}],
        "contexts": [{"name": "c", "context": {"cluster": "c", "user": "u"}}],
    });
    let kubeconfig: kube::config::Kubeconfig = serde_json::from_value(kubeconfig)?;
    let config = kube::Config::from_custom_kubeconfig(kubeconfig, &kube::config::KubeConfigOptions::default()).await?;
    let metadata = json!({"name": "intruder", "namespace": "default", "uid": "intruder"});
    let object = json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": metadata});
    let put = json!({
        "key": base64(b"/registry/configmaps/default/intruder"), "value": base64(object.to_string().as_bytes()),
    });
    let answer = rules::ask(&kube::Client::try_from(config)?, "/v3/kv/put", Some(put)).await?;
    ensure!(answer.contains("revision"), "{answer}");
    Ok(())
}
