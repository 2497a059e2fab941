use anyhow::Context;

/// The memory that a process has now, in megabytes.
pub(super) fn resident_mb(process_id: u32) -> anyhow::Result<f64> {
    read(process_id, "VmRSS:")
}

/// The most that it ever had, in megabytes.
pub(super) fn peak_mb(process_id: u32) -> anyhow::Result<f64> {
    read(process_id, "VmHWM:")
}

fn read(process_id: u32, field: &str) -> anyhow::Result<f64> {
    let path = format!("/proc/{process_id}/status");
    let status = std::fs::read_to_string(&path)
        .with_context(|| format!("reading {path} failed: the memory of a process is only known on Linux"))?;
    let line = status.lines().find_map(|line| line.strip_prefix(field));
    let kilobytes = line.and_then(|rest| rest.trim().trim_end_matches("kB").trim().parse::<u64>().ok());
    let kilobytes = kilobytes.with_context(|| format!("{path} has no {field}"))?;
    Ok((kilobytes << 10) as f64 / 1e6)
}

#[cfg(all(test, target_os = "linux"))]
mod tests {
    use super::*;

    #[test]
    fn a_process_has_less_in_memory_than_at_its_peak() {
        let process_id = std::process::id();
        let (now, peak) = (resident_mb(process_id).expect("read"), peak_mb(process_id).expect("read"));
        assert!(0.0 < now && now <= peak, "{now} {peak}");
    }
}
