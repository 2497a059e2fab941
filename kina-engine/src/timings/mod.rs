//! The record of the engine's work: for `cargo kina timings`, and for the file that `KINA_TIMING_LOG` names.
//!
//! - `line`: one phase in the form for the socket, a log and a page.
//! - `recorder`: records phases and keeps the latest.
//! - `record`: a phase in memory.
//! - `log`: appends phases to files that clients named.

mod line;
#[cfg(feature = "engine")]
mod log;
#[cfg(feature = "engine")]
mod record;
#[cfg(feature = "engine")]
mod recorder;
#[cfg(all(test, feature = "engine"))]
mod tests;

use std::path::PathBuf;

pub use line::{EngineLine, Phase, PhaseLine, ServedFrom, TimingLine, WaitEnd};
#[cfg(feature = "engine")]
pub(crate) use record::Notes;
#[cfg(feature = "engine")]
pub(crate) use recorder::{Asker, NamespaceNews, Recorder};

/// The variable that names the file that phases are appended to.
pub const LOG_VARIABLE: &str = "KINA_TIMING_LOG";

/// The file that this process's environment names. An engine has another working directory, so the path is made
/// absolute here.
pub fn log_from_environment() -> Option<PathBuf> {
    let path = std::env::var_os(LOG_VARIABLE).filter(|value| !value.is_empty()).map(PathBuf::from)?;
    Some(std::path::absolute(&path).unwrap_or(path))
}
