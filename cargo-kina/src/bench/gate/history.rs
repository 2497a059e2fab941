//! Every run of the gate as a line of JSON, and the trend of them as a page.

use std::io::Write;
use std::path::{Path, PathBuf};

use anyhow::Context;
use serde_json::{Value, json};

use super::super::plot::{self, Axis, Line, Point};
use super::super::report::readable;
use super::super::statistics::Summary;
use super::recording::{Recording, Series};
use super::{GateScenario, Judgement, create};

const HISTORY: &str = "history.jsonl";
const TREND: &str = "trend.html";
/// As many runs as fit into a picture.
const RUNS_SHOWN: usize = 200;

const PAGE_STYLE: &str = "body{font:15px/1.5 system-ui,sans-serif;max-width:800px;margin:2em auto;padding:0 1em;\
    color:#1f2328;background:#fff}table{border-collapse:collapse;width:100%}td,th{border:1px solid #d1d9e0;padding:3px 8px;\
    text-align:left}svg{max-width:100%;height:auto}@media(prefers-color-scheme:dark){body{color:#e6edf3;background:#0d1117}\
    td,th{border-color:#3d444d}}";

/// Adds a run.
pub fn append(
    directory: &Path,
    recording: &Recording,
    saved: Option<&str>,
    judgement: Option<(&str, &Judgement)>,
) -> anyhow::Result<()> {
    create(directory)?;
    let line = json!({
        "taken_at": recording.taken_at,
        "saved": saved,
        "compared_with": judgement.map(|(name, _)| name),
        "slower": judgement.map(|(_, judgement)| &judgement.slower),
        "suspected": judgement.map(|(_, judgement)| &judgement.suspected),
        "provider": recording.provider,
        "kubernetes": recording.kubernetes,
        "machine": recording.machine,
        "series": recording.series.iter().map(point).collect::<Vec<_>>(),
    });
    let path = directory.join(HISTORY);
    let mut file = std::fs::OpenOptions::new()
        .create(true)
        .append(true)
        .open(&path)
        .with_context(|| format!("opening {} failed", path.display()))?;
    // In one write, so that two runs at the same time do not mix their lines.
    file.write_all(format!("{line}\n").as_bytes()).with_context(|| format!("writing {} failed", path.display()))
}

/// The part of a series that is kept.
pub fn point((name, series): (&String, &Series)) -> Value {
    let ratio = Summary::of(&series.ratios());
    json!({
        "series": name,
        "samples": ratio.as_ref().map(|summary| summary.samples),
        "ratio_p50": ratio.as_ref().map(|summary| summary.p50),
        "ratio_ci95": ratio.as_ref().and_then(|summary| summary.ci95),
        "value_p50_ms": Summary::of(&series.values()).map(|summary| summary.p50),
        "yardstick_p50_ms": Summary::of(&series.yardsticks()).map(|summary| summary.p50),
        "yardstick": series.yardstick,
    })
}

/// Draws the trend of all runs; returns its path.
pub fn draw(directory: &Path) -> anyhow::Result<PathBuf> {
    let history = directory.join(HISTORY);
    let text = std::fs::read_to_string(&history).with_context(|| format!("reading {} failed", history.display()))?;
    let path = directory.join(TREND);
    std::fs::write(&path, page(&text)?).with_context(|| format!("writing {} failed", path.display()))?;
    Ok(path)
}

/// A page that needs no other files.
fn page(history: &str) -> anyhow::Result<String> {
    let runs: Vec<Value> = history.lines().filter_map(|line| serde_json::from_str(line).ok()).collect();
    let runs = &runs[runs.len().saturating_sub(RUNS_SHOWN)..];
    let mut body = format!("<h1>kina: trend of {} runs of the gate</h1>\n", runs.len());
    body += "<p>Each value is divided by its yardstick, measured around it in the same run. Thin lines are 95 % intervals \
             of the median. Red: slower than the saved run, in a second measurement too.</p>\n";
    for scenario in [GateScenario::Warm, GateScenario::Rewind, GateScenario::Stopped, GateScenario::Cold] {
        body += &picture(scenario.name(), runs)?;
    }
    body += "<table><tr><th>run</th><th>when</th><th>what</th><th>build</th><th>load before</th><th>slower</th></tr>\n";
    for (number, run) in runs.iter().enumerate().rev() {
        let text = |value: &Value| plot::escaped(value.as_str().unwrap_or_default());
        let what = match (&run["saved"], &run["compared_with"]) {
            (Value::String(name), _) => format!("saved as {}", plot::escaped(name)),
            (_, Value::String(name)) => format!("compared with {}", plot::escaped(name)),
            _ => String::new(),
        };
        body += &format!(
            "<tr><td>{}</td><td>{}</td><td>{what}</td><td>{}</td><td>{}</td><td>{}</td></tr>\n",
            number + 1,
            text(&run["taken_at"]),
            text(&run["machine"]["build"]),
            run["machine"]["load_before"][0].as_f64().map_or(String::new(), readable),
            plot::escaped(&slower(run).join(", ")),
        );
    }
    Ok(format!(
        "<!doctype html>\n<html lang=\"en\"><head><meta charset=\"utf-8\"><title>kina: trend</title><style>{PAGE_STYLE}\
         </style></head><body>\n{body}</table>\n</body></html>\n"
    ))
}

fn picture(name: &str, runs: &[Value]) -> anyhow::Result<String> {
    let points: Vec<Point> = runs.iter().enumerate().filter_map(|(number, run)| run_point(name, number, run)).collect();
    if points.is_empty() {
        return Ok(String::new());
    }
    let line = Line { name: name.to_owned(), points, is_bare: false };
    let (x_axis, y_axis) = (Axis { title: "run", is_log: false }, Axis { title: "times the yardstick", is_log: false });
    plot::lines(name, x_axis, y_axis, &[line])
}

fn run_point(name: &str, number: usize, run: &Value) -> Option<Point> {
    let series = run["series"].as_array()?.iter().find(|series| series["series"] == name)?;
    let interval = &series["ratio_ci95"];
    let ratio = series["ratio_p50"].as_f64()?;
    Some(Point {
        x: (number + 1) as f64,
        y: ratio,
        interval: interval[0].as_f64().zip(interval[1].as_f64()).map(|(low, high)| [low, high]),
        is_alarm: slower(run).iter().any(|slower| slower == name),
        title: format!(
            "{}: {} × {} ms",
            run["taken_at"].as_str().unwrap_or_default(),
            readable(ratio),
            series["yardstick_p50_ms"].as_f64().map_or(String::new(), readable)
        ),
    })
}

fn slower(run: &Value) -> Vec<String> {
    let names = run["slower"].as_array().into_iter().flatten();
    names.filter_map(|name| name.as_str().map(str::to_owned)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_page_shows_runs_and_alarms() {
        let run = |ratio: f64, slower: &[&str]| {
            json!({
                "taken_at": "2026-01-02T03:04:05Z", "compared_with": "<main>", "slower": slower,
                "machine": {"build": "release", "load_before": [0.5, 0.4, 0.3]},
                "series": [{"series": "warm", "ratio_p50": ratio, "ratio_ci95": [ratio - 0.1, ratio + 0.1],
                            "yardstick_p50_ms": 5.0}],
            })
        };
        let text = format!("{}\nnot JSON\n{}\n", run(1.2, &[]), run(1.6, &["warm"]));
        let page = page(&text).expect("drawn");
        assert!(page.contains("trend of 2 runs") && page.contains("compared with &lt;main&gt;"), "{page}");
        assert_eq!(page.matches("fill=\"#CF222E\"").count(), 1);
        assert!(!page.contains("src="), "it needs nothing else");
    }
}
