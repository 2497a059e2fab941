//! The gate's samples, each between two samples of its yardstick.

use std::collections::BTreeMap;

use clap::ValueEnum;
use kina_engine::ProviderName;

use super::super::machine_description;
use super::super::probe::ProbeReport;
use super::super::{Bench, SLOTS, say};
use super::recording::{FORM, Recording, Round, Series};
use super::yardstick::{self, RoundTrips};

/// Scenarios of the gate.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, ValueEnum)]
pub enum GateScenario {
    /// A lease of a ready cluster, to the first answer
    Warm,
    /// From the end of a lease that made 250 ConfigMaps until the cluster is ready again
    Rewind,
    /// A lease while all clusters are stopped
    Stopped,
    /// A lease while no engine runs
    Cold,
}

/// The slow-down that is planted on purpose.
#[derive(Clone, Copy, Debug)]
pub struct Planted {
    /// Settings that slow the engine down.
    pub engine_settings: &'static [(&'static str, &'static str)],
    /// Time that each lease wastes, in percent of its duration.
    pub lease_slowed_percent: u32,
}

impl Planted {
    /// No slow-down.
    pub const NOTHING: Self = Self { engine_settings: &[], lease_slowed_percent: 0 };
}

impl GateScenario {
    pub const fn name(self) -> &'static str {
        match self {
            Self::Warm => "warm",
            Self::Rewind => "rewind",
            Self::Stopped => "stopped",
            Self::Cold => "cold",
        }
    }

    const fn samples(self) -> usize {
        match self {
            Self::Warm | Self::Rewind => 60,
            Self::Stopped | Self::Cold => 8,
        }
    }

    const fn warm_up(self) -> usize {
        match self {
            Self::Warm => 15,
            Self::Rewind => 3,
            Self::Stopped | Self::Cold => 1,
        }
    }

    const fn yardstick(self) -> &'static str {
        match self {
            Self::Warm => yardstick::DIRECT_LIST_NAME,
            Self::Rewind => RoundTrips::NAME,
            Self::Stopped | Self::Cold => yardstick::PROCESSOR_NAME,
        }
    }
}

/// The means of sampling: a private engine, and a cluster beside it.
struct Scene<'a> {
    bench: &'a Bench,
    round_trips: RoundTrips,
    direct_access: String,
}

/// One run, with an engine of its own.
pub async fn record(provider: ProviderName, scenarios: &[GateScenario], planted: Planted) -> anyhow::Result<Recording> {
    let mut bench = Bench::prepare_with(provider, SLOTS, planted.engine_settings).await?;
    bench.slowed_percent = planted.lease_slowed_percent;
    let measured = take(&bench, scenarios).await;
    bench.end(measured).await
}

async fn take(bench: &Bench, scenarios: &[GateScenario]) -> anyhow::Result<Recording> {
    let machine = machine_description::watch();
    bench.warm_up().await?;
    let (cluster, access) = bench.boot_direct_cluster().await?;
    let taken = async {
        let round_trips = RoundTrips::new(&access)?;
        let scene = Scene { bench, round_trips, direct_access: access.display().to_string() };
        let mut series = BTreeMap::new();
        // From the scenario that disturbs the engine least to the one that needs it gone.
        for scenario in [GateScenario::Warm, GateScenario::Rewind, GateScenario::Stopped, GateScenario::Cold] {
            if scenarios.contains(&scenario) {
                say(&format!("{}, {} times, and its yardstick around each", scenario.name(), scenario.samples()));
                series.insert(scenario.name().to_owned(), scene.series(scenario).await?);
            }
        }
        anyhow::Ok(series)
    };
    let taken = taken.await;
    let status = bench.status(false).await;
    cluster.destroy().await?;
    let (series, status) = (taken?, status?);
    Ok(Recording {
        form: FORM,
        taken_at: jiff::Timestamp::now().strftime("%Y-%m-%dT%H:%M:%SZ").to_string(),
        kubernetes: status.slots.iter().find_map(|slot| slot.kubernetes.clone()).unwrap_or_default(),
        provider: status.provider,
        machine: machine.describe(),
        series,
    })
}

impl Scene<'_> {
    async fn series(&self, scenario: GateScenario) -> anyhow::Result<Series> {
        for _ in 0..scenario.warm_up() {
            self.yardstick(scenario).await?;
            self.sample(scenario).await?;
        }
        let mut round = Round { values: Vec::new(), yardsticks: vec![self.yardstick(scenario).await?] };
        for _ in 0..scenario.samples() {
            round.values.push(self.sample(scenario).await?);
            round.yardsticks.push(self.yardstick(scenario).await?);
        }
        for value in round.values.iter_mut().chain(&mut round.yardsticks) {
            // Microseconds are precise enough.
            *value = (*value * 1e3).round() / 1e3;
        }
        Ok(Series { unit: "ms".to_owned(), yardstick: scenario.yardstick().to_owned(), rounds: vec![round] })
    }

    async fn sample(&self, scenario: GateScenario) -> anyhow::Result<f64> {
        match scenario {
            GateScenario::Warm => self.bench.sample_warm().await,
            GateScenario::Rewind => Ok(self.bench.sample_release(&["fill", "250"]).await?.release_ms),
            GateScenario::Stopped => self.bench.sample_stopped().await,
            GateScenario::Cold => self.bench.sample_cold().await,
        }
    }

    async fn yardstick(&self, scenario: GateScenario) -> anyhow::Result<f64> {
        match scenario {
            GateScenario::Warm => Ok(self.bench.probe::<ProbeReport>(&["direct", &self.direct_access]).await?.took_ms),
            GateScenario::Rewind => self.round_trips.sample().await,
            GateScenario::Stopped | GateScenario::Cold => yardstick::processor().await,
        }
    }
}
