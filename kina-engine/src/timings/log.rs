//! Files that clients named. A separate thread writes them, because a disk can be slow and the dispatcher must not
//! wait.

use std::collections::{BTreeMap, HashSet};
use std::fs::OpenOptions;
use std::io::Write;
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;
use std::sync::Arc;
use std::sync::mpsc::{self, Receiver, SyncSender, TrySendError};
use std::time::{Duration, Instant};

use super::{EngineLine, TimingLine};
use crate::pool::WaiterId;

/// The time that a log is kept open after its last use: it also records the rewind after its last lease and the
/// subsequent phases of the clusters.
const KEPT_OPEN: Duration = Duration::from_secs(60);
/// The number of files that may be open at a time.
const LOGS_MAX: usize = 8;
/// The size at which a file is no longer written to.
pub(super) const LOG_BYTES_MAX: u64 = 64 << 20;
/// The number of lines that may wait to be written; more are lost.
const LINES_WAITING_MAX: usize = 4096;
/// The number of lines that are written at once.
const LINES_AT_ONCE_MAX: usize = 256;
/// The time that the engine waits for the last lines at its end.
const FINISH_MAX: Duration = Duration::from_secs(2);

/// The logs that phases are appended to now.
#[derive(Default)]
pub(super) struct Logs {
    open: Vec<OpenLog>,
    writer: Option<Writer>,
}

struct OpenLog {
    path: Arc<Path>,
    users: HashSet<WaiterId>,
    used_at: Instant,
}

struct Writer {
    lines: SyncSender<(Arc<Path>, String)>,
    /// Closed when all lines are written.
    done: Receiver<()>,
    lost: u64,
}

impl Logs {
    /// Opens the log that a new client named, if it named one. Unused logs of earlier runs end now.
    pub(super) fn asked(&mut self, waiter: WaiterId, path: Option<&Arc<Path>>, engine: &EngineLine) {
        self.open.retain(|log| !log.users.is_empty() || Some(&log.path) == path);
        if let Some(log) = path.and_then(|path| self.open(path, engine)) {
            log.users.insert(waiter);
        }
    }

    /// Opens a log for a request whose end is not reported.
    pub(super) fn touched(&mut self, path: &Arc<Path>, engine: &EngineLine) {
        self.open(path, engine);
    }

    /// Records that a client has left, or that its lease has ended.
    pub(super) fn left(&mut self, waiter: WaiterId) {
        for log in &mut self.open {
            if log.users.remove(&waiter) {
                log.used_at = Instant::now();
            }
        }
    }

    /// Returns true if a log is open.
    pub(super) fn are_wanted(&mut self) -> bool {
        self.forget_unused();
        !self.open.is_empty()
    }

    /// Writes a line to all open logs.
    pub(super) fn append(&mut self, line: &TimingLine) {
        let text = line.to_text();
        let paths: Vec<_> = self.open.iter().map(|log| Arc::clone(&log.path)).collect();
        for path in paths {
            self.send(path, text.clone());
        }
    }

    /// Closes all logs once their lines are written.
    pub(super) fn finish(&mut self) {
        self.open.clear();
        if let Some(Writer { lines, done, .. }) = self.writer.take() {
            drop(lines);
            if done.recv_timeout(FINISH_MAX) == Err(mpsc::RecvTimeoutError::Timeout) {
                tracing::warn!("the last timings were not written in time");
            }
        }
    }

    fn open(&mut self, path: &Arc<Path>, engine: &EngineLine) -> Option<&mut OpenLog> {
        self.forget_unused();
        let now = Instant::now();
        let found = self.open.iter().position(|log| log.path == *path);
        let index = match found {
            Some(index) => index,
            None if self.open.len() == LOGS_MAX => {
                tracing::warn!(path = %path.display(), "no timings are written there: {LOGS_MAX} other files are open");
                return None;
            }
            None => {
                self.open.push(OpenLog { path: Arc::clone(path), users: HashSet::new(), used_at: now });
                self.send(Arc::clone(path), TimingLine::Engine(engine.clone()).to_text());
                self.open.len() - 1
            }
        };
        let log = self.open.get_mut(index)?;
        log.used_at = now;
        Some(log)
    }

    fn forget_unused(&mut self) {
        self.open.retain(|log| !log.users.is_empty() || log.used_at.elapsed() < KEPT_OPEN);
    }

    fn send(&mut self, path: Arc<Path>, text: String) {
        if self.writer.is_none() {
            self.writer = Writer::start();
        }
        let Some(writer) = &mut self.writer else { return };
        match writer.lines.try_send((path, text)) {
            Ok(()) => {}
            Err(TrySendError::Full(_) | TrySendError::Disconnected(_)) => {
                writer.lost += 1;
                if writer.lost.is_power_of_two() {
                    tracing::warn!(lost = writer.lost, "lines of timings are lost: the disk does not keep up");
                }
            }
        }
    }
}

impl Writer {
    fn start() -> Option<Self> {
        let (lines, received) = mpsc::sync_channel(LINES_WAITING_MAX);
        let (is_done, done) = mpsc::channel();
        let thread = std::thread::Builder::new().name("kina-timings".to_owned());
        let started = thread.spawn(move || {
            write(&received);
            drop(is_done);
        });
        match started {
            Ok(_) => Some(Self { lines, done, lost: 0 }),
            Err(error) => {
                tracing::warn!(%error, "no timings are written: their thread could not be started");
                None
            }
        }
    }
}

/// Writes lines until the sender is gone.
fn write(received: &Receiver<(Arc<Path>, String)>) {
    let mut troubled = HashSet::new();
    while let Ok(first) = received.recv() {
        let more = received.try_iter().take(LINES_AT_ONCE_MAX - 1);
        let mut texts: BTreeMap<Arc<Path>, String> = BTreeMap::new();
        for (path, text) in std::iter::once(first).chain(more) {
            texts.entry(path).or_default().push_str(&text);
        }
        for (path, text) in texts {
            if let Err(error) = append(&path, &text)
                && troubled.insert(Arc::clone(&path))
            {
                tracing::warn!(path = %path.display(), %error, "timings could not be written");
            }
        }
    }
}

/// Appends whole lines in one write, since several engines may write to one file.
fn append(path: &Path, text: &str) -> std::io::Result<()> {
    let mut file = OpenOptions::new().append(true).create(true).mode(0o600).open(path)?;
    if LOG_BYTES_MAX < file.metadata()?.len().saturating_add(text.len() as u64) {
        return Err(std::io::Error::new(std::io::ErrorKind::FileTooLarge, "it has reached its limit of 64 MiB"));
    }
    file.write_all(text.as_bytes())
}
