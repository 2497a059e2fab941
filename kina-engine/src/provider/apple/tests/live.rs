//! The whole life of clusters, with a `container` that boots real ones: the real program, or an emulator of it.
//!
//! KINA_CONTAINER_CLI names the program, KINA_TEST_IMAGE holds the output of `cargo kina image build --format json`:
//!
//! ```sh
//! cargo test -p kina-engine --lib -- --ignored clusters_are_made_stopped_started_and_removed
//! ```

use std::path::Path;
use std::sync::Arc;
use std::time::Instant;

use super::super::image::ClusterImage;
use super::super::settings::{AppleSettings, PROGRAM_VARIABLE, find_program};
use super::super::{AppleProvider, ImageSource};
use super::request_of;
use crate::api_client::ApiClient;
use crate::assets::Assets;
use crate::etcd::{EtcdClient, PackedState, WriteOperation};
use crate::provider::{ProvidedCluster, Provider, Readiness};

const IMAGE_VARIABLE: &str = "KINA_TEST_IMAGE";
const KEY: &[u8] = b"/kina-live-test";

fn image(json: &str) -> ClusterImage {
    let printed: serde_json::Value = serde_json::from_str(json).expect("the output of `cargo kina image build`");
    let text = |key: &str| printed[key].as_str().expect(key).to_owned();
    ClusterImage { reference: text("reference"), archive: text("archive").into(), digest: text("digest") }
}

async fn provider(directory: &Path) -> AppleProvider {
    let named = std::env::var_os(PROGRAM_VARIABLE).expect("KINA_CONTAINER_CLI names the program");
    let image = image(&std::env::var(IMAGE_VARIABLE).expect("KINA_TEST_IMAGE describes an image"));
    let program = find_program(Some(&named), None).expect("the program that KINA_CONTAINER_CLI names");
    let [clusters, logs, journals] = ["clusters", "logs", "journals"].map(|name| directory.join(name));
    let source: Arc<dyn ImageSource> = Arc::new(move |_: &Assets| Ok(image.clone()));
    let settings = AppleSettings::new(program, clusters, logs, journals);
    AppleProvider::connect(settings, source).await.expect("a program that answers")
}

async fn etcd(cluster: &dyn ProvidedCluster) -> EtcdClient {
    let access = cluster.access();
    EtcdClient::connect(access.etcd_address, &access.etcd_ca_pem, &access.etcd_client).await.expect("etcd answers")
}

async fn names_of_namespaces(cluster: &dyn ProvidedCluster) -> usize {
    let api = ApiClient::new(cluster.access()).expect("a client");
    let answer = api.get("/api/v1/namespaces").await.expect("the API answers");
    let list: serde_json::Value = serde_json::from_slice(&answer.body).expect("a list");
    list["items"].as_array().expect("items").len()
}

async fn ours(provider: &AppleProvider) -> Vec<String> {
    let listed = provider.shared.cli.list().await.expect("listed");
    let ours = listed.into_iter().filter(|container| provider.shared.owner.is_of_realm(&container.labels));
    ours.map(|container| container.id).collect()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "needs KINA_CONTAINER_CLI and KINA_TEST_IMAGE"]
async fn clusters_are_made_stopped_started_and_removed() {
    let directory = tempfile::tempdir().expect("a temporary directory");
    let provider = provider(directory.path()).await;
    let since = Instant::now();
    let note = |what: &str| eprintln!("{what}: {} ms since the beginning", since.elapsed().as_millis());
    eprintln!("{}; simulated: {}", provider.program_version(), provider.capabilities().simulated);
    let first = provider.create(request_of("c1", PackedState::default())).await.expect("made");
    note("made from nothing");
    first.wait_ready(Readiness::Full).await.expect("ready");
    note("fully ready");
    assert!(4 <= names_of_namespaces(&*first).await);

    // Stored data survives a restart of the API server alone, and then a stop and a start of the whole machine.
    etcd(&*first)
        .await
        .write(&[WriteOperation::Put { key: KEY.to_vec(), value: b"1".to_vec() }])
        .await
        .expect("written");
    first.restart_api_server().await.expect("restarted");
    first.wait_ready(Readiness::Full).await.expect("ready");
    note("API server restarted and ready");
    first.stop().await.expect("stopped");
    note("stopped");
    assert_eq!(first.memory_bytes().await, None);
    first.start().await.expect("started");
    first.wait_ready(Readiness::Early).await.expect("ready");
    note("started and ready early");
    assert!(etcd(&*first).await.exists(KEY).await.expect("answered"));

    // Another cluster is made from the state of the first.
    let (state, _) = etcd(&*first).await.read_all(b"/registry/").await.expect("read");
    let mut packed = PackedState::default();
    state.iter().for_each(|stored| packed.push(&stored.key, &stored.value));
    let second = provider.create(request_of("c2", packed)).await.expect("made");
    second.wait_ready(Readiness::Early).await.expect("ready");
    note("made from a state and ready early");
    assert!(4 <= names_of_namespaces(&*second).await);
    assert_eq!(ours(&provider).await.len(), 2);

    // One is deleted behind kina's back.
    let name = ours(&provider).await.into_iter().find(|name| name.ends_with("-c2")).expect("named after its cluster");
    let deleted = std::process::Command::new(provider.shared.cli.program()).args(["delete", "-f", &name]).status();
    assert!(deleted.expect("it runs").success());
    let how = second.wait_died().await;
    assert!(how.contains("is gone"), "{how}");
    second.destroy().await.expect("destroyed");

    // The other is dropped.
    drop(first);
    provider.wait_all_ended().await;
    note("all removed");
    assert_eq!(ours(&provider).await, Vec::<String>::new());
    assert_eq!(std::fs::read_dir(directory.path().join("clusters")).expect("listed").count(), 0);
    drop((second, provider));
    assert_eq!(std::fs::read_dir(directory.path().join("journals")).expect("listed").count(), 0);
}
