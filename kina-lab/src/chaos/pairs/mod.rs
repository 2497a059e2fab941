//! `cargo lab chaos pairs`: lease A does something and makes sure that it took effect; lease B, the next one on the
//! same cluster, looks for it with its first requests.
//!
//! - `kind`, `kinds`: the deeds and the looks. `object`: the simplest of them.
//! - `api`, `raw`, `held_webhook`: requests, bytes on connections, and a webhook that holds a request up.
//! - `intruder`: a write past the API server.
//! - `schedule`: the kinds that share a lease. Pure.
//! - `chain`: one engine with one slot, and its leases.
//! - `cpu_limit`: API servers and etcds with little of the processor.
//! - `handed_on`: the same kinds in ordinary chaos.
//! - `report`: the results.

mod api;
mod chain;
mod cpu_limit;
pub(super) mod handed_on;
mod held_webhook;
mod intruder;
mod kind;
mod kinds;
mod object;
mod raw;
mod report;
mod schedule;

use std::cell::RefCell;
use std::time::{Duration, Instant};

use anyhow::bail;
use cargo_kina::{Format, print_report};
use clap::Args;
use kina_engine::ProviderName;

use self::chain::{Chain, Shared};
use self::cpu_limit::CpuLimit;
use self::kind::Kind;
use self::report::Report;
use self::schedule::Schedule;
use super::{Part, interrupted, sabotage, say};

const PROGRESS_INTERVAL: Duration = Duration::from_secs(15);
/// More engines than this side by side have too little of any machine each.
const ENGINES_MAX: usize = 4;

/// Plant something in each lease, and let the next lease look for it at once
#[derive(Clone, Debug, Args)]
pub(super) struct PairsArguments {
    /// Number of times that each kind is planted
    #[arg(long, default_value_t = 20)]
    rounds: usize,
    /// The same of kinds whose lease makes the engine restart the API server
    #[arg(long, default_value_t = 2)]
    restart_rounds: usize,
    /// Only these kinds
    #[arg(long, value_delimiter = ',')]
    kinds: Vec<String>,
    /// Print all kinds, and do nothing
    #[arg(long)]
    list: bool,
    /// Hold each kube-apiserver and each etcd to this share of one core
    #[arg(long, value_parser = clap::value_parser!(u32).range(1..=100))]
    cpu_percent: Option<u32>,
    /// Number of private engines, with one slot each, that run side by side
    #[arg(long)]
    engines: Option<usize>,
    /// The same seed plants the same kinds together
    #[arg(long, default_value_t = 1)]
    seed: u64,
    /// Switch a part of the engine off, so that the run has to see something: needs `cargo lab`. Without --kinds, those
    /// kinds are planted that show it, and the first sighting ends the run
    #[arg(long, value_parser = sabotage::part, value_delimiter = ',')]
    sabotage: Vec<Part>,
    /// Format of the report
    #[arg(long, value_enum, default_value_t)]
    format: Format,
}

/// Runs the pairs and prints the report; fails if anything was seen, or could not be looked for.
pub(super) async fn run(provider: ProviderName, arguments: &PairsArguments) -> anyhow::Result<()> {
    let chosen = choose(arguments)?;
    if arguments.list {
        return list(&chosen, arguments.format);
    }
    if !cfg!(target_os = "linux") {
        bail!("`cargo lab chaos` needs details of processes that only Linux has");
    }
    // Enough to keep the machine busy: each has an API server and an etcd.
    let share_percent = arguments.cpu_percent.map_or(100, |percent| percent.saturating_mul(2)).clamp(1, 100);
    let by_cores = || kina_engine::cores().saturating_mul(100).div_ceil(share_percent as usize);
    let engines = arguments.engines.unwrap_or_else(by_cores).clamp(1, ENGINES_MAX);
    let start = Instant::now();
    let report = tokio::select! {
        report = measure(provider, arguments, chosen, engines) => report?,
        () = interrupted() => bail!("interrupted"),
    };
    let report = Report { seconds: start.elapsed().as_secs(), ..report };
    print_report(&report, arguments.format)?;
    match report.fault() {
        Some(fault) => bail!("leases are not kept apart: {fault}"),
        None => Ok(()),
    }
}

async fn measure(
    provider: ProviderName,
    arguments: &PairsArguments,
    chosen: Vec<&'static Kind>,
    engines: usize,
) -> anyhow::Result<Report> {
    let report = Report {
        kinds: chosen.len(),
        rounds: arguments.rounds,
        restart_rounds: arguments.restart_rounds,
        seed: arguments.seed,
        engines,
        sabotage: arguments.sabotage.iter().map(|part| part.name()).collect(),
        ..Report::default()
    };
    let mut chains = Vec::new();
    for number in 0..engines {
        chains.push(Chain::start(provider, number, arguments.seed, &arguments.sabotage).await?);
    }
    let directories = chains.iter().map(|chain| chain.realm().directory().to_owned()).collect();
    let limit = arguments.cpu_percent.map(|percent| CpuLimit::start(directories, percent)).transpose()?;
    let shared = Shared {
        schedule: RefCell::new(Schedule::new(chosen, arguments.rounds, arguments.restart_rounds, arguments.seed)),
        tally: RefCell::default(),
        stops_at_first: !arguments.sabotage.is_empty() && arguments.kinds.is_empty(),
    };
    let ran = tokio::select! {
        ran = futures::future::try_join_all(chains.iter_mut().map(|chain| chain.run(&shared))) => ran,
        never = tell_progress(&shared) => match never {},
    };
    let cpu_percent_measured = limit.map(CpuLimit::end);
    let mut api_server_restarts = 0;
    let mut ended = Ok(());
    for chain in &chains {
        match chain.end().await {
            Ok(restarts) => api_server_restarts += restarts,
            Err(error) => ended = Err(error),
        }
    }
    if let Err(error) = ran {
        let kept: Vec<_> = chains.iter().filter_map(|chain| chain.realm().keep_log()).collect();
        return Err(error.context(format!("a lease failed; the engine's log is kept in {kept:?}")));
    }
    ended?;
    let report = Report { cpu_percent_measured, api_server_restarts, ..report };
    Ok(report.judge(shared.tally.into_inner()))
}

async fn tell_progress(shared: &Shared) -> std::convert::Infallible {
    loop {
        tokio::time::sleep(PROGRESS_INTERVAL).await;
        let (left, tally) = (shared.schedule.borrow().left(), shared.tally.borrow());
        say(&format!("{} leases, {left} deeds left, {} seen", tally.leases, tally.seen()));
    }
}

fn choose(arguments: &PairsArguments) -> anyhow::Result<Vec<&'static Kind>> {
    let all = kinds::all();
    if let Some(unknown) = arguments.kinds.iter().find(|name| !all.iter().any(|kind| kind.name == **name)) {
        bail!("there is no kind `{unknown}`: see `--list`");
    }
    if !arguments.kinds.is_empty() {
        return Ok(all.into_iter().filter(|kind| arguments.kinds.iter().any(|name| name == kind.name)).collect());
    }
    let shows = |kind: &Kind| arguments.sabotage.iter().any(|part| kind.shown_without.contains(&part.name()));
    let showing: Vec<_> = all.iter().copied().filter(|kind| shows(kind)).collect();
    Ok(if showing.is_empty() { all } else { showing })
}

fn list(kinds: &[&'static Kind], format: Format) -> anyhow::Result<()> {
    match format {
        Format::Json => {
            let described = kinds.iter().map(|kind| serde_json::json!({"name": kind.name, "about": kind.about}));
            print_report(&described.collect::<Vec<_>>(), format)
        }
        Format::Text => {
            let width = kinds.iter().map(|kind| kind.name.len()).max().unwrap_or(0);
            let lines = kinds.iter().map(|kind| format!("{:width$}  {}", kind.name, kind.about));
            cargo_kina::print_lines(lines)
        }
    }
}
