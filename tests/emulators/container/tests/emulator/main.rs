//! The emulator as a program: what a machine lives through, and what goes wrong on demand.
#![cfg(target_os = "linux")]

mod common;
mod faults;
mod lifecycle;
