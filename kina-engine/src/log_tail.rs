//! The end of a log file, for messages.

use std::path::Path;

/// The length of the end of a log that a message shows.
const LOG_TAIL_BYTES: usize = 2_000;

/// The last lines of a log file.
pub(crate) fn log_tail(log: &Path) -> String {
    match std::fs::read(log) {
        Ok(content) => {
            let tail = &content[content.len().saturating_sub(LOG_TAIL_BYTES)..];
            String::from_utf8_lossy(tail).trim_end().to_owned()
        }
        Err(error) => format!("(the log cannot be read: {error})"),
    }
}
