//! What the engine did when: for `cargo kina timings`, and for the file that `KINA_TIMING_LOG` names.
//!
//! - `line`: one phase, as it goes over the socket, into a log, and into a page.
//! - `recorder`: takes note of the phases, and remembers the latest.
//! - `record`: a phase as it is remembered.
//! - `log`: appends them to files that clients named.
//! - `page`: one HTML page of them.

mod line;
#[cfg(feature = "engine")]
mod log;
#[cfg(feature = "cli")]
pub mod page;
#[cfg(feature = "engine")]
mod record;
#[cfg(feature = "engine")]
mod recorder;
#[cfg(all(test, feature = "engine"))]
mod tests;

use std::path::PathBuf;

pub use line::{EngineLine, Outcome, Phase, PhaseLine, ServedFrom, TimingLine};
#[cfg(feature = "engine")]
pub(crate) use record::Notes;
#[cfg(feature = "engine")]
pub(crate) use recorder::{Asker, NamespaceNews, Recorder};

/// Names the file that phases are appended to.
pub const LOG_VARIABLE: &str = "KINA_TIMING_LOG";

/// The file that this process's environment names. An engine has another working directory, so a path is made absolute
/// here.
pub fn log_from_environment() -> Option<PathBuf> {
    let path = std::env::var_os(LOG_VARIABLE).filter(|value| !value.is_empty()).map(PathBuf::from)?;
    Some(std::path::absolute(&path).unwrap_or(path))
}
