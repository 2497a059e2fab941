//! Waiting for the end that others want: Ctrl-C, the system's wish, a terminal that goes.

use tokio::signal::unix::{Signal, SignalKind, signal};

/// From its making on these signals end nothing by themselves.
pub(super) struct Interruption(Vec<Signal>);

/// Resolves when the user, or the system, wants this to end: then everything private has to be taken down first.
pub(super) async fn interrupted() {
    Interruption::watch().happens().await;
}

impl Interruption {
    /// To be called inside a runtime. A signal that cannot be watched for ends the process as it always does.
    pub(super) fn watch() -> Self {
        let mut kinds = vec![SignalKind::interrupt(), SignalKind::terminate()];
        if !outlives_its_terminal() {
            kinds.push(SignalKind::hangup());
        }
        Self(kinds.into_iter().filter_map(|kind| signal(kind).ok()).collect())
    }

    pub(super) async fn happens(&mut self) {
        if self.0.is_empty() {
            return std::future::pending().await;
        }
        futures::future::select_all(self.0.iter_mut().map(|signal| Box::pin(signal.recv()))).await;
    }
}

/// Whether somebody started this with `nohup`. Known on Linux alone.
fn outlives_its_terminal() -> bool {
    std::fs::read_to_string("/proc/self/status").is_ok_and(|status| ignores_hangup(&status))
}

/// Reads what the kernel says about a process: a mask of what it ignores, of which the first bit is SIGHUP.
fn ignores_hangup(status: &str) -> bool {
    let mask = status.lines().find_map(|line| line.strip_prefix("SigIgn:"));
    mask.and_then(|mask| u64::from_str_radix(mask.trim(), 16).ok()).is_some_and(|mask| mask & 1 == 1)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_nohup_does_is_seen() {
        let status =
            |mask: &str| format!("Name:\tcargo-kina\nSigBlk:\t0000000000000001\nSigIgn:\t{mask}\nSigCgt:\tf\n");
        assert!(ignores_hangup(&status("0000000000001001")));
        assert!(!ignores_hangup(&status("0000000000001006")));
        assert!(!ignores_hangup("") && !ignores_hangup(&status("nonsense")));
    }
}
