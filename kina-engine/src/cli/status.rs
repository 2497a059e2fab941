//! `cargo kina status`

use super::Format;
use crate::client::EngineClient;
use crate::protocol::{NamespaceStatus, Status};

/// Prints what the engine is doing.
pub(super) async fn print(client: &EngineClient, format: Format) -> anyhow::Result<()> {
    let with_memory = matches!(format, Format::Json);
    let status = client.status(with_memory).await?;
    match (format, status) {
        (Format::Json, status) => println!("{}", serde_json::to_string(&status)?),
        (Format::Text, None) => println!("no engine is running; the first test starts it"),
        (Format::Text, Some(status)) => print_text(&status),
    }
    Ok(())
}

fn print_text(status: &Status) {
    let Status { version, engine_profile, process_id, log, counters, .. } = status;
    println!("engine {version} ({engine_profile}), process {process_id}, up {} s", status.uptime_ms / 1000);
    println!("log {}", log.display());
    println!(
        "{} boots, {} starts, {} leases, {} rewinds, {} API server restarts, {} broken, {} late writes; {} waiting",
        counters.boots,
        counters.starts,
        counters.leases,
        counters.rewinds,
        counters.api_server_restarts,
        counters.broken,
        counters.late_writes,
        status.waiting,
    );
    let high_water = &status.high_water;
    println!(
        "most at a time: {} waiting, {} of {} boots, {} of {} slots",
        high_water.queue_longest,
        high_water.boots_under_way_most,
        high_water.boots_under_way_max,
        high_water.slots_most,
        high_water.slots_max,
    );
    if !status.sabotage.is_empty() {
        println!("SABOTAGED on purpose, trust nothing of it: {}", status.sabotage.join(", "));
    }
    for slot in &status.slots {
        println!(
            "slot {:>3}  {:<11}  {:<10}  {:>5} leases  {}",
            slot.slot,
            slot.state,
            slot.kubernetes.as_deref().unwrap_or("-"),
            slot.leases,
            slot.cluster.as_deref().unwrap_or("-"),
        );
        for NamespaceStatus { namespace, lease } in &slot.namespaces {
            println!("          namespace {namespace:<10}  {} connections", lease.traffic.connections_open);
        }
    }
}
