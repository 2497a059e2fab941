//! The delay until a watcher gets the event of an update.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use anyhow::{Context, bail};
use futures::StreamExt;
use k8s_openapi::api::core::v1::ConfigMap;
use kube::api::{ListParams, WatchEvent, WatchParams};

use super::worker::{SEQUENCE, Worker};

/// Time limit of all events of one measurement.
const TIMEOUT: Duration = Duration::from_secs(120);
/// Keeps the numbers of updates here apart from earlier ones.
const FIRST_SEQUENCE: usize = 1_000_000;

/// Has all workers update, and returns the time from the sending of each update until the watcher had its event.
pub(super) async fn measure(
    watcher: &Worker,
    workers: &[Worker],
    resources: usize,
    updates: usize,
) -> anyhow::Result<Vec<f64>> {
    let listed = watcher.config_maps.list(&ListParams::default().limit(1)).await?;
    let version = listed.metadata.resource_version.context("a list has a version")?;
    let mut events = watcher.config_maps.watch(&WatchParams::default(), &version).await?.boxed();
    let sent = Arc::new(Mutex::new(HashMap::with_capacity(updates)));
    let tasks: Vec<_> = workers
        .iter()
        .enumerate()
        .map(|(index, worker)| {
            let (worker, sent, count) = (worker.clone(), Arc::clone(&sent), workers.len());
            tokio::spawn(async move {
                for number in (index..updates).step_by(count) {
                    let sequence = FIRST_SEQUENCE + number;
                    sent.lock().unwrap_or_else(PoisonError::into_inner).insert(sequence, Instant::now());
                    worker.update(number % resources, sequence).await?;
                }
                anyhow::Ok(())
            })
        })
        .collect();
    let mut latencies_ms = Vec::with_capacity(updates);
    let heard = async {
        while latencies_ms.len() < updates {
            let Some(event) = events.next().await else { bail!("the watch ended early") };
            let arrived = Instant::now();
            let Some(sequence) = sequence_of(event?) else { continue };
            let sent = sent.lock().unwrap_or_else(PoisonError::into_inner).remove(&sequence);
            latencies_ms.extend(sent.map(|sent| (arrived - sent).as_secs_f64() * 1e3));
        }
        anyhow::Ok(())
    };
    let heard = tokio::time::timeout(TIMEOUT, heard).await;
    // A failed worker is the cause of missing events, so its error comes first.
    for task in tasks {
        if heard.is_err() {
            task.abort();
        }
        match task.await {
            Ok(updated) => updated?,
            Err(error) if error.is_cancelled() => {}
            Err(error) => return Err(error.into()),
        }
    }
    heard.with_context(|| format!("not all events had come after {} s", TIMEOUT.as_secs()))??;
    Ok(latencies_ms)
}

fn sequence_of(event: WatchEvent<ConfigMap>) -> Option<usize> {
    match event {
        WatchEvent::Modified(config_map) => config_map.data?.get(SEQUENCE)?.parse().ok(),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_an_update_with_a_number_counts() {
        let config_map = |text: &str| ConfigMap {
            data: Some([(SEQUENCE.to_owned(), text.to_owned())].into()),
            ..ConfigMap::default()
        };
        assert_eq!(sequence_of(WatchEvent::Modified(config_map("17"))), Some(17));
        assert_eq!(sequence_of(WatchEvent::Modified(config_map("other"))), None);
        assert_eq!(sequence_of(WatchEvent::Modified(ConfigMap::default())), None);
        assert_eq!(sequence_of(WatchEvent::Added(config_map("17"))), None);
    }
}
