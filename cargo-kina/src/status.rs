//! `cargo kina status`

use clap::Args;
use kina_engine::{ClientStatus, EngineClient, NamespaceStatus, SlotStatus, Status};

use super::output::{Format, Paint, Style, bytes_text, duration_text, print_json, print_lines};
use super::situation::Situation;
use super::table::{Cell, Table};

/// The text if no engine runs.
pub(super) const NO_ENGINE: &str = "no engine is running; the first test starts it";
/// Limit of the waiting clients named in one line.
const WAITERS_NAMED_MAX: usize = 3;

/// Show the engine and its clusters: state, memory, and the test that holds each
#[derive(Clone, Debug, Args)]
pub struct StatusArguments {
    /// Output format
    #[arg(long, value_enum, default_value_t)]
    format: Format,
    /// Measure memory now (`pss_bytes` in JSON), which takes a while; by default, show the last measurement
    /// (`memory_bytes`)
    #[arg(long)]
    measure_memory: bool,
}

/// A cluster's processor use, if known: in percent of one processor.
pub(super) type ProcessorUse<'a> = &'a dyn Fn(&SlotStatus) -> Option<f64>;

/// Runs the command.
pub(super) async fn run(situation: &Situation, arguments: &StatusArguments) -> anyhow::Result<()> {
    match arguments.format {
        Format::Json => print_json(&situation.client()?.status(arguments.measure_memory).await?),
        Format::Text => print_measured(&situation.clients()?, arguments.measure_memory).await,
    }
}

/// Prints the state of the running engines as text.
pub(super) async fn print(engines: &[EngineClient]) -> anyhow::Result<()> {
    print_measured(engines, false).await
}

async fn print_measured(engines: &[EngineClient], with_memory: bool) -> anyhow::Result<()> {
    let mut lines = Vec::new();
    for engine in engines {
        if let Some(status) = engine.status(with_memory).await? {
            lines.extend(engine_lines(&status, Style::of_stdout(), None, None));
        }
    }
    if lines.is_empty() {
        lines.push(NO_ENGINE.to_owned());
    }
    print_lines(lines)
}

/// The text for one engine.
pub(super) fn engine_lines(
    status: &Status,
    style: Style,
    width_max: Option<usize>,
    processor_use: Option<ProcessorUse<'_>>,
) -> Vec<String> {
    let mut lines = head_lines(status, style);
    lines.extend(cluster_table(status, processor_use).lines(style, width_max));
    lines.extend(waiting_line(status));
    if let Some(width_max) = width_max {
        // Only the table has colours, and it keeps within the width; the heading is short.
        lines.iter_mut().filter(|line| !line.contains('\x1b')).for_each(|line| {
            *line = line.chars().take(width_max).collect();
        });
    }
    lines
}

fn head_lines(status: &Status, style: Style) -> Vec<String> {
    let Status { version, engine_profile, process_id, counters, high_water, .. } = status;
    let simulated = if status.simulated { ", an emulation" } else { "" };
    let mut lines = vec![
        style.paint(Paint::Heading, &format!("engine {version} ({engine_profile}) of {}{simulated}", status.provider)),
        format!("process {process_id}, up {}, log {}", duration_text(status.uptime_ms), status.log.display()),
        format!(
            "{} of {} clusters; so far {} leases, {} rewinds, {} boots, {} starts, {} broken",
            status.slots.len(),
            high_water.slots_max,
            counters.leases,
            counters.rewinds,
            counters.boots,
            counters.starts,
            counters.broken,
        ),
    ];
    if !status.sabotage.is_empty() {
        let text = format!("SABOTAGED on purpose, do not trust it: {}", status.sabotage.join(", "));
        lines.push(style.paint(Paint::Bad, &text));
    }
    lines
}

fn cluster_table(status: &Status, processor_use: Option<ProcessorUse<'_>>) -> Table {
    let mut headings = vec!["CLUSTER", "STATE", "KUBERNETES", "UP", "MEMORY"];
    if processor_use.is_some() {
        headings.push("CPU");
    }
    headings.extend(["LEASES", "WHOSE"]);
    let mut table = Table::new(&headings);
    for slot in &status.slots {
        let name = slot.cluster.clone().unwrap_or_else(|| format!("slot {}", slot.slot));
        let memory_bytes = if slot.pss_bytes == 0 { slot.memory_bytes } else { slot.pss_bytes };
        let is_running = slot.uptime_ms != 0;
        let or_dash = |is_known: bool, text: String| if is_known { text } else { "-".to_owned() };
        let mut row = vec![
            Cell::text(name),
            Cell::painted(&slot.state, paint_of(&slot.state)),
            Cell::text(slot.kubernetes.as_deref().unwrap_or("-")),
            Cell::number(or_dash(is_running, duration_text(slot.uptime_ms))),
            Cell::number(or_dash(is_running && memory_bytes != 0, bytes_text(memory_bytes))),
        ];
        if let Some(processor_use) = processor_use {
            let percent = processor_use(slot);
            row.push(Cell::number(percent.map_or_else(|| "-".to_owned(), |percent| format!("{percent:.0} %"))));
        }
        row.extend([Cell::number(slot.leases.to_string()), Cell::text(whose(slot))]);
        table.push(row);
        for NamespaceStatus { namespace, lease } in &slot.namespaces {
            let mut row = vec![Cell::text(format!("  {namespace}")), Cell::painted("leased", paint_of("leased"))];
            row.extend(headings[2..headings.len() - 1].iter().map(|_| Cell::text("")));
            row.push(Cell::text(lease.holder.as_ref().map(holder_text).unwrap_or_default()));
            table.push(row);
        }
    }
    table
}

/// The test that holds the slot.
fn whose(slot: &SlotStatus) -> String {
    match (&slot.lease, slot.namespaces.len()) {
        (Some(lease), 0) => match &lease.holder {
            Some(holder) => holder_text(holder),
            None => "kina itself".to_owned(),
        },
        (_, 0) => String::new(),
        (_, 1) => "1 namespace".to_owned(),
        (_, count) => format!("{count} namespaces"),
    }
}

fn holder_text(holder: &ClientStatus) -> String {
    format!("{}, process {}, for {}", holder.test, holder.process_id, duration_text(holder.duration_ms))
}

fn waiting_line(status: &Status) -> Option<String> {
    if status.waiting == 0 {
        return None;
    }
    let named = status.waiters.iter().take(WAITERS_NAMED_MAX);
    let mut names: Vec<_> =
        named.map(|waiter| format!("{} ({})", waiter.test, duration_text(waiter.duration_ms))).collect();
    if names.len() < status.waiting {
        names.push("…".to_owned());
    }
    Some(format!("{} waiting: {}", status.waiting, names.join(", ")))
}

fn paint_of(state: &str) -> Paint {
    match state {
        "ready" => Paint::Good,
        "leased" => Paint::Heading,
        "frozen" => Paint::Cold,
        "stopped" => Paint::Faint,
        "broken" => Paint::Bad,
        _ => Paint::Busy,
    }
}

#[cfg(test)]
pub(super) mod tests {
    use serde_json::json;

    use super::*;
    use kina_engine::lab::protocol::{Counters, HighWater, Traffic};

    /// An engine with three clusters.
    pub fn status() -> Status {
        let slot = |slot: u64, state: &str, uptime_ms: u64, lease: serde_json::Value| {
            json!({
                "slot": slot, "state": state, "cluster": format!("cluster-7-{slot}"), "kubernetes": "v1.37.1",
                "process_ids": [], "pss_bytes": 0, "memory_bytes": 270_000_000, "database_bytes": 0,
                "uptime_ms": uptime_ms, "leases": 3 * slot, "lease": lease,
            })
        };
        let holder = json!({"test": "operator::scales", "process_id": 4711, "duration_ms": 1200});
        let lease = json!({"lease": 9, "network": "normal", "traffic": Traffic::default(), "holder": holder});
        serde_json::from_value(json!({
            "version": "0.1.0+abc", "engine_profile": "release", "provider": "process", "process_id": 7,
            "log": "/logs/engine.log", "uptime_ms": 61_000, "engine_rss_bytes": 0, "waiting": 4,
            "waiters": [{"test": "a", "process_id": 1, "duration_ms": 30}],
            "slots": [slot(1, "leased", 60_000, lease), slot(2, "frozen", 30_000, json!(null)), slot(3, "stopped", 0, json!(null))],
            "counters": Counters { leases: 9, ..Counters::default() },
            "high_water": HighWater { slots_max: 4, ..HighWater::default() },
            "traffic": Traffic::default(), "releases": [],
        }))
        .expect("a status")
    }

    #[test]
    fn each_cluster_is_shown_with_its_holder() {
        let lines = engine_lines(&status(), Style::PLAIN, None, None);
        assert_eq!(
            lines,
            [
                "engine 0.1.0+abc (release) of process",
                "process 7, up 1 min 1 s, log /logs/engine.log",
                "3 of 4 clusters; so far 9 leases, 0 rewinds, 0 boots, 0 starts, 0 broken",
                "CLUSTER      STATE    KUBERNETES         UP  MEMORY  LEASES  WHOSE",
                "cluster-7-1  leased   v1.37.1     1 min 0 s  270 MB       3  operator::scales, process 4711, for 1.2 s",
                "cluster-7-2  frozen   v1.37.1          30 s  270 MB       6",
                "cluster-7-3  stopped  v1.37.1             -       -       9",
                "4 waiting: a (30 ms), …",
            ]
        );
    }

    #[test]
    fn nothing_is_wider_than_the_terminal_and_processors_have_a_column() {
        let lines = engine_lines(&status(), Style::PLAIN, Some(40), Some(&|slot| (slot.slot == 1).then_some(12.4)));
        assert!(lines.iter().all(|line| line.chars().count() <= 40), "{lines:#?}");
        let lines = engine_lines(&status(), Style::PLAIN, None, Some(&|slot| (slot.slot == 1).then_some(12.4)));
        assert!(lines[3].contains("CPU") && lines[4].contains("12 %"), "{lines:#?}");
    }
}
