//! Logs that stay within a bound while they grow, and keep their newest lines.
//!
//! A log is a file and an older part of it, in a directory beside it. A file that is
//! full becomes the older part, in the place of the one before.
//!
//! - `file`: a log that this process writes.
//! - `component`: a log that a child writes, through a pipe that this process drains.
//! - `older`: moving lines from a file to its older part.

mod component;
mod file;
mod older;

pub(crate) use self::component::ComponentLog;
pub(crate) use self::file::BoundedFile;
pub(crate) use self::older::move_to_older;

/// The most bytes of each of the two parts of an engine's log: together at most 16 MB.
pub(crate) const ENGINE_PART_BYTES_MAX: u64 = 7 << 20;
/// The most bytes of each of the two parts of a component's log: together at most 64 MB.
pub(crate) const COMPONENT_PART_BYTES_MAX: u64 = 28 << 20;
/// The directory of the older parts, in that of the logs.
pub const EARLIER_DIRECTORY: &str = "earlier";
/// So much is read or written at once.
const CHUNK_BYTES: usize = 64 << 10;
