//! Values that macOS tells of itself.

use std::process::{Command, Stdio};

/// Returns a number by its name, such as `hw.memsize`. The system's own program is asked, which needs no unsafe code.
pub(crate) fn number(name: &str) -> Option<u64> {
    let output = Command::new("/usr/sbin/sysctl")
        .args(["-n", name])
        .env_clear()
        .stdin(Stdio::null())
        .stderr(Stdio::null())
        .output();
    String::from_utf8(output.ok()?.stdout).ok()?.trim().parse().ok()
}
