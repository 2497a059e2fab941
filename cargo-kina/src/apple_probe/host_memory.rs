//! The memory that a machine takes from the host: that of the process which appeared with the machine.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use super::super::doctor::program;
use super::guest::Guest;
use super::question::Finding;

/// The growth, in kilobytes, by which the process of the machine is recognised: half of what the guest fills.
const GROWTH_KB_MIN: u64 = 256 << 10;
/// The decrease, in kilobytes, after which no more is waited for: nearly all that the guest frees.
const RETURNED_KB_ENOUGH: u64 = 500 << 10;
/// Time for the host to get freed memory back.
const RETURN_TIMEOUT: Duration = Duration::from_secs(20);
const RETURN_POLL_INTERVAL: Duration = Duration::from_millis(500);

/// The resident memory of processes, in kilobytes.
#[derive(Clone, Debug, Default)]
pub(super) struct Processes(BTreeMap<u32, u64>);

impl Processes {
    /// All processes of the host; none if the system does not list them.
    pub(super) async fn now() -> Self {
        let listed = program("/bin/ps", &["-ax", "-o", "pid=", "-o", "rss="]).await.unwrap_or_default();
        Self(listed.lines().filter_map(numbers).collect())
    }

    /// The process that is not among the earlier ones, and that has grown the most since: its id, and both sizes.
    fn grown_since(&self, earlier: &Self, idle: &Self) -> Option<(u32, u64)> {
        let new = self.0.iter().filter(|(id, _)| !earlier.0.contains_key(id));
        let growth = |id: &u32, size: u64| size.saturating_sub(idle.0.get(id).copied().unwrap_or_default());
        let grown = new.map(|(id, size)| (*id, *size, growth(id, *size))).max_by_key(|(_, _, growth)| *growth)?;
        (GROWTH_KB_MIN <= grown.2).then_some((grown.0, grown.1))
    }
}

/// Lets the guest fill and free memory, and returns what the host has back of it. `earlier` are the processes before the
/// machine was started.
pub(super) async fn memory_returned(guest: &mut Guest, earlier: &Processes) -> Finding {
    match ask(guest, earlier).await {
        Ok(finding) => finding,
        Err(reason) => Finding::Unknown(reason),
    }
}

async fn ask(guest: &mut Guest, earlier: &Processes) -> Result<Finding, String> {
    let idle = Processes::now().await;
    guest.ask("fill").await?;
    let full = Processes::now().await;
    let Some((id, full_kb)) = full.grown_since(earlier, &idle) else {
        return Ok(Finding::Unknown("no process of this machine has grown with the memory of the guest".to_owned()));
    };
    guest.ask("free").await?;
    let start = Instant::now();
    let mut least_kb = full_kb;
    while start.elapsed() < RETURN_TIMEOUT && full_kb - least_kb < RETURNED_KB_ENOUGH {
        tokio::time::sleep(RETURN_POLL_INTERVAL).await;
        let now = Processes::now().await;
        let size = now.0.get(&id).ok_or("the process of the machine has ended")?;
        least_kb = least_kb.min(*size);
    }
    // Megabytes of 2²⁰ bytes, as those that the guest frees.
    Ok(Finding::Number((full_kb - least_kb) as f64 / 1024.0))
}

fn numbers(line: &str) -> Option<(u32, u64)> {
    let mut words = line.split_whitespace();
    Some((words.next()?.parse().ok()?, words.next()?.parse().ok()?))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn processes(sizes: &[(u32, u64)]) -> Processes {
        Processes(sizes.iter().copied().collect())
    }

    #[test]
    fn the_process_of_the_machine_is_new_and_grows() {
        let earlier = processes(&[(1, 10), (2, 900_000)]);
        let idle = processes(&[(1, 10), (2, 900_000), (7, 600_000), (8, 50_000)]);
        // An old process grows more, and another new one is larger.
        let full = processes(&[(1, 10), (2, 9_900_000), (7, 610_000), (8, 574_288)]);
        assert_eq!(full.grown_since(&earlier, &idle), Some((8, 574_288)));
        assert_eq!(idle.grown_since(&earlier, &idle), None);
        assert_eq!(numbers("  123   4567"), Some((123, 4567)));
        assert_eq!(numbers("PID RSS"), None);
    }
}
