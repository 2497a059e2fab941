//! The first process of a cluster's virtual machine or container: starts etcd and kube-apiserver, watches over them,
//! and ends them.
//!
//! Uses only the standard library and is compiled by `rustc` without cargo; `kina-engine/src/image/supervisor.rs` gives
//! the reasons.
//!
//! It is controlled by signals: USR1 reports that the initial state is loaded, HUP asks for a restart of
//! kube-apiserver, TERM and INT ask it to end. Its output is in `events`. With the argument `probe` it runs no cluster.

#![cfg_attr(not(target_os = "linux"), allow(dead_code, unused_imports))]

#[cfg(target_os = "linux")]
mod component;
mod events;
mod layout;
#[cfg(target_os = "linux")]
mod probe;
#[cfg(target_os = "linux")]
mod supervise;
#[cfg(target_os = "linux")]
mod system;

use std::path::PathBuf;
use std::process::ExitCode;

/// The exit code for a wrong command line.
const EXIT_USAGE: u8 = 64;

/// Runs a cluster until it is asked to end, or until a part of it ends.
#[cfg(target_os = "linux")]
fn main() -> ExitCode {
    let start = std::time::Instant::now();
    match work() {
        Ok(Work::Cluster(root)) => supervise::run(&layout::Root(root), start),
        Ok(Work::Probe) => probe::run(&layout::Root(PathBuf::from("/"))),
        Err(code) => code,
    }
}

/// Virtual machines and containers run Linux, wherever kina itself runs.
#[cfg(not(target_os = "linux"))]
fn main() -> ExitCode {
    eprintln!("kina's supervisor runs only on Linux");
    ExitCode::from(EXIT_USAGE)
}

/// The work that the command line asks for.
enum Work {
    /// A cluster below this root directory: `/`, or the argument of `--root`, which is for tests. They have no image to
    /// run in, and only root may change the root directory.
    Cluster(PathBuf),
    /// Answers to questions about the machine.
    Probe,
}

fn work() -> Result<Work, ExitCode> {
    let arguments: Vec<_> = std::env::args_os().skip(1).collect();
    match arguments.as_slice() {
        [] => Ok(Work::Cluster(PathBuf::from("/"))),
        [word] if word == "probe" => Ok(Work::Probe),
        // Child processes get paths, and may resolve them from another directory.
        [option, root] if option == "--root" => {
            std::path::absolute(root).map(Work::Cluster).map_err(|_| ExitCode::from(EXIT_USAGE))
        }
        _ => {
            eprintln!("usage: supervisor [--root DIRECTORY | probe]");
            Err(ExitCode::from(EXIT_USAGE))
        }
    }
}
