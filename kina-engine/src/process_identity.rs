//! The identity of a process. The system reuses process ids, but never an id together with a start time.

#[cfg(any(test, not(target_os = "linux")))]
use std::process::{Command, Stdio};

use rustix::process::Pid;

/// The start time of the process with this id, in the system's own format; `None` if there is no such process, or if it
/// has ended and only waits to be reaped.
pub fn start_of(process_id: u32) -> Option<String> {
    #[cfg(target_os = "linux")]
    let start = start_in_stat(&std::fs::read_to_string(format!("/proc/{process_id}/stat")).ok()?);
    #[cfg(not(target_os = "linux"))]
    let start = start_by_ps(process_id);
    start
}

/// The scope in which process ids and start times are valid: this boot of this machine and, on Linux, this PID
/// namespace, since each container numbers its own processes.
pub fn numbering() -> String {
    #[cfg(target_os = "linux")]
    let numbering = {
        let boot = std::fs::read_to_string("/proc/sys/kernel/random/boot_id").unwrap_or_default();
        let namespace = std::fs::read_link("/proc/self/ns/pid").unwrap_or_default();
        format!("{} {}", boot.trim(), namespace.display())
    };
    // Start times contain the date here, so they are unique without a scope.
    #[cfg(not(target_os = "linux"))]
    let numbering = String::new();
    numbering
}

/// The process id in the form that system calls take.
pub fn pid(process_id: u32) -> Option<Pid> {
    i32::try_from(process_id).ok().and_then(Pid::from_raw)
}

/// Reads the kernel's line about a process: number, name in parentheses, state (third), …, ticks from boot to start
/// (twenty-second). The name can contain anything, even parentheses.
#[cfg(target_os = "linux")]
fn start_in_stat(stat: &str) -> Option<String> {
    let (_, after_name) = stat.rsplit_once(')')?;
    let mut fields = after_name.split_whitespace();
    let state = fields.next()?;
    let has_ended = matches!(state, "Z" | "X");
    let start = fields.nth(18)?;
    (!has_ended && start.bytes().all(|byte| byte.is_ascii_digit())).then(|| start.to_owned())
}

/// Asks `ps` where there is no `/proc`: for the state, and for the date and time of the start in a form that depends
/// neither on the language nor on the time zone.
#[cfg(any(test, not(target_os = "linux")))]
fn start_by_ps(process_id: u32) -> Option<String> {
    let output = Command::new("/bin/ps")
        .args(["-o", "stat=", "-o", "lstart=", "-p", &process_id.to_string()])
        .env_clear()
        .env("LC_ALL", "C")
        .env("TZ", "UTC")
        .stdin(Stdio::null())
        .stderr(Stdio::null())
        .output()
        .ok()?;
    let text = String::from_utf8(output.stdout).ok()?;
    let (state, start) = text.trim().split_once(char::is_whitespace)?;
    (!state.starts_with('Z')).then(|| start.trim().to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_start_stays_the_same_and_ends_with_the_process() {
        let mut child = Command::new("/bin/sleep").arg("1000").spawn().expect("sleep starts");
        let start = start_of(child.id()).expect("it runs");
        assert_eq!(start_of(child.id()), Some(start));
        child.kill().expect("killed");
        let number = pid(child.id()).expect("a number");
        let until_ended = rustix::process::WaitIdOptions::EXITED | rustix::process::WaitIdOptions::NOWAIT;
        rustix::process::waitid(rustix::process::WaitId::Pid(number), until_ended).expect("it ends");
        assert_eq!(start_of(child.id()), None, "it has ended, although it was not reaped");
        child.wait().expect("reaped");
        assert_eq!(start_of(child.id()), None);
    }

    #[cfg(target_os = "linux")]
    #[test]
    fn the_start_is_found_behind_any_name() {
        let after = "S 1 2 3 4 5 6 7 8 9 10 11 12 13 14 15 16 17 18 4711 20 21";
        for name in ["sleep", "a b", "a) S 1 (b", ")"] {
            assert_eq!(start_in_stat(&format!("77 ({name}) {after}")).as_deref(), Some("4711"), "{name}");
        }
        assert_eq!(start_in_stat(&format!("77 (sleep) {}", after.replacen('S', "Z", 1))), None);
        for nonsense in ["", "77 (sleep)", "77 (sleep) S 1", "no parentheses"] {
            assert_eq!(start_in_stat(nonsense), None, "{nonsense}");
        }
    }

    #[test]
    fn ps_reports_the_start_as_well() {
        // Small systems lack it.
        if !std::path::Path::new("/bin/ps").exists() {
            return;
        }
        let start = start_by_ps(std::process::id()).expect("this process runs");
        assert_eq!(start_by_ps(std::process::id()), Some(start.clone()));
        assert_eq!(start.split_whitespace().count(), 5, "weekday, month, day, time, year: {start}");
        assert_eq!(start_by_ps(u32::try_from(i32::MAX).expect("positive")), None);
    }

    #[test]
    fn the_numbering_is_the_same_for_all_processes_here() {
        assert_eq!(numbering(), numbering());
        #[cfg(target_os = "linux")]
        assert!(numbering().contains("pid:["), "{}", numbering());
    }
}
