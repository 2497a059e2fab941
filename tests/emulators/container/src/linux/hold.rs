//! Others that hold the global lock for a while: other clients' deletions, stops, and questions about the disk.

use std::io::{Read, Write};
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::Duration;

use container_command_line::{Code, Failure};

use super::store::Store;

/// Starts a process that holds the lock, and returns when it has it. It goes on if this call is killed.
#[allow(clippy::zombie_processes, reason = "it outlives this process, which ends after one command")]
pub(crate) fn start(root: &Path, time: Duration) -> Result<(), Failure> {
    let failed = |error: std::io::Error| Failure::runtime(Code::InternalError, format!("emulator: {error}"));
    let program = std::env::current_exe().map_err(failed)?;
    let mut command = Command::new(program);
    command.arg(super::HOLD).arg(root).arg(time.as_millis().to_string());
    let mut holder = command
        .current_dir("/")
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()
        .map_err(failed)?;
    if let Some(mut report) = holder.stdout.take() {
        report.read_exact(&mut [0]).map_err(failed)?;
    }
    Ok(())
}

/// Holds the lock for this time.
pub(crate) fn main(arguments: &[String]) -> u8 {
    let [root, time_ms] = arguments else { return 1 };
    // A kill of the group of the call that started this process must not end it.
    let _ = rustix::process::setsid();
    let Ok(lock) = Store::open(Path::new(root)).and_then(|store| store.boot_lock()) else { return 1 };
    let mut stdout = std::io::stdout().lock();
    let _ = stdout.write_all(b"x").and_then(|()| stdout.flush());
    drop(stdout);
    std::thread::sleep(Duration::from_millis(time_ms.parse().unwrap_or(0)));
    drop(lock);
    0
}
