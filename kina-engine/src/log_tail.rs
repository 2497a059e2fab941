//! The end of a log file, for messages.

use std::fs::File;
use std::io::{self, Read, Seek, SeekFrom};
use std::path::Path;

/// The length of the end of a log that a message shows.
const LOG_TAIL_BYTES: u64 = 2_000;

/// The last lines of a log file.
pub fn log_tail(log: &Path) -> String {
    match read_end(log) {
        Ok(tail) => String::from_utf8_lossy(&tail).trim_end().to_owned(),
        Err(error) => format!("(the log cannot be read: {error})"),
    }
}

/// Logs can be long, so no more is read than is shown.
fn read_end(log: &Path) -> io::Result<Vec<u8>> {
    let mut file = File::open(log)?;
    let length = file.metadata()?.len();
    file.seek(SeekFrom::Start(length.saturating_sub(LOG_TAIL_BYTES)))?;
    let mut tail = Vec::new();
    file.take(LOG_TAIL_BYTES).read_to_end(&mut tail)?;
    Ok(tail)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_end_of_a_log_is_shown_however_long_it_is() {
        let directory = tempfile::tempdir().expect("a temporary directory");
        let path = directory.path().join("etcd.log");
        assert!(log_tail(&path).contains("cannot be read"));
        std::fs::write(&path, "short\n").expect("written");
        assert_eq!(log_tail(&path), "short");
        std::fs::write(&path, format!("{}the last line\n", "x".repeat(5000))).expect("written");
        let tail = log_tail(&path);
        assert!(tail.ends_with("xthe last line") && tail.len() == 1999, "{tail}");
    }
}
