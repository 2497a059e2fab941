//! An emulator of the command line of Apple's `container`, for kina's tests. It is nastier than the real program if the
//! reference leaves room for that, and `--version` shows that it is an emulator. `README.md` describes its use.

#[cfg(target_os = "linux")]
mod linux;

use std::process::ExitCode;

#[cfg(target_os = "linux")]
fn main() -> ExitCode {
    linux::main()
}

#[cfg(not(target_os = "linux"))]
fn main() -> ExitCode {
    eprintln!("Error: kina's emulator of `container` uses Linux namespaces: it runs on Linux only");
    ExitCode::FAILURE
}
