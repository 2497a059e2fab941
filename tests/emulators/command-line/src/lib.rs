//! The command line of Apple's `container`: a strict grammar, the JSON that it prints, and its error texts.
//!
//! Only the features on the reference page exist here: an unknown option, form of a value or order of arguments is a
//! [`UsageError`], for which programs exit with code 64. This is deliberately stricter than the real program, so that a
//! driver and its emulator cannot share an error unnoticed.

pub mod command;
mod errors;
mod forms;
mod grammar;
mod images;
mod interpret;
pub mod json;
mod render;
mod time;
mod values;
mod version;

pub use errors::{Code, Failure, UsageError, messages};
pub use forms::{FORMS, Flag, Form, Takes};
pub use grammar::{Matches, matches_of};
pub use images::{architecture, qualified};
pub use interpret::parse;
pub use render::{compact, pretty};
pub use time::iso_8601;
pub use values::{label, memory_in_bytes, name_is_valid};
pub use version::Version;
