//! Deaths, failures, and remains.

use std::path::Path;
use std::time::{Duration, Instant};

use anyhow::{Context, bail, ensure};
use kina_engine::lab::process_identity::{pid, start_of};
use kina_engine::lab::provider::{ProvidedCluster, ProviderError, Readiness};
use rustix::process::Signal;

use super::Verdict;
use crate::contract::client::answers;
use crate::contract::scene::{Scene, walk};

/// Time limit for noticing a death.
const DEATH_TIMEOUT: Duration = Duration::from_secs(60);
/// Time after a stop or a restart in which no death may be reported.
const QUIET: Duration = Duration::from_millis(1500);
/// Delays after which a creation is given up: before anything exists, in the middle, near the end.
const GIVEN_UP_AFTER_MS: [u64; 5] = [0, 30, 250, 1000, 2500];
/// Time limit for the removal of everything a dropped provider had.
const GONE_TIMEOUT: Duration = Duration::from_secs(150);
const POLL_INTERVAL: Duration = Duration::from_millis(100);

pub(super) async fn destroys_everything(scene: &Scene<'_>) -> anyhow::Result<Verdict> {
    let capabilities = scene.stage.provider().capabilities();
    let mut states = vec!["running"];
    states.extend(capabilities.stop.then_some("stopped"));
    states.extend(capabilities.freeze.then_some("frozen"));
    for state in states {
        let (cluster, state_directory) = scene.cluster().await?;
        let process_ids = cluster.process_ids();
        match state {
            "stopped" => cluster.stop().await?,
            "frozen" => cluster.freeze().await?,
            _ => {}
        }
        cluster.destroy().await.with_context(|| format!("destroying a {state} one failed"))?;
        ensure!(!state_directory.exists(), "{state} and destroyed, it has left {}", state_directory.display());
        ensure!(cluster.log_directory().is_dir(), "{state} and destroyed, its logs are gone");
        ensure!(cluster.process_ids().is_empty(), "{state} and destroyed, it still lists processes");
        ensure!(!cluster.check_running().await?, "{state} and destroyed, it is reported as running");
        ensure!(cluster.memory_bytes().await.is_none(), "{state} and destroyed, it is reported as taking memory");
        let living: Vec<_> = process_ids.into_iter().filter(|process_id| start_of(*process_id).is_some()).collect();
        ensure!(living.is_empty(), "{state} and destroyed, its processes {living:?} still live");
        for address in [cluster.access().api_address, cluster.access().etcd_address] {
            ensure!(!answers(address).await, "{state} and destroyed, there still is an answer on {address} for it");
        }
        scene.nothing_remains().await?;
        cluster.destroy().await.with_context(|| format!("destroying a {state} one a second time failed"))?;
        ensure!(cluster.start().await.is_err(), "destroyed, it could be started");
        ensure!(!state_directory.exists(), "an attempt to start a destroyed one has left files");
    }
    Ok(Verdict::Passed)
}

pub(super) async fn tells_of_deaths(scene: &Scene<'_>) -> anyhow::Result<Verdict> {
    let (cluster, state_directory) = scene.cluster().await?;
    let wanted_ends = async {
        cluster.restart_api_server().await?;
        scene.wait_usable(&*cluster).await?;
        if scene.stage.provider().capabilities().stop {
            cluster.stop().await?;
            tokio::time::sleep(QUIET).await;
            cluster.start().await?;
            scene.wait_usable(&*cluster).await?;
        }
        tokio::time::sleep(QUIET).await;
        anyhow::Ok(())
    };
    tokio::select! {
        biased;
        how = cluster.wait_died() => bail!("a requested end was taken for a death: {how}"),
        done = wanted_ends => done?,
    }

    // An API server that cannot read its certificate ends at once.
    break_certificates(&state_directory)?;
    let (died, waited) = tokio::join!(tokio::time::timeout(DEATH_TIMEOUT, cluster.wait_died()), async {
        cluster.restart_api_server().await?;
        cluster.wait_ready(Readiness::Early).await
    });
    let how = died.context("the API server has ended, but no death was reported")?;
    ensure!(!how.is_empty(), "a death was reported without a reason");
    match waited {
        Err(ProviderError::Ended { log, log_tail, .. }) => {
            ensure!(!log_tail.trim().is_empty(), "the end was reported, but without anything from {}", log.display());
        }
        other => bail!("waiting for the API server, which had ended, returned {other:?}"),
    }
    not_running(&*cluster).await?;
    cluster.destroy().await.context("destroying a dead one failed")?;

    let (cluster, _) = scene.cluster().await?;
    let Some(victim) = cluster.process_ids().first().copied() else {
        return Ok(Verdict::PassedWith(format!("told as: {how}")));
    };
    rustix::process::kill_process(pid(victim).context("a process number")?, Signal::KILL)?;
    tokio::time::timeout(DEATH_TIMEOUT, cluster.wait_died())
        .await
        .context("a process was killed, but no death was reported")?;
    not_running(&*cluster).await?;
    Ok(Verdict::PassedWith(format!("told as: {how}")))
}

/// Overwrites the API server's own certificate at every place below this directory.
fn break_certificates(state_directory: &Path) -> anyhow::Result<()> {
    let files = walk(state_directory)?.into_iter().map(|(path, _)| path);
    let certificates: Vec<_> = files.filter(|path| path.ends_with("kube-apiserver.crt")).collect();
    ensure!(!certificates.is_empty(), "no certificate of the API server is below {}", state_directory.display());
    // The same file: a new file of that name might not be visible where this one is mounted.
    certificates.iter().try_for_each(|path| std::fs::write(path, "broken\n").context("breaking a certificate failed"))
}

/// Fails if the cluster is still reported as running after a while.
async fn not_running(cluster: &dyn ProvidedCluster) -> anyhow::Result<()> {
    let start = Instant::now();
    while cluster.check_running().await? {
        ensure!(start.elapsed() < DEATH_TIMEOUT, "it has died, but is still reported as running");
        tokio::time::sleep(POLL_INTERVAL).await;
    }
    Ok(())
}

pub(super) async fn explains_failed_boots(scene: &Scene<'_>) -> anyhow::Result<Verdict> {
    let mut request = scene.request().await?;
    let state_directory = scene.stage.private().state_directory(&request.name);
    // A program that runs on this machine but does not understand etcd's arguments.
    request.assets.etcd = request.assets.kube_apiserver.clone();
    request.assets.identity.push_str("-broken");
    let note = match scene.create(request).await {
        Err(ProviderError::Ended { component, status, log, log_tail }) => {
            ensure!(log.is_file(), "its log {} is gone", log.display());
            ensure!(log_tail.contains("unknown flag"), "its log is reported as: {log_tail}");
            format!("told as: {component} {status}")
        }
        Err(error) => return Err(error).context("a program that ends at once is reported as something else"),
        Ok(_) => bail!("etcd is no etcd, and yet it was created"),
    };
    ensure!(!state_directory.exists(), "it failed, and has left {}", state_directory.display());
    scene.nothing_remains().await?;
    Ok(Verdict::PassedWith(note))
}

pub(super) async fn forgets_half_made_ones(scene: &Scene<'_>) -> anyhow::Result<Verdict> {
    let provider = scene.stage.provider();
    for after_ms in GIVEN_UP_AFTER_MS {
        let request = scene.request().await?;
        // A creation that has finished by then is dropped as well.
        let created = tokio::time::timeout(Duration::from_millis(after_ms), provider.create(request)).await;
        if let Ok(Err(error)) = created {
            return Err(error).context("creating a cluster failed before it was given up");
        }
    }
    provider.wait_all_ended().await;
    let remains = provider.remains().await?;
    ensure!(remains.is_empty(), "it reports that all has ended, but there still is {remains:?}");
    scene.nothing_remains().await?;
    scene.cluster().await.context("after that, no cluster can be made")?;
    Ok(Verdict::Passed)
}

pub(super) async fn ends_with_its_clusters(scene: &Scene<'_>) -> anyhow::Result<Verdict> {
    let private = scene.stage.private();
    let provider = private.connect().await.context("no second provider can be made beside the first")?;
    let [request, half_request] = [scene.request().await?, scene.request().await?];
    let state_directories = [&request, &half_request].map(|request| private.state_directory(&request.name));
    let cluster = provider.create(request).await?;
    scene.wait_usable(&*cluster).await?;
    let given_up = tokio::time::timeout(Duration::from_secs(1), provider.create(half_request)).await;
    drop(given_up);
    let addresses = [cluster.access().api_address, cluster.access().etcd_address];
    let process_ids = cluster.process_ids();
    drop((cluster, provider));

    let start = Instant::now();
    loop {
        let mut left = scene.stage.provider().remains().await?;
        left.extend(process_ids.iter().filter(|id| start_of(**id).is_some()).map(|id| format!("process {id}")));
        for address in addresses {
            left.extend(answers(address).await.then(|| format!("a listener on {address}")));
        }
        if left.is_empty() {
            break;
        }
        ensure!(start.elapsed() < GONE_TIMEOUT, "after {} s there still is {left:?}", GONE_TIMEOUT.as_secs());
        tokio::time::sleep(POLL_INTERVAL).await;
    }
    for directory in state_directories {
        // Files are removed when the next engine starts, and there is none here.
        let _ = std::fs::remove_dir_all(directory);
    }
    Ok(Verdict::Passed)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_certificate_of_the_api_server_is_broken() {
        let directory = tempfile::tempdir().expect("a temporary directory");
        let inner = directory.path().join("inner");
        std::fs::create_dir(&inner).expect("made");
        assert!(break_certificates(directory.path()).is_err());
        for name in ["kube-apiserver.crt", "kube-apiserver.key"] {
            std::fs::write(inner.join(name), "whole").expect("written");
        }
        break_certificates(directory.path()).expect("broken");
        let read = |name| std::fs::read_to_string(inner.join(name)).expect("readable");
        assert_eq!((read("kube-apiserver.crt").as_str(), read("kube-apiserver.key").as_str()), ("broken\n", "whole"));
    }
}
