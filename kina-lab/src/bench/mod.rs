//! `cargo lab bench`: all measurements of `cargo kina bench`, and those that only kina's developers need.
//!
//! - `scenario`: the command line. `probe`: single samples.
//! - `rewind`, `fixtures`, `lifecycle`, `gateway`, `compare`, `wear`, `scale`, `peers`, `crud`, `stress`, `price`,
//!   `large_template`, `memory`, `silent_ports`: the scenarios.
//! - `build`: the price of kina-test in a user's build. `build_program`: the price of building the program of users. `cargo`: Cargo itself.
//! - `self_test`: a test of the gate on this machine. `page`: docs/BENCHMARKS.md. `flamegraph`: processor time by function.
//! - `packages`: builds and runs packages of this repository. `processor_time`: that of an engine and its clusters.
//!
//! The private engine of all scenarios, the form of their reports and their statistics are those of `cargo kina bench`.

mod build;
mod build_program;
mod cargo;
mod compare;
mod crud;
mod fixtures;
mod flamegraph;
mod gateway;
mod large_template;
mod lifecycle;
mod memory;
mod packages;
mod page;
mod peers;
mod price;
mod probe;
mod processor_time;
mod rewind;
mod scale;
mod scenario;
mod self_test;
mod silent_ports;
mod stress;
mod wear;

use cargo_kina::bench::{Bench, SLOTS, envtest_recipe, machine_description, plot, report, say, statistics};

pub(crate) use self::scenario::{BenchArguments, run};
