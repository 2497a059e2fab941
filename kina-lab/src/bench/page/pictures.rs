//! The pictures of the page, from its data.

use super::super::plot::{self, Axis, Bar, Line, Point};
use super::super::report::{Measurement, readable};
use super::budgets::BUDGETS;
use super::data::Data;

/// Names and pictures; scenarios without a measurement are not drawn.
pub(super) fn draw(data: &Data) -> anyhow::Result<Vec<(String, String)>> {
    let pictures = [
        ("ways", ways(data)),
        ("warm", warm(data)),
        ("rewind", rewind(data)),
        ("fixtures", fixtures(data)),
        ("crud", crud(data)),
        ("budgets", budgets(data)),
    ];
    let drawn = pictures.into_iter().filter_map(|(name, picture)| Some((name, picture?)));
    drawn.map(|(name, picture)| Ok((name.to_owned(), picture?))).collect()
}

/// Sources of a cluster.
fn ways(data: &Data) -> Option<anyhow::Result<String>> {
    let ways = [
        ("straight to a running cluster", "warm", "direct_ms"),
        ("warm: a cluster is ready", "warm", "warm_ms"),
        ("frozen", "frozen", "frozen_ms"),
        ("stopped", "stopped", "stopped_ms"),
        ("cold: no engine runs", "cold", "cold_ms"),
        ("envtest's recipe, same binaries", "cold", "envtest_recipe_ms"),
    ];
    let bars: Vec<Bar> = ways
        .iter()
        .filter_map(|(label, scenario, name)| bar(label, data.report(scenario)?.measurement(name)?))
        .collect();
    let title = "A test process, from its first line to the answer of its first list";
    (2 <= bars.len()).then(|| plot::bars(title, "ms, median, logarithmic", &bars, true))
}

fn warm(data: &Data) -> Option<anyhow::Result<String>> {
    let report = data.report("warm")?;
    let (warm, direct) = (report.measurement("warm_ms")?, report.measurement("direct_ms")?);
    let samples = [("warm lease", warm.values.as_slice()), ("straight to a running cluster", direct.values.as_slice())];
    let title = format!("All {} warm leases, beside the same client without kina", warm.summary.samples);
    Some(plot::distributions(&title, "ms, logarithmic", &samples))
}

fn rewind(data: &Data) -> Option<anyhow::Result<String>> {
    let report = data.report("rewind")?;
    let points: Vec<Point> = report
        .measurements
        .iter()
        .filter_map(|measurement| {
            let objects: f64 = measurement.name.strip_prefix("release_")?.strip_suffix("_ms")?.parse().ok()?;
            let summary = &measurement.summary;
            Some(Point {
                x: objects,
                y: summary.p50,
                interval: Some(summary.ci95.unwrap_or([summary.min, summary.max])),
                is_alarm: false,
                title: format!("{}: {} ms, {} samples", measurement.what, readable(summary.p50), summary.samples),
            })
        })
        .collect();
    if points.len() < 2 {
        return None;
    }
    let line = Line { name: "median".to_owned(), points, is_bare: false };
    let x_axis = Axis { title: "ConfigMaps that the lease made, logarithmic", is_log: true };
    let y_axis = Axis { title: "ms, logarithmic", is_log: true };
    Some(plot::lines("From the end of a lease until its cluster is pristine and ready", x_axis, y_axis, &[line]))
}

fn fixtures(data: &Data) -> Option<anyhow::Result<String>> {
    let report = data.report("fixtures")?;
    let rows = [
        ("CRD to first object", "crd_to_first_object_ms"),
        ("the same, left as the server made it", "crd_to_first_object_plain_ms"),
        ("apply 10 objects", "apply_10_ms"),
        ("apply 100 objects", "apply_100_ms"),
        ("apply 1,000 objects", "apply_1000_ms"),
        ("100 objects from a template", "template_100_ms"),
    ];
    let bars: Vec<Bar> = rows.iter().filter_map(|(label, name)| bar(label, report.measurement(name)?)).collect();
    (!bars.is_empty()).then(|| plot::bars("Fixtures into a cluster", "ms, median, logarithmic", &bars, true))
}

/// Operations of a cluster a second, by the number of workers, among the middle number of resources.
fn crud(data: &Data) -> Option<anyhow::Result<String>> {
    let rows = data.scenario("crud")?["rows"].as_array()?;
    let mut sizes: Vec<u64> = rows.iter().filter_map(|row| row["resources"].as_u64()).collect();
    sizes.sort_unstable();
    sizes.dedup();
    let resources = *sizes.get(sizes.len() / 2)?;
    let verbs = ["create", "read", "update", "delete", "list"];
    let lines: Vec<Line> = verbs
        .iter()
        .map(|verb| {
            let of_verb = rows
                .iter()
                .filter(|row| row["verb"] == *verb && row["resources"] == resources && row["compression"] == false);
            let points = of_verb.filter_map(|row| {
                let (workers, per_second) = (row["workers"].as_f64()?, row["ops_per_second"].as_f64()?);
                let median_ms = readable(row["p50_ms"].as_f64()?);
                let title = format!("{verb}, {workers} workers: {} a second, {median_ms} ms", readable(per_second));
                Some(Point { x: workers, y: per_second, interval: None, is_alarm: false, title })
            });
            Line { name: (*verb).to_owned(), points: points.collect(), is_bare: false }
        })
        .filter(|line| 2 <= line.points.len())
        .collect();
    if lines.is_empty() {
        return None;
    }
    let x_axis = Axis { title: "workers, logarithmic", is_log: true };
    let y_axis = Axis { title: "requests a second, logarithmic", is_log: true };
    let title = format!("Requests to a leased cluster with {} ConfigMaps", readable(resources as f64));
    Some(plot::lines(&title, x_axis, y_axis, &lines))
}

fn budgets(data: &Data) -> Option<anyhow::Result<String>> {
    let bars: Vec<Bar> = BUDGETS
        .iter()
        .filter_map(|budget| {
            let value = budget.used_percent(data)?;
            Some(Bar { label: budget.name.replace('_', " "), value, interval: None, limit: Some(100.0) })
        })
        .collect();
    (!bars.is_empty()).then(|| plot::bars("How much of each budget is used up", "% of the budget", &bars, false))
}

fn bar(label: &str, measurement: &Measurement) -> Option<Bar> {
    let summary = &measurement.summary;
    (0.0 < summary.p50).then(|| Bar {
        label: label.to_owned(),
        value: summary.p50,
        interval: summary.ci95,
        limit: None,
    })
}
