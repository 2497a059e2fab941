//! Connections of other users of the machine, and an engine that has no more open files.
#![cfg(target_os = "linux")]

#[path = "../common/mod.rs"]
mod common;
mod scene;
mod strangers;
