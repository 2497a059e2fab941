//! Processes by id and start time, so that a reused id is not mistaken for the old process.

use std::fs;
use std::time::{Duration, Instant};

use container_command_line::{Code, Failure};
use rustix::process::{Pid, PidfdFlags, Signal, pidfd_open, pidfd_send_signal};
use serde::{Deserialize, Serialize};

/// A process of the host.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Process {
    /// Its id on the host.
    pub(crate) pid: u32,
    /// Its start, in ticks since the host's boot.
    pub(crate) start_time: u64,
}

impl Process {
    /// Returns the process with this id, if it lives.
    pub(crate) fn of(pid: u32) -> Option<Self> {
        let fields = stat_fields(pid)?;
        // A zombie has ended, even if it has not been reaped.
        (fields.first()? != "Z").then_some(())?;
        Some(Self { pid, start_time: fields.get(19)?.parse().ok()? })
    }

    /// Returns true if it lives.
    pub(crate) fn lives(self) -> bool {
        Self::of(self.pid) == Some(self)
    }

    /// Sends a signal; returns true if it was sent to this process.
    pub(crate) fn signal(self, signal: Signal) -> bool {
        let Some(pid) = i32::try_from(self.pid).ok().and_then(Pid::from_raw) else { return false };
        // The descriptor refers to one process, so the check of the start time cannot come too late.
        pidfd_open(pid, PidfdFlags::empty())
            .is_ok_and(|descriptor| self.lives() && pidfd_send_signal(&descriptor, signal).is_ok())
    }

    /// Waits until it is gone; returns false if it still lives after the limit.
    pub(crate) fn wait(self, limit: Duration) -> bool {
        let start = Instant::now();
        while self.lives() {
            if start.elapsed() >= limit {
                return false;
            }
            std::thread::sleep(Duration::from_millis(2));
        }
        true
    }
}

/// Returns the fields of `/proc/PID/stat` from the state on.
pub(crate) fn stat_fields(pid: u32) -> Option<Vec<String>> {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    let (_, fields) = stat.rsplit_once(") ")?;
    Some(fields.split_whitespace().map(str::to_owned).collect())
}

/// Finds a signal by its name, with or without `SIG`, or by its number.
pub(crate) fn signal(name: &str) -> Result<Signal, Failure> {
    let bad = || Failure::runtime(Code::InvalidArgument, format!("invalid signal: {name}"));
    let upper = name.to_ascii_uppercase();
    let short = upper.strip_prefix("SIG").unwrap_or(&upper);
    // The first real-time signals belong to the C library, which is why programs count from 34.
    let number = match short.split_once('+') {
        Some(("RTMIN", offset)) => 34 + offset.parse::<i32>().map_err(|_| bad())?,
        _ if short == "RTMIN" => 34,
        _ => match NAMES.iter().find(|(known, _)| *known == short) {
            Some((_, signal)) => return Ok(*signal),
            None => short.parse().map_err(|_| bad())?,
        },
    };
    if let Some(signal) = Signal::from_named_raw(number) {
        return Ok(signal);
    }
    if !(34..=64).contains(&number) {
        return Err(bad());
    }
    #[expect(unsafe_code, reason = "real-time signals have no names")]
    // SAFETY: the signal is sent to other processes only, never handled here, so the C library's own are not touched.
    Ok(unsafe { Signal::from_raw_unchecked(number) })
}

const NAMES: &[(&str, Signal)] = &[
    ("HUP", Signal::HUP),
    ("INT", Signal::INT),
    ("QUIT", Signal::QUIT),
    ("ABRT", Signal::ABORT),
    ("KILL", Signal::KILL),
    ("USR1", Signal::USR1),
    ("USR2", Signal::USR2),
    ("PIPE", Signal::PIPE),
    ("ALRM", Signal::ALARM),
    ("TERM", Signal::TERM),
    ("CHLD", Signal::CHILD),
    ("CONT", Signal::CONT),
    ("STOP", Signal::STOP),
    ("TSTP", Signal::TSTP),
    ("WINCH", Signal::WINCH),
];

#[cfg(test)]
mod tests {
    use super::{Process, signal};

    #[test]
    fn signals_have_names_and_numbers() {
        for (name, number) in [("KILL", 9), ("SIGTERM", 15), ("usr1", 10), ("1", 1), ("SIGRTMIN+3", 37), ("RTMIN", 34)]
        {
            assert_eq!(signal(name).map(|signal| signal.as_raw()), Ok(number), "{name}");
        }
        for name in ["", "NOSUCH", "0", "65", "RTMIN+x", "RTMIN+40"] {
            assert!(signal(name).is_err(), "{name}");
        }
    }

    #[test]
    fn a_process_is_identified_by_its_start_as_well() {
        let own = Process::of(std::process::id()).expect("this process lives");
        assert!(own.lives());
        assert!(!Process { start_time: own.start_time + 1, ..own }.lives());
    }
}
