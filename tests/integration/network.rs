//! Clients whose API server becomes unreachable and comes back: the test's own, which come over a Unix socket, and
//! those that come over TLS.

use std::io::ErrorKind;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use crate::common;
use crate::common::PATIENCE;
use crate::common::children::Realm;
use crate::common::client_path::{ClientPath, on_both_paths};
use crate::common::server::{Server, status_of};
use crate::common::wait_until;
use anyhow::{Context, ensure};
use futures::TryStreamExt;
use hyper_util::rt::TokioIo;
use k8s_openapi::api::core::v1::ConfigMap;
use kina_engine::lab::protocol::{ClientMessage, EngineMessage, RefusalKind, Traffic};
use kina_engine::{EngineClient, EngineProgram, NetworkChange, Status};
use kube::api::{Api, ObjectMeta, Patch, PatchParams, PostParams, WatchEvent, WatchParams};
use tokio::io::{AsyncRead, AsyncReadExt};

const NAMESPACES: &str = "/api/v1/namespaces";
/// The time that a client waits for an answer that never comes.
const CLIENT_TIMEOUT: Duration = Duration::from_millis(500);
/// Set for the tests below that run as children in a realm.
const IN_REALM: &str = "KINA_TEST_NETWORK_REALM";

fn config_map(name: &str) -> ConfigMap {
    ConfigMap { metadata: ObjectMeta { name: Some(name.to_owned()), ..ObjectMeta::default() }, ..ConfigMap::default() }
}

/// A client with this short timeout.
fn impatient(cluster: &kina::Cluster) -> anyhow::Result<Server> {
    let mut config = cluster.config();
    config.connect_timeout = Some(CLIENT_TIMEOUT);
    config.read_timeout = Some(CLIENT_TIMEOUT);
    Ok(Server(kube::Client::try_from(config)?))
}

async fn status() -> anyhow::Result<Status> {
    let status = EngineClient::from_environment(EngineProgram::InstalledOnly)?.status(false).await?;
    status.context("the engine that leased this cluster has gone")
}

/// The engine's report on this cluster's lease: the state of its network, and its traffic.
async fn lease_status(cluster: &kina::Cluster) -> anyhow::Result<(String, Traffic)> {
    let slots = status().await?.slots;
    let slot = slots.into_iter().find(|slot| slot.cluster.as_deref() == Some(cluster.name()));
    let lease = slot.and_then(|slot| slot.lease).context("the cluster is leased")?;
    Ok((lease.network, lease.traffic))
}

/// The kind of the innermost I/O error behind an error: a failed handshake is one that wraps another.
fn io_error_of(error: &kube::Error) -> Option<ErrorKind> {
    let mut next: Option<&dyn std::error::Error> = Some(error);
    let mut kind = None;
    while let Some(error) = next {
        next = error.source();
        if let Some(error) = error.downcast_ref::<std::io::Error>() {
            kind = Some(error.kind());
            // An I/O error's source is that of the error it wraps.
            next = error.get_ref().map(|wrapped| wrapped as &dyn std::error::Error);
        }
    }
    kind
}

on_both_paths! {
    a_controller_loses_its_api_server_and_recovers
    dropped_packets_make_requests_hang
    a_watch_that_lost_something_is_closed_when_the_network_is_restored
    a_delay_is_added
    traffic_is_counted
    a_watch_over_websocket_shows_events
}

/// A small controller: labels every ConfigMap of its namespace that has no label yet, starting over after each error.
#[derive(Clone, Default)]
struct Labeller {
    errors: Arc<AtomicUsize>,
    is_stopping: Arc<AtomicBool>,
}

impl Labeller {
    async fn run(&self, config_maps: Api<ConfigMap>) {
        while !self.is_stopping.load(Ordering::Relaxed) {
            if self.watch(&config_maps).await.is_err() {
                self.errors.fetch_add(1, Ordering::Relaxed);
                tokio::time::sleep(Duration::from_millis(20)).await;
            }
        }
    }

    async fn watch(&self, config_maps: &Api<ConfigMap>) -> Result<(), kube::Error> {
        // From version 0 a watch starts with all existing objects.
        let mut events = Box::pin(config_maps.watch(&WatchParams::default().timeout(60), "0").await?);
        while let Some(event) = events.try_next().await? {
            if let WatchEvent::Added(config_map) = event
                && !is_labelled(&config_map)
            {
                let name = config_map.metadata.name.unwrap_or_default();
                let label = serde_json::json!({"metadata": {"labels": {"labelled": "true"}}});
                config_maps.patch(&name, &PatchParams::default(), &Patch::Merge(label)).await?;
            }
        }
        Ok(())
    }
}

fn is_labelled(config_map: &ConfigMap) -> bool {
    config_map.metadata.labels.as_ref().is_some_and(|labels| labels.contains_key("labelled"))
}

async fn wait_labelled(config_maps: &Api<ConfigMap>, name: &str) -> anyhow::Result<()> {
    wait_until("the controller labels a ConfigMap", || async {
        config_maps.get(name).await.is_ok_and(|config_map| is_labelled(&config_map))
    })
    .await
}

async fn a_controller_loses_its_api_server_and_recovers(
    cluster: kina::Cluster,
    path: ClientPath,
) -> anyhow::Result<()> {
    let client = path.client(&cluster)?;
    let config_maps: Api<ConfigMap> = Api::default_namespaced(client);
    let labeller = Labeller::default();
    let controller = {
        let (labeller, config_maps) = (labeller.clone(), config_maps.clone());
        tokio::spawn(async move { labeller.run(config_maps).await })
    };
    config_maps.create(&PostParams::default(), &config_map("before")).await?;
    wait_labelled(&config_maps, "before").await?;
    ensure!(labeller.errors.load(Ordering::Relaxed) == 0, "the controller had errors before the network was cut");

    cluster.network().cut().await?;
    for _ in 0..3 {
        let error = config_maps.create(&PostParams::default(), &config_map("lost")).await.err();
        let error = error.context("a request passed a network that was cut")?;
        ensure!(status_of(&error).is_none(), "the server answered: {error}");
        ensure!(io_error_of(&error) == Some(ErrorKind::ConnectionReset), "{error:?}");
    }
    wait_until("the controller tries again and again", || async { 3 < labeller.errors.load(Ordering::Relaxed) })
        .await?;
    ensure!(lease_status(&cluster).await?.0 == "cut");

    cluster.network().restore().await?;
    ensure!(config_maps.get_opt("lost").await?.is_none(), "a request passed a network that was cut");
    config_maps.create(&PostParams::default(), &config_map("after")).await?;
    wait_labelled(&config_maps, "after").await?;

    labeller.is_stopping.store(true, Ordering::Relaxed);
    // This also ends its watch.
    cluster.network().cut().await?;
    tokio::time::timeout(PATIENCE, controller).await.context("the controller does not end")??;
    Ok(())
}

async fn dropped_packets_make_requests_hang(cluster: kina::Cluster, path: ClientPath) -> anyhow::Result<()> {
    let client = path.client(&cluster)?;
    let server = Server(client);
    server.get(NAMESPACES).await?;
    cluster.network().drop_packets().await?;
    let config_map = serde_json::json!({"metadata": {"name": "lost"}});
    // First on the existing connection, then on a new one.
    for _ in 0..2 {
        let creation = server.create("/api/v1/namespaces/default/configmaps", &config_map);
        let outcome = tokio::time::timeout(CLIENT_TIMEOUT, creation).await;
        ensure!(outcome.is_err(), "the client got an answer: {outcome:?}");
    }
    // A client with a timeout of its own gives up by itself.
    ensure!(impatient(&cluster)?.get(NAMESPACES).await.is_err(), "a request passed a black hole");
    ensure!(lease_status(&cluster).await?.0 == "drop");
    cluster.network().restore().await?;
    server.get(NAMESPACES).await?;
    let lost = server.get("/api/v1/namespaces/default/configmaps/lost").await.err();
    ensure!(lost.as_ref().and_then(status_of) == Some(404), "what was dropped arrived: {lost:?}");
    Ok(())
}

async fn a_watch_that_lost_something_is_closed_when_the_network_is_restored(
    cluster: kina::Cluster,
    path: ClientPath,
) -> anyhow::Result<()> {
    let client = path.client(&cluster)?;
    const WATCH_SECONDS: u32 = 1;
    let config_maps: Api<ConfigMap> = Api::default_namespaced(client);
    config_maps.create(&PostParams::default(), &config_map("seen")).await?;
    let params = WatchParams::default().timeout(WATCH_SECONDS).disable_bookmarks();
    let mut events = Box::pin(config_maps.watch(&params, "0").await?);
    let first = tokio::time::timeout(PATIENCE, events.try_next()).await??;
    ensure!(matches!(first, Some(WatchEvent::Added(_))), "{first:?}");

    cluster.network().drop_packets().await?;
    // Meanwhile the server ends the watch: its bytes are lost, too.
    let heard = tokio::time::timeout(2 * Duration::from_secs(WATCH_SECONDS.into()), events.try_next()).await;
    ensure!(heard.is_err(), "something passed a black hole: {heard:?}");
    cluster.network().restore().await?;
    let end = tokio::time::timeout(PATIENCE, events.try_next()).await.context("the watch hangs")?;
    ensure!(!matches!(end, Ok(Some(_))), "{end:?}");
    Ok(())
}

async fn a_delay_is_added(cluster: kina::Cluster, path: ClientPath) -> anyhow::Result<()> {
    let client = path.client(&cluster)?;
    const DELAY: Duration = Duration::from_millis(150);
    let server = Server(client);
    server.get(NAMESPACES).await?;
    cluster.network().delay(DELAY).await?;
    let start = Instant::now();
    server.get(NAMESPACES).await?;
    ensure!(2 * DELAY <= start.elapsed(), "an answer after {:?}", start.elapsed());
    ensure!(lease_status(&cluster).await?.0 == "delay 150 ms");

    let error = cluster.network().delay(Duration::from_secs(61)).await.err().context("such a delay is refused")?;
    ensure!(error.is_user_error(), "{error:?}");
    let text = kina_engine::with_causes(&error);
    ensure!(text.contains("61000 ms") && text.contains("60000 ms"), "{text}");
    ensure!(lease_status(&cluster).await?.0 == "delay 150 ms", "a refusal changes nothing");
    cluster.network().restore().await?;
    ensure!(lease_status(&cluster).await?.0 == "normal");
    server.get(NAMESPACES).await?;
    Ok(())
}

async fn traffic_is_counted(cluster: kina::Cluster, path: ClientPath) -> anyhow::Result<()> {
    let client = path.client(&cluster)?;
    const BYTES: usize = 100_000;
    let server = Server(client);
    server.get(NAMESPACES).await?;
    let (_, before) = lease_status(&cluster).await?;
    // The lease's first connection over the Unix socket is there in any case.
    let is_tls = 0 < before.connections;
    ensure!(before.connections_open <= before.connections, "{before:?}");
    ensure!(1 == before.unix_connections && 1 == before.unix_connections_open, "{before:?}");
    let large = serde_json::json!({"metadata": {"name": "large"}, "data": {"key": "x".repeat(BYTES)}});
    server.create("/api/v1/namespaces/default/configmaps", &large).await?;
    let (_, after) = lease_status(&cluster).await?;
    for grown in
        [after.bytes_to_cluster - before.bytes_to_cluster, after.bytes_from_cluster - before.bytes_from_cluster]
    {
        ensure!(BYTES as u64 <= grown, "{before:?} {after:?}");
    }
    ensure!(is_tls == (0 < after.connections), "{before:?} {after:?}");
    let total = status().await?.traffic;
    ensure!(after.unix_connections <= total.unix_connections, "{total:?}");
    ensure!(after.connections <= total.connections && after.bytes_to_cluster <= total.bytes_to_cluster, "{total:?}");
    Ok(())
}

/// The child of the test below. On its own, it is an ordinary test.
#[kina::test]
async fn takes_only_a_client(client: kube::Client) -> anyhow::Result<()> {
    // Two at a time, so that one connection is not enough.
    let (first, second) = tokio::join!(client.apiserver_version(), client.list_core_api_versions());
    first?;
    second?;
    Ok(())
}

#[test]
fn a_test_that_takes_only_a_client_needs_no_tls() {
    let realm = Realm::new();
    realm.run_well("network::takes_only_a_client");
    common::wait_until_blocking("the lease is released", || realm.status_of_running().releases.len() == 1);
    let traffic = realm.status_of_running().releases[0].traffic;
    assert_eq!((traffic.connections, traffic.connections_open), (0, 0), "{traffic:?}");
    assert!(0 < traffic.unix_connections && 0 < traffic.bytes_from_cluster, "{traffic:?}");
}

/// Returns the content of one frame of a server (RFC 6455, section 5.2).
async fn read_frame(stream: &mut (impl AsyncRead + Unpin)) -> anyhow::Result<Vec<u8>> {
    const LENGTH_OF_16_BITS: u8 = 126;
    const LENGTH_OF_64_BITS: u8 = 127;
    let _opcode = stream.read_u8().await?;
    let length = match stream.read_u8().await? {
        LENGTH_OF_64_BITS => stream.read_u64().await?,
        LENGTH_OF_16_BITS => stream.read_u16().await?.into(),
        short => short.into(),
    };
    let mut content = Vec::new();
    stream.take(length).read_to_end(&mut content).await?;
    Ok(content)
}

async fn a_watch_over_websocket_shows_events(cluster: kina::Cluster, path: ClientPath) -> anyhow::Result<()> {
    let client = path.client(&cluster)?;
    let request = http::Request::get(format!("{NAMESPACES}?watch=true&resourceVersion=0"))
        .header("Connection", "Upgrade")
        .header("Upgrade", "websocket")
        .header("Origin", "http://localhost")
        .header("Sec-WebSocket-Version", "13")
        .header("Sec-WebSocket-Key", "AAAAAAAAAAAAAAAAAAAAAA==")
        .body(kube::client::Body::empty())?;
    let response = client.send(request).await?;
    ensure!(response.status() == http::StatusCode::SWITCHING_PROTOCOLS, "{}", response.status());
    let mut stream = TokioIo::new(hyper::upgrade::on(response).await?);
    let frame = tokio::time::timeout(PATIENCE, read_frame(&mut stream)).await.context("no event came")??;
    let event: serde_json::Value = serde_json::from_slice(&frame)?;
    ensure!(event["type"] == "ADDED" && event["object"]["kind"] == "Namespace", "{event}");
    Ok(())
}

#[tokio::test]
async fn a_kept_client_of_a_lease_that_has_ended_is_refused() -> anyhow::Result<()> {
    let cluster = kina::Cluster::acquire().await?;
    let (used, unused) = (Server(cluster.client()), Server(cluster.as_user("alice", ["system:masters"])?));
    used.get(NAMESPACES).await?;
    cluster.release();
    wait_until("the engine ends the lease", || async { used.get(NAMESPACES).await.is_err() }).await?;
    for server in [used, unused] {
        let error = server.get(NAMESPACES).await.err().context("an old client was let in")?;
        ensure!(io_error_of(&error) == Some(ErrorKind::ConnectionReset), "{error:?}");
    }
    Ok(())
}

#[tokio::test]
async fn the_network_of_a_lease_that_has_ended_cannot_be_changed() -> anyhow::Result<()> {
    let cluster = kina::Cluster::acquire().await?;
    cluster.network().cut().await?;
    let network = cluster.network();
    cluster.release();
    let start = Instant::now();
    // The engine notices the end by itself, soon.
    let error = loop {
        match network.restore().await {
            Err(error) => break error,
            Ok(()) => ensure!(start.elapsed() < PATIENCE, "an ended lease still has a network"),
        }
        tokio::time::sleep(Duration::from_millis(5)).await;
    };
    ensure!(error.is_user_error(), "{error:?}");
    let text = kina_engine::with_causes(&error);
    ensure!(text.contains(cluster.name()) && text.contains("ended"), "{text}");
    Ok(())
}

/// Leaves its network broken. On its own, it is an ordinary test.
#[kina::test]
async fn leaves_its_network(cluster: kina::Cluster) -> anyhow::Result<()> {
    let change = std::env::var(IN_REALM).unwrap_or_default();
    impatient(&cluster)?.get(NAMESPACES).await?;
    match change.as_str() {
        "drop" => cluster.network().drop_packets().await?,
        "delay" => cluster.network().delay(Duration::from_secs(60)).await?,
        _ => cluster.network().cut().await?,
    }
    ensure!(impatient(&cluster)?.get(NAMESPACES).await.is_err(), "the network is intact");
    Ok(())
}

#[kina::test]
async fn finds_its_network_intact(cluster: kina::Cluster) -> anyhow::Result<()> {
    ensure!(lease_status(&cluster).await?.0 == "normal");
    Server(cluster.client()).get(NAMESPACES).await?;
    Ok(())
}

#[test]
fn the_next_lease_on_the_same_cluster_has_an_intact_network() {
    let realm = Realm::new().with("KINA_SLOTS_MAX", "1");
    for (change, count) in ["cut", "drop", "delay"].into_iter().zip(1..) {
        let mut command = realm.command("network::leaves_its_network");
        command.env(IN_REALM, change);
        let output = common::children::output(command);
        assert!(output.status.success(), "{}", common::children::text_of(&output));
        realm.run_well("network::finds_its_network_intact");
        let status = realm.status_of_running();
        assert_eq!((status.counters.boots, status.counters.leases), (1, 2 * count), "{:?}", status.counters);
    }
    common::wait_until_blocking("all leases are released", || realm.status_of_running().releases.len() == 6);
    let status = realm.status_of_running();
    let bytes: u64 = status.releases.iter().map(|release| release.traffic.bytes_from_cluster).sum();
    assert!(status.releases.iter().all(|release| 0 < release.traffic.bytes_from_cluster), "{:?}", status.releases);
    assert_eq!(status.traffic.bytes_from_cluster, bytes);
    assert_eq!((status.traffic.connections_open, status.traffic.unix_connections_open), (0, 0));
}

#[test]
fn a_lease_of_another_engine_is_not_touched() {
    let realm = Realm::new();
    let mut command = realm.command("network::finds_its_network_intact");
    command.env(IN_REALM, "another");
    assert!(common::children::output(command).status.success());
    let message = ClientMessage::Network { lease: 1, cluster: "cluster-0-1".to_owned(), change: NetworkChange::Cut };
    let answer = realm.ask(&message).expect("an engine runs");
    let EngineMessage::Refused(refusal) = answer else { panic!("not refused: {answer:?}") };
    assert_eq!(refusal.kind, RefusalKind::User);
    assert!(refusal.message.contains("lease 1 on cluster-0-1"), "{}", refusal.message);
}
