//! The program `cargo-kina`, as users run it. One module for each topic.

mod assets_go_build;
mod doctor;
mod metrics;
mod operate;
#[cfg(target_os = "linux")]
mod supervisor;
mod timings;
mod trust;

test_support::run_more_tests_than_cores!();
