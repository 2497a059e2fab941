//! The CPU time that a process has used. Only Linux reports it here.

use std::path::Path;
use std::time::Duration;

/// The unit of the kernel's figures: hundredths of a second, whatever its own clock.
const TICK: Duration = Duration::from_millis(10);

/// CPU time since a process started, of all its threads together.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct UsedTime {
    /// That of the process itself.
    pub own: Duration,
    /// That of its children that ended and were waited for, with all their descendants.
    pub ended_children: Duration,
}

/// The CPU time of a process; `None` if it is gone, or where the system does not report it.
pub fn of_process(process_id: u32) -> Option<UsedTime> {
    read(&Path::new("/proc").join(process_id.to_string()))
}

/// The CPU time of this process.
#[cfg(feature = "lab")]
pub fn of_this_process() -> Option<UsedTime> {
    read(Path::new("/proc/self"))
}

fn read(directory: &Path) -> Option<UsedTime> {
    parse(&std::fs::read_to_string(directory.join("stat")).ok()?)
}

/// Reads the kernel's line about a process (`proc_pid_stat(5)`): number, name in parentheses (which can contain
/// anything, even parentheses), state (third), …, then from the fourteenth: the time in user space, in the kernel, and
/// both for the children that were waited for.
fn parse(line: &str) -> Option<UsedTime> {
    let (_, after_name) = line.rsplit_once(')')?;
    let mut fields = after_name.split_whitespace().skip(11).map(|field| field.parse::<u64>().ok());
    let mut sum_of_two = || {
        let ticks = fields.next()??.saturating_add(fields.next()??);
        Some(TICK.saturating_mul(u32::try_from(ticks).unwrap_or(u32::MAX)))
    };
    Some(UsedTime { own: sum_of_two()?, ended_children: sum_of_two()? })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_kernels_line_is_read_whatever_the_name() {
        let line = "42 (a) name) (S) S 1 42 42 0 -1 4194560 1 2 3 4 10 20 300 4000 20 0 1 0 99 1 1";
        let used = UsedTime { own: Duration::from_millis(300), ended_children: Duration::from_secs(43) };
        assert_eq!(parse(line), Some(used));
        assert_eq!(parse("42 (short) S 1 2"), None);
        assert_eq!(parse(""), None);
    }

    #[cfg(target_os = "linux")]
    #[test]
    fn this_process_uses_cpu_time() {
        let own = || of_process(std::process::id()).expect("it runs").own;
        let before = own();
        let mut sum = 0_u64;
        while own() == before {
            sum = std::hint::black_box(sum.wrapping_mul(31).wrapping_add(7));
        }
        assert_eq!(of_process(u32::MAX), None);
    }
}
