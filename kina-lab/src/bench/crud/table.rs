//! The result for people.

use std::fmt::Write;

use super::Report;

/// Three tables.
pub(super) fn render(report: &Report) -> String {
    let mut text = String::new();
    // Writing to a string cannot fail.
    let _ = write(report, &mut text);
    text
}

fn write(report: &Report, text: &mut String) -> std::fmt::Result {
    let simulated = if report.simulated { ", SIMULATED" } else { "" };
    let Report { kubernetes, engine_profile, resource_bytes, .. } = report;
    writeln!(
        text,
        "Kubernetes {kubernetes}, {engine_profile} engine{simulated}, ConfigMaps of {resource_bytes} bytes\n"
    )?;
    writeln!(
        text,
        "{:>9} {:>7}  {:12} {:>8} {:>9} {:>9} {:>9}  {:>12} {:>11}",
        "resources", "workers", "verb", "ops/s", "p50 ms", "p95 ms", "p99 ms", "cpu ms/op", "answer kB"
    )?;
    for row in &report.rows {
        let verb = if row.compression { format!("{} (gzip)", row.verb) } else { row.verb.clone() };
        let or_dash = |value: Option<f64>| value.map_or_else(|| "-".to_owned(), |value| format!("{value:.2}"));
        writeln!(
            text,
            "{:>9} {:>7}  {verb:12} {:>8.0} {:>9.2} {:>9.2} {:>9.2}  {:>12} {:>11}",
            row.resources,
            row.workers,
            row.ops_per_second,
            row.p50_ms,
            row.p95_ms,
            row.p99_ms,
            or_dash(row.processor.map(|processor| processor.sum_ms())),
            or_dash(row.answer_kb),
        )?;
    }
    writeln!(text, "\nfrom an update to its event at a watcher")?;
    writeln!(
        text,
        "{:>9} {:>7} {:>9} {:>9} {:>9} {:>9}",
        "resources", "workers", "events", "p50 ms", "p95 ms", "p99 ms"
    )?;
    for watch in &report.watches {
        writeln!(
            text,
            "{:>9} {:>7} {:>9} {:>9.2} {:>9.2} {:>9.2}",
            watch.resources, watch.workers, watch.events, watch.p50_ms, watch.p95_ms, watch.p99_ms
        )?;
    }
    writeln!(text, "\nmemory of the cluster")?;
    writeln!(
        text,
        "{:>9} {:>9} {:>12} {:>15} {:>9} {:>10}",
        "resources", "base MB", "populated MB", "kB per resource", "end MB", "engine MB"
    )?;
    for memory in &report.memory {
        writeln!(
            text,
            "{:>9} {:>9.0} {:>12.0} {:>15.1} {:>9.0} {:>10.0}",
            memory.resources,
            memory.base_mb,
            memory.populated_mb,
            memory.kb_per_resource,
            memory.end_mb,
            memory.engine_rss_mb
        )?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::super::{Memory, Row, Watch};
    use super::*;

    #[test]
    fn every_row_has_its_line_and_unknown_values_a_dash() {
        let row = |verb: &str, compression| Row {
            verb: verb.to_owned(),
            resources: 100,
            workers: 2,
            compression,
            operations: 10,
            ops_per_second: 123.4,
            p50_ms: 1.0,
            p95_ms: 2.0,
            p99_ms: 3.0,
            answer_kb: compression.then_some(7.5),
            processor: None,
        };
        let report = Report {
            simulated: true,
            resource_bytes: 1024,
            rows: vec![row("create", false), row("list", true)],
            watches: vec![Watch { resources: 100, workers: 2, events: 10, p50_ms: 4.0, p95_ms: 5.0, p99_ms: 6.0 }],
            memory: vec![Memory { resources: 100, base_mb: 200.0, kb_per_resource: 12.3, ..Memory::default() }],
            engine_profile: "debug".to_owned(),
            kubernetes: "v1.37.1".to_owned(),
        };
        let text = render(&report);
        let fields = |start: &str| -> Vec<String> {
            let line = text.lines().find(|line| line.contains(start)).expect("a line");
            line.split_whitespace().map(ToOwned::to_owned).collect()
        };
        assert_eq!(fields("create"), ["100", "2", "create", "123", "1.00", "2.00", "3.00", "-", "-"]);
        assert_eq!(fields("(gzip)")[9], "7.50");
        assert!(text.contains("SIMULATED"));
        assert!(text.contains("12.3") && text.contains("4.00"));
    }
}
