//! The one form of all reports: the measurements, their surroundings, and their certainty.

use std::collections::BTreeMap;
use std::time::Instant;

use anyhow::Context;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::super::Format;
use super::machine_description::{self, MachineDescription, Watched};
use super::statistics::Summary;

/// Increases when a reader of an older form would misunderstand.
pub const FORM: u32 = 1;
/// Digits after the point that samples keep in files.
const DIGITS: i32 = 4;

/// The result of a scenario.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub struct Report {
    pub form: u32,
    pub scenario: String,
    /// One sentence.
    pub about: String,
    /// The provider is an emulation of the real thing, so no figure applies to that.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub simulated: bool,
    pub provider: String,
    pub kubernetes: String,
    pub taken_at: String,
    pub took_s: f64,
    pub machine: MachineDescription,
    /// Figures with names of their own beside the measurements.
    #[serde(flatten)]
    pub figures: BTreeMap<String, Value>,
    /// The first one is the subject of the scenario; its summary also stands at the top of the file.
    pub measurements: Vec<Measurement>,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub notes: Vec<String>,
}

/// Samples of one quantity, and their summary.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub struct Measurement {
    /// The name, with its unit at the end.
    pub name: String,
    /// A description in words.
    pub what: String,
    pub unit: String,
    /// Samples that were taken before and are not counted.
    pub warm_up: usize,
    #[serde(flatten)]
    pub summary: Summary,
    /// In the order in which they were taken. Empty if there are too many of them to keep.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub values: Vec<f64>,
}

/// A report that is being made.
pub struct Draft {
    report: Report,
    machine: Watched,
    start: Instant,
}

impl Draft {
    pub fn begin(scenario: &str, about: &str) -> Self {
        let report = Report {
            form: FORM,
            scenario: scenario.to_owned(),
            about: about.to_owned(),
            taken_at: jiff::Timestamp::now().strftime("%Y-%m-%dT%H:%M:%SZ").to_string(),
            ..Report::default()
        };
        Self { report, machine: machine_description::watch(), start: Instant::now() }
    }

    /// Adds samples; no samples are an error.
    pub fn add(&mut self, measurement: anyhow::Result<Measurement>) -> anyhow::Result<()> {
        self.report.measurements.push(measurement?);
        Ok(())
    }

    /// Adds a figure under a name of its own.
    pub fn figure(&mut self, name: &str, value: impl Into<Value>) {
        self.report.figures.insert(name.to_owned(), value.into());
    }

    pub fn note(&mut self, text: &str) {
        self.report.notes.push(text.to_owned());
    }

    /// Sets the subject of the measurements.
    pub fn subject(&mut self, provider: &str, kubernetes: &str, simulated: bool) {
        self.report.provider = provider.to_owned();
        self.report.kubernetes = kubernetes.to_owned();
        self.report.simulated = simulated;
    }

    pub fn finish(mut self) -> Report {
        self.report.took_s = self.start.elapsed().as_secs_f64();
        self.report.machine = self.machine.describe();
        self.report
    }
}

impl Measurement {
    /// A measurement of samples in their order.
    pub fn of(name: &str, what: &str, values: &[f64]) -> anyhow::Result<Self> {
        let summary = Summary::of(values).with_context(|| format!("no sample of {name} was taken"))?;
        let unit = name.rsplit_once('_').map_or("", |(_, unit)| unit).to_owned();
        let kept = values.iter().map(|value| rounded(*value)).collect();
        Ok(Self { name: name.to_owned(), what: what.to_owned(), unit, warm_up: 0, summary, values: kept })
    }

    /// The same of many samples, which are not kept one by one.
    pub fn of_many(name: &str, what: &str, values: &[f64]) -> anyhow::Result<Self> {
        Ok(Self { values: Vec::new(), ..Self::of(name, what, values)? })
    }

    pub fn after_warm_up(self, warm_up: usize) -> Self {
        Self { warm_up, ..self }
    }
}

impl Report {
    /// Reads a report from a file.
    pub fn from_json(value: Value) -> anyhow::Result<Self> {
        let mut report: Self = serde_json::from_value(value)?;
        anyhow::ensure!(report.form == FORM, "its form is {}, and this program knows {FORM}", report.form);
        let measurements = &report.measurements;
        let is_median = |name: &str| measurements.iter().any(|measurement| measurement.name == name);
        report.figures.retain(|name, value| !value.is_number() || !is_median(name));
        Ok(report)
    }

    /// The form of files, and of output for programs: the summary of the first measurement stands at the top as well, and
    /// the median of each under its name.
    pub fn to_json(&self) -> anyhow::Result<Value> {
        let mut whole = serde_json::to_value(self)?;
        if let Value::Object(whole) = &mut whole {
            for Measurement { name, summary, .. } in &self.measurements {
                whole.entry(name).or_insert_with(|| summary.p50.into());
            }
        }
        if let (Some(first), Value::Object(whole)) = (self.measurements.first(), &mut whole) {
            let Value::Object(summary) = serde_json::to_value(&first.summary)? else { return Ok(Value::Null) };
            whole.extend(summary);
            whole.insert("unit".to_owned(), first.unit.clone().into());
            whole.insert("measured".to_owned(), first.name.clone().into());
        }
        Ok(whole)
    }

    pub fn measurement(&self, name: &str) -> Option<&Measurement> {
        self.measurements.iter().find(|measurement| measurement.name == name)
    }

    pub fn print(&self, format: Format) -> anyhow::Result<()> {
        match format {
            Format::Json => println!("{}", serde_json::to_string(&self.to_json()?)?),
            Format::Text => print!("{}", self.table()),
        }
        Ok(())
    }

    /// The output for people.
    pub fn table(&self) -> String {
        let name_width = self.measurements.iter().map(|measurement| measurement.name.len()).max().unwrap_or(0).max(4);
        let mut text = format!("{}: {}\n", self.scenario, self.about);
        if self.simulated {
            text += "SIMULATED: the provider is an emulation, no figure says anything about the real thing\n";
        }
        text += &format!("{}\n\n", self.machine.sentence());
        let headings = ["samples", "p50", "95 % interval of p50", "mean", "p95", "p99", "max", "outliers"];
        text += &format!(
            "{:name_width$} {:>7} {:>9} {:>23} {:>9} {:>9} {:>9} {:>9} {:>8}\n",
            "", headings[0], headings[1], headings[2], headings[3], headings[4], headings[5], headings[6], headings[7],
        );
        for Measurement { name, summary, .. } in &self.measurements {
            let interval = summary
                .ci95
                .map_or("too few".to_owned(), |[low, high]| format!("{} … {}", readable(low), readable(high)));
            text += &format!(
                "{name:name_width$} {:>7} {:>9} {interval:>23} {:>9} {:>9} {:>9} {:>9} {:>8}\n",
                summary.samples,
                readable(summary.p50),
                readable(summary.mean),
                readable(summary.p95),
                readable(summary.p99),
                readable(summary.max),
                summary.outliers.low + summary.outliers.high,
            );
        }
        let names: Vec<_> = self.figures.iter().filter(|(_, value)| value.is_number() || value.is_string()).collect();
        if !names.is_empty() {
            text += "\n";
        }
        for (name, value) in names {
            let value = value.as_f64().map_or_else(|| value.to_string(), readable);
            text += &format!("{name}: {value}\n");
        }
        for note in &self.notes {
            text += &format!("note: {note}\n");
        }
        text
    }
}

/// Four significant digits, for readers.
pub fn readable(value: f64) -> String {
    let size = value.abs();
    if size == 0.0 {
        "0".to_owned()
    } else if 1000.0 <= size {
        // In groups of three.
        let digits = format!("{size:.0}");
        let mut grouped = String::new();
        for (place, digit) in digits.chars().enumerate() {
            if 0 < place && (digits.len() - place).is_multiple_of(3) {
                grouped.push(',');
            }
            grouped.push(digit);
        }
        if value < 0.0 { format!("-{grouped}") } else { grouped }
    } else {
        let decimals = (2 - size.log10().floor() as i32).clamp(0, 6) as usize;
        let text = format!("{value:.decimals$}");
        if text.contains('.') { text.trim_end_matches('0').trim_end_matches('.').to_owned() } else { text }
    }
}

fn rounded(value: f64) -> f64 {
    let scale = 10_f64.powi(DIGITS);
    (value * scale).round() / scale
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_report_is_read_as_it_was_written() {
        let mut draft = Draft::begin("warm", "a test");
        draft.add(Measurement::of("warm_ms", "waiting", &[3.0, 1.0, 2.0])).expect("samples");
        draft.figure("boots", 2);
        draft.subject("process", "v1.37.1", false);
        assert!(draft.add(Measurement::of("cold_ms", "nothing", &[])).is_err());
        let report = draft.finish();
        let json = report.to_json().expect("JSON");
        assert_eq!(
            (json["p50"].as_f64(), json["unit"].as_str(), json["boots"].as_u64()),
            (Some(2.0), Some("ms"), Some(2))
        );
        assert_eq!(json["warm_ms"].as_f64(), Some(2.0), "the median, under its name");
        assert!(json["ci95"].is_null(), "three samples cannot tell");
        let read = Report::from_json(json).expect("a report");
        let values = read.measurement("warm_ms").map(|measurement| measurement.values.clone());
        assert_eq!(values, Some(vec![3.0, 1.0, 2.0]));
        assert!(!read.figures.contains_key("warm_ms"), "it is a measurement");
        assert!(read.table().contains("warm_ms"));
        assert!(Report::from_json(serde_json::json!({"scenario": "other"})).is_err());
    }

    #[test]
    fn numbers_are_readable() {
        let numbers = [0.0, 0.012_345, 1.0, 6.747, 50.44, 123.4, 1_234_567.8, -1500.0];
        let texts = ["0", "0.0123", "1", "6.75", "50.4", "123", "1,234,568", "-1,500"];
        assert_eq!(numbers.map(readable), texts);
    }
}
