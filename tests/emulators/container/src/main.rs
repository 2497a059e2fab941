//! An emulator of the command line of Apple's `container`, for kina's tests. It is nastier than the real thing where the
//! reference leaves room, and says in `--version` what it is. `README.md` beside it tells how to use it.

#[cfg(target_os = "linux")]
mod linux;

use std::process::ExitCode;

#[cfg(target_os = "linux")]
fn main() -> ExitCode {
    linux::main()
}

#[cfg(not(target_os = "linux"))]
fn main() -> ExitCode {
    eprintln!("Error: kina's emulator of `container` is made of Linux namespaces: it runs on Linux only");
    ExitCode::FAILURE
}
