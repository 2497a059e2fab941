//! The words of the command line, and the exit code: the same for both programs.

use std::ffi::OsString;
use std::process::ExitCode;

use kina_engine::{AssetsError, ClientError, FixtureReadError, PathsError, UnknownMinor};

use super::output::OutputClosed;
use super::situation::UserError;
use super::{bench, image, timings};

/// Exit code for errors that the user can fix.
const EXIT_USER_ERROR: u8 = 2;
/// Exit code for unexpected failures.
pub(crate) const EXIT_FAILED: u8 = 1;

/// The words of the command line. As a subcommand of cargo, the program gets its own name as the first argument.
pub fn words() -> impl Iterator<Item = OsString> {
    std::env::args_os().enumerate().filter(|(index, text)| !(*index == 1 && text == "kina")).map(|(_, text)| text)
}

/// Reports a command's error, and returns the program's exit code.
pub fn finish(done: anyhow::Result<()>) -> ExitCode {
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => failed(&error, None),
    }
}

/// Reports an error. The exit code is the given one, or that of the error's kind.
pub(crate) fn failed(error: &anyhow::Error, exit_code: Option<u8>) -> ExitCode {
    // A reader that closes the pipe has read enough.
    if error.is::<OutputClosed>() {
        return ExitCode::SUCCESS;
    }
    eprintln!("error: {}", kina_engine::with_causes(error.as_ref()));
    let of_kind = if is_user_error(error) { EXIT_USER_ERROR } else { EXIT_FAILED };
    let of_kind = bench::exit_code(error).unwrap_or(of_kind);
    ExitCode::from(exit_code.unwrap_or(of_kind))
}

/// Returns true if the user can fix the error.
fn is_user_error(error: &anyhow::Error) -> bool {
    error.downcast_ref::<ClientError>().is_some_and(ClientError::is_user_error)
        || error.downcast_ref::<AssetsError>().is_some_and(AssetsError::is_user_error)
        || error.is::<UserError>()
        || error.is::<UnknownMinor>()
        || error.is::<PathsError>()
        || error.is::<FixtureReadError>()
        || image::is_user_error(error)
        || timings::is_user_error(error)
}
