//! Files, directories and programs that no other user of the machine can have put there.
//!
//! A file of settings can name programs to run, and a cache holds them. So both are used only if they belong to the user
//! or to root and no other user can write to them: `rule` judges open files, which cannot be other files a
//! moment later. Below the directory in [`TRUSTED_DIRECTORY`] everything counts as the user's own.
//!
//! - `rule`: the rule.
//! - `distrust`: the faults, in words, each with the command that mends it.
//! - `group`: groups without other members.
//! - `file`: a file that is opened once, in a directory that is opened once.
//! - `chain`: programs, through all directories that lead to them.
//! - `search_path`: programs by their names.

#[cfg(feature = "engine")]
mod chain;
mod distrust;
mod file;
mod group;
mod rule;
pub mod search_path;

pub use distrust::Distrust;

#[cfg(feature = "engine")]
pub(crate) use chain::{expect_directory_below, expect_program};
pub(crate) use file::{OpenError, Opened, open};
pub(crate) use rule::{Rule, expect_directory};
#[cfg(feature = "engine")]
pub(crate) use rule::{close_to_others, create_directories};

/// Names a directory below which nothing is judged, such as a checkout that is mounted into a container, where files
/// belong to users of another machine. In the environment alone: a file cannot vouch for itself.
pub const TRUSTED_DIRECTORY: &str = "KINA_TRUSTED_DIRECTORY";
