//! An operator in miniature, and how it is tested with kina.
//!
//! A [`Greeting`] says whom to greet. The controller writes the words into a ConfigMap of the same name and reports in
//! the Greeting's status. It does what larger controllers do as well:
//!
//! - It applies what it owns by server-side apply, under a field manager of its own, and leaves everything else alone.
//! - It puts back what others change or delete of it.
//! - It never takes over an object that it did not make.
//! - It reports a condition, and for which generation it holds.
//! - It removes what it made before the Greeting goes.
//!
//! Read `tests/controller.rs` first. Each test there has a cluster of its own with the CRD in it, runs the controller as a task
//! and watches what becomes of it. `tests/tour.rs` shows what else kina offers to a test.
//!
//! - `greeting`: the custom resource.
//! - `controller`: what is watched, and what is done about it.
//! - `config_map`: the object that is made. Pure.
//! - `condition`: what the status says. Pure.

mod condition;
mod config_map;
mod controller;
mod greeting;

pub use config_map::WORDS_KEY;
pub use controller::{FIELD_MANAGER, FINALIZER, ReconcileError, run};
pub use greeting::{Greeting, GreetingSpec, GreetingStatus};

/// The only type of condition that a [`Greeting`] has: whether its ConfigMap says what it should.
pub const READY: &str = "Ready";
