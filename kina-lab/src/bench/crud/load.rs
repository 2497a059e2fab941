//! The process that makes the requests: one lease, and every verb for each number of workers.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Instant;

use anyhow::{Context, ensure};
use cargo_kina::output::print_progress;
use clap::Args;
use k8s_openapi::api::core::v1::ConfigMap;
use kina_engine::{AcquireRequest, EngineClient, EngineProgram, Lease, Status};
use kube::api::{DeleteParams, ObjectMeta, PostParams};
use serde::{Deserialize, Serialize};

use super::super::processor_time::{ProcessorTime, used_ms};
use super::super::statistics::percentile;
use super::worker::{LABEL, Worker, name};
use super::{Memory, Row, Watch, watches};
use crate::kube_client::connect;

/// Data of each resource.
pub(super) const RESOURCE_BYTES: usize = 1024;
/// Reads and updates: enough for a 99th percentile, while all resources would take minutes.
const OPERATIONS_MAX: usize = 1000;
const OPERATIONS_MIN: usize = 200;
/// Number of resources in all lists together, roughly.
const LISTED_RESOURCES: usize = 50_000;
const LISTS_MAX: usize = 100;
const LISTS_MIN_PER_WORKER: usize = 3;

/// The load to make.
#[derive(Clone, Debug, Args)]
pub(crate) struct LoadArguments {
    #[arg(long)]
    resources: usize,
    #[arg(long, value_delimiter = ',')]
    workers: Vec<usize>,
}

/// The results.
#[derive(Debug, Serialize, Deserialize)]
pub(super) struct Load {
    pub(super) rows: Vec<Row>,
    pub(super) watches: Vec<Watch>,
    pub(super) memory: Memory,
    pub(super) engine_profile: String,
    pub(super) kubernetes: String,
    pub(super) simulated: bool,
}

/// The engine, and the cluster that is leased from it.
struct Scene {
    engine: EngineClient,
    lease: Lease,
    resources: usize,
}

/// A finished operation.
#[derive(Clone, Copy, Debug, Default)]
struct Done {
    ms: f64,
    answer_bytes: usize,
}

/// Runs the load on as many threads as there are cores, and prints the results.
pub(in crate::bench) fn run(arguments: &LoadArguments) -> anyhow::Result<()> {
    let threads = kina_engine::cores();
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(threads).enable_all().build()?;
    let load = runtime.block_on(measure(arguments))?;
    println!("{}", serde_json::to_string(&load)?);
    Ok(())
}

async fn measure(arguments: &LoadArguments) -> anyhow::Result<Load> {
    let engine = EngineClient::from_environment(EngineProgram::ThisExecutable)?;
    let request = AcquireRequest::from_environment("cargo kina bench crud", None)?;
    let lease = engine.acquire(request, &print_progress).await?;
    let scene = Scene { engine, lease, resources: arguments.resources };
    let mut memory = Memory { resources: arguments.resources, ..Memory::default() };
    (memory.base_mb, _) = scene.memory_mb().await?;
    let (mut rows, mut watches) = (Vec::new(), Vec::new());
    for count in &arguments.workers {
        let workers = scene.workers(*count)?;
        rows.push(scene.create(&workers).await.context("creating failed")?);
        if memory.populated_mb == 0.0 {
            (memory.populated_mb, _) = scene.memory_mb().await?;
        }
        rows.push(scene.read(&workers).await.context("reading failed")?);
        rows.push(scene.update(&workers).await.context("updating failed")?);
        for compression in [false, true] {
            rows.push(scene.list(&workers, compression).await.context("listing failed")?);
        }
        watches.push(scene.watch(&workers).await.context("watching failed")?);
        rows.push(scene.delete(&workers).await.context("deleting failed")?);
    }
    (memory.end_mb, memory.engine_rss_mb) = scene.memory_mb().await?;
    memory.kb_per_resource = (memory.populated_mb - memory.base_mb) * 1e3 / arguments.resources as f64;
    let status = scene.status(false).await?;
    Ok(Load {
        rows,
        watches,
        memory,
        engine_profile: status.engine_profile,
        kubernetes: scene.lease.grant.kubernetes.clone(),
        simulated: status.simulated,
    })
}

impl Scene {
    fn workers(&self, count: usize) -> anyhow::Result<Vec<Worker>> {
        let grant = &self.lease.grant;
        let connect = || {
            connect(grant.address, &grant.ca_pem, &grant.client_certificate_pem, &grant.client_key_pem).map(Worker::new)
        };
        (0..count).map(|_| connect()).collect()
    }

    async fn create(&self, workers: &[Worker]) -> anyhow::Result<Row> {
        self.row("create", workers, self.resources, false, |worker: Worker, number| async move {
            worker.config_maps.create(&PostParams::default(), &config_map(number)).await?;
            Ok(0)
        })
        .await
    }

    async fn read(&self, workers: &[Worker]) -> anyhow::Result<Row> {
        let resources = self.resources;
        self.row("read", workers, self.operations(), false, move |worker: Worker, number| async move {
            worker.config_maps.get(&name(number % resources)).await?;
            Ok(0)
        })
        .await
    }

    async fn update(&self, workers: &[Worker]) -> anyhow::Result<Row> {
        let resources = self.resources;
        self.row("update", workers, self.operations(), false, move |worker: Worker, number| async move {
            worker.update(number % resources, number).await?;
            Ok(0)
        })
        .await
    }

    async fn list(&self, workers: &[Worker], compression: bool) -> anyhow::Result<Row> {
        let lists = (LISTED_RESOURCES / self.resources).min(LISTS_MAX).max(workers.len() * LISTS_MIN_PER_WORKER);
        let resources = self.resources;
        self.row("list", workers, lists, compression, move |worker: Worker, _| async move {
            let (found, answer_bytes) = worker.list(compression).await?;
            ensure!(found == resources, "{found} of {resources} resources were listed");
            Ok(answer_bytes)
        })
        .await
    }

    async fn delete(&self, workers: &[Worker]) -> anyhow::Result<Row> {
        self.row("delete", workers, self.resources, false, |worker: Worker, number| async move {
            worker.config_maps.delete(&name(number), &DeleteParams::default()).await?;
            Ok(0)
        })
        .await
    }

    async fn watch(&self, workers: &[Worker]) -> anyhow::Result<Watch> {
        // One more connection: the watcher's.
        let watcher = self.workers(1)?.remove(0);
        let latencies_ms = watches::measure(&watcher, workers, self.resources, self.operations()).await?;
        let of = |share: f64| percentile(&latencies_ms, share).context("there was no event");
        Ok(Watch {
            resources: self.resources,
            workers: workers.len(),
            events: latencies_ms.len(),
            p50_ms: of(0.5)?,
            p95_ms: of(0.95)?,
            p99_ms: of(0.99)?,
        })
    }

    fn operations(&self) -> usize {
        self.resources.clamp(OPERATIONS_MIN, OPERATIONS_MAX)
    }

    /// Has the workers do all operations; each takes the next number as soon as it has finished one.
    async fn row<Operation, Answer>(
        &self,
        verb: &str,
        workers: &[Worker],
        operations: usize,
        compression: bool,
        operation: Operation,
    ) -> anyhow::Result<Row>
    where
        Operation: Fn(Worker, usize) -> Answer + Clone + Send + Sync + 'static,
        Answer: Future<Output = anyhow::Result<usize>> + Send,
    {
        let processor_before = self.processor_time().await?;
        let start = Instant::now();
        let done = share_out(workers, operations, operation).await?;
        let seconds = start.elapsed().as_secs_f64();
        let processor_after = self.processor_time().await?;
        let ms: Vec<_> = done.iter().map(|done| done.ms).collect();
        let of = |share: f64| percentile(&ms, share).context("there was no operation");
        let answer_bytes = done.iter().map(|done| done.answer_bytes).sum::<usize>() / operations.max(1);
        Ok(Row {
            verb: verb.to_owned(),
            resources: self.resources,
            workers: workers.len(),
            compression,
            operations,
            ops_per_second: operations as f64 / seconds,
            p50_ms: of(0.5)?,
            p95_ms: of(0.95)?,
            p99_ms: of(0.99)?,
            answer_kb: (0 < answer_bytes).then_some(answer_bytes as f64 / 1e3),
            processor: processor_after.zip(processor_before).map(|(after, before)| after.since(&before, operations)),
        })
    }

    async fn processor_time(&self) -> anyhow::Result<Option<ProcessorTime>> {
        let time = ProcessorTime::of_engine(&self.status(false).await?);
        Ok(time.zip(used_ms(std::process::id())).map(|(time, clients_ms)| ProcessorTime { clients_ms, ..time }))
    }

    /// The memory of the cluster and of the engine.
    async fn memory_mb(&self) -> anyhow::Result<(f64, f64)> {
        let status = self.status(true).await?;
        let clusters_bytes: u64 = status.slots.iter().map(|slot| slot.pss_bytes).sum();
        Ok((clusters_bytes as f64 / 1e6, status.engine_rss_bytes as f64 / 1e6))
    }

    async fn status(&self, with_memory: bool) -> anyhow::Result<Status> {
        self.engine.status(with_memory).await?.context("the private engine has ended")
    }
}

async fn share_out<Operation, Answer>(
    workers: &[Worker],
    operations: usize,
    operation: Operation,
) -> anyhow::Result<Vec<Done>>
where
    Operation: Fn(Worker, usize) -> Answer + Clone + Send + Sync + 'static,
    Answer: Future<Output = anyhow::Result<usize>> + Send,
{
    let next = Arc::new(AtomicUsize::new(0));
    let tasks: Vec<_> = workers
        .iter()
        .map(|worker| {
            let (worker, next, operation) = (worker.clone(), Arc::clone(&next), operation.clone());
            tokio::spawn(async move {
                let mut done = Vec::new();
                loop {
                    let number = next.fetch_add(1, Ordering::Relaxed);
                    if operations <= number {
                        return anyhow::Ok(done);
                    }
                    let start = Instant::now();
                    let answer_bytes = operation(worker.clone(), number).await?;
                    done.push(Done { ms: start.elapsed().as_secs_f64() * 1e3, answer_bytes });
                }
            })
        })
        .collect();
    let mut all = Vec::with_capacity(operations);
    for task in tasks {
        all.extend(task.await??);
    }
    Ok(all)
}

fn config_map(number: usize) -> ConfigMap {
    let (key, value) = LABEL.split_once('=').unwrap_or((LABEL, ""));
    ConfigMap {
        metadata: ObjectMeta {
            name: Some(name(number)),
            labels: Some(BTreeMap::from([(key.to_owned(), value.to_owned())])),
            ..ObjectMeta::default()
        },
        data: Some(BTreeMap::from([("data".to_owned(), text(number))])),
        ..ConfigMap::default()
    }
}

/// Text that compresses about as well as configuration does: words in an order that differs from one resource to the
/// next.
fn text(number: usize) -> String {
    const WORDS: [&str; 16] = [
        "replicas", "image", "limits", "memory", "enabled", "true", "false", "port", "8080", "host", "name", "value",
        "timeout", "retries", "path", "level",
    ];
    let (mut text, mut state) = (String::with_capacity(RESOURCE_BYTES + 16), number);
    while text.len() < RESOURCE_BYTES {
        // A linear congruence: the same resource always has the same text.
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        text.push_str(WORDS[(state >> 33) % WORDS.len()]);
        text.push(if (state >> 40).is_multiple_of(4) { '\n' } else { ' ' });
    }
    text.truncate(RESOURCE_BYTES);
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    fn unused_worker() -> Worker {
        let config = kube::Config::new(http::Uri::from_static("https://127.0.0.1:1/"));
        let _ = rustls::crypto::ring::default_provider().install_default();
        let client = kube::Client::try_from(config).expect("a client");
        Worker::new(client)
    }

    #[test]
    fn a_resource_has_the_stated_size_and_a_text_of_its_own() {
        let data = |number| config_map(number).data.expect("data")["data"].clone();
        assert_eq!((data(0).len(), data(1).len()), (RESOURCE_BYTES, RESOURCE_BYTES));
        assert_ne!(data(0), data(1));
        assert_eq!(data(7), data(7));
    }

    #[tokio::test]
    async fn each_operation_is_done_exactly_once() {
        let workers = vec![unused_worker(); 3];
        let done = share_out(&workers, 100, |_, number| async move { Ok(number + 1) }).await.expect("all are done");
        assert_eq!(done.len(), 100);
        assert_eq!(done.iter().map(|done| done.answer_bytes).sum::<usize>(), (1..=100).sum::<usize>());
    }

    #[tokio::test]
    async fn one_failure_is_the_failure_of_all() {
        let failing = |_: Worker, number: usize| async move {
            ensure!(number != 50, "the one");
            Ok(0)
        };
        let error = share_out(&vec![unused_worker(); 2], 100, failing).await.expect_err("one failed");
        assert_eq!(error.to_string(), "the one");
    }
}
