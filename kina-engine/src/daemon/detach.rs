//! The first acts of a process that becomes the engine.

use std::os::fd::{FromRawFd, OwnedFd, RawFd};
use std::os::unix::fs::DirBuilderExt;
use std::path::Path;
use std::sync::Mutex;

use tracing_subscriber::filter::{LevelFilter, Targets};
use tracing_subscriber::layer::SubscriberExt;

use crate::bounded_log::{BoundedFile, ENGINE_PART_BYTES_MAX};

/// Cuts every tie to the process that started this one: its session, its directory, its open files.
pub(super) fn detach() {
    // Fails only for a leader of a process group, which a child just forked is not.
    let _ = rustix::process::setsid();
    let _ = std::env::set_current_dir("/");
    rustix::process::umask(rustix::fs::Mode::RWXG | rustix::fs::Mode::RWXO);
    close_inherited_descriptors();
}

/// Sends the engine's own log, and panics, to a file.
pub(super) fn start_log(path: &Path) -> std::io::Result<()> {
    if let Some(directory) = path.parent() {
        std::fs::DirBuilder::new().recursive(true).mode(0o700).create(directory)?;
    }
    let file = BoundedFile::open(path, ENGINE_PART_BYTES_MAX)?;
    let filter = std::env::var("KINA_LOG").ok().and_then(|text| text.parse().ok()).unwrap_or_else(default_filter);
    let lines = tracing_subscriber::fmt::layer().with_ansi(false).with_writer(Mutex::new(file));
    let subscriber = tracing_subscriber::registry().with(lines).with(filter);
    // Before `main`, no other can have been set.
    let _ = tracing::subscriber::set_global_default(subscriber);
    std::panic::set_hook(Box::new(|panic| {
        tracing::error!(%panic, backtrace = %std::backtrace::Backtrace::force_capture(), "bug: panic");
    }));
    Ok(())
}

/// Without what libraries tell of each connection.
fn default_filter() -> Targets {
    let libraries = ["h2", "hyper", "tower"].map(|library| (library, LevelFilter::WARN));
    Targets::new().with_default(LevelFilter::INFO).with_targets(libraries)
}

/// A test runner knows by its pipes when a test has ended: the engine must not hold any of them open.
fn close_inherited_descriptors() {
    let directory = if cfg!(target_os = "linux") { "/proc/self/fd" } else { "/dev/fd" };
    let Ok(entries) = std::fs::read_dir(directory) else { return };
    let descriptors: Vec<RawFd> = entries
        .filter_map(|entry| entry.ok()?.file_name().to_str()?.parse().ok())
        .filter(|descriptor| 2 < *descriptor)
        .collect();
    for descriptor in descriptors {
        // The listing's own descriptor is among them, and closed by now.
        if !is_open(descriptor) {
            continue;
        }
        #[expect(unsafe_code, reason = "descriptors that were inherited belong to no value that could be dropped")]
        // SAFETY: this runs before `main`, or first in it, on the only thread: nothing owns a descriptor above 2 yet.
        drop(unsafe { OwnedFd::from_raw_fd(descriptor) });
    }
}

fn is_open(descriptor: RawFd) -> bool {
    #[expect(unsafe_code, reason = "asking about a descriptor needs to borrow it")]
    // SAFETY: nothing else runs that could close it meanwhile; a closed one causes an error.
    let borrowed = unsafe { std::os::fd::BorrowedFd::borrow_raw(descriptor) };
    rustix::io::fcntl_getfd(borrowed).is_ok()
}
