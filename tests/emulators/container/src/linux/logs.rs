//! `logs`.

use std::io::Write;
use std::time::Duration;

use container_command_line::{Code, Failure, messages};

use super::containers::State;
use super::dispatch::{Call, Outcome};

impl Call {
    /// `logs`: prints stdout and stderr of PID 1 as one; fails if they are not UTF-8.
    pub(crate) fn logs(&self, boot: bool, lines: Option<u64>, follow: bool, id: &str) -> Outcome {
        let record = self.store.container(id)?.ok_or_else(|| messages::container_missing(id))?;
        if !record.ever_started {
            return Err(Failure::runtime(Code::InvalidState, format!("failed to get logs: container {id} has none")));
        }
        let name = if boot { "boot.log" } else { "container.log" };
        let bytes = self.log_text(id, name, 0)?;
        let mut seen = bytes.len() as u64;
        let text = String::from_utf8(bytes)
            .map_err(|_| Failure::runtime(Code::InternalError, "failed to convert the logs to UTF-8"))?;
        let skipped = match lines.and_then(|lines| usize::try_from(lines).ok()) {
            Some(wanted) => text.lines().count().saturating_sub(wanted),
            None => 0,
        };
        let shown: String = text.split_inclusive('\n').skip(skipped).collect();
        if !follow {
            return Ok(shown);
        }
        let mut stdout = std::io::stdout().lock();
        let mut fresh = shown.into_bytes();
        loop {
            let ended = self.store.container(id)?.is_none_or(|record| self.state(&record) != Ok(State::Running));
            if stdout.write_all(&fresh).and_then(|()| stdout.flush()).is_err() || ended {
                return Ok(String::new());
            }
            std::thread::sleep(Duration::from_millis(20));
            fresh = self.log_text(id, name, seen).unwrap_or_default();
            seen += fresh.len() as u64;
        }
    }
}
