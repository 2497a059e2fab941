//! The tests' side of the machine that they run on.
//!
//! `cargo test --workspace` has to pass with no more than the README lists, and a Rust that a distribution packages has
//! the standard library of one target and no rustup to fetch another. Programs for the machines of emulators are therefore
//! compiled for the host itself ([`static_program`]). A test that needs more than the README lists, such as podman, skips
//! and says so ([`skip!`]), so that CI can run it elsewhere.

mod programs;
mod skips;

pub use programs::{can_compile_for_images, image_target, static_program};
pub use skips::{SKIPS_VARIABLE, record_skip};
