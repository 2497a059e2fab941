//! The emulator as a program: the life of a machine, and faults on demand.
#![cfg(target_os = "linux")]

mod common;
mod faults;
mod lifecycle;
