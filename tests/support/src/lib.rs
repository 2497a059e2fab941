//! Helpers for tests that depend on the machine that they run on.
//!
//! `cargo test --workspace` must pass with no more than the README lists, and a distribution's Rust has the standard
//! library of only one target, without rustup to fetch another. Programs for the machines of emulators are therefore
//! compiled for the host itself ([`static_program`]). A test that needs more than the README lists, such as podman, is
//! skipped and recorded ([`skip!`]), so that CI can run it elsewhere. A binary whose tests mostly wait runs more of them
//! at a time ([`run_more_tests_than_cores!`]).

mod programs;
mod skips;
mod threads;

#[doc(hidden)]
pub use ctor;
pub use programs::{can_compile_for_images, image_target, static_program};
pub use skips::{SKIPS_VARIABLE, record_skip};
#[doc(hidden)]
pub use threads::set_test_threads;
