//! `cargo lab bench memory`: the memory that a further warm cluster takes after many leases.
//!
//! Clusters share the pages of their programs, so the memory of one cluster says little about the next one. Two pools
//! of different sizes, one after the other and each with the same leases on each of its slots, show the difference.

use anyhow::{Context, ensure};
use cargo_kina::bench::api_server::ApiServer;
use cargo_kina::bench::dirt::{self, Dirt};
use clap::Args;
use futures::future::try_join_all;
use kina_engine::{AcquireRequest, Lease, ProviderName, Status};
use serde_json::json;

use super::report::{Draft, Measurement, Report};
use super::{Bench, say};

const ABOUT: &str = "the memory that a further warm cluster takes after many leases, its etcd included";
/// One lease in so many leaves 249 changed keys behind.
const DIRTY_INTERVAL: usize = 10;
/// The number of looks at a pool while it is used.
const LOOKS: usize = 10;
/// Time limit of a lease on a cluster that may have been frozen meanwhile.
const ACQUIRE_TIMEOUT_MS: u64 = 60_000;

/// Memory of a further warm cluster after many leases, some of which leave many changed keys
#[derive(Debug, Args)]
pub(crate) struct MemoryArguments {
    /// Number of slots of the larger pool; the smaller one has half as many
    #[arg(long, default_value_t = 4)]
    slots: usize,
    /// Number of leases on each slot
    #[arg(long, default_value_t = 300)]
    leases: usize,
    #[command(flatten)]
    pub(super) output: cargo_kina::bench::Output,
}

/// The memory of a pool's clusters, in megabytes (10⁶ bytes).
struct Pool {
    first_mb: f64,
    last_mb: Vec<f64>,
    looks: Vec<(usize, f64, Anonymous)>,
    /// After the last lease.
    status: Status,
}

/// The memory of a pool's components without the pages of files, which clusters share with each other and with any other
/// cluster on the machine.
#[derive(Clone, Copy, Default)]
struct Anonymous {
    api_servers_mb: f64,
    etcds_mb: f64,
}

/// Measures both pools.
pub(super) async fn measure(provider: ProviderName, arguments: &MemoryArguments) -> anyhow::Result<Report> {
    let (slots, leases) = (arguments.slots, arguments.leases);
    ensure!(2 <= slots, "--slots must be at least 2");
    ensure!(LOOKS <= leases, "--leases must be at least {LOOKS}");
    let mut draft = Draft::begin("memory", ABOUT);
    let mut bench = Bench::prepare(provider, slots / 2).await?;
    let measured = take(&mut bench, slots, leases, &mut draft).await;
    bench.end(measured).await?;
    Ok(draft.finish())
}

async fn take(bench: &mut Bench, slots: usize, leases: usize, draft: &mut Draft) -> anyhow::Result<()> {
    let smaller = pool(bench, leases).await?;
    bench.engine.stop().await?;
    bench.set_slots(slots);
    let larger = pool(bench, leases).await?;
    let further = (larger.last_mb() - smaller.last_mb()) / (slots - slots / 2) as f64;
    let what = format!("proportional memory (PSS) of each of {slots} clusters after {leases} leases on each");
    draft.add(Measurement::of("cluster_memory_mb", &what, &larger.last_mb))?;
    draft.figure("further_cluster_mb", further);
    draft.figure("grown_mb", (larger.last_mb() - larger.first_mb) / slots as f64);
    draft.figure("slots", slots);
    draft.figure("leases", leases);
    draft.figure("smaller_pool_mb", smaller.last_mb());
    draft.figure("larger_pool_mb", larger.last_mb());
    let row = |(leases, mb, anonymous): &(usize, f64, Anonymous)| {
        json!({
            "leases": leases,
            "cluster_mb": mb / slots as f64,
            "api_server_anonymous_mb": anonymous.api_servers_mb / slots as f64,
            "etcd_anonymous_mb": anonymous.etcds_mb / slots as f64,
        })
    };
    draft.figure("looks", larger.looks.iter().map(row).collect::<Vec<_>>());
    draft.figure("engine_rss_mb", larger.status.engine_rss_bytes as f64 / 1e6);
    draft.figure("engine_profile", larger.status.engine_profile.clone());
    let kubernetes = larger.status.slots.iter().find_map(|slot| slot.kubernetes.clone()).unwrap_or_default();
    draft.subject(&larger.status.provider, &kubernetes, larger.status.simulated);
    Ok(())
}

/// Uses all slots of a pool equally: as many leases at a time as there are slots.
async fn pool(bench: &Bench, leases: usize) -> anyhow::Result<Pool> {
    let slots = bench.slots;
    say(&format!("{slots} clusters, {leases} leases on each"));
    bench.warm_up().await?;
    let (mut first_mb, mut looks) = (0.0, Vec::new());
    for lease in 1..=leases {
        round(bench, lease.is_multiple_of(DIRTY_INTERVAL)).await?;
        if lease == 1 || lease.is_multiple_of(leases / LOOKS) {
            let status = look(bench).await?;
            let mb = sum(&memory_mb(&status));
            say(&format!("{lease} leases: {:.0} MB each", mb / slots as f64));
            looks.push((lease, mb, Anonymous::of(&status)));
            if lease == 1 {
                first_mb = mb;
            }
        }
    }
    let status = look(bench).await?;
    let served: Vec<_> = status.slots.iter().map(|slot| slot.leases).collect();
    ensure!(
        served.len() == slots && served.iter().all(|served| *served == leases as u64),
        "the slots served {served:?} leases, not {leases} each: a cluster was replaced, so these figures mean nothing. \
         Try again on a machine with less other work"
    );
    Ok(Pool { first_mb, last_mb: memory_mb(&status), looks, status })
}

/// One lease on each slot, all at the same time.
async fn round(bench: &Bench, is_dirty: bool) -> anyhow::Result<()> {
    let mut leases: Vec<Lease> = Vec::new();
    for _ in 0..bench.slots {
        let request = AcquireRequest { timeout_ms: ACQUIRE_TIMEOUT_MS, ..bench.request_settings()? };
        leases.push(bench.engine.acquire(request, &|_| {}).await?);
    }
    let dirt = if is_dirty { Dirt::Thorough } else { Dirt::None };
    let used = leases.iter().map(|lease| async {
        let server = ApiServer::of_lease(lease);
        server.count("/api/v1/namespaces").await?;
        dirt::make(&server, &dirt).await
    });
    let open = try_join_all(used).await?;
    leases.iter().for_each(Lease::release);
    drop(open);
    bench.wait_all_ready().await
}

async fn look(bench: &Bench) -> anyhow::Result<Status> {
    let status = bench.status(true).await?;
    let is_known = status.slots.iter().all(|slot| slot.pss_bytes != 0);
    ensure!(is_known, "this system does not tell the memory of a process");
    (!status.slots.is_empty()).then_some(status).context("the engine has no cluster")
}

fn memory_mb(status: &Status) -> Vec<f64> {
    status.slots.iter().map(|slot| slot.pss_bytes as f64 / 1e6).collect()
}

fn sum(values: &[f64]) -> f64 {
    values.iter().sum()
}

impl Anonymous {
    fn of(status: &Status) -> Self {
        let mut anonymous = Self::default();
        for process_id in status.slots.iter().flat_map(|slot| &slot.process_ids) {
            // A process that is gone takes no memory.
            let read = |file: &str| std::fs::read_to_string(format!("/proc/{process_id}/{file}")).unwrap_or_default();
            let summary = read("smaps_rollup");
            let kilobytes = summary.lines().find_map(|line| line.strip_prefix("Pss_Anon:"));
            let kilobytes = kilobytes.and_then(|text| text.trim().trim_end_matches("kB").trim().parse::<f64>().ok());
            let mb = kilobytes.unwrap_or(0.0) * 1024.0 / 1e6;
            match read("comm").trim() {
                "etcd" => anonymous.etcds_mb += mb,
                _ => anonymous.api_servers_mb += mb,
            }
        }
        anonymous
    }
}

impl Pool {
    fn last_mb(&self) -> f64 {
        sum(&self.last_mb)
    }
}
