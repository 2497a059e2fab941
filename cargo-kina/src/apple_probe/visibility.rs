//! The time until the host sees a line that the guest appends to a file in a mounted directory.

use std::path::Path;
use std::time::{Duration, Instant};

use super::container::{Container, Signal};
use super::guest::Guest;
use super::question::Finding;

/// Lines that are appended; the slowest counts.
const LINES: u64 = 5;
/// Time limit for a line to be seen.
const VISIBLE_TIMEOUT: Duration = Duration::from_secs(10);
const POLL_INTERVAL: Duration = Duration::from_millis(1);

/// A kind of append.
#[derive(Clone, Copy, Debug)]
pub(super) struct Append {
    /// The request of it through the port.
    pub(super) command: &'static str,
    /// The signal that asks for it where the port is not reachable.
    pub(super) signal: Signal,
}

/// Lets the guest append lines to `file`, and measures how long each stays unseen. Without a way to the guest it is asked
/// by a signal, and the time of that call counts too.
pub(super) async fn append_visible(
    append: Append,
    file: &Path,
    guest: Option<&mut Guest>,
    container: &Container,
    machine: &str,
) -> Finding {
    let mut guest = guest;
    let mut slowest = Duration::ZERO;
    for line in 1..=LINES {
        let before = Instant::now();
        let asked = match &mut guest {
            // It has appended when it answers.
            Some(guest) => guest.ask(append.command).await.map(|_| Instant::now()),
            None => container.signal(machine, append.signal).await.map(|()| before),
        };
        let appended = match asked {
            Ok(appended) => appended,
            Err(reason) => return Finding::Unknown(reason),
        };
        match unseen(file, line, appended).await {
            Some(unseen) => slowest = slowest.max(unseen),
            None => return Finding::Never,
        }
    }
    Finding::milliseconds(slowest)
}

/// Waits until the line is in the file, which is opened anew each time as the engine does. Returns the time since it was
/// appended; `None` if it is not seen in time.
async fn unseen(file: &Path, line: u64, appended: Instant) -> Option<Duration> {
    let line = line.to_string();
    loop {
        let text = std::fs::read_to_string(file).unwrap_or_default();
        if text.lines().any(|seen| seen == line) {
            return Some(appended.elapsed());
        }
        if VISIBLE_TIMEOUT < appended.elapsed() {
            return None;
        }
        tokio::time::sleep(POLL_INTERVAL).await;
    }
}
