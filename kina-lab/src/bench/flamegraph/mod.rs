//! `cargo lab bench flamegraph`: the engine's processor time under load, by function.
//!
//! A private engine serves test processes while `perf` samples it from outside. The samples are folded and drawn by
//! inferno, so that only `perf` needs installing.

mod draw;
mod fold;

use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::{Duration, Instant};

use anyhow::{Context, bail, ensure};
use clap::Args;
use kina_engine::ProviderName;
use kina_engine::lab::search_path;

use super::probe::ProbeReport;
use super::{Bench, say};

/// One cluster each for both kinds of load, and one that is being rewound meanwhile.
const SLOTS: usize = 3;
/// Bytes of each stack that are sampled.
const STACK_BYTES: u32 = 16_384;
/// Time limit for `perf` to resolve the samples.
const SCRIPT_TIMEOUT: Duration = Duration::from_secs(240);
const HOW_TO_GET_PERF: &str = "`perf` is needed (Debian and Ubuntu: the package linux-perf or linux-tools-generic), and leave to look at one's own \
                               processes (/proc/sys/kernel/perf_event_paranoid at most 2)";

/// Draw where the engine spends its processor time under load
#[derive(Debug, Args)]
pub(super) struct FlamegraphArguments {
    /// The picture, an SVG
    #[arg(short, long, default_value = "target/kina-bench/flamegraph.svg")]
    output: PathBuf,
    /// Duration in seconds
    #[arg(long, default_value_t = 20, value_parser = clap::value_parser!(u64).range(1..=600))]
    seconds: u64,
    /// Samples a second
    #[arg(long, default_value_t = 499, value_parser = clap::value_parser!(u32).range(1..=20_000))]
    hertz: u32,
    /// Keep the stacks here as well, one a line with its number of samples, as other tools read them
    #[arg(long)]
    folded: Option<PathBuf>,
}

/// Takes the picture.
pub(super) async fn run(provider: ProviderName, arguments: FlamegraphArguments) -> anyhow::Result<()> {
    if !cfg!(target_os = "linux") {
        bail!(
            "`perf` exists only on Linux: on macOS use the program `sample` on the process that `cargo kina status` names"
        );
    }
    let bench = Bench::prepare(provider, SLOTS).await?;
    let taken = take(&bench, &arguments).await;
    let stacks = bench.end(taken).await?;
    if let Some(path) = &arguments.folded {
        write(path, &stacks.folded())?;
    }
    let title = format!(
        "kina's engine under load: {} samples of its processor time in {} s ({} build)",
        stacks.samples(),
        arguments.seconds,
        if cfg!(debug_assertions) { "debug" } else { "release" },
    );
    write(&arguments.output, &draw::draw(&title, &stacks)?)?;
    println!("{} ({} samples)", arguments.output.display(), stacks.samples());
    for (share, name) in stacks.heaviest() {
        println!("{share:5.1} %  {name}");
    }
    Ok(())
}

fn perf_program() -> std::io::Result<PathBuf> {
    search_path::resolve(Path::new("perf"), &search_path::of_this_process())
}

async fn take(bench: &Bench, arguments: &FlamegraphArguments) -> anyhow::Result<fold::Stacks> {
    bench.warm_up().await?;
    let process_id = bench.status(false).await?.process_id;
    let recorded = bench.private.directory().join("perf.data");
    say(&format!("the engine under load for {} s", arguments.seconds));
    let mut perf = tokio::process::Command::new(perf_program()?)
        // A clock that exists in virtual machines too.
        .args(["record", "--quiet", "-e", "cpu-clock", "-F", &arguments.hertz.to_string()])
        .args(["--call-graph", &format!("dwarf,{STACK_BYTES}"), "-p", &process_id.to_string()])
        .arg("-o")
        .arg(&recorded)
        .args(["--", "sleep", &arguments.seconds.to_string()])
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .kill_on_drop(true)
        .spawn()
        .context(HOW_TO_GET_PERF)?;
    let end = Instant::now() + Duration::from_secs(arguments.seconds);
    let leases = async {
        while Instant::now() < end {
            bench.probe::<ProbeReport>(&["lease"]).await?;
        }
        anyhow::Ok(())
    };
    let fills = async {
        while Instant::now() < end {
            bench.probe::<ProbeReport>(&["fill", "250"]).await?;
        }
        anyhow::Ok(())
    };
    futures::future::try_join(leases, fills).await?;
    let status = perf.wait().await?;
    ensure!(status.success(), "`perf record` failed ({status}): {HOW_TO_GET_PERF}");
    say("reads the samples");
    fold::Stacks::read(&script(&recorded).await?)
}

async fn script(recorded: &Path) -> anyhow::Result<String> {
    let script = tokio::process::Command::new(perf_program()?)
        .args(["script", "--no-inline", "-F", "comm,pid,tid,time,event,ip,sym,dso", "-i"])
        .arg(recorded)
        .stdin(Stdio::null())
        .stderr(Stdio::null())
        .kill_on_drop(true)
        .output();
    let output = tokio::time::timeout(SCRIPT_TIMEOUT, script)
        .await
        .with_context(|| format!("`perf script` had not ended after {} s", SCRIPT_TIMEOUT.as_secs()))??;
    ensure!(output.status.success(), "`perf script` failed ({})", output.status);
    Ok(String::from_utf8_lossy(&output.stdout).into_owned())
}

fn write(path: &Path, text: &str) -> anyhow::Result<()> {
    if let Some(directory) = path.parent() {
        std::fs::create_dir_all(directory).with_context(|| format!("making {} failed", directory.display()))?;
    }
    std::fs::write(path, text).with_context(|| format!("writing {} failed", path.display()))
}
