//! From boots to stops.

use std::time::Duration;

use anyhow::{Context, bail, ensure};
use kina_engine::lab::api_client::ApiClient;
use kina_engine::lab::provider::{ProvidedCluster, ProviderError, ProviderFuture, Readiness};
use kina_engine::lab::rewind::{UNFOLLOWED, api_name};

use super::Verdict;
use crate::contract::client::{answers, must_exist, write, writes_allowed};
use crate::contract::scene::{FROM_STATE, Scene, walk};

/// Time in which a running cluster would answer many times over.
const FROZEN_REQUEST_TIMEOUT: Duration = Duration::from_secs(2);
/// Time over which a frozen cluster may not use any processor time.
const FROZEN_WATCH: Duration = Duration::from_millis(500);

pub(super) async fn boots_from_nothing(scene: &Scene<'_>) -> anyhow::Result<Verdict> {
    let mut request = scene.request().await?;
    request.initial_state = std::sync::Arc::default();
    let cluster = scene.create(request).await?;
    ensure!(cluster.check_running().await?, "it was created, but is reported as not running");
    cluster.wait_ready(Readiness::Early).await.context("it is not ready early")?;
    cluster.wait_ready(Readiness::Full).await.context("it is not fully ready")?;
    writes_allowed(&*cluster).await?;
    write(&*cluster, "first").await?;
    must_exist(&*cluster, "first").await?;
    for namespace in ["default", "kube-system"] {
        let path = format!("/api/v1/namespaces/{namespace}");
        let status = ApiClient::new(cluster.access())?.get(&path).await?.status;
        ensure!(status.is_success(), "it has bootstrapped, but {path} is answered with {status}");
    }
    follows_nothing_unknown(&*cluster).await?;
    Ok(Verdict::Passed)
}

/// No informer inside the API server may follow the resources that a rewind writes at one revision.
async fn follows_nothing_unknown(cluster: &dyn ProvidedCluster) -> anyhow::Result<()> {
    let metrics = ApiClient::new(cluster.access())?.get("/metrics").await?.body;
    let metrics = String::from_utf8_lossy(&metrics);
    let watches = metrics.lines().filter(|line| {
        let is_of_all = line.contains("scope=\"cluster\"") && line.contains("verb=\"WATCH\"");
        line.starts_with("apiserver_longrunning_requests{") && is_of_all && !line.ends_with(" 0")
    });
    let watched: Vec<_> = watches
        .filter_map(|line| line.split_once("resource=\"")?.1.split_once('"'))
        .map(|(resource, _)| resource)
        .collect();
    ensure!(watched.contains(&"customresourcedefinitions"), "its metrics list no informer: {watched:?}");
    let unknown: Vec<_> =
        UNFOLLOWED.iter().map(|stored| api_name(stored)).filter(|one| watched.contains(one)).collect();
    ensure!(unknown.is_empty(), "it follows all {unknown:?}, which rewinds expect to have no watchers");
    Ok(())
}

pub(super) async fn boots_from_a_state(scene: &Scene<'_>) -> anyhow::Result<Verdict> {
    let (cluster, _) = scene.cluster().await?;
    must_exist(&*cluster, FROM_STATE).await?;
    cluster.wait_ready(Readiness::Full).await?;
    Ok(Verdict::Passed)
}

pub(super) async fn keeps_state_when_stopped(scene: &Scene<'_>) -> anyhow::Result<Verdict> {
    if !scene.stage.provider().capabilities().stop {
        return Ok(Verdict::Skipped("its clusters cannot be stopped".to_owned()));
    }
    let (cluster, _) = scene.cluster().await?;
    write(&*cluster, "before-the-stop").await?;
    let before = cluster.access().clone();
    // Twice: a cluster that was started again is no different from a created one.
    for _ in 0..2 {
        cluster.stop().await.context("stopping it failed")?;
        ensure!(!cluster.check_running().await?, "it was stopped, but is reported as running");
        ensure!(cluster.process_ids().is_empty(), "it was stopped, but has processes");
        for address in [before.api_address, before.etcd_address] {
            ensure!(!answers(address).await, "it was stopped, but there is an answer on {address}");
        }
        cluster.start().await.context("starting it again failed")?;
        let after = cluster.access();
        ensure!(
            (before.api_address, before.etcd_address) == (after.api_address, after.etcd_address),
            "it has moved from {} to {}",
            before.api_address,
            after.api_address
        );
        ensure!(
            before.api_ca_pem == after.api_ca_pem
                && before.admin.certificate_pem == after.admin.certificate_pem
                && before.etcd_client.certificate_pem == after.etcd_client.certificate_pem,
            "its certificates have changed"
        );
        scene.wait_usable(&*cluster).await.context("started again, it is of no use")?;
        must_exist(&*cluster, "before-the-stop").await?;
        ensure!(cluster.check_running().await?, "it was started, but is reported as not running");
    }
    write(&*cluster, "after-the-stop").await?;
    Ok(Verdict::Passed)
}

pub(super) async fn starts_without_its_logs(scene: &Scene<'_>) -> anyhow::Result<Verdict> {
    if !scene.stage.provider().capabilities().stop {
        return Ok(Verdict::Skipped("its clusters cannot be stopped".to_owned()));
    }
    let (cluster, _) = scene.cluster().await?;
    // Where its audit log may not be seen, no other log may be either.
    let must_log = cluster.notices_tokens();
    let before = walk(cluster.log_directory())?;
    ensure!(1 < before.len() || !must_log, "it has written no log below {}", cluster.log_directory().display());
    cluster.stop().await?;
    std::fs::remove_dir_all(cluster.log_directory())?;
    cluster.start().await.context("starting it failed")?;
    scene.wait_usable(&*cluster).await?;
    let after = walk(cluster.log_directory())?;
    ensure!(1 < after.len() || !must_log, "started again, it has written no log");
    Ok(match must_log {
        true => Verdict::Passed,
        false => {
            Verdict::PassedWith("it says that its logs may not be seen here, so they were not looked at".to_owned())
        }
    })
}

pub(super) async fn keeps_state_when_restarted(scene: &Scene<'_>) -> anyhow::Result<Verdict> {
    let (cluster, _) = scene.cluster().await?;
    write(&*cluster, "before-the-restart").await?;
    let before = cluster.process_ids();
    cluster.restart_api_server().await.context("restarting its API server failed")?;
    cluster.wait_ready(Readiness::Full).await.context("it is not ready again")?;
    must_exist(&*cluster, "before-the-restart").await?;
    let after = cluster.process_ids();
    ensure!(before.is_empty() || before != after, "nothing was restarted: its processes are still {after:?}");
    write(&*cluster, "after-the-restart").await?;
    Ok(Verdict::Passed)
}

pub(super) async fn answers_wrong_states(scene: &Scene<'_>) -> anyhow::Result<Verdict> {
    let capabilities = scene.stage.provider().capabilities();
    let (cluster, _) = scene.cluster().await?;
    write(&*cluster, "kept").await?;
    refused("starting a running one", cluster.start()).await?;
    if !capabilities.stop {
        must_exist(&*cluster, "kept").await?;
        return Ok(Verdict::PassedWith("its clusters cannot be stopped: only a running one was asked".to_owned()));
    }
    cluster.stop().await?;
    cluster.stop().await.context("stopping a stopped one failed")?;
    refused("waiting for a stopped one", cluster.wait_ready(Readiness::Full)).await?;
    refused("restarting the API server of a stopped one", cluster.restart_api_server()).await?;
    if capabilities.freeze {
        refused("freezing a stopped one", cluster.freeze()).await?;
        refused("thawing a stopped one", cluster.thaw()).await?;
    }
    cluster.start().await.context("starting it after all of that failed")?;
    scene.wait_usable(&*cluster).await?;
    must_exist(&*cluster, "kept").await?;
    Ok(Verdict::Passed)
}

async fn refused(what: &str, called: ProviderFuture<'_, ()>) -> anyhow::Result<()> {
    match called.await {
        Err(ProviderError::WrongState { .. }) => Ok(()),
        Err(error) => Err(error).with_context(|| format!("{what} is an error of another kind")),
        Ok(()) => bail!("{what} succeeded"),
    }
}

pub(super) async fn freezes_and_thaws(scene: &Scene<'_>) -> anyhow::Result<Verdict> {
    let (cluster, _) = scene.cluster().await?;
    if !scene.stage.provider().capabilities().freeze {
        for called in [cluster.freeze(), cluster.thaw()] {
            match called.await {
                Err(ProviderError::Unsupported { .. }) => {}
                other => bail!("it cannot freeze, but returns {other:?} when asked to"),
            }
        }
        must_exist(&*cluster, FROM_STATE).await?;
        return Ok(Verdict::PassedWith("it cannot freeze, and says so".to_owned()));
    }
    write(&*cluster, "before-the-freeze").await?;
    cluster.freeze().await?;
    cluster.freeze().await.context("freezing a frozen one failed")?;
    let asked = tokio::time::timeout(FROZEN_REQUEST_TIMEOUT, must_exist(&*cluster, "before-the-freeze")).await;
    ensure!(asked.is_err(), "frozen, it still answers");
    let process_ids = cluster.process_ids();
    let before = processor_time(&process_ids);
    tokio::time::sleep(FROZEN_WATCH).await;
    let after = processor_time(&process_ids);
    ensure!(before == after, "frozen, it still takes processor time: {before:?}, then {after:?}");
    ensure!(cluster.check_running().await?, "frozen, it is reported as not running");
    cluster.thaw().await?;
    must_exist(&*cluster, "before-the-freeze").await.context("thawed, it does not answer")?;
    stop_and_start_frozen(scene, &*cluster).await?;
    Ok(Verdict::Passed)
}

async fn stop_and_start_frozen(scene: &Scene<'_>, cluster: &dyn ProvidedCluster) -> anyhow::Result<()> {
    if !scene.stage.provider().capabilities().stop {
        return Ok(());
    }
    cluster.freeze().await?;
    cluster.stop().await.context("stopping a frozen one failed")?;
    cluster.start().await.context("starting one that was frozen when it was stopped failed")?;
    scene.wait_usable(cluster).await?;
    must_exist(cluster, "before-the-freeze").await
}

/// The processor time that each process has used so far; `None` if the system does not report it.
fn processor_time(process_ids: &[u32]) -> Vec<Option<Duration>> {
    process_ids.iter().map(|process_id| kina_engine::process_time_of(*process_id).map(|used| used.own)).collect()
}
