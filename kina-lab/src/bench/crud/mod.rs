//! `cargo lab bench crud`: the throughput of a leased cluster. Each verb at several numbers of workers and of
//! resources.
//!
//! For each number of resources an engine and a cluster of their own are made, so that no memory of the row before
//! counts. All requests go through a lease's gateway, as a test's do.
//!
//! - `load`: the process that makes the requests. `worker`: one of its clients. `watches`: the delay of a watcher. `table`: the output for people.

pub(super) mod load;
mod table;
mod watches;
mod worker;

use anyhow::bail;
use cargo_kina::{Format, print_report};
use clap::Args;
use kina_engine::ProviderName;
use serde::{Deserialize, Serialize};

use self::load::Load;
use super::processor_time::ProcessorTime;
use super::{Bench, say};

/// More would not fit into an answer's few seconds, and would show nothing new.
const RESOURCES_MAX: usize = 50_000;
const WORKERS_MAX: usize = 64;

/// Rates at which objects are created, read, updated, listed, watched and deleted, by workers and by existing objects
#[derive(Debug, Args)]
pub(crate) struct CrudArguments {
    /// Numbers of resources
    #[arg(long, value_delimiter = ',', default_value = "100,1000,5000")]
    resources: Vec<usize>,
    /// Numbers of workers, each with a connection of its own
    #[arg(long, value_delimiter = ',', default_value = "1,2,4,8")]
    workers: Vec<usize>,
    /// Format of the report
    #[arg(long, value_enum, default_value_t)]
    format: Format,
}

/// The result.
#[derive(Debug, Serialize)]
struct Report {
    /// The provider is an emulation of the real thing, so no figure applies to that.
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
    /// Set if the client accepts compressed answers. API servers compress only those of 128 KiB and more, and so lists:
    /// other verbs are measured once.
    compression: bool,
    operations: usize,
    ops_per_second: f64,
    p50_ms: f64,
    p95_ms: f64,
    p99_ms: f64,
    /// The size of an answer's body on the wire; only of lists.
    answer_kb: Option<f64>,
    /// For each operation; absent if the system does not report it.
    processor: Option<ProcessorTime>,
}

/// Time from the sending of an update until a watcher has its event, while this many workers update.
#[derive(Clone, Debug, Serialize, Deserialize)]
struct Watch {
    resources: usize,
    workers: usize,
    events: usize,
    p50_ms: f64,
    p95_ms: f64,
    p99_ms: f64,
}

/// The cluster's memory (PSS, its etcd included) before and after the first creation of all resources, in megabytes
/// (10⁶ bytes).
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
struct Memory {
    resources: usize,
    base_mb: f64,
    populated_mb: f64,
    /// The growth for each resource: with few resources that is the memory of the work rather than of the resources.
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
