//! Templates on their way into the engine: bounded in memory, and read off the runtime's threads.
//!
//! - `room`: the memory that they may take at once.
//! - `receive`: from the socket.
//! - `reader`: the threads that hash and parse them.
//! - `give_back`: their memory, once they are gone.

mod give_back;
mod reader;
mod receive;
mod room;

pub(crate) use reader::TemplateReader;
pub(crate) use receive::{NotReceived, receive};
pub(crate) use room::{Admitted, Reservation, TemplateRoom};

/// A template of at most so many bytes is a small one: it waits for no large one, neither for room nor for its turn.
const SMALL_BYTES_MAX: u64 = 1 << 20;
