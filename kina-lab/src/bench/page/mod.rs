//! `cargo lab bench report`: makes the measurements of docs/BENCHMARKS.md, keeps them as files, and writes that page
//! and its pictures from these files alone.
//!
//! Each scenario runs as a command of its own, as users would run it, and its output for programs is kept.
//!
//! - `data`: the files.
//! - `budgets`: limits and targets, and their measurements.
//! - `text`: the page. `tables`: its tables for reports of any form.
//! - `pictures`: the pictures.

mod budgets;
mod data;
mod pictures;
mod tables;
mod text;

use std::path::{Path, PathBuf};
use std::process::{Output, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context, bail, ensure};
use cargo_kina::interrupted;
use clap::Args;
use kina_engine::lab::process_identity;
use rustix::process::{Signal, kill_process};
use serde_json::{Value, json};

use self::data::Data;
use super::machine_description::{self, Watched};
use super::say;

/// Scenarios of the page: the name, the arguments, and if it is measured by default.
const SCENARIOS: [(&str, &[&str], bool); 14] = [
    ("warm", &[], true),
    ("frozen", &[], true),
    ("stopped", &[], true),
    ("cold", &[], true),
    ("rewind", &[], true),
    ("fixtures", &[], true),
    ("lifecycle", &["--samples", "5"], true),
    ("gateway", &[], true),
    ("memory", &[], false),
    ("scale", &[], false),
    ("peers", &[], false),
    ("crud", &[], false),
    ("stress", &[], false),
    ("self-test", &[], false),
];
/// The name under which the picture of the engine under load is made and shown.
const FLAMEGRAPH: &str = "flamegraph";
/// Time limit for a scenario to stop its private engine when it is asked to end.
const END_TIMEOUT: Duration = Duration::from_secs(30);
/// Limit on the reason for which nothing was measured.
const REASON_LENGTH_MAX: usize = 300;

/// Make the measurements of the page of benchmarks, and write that page
#[derive(Debug, Args)]
pub(super) struct PageArguments {
    /// The page; its data and pictures are beside it, in a directory `benchmarks`
    #[arg(long, default_value = "docs/BENCHMARKS.md")]
    write: PathBuf,
    /// Scenarios to measure, instead of the quick ones; files of other scenarios stay unchanged
    #[arg(long, value_delimiter = ',')]
    scenarios: Option<Vec<String>>,
    /// Measure nothing: write the page from the files that are there
    #[arg(long, conflicts_with = "scenarios")]
    render: bool,
}

/// Measures and writes.
pub(super) async fn run(arguments: PageArguments) -> anyhow::Result<()> {
    let directory = arguments.write.parent().unwrap_or(Path::new("")).join("benchmarks");
    std::fs::create_dir_all(&directory).with_context(|| format!("making {} failed", directory.display()))?;
    if !arguments.render {
        let wanted = match &arguments.scenarios {
            Some(names) => names.clone(),
            None => {
                let by_default = SCENARIOS.iter().filter(|(_, _, is_default)| *is_default).map(|(name, _, _)| *name);
                by_default.chain([FLAMEGRAPH]).map(str::to_owned).collect()
            }
        };
        for name in &wanted {
            if name == FLAMEGRAPH {
                draw_flamegraph(&directory).await?;
                continue;
            }
            let Some((name, settings, _)) = SCENARIOS.iter().find(|(known, _, _)| known == name) else {
                let known: Vec<_> = SCENARIOS.iter().map(|(name, _, _)| *name).chain([FLAMEGRAPH]).collect();
                bail!("there is no scenario `{name}`: name some of {}", known.join(", "));
            };
            measure(&directory, name, settings).await?;
        }
    }
    let names: Vec<_> = SCENARIOS.iter().map(|(name, _, _)| *name).collect();
    let data = Data::read(&directory, &names)?;
    let pictures = pictures::draw(&data)?;
    for (name, svg) in &pictures {
        write(&directory.join(format!("{name}.svg")), svg)?;
    }
    let has_flamegraph = directory.join(format!("{FLAMEGRAPH}.svg")).exists();
    let names: Vec<&str> = pictures.iter().map(|(name, _)| name.as_str()).collect();
    write(&arguments.write, &text::page(&data, &names, has_flamegraph))?;
    println!("{}", arguments.write.display());
    Ok(())
}

/// Runs one scenario as a command of its own, and keeps its output or the reason for which there is none.
async fn measure(directory: &Path, name: &str, settings: &[&str]) -> anyhow::Result<()> {
    say(&format!("== {name}"));
    let (machine, start) = (machine_description::watch(), Instant::now());
    let output = output(command(name).args(settings).args(["--format", "json"])).await?;
    let report = if output.status.success() {
        let last = output.stdout.trim_ascii().rsplit(|byte| *byte == b'\n').next().unwrap_or_default();
        let report = serde_json::from_slice(last).with_context(|| format!("{name} printed no JSON"))?;
        with_surroundings(report, name, &machine, start)?
    } else {
        let text = String::from_utf8_lossy(&output.stderr);
        let reason: String = text.trim().lines().last().unwrap_or_default().chars().take(REASON_LENGTH_MAX).collect();
        say(&format!("{name} was not measured: {reason}"));
        json!({ "scenario": name, "not_measured": reason })
    };
    say(&format!("== {name} took {:.0} s", start.elapsed().as_secs_f64()));
    write(&directory.join(format!("{name}.json")), &data::pretty(&report))
}

async fn draw_flamegraph(directory: &Path) -> anyhow::Result<()> {
    say(&format!("== {FLAMEGRAPH}"));
    let output = output(command(FLAMEGRAPH).arg("-o").arg(directory.join(format!("{FLAMEGRAPH}.svg")))).await?;
    if !output.status.success() {
        say(&format!("no flame graph: {}", String::from_utf8_lossy(&output.stderr).trim()));
    }
    Ok(())
}

fn command(name: &str) -> tokio::process::Command {
    let program = std::env::current_exe().unwrap_or_else(|_| PathBuf::from("cargo-kina"));
    let mut command = tokio::process::Command::new(program);
    command.args(["bench", name]).stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped()).kill_on_drop(true);
    command
}

/// Runs a scenario. When this process has to end, the scenario is stopped too, and takes its private engine down first.
async fn output(command: &mut tokio::process::Command) -> anyhow::Result<Output> {
    let child = command.spawn()?;
    let process_id = child.id();
    let output = child.wait_with_output();
    tokio::pin!(output);
    tokio::select! {
        output = &mut output => return Ok(output?),
        () = interrupted() => {}
    }
    if let Some(process_id) = process_id.and_then(process_identity::pid) {
        // If it is not found, it has ended.
        let _ = kill_process(process_id, Signal::TERM);
    }
    let _ = tokio::time::timeout(END_TIMEOUT, output).await;
    bail!("interrupted")
}

/// Adds the place and the time of the measurement, if a report has neither.
fn with_surroundings(mut report: Value, name: &str, machine: &Watched, start: Instant) -> anyhow::Result<Value> {
    let fields = report.as_object_mut();
    ensure!(fields.is_some(), "{name} did not print an object");
    if let Some(fields) = fields {
        fields.entry("scenario").or_insert_with(|| name.into());
        if !fields.contains_key("machine") {
            fields.insert("machine".to_owned(), serde_json::to_value(machine.describe())?);
        }
        let taken_at = k8s_openapi::jiff::Timestamp::now().strftime("%Y-%m-%dT%H:%M:%SZ").to_string();
        fields.entry("taken_at").or_insert_with(|| taken_at.into());
        fields.entry("took_s").or_insert_with(|| start.elapsed().as_secs_f64().into());
    }
    Ok(report)
}

fn write(path: &Path, text: &str) -> anyhow::Result<()> {
    std::fs::write(path, text).with_context(|| format!("writing {} failed", path.display()))
}
