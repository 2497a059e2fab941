//! One measurement of the gate in its saved form: samples, and the yardstick that was measured around each of them.

use std::collections::BTreeMap;
use std::path::Path;

use anyhow::{Context, bail};
use serde::{Deserialize, Serialize};

use crate::situation::UserError;

use super::super::machine_description::MachineDescription;
use super::super::statistics::median;

/// Increases when a reader of an older form would misunderstand.
pub const FORM: u32 = 1;

/// A run of the gate.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Recording {
    pub form: u32,
    pub taken_at: String,
    pub provider: String,
    pub kubernetes: String,
    pub machine: MachineDescription,
    pub series: BTreeMap<String, Series>,
}

/// Samples of one scenario.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub struct Series {
    pub unit: String,
    /// The name of the yardstick.
    pub yardstick: String,
    pub rounds: Vec<Round>,
}

/// Samples that were taken one after the other.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub struct Round {
    pub values: Vec<f64>,
    /// One before each value, and one after the last.
    pub yardsticks: Vec<f64>,
}

impl Recording {
    /// Loads the recording with this name.
    pub fn load(path: &Path) -> anyhow::Result<Self> {
        let text = std::fs::read_to_string(path).map_err(|error| {
            UserError(format!(
                "reading {} failed ({error}): measure it first, with `cargo kina bench --save NAME`",
                path.display()
            ))
        })?;
        let recording: Self = serde_json::from_str(&text)
            .with_context(|| format!("{} is not a recording of the gate", path.display()))?;
        if recording.form != FORM {
            bail!("{} has form {}, this program knows {FORM}: save anew", path.display(), recording.form);
        }
        Ok(recording)
    }

    pub fn save(&self, path: &Path) -> anyhow::Result<()> {
        if let Some(directory) = path.parent() {
            std::fs::create_dir_all(directory).with_context(|| format!("making {} failed", directory.display()))?;
        }
        let text = format!("{}\n", serde_json::to_string(self)?);
        std::fs::write(path, text).with_context(|| format!("writing {} failed", path.display()))
    }

    /// The reason for which two recordings cannot be compared, if there is one.
    pub fn why_not_comparable(&self, other: &Self) -> Option<String> {
        let differences = [
            ("build", &self.machine.build, &other.machine.build),
            ("provider", &self.provider, &other.provider),
            ("Kubernetes", &self.kubernetes, &other.kubernetes),
            ("architecture", &self.machine.architecture, &other.machine.architecture),
        ];
        let (what, one, another) = differences.into_iter().find(|(_, one, another)| one != another)?;
        Some(format!("the {what} differs: {one} when it was saved, {another} now"))
    }

    /// Appends the rounds of another run.
    pub fn append(&mut self, other: Self) {
        for (name, series) in other.series {
            let own = self.series.entry(name).or_default();
            own.unit = series.unit;
            own.yardstick = series.yardstick;
            own.rounds.extend(series.rounds);
        }
    }
}

impl Series {
    /// Each value, divided by the yardstick around it.
    pub fn ratios(&self) -> Vec<f64> {
        self.rounds.iter().flat_map(Round::ratios).collect()
    }

    pub fn values(&self) -> Vec<f64> {
        self.rounds.iter().flat_map(|round| round.values.iter().copied()).collect()
    }

    pub fn yardsticks(&self) -> Vec<f64> {
        self.rounds.iter().flat_map(|round| round.yardsticks.iter().copied()).collect()
    }
}

impl Round {
    /// A single yardstick is as noisy as a value. So each value is divided by the median of those near it, two before
    /// and two after, which still follows the load of the machine.
    fn ratios(&self) -> Vec<f64> {
        let near = |index: usize| {
            let range = index.saturating_sub(1)..(index + 3).min(self.yardsticks.len());
            self.yardsticks.get(range).and_then(median)
        };
        let pairs = self.values.iter().enumerate().filter_map(|(index, value)| Some((value, near(index)?)));
        pairs.map(|(value, yardstick)| value / yardstick).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_are_divided_by_the_yardsticks_around_them() {
        // The machine becomes four times slower in between.
        let round = Round {
            values: vec![10.0, 10.0, 25.0, 40.0, 40.0, 40.0],
            yardsticks: vec![1.0, 1.0, 1.0, 4.0, 4.0, 4.0, 4.0],
        };
        assert_eq!(round.ratios(), [10.0; 6]);
        assert_eq!(Round::default().ratios(), Vec::<f64>::new());
    }
}
