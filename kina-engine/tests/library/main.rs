//! The engine's library from outside.

mod assets_download;
mod version;
