//! `cargo lab bench large-template`: the engine under templates of hundreds of megabytes.
//!
//! Each client has a template of its own. While they wait for their leases, a thread keeps asking for the status;
//! afterwards the engine is left alone, and its memory is measured.
//!
//! - `content`: templates of any size.
//! - `status`: the time of the engine's answers.
//! - `memory`: the engine's memory, as the kernel reports it.

mod content;
mod memory;
mod status;

use std::time::{Duration, Instant};

use anyhow::{Context, bail, ensure};
use cargo_kina::Format;
use clap::Args;
use k8s_openapi::api::core::v1::ConfigMap;
use kina_engine::{AcquireRequest, ClientError, EngineClient, FixtureSet, ProviderName, with_causes};
use kube::Api;

use self::status::StatusClock;
use super::report::{Draft, Measurement, Report};
use super::{Bench, say};

const ABOUT: &str = "the engine's answers and its memory under large templates";
/// The bound on a client's wait, which is for the templates of others too.
const ACQUIRE_TIMEOUT: Duration = Duration::from_secs(30 * 60);
/// The time for which the engine is left alone before its memory is looked at.
const REST: Duration = Duration::from_secs(5);

/// The engine under templates of hundreds of megabytes
///
/// The time of its answers while they are under way, the memory that it takes, and the memory that it keeps.
#[derive(Debug, Args)]
pub(super) struct LargeTemplateArguments {
    /// Size of each template, in megabytes
    #[arg(long, default_value_t = 256)]
    megabytes: u64,
    /// Number of clients, each with a template of its own
    #[arg(long, default_value_t = 4)]
    clients: usize,
    /// The form of the output
    #[arg(long, value_enum, default_value_t)]
    format: Format,
}

/// The end of a client's request.
enum Ending {
    Served { after: Duration },
    Refused { reason: String },
    Lost { reason: String },
}

/// Measures and prints.
pub(super) async fn measure(provider: ProviderName, arguments: LargeTemplateArguments) -> anyhow::Result<()> {
    let LargeTemplateArguments { megabytes, clients, format } = arguments;
    if megabytes == 0 || clients == 0 {
        bail!("--megabytes and --clients must be at least 1");
    }
    let bench = Bench::prepare(provider, clients).await?;
    let measured = take(&bench, megabytes, clients).await;
    bench.end(measured).await?.print(format)
}

async fn take(bench: &Bench, megabytes: u64, clients: usize) -> anyhow::Result<Report> {
    let mut draft = Draft::begin("large-template", ABOUT);
    bench.warm_up().await?;
    bench.wait_all_ready().await?;
    let before = bench.status(false).await?;
    let rss_before_mb = memory::resident_mb(before.process_id)?;
    say(&format!("{clients} templates of {megabytes} MB each"));
    let mut contents = Vec::new();
    for number in 0..clients {
        let content = tokio::task::spawn_blocking(move || {
            let set = content::set(number, megabytes);
            let name = set.hash();
            (name, set)
        });
        contents.push(content.await?);
    }
    let clock = StatusClock::start(&bench.engine)?;
    let start = Instant::now();
    let (settings, engine) = (bench.request_settings()?, &bench.engine);
    let requests = contents.iter().enumerate().map(|(number, (name, set))| {
        let request = AcquireRequest {
            test: format!("large template {number}"),
            template: Some(name.clone()),
            timeout_ms: u64::try_from(ACQUIRE_TIMEOUT.as_millis()).unwrap_or(u64::MAX),
            ..settings.clone()
        };
        lease(engine, request, set, number, start)
    });
    let endings = futures::future::join_all(requests).await;
    let latencies_ms = clock.stop()?;
    drop(contents);
    bench.wait_all_ready().await?;
    tokio::time::sleep(REST).await;

    let status = bench.status(false).await?;
    ensure!(
        status.process_id == before.process_id,
        "the engine ended while it was measured, and another took its place"
    );
    let mut served_s = Vec::new();
    let (mut refused, mut lost) = (Vec::new(), Vec::new());
    for ending in endings {
        match ending {
            Ending::Served { after } => served_s.push(after.as_secs_f64()),
            Ending::Refused { reason } => refused.push(reason),
            Ending::Lost { reason } => lost.push(reason),
        }
    }
    draft.add(Measurement::of_many(
        "status_ms",
        "an answer to a status request, connection included",
        &latencies_ms,
    ))?;
    let p99 = super::statistics::percentile(&latencies_ms, 0.99).context("the status was never answered")?;
    draft.figure("status_p99_ms", p99);
    draft.figure("status_count", latencies_ms.len());
    if !served_s.is_empty() {
        draft.add(Measurement::of("served_s", "from the start until a client has its lease", &served_s))?;
    }
    draft.figure("served", served_s.len());
    draft.figure("refused_with_reason", refused.len());
    draft.figure("lost", lost.len());
    draft.figure("reasons", [refused, lost].concat());
    draft.figure("engine_rss_before_mb", rss_before_mb);
    draft.figure("engine_peak_rss_mb", memory::peak_mb(status.process_id)?);
    draft.figure("engine_rss_after_mb", memory::resident_mb(status.process_id)?);
    draft.figure("megabytes", megabytes);
    draft.figure("clients", clients);
    draft.figure("engine_profile", status.engine_profile);
    let kubernetes = status.slots.iter().find_map(|slot| slot.kubernetes.clone()).unwrap_or_default();
    draft.subject(&status.provider, &kubernetes, status.simulated);
    Ok(draft.finish())
}

/// Takes a lease, sees that its cluster has the last object of its template, and ends it.
async fn lease(
    engine: &EngineClient,
    request: AcquireRequest,
    set: &FixtureSet,
    number: usize,
    start: Instant,
) -> Ending {
    let progress = |text: &str| say(&format!("client {number}: {text}"));
    let lease = match engine.acquire_from(request, set, &progress).await {
        Ok(lease) => lease,
        Err(error @ (ClientError::UserError { .. } | ClientError::Timeout { .. } | ClientError::Engine { .. })) => {
            return Ending::Refused { reason: error.to_string() };
        }
        Err(error) => return Ending::Lost { reason: with_causes(&error) },
    };
    let after = start.elapsed();
    say(&format!("client {number}: served after {:.1} s", after.as_secs_f64()));
    let look = async {
        let client = kube::Client::try_from(kina::__private::config_of_lease(&lease.grant)?)?;
        let config_maps = Api::<ConfigMap>::default_namespaced(client);
        for object in [0, content::last_object(set)] {
            config_maps.get_metadata(&content::object_name(number, object)).await?;
        }
        anyhow::Ok(())
    };
    match look.await {
        Ok(()) => Ending::Served { after },
        Err(error) => Ending::Lost { reason: format!("the lease lacks the content of its template: {error:#}") },
    }
}
