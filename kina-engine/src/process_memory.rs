//! The memory of processes.

/// The memory of these processes together, with their share of shared pages (PSS); 0 where the system does not report
/// it.
pub fn proportional_bytes(process_ids: &[u32]) -> u64 {
    process_ids.iter().map(|process_id| summary_bytes(*process_id, "Pss:")).sum()
}

/// The resident memory of a process (RSS); 0 where the system does not report it.
pub fn resident_bytes(process_id: u32) -> u64 {
    summary_bytes(process_id, "Rss:")
}

/// One line of the kernel's summary of a process's memory. Reading it takes some milliseconds.
fn summary_bytes(process_id: u32, field: &str) -> u64 {
    let Ok(summary) = std::fs::read_to_string(format!("/proc/{process_id}/smaps_rollup")) else { return 0 };
    let kilobytes = summary.lines().find_map(|line| line.strip_prefix(field));
    kilobytes.and_then(|text| text.trim().trim_end_matches("kB").trim().parse::<u64>().ok()).unwrap_or(0) << 10
}
