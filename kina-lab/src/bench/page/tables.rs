//! Tables of reports of any form.

use serde_json::{Map, Value};

use super::super::report::{Measurement, Report, readable};

/// A p95 or a p99 of fewer samples would be their largest.
const SAMPLES_FOR_P95: usize = 20;
const SAMPLES_FOR_P99: usize = 100;
/// Wider tables cannot be read.
const COLUMNS_MAX: usize = 15;
/// Columns that identify a row, in their order; the others follow as they are.
const KEYS: [&str; 11] = [
    "name",
    "phase",
    "verb",
    "resources",
    "objects",
    "clusters",
    "workers",
    "compression",
    "leases",
    "failures",
    "strangers",
];

/// The measurements, a row for each.
pub(super) fn measurements(report: &Report) -> String {
    let mut text = "| | unit | samples | p50 | 95 % interval | mean | p95 | p99 | max | outliers |\n\
                    |---|---|---|---|---|---|---|---|---|---|\n"
        .to_owned();
    for Measurement { name, what, unit, summary, .. } in &report.measurements {
        let enough = |needed: usize, value: f64| {
            if needed <= summary.samples { readable(value) } else { "–".to_owned() }
        };
        text += &format!(
            "| `{name}`: {what} | {unit} | {} | {} | {} | {} | {} | {} | {} | {} |\n",
            summary.samples,
            readable(summary.p50),
            summary.ci95.map_or("–".to_owned(), |[low, high]| format!("{} … {}", readable(low), readable(high))),
            readable(summary.mean),
            enough(SAMPLES_FOR_P95, summary.p95),
            enough(SAMPLES_FOR_P99, summary.p99),
            readable(summary.max),
            summary.outliers.low + summary.outliers.high,
        );
    }
    text
}

/// The values of a report beside its measurements: plain ones in one table, and each list of objects in a table of its
/// own. Fields of the common form have their place elsewhere.
pub(super) fn figures(whole: &Value, has_measurements: bool) -> String {
    const ELSEWHERE: [&str; 24] = [
        "about",
        "ci95",
        "form",
        "kubernetes",
        "machine",
        "max",
        "mean",
        "measured",
        "measurements",
        "min",
        "notes",
        "outliers",
        "p50",
        "p95",
        "p99",
        "provider",
        "samples",
        "scenario",
        "simulated",
        "standard_deviation",
        "taken_at",
        "took_s",
        "unit",
        "engine_profile",
    ];
    let Some(fields) = whole.as_object() else { return String::new() };
    // The median of a measurement is in the measurements' own table.
    let is_median = |name: &str| {
        let mut measurements = whole["measurements"].as_array().into_iter().flatten();
        whole[name].is_number() && measurements.any(|measurement| measurement["name"] == name)
    };
    let is_own = |name: &str| {
        // A report of another form has no measurements, only its fields.
        (!ELSEWHERE.contains(&name) && !is_median(name))
            || (!has_measurements && matches!(name, "samples" | "unit" | "mean"))
    };
    let own: Map<String, Value> =
        fields.iter().filter(|(name, _)| is_own(name)).map(|(name, value)| (name.clone(), value.clone())).collect();
    let mut flat = Vec::new();
    flatten("", &Value::Object(own.clone()), &mut flat);
    let mut text = String::new();
    if !flat.is_empty() {
        text += "\n| | |\n|---|---|\n";
        for (name, value) in flat {
            text += &format!("| `{name}` | {value} |\n");
        }
    }
    for (name, value) in &own {
        text += &rows(name, value);
    }
    text
}

/// A list of objects as a table.
fn rows(name: &str, value: &Value) -> String {
    let rows: Vec<Vec<(String, String)>> = value
        .as_array()
        .into_iter()
        .flatten()
        .filter(|row| row.is_object())
        .map(|row| {
            let mut cells = Vec::new();
            flatten("", row, &mut cells);
            cells
        })
        .collect();
    let mut columns: Vec<&str> = Vec::new();
    for (column, _) in rows.iter().flatten() {
        if !columns.contains(&column.as_str()) {
            columns.push(column);
        }
    }
    if columns.is_empty() {
        return String::new();
    }
    columns.sort_by_key(|column| KEYS.iter().position(|key| key == column).unwrap_or(KEYS.len()));
    columns.truncate(COLUMNS_MAX);
    let mut text = format!("\n`{name}`:\n\n| {} |\n|{}\n", columns.join(" | "), "---|".repeat(columns.len()));
    for row in &rows {
        let cell =
            |column: &&str| row.iter().find(|(name, _)| name == column).map_or("–", |(_, value)| value.as_str());
        text += &format!("| {} |\n", columns.iter().map(cell).collect::<Vec<_>>().join(" | "));
    }
    text
}

/// Plain values by their paths; lists are left out.
fn flatten(path: &str, value: &Value, flat: &mut Vec<(String, String)>) {
    match value {
        Value::Object(fields) => {
            for (name, value) in fields {
                let path = if path.is_empty() { name.clone() } else { format!("{path}.{name}") };
                flatten(&path, value, flat);
            }
        }
        Value::Number(number) => flat.push((path.to_owned(), number.as_f64().map_or(number.to_string(), readable))),
        Value::String(text) => flat.push((path.to_owned(), plain(text))),
        Value::Bool(truth) => flat.push((path.to_owned(), if *truth { "yes" } else { "no" }.to_owned())),
        Value::Null | Value::Array(_) => {}
    }
}

/// Text with the markup of tables escaped.
pub(super) fn plain(text: &str) -> String {
    text.replace('|', "\\|").replace('\n', " ")
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn what_a_row_is_about_comes_first() {
        let rows = json!({"rows": [{"answer_kb": 2, "p50_ms": 1.5, "verb": "list", "workers": 4}, {"verb": "read"}]});
        let table = figures(&rows, false);
        assert!(table.contains("| verb | workers | answer_kb | p50_ms |"), "{table}");
        assert!(table.contains("| list | 4 | 2 | 1.5 |\n| read | – | – | – |"), "{table}");
    }
}
