//! The files that the page is made from: one for each scenario, as its command printed it.

use std::collections::BTreeMap;
use std::path::Path;

use anyhow::Context;
use serde_json::Value;

use super::super::report::Report;

/// All files of a page.
#[derive(Debug, Default)]
pub(super) struct Data {
    scenarios: BTreeMap<String, Value>,
    /// Written remarks about budgets that are not met: a sentence by the budget's name.
    pub(super) remarks: BTreeMap<String, String>,
}

/// A value with its details.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Found {
    pub(super) value: f64,
    pub(super) ci95: Option<[f64; 2]>,
    pub(super) samples: Option<u64>,
}

impl Data {
    /// Reads the files of these scenarios, if they exist.
    pub(super) fn read(directory: &Path, names: &[&str]) -> anyhow::Result<Self> {
        let mut data = Self::default();
        for name in names {
            let path = directory.join(format!("{name}.json"));
            if let Ok(text) = std::fs::read_to_string(&path) {
                let value =
                    serde_json::from_str(&text).with_context(|| format!("{} cannot be understood", path.display()))?;
                data.scenarios.insert((*name).to_owned(), value);
            }
        }
        let path = directory.join("remarks.json");
        if let Ok(text) = std::fs::read_to_string(&path) {
            data.remarks =
                serde_json::from_str(&text).with_context(|| format!("{} cannot be understood", path.display()))?;
        }
        Ok(data)
    }

    #[cfg(test)]
    pub(super) fn of(scenarios: &[(&str, Value)]) -> Self {
        let scenarios = scenarios.iter().map(|(name, value)| ((*name).to_owned(), value.clone())).collect();
        Self { scenarios, remarks: BTreeMap::new() }
    }

    /// The output of a scenario, if it was measured.
    pub(super) fn scenario(&self, name: &str) -> Option<&Value> {
        self.scenarios.get(name).filter(|value| value.get("not_measured").is_none())
    }

    /// The same in the one form of all reports, if it has that form.
    pub(super) fn report(&self, name: &str) -> Option<Report> {
        Report::from_json(self.scenario(name)?.clone()).ok()
    }

    /// The reason for which a scenario was not measured.
    pub(super) fn why_not_measured(&self, name: &str) -> Option<String> {
        match self.scenarios.get(name) {
            None => Some("it was not run".to_owned()),
            Some(value) => value.get("not_measured").map(|reason| reason.as_str().unwrap_or_default().to_owned()),
        }
    }

    /// A value of a scenario. `what` is a measurement with one of its statistics (`warm_ms.p99`), or else the path of a
    /// figure (`create_ms.value`).
    pub(super) fn find(&self, scenario: &str, what: &str) -> Option<Found> {
        let whole = self.scenario(scenario)?;
        if let Some((name, statistic)) = what.rsplit_once('.')
            && let Some(measurement) =
                whole["measurements"].as_array().into_iter().flatten().find(|measurement| measurement["name"] == name)
        {
            let ci95 = &measurement["ci95"];
            return Some(Found {
                value: measurement[statistic].as_f64()?,
                ci95: if statistic == "p50" {
                    ci95[0].as_f64().zip(ci95[1].as_f64()).map(|(low, high)| [low, high])
                } else {
                    None
                },
                samples: measurement["samples"].as_u64(),
            });
        }
        let value = what.split('.').try_fold(whole, |value, key| value.get(key))?.as_f64()?;
        Some(Found { value, ci95: None, samples: None })
    }
}

/// JSON that is readable and easy to compare: a line for each field, and lists of plain values on one line.
pub(super) fn pretty(value: &Value) -> String {
    let mut text = String::new();
    put(&mut text, value, 0);
    text.push('\n');
    text
}

fn put(text: &mut String, value: &Value, depth: usize) {
    let begin_line = |text: &mut String, depth: usize| {
        text.push('\n');
        text.push_str(&"  ".repeat(depth));
    };
    match value {
        Value::Object(fields) if !fields.is_empty() => {
            text.push('{');
            for (number, (name, value)) in fields.iter().enumerate() {
                text.push_str(if number == 0 { "" } else { "," });
                begin_line(text, depth + 1);
                text.push_str(&Value::from(name.as_str()).to_string());
                text.push_str(": ");
                put(text, value, depth + 1);
            }
            begin_line(text, depth);
            text.push('}');
        }
        Value::Array(values) if values.iter().any(|value| value.is_object() || value.is_array()) => {
            text.push('[');
            for (number, value) in values.iter().enumerate() {
                text.push_str(if number == 0 { "" } else { "," });
                begin_line(text, depth + 1);
                put(text, value, depth + 1);
            }
            begin_line(text, depth);
            text.push(']');
        }
        plain => text.push_str(&plain.to_string()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn values_are_found_among_measurements_and_figures() {
        let measurement = json!({"name": "warm_ms", "p50": 5.0, "p99": 9.0, "samples": 300, "ci95": [4.9, 5.1]});
        let warm = json!({"measurements": [measurement], "create_ms": {"value": 7.0}, "boots": 2});
        let data = Data::of(&[("warm", warm), ("crud", json!({"not_measured": "no time"}))]);
        let found = Found { value: 5.0, ci95: Some([4.9, 5.1]), samples: Some(300) };
        assert_eq!(data.find("warm", "warm_ms.p50"), Some(found));
        assert_eq!(data.find("warm", "warm_ms.p99").map(|found| (found.value, found.ci95)), Some((9.0, None)));
        assert_eq!(data.find("warm", "create_ms.value").map(|found| found.value), Some(7.0));
        assert_eq!(data.find("warm", "boots").map(|found| found.value), Some(2.0));
        assert_eq!(data.find("warm", "cold_ms.p50"), None);
        assert_eq!(data.find("crud", "boots"), None);
        assert_eq!(data.why_not_measured("crud"), Some("no time".to_owned()));
        assert_eq!(data.why_not_measured("scale"), Some("it was not run".to_owned()));
        assert_eq!(data.why_not_measured("warm"), None);
    }

    #[test]
    fn json_is_readable_and_the_same() {
        let value = json!({"a": [1.5, 2], "b": [{"c": null}], "d": {}, "e": "\"quoted\""});
        let text = pretty(&value);
        assert!(text.contains("\"a\": [1.5,2]"), "{text}");
        assert_eq!(serde_json::from_str::<Value>(&text).expect("JSON"), value);
    }
}
