//! Detection that a client has ended, even if a forked child still holds its connection.

use std::time::Duration;

use rustix::process::Pid;

/// The interval of looks for a client if the system cannot report its end.
const POLL_INTERVAL: Duration = Duration::from_millis(500);

/// Resolves when the process has ended.
pub(super) async fn wait_ended(process_id: Pid) {
    #[cfg(target_os = "linux")]
    if let Ok(descriptor) = rustix::process::pidfd_open(process_id, rustix::process::PidfdFlags::empty()) {
        use tokio::io::{Interest, unix::AsyncFd};
        #[expect(unsafe_code, reason = "tokio cannot know that a foreign type keeps its descriptor")]
        // SAFETY: an `OwnedFd` has the same open descriptor for as long as it lives.
        let watched = unsafe { AsyncFd::register_with_interest(descriptor, Interest::READABLE) };
        if let Ok(watched) = watched {
            // A process descriptor becomes readable when its process ends.
            let _ = watched.readable().await;
            return;
        }
    }
    while rustix::process::test_kill_process(process_id).is_ok() {
        tokio::time::sleep(POLL_INTERVAL).await;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn the_end_of_a_process_is_noticed() {
        let mut child = std::process::Command::new("/bin/sleep").arg("1000").spawn().expect("sleep starts");
        let process_id = Pid::from_child(&child);
        let watch = tokio::spawn(wait_ended(process_id));
        tokio::task::yield_now().await;
        assert!(!watch.is_finished());
        child.kill().expect("killed");
        watch.await.expect("noticed");
        child.wait().expect("reaped");
    }
}
