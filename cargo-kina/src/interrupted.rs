//! Waiting for an external end: Ctrl-C, a signal from the system, a closed terminal.

use tokio::signal::unix::{Signal, SignalKind, signal};

/// Catches these signals from its creation on, so that they do not end the process.
pub struct Interruption(Vec<Signal>);

/// Resolves when the user or the system requests the end, before which private processes and files have to be removed.
pub async fn interrupted() {
    Interruption::watch().happens().await;
}

impl Interruption {
    /// Must be called inside a runtime. A signal that cannot be watched ends the process as usual.
    pub fn watch() -> Self {
        let mut kinds = vec![SignalKind::interrupt(), SignalKind::terminate()];
        if !outlives_its_terminal() {
            kinds.push(SignalKind::hangup());
        }
        Self(kinds.into_iter().filter_map(|kind| signal(kind).ok()).collect())
    }

    pub async fn happens(&mut self) {
        if self.0.is_empty() {
            return std::future::pending().await;
        }
        futures::future::select_all(self.0.iter_mut().map(|signal| Box::pin(signal.recv()))).await;
    }
}

/// Returns true if this process was started with `nohup`. Detected on Linux only.
fn outlives_its_terminal() -> bool {
    std::fs::read_to_string("/proc/self/status").is_ok_and(|status| ignores_hangup(&status))
}

/// Reads the mask of ignored signals from the kernel's status of a process; its first bit is SIGHUP.
fn ignores_hangup(status: &str) -> bool {
    let mask = status.lines().find_map(|line| line.strip_prefix("SigIgn:"));
    mask.and_then(|mask| u64::from_str_radix(mask.trim(), 16).ok()).is_some_and(|mask| mask & 1 == 1)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nohup_is_detected() {
        let status =
            |mask: &str| format!("Name:\tcargo-kina\nSigBlk:\t0000000000000001\nSigIgn:\t{mask}\nSigCgt:\tf\n");
        assert!(ignores_hangup(&status("0000000000001001")));
        assert!(!ignores_hangup(&status("0000000000001006")));
        assert!(!ignores_hangup("") && !ignores_hangup(&status("nonsense")));
    }
}
