//! An operator in miniature, with its tests on kina.
//!
//! A [`Greeting`] has a name to greet. The controller writes the words into a ConfigMap of the same name and reports in
//! the Greeting's status. It does what larger controllers do as well:
//!
//! - It applies its fields by server-side apply, under a field manager of its own, and leaves all others alone.
//! - It restores its objects when they are changed or deleted.
//! - It never takes over an object that it did not make.
//! - It reports a condition, with the generation that it applies to.
//! - It removes its object before the Greeting goes.
//!
//! Read `tests/controller.rs` first. Each test there has a cluster of its own with the CRD installed, runs the
//! controller as a task and watches the results. `tests/tour.rs` shows kina's other features.
//!
//! - `greeting`: the custom resource.
//! - `controller`: the watches and the reconciliation.
//! - `config_map`: the object that the controller makes. Pure.
//! - `condition`: the status. Pure.

mod condition;
mod config_map;
mod controller;
mod greeting;

pub use config_map::WORDS_KEY;
pub use controller::{FIELD_MANAGER, FINALIZER, ReconcileError, run};
pub use greeting::{Greeting, GreetingSpec, GreetingStatus};

/// The only type of condition of a [`Greeting`]: true if its ConfigMap has the right content.
pub const READY: &str = "Ready";
