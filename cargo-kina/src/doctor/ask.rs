//! Queries to the system and its programs.

use std::path::Path;
use std::process::Stdio;
use std::time::Duration;

/// Time limit of a program. It answers at once, or never.
const TIMEOUT: Duration = Duration::from_secs(5);

/// Returns a program's output, without white space around it; `None` if it does not exist, failed or printed nothing.
pub(in super::super) async fn program(path: &str, arguments: &[&str]) -> Option<String> {
    let asked = tokio::process::Command::new(path)
        .args(arguments)
        .stdin(Stdio::null())
        .stderr(Stdio::null())
        .kill_on_drop(true)
        .output();
    let output = tokio::time::timeout(TIMEOUT, asked).await.ok()?.ok()?;
    let text = String::from_utf8(output.stdout).ok()?.trim().to_owned();
    (output.status.success() && !text.is_empty()).then_some(text)
}

/// Returns the free space of the disk that holds `path`, or that will hold it.
pub(super) fn free_bytes(path: &Path) -> Option<u64> {
    let existing = path.ancestors().find(|ancestor| ancestor.exists())?;
    let disk = rustix::fs::statvfs(existing).ok()?;
    disk.f_bavail.checked_mul(disk.f_frsize)
}

/// Returns the hard limit of open files of a process, to which the engine raises its own; `None` if there is none.
pub(super) fn open_files_max() -> Option<u64> {
    rustix::process::getrlimit(rustix::process::Resource::Nofile).maximum
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_program_that_is_missing_or_fails_gives_no_answer() {
        assert_eq!(program("/bin/sh", &["-c", "echo ' a b '"]).await.as_deref(), Some("a b"));
        assert_eq!(program("/bin/sh", &["-c", "echo a; exit 1"]).await, None);
        assert_eq!(program("/nowhere/program", &[]).await, None);
    }

    #[test]
    fn a_directory_that_does_not_exist_yet_has_free_space() {
        let free = free_bytes(Path::new("/nowhere/at/all")).expect("a disk");
        assert!(0 < free);
    }
}
