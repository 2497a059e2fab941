//! The integration tests of the workspace, a module for each topic: `cargo test --workspace outlived::` runs one.
//!
//! They share one binary, because each one would contain the whole engine: that takes seconds to link, and a run has
//! its tests wait for the last one of every binary. A test that needs a process or an engine of its own starts this
//! binary again, see [`common::children`].

mod common;

mod architecture;
mod arguments;
mod beside_keys;
mod controllers;
mod crashes;
mod credentials;
mod docs;
mod engine;
mod fixtures_apply;
mod harness;
mod in_force;
mod isolation;
mod killed;
mod large_operator;
mod namespaces;
mod network;
mod outlived;
mod pool;
mod strangers;
mod templates;
mod timings;
mod users;
mod waits;
mod webhooks;

test_support::run_more_tests_than_cores!();
