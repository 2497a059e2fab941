//! The events of one start of a machine, which its supervisor tells in two ways.
//!
//! It appends each to a file in the mounted directory for logs, which is cheap to look at, and prints it, so that
//! `container logs` shows it. That log begins anew at each start. If the host sees an append to the file at once is not
//! known for every Mac: where it lags, or where the file never changes, the engine learns the same from the log, which
//! costs a call.

use std::fs::File;
use std::io::{self, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use super::cli::{ContainerCli, TRIES_MAX};
use super::command::{self, GuestSignal};
use super::error::{ContainerError, ContainerErrorKind as Kind};
use super::failures::Failures;
use super::guest::{self, Event};
use super::json::ContainerState;
use crate::log_tail::log_tail;

const FILE_POLL_INTERVAL: Duration = Duration::from_millis(4);
/// Interval between calls for the log.
const OUTPUT_POLL_INTERVAL: Duration = Duration::from_millis(250);
/// Time by which the supervisor may print an event before it has written it to the file.
const WRITE_TIMEOUT: Duration = Duration::from_millis(50);

/// The events of one start.
#[derive(Debug)]
pub(super) struct GuestEvents {
    container: String,
    log_directory: PathBuf,
    /// The number of events in the file that were there before this start. `None` if the file lagged in an earlier start,
    /// and may still get events of that one.
    earlier: Option<usize>,
    /// The length of etcd's log before this start.
    etcd_log_bytes: u64,
    lags: AtomicBool,
}

impl GuestEvents {
    /// Events of the start that is about to happen. `lagged` is set if the file has lagged before.
    pub(super) fn of_next_start(container: &str, log_directory: &Path, lagged: bool) -> Self {
        Self {
            container: container.to_owned(),
            log_directory: log_directory.to_owned(),
            earlier: (!lagged).then(|| guest::events(log_directory).len()),
            etcd_log_bytes: etcd_log_bytes(log_directory),
            lags: AtomicBool::new(lagged),
        }
    }

    /// Returns true if the host was seen not to see at once what the guest has written.
    pub(super) fn lag(&self) -> bool {
        self.lags.load(Ordering::Relaxed)
    }

    /// Compares etcd's log, now that etcd serves, with its length before the start. etcd has written to it for tens of
    /// milliseconds, and does not sync it.
    pub(super) fn examine_etcd_log(&self) {
        if etcd_log_bytes(&self.log_directory) == self.etcd_log_bytes {
            self.note_lag();
        }
    }

    /// Returns the first end of a component, as far as the file shows it: the component, if known, and the logged text.
    pub(super) fn end_in_file(&self) -> Option<(Option<&'static str>, String)> {
        guest::end_among(&self.in_file())
    }

    /// The same, by asking for the log as well.
    pub(super) async fn end(&self, cli: &ContainerCli) -> Option<(Option<&'static str>, String)> {
        match self.end_in_file() {
            Some(end) => Some(end),
            None => guest::end_among(&self.in_output(cli).await),
        }
    }

    /// Returns the end of the log of a component that has ended. Where the host does not see the file, this is what the
    /// supervisor has printed of it. It is also written to the file if there is none, because messages name it.
    pub(super) async fn log_tail(&self, cli: &ContainerCli, log: &Path) -> String {
        let exists = log.exists();
        if exists && !self.lag() {
            return log_tail(log);
        }
        let Some(printed) = guest::log_tail_among(&self.in_output(cli).await) else { return log_tail(log) };
        if !exists && let Err(error) = write_new(log, &printed) {
            return format!("{printed}\n(this is in no log: writing {} failed: {error})", log.display());
        }
        printed
    }

    /// Returns true if etcd has reported that it serves.
    pub(super) async fn has_etcd_served(&self, cli: &ContainerCli) -> bool {
        let count = |events: Vec<Event>| guest::count_of(&events, guest::ETCD_SERVING);
        0 < count(self.in_file()) || 0 < count(self.in_output(cli).await)
    }

    /// Sends a signal to the supervisor, and returns when it has acted. Sending it twice is harmless to the supervisor.
    pub(super) async fn signal(&self, cli: &ContainerCli, signal: GuestSignal) -> Result<(), ContainerError> {
        let (command, event) = (command::signal(&self.container, signal), signal.event());
        let before = match self.lag() {
            // An event that the file has not shown yet must not pass for the one that is awaited.
            true => guest::count_of(&self.look_at_output(cli).await?, event).max(self.count_in_file(event)),
            false => self.count_in_file(event),
        };
        let mut failures = Failures::default();
        loop {
            let error = match cli.run(&command).await {
                Ok(_) => ContainerError::new(Kind::TimedOut, cli.describe(&command), "succeeded, but had no effect"),
                Err(error) if error.kind.leaves_open_what_happened() => error,
                Err(error) => return Err(error),
            };
            if self.wait_told(cli, event, before).await {
                return Ok(());
            }
            if cli.inspect(&self.container).await?.state != ContainerState::Running {
                return Err(error.with_kind(Kind::NotRunning));
            }
            if !failures.allow_another(&error, TRIES_MAX) {
                return Err(error);
            }
        }
    }

    /// Waits until there are more events of this name than before; returns false if there are none in time.
    async fn wait_told(&self, cli: &ContainerCli, event: &str, before: usize) -> bool {
        let told = async {
            tokio::select! {
                () = self.wait_in_file(event, before) => {}
                () = self.wait_in_output(cli, event, before) => {}
            }
        };
        tokio::time::timeout(cli.patience().signal_acted_max, told).await.is_ok()
    }

    async fn wait_in_file(&self, event: &str, before: usize) {
        while self.count_in_file(event) <= before {
            tokio::time::sleep(FILE_POLL_INTERVAL).await;
        }
    }

    async fn wait_in_output(&self, cli: &ContainerCli, event: &str, before: usize) {
        if !self.lag() {
            tokio::time::sleep(cli.patience().file_lag_max).await;
        }
        while guest::count_of(&self.in_output(cli).await, event) <= before {
            tokio::time::sleep(OUTPUT_POLL_INTERVAL).await;
        }
        // The file may show it just now, which is noticed first.
        tokio::time::sleep(WRITE_TIMEOUT).await;
        self.note_lag();
    }

    fn count_in_file(&self, event: &str) -> usize {
        guest::count_of(&self.in_file(), event)
    }

    fn in_file(&self) -> Vec<Event> {
        let Some(earlier) = self.earlier else { return Vec::new() };
        let mut events = guest::events(&self.log_directory);
        events.drain(..earlier.min(events.len()));
        events
    }

    /// Reads the log of this start; without events if it cannot be read.
    async fn in_output(&self, cli: &ContainerCli) -> Vec<Event> {
        self.look_at_output(cli).await.unwrap_or_else(|error| {
            tracing::info!(%error, "the output of a machine could not be read");
            Vec::new()
        })
    }

    async fn look_at_output(&self, cli: &ContainerCli) -> Result<Vec<Event>, ContainerError> {
        Ok(guest::parse(&cli.look(&command::output(&self.container)).await?.output))
    }

    fn note_lag(&self) {
        if !self.lags.swap(true, Ordering::Relaxed) {
            tracing::warn!(
                container = self.container,
                "the lines that this machine appends to its mounted logs are not seen here at once: asking `container \
                 logs` instead, and restarting its API server after each lease, whose requests for tokens could be missed"
            );
        }
    }
}

fn etcd_log_bytes(log_directory: &Path) -> u64 {
    std::fs::metadata(log_directory.join(guest::ETCD_LOG)).map_or(0, |metadata| metadata.len())
}

fn write_new(log: &Path, text: &str) -> io::Result<()> {
    let mut file = File::options().write(true).create_new(true).mode(0o600).open(log)?;
    writeln!(file, "{text}")
}
