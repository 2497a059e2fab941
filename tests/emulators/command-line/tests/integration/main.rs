//! The command line and its documents, compared with the reference.

mod documents;
mod grammar;
