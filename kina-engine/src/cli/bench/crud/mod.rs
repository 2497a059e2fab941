//! `cargo kina bench crud`: what a leased cluster can take. Each verb at several numbers of workers and of resources.
//!
//! For each number of resources an engine and a cluster of their own are made, so that no memory of the row before counts.
//! All requests go through a lease's gateway, as a test's do.
//!
//! - `load`: the process that makes the requests. `watches`: how soon a watcher hears. `table`: for people.

pub(super) mod load;
mod table;
mod watches;

use anyhow::bail;
use clap::Args;
use serde::{Deserialize, Serialize};

use self::load::Load;
use super::super::{Format, print_report};
use super::processor_time::ProcessorTime;
use super::{Bench, say};
use crate::ProviderName;

/// More would not fit into an answer's few seconds, nor tell more.
const RESOURCES_MAX: usize = 50_000;
const WORKERS_MAX: usize = 64;

/// How fast objects are created, read, updated, listed, watched and deleted, by how many workers and among how many objects
#[derive(Debug, Args)]
pub(crate) struct CrudArguments {
    /// Numbers of resources
    #[arg(long, value_delimiter = ',', default_value = "100,1000,5000")]
    resources: Vec<usize>,
    /// Numbers of workers, each with a connection of its own
    #[arg(long, value_delimiter = ',', default_value = "1,2,4,8")]
    workers: Vec<usize>,
    /// How to print it
    #[arg(long, value_enum, default_value_t)]
    format: Format,
}

/// The result.
#[derive(Debug, Serialize)]
struct Report {
    /// The provider is an emulation of the real thing: no figure says anything about that.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    simulated: bool,
    /// Data of each resource, a ConfigMap.
    resource_bytes: usize,
    rows: Vec<Row>,
    watches: Vec<Watch>,
    memory: Vec<Memory>,
    engine_profile: String,
    kubernetes: String,
}

/// One verb, for a number of workers among a number of resources.
#[derive(Clone, Debug, Serialize, Deserialize)]
struct Row {
    verb: String,
    resources: usize,
    workers: usize,
    /// Whether the client takes compressed answers. API servers compress those of 128 KiB and more alone, and so lists: other
    /// verbs are measured once.
    compression: bool,
    operations: usize,
    ops_per_second: f64,
    p50_ms: f64,
    p95_ms: f64,
    p99_ms: f64,
    /// Of an answer's body, as it was sent; only of lists.
    answer_kb: Option<f64>,
    /// For each operation; absent where the system does not say.
    processor: Option<ProcessorTime>,
}

/// From the sending of an update until a watcher has its event, while so many workers update.
#[derive(Clone, Debug, Serialize, Deserialize)]
struct Watch {
    resources: usize,
    workers: usize,
    events: usize,
    p50_ms: f64,
    p95_ms: f64,
    p99_ms: f64,
}

/// What the cluster takes of memory (PSS, its etcd included) before and after the first creation of all resources, in
/// megabytes (10⁶ bytes).
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
struct Memory {
    resources: usize,
    base_mb: f64,
    populated_mb: f64,
    /// The growth, divided: with few resources that is what the work took, more than what they take.
    kb_per_resource: f64,
    /// After all verbs with all numbers of workers.
    end_mb: f64,
    engine_rss_mb: f64,
}

/// Measures and prints.
pub(crate) async fn measure(provider: ProviderName, arguments: CrudArguments) -> anyhow::Result<()> {
    expect_between("--resources", &arguments.resources, RESOURCES_MAX)?;
    expect_between("--workers", &arguments.workers, WORKERS_MAX)?;
    let bench = Bench::prepare(provider, 1).await?;
    let measured = report(&bench, &arguments).await;
    let report = bench.end(measured).await?;
    match arguments.format {
        Format::Json => print_report(&report, Format::Json),
        Format::Text => {
            print!("{}", table::render(&report));
            Ok(())
        }
    }
}

fn expect_between(option: &str, values: &[usize], maximum: usize) -> anyhow::Result<()> {
    if values.iter().any(|value| *value == 0 || maximum < *value) {
        bail!("{option} must be numbers from 1 to {maximum}");
    }
    Ok(())
}

async fn report(bench: &Bench, arguments: &CrudArguments) -> anyhow::Result<Report> {
    let workers = arguments.workers.iter().map(ToString::to_string).collect::<Vec<_>>().join(",");
    let (mut rows, mut watches, mut memory) = (Vec::new(), Vec::new(), Vec::new());
    let (mut engine_profile, mut kubernetes, mut simulated) = (String::new(), String::new(), false);
    for resources in &arguments.resources {
        say(&format!("{resources} resources, workers: {workers}"));
        bench.engine.stop().await?;
        bench.warm_up().await?;
        bench.wait_all_ready().await?;
        let load: Load = bench.probe(&["load", "--resources", &resources.to_string(), "--workers", &workers]).await?;
        rows.extend(load.rows);
        watches.extend(load.watches);
        memory.push(load.memory);
        (engine_profile, kubernetes, simulated) = (load.engine_profile, load.kubernetes, load.simulated);
    }
    Ok(Report { simulated, resource_bytes: load::RESOURCE_BYTES, rows, watches, memory, engine_profile, kubernetes })
}
