//! `cargo lab bench self-test`: a test of the gate on this machine, with real measurements.
//!
//! Runs of the same program must raise no alarm, and a planted slow-down must raise one in every series.

use std::collections::BTreeMap;

use anyhow::bail;
use cargo_kina::bench::gate::{GateScenario, Planted, Recording, Rule, confirm, record, record_rounds};
use cargo_kina::bench::machine_description::{self, MachineDescription};
use cargo_kina::{Format, print_report};
use clap::Args;
use kina_engine::ProviderName;
use kina_engine::lab::sabotage;
use serde::Serialize;

use super::say;

/// The slow-down of all leases, in the engine and in the client.
const SLOW_DOWN: Planted =
    Planted { engine_settings: &[(sabotage::VARIABLE, "slow")], lease_slowed_percent: sabotage::SLOW_PERCENT };

/// Test the gate on this machine
#[derive(Debug, Args)]
pub(in crate::bench) struct SelfTestArguments {
    /// Number of unchanged runs, none of which may raise an alarm
    #[arg(long, default_value_t = 20)]
    runs: usize,
    /// Number of runs with a planted slow-down, each of which must raise one
    #[arg(long, default_value_t = 3)]
    planted_runs: usize,
    /// Scenarios to measure
    #[arg(long, value_enum, value_delimiter = ',', default_values = ["warm", "rewind"])]
    scenarios: Vec<GateScenario>,
    /// Smallest slow-down that counts, in percent
    #[arg(long, default_value_t = 15.0)]
    threshold_percent: f64,
    /// Accepted probability that chance alone looks like that
    #[arg(long, default_value_t = 0.01)]
    significance: f64,
    /// Keep the recordings in this directory
    #[arg(long)]
    keep: Option<std::path::PathBuf>,
    /// Format of the report
    #[arg(long, value_enum, default_value_t)]
    format: Format,
}

#[derive(Debug, Serialize)]
struct SelfTestReport {
    scenario: &'static str,
    ok: bool,
    unchanged_runs: usize,
    unchanged_alarms: usize,
    /// Looked slower at first, and no longer in the second measurement.
    unchanged_suspicions: usize,
    planted_percent: u32,
    planted_runs: usize,
    /// Number of these runs in which each series was found slower.
    planted_caught: BTreeMap<String, usize>,
    /// Apparent slow-down of each series in each run, unchanged and planted.
    unchanged_slowdowns: BTreeMap<String, Vec<f64>>,
    planted_slowdowns: BTreeMap<String, Vec<f64>>,
    threshold_percent: f64,
    significance: f64,
    took_s: f64,
    machine: MachineDescription,
}

/// Tests the gate.
pub(in crate::bench) async fn run(provider: ProviderName, arguments: SelfTestArguments) -> anyhow::Result<()> {
    let start = std::time::Instant::now();
    let machine = machine_description::watch();
    let scenarios = &arguments.scenarios;
    let rule = Rule { threshold_percent: arguments.threshold_percent, significance: arguments.significance };
    say("the recording that all runs are compared with");
    let saved = record_rounds(provider, scenarios, Planted::NOTHING).await?;
    let keep = |name: String, recording: &Recording| match &arguments.keep {
        Some(directory) => recording.save(&directory.join(name)),
        None => Ok(()),
    };
    keep("saved.json".to_owned(), &saved)?;
    let mut report = SelfTestReport {
        scenario: "self-test",
        ok: false,
        unchanged_runs: arguments.runs,
        unchanged_alarms: 0,
        unchanged_suspicions: 0,
        planted_percent: sabotage::SLOW_PERCENT,
        planted_runs: arguments.planted_runs,
        planted_caught: scenarios.iter().map(|scenario| (scenario.name().to_owned(), 0)).collect(),
        unchanged_slowdowns: BTreeMap::new(),
        planted_slowdowns: BTreeMap::new(),
        threshold_percent: arguments.threshold_percent,
        significance: arguments.significance,
        took_s: 0.0,
        machine: MachineDescription::default(),
    };
    for number in 1..=arguments.runs {
        say(&format!("unchanged, run {number} of {}", arguments.runs));
        let recording = record(provider, scenarios, Planted::NOTHING).await?;
        keep(format!("unchanged-{number}.json"), &recording)?;
        let judgement = confirm(provider, scenarios, &saved, &recording, rule, Planted::NOTHING).await?;
        report.unchanged_alarms += usize::from(!judgement.slower.is_empty());
        report.unchanged_suspicions += usize::from(!judgement.suspected.is_empty());
        for comparison in judgement.comparisons {
            report.unchanged_slowdowns.entry(comparison.series).or_default().push(comparison.slowdown);
        }
    }
    for number in 1..=arguments.planted_runs {
        say(&format!("planted slow-down, run {number} of {}", arguments.planted_runs));
        let recording = record(provider, scenarios, SLOW_DOWN).await?;
        keep(format!("planted-{number}.json"), &recording)?;
        let judgement = confirm(provider, scenarios, &saved, &recording, rule, SLOW_DOWN).await?;
        for name in judgement.slower {
            *report.planted_caught.entry(name).or_default() += 1;
        }
        for comparison in judgement.comparisons {
            report.planted_slowdowns.entry(comparison.series).or_default().push(comparison.slowdown);
        }
    }
    let all_caught = report.planted_caught.values().all(|caught| *caught == arguments.planted_runs);
    report.ok = report.unchanged_alarms == 0 && all_caught;
    report.took_s = start.elapsed().as_secs_f64();
    report.machine = machine.describe();
    let ok = report.ok;
    print_report(&report, arguments.format)?;
    if !ok {
        bail!(
            "the gate is of no use on this machine: an unchanged run raised an alarm, or a planted slow-down raised \
             none; the machine may be too busy"
        );
    }
    Ok(())
}
